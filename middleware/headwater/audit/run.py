"""A recount of all shards, and what it found."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from headwater.audit.records import Audit
from headwater.audit.shard import Shard
from headwater.audit.statements import compare_statements
from headwater.errors import ConfigError, LedgerError
from headwater.exports import Exported
from headwater.ledger import schema
from headwater.ledger.books import Books
from headwater.ledger.exporting import Subscription
from headwater.ledger.reader import CLOCK_DOUBT_MS

Tick = Callable[[int, float], None]
"""Told now and then: charges read, and the share of all that is done, from 0 to 1."""
ROUNDS: Final = 2


def unwatched(_read_count: int, _done_ratio: float) -> None:
    """A tick that tells nobody."""


def audit(
    books: Books,
    period: str,
    *,
    exported: Exported | None = None,
    clock: Callable[[], float] = time.time,
    tick: Tick = unwatched,
) -> Audit:
    """Recount the accounts of a month `2026-11` or a day `2026-11-23`, from the ledger stream, or from an export of it and
    what the stream has beyond.

    What differs is looked at twice: the second time from the beginning of the stream, whatever the clocks say.

    Raises:
        ConfigError: the export is another ledger's, was cut off, or cannot be read.
        LedgerError: the period's charges are no longer kept one by one, or the store does not answer.
    """
    kept_from_ms = int(clock() * 1_000) - books.store.retention.days_s * 1_000
    begin_ms = schema.period_start_ms(period)
    if exported is None and begin_ms < kept_from_ms:
        raise LedgerError(
            f"{period} cannot be recounted from the ledger stream: single charges are kept for "
            f"{books.store.retention.days_s * 1_000 // schema.DAY_MS} days; audit an export of it, with --from"
        )
    if exported is not None:
        _check_export(books, exported)
    for first_ms in (max(0, begin_ms - CLOCK_DOUBT_MS), 0)[:ROUNDS]:
        found = _round(books, period, exported, first_ms, clock, tick)
        if found.is_equal:
            break
    return found


def _check_export(books: Books, exported: Exported) -> None:
    ours = books.store.fingerprint() or ""
    if exported.ledger != ours:
        raise ConfigError(f"{exported.folder} is an export of ledger {exported.ledger}, this one is {ours}")
    # Of a cut-off one, some days may go further than others.
    count = sum(each.unacknowledged_count for each in Subscription(books, exported.name).standings())
    if count:
        raise ConfigError(
            f"the last export into {exported.folder} was cut off with {count:,} charges under way; export into it again first"
        )


def _round(
    books: Books,
    period: str,
    exported: Exported | None,
    first_ms: int,
    clock: Callable[[], float],
    tick: Tick,
) -> Audit:
    found = Audit(period=period)
    all_count = sum(books.total(shard, period)[0] for shard in books.shards)

    def tell(more_count: int) -> None:
        done_count = found.charges_count + more_count
        tick(done_count, min(1.0, done_count / all_count) if all_count else 0.0)

    if schema.is_month(period):
        compare_statements(books, period, found, now_ms=int(clock() * 1_000))
    for shard in books.shards:
        Shard(books, shard, found, exported, first_ms=first_ms, now_ms=int(clock() * 1_000), tell=tell).audit()
    return found
