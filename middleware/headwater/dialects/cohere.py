"""Cohere: `POST .../v2/chat`, and `.../v2/embed` with the older `/v1/embed`. Sans I/O, no clock.

Usage has two sets of counts: `tokens`, what the model worked on, and `billed_units`, what is paid for, without the tokens of
Cohere's own preamble. Energy goes by the first; the second stands in for a count that is missing there. Counts are typed as
numbers, not as integers (`UsageTokens`, cohere-python 7.3.1), so a whole float is one too. `cached_tokens` are those "that
hit the inference cache" of the prompt, hence inside the input.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from headwater.dialects.base import StreamReader
from headwater.dialects.kit.lenient import count, json_object, objects, string, within
from headwater.dialects.kit.prompts import PromptBuilder
from headwater.dialects.kit.sse import SSE
from headwater.dialects.kit.stencil import Stencils
from headwater.dialects.kit.stream import EventStream, Turn
from headwater.dialects.kit.whole import WholeReply
from headwater.errors import DialectError, NotOurs
from headwater.records import ChatRequest, Prompt, Target, Told, Usage

_MARKER: Final = re.compile(rb"message-end")
_TEXT_START: Final = re.compile(rb'"(?:text|thinking|tool_plan|arguments)"\s*:\s*"')
_WITH_TEXT: Final = frozenset(
    {"content-start", "content-delta", "tool-plan-delta", "tool-call-start", "tool-call-delta"}
)
"""Events whose text the model made; those of citations only point into it."""
_FAILED: Final = "ERROR"
_STREAM_USAGE: Final = ("delta", "usage")
_EMBED_USAGE: Final = ("meta",)
_EMBEDDED: Final = ("texts", "images", "inputs")


class CohereChat:
    """The dialect of `POST .../v2/chat`."""

    name = "cohere-chat"

    def matches(self, method: str, path: str) -> bool:
        """Whether the path is that of version 2 of the chat."""
        return method == "POST" and path.endswith("/v2/chat")

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read model, stream and pictures.

        Raises:
            NotOurs: neither a model nor messages: another app with a path of the same name.
            DialectError: the body is no JSON object.
        """
        found = _request(body)
        if not isinstance(found.get("model"), str) and not isinstance(found.get("messages"), list):
            raise NotOurs("request body has neither a model nor messages")
        parts = [part for message in objects(found.get("messages")) for part in objects(message.get("content"))]
        return ChatRequest(
            model=string(found.get("model")) or None,
            stream=found.get("stream") is True,
            images_count=_pictures_count(parts),
            raw=body,
        )

    def prompt(self, request: ChatRequest) -> Prompt:
        """Messages, tools and documents, for counting."""
        found = json_object(request.raw) or {}
        prompt = PromptBuilder()
        for message in objects(found.get("messages")):
            prompt.begin_message()
            prompt.add_text(message.get("role"), message.get("tool_plan"))
            _add_content(prompt, message.get("content"))
            _add_calls(prompt, message.get("tool_calls"))
        prompt.add_tools(found.get("tools"))
        documents = found.get("documents")
        for document in documents if isinstance(documents, list) else ():
            prompt.add_json(within(document, "data") or document)
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        found = json_object(body) or {}
        reason, message = found.get("finish_reason"), found.get("message")
        usage = usage_of(within(found, "usage"))
        return WholeReply(
            body=body,
            complete=bool(reason),
            # An error that counted its tokens is charged for them.
            failed=not isinstance(message, dict) or (reason == _FAILED and usage is None),
            told=Told(usage=usage),
            text=partial(_text, within(message)),
        )

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> CohereStream | None:
        """A reader for one streamed reply."""
        return CohereStream() if content_type == SSE else None

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body as it is: usage always comes."""
        return body


class CohereStream(EventStream):
    """The reader of one stream. The footprint goes into the usage of `message-end`, which ends it; a `[DONE]` may follow."""

    def __init__(self) -> None:
        super().__init__(marker=_MARKER, stencils=Stencils(_TEXT_START, _lesson), usage_path=_STREAM_USAGE)
        self._usage: Usage | None = None

    @property
    def told(self) -> Told:
        """The counts, once they have come."""
        return Told(usage=self._usage)

    def _read(self, data: bytes) -> Turn:
        found = json_object(data) or {}
        kind = found.get("type")
        if kind == "message-end":
            end = within(found, "delta")
            self._usage = usage_of(within(end, "usage")) or self._usage
            self.complete = True
            self.failed = self.failed or end.get("finish_reason") == _FAILED or bool(end.get("error"))
            return Turn.LAST
        text = _delta_text(found)
        if text:
            self._keep(0, text)
        return Turn.ORDINARY


class CohereEmbed:
    """The dialect of `POST .../v2/embed` and `/v1/embed`."""

    name = "cohere-embed"

    def matches(self, method: str, path: str) -> bool:
        """Whether the path is that of embeddings; jobs of them are something else."""
        return method == "POST" and path.endswith(("/v2/embed", "/v1/embed"))

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read model and pictures.

        Raises:
            NotOurs: neither a model nor anything to embed: another app with a path of the same name.
            DialectError: the body is no JSON object.
        """
        found = _request(body)
        if not isinstance(found.get("model"), str) and not any(isinstance(found.get(name), list) for name in _EMBEDDED):
            raise NotOurs("request body has neither a model nor anything to embed")
        images = found.get("images")
        return ChatRequest(
            model=string(found.get("model")) or None,
            images_count=_pictures_count(_parts(found)) + (len(images) if isinstance(images, list) else 0),
            raw=body,
        )

    def prompt(self, request: ChatRequest) -> Prompt:
        """The texts and pictures to embed."""
        found = json_object(request.raw) or {}
        prompt = PromptBuilder()
        texts, images = found.get("texts"), found.get("images")
        prompt.add_text(*(texts if isinstance(texts, list) else ()))
        for image in images if isinstance(images, list) else ():
            prompt.add_picture(image)
        _add_content(prompt, _parts(found))
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        found = json_object(body) or {}
        is_reply = isinstance(found.get("embeddings"), (list, dict))
        given = _figure(within(found, "meta"), "input_tokens")
        return WholeReply(
            body=body,
            complete=is_reply,
            failed=not is_reply,
            told=Told(usage=Usage(input_tokens=given, output_tokens=0, source="upstream") if is_reply else None),
            usage_path=_EMBED_USAGE,
        )

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> StreamReader | None:
        """None: embeddings come whole."""
        return None

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body as it is: usage always comes."""
        return body


def usage_of(usage: dict[str, Any]) -> Usage | None:
    """Cohere's counts in canonical shape; None where there are none."""
    given, made = _figure(usage, "input_tokens"), _figure(usage, "output_tokens")
    if given is None and made is None:
        return None
    cached = _count(usage.get("cached_tokens"))
    return Usage(
        input_tokens=given,
        output_tokens=made,
        cached_tokens=None if given is None or cached is None else min(cached, given),
        source="upstream",
    )


