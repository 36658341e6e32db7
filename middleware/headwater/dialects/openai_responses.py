"""OpenAI's Responses API: `POST .../responses`, and the exchanges that show what a background response came to.

Usage always comes, in the response object itself: of a reply, or of the event that ends a stream; there is no `[DONE]`. With
`background` the POST tells nothing yet: whichever exchange first shows the response at its end is the one that counts. The
context may lie with the server; then only its own usage says how long the prompt was. Sans I/O, no clock.
(Statuses and events: the types in openai/types/responses of openai-python 3.57.)
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any, Final

from headwater.dialects import openai_usage
from headwater.dialects.kit.lenient import json_object, objects, string, within
from headwater.dialects.kit.prompts import PromptBuilder
from headwater.dialects.kit.sse import SSE
from headwater.dialects.kit.stencil import Stencils
from headwater.dialects.kit.stream import EventStream, Turn
from headwater.dialects.kit.whole import WholeReply
from headwater.errors import DialectError, NotOurs
from headwater.records import NOTHING_TOLD, ChatRequest, Prompt, Target, Told, Usage

_USAGE_PATH: Final = ("response", "usage")
_MARKER: Final = re.compile(rb'response\.(?:completed|incomplete|failed|cancelled)|"usage"\s*:\s*(?:data:\s*)?\{')
_TEXT_START: Final = re.compile(rb'"delta"\s*:\s*"')
_SEQUENCE: Final = re.compile(rb'"(sequence_number)"\s*:\s*')
_PENDING: Final = frozenset({"queued", "in_progress"})
_BROKEN_OFF: Final = frozenset({"failed", "cancelled"})
"""Ends short of the answer: what was used until then was used."""
_BEGINNINGS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDS: Final = {f"response.{status}": status for status in ("completed", "incomplete", *_BROKEN_OFF)}
_DELTAS: Final = frozenset(
    f"response.{name}.delta"
    for name in (
        "output_text", "refusal", "reasoning_text", "reasoning_summary_text", "function_call_arguments",
        "custom_tool_call_input", "mcp_call_arguments", "code_interpreter_call_code", "shell_call_command",
        "audio.transcript",
    )
)  # fmt: skip
"""Events with text that the model wrote; sound is not text, and what a tool put out was not generated."""
_OWN_MEMBERS: Final = ("model", "input", "prompt", "previous_response_id", "conversation")
"""At least one of them is in every request; other APIs have collections of responses too (of a survey, say)."""
_SERVER_SIDE: Final = ("previous_response_id", "conversation", "prompt")
_UNSEEN_ITEMS: Final = frozenset({"item_reference", "compaction"})
_PICTURES: Final = frozenset({"input_image", "computer_screenshot"})

_CHAT_NAMES: Final = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}


class OpenAIResponses:
    """The dialect of `.../responses`."""

    name = "openai-responses"

    def matches(self, method: str, path: str) -> bool:
        """Whether a response is made, looked up or cancelled; counting tokens, compacting and listing items are not."""
        if method == "POST":
            return path.endswith("/responses") or _cancels(path)
        return method == "GET" and path.rpartition("/")[0].endswith("/responses")

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read model, stream, background, and the pictures; of a lookup, that it is one.

        Raises:
            NotOurs: the body is an object with nothing of this API's in it.
            DialectError: the body is no JSON object.
        """
        if target.method == "GET" or _cancels(target.path.rstrip("/").lower()):
            return ChatRequest(model=None, stream=b"stream=true" in target.query.lower().split(b"&"), is_lookup=True)
        found = json_object(body)
        if found is None:
            raise DialectError(f"request body of {len(body)} bytes is not a JSON object")
        if not any(name in found for name in _OWN_MEMBERS):
            raise NotOurs(f"a request with none of {', '.join(_OWN_MEMBERS)} is not one for a response of a model")
        model = found.get("model")
        return ChatRequest(
            model=model if isinstance(model, str) else None,
            stream=found.get("stream") is True,
            images_count=sum(_images_count(item) for item in objects(found.get("input"))),
            is_background=found.get("background") is True,
            raw=body,
        )

    def prompt(self, request: ChatRequest) -> Prompt:
        """Instructions, input and tools, for counting; not whole where the server adds a context of its own."""
        found = json_object(request.raw) or {}
        prompt = PromptBuilder()
        if any(found.get(name) for name in _SERVER_SIDE):
            prompt.add_unseen()
        prompt.add_text(found.get("instructions"))
        given = found.get("input")
        if isinstance(given, str):
            prompt.begin_message()
            prompt.add_text("user", given)
        for item in objects(given):
            _add_item(prompt, item)
        prompt.add_tools(found.get("tools"))
        prompt.add_json(within(found, "text", "format").get("schema"))
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes, and what is no response, give a failed one."""
        found = json_object(body)
        if found is None or not isinstance(found.get("output"), list):
            return WholeReply(body=body)
        status = string(found.get("status")) or "completed"
        return WholeReply(
            body=body,
            complete=status in ("completed", "incomplete"),
            failed=status in _BROKEN_OFF,
            told=replace(told_of(found, request), is_pending=status in _PENDING),
            text=partial(_text, found.get("output")),
        )

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> ResponsesStream | None:
        """A reader for one streamed reply."""
        return ResponsesStream(request) if content_type == SSE else None

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body as it is: usage always comes."""
        return body


