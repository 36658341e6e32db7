"""Anthropic Messages: `POST .../v1/messages`. Sans I/O, no clock.

Usage is cumulative: `message_start` has the input side, `message_delta` overwrites what it names. Tokens read from a cache
and written into one stand beside `input_tokens`, not in them; thinking is inside `output_tokens`. The top level leaves out
what a compaction took, what an advisor took, and attempts that came before a fallback: the sum of `iterations` has it all.
An advisor and a fallback are other models; here their tokens count as this one's. (Docstrings of `Usage` and `BetaUsage`,
anthropic-sdk-python 2.12.)

Other servers of this API know the prompt's split only at the end. Qwen's says the whole prompt in `message_start`, without a
word of caches, and `message_delta` names what was cached, with a new `input_tokens` or with none (maximhq/bifrost, pull
request 5355; jeremychone/rust-genai, pull request 258). Some have `"input_tokens":0` there (envoyproxy/ai-gateway, pull
request 1631), which takes nothing back: no prompt is empty.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from headwater.dialects.kit.lenient import count, json_object, objects, string, total, within
from headwater.dialects.kit.prompts import PromptBuilder
from headwater.dialects.kit.sse import SSE
from headwater.dialects.kit.stencil import Stencils
from headwater.dialects.kit.stream import EventStream, Turn
from headwater.dialects.kit.whole import WholeReply
from headwater.errors import DialectError, NotOurs
from headwater.records import ChatRequest, Prompt, Target, Told, Usage

_MARKER: Final = re.compile(rb"message_delta")
_TEXT_START: Final = re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"')
_CACHES: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")
_DELTAS: Final = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "compaction_delta": "content",
}


class Anthropic:
    """The dialect of `POST .../v1/messages`."""

    name = "anthropic"

    def matches(self, method: str, path: str) -> bool:
        """Whether this is a message; counting tokens and batches are not."""
        return method == "POST" and path.endswith("/v1/messages")

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read model, stream, and the pictures.

        Raises:
            NotOurs: neither a model nor messages: another app with a path of the same name.
            DialectError: the body is no JSON object.
        """
        found = json_object(body)
        if found is None:
            raise DialectError(f"request body of {len(body)} bytes is not a JSON object")
        model = found.get("model")
        if not isinstance(model, str) and "messages" not in found:
            raise NotOurs("request body has neither a model nor messages")
        return ChatRequest(
            model=model if isinstance(model, str) else None,
            stream=found.get("stream") is True,
            images_count=body.count(b'"image"') and _images_count(found),
            raw=body,
        )

    def prompt(self, request: ChatRequest) -> Prompt:
        """System, messages and tools, for counting."""
        found = json_object(request.raw) or {}
        prompt = PromptBuilder()
        _add_content(prompt, found.get("system"))
        for message in objects(found.get("messages")):
            prompt.begin_message()
            prompt.add_text(message.get("role"))
            _add_content(prompt, message.get("content"))
        prompt.add_tools(found.get("tools"))
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        found = json_object(body)
        if found is None:
            return WholeReply(body=body)
        return WholeReply(
            body=body,
            complete=bool(found.get("stop_reason")),
            failed=found.get("type") == "error" or not isinstance(found.get("content"), list),
            told=Told(usage=usage_of(within(found, "usage"))),
            text=partial(_text, found.get("content")),
        )

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> AnthropicStream | None:
        """A reader for one streamed reply."""
        return AnthropicStream() if content_type == SSE else None

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body as it is: usage always comes."""
        return body


class AnthropicStream(EventStream):
    """The reader of one stream. The footprint goes into the usage of the last `message_delta`."""

    def __init__(self) -> None:
        # Anthropic's own servers pad each event with blanks, so that its length tells nothing of its text.
        super().__init__(marker=_MARKER, stencils=Stencils(_TEXT_START, _lesson, padded=True))
        self._counts: dict[str, Any] = {}
        self._is_output_known = False
        """A `message_delta` has said it: what `message_start` says of the output is no count."""

    @property
    def told(self) -> Told:
        """The counts as they stand."""
        counts = self._counts if self._is_output_known else {**self._counts, "output_tokens": None, "iterations": None}
        return Told(usage=usage_of(counts))

    def _read(self, data: bytes) -> Turn:
        found = json_object(data) or {}
        kind = found.get("type")
        if kind == "content_block_delta":
            delta = _delta(found)
            if delta is not None:
                self._keep(*delta)
        elif kind == "content_block_start":
            self._keep(_index(found), _block_text(within(found, "content_block")))
        elif kind == "message_start":
            self._counts.update(_said(within(found, "message", "usage")))
        elif kind == "message_delta":
            said = _said(within(found, "usage"))
            self._counts.update(_with_start(self._counts, said))
            self._is_output_known = self._is_output_known or count(said.get("output_tokens")) is not None
            return Turn.HELD
        elif kind == "message_stop":
            self.complete = True
            return Turn.TERMINATOR
        elif kind == "error":
            self.failed = True
        return Turn.ORDINARY


def usage_of(usage: dict[str, Any]) -> Usage | None:
    """Anthropic's counts in canonical shape; None where there are none."""
    fresh, made, cached, written = (
        _sum(usage, name)
        for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    if fresh is None and made is None:
        return None
    thinking = count(within(usage, "output_tokens_details").get("thinking_tokens"))
    return Usage(
        input_tokens=None if fresh is None else total(fresh, cached, written),
        output_tokens=made,
        cached_tokens=None if fresh is None else cached,
        cache_write_tokens=None if fresh is None else written,
        reasoning_tokens=None if thinking is None or made is None else min(thinking, made),
        source="upstream",
    )


def _said(usage: dict[str, Any]) -> dict[str, Any]:
    """What an event says: null is nothing said."""
    return {name: each for name, each in usage.items() if each is not None}


def _with_start(start: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """What a `message_delta` says, with an input that fits what was said before it."""
    asked, fresh = count(start.get("input_tokens")), count(said.get("input_tokens"))
    beside = total(*(count(said.get(name)) for name in _CACHES)) or 0
    if not asked:
        return said
    if fresh is None and beside and not any(name in start for name in _CACHES):
        return {**said, "input_tokens": max(0, asked - beside)}
    if fresh == 0 and not beside:
        return {name: each for name, each in said.items() if name != "input_tokens"}
    return said


def _sum(usage: dict[str, Any], name: str) -> int | None:
    """A count over all iterations; the top level's own where they say less, or nothing."""
    said = count(usage.get(name))
    parts = total(*(count(each.get(name)) for each in objects(usage.get("iterations"))))
    return max((each for each in (said, parts) if each is not None), default=None)


def _index(found: dict[str, Any]) -> int:
    index = found.get("index")
    return index if isinstance(index, int) else 0


def _delta(found: dict[str, Any]) -> tuple[int, str] | None:
    delta = within(found, "delta")
    text = delta.get(_DELTAS.get(string(delta.get("type")), ""))
    return (_index(found), text) if isinstance(text, str) else None


def _lesson(data: bytes) -> tuple[int, str] | None:
    found = json_object(data) or {}
    return _delta(found) if found.get("type") == "content_block_delta" else None


def _block_text(block: dict[str, Any]) -> str:
    return "".join(string(block.get(name)) for name in ("text", "thinking", "name"))


def _text(content: Any) -> str:
    texts = PromptBuilder()
    for block in objects(content):
        texts.add_text(_block_text(block))
        texts.add_json(block.get("input"))
    return "".join(texts.done().texts)


def _add_content(prompt: PromptBuilder, content: Any) -> None:
    prompt.add_text(content)
    for block in objects(content):
        kind = block.get("type")
        if kind == "image":
            source = within(block, "source")
            prompt.add_picture(source.get("data") or source.get("url"))
        elif kind == "tool_result":
            _add_content(prompt, block.get("content"))
        elif kind == "document":
            prompt.add_uncounted()
        else:
            prompt.add_text(_block_text(block))
            prompt.add_json(block.get("input"))


def _images_count(found: dict[str, Any]) -> int:
    """Pictures among the blocks, those in tools' results too."""
    blocks = [block for message in objects(found.get("messages")) for block in objects(message.get("content"))]
    blocks += [inner for block in blocks for inner in objects(block.get("content"))]
    return sum(block.get("type") == "image" for block in blocks)
