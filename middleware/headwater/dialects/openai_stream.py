"""Read an OpenAI chat stream as it passes. Rewrites nothing but its end, and in a gateway what the gateway asked for.

Watching: bytes go on at once, also halves of events; the event in progress is kept back only from where it shows that it
ends the stream. Injected: usage was asked for in the client's place, so events go on whole, without their usage.
The footprint goes into the last event that carries usage, else to the top level of the event with the last finish reason.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final

from headwater.dialects import openai_edits, openai_shapes
from headwater.dialects.openai_shapes import Chunk, Shape, StreamChoice
from headwater.dialects.openai_stencil import Stencils
from headwater.dialects.openai_texts import Texts
from headwater.dialects.sse import Event, Framer
from headwater.records import Usage

_chunks: Final = Shape(Chunk, StreamChoice)
_MARKER: Final = re.compile(rb'"usage"\s*:\s*(?:data:\s*)?\{|"finish_reason"\s*:\s*(?:data:\s*)?"[^"]')
_MARKER_REACH: Final = 64
_MOST_EVENT_BYTES: Final = 1 << 24
_MOST_WAITING_BYTES: Final = 1 << 12  # comments that may queue up behind a held event


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


class OpenAIChatStream:
    """The reader of one stream; see `headwater.dialects.base.StreamReader` for its contract."""

    def __init__(self, *, choices_count: int, usage_asked: bool, usage_injected: bool) -> None:
        self.complete = False
        self.failed = False
        self._choices_count = choices_count
        self._usage_asked = usage_asked
        self._injected = usage_injected
        self._finished: set[object] = set()
        self._counts: Any = None
        self._timings: Any = None
        self._texts = Texts()
        self._framer = Framer()
        self._sent_count = 0
        """Bytes of the event in progress that were sent before it was complete."""
        self._is_end_shown = False
        """The event in progress shows that it ends the stream, so the rest of it waits."""
        self._held: bytes | None = None
        self._held_sent_count = 0
        self._waiting: list[bytes] = []
        """What came behind the held event."""
        self._ready = False
        self._released = False
        self._swallowed_last = False
        self._blind = False
        self._stencils = Stencils(openai_edits.raw_without_usage if usage_injected else None)
        self._fast: tuple[bytes, int, bytes, int, list[str | bytes]] | None = None

    @property
    def usage(self) -> Usage | None:
        """The upstream's own counts, the last value seen."""
        return openai_shapes.usage_of(self._counts, self._timings)

    @property
    def busy_s(self) -> float | None:
        """The upstream's own prefill and decode time."""
        return openai_shapes.busy_s_of(self._timings)

    @property
    def events_count(self) -> int:
        """Deltas with output seen so far."""
        return self._texts.events_count

    def output_text(self) -> str:
        """All generated text so far, choice by choice."""
        return self._texts.joined()

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Take bytes; return those to send now, and whether the end of the stream is held."""
        fast = self._fast
        if fast is not None:
            # The usual chunk, known by its bytes: the same steps as `Stencil.text`, without a call. The text is the whole
            # inside of a JSON string if it has no quote (22), no backslash at its end (5C) and no line end (0A, 0D).
            head, start, tail, tail_count, parts = fast
            if data.startswith(head) and data.endswith(tail):
                text = data[start:-tail_count]
                if text and 0x22 not in text and text[-1] != 0x5C and 0x0A not in text and 0x0D not in text:
                    parts.append(text)
                    if len(parts) & 0xFFF == 0:
                        self._texts.tidy(parts)
                    return data, False
        return self._feed(data)

    def release(self, footprint: bytes | None) -> bytes:
        """Let go of the held end, with the footprint folded in unless it is None or finds no place."""
        out = [self._let_go(footprint)]
        self._ready, self._released = False, True
        self._advance(out)
        return b"".join(out)

    def close(self) -> bytes:
        """The body ended or broke off: let go of everything still held, unchanged."""
        self._ready, self._released = False, True
        out: list[bytes] = [self._let_go(None)]
        self._advance(out)
        rest = self._framer.rest()
        if rest:
            # The last blank line may be missing: what is there is read all the same.
            self._piece(rest, out)
        return b"".join(out)

    def _feed(self, data: bytes) -> tuple[bytes, bool]:
        if self._blind:
            return data, False
        if self._is_idle():
            known = self._known(data)
            if known is not None:
                return known, False
        self._framer.push(data)
        out: list[bytes] = []
        self._advance(out)
        self._fast = self._shortcut() if self._is_idle() else None
        return b"".join(out), self._ready

    def _is_idle(self) -> bool:
        return self._held is None and not self._framer.pending_count and not self._blind

    def _shortcut(self) -> tuple[bytes, int, bytes, int, list[str | bytes]] | None:
        stencil = self._stencils.latest
        if stencil is None or not stencil.is_simple:
            return None
        return stencil.head, len(stencil.head), stencil.tail, len(stencil.tail), self._texts.parts(stencil.choice)

    def _known(self, raw: bytes) -> bytes | None:
        """The event as it goes out, where it is known as an ordinary one by its bytes alone."""
        found = self._stencils.find(raw)
        if found is None:
            return None
        stencil, text = found
        self._keep(stencil.choice, text)
        return stencil.rewritten(raw, text) if self._injected else raw

    def _advance(self, out: list[bytes]) -> None:
        """Deal with the whole events that are there, then with the beginning of one that is not."""
        while not self._ready:
            piece = self._framer.next()
            if piece is None:
                self._begin(out)
                return
            self._piece(piece, out)

    def _begin(self, out: list[bytes]) -> None:
        pending_count = self._framer.pending_count
        if pending_count > _MOST_EVENT_BYTES:
            out += (self._let_go(None), self._framer.rest()[self._sent_count :])
            self._blind = True
        elif pending_count > self._sent_count and not self._injected and self._held is None:
            look_at = max(0, self._sent_count - _MARKER_REACH)
            if self._released or not (self._is_end_shown or self._shows_end(look_at)):
                out.append(self._framer.pending(self._sent_count))
                self._sent_count = pending_count

    def _shows_end(self, start: int) -> bool:
        self._is_end_shown = _MARKER.search(self._framer.pending(start)) is not None
        return self._is_end_shown

    def _piece(self, raw: bytes, out: list[bytes]) -> None:
        sent_count, self._sent_count = self._sent_count, 0
        self._is_end_shown = False
        known = self._known(raw)
        if known is not None:
            out += (self._let_go(None), known[sent_count:])
            self._swallowed_last = False
            return
        event = Event(raw)
        kind = self._read(event)
        if kind is _Kind.QUIET:
            self._quiet(raw[sent_count:], out)
            return
        self._swallowed_last = False
        if self._held is not None:
            if kind is _Kind.DONE:
                self._waiting.append(raw)
                self._ready = True
                return
            if kind is _Kind.USAGE and self._injected:
                self._held = openai_edits.with_siblings(self._held, event)
                self._ready = self._swallowed_last = True
                return
            out.append(self._let_go(None))
        if self._injected:
            self._injected_piece(event, kind, out)
        elif self._ends_here(kind):
            self._held, self._held_sent_count = raw, sent_count
            self._ready = kind is not _Kind.FINISH_WAITS
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
        raw = openai_edits.without_usage(event)
        if kind in (_Kind.FINISH, _Kind.FINISH_WAITS) and not self._released:
            self._held = raw
        else:
            out.append(raw)

    def _quiet(self, raw: bytes, out: list[bytes]) -> None:
        if raw == b"\n" and self._swallowed_last:
            self._swallowed_last = False  # the second half of a swallowed event's last CR LF
        elif self._held is None:
            out.append(raw)
        else:
            self._waiting.append(raw)
            if sum(map(len, self._waiting)) > _MOST_WAITING_BYTES:
                out.append(self._let_go(None))

    def _let_go(self, footprint: bytes | None) -> bytes:
        held, waiting, sent_count = self._held, self._waiting, self._held_sent_count
        self._held, self._waiting, self._held_sent_count = None, [], 0
        if held is None:
            return b"".join(waiting)
        if footprint is not None:
            held = openai_edits.with_footprint(held, footprint, sent_count, into_usage=not self._injected)
        return held[sent_count:] + b"".join(waiting)

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
            return _Kind.USAGE if chunk.usage and isinstance(chunk.usage, dict) else _Kind.ORDINARY
        return self._read_choices(chunk.choices, chunk, event.raw)

    def _read_usage(self, chunk: Chunk) -> None:
        counts = chunk.usage or openai_shapes.groq_usage(chunk.x_groq)
        if openai_shapes.has_counts(counts):
            self._counts = counts
        if isinstance(chunk.timings, dict):
            self._timings = chunk.timings

    def _read_choices(self, choices: list[StreamChoice], chunk: Chunk, raw: bytes) -> _Kind:
        finished_now = False
        for choice in choices:
            index = choice.index if isinstance(choice.index, int) else 0
            text = openai_shapes.text_of(choice.delta)
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
        if not finished_now and len(choices) == 1 and not isinstance(chunk.usage, dict) and chunk.timings is None:
            self._stencils.learn(raw, _chunks)
        return _Kind.ORDINARY

    def _keep(self, choice: int, text: str | bytes) -> None:
        parts = self._texts.parts(choice)
        parts.append(text)
        self._texts.tidy(parts)
