"""Read streams as they pass, and hold back the one event that ends them. What all streamed APIs have in common.

Bytes go on at once, also halves of events; the event in progress is kept back only from where it shows that it may end the
stream. Knows events and when they go out; a dialect's subclass knows what they say.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from headwater.dialects.base import Addition, RawEvent
from headwater.dialects.kit import edits, energy_reports
from headwater.dialects.kit.sse import Framer
from headwater.dialects.kit.stencil import Stencils
from headwater.dialects.kit.texts import Texts
from headwater.records import EnergyReport, Told

_MARKER_REACH: Final = 64
_MOST_EVENT_BYTES: Final = 1 << 24
_MOST_WAITING_BYTES: Final = 1 << 12  # comments that may queue up behind a held event


class Framing(Protocol):
    """Cuts bytes into pieces that, joined, are the bytes again; reads a piece as an event."""

    @property
    def pending_count(self) -> int:
        """Bytes pushed and not yet handed out."""
        ...

    def push(self, data: bytes) -> None:
        """Take bytes, cut anywhere."""
        ...

    def next(self) -> bytes | None:
        """The next whole piece; None while the one in progress is not complete."""
        ...

    def rest(self) -> bytes:
        """Everything that is left."""
        ...

    def pending(self, start: int = 0) -> bytes:
        """The bytes not yet handed out, from `start` on."""
        ...

    def event(self, raw: bytes) -> RawEvent:
        """A piece, read."""
        ...


class HoldingStream(ABC):
    """See `headwater.dialects.base.StreamReader` for the contract that a subclass fulfils.

    `marker`: what shows, in an event that is not complete yet, that it may end the stream. `stencils`: for events known by
    their bytes alone. `usage_path`: the members that lead to the usage object of the event that is held. `rewrites`: events
    may be changed on their way, so none goes out before it is complete.
    """

    def __init__(
        self,
        framing: Framing | None = None,
        *,
        marker: re.Pattern[bytes],
        stencils: Stencils | None = None,
        usage_path: tuple[str, ...] = edits.USAGE,
        rewrites: bool = False,
    ) -> None:
        self.complete = False
        self.failed = False
        self.report: EnergyReport | None = None
        self._framing: Framing = Framer() if framing is None else framing
        self._marker = marker
        self._stencils = stencils
        self._usage_path = usage_path
        self._rewrites = rewrites
        self._texts = Texts()
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
        self._blind = False
        self.skim: Callable[[bytes], bool] | None = None
        """Takes the usual chunk, known by its bytes, without a call to `feed`."""

    @property
    @abstractmethod
    def told(self) -> Told:
        """What the upstream has said so far."""

    @abstractmethod
    def _piece(self, raw: bytes, out: list[bytes]) -> None:
        """Deal with one whole piece."""

    @property
    def events_count(self) -> int:
        """Deltas with output seen so far."""
        return self._texts.events_count

    def output_text(self) -> str:
        """All generated text so far, choice by choice."""
        return self._texts.joined()

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Take bytes; return those to send now, and whether the end of the stream is held."""
        if self._blind:
            return data, False
        if self._is_idle():
            known = self._known(data)
            if known is not None:
                return known, False
        self._framing.push(data)
        out: list[bytes] = []
        self._advance(out)
        self.skim = self._shortcut() if self._is_idle() else None
        return b"".join(out), self._ready

    def release(self, addition: Addition | None) -> bytes:
        """Let go of the held end, with the addition folded in unless it is None or finds no place."""
        out = [self._let_go(addition)]
        self._ready, self._released = False, True
        self._advance(out)
        return b"".join(out)

    def close(self) -> bytes:
        """The body ended or broke off: let go of everything still held, unchanged."""
        self._ready, self._released = False, True
        out: list[bytes] = [self._let_go(None)]
        self._advance(out)
        rest = self._framing.rest()
        if rest:
            # The last blank line may be missing: what is there is read all the same.
            self._piece(rest, out)
        return b"".join(out)

    def _is_idle(self) -> bool:
        return self._held is None and not self._framing.pending_count and not self._blind

    def _shortcut(self) -> Callable[[bytes], bool] | None:
        stencil = self._stencils.latest if self._stencils is not None else None
        if stencil is None or self._rewrites:
            return None
        if not stencil.is_simple:
            return self._texts.taker(stencil.choice, stencil.text)
        return self._texts.skimmer(stencil.choice, stencil.head, stencil.tail)

    def _known(self, raw: bytes) -> bytes | None:
        """The event as it goes out, where it is known as an ordinary one by its bytes alone."""
        found = self._stencils.find(raw) if self._stencils is not None else None
        if found is None:
            return None
        stencil, text = found
        self._keep(stencil.choice, text)
        return stencil.rewritten(raw, text) if self._rewrites else raw

    def _advance(self, out: list[bytes]) -> None:
        """Deal with the whole events that are there, then with the beginning of one that is not."""
        while not self._ready:
            piece = self._framing.next()
            if piece is None:
                self._begin(out)
                return
            self._piece(piece, out)

    def _begin(self, out: list[bytes]) -> None:
        pending_count = self._framing.pending_count
        if pending_count > _MOST_EVENT_BYTES:
            out += (self._let_go(None), self._framing.rest()[self._sent_count :])
            self._blind = True
        elif pending_count > self._sent_count and not self._rewrites and self._held is None:
            look_at = max(0, self._sent_count - _MARKER_REACH)
            if self._released or not (self._is_end_shown or self._shows_end(look_at)):
                out.append(self._framing.pending(self._sent_count))
                self._sent_count = pending_count

    def _shows_end(self, start: int) -> bool:
        self._is_end_shown = self._marker.search(self._framing.pending(start)) is not None
        return self._is_end_shown

    def _begun(self) -> int:
        """A new piece is at hand: how many of its bytes were sent already."""
        sent_count, self._sent_count = self._sent_count, 0
        self._is_end_shown = False
        return sent_count

    def _hold(self, raw: bytes, sent_count: int, *, ready: bool) -> None:
        self._held, self._held_sent_count, self._ready = raw, sent_count, ready

    def _reports(self, raw: bytes, data: bytes | None) -> bool:
        """Whether a piece reports energy; the last report stands. Asked of every piece that no stencil knows."""
        found = energy_reports.of_event(raw, data)
        self.report = found or self.report
        return found is not None

    def _quiet(self, raw: bytes, out: list[bytes]) -> None:
        """A piece that says nothing to the client: a comment, a blank line, a report beside the answer."""
        if self._held is None:
            out.append(raw)
            return
        self._waiting.append(raw)
        if sum(map(len, self._waiting)) > _MOST_WAITING_BYTES:
            out.append(self._let_go(None))

    def _let_go(self, addition: Addition | None) -> bytes:
        held, waiting, sent_count = self._held, self._waiting, self._held_sent_count
        self._held, self._waiting, self._held_sent_count = None, [], 0
        if held is None:
            return b"".join(waiting)
        comment = b""
        if addition is not None:
            comment = addition.comment if not sent_count else b""
            held = edits.with_footprint(self._framing.event(held), addition, sent_count, self._usage_path)
        return comment + held[sent_count:] + b"".join(waiting)

    def _keep(self, choice: int, text: str | bytes) -> None:
        self._texts.keep(choice, text)


