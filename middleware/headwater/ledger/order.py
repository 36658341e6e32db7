"""The charges of a journal in their order, each once. Knows records and numbers, no file.

A sound journal is in order as it is. In a damaged one blocks may be missing, or lie in two places, the second of which may
come first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

from headwater.ledger.frames import Frame, Kind

Missing = Callable[[int, int, int], None]
"""Segment, first and last number of charges that should have come by now."""
Ahead = Callable[[int], tuple[Iterable[Frame], int | None]]
"""The records behind an offset, to the end of the segment, and the number before the next segment, where that is known."""


class Order:
    """Follows a journal from its oldest segment on."""

    def __init__(self, missing: Missing) -> None:
        self._missing = missing
        self._seen_seq: int | None = None
        """None until something tells where the oldest segment begins."""
        self._ahead: tuple[int, list[tuple[int, int]], int | None] | None = None

    def begin(self, segment: int) -> None:
        """Start with the oldest segment. The first of all begins before the first charge, whether or not its own head is to be
        read; elsewhere the first record tells."""
        self._seen_seq = 0 if segment == 1 else None
        self._ahead = None

    def follow(self, segment: int, found: Iterable[Frame], ahead: Ahead) -> list[Frame]:
        """The records of one segment; a charge that is read for the second time, or that is yet to come in its place,
        becomes one of a kind that nobody heeds."""
        return [
            frame if self._is_in_order(segment, frame, ahead) else frame._replace(kind=Kind.VOID) for frame in found
        ]

    def _is_in_order(self, segment: int, frame: Frame, ahead: Ahead) -> bool:
        if frame.kind not in (Kind.FINAL, Kind.HEAD):
            return True
        last_before = frame.seq - (frame.kind == Kind.FINAL)
        seen_seq = self._seen_seq
        if seen_seq is None:
            seen_seq = last_before
        if frame.seq < seen_seq or (frame.kind == Kind.FINAL and frame.seq == seen_seq):
            return False
        if last_before > seen_seq:
            if self._comes_later(segment, seen_seq, frame, ahead):
                return False
            self._missing(segment, seen_seq + 1, last_before)
        self._seen_seq = frame.seq
        return True

    def _comes_later(self, segment: int, seen_seq: int, frame: Frame, ahead: Ahead) -> bool:
        """Whether a charge before this one lies behind it: then this one is out of its place, and comes again."""
        if self._ahead is None or self._ahead[0] != segment:
            found, next_seq = ahead(frame.end)
            ends = {later.seq: later.end for later in found if later.kind == Kind.FINAL}
            self._ahead = segment, sorted(ends.items()), next_seq
        _, known, next_seq = self._ahead
        if next_seq is not None and next_seq < frame.seq:
            return True
        between = known[bisect_left(known, (seen_seq + 1, 0)) : bisect_left(known, (frame.seq, 0))]
        return any(end > frame.end for _, end in between)