class ResponsesStream(EventStream):
    """The reader of one stream, also of one that is taken up again. The footprint goes into the usage of its last event."""

    def __init__(self, request: ChatRequest) -> None:
        super().__init__(
            marker=_MARKER, stencils=Stencils(_TEXT_START, _lesson, varying=_SEQUENCE), usage_path=_USAGE_PATH
        )
        self._request = request
        self._told = NOTHING_TOLD
        self._is_at_end = False

    @property
    def told(self) -> Told:
        """What the last response object said. Of one in the background, nothing counts before its end."""
        told = self._told
        is_background = bool(told.once) or (told is NOTHING_TOLD and self._request.is_background)
        return replace(told, is_pending=is_background and not self._is_at_end)

    def _read(self, data: bytes) -> Turn:
        found = json_object(data) or {}
        kind = string(found.get("type"))
        if kind in _DELTAS:
            self._take(_index(found), string(found.get("delta")))
        elif kind == "response.output_item.added":
            self._take(_index(found), string(within(found, "item").get("name")))
        elif kind in _BEGINNINGS:
            self._told = told_of(within(found, "response"), self._request)
        elif kind in _ENDS:
            self._end(_ENDS[kind], within(found, "response"))
            return Turn.LAST
        elif kind == "error" or (not kind and found.get("error")):
            self.failed = True
        return Turn.ORDINARY

    def _take(self, index: int, text: str) -> None:
        if text:
            self._keep(index, text)

    def _end(self, status: str, response: dict[str, Any]) -> None:
        self._told = told_of(response, self._request)
        self._is_at_end = True
        self.failed = self.failed or status in _BROKEN_OFF
        self.complete = status not in _BROKEN_OFF
        if self._told.usage is None and not self.events_count:
            self._take(0, _text(response.get("output")))


def told_of(response: dict[str, Any], request: ChatRequest) -> Told:
    """What a response object says of itself. Only one that was made in the background can be charged where it is looked up:
    any other was charged where it was made."""
    background = response.get("background")
    is_background = request.is_background if background is None else background is True
    return Told(
        usage=usage_of(within(response, "usage")),
        once=string(response.get("id")) if is_background else "",
        model=string(response.get("model")),
    )


def usage_of(usage: dict[str, Any]) -> Usage | None:
    """The counts in canonical shape; None where there are none. They are those of chat completions under other names."""
    return openai_usage.usage_of({_CHAT_NAMES.get(name, name): each for name, each in usage.items()}, None)


def _cancels(path: str) -> bool:
    return path.endswith("/cancel") and path.removesuffix("/cancel").rpartition("/")[0].endswith("/responses")


def _index(found: dict[str, Any]) -> int:
    index = found.get("output_index")
    return index if isinstance(index, int) else 0


def _lesson(data: bytes) -> tuple[int, str] | None:
    found = json_object(data) or {}
    delta = found.get("delta")
    return (_index(found), delta) if string(found.get("type")) in _DELTAS and isinstance(delta, str) else None


def _text(output: Any) -> str:
    """All that the model wrote, item by item."""
    texts = PromptBuilder()
    for item in objects(output):
        _add_written(texts, item)
    return "".join(texts.done().texts)


def _add_written(texts: PromptBuilder, item: dict[str, Any]) -> None:
    for name in ("summary", "content"):
        for part in objects(item.get(name)):
            texts.add_text(part.get("text"), part.get("refusal"), part.get("transcript"))
    texts.add_text(*(item.get(name) for name in ("name", "arguments", "input", "code")))
    texts.add_json(within(item, "action") or None)


def _add_item(prompt: PromptBuilder, item: dict[str, Any]) -> None:
    if string(item.get("type")) in _UNSEEN_ITEMS:
        prompt.add_unseen()
    elif "role" in item:
        prompt.begin_message()
        prompt.add_text(item.get("role"))
        _add_content(prompt, item.get("content"))
    else:
        _add_written(prompt, item)
        _add_content(prompt, _output(item))
        if item.get("encrypted_content"):
            prompt.add_uncounted()


def _output(item: dict[str, Any]) -> Any:
    """What a tool gave back: a text, parts, or one part."""
    output = item.get("output")
    return [output] if isinstance(output, dict) else output


def _add_content(prompt: PromptBuilder, content: Any) -> None:
    prompt.add_text(content)
    for part in objects(content):
        kind = string(part.get("type"))
        sound = within(part, "input_audio")
        if kind in _PICTURES:
            prompt.add_picture(part.get("image_url"), part.get("detail"))
        elif kind == "input_file":
            prompt.add_uncounted()
        elif sound:
            prompt.add_audio(sound.get("data"), sound.get("format"))
        else:
            prompt.add_text(part.get("text"), part.get("refusal"))


def _images_count(item: dict[str, Any]) -> int:
    """Pictures in a message, or in what a tool gave back."""
    parts = objects(item.get("content")) + objects(_output(item))
    return sum(string(part.get("type")) in _PICTURES for part in parts)
