"""The shapes of OpenAI chat and legacy completions: typed first and fast, then leniently, and never an exception.

Knows which member means what; does not know streams, lines or splices.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from headwater.dialects.kit.lenient import any_json, count, within

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T", bound=msgspec.Struct)


class Delta(msgspec.Struct):
    """What was generated: the `delta` of a chunk, or the `message` of a reply."""

    content: Any = None
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class StreamChoice(msgspec.Struct):
    """One of the `choices` of a chunk."""

    index: Any = 0
    finish_reason: Any = None
    delta: Delta | None = None
    text: Any = None
    usage: Any = None


class Chunk(msgspec.Struct):
    """One data object of a stream. `usage` unset: no such member; None: `null`."""

    choices: list[StreamChoice] | None = None
    usage: Any = msgspec.UNSET
    error: Any = None
    object: Any = None
    timings: Any = None
    metrics: Any = None
    time_info: Any = None
    stats: Any = None
    x_groq: Any = None
    base_resp: Any = None


class ReplyChoice(msgspec.Struct):
    """One of the `choices` of a reply, without its text."""

    finish_reason: Any = None


class ReplyBody(msgspec.Struct):
    """A whole reply, without its text. `choices` unset: no such member."""

    choices: list[ReplyChoice] | msgspec.UnsetType | None = msgspec.UNSET
    usage: Any = msgspec.UNSET
    error: Any = None
    object: Any = None
    timings: Any = None
    metrics: Any = None
    time_info: Any = None
    stats: Any = None
    x_groq: Any = None
    base_resp: Any = None


class MessageChoice(msgspec.Struct):
    """One of the `choices` of a reply, with its text."""

    message: Delta | None = None
    text: Any = None


class MessageBody(msgspec.Struct):
    """A whole reply, for its text alone."""

    choices: list[MessageChoice] | None = None


class RequestBody(msgspec.Struct):
    """What is read of every request."""

    model: Any = None
    stream: Any = None
    stream_options: Any = None
    n: Any = 1
    best_of: Any = None
    prompt: Any = None


class Shape(Generic[T]):
    """A decoder that falls back to reading leniently where a member has another type than is documented."""

    def __init__(self, struct: type[T], choice: type[msgspec.Struct] | None = None) -> None:
        self._struct = struct
        self._choice = choice
        self._decoder = msgspec.json.Decoder(struct)

    def read(self, text: bytes) -> T | None:
        """The object, or None where the text is no JSON object."""
        try:
            return self._decoder.decode(text)
        except (ValueError, RecursionError):
            found = any_json(text)
            return self._lenient(self._struct, found) if isinstance(found, dict) else None

    def _lenient(self, struct: type[S], found: dict[str, Any]) -> S:
        """The struct from those members that have a usable type; the others keep their defaults."""
        usable: dict[str, Any] = {}
        for field in msgspec.structs.fields(struct):
            if field.name in found:
                value = found[field.name]
                usable[field.name] = value if field.type is Any else self._usable(field.name, value)
        return struct(**usable)

    def _usable(self, name: str, value: Any) -> Any:
        """A list of choices, or else what should be a `Delta`."""
        if name != "choices":
            return self._lenient(Delta, value) if isinstance(value, dict) else None
        choice = self._choice
        if choice is None or not isinstance(value, list):
            return None
        return [self._lenient(choice, each) for each in value if isinstance(each, dict)]


def is_error(body: Chunk | ReplyBody) -> bool:
    """Whether the object reports an error: a truthy `error`, an object that calls itself one, or MiniMax's `base_resp`,
    which comes with HTTP 200."""
    return bool(body.error) or body.object == "error" or bool(count(within(body.base_resp).get("status_code")))


def text_of(choice: StreamChoice | MessageChoice) -> str:
    """All generated text of a choice: reasoning, content, refusal, names and arguments of tool calls; `text` in legacy
    completions."""
    delta = choice.delta if isinstance(choice, StreamChoice) else choice.message
    if delta is None:
        return choice.text if isinstance(choice.text, str) else ""
    texts: list[str] = []
    # Some servers say the same under both names while they rename the one to the other (vLLM).
    _add_content(delta.reasoning_content or delta.reasoning, texts)
    _add_content(delta.content, texts)
    _add_content(delta.refusal, texts)
    for call in delta.tool_calls if isinstance(delta.tool_calls, list) else ():
        _add_call(call, texts)
    _add_function(delta.function_call, texts)
    return "".join(texts)


def _add_content(content: Any, texts: list[str]) -> None:
    """A string, or a list of parts (Mistral's reasoning models send `thinking` parts that hold parts themselves)."""
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                _add_content(part.get("text"), texts)
                _add_content(part.get("thinking"), texts)


def _add_call(call: Any, texts: list[str]) -> None:
    if isinstance(call, dict):
        _add_function(call.get("function"), texts)
        _add_function(call.get("custom"), texts)


def _add_function(function: Any, texts: list[str]) -> None:
    if isinstance(function, dict):
        texts += [part for name in ("name", "arguments", "input") if isinstance(part := function.get(name), str)]
