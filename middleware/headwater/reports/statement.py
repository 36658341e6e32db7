"""Ledger rows -> a statement: who used what in a calendar month (UTC), and a total that is the sum of the rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Final

from headwater.errors import ConfigError, LedgerError
from headwater.ledger import Reader
from headwater.records import AccountRow

_MONTH: Final = re.compile(r"(?!0000)\d{4}-(0[1-9]|1[0-2])", re.ASCII)
SUMS: Final = tuple(field.name for field in fields(AccountRow) if field.type == "int")
"""The names of an account row's sums: everything that adds up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One month's accounts. `total` is the sum of `rows`, integer by integer."""

    month: str
    rows: tuple[AccountRow, ...]
    total: AccountRow


def month_now(now_s: float) -> str:
    """The calendar month (UTC) of a moment, as `2026-11`."""
    return f"{datetime.fromtimestamp(now_s, UTC):%Y-%m}"


def checked_month(month: str) -> None:
    """Raises ConfigError where a month is not written as YYYY-MM."""
    if _MONTH.fullmatch(month) is None:
        raise ConfigError(f"month {month!r} is not of the form YYYY-MM, like 2026-11")


def add(rows: tuple[AccountRow, ...], period: str) -> AccountRow:
    """The exact sum of account rows, as a row of nobody's."""
    empty = AccountRow(user="", label=None, period=period)
    return replace(empty, **{name: sum(getattr(row, name) for row in rows) for name in SUMS})


def statement(reader: Reader, month: str) -> Statement:
    """The statement of a month, checked against the totals that the ledger keeps apart from the accounts.

    Raises:
        ConfigError: the month is not written as YYYY-MM.
        LedgerError: accounts and totals disagree; the message names the first difference.
    """
    checked_month(month)
    rows = tuple(reader.month_rows(month))
    total = add(rows, month)
    kept = reader.totals(month)
    for name in SUMS:
        if getattr(total, name) != getattr(kept, name):
            raise LedgerError(
                f"{month}: the accounts' {name} add up to {getattr(total, name)}, the ledger's own total is {getattr(kept, name)}; "
                "if charges came in meanwhile, ask again, else the store was changed by another hand"
            )
    return Statement(month=month, rows=rows, total=total)
