"""OpenAI chat completions, as spoken by OpenAI, Azure, vLLM, llama.cpp, Mistral, Groq, xAI and most others.

Knows the request and the whole reply; the stream is in `openai_stream`. Sans I/O, no clock.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headwater.dialects import openai_edits, openai_shapes, splice
from headwater.dialects.openai_shapes import MessageBody, MessageChoice, ReplyBody, ReplyChoice, RequestBody, Shape
from headwater.dialects.openai_stream import OpenAIChatStream
from headwater.errors import DialectError
from headwater.records import ChatRequest, Prompt, Usage

_requests: Final = Shape(RequestBody)
_replies: Final = Shape(ReplyBody, ReplyChoice)
_messages: Final = Shape(MessageBody, MessageChoice)
_IMAGE: Final = b"image_url"
_ASK: Final = b'"stream_options":{"include_usage":true},'


class OpenAIChatReply:
    """A whole reply; see `headwater.dialects.base.Reply` for its contract."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.complete = False
        self.failed = True
        self.usage: Usage | None = None
        self.busy_s: float | None = None
        found = _replies.read(body)
        if found is None:
            return
        choices = found.choices or []
        self.failed = openai_shapes.is_error(found) or found.choices is msgspec.UNSET
        self.complete = bool(choices) and all(choice.finish_reason for choice in choices)
        counts = found.usage if isinstance(found.usage, dict) else openai_shapes.groq_usage(found.x_groq)
        self.usage = openai_shapes.usage_of(counts, found.timings)
        self.busy_s = openai_shapes.busy_s_of(found.timings)

    def output_text(self) -> str:
        """The text of all choices, joined."""
        found = _messages.read(self._body)
        choices = found.choices if found is not None else None
        return "".join(openai_shapes.text_of(choice.message) for choice in choices or ())

    def fold(self, footprint: bytes) -> bytes | None:
        """The body with the footprint in its usage object, or at its top level; None where it is no JSON object."""
        place = openai_edits.fold(self._body, footprint)
        return None if place is None else self._body[: place[0]] + place[1] + self._body[place[0] :]


class OpenAIChat:
    """The dialect of `POST .../chat/completions`."""

    name = "openai-chat"

    def matches(self, method: str, path: str) -> bool:
        """Whether this is a chat completion; the prefix is the server's own (`/v1`, Azure's `/openai/deployments/x`), and
        so is its leniency: a slash behind the path or other letter cases must not be a way past the meter."""
        return method == "POST" and path.rstrip("/").lower().endswith("/chat/completions")

    def read_request(self, body: bytes) -> ChatRequest:
        """Read model, stream, and how many choices were asked for.

        Raises:
            DialectError: the body is no JSON object.
        """
        found = _read(body)
        options = found.stream_options
        return ChatRequest(
            model=found.model if isinstance(found.model, str) else None,
            stream=found.stream is True,
            usage_asked=isinstance(options, dict) and options.get("include_usage") is True,
            choices_count=max(1, openai_shapes.count(found.n) or 1),
            images_count=_images_count(body) if _IMAGE in body else 0,
            raw=body,
        )

    def prompt(self, request: ChatRequest) -> Prompt:
        """All text of the messages and the tools, for counting."""
        body = openai_shapes.any_json(request.raw)
        prompt = _PromptBuilder()
        if isinstance(body, dict):
            for message in _list(body.get("messages")):
                prompt.add_message(message)
            for tool in _list(body.get("tools")) + _list(body.get("functions")):
                prompt.texts.append(msgspec.json.encode(tool).decode())
        return prompt.done()

    def read_reply(self, body: bytes) -> OpenAIChatReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        return OpenAIChatReply(body)

    def stream_reader(self, request: ChatRequest, *, usage_injected: bool) -> OpenAIChatStream:
        """A reader for one streamed reply."""
        return OpenAIChatStream(
            choices_count=request.choices_count, usage_asked=request.usage_asked, usage_injected=usage_injected
        )

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body with `stream_options.include_usage` true, if it asks for a stream; every other byte kept if it can be.

        Raises:
            DialectError: the body is no JSON object.
        """
        if _read(body).stream is not True:
            return body
        found = splice.members(body)
        if found is None:
            raise DialectError("request body is JSON only to a lenient reader: usage cannot be asked for")
        options_text = found.get("stream_options")
        if options_text is None:
            start = body.index(b"{") + 1
            return body[:start] + _ASK + body[start:]
        options = openai_shapes.any_json(options_text)
        if options is None:
            options = {}
        if not isinstance(options, dict) or options.get("include_usage") is True:
            return body
        found["stream_options"] = msgspec.json.encode({**options, "include_usage": True})
        return msgspec.json.encode({name: msgspec.Raw(value) for name, value in found.items()})


class _PromptBuilder:
    """Collects the countable text of messages of any shape."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._messages_count = self._names_count = self._uncounted_parts_count = 0

    def done(self) -> Prompt:
        return Prompt(
            texts=tuple(self.texts),
            messages_count=self._messages_count,
            names_count=self._names_count,
            uncounted_parts_count=self._uncounted_parts_count,
        )

    def add_message(self, message: Any) -> None:
        if not isinstance(message, dict):
            return
        self._messages_count += 1
        self._add_strings(message, "role", "name")
        self._names_count += isinstance(message.get("name"), str)
        content = message.get("content")
        if isinstance(content, str):
            self.texts.append(content)
        for part in _list(content):
            self._add_part(part)
        for call in _list(message.get("tool_calls")):
            if isinstance(call, dict):
                self._add_strings(call.get("function"), "name", "arguments")
                self._add_strings(call.get("custom"), "name", "input")
        self._add_strings(message.get("function_call"), "name", "arguments")

    def _add_part(self, part: Any) -> None:
        text = part if isinstance(part, str) else None
        if isinstance(part, dict):
            text = part.get("text", part.get("refusal"))
        if isinstance(text, str):
            self.texts.append(text)
        else:
            self._uncounted_parts_count += 1

    def _add_strings(self, found: Any, *names: str) -> None:
        if isinstance(found, dict):
            self.texts += [value for name in names if isinstance(value := found.get(name), str)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _images_count(body: bytes) -> int:
    """Pictures among the parts of the messages. Their size is not looked at, and their addresses are never opened."""
    found = openai_shapes.any_json(body)
    messages = _list(found.get("messages")) if isinstance(found, dict) else []
    parts = [part for message in messages if isinstance(message, dict) for part in _list(message.get("content"))]
    return sum(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)


def _read(body: bytes) -> RequestBody:
    found = _requests.read(body)
    if found is None:
        raise DialectError(f"request body of {len(body)} bytes is not a JSON object")
    return found
