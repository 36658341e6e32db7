"""What could not be read of a journal: said aloud, once, with its place and its numbers. Reads nothing itself."""

from __future__ import annotations

from logging import getLogger
from typing import Final

from headwater.ledger.stats import Stats

log: Final = getLogger("headwater.ledger")
_NONE: Final = 1 << 64  # behind every number


class Damage:
    """The damage of one journal, as its readers come upon it; they may read it again.

    Counted as lost are charges, by their numbers. What kind of record some damaged bytes were, nobody can tell: an open
    record among them, or a last charge with none behind it, is missed by no number.
    """

    def __init__(self, journal_id: str, stats: Stats) -> None:
        self._journal_id = journal_id
        self._stats = stats
        self._told: set[tuple[int, int]] = set()
        self._told_seq = 0
        self.lowest_seq = _NONE
        """The lowest number that is missing."""
        self.stored_seq = 0
        """What the store has applied: a charge up to here that cannot be read any more is not lost."""

    def skipped(self, segment: int, start: int, end: int) -> None:
        """Bytes of a segment that are no sound record."""
        if (segment, start) not in self._told:
            self._told.add((segment, start))
            log.error(
                "journal %s is damaged: bytes %d to %d of segment %d are no sound record and are stepped over",
                self._journal_id, start, end, segment,
            )  # fmt: skip

    def missing(self, segment: int, first_seq: int, last_seq: int) -> None:
        """Charges that should have come, at the latest in a segment, and did not."""
        self.lowest_seq = min(self.lowest_seq, first_seq)
        first_seq = max(first_seq, self._told_seq + 1, self.stored_seq + 1)
        if first_seq > last_seq:
            return
        self._told_seq = last_seq
        self._stats.lost += last_seq - first_seq + 1
        log.error(
            "journal %s is damaged: %d charges (numbers %d to %d, in or before segment %d) cannot be read and are lost",
            self._journal_id, last_seq - first_seq + 1, first_seq, last_seq, segment,
        )  # fmt: skip
