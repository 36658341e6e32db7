"""Gemini: `POST .../models/{model}:generateContent`, `:streamGenerateContent` and `:embedContent`. Sans I/O, no clock.

The model and whether a stream is wanted stand in the path alone. With `alt=sse` a stream has events, and no terminator of its
own: the protocol's end is that each candidate has a finish reason, or that the prompt was blocked. Without it, one JSON array
comes piece by piece, and its reader only watches.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

from headwater.dialects import gemini_shapes as shapes
from headwater.dialects.base import StreamReader
from headwater.dialects.gemini_shapes import USAGE, listed, member
from headwater.dialects.kit.json_array import JSON, ArrayFramer
from headwater.dialects.kit.lenient import any_json, count, json_object, objects, within
from headwater.dialects.kit.prompts import PromptBuilder
from headwater.dialects.kit.sse import SSE
from headwater.dialects.kit.stream import EventStream, Turn, WatchingStream
from headwater.dialects.kit.whole import WholeReply
from headwater.records import ChatRequest, Prompt, Target, Told, Usage

_GENERATE: Final = re.compile(r"/(?:models|tunedmodels|endpoints)/([^/]+):(stream)?generatecontent/*$", re.IGNORECASE)
_EMBED: Final = re.compile(
    r"/(?:models|tunedmodels|endpoints)/([^/]+):(?:batchembedcontents|embedcontent)/*$", re.IGNORECASE
)
_MARKER: Final = re.compile(rb"finish_?[rR]eason|block_?[rR]eason|usage_?[mM]etadata")
_USAGE_PATH: Final = (USAGE,)
_SNAKE_USAGE_PATH: Final = (shapes.snake(USAGE),)
_MOST_CANDIDATES: Final = 128  # the API gives 8 at most; what is beyond is garbage


class Gemini:
    """The dialect of `:generateContent` and `:streamGenerateContent`."""

    name = "gemini"

    def matches(self, method: str, path: str) -> bool:
        """Whether this generates content; counting tokens does not."""
        return method == "POST" and _GENERATE.search(unquote(path)) is not None

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read model and stream from the path, candidates and pictures from the body. A body that is no JSON object leaves
        the prompt unknown, not the model."""
        asked = _GENERATE.search(unquote(target.path))
        found = json_object(body)
        config = within(member(found or {}, "generationConfig"))
        return ChatRequest(
            model=asked[1] if asked is not None else None,
            stream=asked is not None and asked[2] is not None,
            choices_count=min(count(member(config, "candidateCount")) or 1, _MOST_CANDIDATES),
            images_count=0 if found is None else shapes.images_count(found),
            raw=b"" if found is None else body,
        )

    def prompt(self, request: ChatRequest) -> Prompt:
        """Instruction, contents and functions, for counting."""
        prompt = PromptBuilder()
        shapes.add_prompt(prompt, json_object(request.raw) or {})
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        found = json_object(body)
        if found is None:
            return WholeReply(body=body)
        candidates, usage = listed(found.get("candidates")), within(member(found, USAGE))
        is_blocked = shapes.is_blocked(found)
        return WholeReply(
            body=body,
            complete=is_blocked or (bool(candidates) and all(map(shapes.is_finished, candidates))),
            failed=shapes.error_of(found) or not (candidates or is_blocked or usage),
            told=Told(usage=shapes.usage_of(usage, is_final=True)),
            text=partial(_text, candidates),
            usage_path=_usage_path(found),
        )

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> GeminiStream | GeminiArrayStream | None:
        """A reader for one streamed reply: of events, or of an array where a stream was asked for."""
        if content_type == SSE:
            return GeminiStream()
        return GeminiArrayStream() if request.stream and content_type == JSON else None

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body as it is: usage always comes."""
        return body


class GeminiEmbed:
    """The dialect of `:embedContent` and `:batchEmbedContents`."""

    name = "gemini-embed"

    def matches(self, method: str, path: str) -> bool:
        """Whether this asks for embeddings."""
        return method == "POST" and _EMBED.search(unquote(path)) is not None

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read the model from the path. A body that is no JSON object leaves the prompt unknown, not the model."""
        asked = _EMBED.search(unquote(target.path))
        found = json_object(body)
        return ChatRequest(
            model=asked[1] if asked is not None else None,
            images_count=0 if found is None else shapes.images_count(found),
            raw=b"" if found is None else body,
        )

    def prompt(self, request: ChatRequest) -> Prompt:
        """The contents, for counting."""
        prompt = PromptBuilder()
        shapes.add_embedded(prompt, json_object(request.raw) or {})
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one. Nothing is generated: the output is zero."""
        found = json_object(body)
        if found is None:
            return WholeReply(body=body)
        is_ours = bool(within(found, "embedding") or objects(found.get("embeddings")))
        said = shapes.usage_of(within(member(found, USAGE)), is_final=True)
        usage = Usage(input_tokens=None if said is None else said.input_tokens, output_tokens=0, source="upstream")
        return WholeReply(
            body=body,
            complete=is_ours,
            failed=shapes.error_of(found) or not is_ours,
            told=Told(usage=usage),
            usage_path=_usage_path(found),
        )

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> StreamReader | None:
        """None: embeddings come whole."""
        return None

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body as it is."""
        return body


