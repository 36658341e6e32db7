"""Read an OpenAI stream of chunks as it passes. Rewrites nothing but its end, and in a gateway what the gateway asked for.

The end is held until [DONE], or the end of the body: what an upstream says of its energy between usage and [DONE]
(Neuralwatt's comment, GreenPT's chunk) is then known when the footprint is made. Only an event without text waits, and
[DONE] comes with it or right behind it. Injected: usage was asked for in the client's place, so events go on whole, without
their usage. The footprint goes into the last event that carries usage, else to the top level of the event with the last
finish reason: some servers send usage behind that one though nobody asked. Where the last finish reason itself has usage and
none follows (Mistral; llama.cpp's legacy completions), it was not sent for the asking, and stays.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum
from typing import Any, Final

from headwater.dialects import openai_shapes, openai_usage
from headwater.dialects.base import Addition
from headwater.dialects.kit import edits
from headwater.dialects.kit.sse import Event
from headwater.dialects.kit.stencil import Stencils
from headwater.dialects.kit.stream import HoldingStream
from headwater.dialects.openai_shapes import Chunk, Shape, StreamChoice
from headwater.records import Told

_chunks: Final = Shape(Chunk, StreamChoice)
_MARKER: Final = re.compile(rb'"usage"\s*:\s*(?:data:\s*)?\{|"finish_reason"\s*:\s*(?:data:\s*)?"[^"]')
_TEXT_START: Final = re.compile(rb'"(?:content|reasoning_content|reasoning|refusal|arguments|text)"\s*:\s*"')


class _Kind(Enum):
    QUIET = 0
    """No data: a comment, a blank line."""
    ORDINARY = 1
    TRAILING = 2
    """Behind the last finish reason, and neither text nor usage: what Azure's filters found, and the like."""
    END = 3
    """A finish reason, or usage behind the last one: what comes next decides whether it is where the footprint goes."""
    USAGE = 4
    """No choices, but usage."""
    DONE = 5


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
        self._times: dict[str, Any] = {}
        self._swallowed_last = False
        self._ends_with_usage = False
        self._keeps_usage = False

    @property
    def told(self) -> Told:
        """The upstream's own counts and times, the last value seen."""
        return openai_usage.told(self._counts, self._times)

    def _piece(self, raw: bytes, out: list[bytes]) -> None:
        sent_count = self._begun()
        known = self._known(raw)
        if known is not None:
            out += (self._let_go(None), known[sent_count:])
            self._swallowed_last = False
            return
        event = Event(raw)
        self._reports(raw, event.data)
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
                self._held = edits.with_siblings(self._without_usage(self._held), event)
                self._swallowed_last = True
                return
            if kind is _Kind.TRAILING:
                self._quiet(edits.without_usage(event) if self._injected else raw, out)
                return
            self._held = self._without_usage(self._held)
            out.append(self._let_go(None))
        if self._injected:
            self._injected_piece(event, kind, out)
        elif kind in (_Kind.END, _Kind.USAGE) and not self._released:
            # Whatever seems to be the last word may be followed by it: usage where nobody asked (OpenRouter), energy behind
            # usage, and a choice may be the last though more were asked for.
            self._hold(raw, sent_count, ready=False)
        else:
            out.append(raw[sent_count:])

    def _injected_piece(self, event: Event, kind: _Kind, out: list[bytes]) -> None:
        if kind is _Kind.USAGE:
            self._swallowed_last = True
            return
        if kind is _Kind.END and not self._released:
            self._keeps_usage = self._ends_with_usage
            self._held = event.raw if self._keeps_usage else edits.without_usage(event)
        else:
            out.append(edits.without_usage(event))

    def _without_usage(self, held: bytes) -> bytes:
        """The held event, behind which more came: its usage was running usage."""
        keeps_usage, self._keeps_usage = self._keeps_usage, False
        return edits.raw_without_usage(held) if keeps_usage else held

    def _let_go(self, addition: Addition | None) -> bytes:
        if addition is not None and self._injected and not self._keeps_usage:
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
        has_counts = self._read_usage(chunk)  # OpenRouter's errors have usage too
        if openai_shapes.is_error(chunk):
            self.failed = True
            return _Kind.ORDINARY
        if not chunk.choices:
            if has_counts or (chunk.usage and isinstance(chunk.usage, dict)):
                return _Kind.USAGE
            return _Kind.TRAILING if self.complete else _Kind.ORDINARY
        return self._read_choices(chunk.choices, chunk, event, has_counts=has_counts)

    def _read_usage(self, chunk: Chunk) -> bool:
        """Take the counts and times, the last of each; whether there were counts."""
        counts = openai_usage.counts_of(chunk.usage, chunk.x_groq, chunk.choices or ())
        if counts is not None:
            self._counts = counts
        self._times.update(openai_usage.times_of(chunk))
        return counts is not None

    def _read_choices(self, choices: list[StreamChoice], chunk: Chunk, event: Event, *, has_counts: bool) -> _Kind:
        finished_now = has_text = False
        for choice in choices:
            index = choice.index if isinstance(choice.index, int) else 0
            text = openai_shapes.text_of(choice)
            if text:
                has_text = True
                self._keep(index, text)
            if choice.finish_reason:  # some servers say "" for null
                finished_now = True
                self._finished.add(index)
        self._ends_with_usage = finished_now and has_counts and isinstance(chunk.usage, dict)
        if finished_now:
            self.complete = self.complete or len(self._finished) >= self._choices_count
            # Where the client asked, its usage is the place, and nothing else need wait.
            return _Kind.END if has_counts or not self._usage_asked else _Kind.ORDINARY
        if self.complete and not has_text:
            return _Kind.END if has_counts else _Kind.TRAILING
        if self._stencils is not None and len(choices) == 1 and not has_counts and chunk.timings is None:
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
