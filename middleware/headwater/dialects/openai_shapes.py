"""The shapes of OpenAI chat completions: typed first and fast, then leniently, and never an exception.

Knows which member means what; does not know streams, lines or splices.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import msgspec

from headwater.dialects.lenient import any_json, count, seconds
from headwater.records import Usage

_MS_PER_S: Final = 1000

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


class Chunk(msgspec.Struct):
    """One data object of a stream. `usage` unset: no such member; None: `null`."""

    choices: list[StreamChoice] | None = None
    usage: Any = msgspec.UNSET
    error: Any = None
    object: Any = None
    timings: Any = None
    x_groq: Any = None


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
    x_groq: Any = None


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
    """Whether the object reports an error: a truthy `error`, or an object that calls itself one."""
    return bool(body.error) or body.object == "error"


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


def has_counts(usage: Any) -> bool:
    """Whether an object in place of a usage says anything at all."""
    return isinstance(usage, dict) and not (
        count(usage.get("prompt_tokens")) is None and count(usage.get("completion_tokens")) is None
    )


def usage_of(usage: Any, timings: Any) -> Usage | None:
    """The upstream's counts in canonical shape: from `usage`, else from llama.cpp's `timings`; None where it has none."""
    timings = timings if isinstance(timings, dict) else {}
    if isinstance(usage, dict):
        found = _from_usage(usage, count(timings.get("cache_n")))
        if found is not None:
            return found
    return _from_timings(timings)


def _from_usage(usage: dict[str, Any], cache_n: int | None) -> Usage | None:
    given, made = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if given is None and made is None:
        return None
    cached = count(_details(usage, "prompt_tokens_details").get("cached_tokens"))
    if cached is None:
        cached = count(usage.get("prompt_cache_hit_tokens"))  # DeepSeek
    if cached is None:
        cached = cache_n
    reasoning = count(_details(usage, "completion_tokens_details").get("reasoning_tokens"))
    if made is not None and reasoning is not None:
        if is_reasoning_outside(given, made, reasoning, count(usage.get("total_tokens"))):
            made += reasoning
        reasoning = min(reasoning, made)
    return Usage(
        input_tokens=given,
        output_tokens=made,
        cached_tokens=None if cached is None or given is None else min(cached, given),
        reasoning_tokens=None if made is None else reasoning,
        source="upstream",
    )


def _details(usage: dict[str, Any], name: str) -> dict[str, Any]:
    details = usage.get(name)
    return details if isinstance(details, dict) else {}


def is_reasoning_outside(given: int | None, made: int, reasoning: int, total: int | None) -> bool:
    """Whether the reasoning tokens are not among the completion tokens (xAI): the total tells, if there is one."""
    if total is not None and given is not None:
        if total == given + made:
            return False
        if total == given + made + reasoning:
            return True
    return reasoning > made


def _from_timings(timings: dict[str, Any]) -> Usage | None:
    fresh, cached, made = (count(timings.get(name)) for name in ("prompt_n", "cache_n", "predicted_n"))
    if fresh is None and made is None:
        return None
    # `prompt_n` counts only the tokens that were really processed; those from the cache stand beside it.
    given = None if fresh is None else fresh + (cached or 0)
    return Usage(
        input_tokens=given,
        output_tokens=made,
        cached_tokens=None if given is None else cached,
        source="upstream",
    )


def busy_s_of(timings: Any) -> float | None:
    """The time that llama.cpp says it spent on prefill and decode."""
    if not isinstance(timings, dict):
        return None
    prompt_s = seconds(timings.get("prompt_ms"), per_s=_MS_PER_S)
    predicted_s = seconds(timings.get("predicted_ms"), per_s=_MS_PER_S)
    return None if prompt_s is None or predicted_s is None else prompt_s + predicted_s


def groq_usage(x_groq: Any) -> Any:
    """The usage that Groq puts into its own member of the last chunk."""
    return x_groq.get("usage") if isinstance(x_groq, dict) else None