class _Heard:
    """What the parts of one streamed reply have said, events or elements of an array."""

    def __init__(self) -> None:
        self._counts: dict[str, Any] = {}
        self._finished: dict[int, bool] = {}
        """The candidates seen, and whether each has ended."""
        self.is_blocked = False

    @property
    def is_complete(self) -> bool:
        """No candidate that was seen is still being generated, or the prompt was blocked."""
        return self.is_blocked or (bool(self._finished) and all(self._finished.values()))

    @property
    def told(self) -> Told:
        """The counts as they stand; the last value of each."""
        return Told(usage=shapes.usage_of(self._counts, is_final=self.is_complete))

    def take(self, found: dict[str, Any]) -> list[tuple[int, str]]:
        """Take one part in; return the texts in it, each with its candidate."""
        texts = []
        for candidate in listed(found.get("candidates")):
            index = count(candidate.get("index")) or 0
            index = index if index < _MOST_CANDIDATES else 0
            self._finished[index] = shapes.is_finished(candidate)
            text = shapes.text_of(candidate)
            if text:
                texts.append((index, text))
        self.is_blocked = self.is_blocked or shapes.is_blocked(found)
        said = within(member(found, USAGE)).items()
        self._counts.update({name: each for name, each in said if count(each) is not None or isinstance(each, list)})
        return texts


class GeminiStream(EventStream):
    """The reader of one stream of events. The footprint goes into the usage of the one that ends the last candidate."""

    def __init__(self) -> None:
        super().__init__(marker=_MARKER, usage_path=_USAGE_PATH)
        self._heard = _Heard()

    @property
    def told(self) -> Told:
        """The counts as they stand."""
        return self._heard.told

    def _piece(self, raw: bytes, out: list[bytes]) -> None:
        # An error may come as bare JSON, without a field name before it.
        if raw.lstrip()[:1] in (b"{", b"[") and any(map(shapes.error_of, listed(any_json(raw)))):
            self.failed = True
        super()._piece(raw, out)

    def _read(self, data: bytes) -> Turn:
        found = json_object(data) or {}
        for index, text in self._heard.take(found):
            self._keep(index, text)
        self.failed = self.failed or shapes.error_of(found)
        self.complete = self._heard.is_complete
        if not self.complete:
            return Turn.ORDINARY
        self._usage_path = _usage_path(found)
        # Some servers give a finish reason on every event: only what follows, or the body's end, tells which was the last.
        return Turn.HELD


class GeminiArrayStream(WatchingStream):
    """The reader of one array that comes piece by piece, or of the lone object in its place."""

    def __init__(self) -> None:
        super().__init__(ArrayFramer())
        self._heard = _Heard()

    @property
    def told(self) -> Told:
        """The counts as they stand."""
        return self._heard.told

    def _read(self, data: bytes) -> None:
        found = json_object(data) or {}
        for index, text in self._heard.take(found):
            self._keep(index, text)
        self.failed = self.failed or shapes.error_of(found)
        self.complete = self._heard.is_complete


def _usage_path(found: dict[str, Any]) -> tuple[str, ...]:
    return _SNAKE_USAGE_PATH if USAGE not in found and _SNAKE_USAGE_PATH[0] in found else _USAGE_PATH


def _text(candidates: list[dict[str, Any]]) -> str:
    return "".join(map(shapes.text_of, candidates))
