"""Cohere's first chat: `POST .../v1/chat`. Sans I/O, no clock.

A stream is one JSON object a line, or server-sent events where the request's header `Accepts` asks for them; which type the
lines have is not said, so a stream that was asked for is one of any type (`chat_stream` in cohere-python 7.3.1). Its last
event, `stream-end`, has the whole response in it, with the counts in `meta`. See `cohere` for what is counted.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from headwater.dialects.cohere import usage_of
from headwater.dialects.kit.lenient import json_object, objects, string, within
from headwater.dialects.kit.ndjson import LineFramer
from headwater.dialects.kit.prompts import PromptBuilder
from headwater.dialects.kit.sse import SSE, Framer
from headwater.dialects.kit.stencil import Stencils
from headwater.dialects.kit.stream import EventStream, Framing, Turn
from headwater.dialects.kit.whole import WholeReply
from headwater.errors import DialectError, NotOurs
from headwater.records import ChatRequest, Prompt, Target, Told, Usage

_MARKER: Final = re.compile(rb"stream-end")
_TEXT_START: Final = re.compile(rb'"text"\s*:\s*"')
_ERROR: Final = "ERROR"
"""What the reasons of an end that failed begin with: `ERROR`, `ERROR_LIMIT`, `ERROR_TOXIC`."""
_USAGE: Final = ("meta",)
_STREAM_USAGE: Final = ("response", "meta")


class CohereV1Chat:
    """The dialect of `POST .../v1/chat`."""

    name = "cohere-v1-chat"

    def matches(self, method: str, path: str) -> bool:
        """Whether the path is that of version 1 of the chat."""
        return method == "POST" and path.endswith("/v1/chat")

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read model and stream.

        Raises:
            NotOurs: there is no message: another app with a path of the same name.
            DialectError: the body is no JSON object.
        """
        found = json_object(body)
        if found is None:
            raise DialectError(f"request body of {len(body)} bytes is not a JSON object")
        if not isinstance(found.get("message"), str):
            raise NotOurs("request body has no message")
        return ChatRequest(model=string(found.get("model")) or None, stream=found.get("stream") is True, raw=body)

    def prompt(self, request: ChatRequest) -> Prompt:
        """Preamble, history, message, tools, their results and documents, for counting."""
        found = json_object(request.raw) or {}
        prompt = PromptBuilder()
        for text in (found.get("preamble"), found.get("message")):
            if isinstance(text, str):
                prompt.begin_message()
                prompt.add_text(text)
        for message in objects(found.get("chat_history")):
            prompt.begin_message()
            prompt.add_text(message.get("role"), message.get("message"))
            for said in (*objects(message.get("tool_calls")), *objects(message.get("tool_results"))):
                prompt.add_json(said)
        for given in ("tools", "tool_results", "documents"):
            for each in objects(found.get(given)):
                prompt.add_json(each)
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        found = json_object(body) or {}
        usage = usage_of(within(found, "meta"))
        return WholeReply(
            body=body,
            complete=bool(found.get("finish_reason")),
            failed=not isinstance(found.get("text"), str) or (_is_error(found) and usage is None),
            told=Told(usage=usage),
            text=partial(_text, found),
            usage_path=_USAGE,
        )

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> CohereV1Stream | None:
        """A reader for one streamed reply; None where none was asked for."""
        if not request.stream:
            return None
        return CohereV1Stream(Framer() if content_type == SSE else LineFramer())

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body as it is: usage always comes."""
        return body


class CohereV1Stream(EventStream):
    """The reader of one stream. The footprint goes into the `meta` of the response that ends it."""

    def __init__(self, framing: Framing) -> None:
        super().__init__(framing, marker=_MARKER, stencils=Stencils(_TEXT_START, _lesson), usage_path=_STREAM_USAGE)
        self._usage: Usage | None = None

    @property
    def told(self) -> Told:
        """The counts, once they have come."""
        return Told(usage=self._usage)

    def _read(self, data: bytes) -> Turn:
        found = json_object(data) or {}
        if found.get("event_type") == "stream-end":
            self._usage = usage_of(within(found, "response", "meta")) or self._usage
            self.complete = True
            self.failed = self.failed or _is_error(found)
            return Turn.LAST
        text = _delta_text(found)
        if text:
            self._keep(0, text)
        return Turn.ORDINARY


def _is_error(found: dict[str, Any]) -> bool:
    return string(found.get("finish_reason")).startswith(_ERROR)


def _text(found: dict[str, Any]) -> str:
    texts = PromptBuilder()
    texts.add_text(found.get("text"), *(query.get("text") for query in objects(found.get("search_queries"))))
    for call in objects(found.get("tool_calls")):
        texts.add_text(call.get("name"))
        texts.add_json(call.get("parameters"))
    return "".join(texts.done().texts)


def _delta_text(found: dict[str, Any]) -> str:
    """What an event adds. `tool-calls-generation` only repeats what came in chunks."""
    kind = found.get("event_type")
    if kind == "text-generation":
        return string(found.get("text"))
    if kind == "search-queries-generation":
        return _text({"search_queries": found.get("search_queries")})
    if kind == "tool-calls-chunk":
        delta = within(found, "tool_call_delta")
        parts = (delta.get("text") or found.get("text"), delta.get("name"), delta.get("parameters"))
        return "".join(map(string, parts))
    return ""


def _lesson(data: bytes) -> tuple[int, str] | None:
    text = _delta_text(json_object(data) or {})
    return (0, text) if text else None