def _figure(usage: dict[str, Any], name: str) -> int | None:
    worked = _count(within(usage, "tokens").get(name))
    return _count(within(usage, "billed_units").get(name)) if worked is None else worked


def _count(value: Any) -> int | None:
    return count(int(value)) if isinstance(value, float) and value.is_integer() else count(value)


def _request(body: bytes) -> dict[str, Any]:
    found = json_object(body)
    if found is None:
        raise DialectError(f"request body of {len(body)} bytes is not a JSON object")
    return found


def _parts(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of the inputs to embed."""
    return [part for each in objects(found.get("inputs")) for part in objects(each.get("content"))]


def _pictures_count(parts: list[dict[str, Any]]) -> int:
    return sum(part.get("type") == "image_url" for part in parts)


def _add_content(prompt: PromptBuilder, content: Any) -> None:
    prompt.add_text(content)
    for part in objects(content):
        if part.get("type") == "image_url":
            picture = within(part, "image_url")
            prompt.add_picture(picture.get("url"), picture.get("detail"))
        elif part.get("type") == "document":
            prompt.add_json(within(part, "document").get("data"))
        else:
            prompt.add_text(part.get("text"), part.get("thinking"))


def _add_calls(prompt: PromptBuilder, calls: Any) -> None:
    for call in objects(calls):
        function = within(call, "function")
        prompt.add_text(function.get("name"), function.get("arguments"))


def _text(message: dict[str, Any]) -> str:
    texts = PromptBuilder()
    texts.add_text(message.get("tool_plan"))
    _add_content(texts, message.get("content"))
    _add_calls(texts, message.get("tool_calls"))
    return "".join(texts.done().texts)


def _delta_text(found: dict[str, Any]) -> str:
    """What an event adds to the message: the same members as a whole one's, each bare instead of in a list."""
    if string(found.get("type")) not in _WITH_TEXT:
        return ""
    message = within(found, "delta", "message")
    content, calls = message.get("content"), message.get("tool_calls")
    return _text({"tool_plan": message.get("tool_plan"), "content": [content], "tool_calls": [calls]})


def _lesson(data: bytes) -> tuple[int, str] | None:
    text = _delta_text(json_object(data) or {})
    return (0, text) if text else None
