"""Ledger rows -> a statement: who used what in a calendar month (UTC), and a total that is the sum of the rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Final

from headwater import catalog
from headwater.errors import CatalogError, ConfigError, LedgerError
from headwater.ledger import Reader
from headwater.ledger.schema import NO_DOCUMENT
from headwater.physics.place import own_words
from headwater.physics.rates import rates
from headwater.records import AccountRow

_MONTH: Final = re.compile(r"(?!0000)\d{4}-(0[1-9]|1[0-2])", re.ASCII)
SUMS: Final = tuple(field.name for field in fields(AccountRow) if field.type == "int")
"""The names of an account row's sums: everything that adds up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedBy:
    """The rules by which requests of a month were charged. `factors` is "" where no document says it any more.

    `wue_basis`, `own`: as disclosures name them; of hours with a series of their own they may differ.
    """

    requests_count: int
    factors: str = ""
    factors_hash: str = ""
    hydro: str = ""
    wue_basis: str = ""
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One month's accounts. `total` is the sum of `rows`, integer by integer."""

    month: str
    rows: tuple[AccountRow, ...]
    total: AccountRow
    counted_by: tuple[CountedBy, ...] = ()
    """Most requests first; those without a deployment are charged nothing and stand in none."""


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
    return Statement(
        month=month, rows=rows, total=total, counted_by=counted_by(reader, reader.bases(month), total.requests_count)
    )


def counted_by(reader: Reader, bases: Mapping[str, int], requests_count: int) -> tuple[CountedBy, ...]:
    """By which rules so many requests were charged. `bases`: hash of a deployment's document -> requests."""
    counts: Counter[CountedBy] = Counter()
    rest_count = requests_count - sum(bases.values())
    if rest_count > 0:  # charged by a version that did not keep this
        counts[_rules(None)] += rest_count
    for document_hash, count in bases.items():
        if document_hash != NO_DOCUMENT:
            counts[_rules(reader.document(document_hash))] += count
    found = [replace(rules, requests_count=count) for rules, count in counts.items()]
    return tuple(sorted(found, key=lambda each: (-each.requests_count, each.factors, each.own)))


def _rules(document: str | None) -> CountedBy:
    try:
        deployment = catalog.deployment_from_document(document) if document else None
    except CatalogError:
        deployment = None  # another version of headwater wrote it
    if deployment is None:
        return CountedBy(requests_count=0)
    factors, at = deployment.factors, rates(deployment)
    return CountedBy(
        requests_count=0,
        factors=factors.name,
        factors_hash=factors.document_hash,
        hydro=factors.hydro,
        wue_basis=at.onsite.word,
        own=own_words(deployment, at),
    )
