"""Read an OpenAI stream of chunks as it passes. Rewrites nothing but its end, and in a gateway what the gateway asked for.

The end is held until [DONE], or the end of the body: what an upstream says of its energy between usage and [DONE]
(Neuralwatt's comment, GreenPT's chunk) is then known when the footprint is made. Only an event without text waits, and
[DONE] comes with it or right behind it. Injected: usage was asked for in the client's place, so events go on whole, without
their usage. The footprint goes into the last event that carries usage, else to the top level of the event with the last
finish reason.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum
from typing import Any, Final

from headwater.dialects import edits, openai_shapes
from headwater.dialects.base import Addition
from headwater.dialects.openai_shapes import Chunk, Shape, StreamChoice
from headwater.dialects.sse import Event
from headwater.dialects.stencil import Stencils
from headwater.dialects.stream import HoldingStream
from headwater.records import Told

_chunks: Final = Shape(Chunk, StreamChoice)
_MARKER: Final = re.compile(rb'"usage"\s*:\s*(?:data:\s*)?\{|"finish_reason"\s*:\s*(?:data:\s*)?"[^"]')
_TEXT_START: Final = re.compile(rb'"(?:content|reasoning_content|reasoning|refusal|arguments|text)"\s*:\s*"')


class _Kind(Enum):
    QUIET = 0
    """No data: a comment, a blank line."""
    ORDINARY = 1
    FINISH = 2
    """The last finish reason, and no word on usage."""
    FINISH_WAITS = 3
    """The last finish reason, with usage, or with `null` where usage will be: what comes next decides."""
    USAGE = 4
    """No choices, but usage."""
    DONE = 5
    ASIDE = 6
    """Neither choices nor usage: filters' findings, energy."""


class OpenAIStream(HoldingStream):
    """The reader of one stream of chat or legacy completions; see `headwater.dialects.base.StreamReader`."""

    def __init__(self, *, choices_count: int, usage_asked: bool, usage_injected: bool) -> None:
        super().__init__(
            marker=_MARKER,
            stencils=Stencils(_TEXT_START, _lesson, edits.raw_without_usage if usage_injected else None),
            rewrites=usage_injected,
        )
        self._choices_count = choices_count
        self._usage_asked = usage_asked
        self._injected = usage_injected
        self._finished: set[object] = set()
        self._counts: Any = None
        self._timings: Any = None
        self._swallowed_last = False
        self._is_usage_known = False
        """What is held is, or goes without, the chunk that only carries usage."""

    @property
    def told(self) -> Told:
        """The upstream's own counts and times, the last value seen."""
        return Told(
            usage=openai_shapes.usage_of(self._counts, self._timings),
            busy_s=openai_shapes.busy_s_of(self._timings),
        )

    def _piece(self, raw: bytes, out: list[bytes]) -> None:
        sent_count = self._begun()
        known = self._known(raw)
        if known is not None:
            out += (self._let_go(None), known[sent_count:])
            self._swallowed_last = False
            return
        event = Event(raw)
        is_report = self._reports(raw, event.data)
        kind = self._read(event)
        if kind is _Kind.QUIET:
            if raw == b"\n" and self._swallowed_last:
                self._swallowed_last = False  # the second half of a swallowed event's last CR LF
            else:
                self._quiet(raw[sent_count:], out)
            return
        self._swallowed_last = False
        if self._held is not None:
            if kind is _Kind.DONE:
                self._waiting.append(raw)
                self._ready = True
                return
            if kind is _Kind.USAGE and self._injected:
                self._held = edits.with_siblings(self._held, event)
                self._swallowed_last = self._is_usage_known = True
                return
            if kind is _Kind.ASIDE and (is_report or self._is_usage_known):
                # The finish event waits for no more than what says how to charge it; usage has no text to wait for.
                self._quiet(raw[sent_count:], out)
                return
            out.append(self._let_go(None))
        if self._injected:
            self._injected_piece(event, kind, out)
        elif self._ends_here(kind):
            self._hold(raw, sent_count, ready=False)
            self._is_usage_known = kind is _Kind.USAGE
        else:
            out.append(raw[sent_count:])

    def _ends_here(self, kind: _Kind) -> bool:
        if self._released:
            return False
        if kind is _Kind.FINISH:
            return not self._usage_asked
        return kind in (_Kind.USAGE, _Kind.FINISH_WAITS)

    def _injected_piece(self, event: Event, kind: _Kind, out: list[bytes]) -> None:
        if kind is _Kind.USAGE:
            self._swallowed_last = True
            return
        raw = edits.without_usage(event)
        if kind in (_Kind.FINISH, _Kind.FINISH_WAITS) and not self._released:
            self._held = raw
        else:
            out.append(raw)

    def _let_go(self, addition: Addition | None) -> bytes:
        if addition is not None and self._injected:
            # The client did not ask for usage: there is none in what it gets.
            addition = replace(addition, placement="top")
        return super()._let_go(addition)

    # -- what an event says ------------------------------------------------------------------------------------------

    def _read(self, event: Event) -> _Kind:
        data = event.data
        if data is None:
            return _Kind.QUIET
        chunk = _chunks.read(data)
        if chunk is None:
            if data.strip() == b"[DONE]":
                self.complete = True
                return _Kind.DONE
            return _Kind.ORDINARY
        if openai_shapes.is_error(chunk):
            self.failed = True
            return _Kind.ORDINARY
        self._read_usage(chunk)
        if not chunk.choices:
            return _Kind.USAGE if chunk.usage and isinstance(chunk.usage, dict) else _Kind.ASIDE
        return self._read_choices(chunk.choices, chunk, event)

    def _read_usage(self, chunk: Chunk) -> None:
        counts = chunk.usage or openai_shapes.groq_usage(chunk.x_groq)
        if openai_shapes.has_counts(counts):
            self._counts = counts
        if isinstance(chunk.timings, dict):
            self._timings = chunk.timings

    def _read_choices(self, choices: list[StreamChoice], chunk: Chunk, event: Event) -> _Kind:
        finished_now = False
        for choice in choices:
            index = choice.index if isinstance(choice.index, int) else 0
            text = openai_shapes.text_of(choice)
            if text:
                self._keep(index, text)
            if choice.finish_reason:  # some servers say "" for null
                finished_now = True
                self._finished.add(index)
        if finished_now and len(self._finished) >= self._choices_count:
            self.complete = True
            # `null` promises usage to come, unless it is only said out of habit (SGLang): the next event tells. Where the
            # client asked, its usage chunk is the place, and nothing else need wait.
            waits = isinstance(chunk.usage, dict) or (chunk.usage is None and not self._usage_asked)
            return _Kind.FINISH_WAITS if waits else _Kind.FINISH
        is_plain = not isinstance(chunk.usage, dict) and chunk.timings is None
        if self._stencils is not None and not finished_now and len(choices) == 1 and is_plain:
            self._stencils.learn(event.raw, event.data or b"")
        return _Kind.ORDINARY


def _lesson(data: bytes) -> tuple[int, str] | None:
    """The one choice of an ordinary chunk, and its text."""
    chunk = _chunks.read(data)
    choices = chunk.choices if chunk is not None else None
    if not choices or len(choices) != 1:
        return None
    index = choices[0].index
    return (index, openai_shapes.text_of(choices[0])) if isinstance(index, int) else None
