"""A month's charges one by one, as the ledger keeps them for a while, checked against the month's account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from headwater.errors import LedgerError
from headwater.ledger import Reader, schema
from headwater.records import AccountRow, Charge
from headwater.reports.statement import checked_month

Tick = Callable[[int, float], None]
"""Told now and then: charges read, and the share of all that is done, from 0 to 1."""
TICK_EVERY: Final = 1_024


def unwatched(_read_count: int, _done_ratio: float) -> None:
    """A tick that tells nobody."""


def month_charges(reader: Reader, month: str, tick: Tick = unwatched) -> Iterator[Charge]:
    """The charges that ended in a calendar month (UTC): shard after shard, mostly in the order in which they were applied.

    As of the moment when the pass begins: what is charged meanwhile is not in it, so a running month can be read. Whether
    they are all that the account holds shows at the end: figures of a pass are good once it has come to its last charge.

    Raises:
        ConfigError: the month is not written as YYYY-MM.
        LedgerError: charges are missing, or they are not those of the account; the message names both numbers.
    """
    checked_month(month)
    shards = list(reader.month_entries(month))
    all_count = sum(total.requests_count for total, _ in shards)
    read_count = 0
    for total, entries in shards:
        it_microjoules = found_count = 0
        for charge in _of_month(entries, month, total.requests_count):
            found_count += 1
            if charge.amounts is not None:
                it_microjoules += charge.amounts.it_microjoules
            yield charge
            read_count += 1
            if read_count % TICK_EVERY == 0:
                tick(read_count, read_count / all_count)
        _check(total, month, kept_days=reader.kept_days, found_count=found_count, it_microjoules=it_microjoules)


def _of_month(entries: Iterable[Charge], month: str, wanted_count: int) -> Iterator[Charge]:
    """The charges of a month, until there are as many as wanted: those of later months need not be read."""
    if wanted_count == 0:
        return
    for charge in entries:
        if schema.periods(charge.ended_ms)[1] == month:
            yield charge
            wanted_count -= 1
            if wanted_count == 0:
                return


def _check(total: AccountRow, month: str, *, kept_days: int, found_count: int, it_microjoules: int) -> None:
    if found_count < total.requests_count:
        raise LedgerError(
            f"{month}: {total.requests_count - found_count:,} of {total.requests_count:,} requests are no longer kept one by one; "
            f"single charges are kept for {kept_days} days, sums stay: headwater report --month {month}"
        )
    if it_microjoules != total.it_microjoules:
        raise LedgerError(
            f"{month}: the it_microjoules of {found_count:,} single charges add up to {it_microjoules}, "
            f"the ledger's own total is {total.it_microjoules}; the store was changed by another hand"
        )