class Turn(Enum):
    """What an event means for the end of its stream."""

    ORDINARY = 1
    """More will come."""
    HELD = 2
    """It is where the footprint goes, if the terminator follows; what comes next decides."""
    LAST = 3
    """It is where the footprint goes, and all is known."""
    TERMINATOR = 4
    """The protocol's own end, in which nothing can be folded."""


class EventStream(HoldingStream):
    """A stream of events with JSON data: a subclass reads the data of each and says what it means for the end."""

    @abstractmethod
    def _read(self, data: bytes) -> Turn:
        """Take in what one event says: counts, text (`_keep`), `complete`, `failed`."""

    def _piece(self, raw: bytes, out: list[bytes]) -> None:
        sent_count = self._begun()
        known = self._known(raw)
        if known is not None:
            out += (self._let_go(None), known[sent_count:])
            return
        data = self._framing.event(raw).data
        is_report = self._reports(raw, data)
        if data is None:
            self._quiet(raw[sent_count:], out)
            return
        turn = self._read(data)
        if turn is Turn.ORDINARY and is_report and self._held is not None:
            self._quiet(raw[sent_count:], out)
            return
        if turn is Turn.TERMINATOR and self._held is not None:
            self._waiting.append(raw)
            self._ready = True
            return
        out.append(self._let_go(None))
        if turn in (Turn.HELD, Turn.LAST) and not self._released:
            self._hold(raw, sent_count, ready=turn is Turn.LAST)
            return
        if turn is Turn.ORDINARY and self._stencils is not None:
            self._stencils.learn(raw, data)
        out.append(raw[sent_count:])


class WatchingStream(ABC):
    """A stream whose bytes cannot be touched: read along, and never held. Fulfils `StreamReader`."""

    def __init__(self, framing: Framing) -> None:
        self.complete = False
        self.failed = False
        self.skim: Callable[[bytes], bool] | None = None
        self.report: EnergyReport | None = None
        self._framing = framing
        self._texts = Texts()
        self._blind = False

    @property
    @abstractmethod
    def told(self) -> Told:
        """What the upstream has said so far."""

    @abstractmethod
    def _read(self, data: bytes) -> None:
        """Take in what one event says: counts, text (`_keep`), `complete`, `failed`."""

    @property
    def events_count(self) -> int:
        """Deltas with output seen so far."""
        return self._texts.events_count

    def output_text(self) -> str:
        """All generated text so far, choice by choice."""
        return self._texts.joined()

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Take bytes; return the same."""
        if not self._blind:
            self._framing.push(data)
            while (piece := self._framing.next()) is not None:
                self._take(piece)
            self._blind = self._framing.pending_count > _MOST_EVENT_BYTES
            if self._blind:
                self._framing.rest()
        return data, False

    def release(self, addition: Addition | None) -> bytes:
        """Nothing is ever held."""
        return b""

    def close(self) -> bytes:
        """Read what is left, as the end of the body."""
        rest = b"" if self._blind else self._framing.rest()
        if rest:
            self._take(rest)
        return b""

    def _take(self, piece: bytes) -> None:
        data = self._framing.event(piece).data
        self.report = energy_reports.of_event(piece, data) or self.report
        if data is not None:
            self._read(data)

    def _keep(self, choice: int, text: str) -> None:
        self._texts.keep(choice, text)
