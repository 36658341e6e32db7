"""From the ledger stream to a target, at least once: an entry is acknowledged only when the target has it for good."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Final, Protocol

from headwater.errors import LedgerError
from headwater.exports.columns import Record
from headwater.ledger import packing
from headwater.ledger.books import Entry
from headwater.ledger.exporting import Subscription
from headwater.records import Charge

Progress = Callable[[int, float], None]
"""Told now and then: how many are done, and the share of all, from 0 to 1; 0 where it is not known."""


class ExportError(LedgerError):
    """The target does not take what it is given; the message names it and the remedy. Nothing is lost: it comes again."""


class Unavailable(ExportError):
    """The target cannot take it now; later it may, after `wait_s` where it says so."""

    def __init__(self, words: str, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.wait_s = wait_s


class Target(Protocol):
    """Where charges go."""

    @property
    def is_full(self) -> bool:
        """Whether it is time to commit."""

    def held(self, shard: int, entry_ids: Collection[str]) -> set[str]:
        """Which entries of a shard it has for good, as far as it can tell."""

    def add(self, record: Record) -> None:
        """Take a charge."""

    def commit(self) -> None:
        """Have for good what was taken. Raises ExportError."""

    def discard(self) -> None:
        """Forget what was taken and not committed: it comes again."""


@dataclass(slots=True)
class Summary:
    """What an export did.

    `exported_count`: charges that the target took. `again_count`: those among them that were handed out before. `held_count`:
    handed out before, and found at the target. `gone_count`: handed out before, and erased or trimmed since. `missed_count`:
    trimmed before they were ever handed out; None where there may be some.
    """

    exported_count: int = 0
    again_count: int = 0
    held_count: int = 0
    gone_count: int = 0
    missed_count: int | None = 0

    def as_dict(self) -> dict[str, int | None]:
        """For programs."""
        return asdict(self)


def _untold(_done_count: int, _done_ratio: float) -> None:
    """Progress that nobody hears of."""


TELLS_NOBODY: Final[Progress] = _untold


def export(
    feed: Subscription, target: Target, tell: Progress = TELLS_NOBODY, summary: Summary | None = None
) -> Summary:
    """Hand over what was under way when the last export ended, then all charges up to the present end of each shard.

    Raises:
        ExportError: the target does not take it.
        StoreError: the store does not answer.
        LedgerError: a charge cannot be read; the message names its place.
    """
    summary = Summary() if summary is None else summary
    run = _Run(feed, target, tell, summary)
    try:
        for shard in feed.shards:
            run.shard(shard)
    except BaseException:
        target.discard()
        raise
    return summary


class _Run:
    def __init__(self, feed: Subscription, target: Target, tell: Progress, summary: Summary) -> None:
        self._feed = feed
        self._target = target
        self._tell = tell
        self._summary = summary
        self._before_count = summary.exported_count
        self._taken: list[str] = []
        standings = feed.standings()
        self._wanted_count = sum(each.unacknowledged_count + (each.waiting_count or 0) for each in standings)
        self._has_unknown = any(each.waiting_count is None for each in standings)
        for each in standings:
            if each.is_behind and summary.missed_count is not None:
                summary.missed_count = None if each.missed_count is None else summary.missed_count + each.missed_count

    def shard(self, shard: int) -> None:
        """All of one shard."""
        end = self._feed.end(shard)
        for entries, gone in self._feed.unacknowledged(shard):
            held = self._target.held(shard, {entry.entry_id for entry in entries})
            self._feed.acknowledge(shard, [*gone, *held])
            self._summary.gone_count += len(gone)
            self._summary.held_count += len(held)
            self._summary.again_count += len(entries) - len(held)
            self._take(shard, (entry for entry in entries if entry.entry_id not in held))
        for entries in self._feed.fresh(shard, end):
            self._take(shard, entries)
        self._commit(shard)

    def _take(self, shard: int, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._target.add(Record(shard, entry.entry_id, _charge(entry, shard)))
            self._taken.append(entry.entry_id)
            if self._target.is_full:
                self._commit(shard)
        done_count = self._summary.exported_count - self._before_count + len(self._taken)
        known = self._wanted_count if not self._has_unknown else 0
        self._tell(done_count, min(done_count / known, 1) if known else 0)

    def _commit(self, shard: int) -> None:
        if self._taken:
            self._target.commit()
            self._feed.acknowledge(shard, self._taken)
            self._summary.exported_count += len(self._taken)
            self._taken = []


def _charge(entry: Entry, shard: int) -> Charge:
    try:
        return packing.unpack(entry.packed)
    except LedgerError as error:
        raise LedgerError(f"charge {entry.entry_id} of shard {shard} cannot be exported: {error}") from error
