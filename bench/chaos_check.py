"""Does every account hold exactly what was sent? Compares what readers see of the store with the workers' sheets.

What an account must hold is computed from the load, field by field, in its own words. The ledger's entries are asked only
where a worker's death left two outcomes open: an exchange that was under way is charged `partial`, or whole if its charge
had been written and only the note of it was missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Final

import chaos_load as load
from chaos_load import ACKNOWLEDGED, BEGUN, OPENED, Sheet
from headwater.ledger import Reader
from headwater.records import AccountRow, Amounts, Charge

MOST_TOLD: Final = 20
_AMOUNTS: Final = tuple(field.name for field in fields(Amounts))
_SUMS: Final = tuple(field.name for field in fields(AccountRow) if field.name not in {"user", "label", "period"})

Key = tuple[int, int]
"""A worker and the number of its exchange."""
Row = dict[str, int]


def differences(reader: Reader, sheets: Iterable[Sheet], dead: frozenset[int]) -> list[str]:
    """What is wrong, in words; empty where all accounts are right to the last unit. `dead`: the workers that were killed."""
    found: list[str] = []
    entries = _entries(reader, found)
    expected: list[Charge] = []
    for sheet in sheets:
        expected += _expected(sheet, entries, found, is_dead=sheet.worker in dead)
    for worker, number in entries:
        found.append(f"worker {worker} number {number} is charged, and nobody sent it")
    sums = _summed(expected)
    for period, rows in _accounts(reader, expected):
        found += _row_differences(period, rows, sums)
    return found


def _entries(reader: Reader, found: list[str]) -> dict[Key, Charge]:
    entries: dict[Key, Charge] = {}
    for entry in reader.ledger_entries():
        key = load.origin(entry)
        if key in entries:
            found.append(f"worker {key[0]} number {key[1]} is charged more than once")
        entries[key] = entry
    return entries


def _expected(sheet: Sheet, entries: dict[Key, Charge], found: list[str], *, is_dead: bool) -> Iterator[Charge]:
    """What must be charged for a sheet's exchanges; takes their entries out."""
    for number, bits in sheet.states():
        key = (sheet.worker, number)
        partial, whole = load.opened(*key), load.completed(*key)
        entry = entries.pop(key, None)
        told = f"worker {key[0]} number {number}"
        if bits & ACKNOWLEDGED:
            allowed: tuple[Charge | None, ...] = (whole,)
        elif not is_dead:
            found.append(f"{told} has ended and was never acknowledged, though its worker lives")
            allowed = (whole,)
        elif bits & OPENED:
            allowed = (partial, whole)
        else:
            assert bits & BEGUN
            allowed = (None, partial, whole)
        if entry in allowed:
            if entry is not None:
                yield entry
            continue
        wanted = allowed[0] or whole
        if entry is None:
            found.append(f"{told} is lost; it is to be charged as {wanted.outcome}")
        else:
            found.append(f"{told} is charged as {entry.outcome} instead of {wanted.outcome}, or with other amounts")
        yield wanted


def _row_of(charge: Charge) -> Row:
    """What one charge adds to an account."""
    usage, amounts = charge.usage, charge.amounts
    row = {
        "requests_count": 1,
        "input_tokens": usage.input_tokens or 0,
        "cached_tokens": usage.cached_tokens or 0,
        "output_tokens": usage.output_tokens or 0,
        "reasoning_tokens": usage.reasoning_tokens or 0,
        "not_upstream_count": int(usage.source != "upstream"),
        "unknown_count": int(amounts is None),
        "incomplete_count": int(charge.outcome != "completed"),
    }
    return row | {name: 0 if amounts is None else getattr(amounts, name) for name in _AMOUNTS}


def _day(charge: Charge) -> str:
    return datetime.fromtimestamp(charge.ended_ms / 1000, UTC).date().isoformat()


def _summed(charges: Iterable[Charge]) -> dict[tuple[str, str], Row]:
    """(period, user) -> what the account must hold; everybody's is user ''."""
    sums: dict[tuple[str, str], Row] = {}
    for charge in charges:
        day, row = _day(charge), _row_of(charge)
        for period in (day, day[:7]):
            for user in (charge.user, ""):
                account = sums.setdefault((period, user), dict.fromkeys(_SUMS, 0))
                for name, amount in row.items():
                    account[name] += amount
    return sums


def _accounts(reader: Reader, expected: list[Charge]) -> Iterator[tuple[str, list[AccountRow]]]:
    """Every account of every period, read in all the ways there are."""
    users = sorted({charge.user for charge in expected})
    for period in (*load.DAYS, *load.MONTHS):
        rows = reader.month_rows(period) if period in load.MONTHS else reader.day_rows(period)
        yield period, [*rows, reader.totals(period)]
        yield period, [reader.totals(period), *(reader.user_row(user, period) for user in users)]


def _row_differences(period: str, rows: list[AccountRow], sums: Mapping[tuple[str, str], Row]) -> Iterator[str]:
    nothing = dict.fromkeys(_SUMS, 0)
    read = {row.user: row for row in rows}
    users = {user for known, user in sums if known == period}
    for user in sorted(users | read.keys()):
        wanted = sums.get((period, user), nothing)
        row = read.get(user)
        is_read = nothing if row is None else {name: getattr(row, name) for name in _SUMS}
        for name in _SUMS:
            if is_read[name] != wanted[name]:
                who = user[:4] or "everybody"
                yield f"{period} {who}: {name} is {is_read[name]}, must be {wanted[name]} ({is_read[name] - wanted[name]:+d})"


def receipts_missing(reader: Reader, sheets: Iterable[Sheet], every: int) -> list[str]:
    """Of every so many acknowledged exchanges one: its receipt must say what was charged."""
    return [
        f"worker {sheet.worker} number {number} has no receipt of its charge"
        for sheet in sheets
        for number, bits in sheet.states()
        if bits & ACKNOWLEDGED
        and number % every == 0
        and reader.receipt(load.request_id(sheet.worker, number)) != load.completed(sheet.worker, number)
    ]
