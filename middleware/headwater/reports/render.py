"""Accounts -> text: an aligned table for people, CSV for sheets, JSON for programs. Units stand in the column heads. CSV and
JSON come in pieces, as they are read: a month may have millions of accounts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any, Final

from headwater import money
from headwater.ledger import rows
from headwater.ledger.rows import FIELDS, NOTHING, Sums
from headwater.ledger.statements import Head
from headwater.records import AccountRow, Bill
from headwater.reports.accounts import Accounts, of_statement
from headwater.reports.costs import NO_BILL, Costs
from headwater.reports.entries import Tick, unwatched
from headwater.reports.lines import COLUMNS, Cell, Line, cells, line_of, total
from headwater.reports.statement import Statement
from headwater.reports.table import table

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_SPECIAL: Final = re.compile(r'[,"\r\n]').search
_COUNTS: Final = 5
_BEHIND: Final = 17
"""The columns of quantities stand between these."""
_CSV_KNOWN: Final = ",".join(["%s"] * len(COLUMNS))
_CSV_UNKNOWN: Final = ",".join(["%s" if not _COUNTS <= at < _BEHIND else "" for at in range(len(COLUMNS))])
_JSON_KNOWN: Final = ", ".join(
    f'"{name}": "%s"' if _COUNTS <= at < _BEHIND else f'"{name}": %s' for at, name in enumerate(COLUMNS)
)
_JSON_UNKNOWN: Final = ", ".join(
    f'"{name}": null' if _COUNTS <= at < _BEHIND else f'"{name}": %s' for at, name in enumerate(COLUMNS)
)
_REQUESTS: Final = FIELDS.index("requests_count")


def as_csv(statement: Statement, costs: Costs | None = None) -> str:
    """A statement as CSV, at once."""
    return "".join(csv_pieces(of_statement(statement), costs))


def as_json(statement: Statement, costs: Costs | None = None) -> str:
    """A statement as JSON, at once."""
    return "".join(json_pieces(of_statement(statement), costs))


def as_table(statement: Statement, costs: Costs | None = None) -> str:
    """A statement as a table of all its rows."""
    return table(of_statement(statement), costs)


def csv_pieces(accounts: Accounts, costs: Costs | None = None, tick: Tick = unwatched) -> Iterator[str]:
    """RFC 4180 with LF: a row per user, no total (sums belong to the sheet); exact decimals, nothing rounded but money.

    A closed month's rows say in which statement they stand; its corrections are rows of the month that they correct.
    """
    closed = accounts.closed
    behind = [] if closed is None else ["kind", "statement", "statement_sha256"]
    yield ",".join(["month", "user", "label", *COLUMNS, *_bill(costs, NO_BILL), *behind]) + "\n"
    for batch in accounts.read(tick):
        texts = []
        for line in batch:
            text = f"{line.month},{_quoted(line.user or '')},{_quoted(guarded(line.label or ''))},{_csv_columns(line)}"
            if costs is not None:
                text += "".join(f",{blank(each)}" for each in _bill_of(costs, line, accounts.month).values())
            if closed is not None:
                kind = "account" if line.month == accounts.month else "correction"
                text += f",{kind},{closed.statement_number(line.number)},{closed.sha256}"
            texts.append(text + "\n")
        yield "".join(texts)


def _csv_columns(line: Line) -> str:
    """By a template: a writer that looks for what to quote in every cell takes a third longer."""
    known = cells(line.sums)
    return _CSV_KNOWN % known if known[_COUNTS] is not None else _CSV_UNKNOWN % (known[:_COUNTS] + known[_BEHIND:])


def _quoted(text: str) -> str:
    """A cell of CSV that may be any text."""
    if text.isalnum() or not _SPECIAL(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def guarded(label: str) -> str:
    """A label for a sheet: one that a spreadsheet would run as a formula is defused."""
    return f"'{label}" if label.startswith(_FORMULA_STARTS) else label


def blank(value: Cell) -> int | str:
    """A cell of a sheet: empty for what nobody knows."""
    return "" if value is None else value


def json_pieces(accounts: Accounts, costs: Costs | None = None, tick: Tick = unwatched) -> Iterator[str]:
    """One object: month, rows, total. Counts as numbers; quantities as exact decimals in strings, null where unknown.

    With costs, `cost` says what is not in them, and why. A closed month has `statement`, and `corrections` of others.
    """
    closed, month = accounts.closed, accounts.month
    yield f'{{\n  "v": 1,\n  "month": {_text(month)},\n'
    if closed is not None:
        yield f'  "statement": {_text(_statement(closed))},\n'
    found = NOTHING
    yield '  "rows": ['
    between = "\n    "
    for batch in accounts.read(tick):
        own = [line for line in batch if line.month == month]
        found = rows.plus(found, total(own))
        if own:
            yield between + ",\n    ".join([_object(accounts, line, costs) for line in own])
            between = ",\n    "
    yield "],\n"
    requests_count = found[_REQUESTS]
    if closed is not None:
        yield from _corrections(accounts, closed)
    yield f'  "counted_by": {_text(_rules(accounts, requests_count))},\n'
    sums = {**_named(found), **_bill(costs, costs.total if costs is not None else NO_BILL)}
    yield f'  "total": {_text(sums)}'
    if costs is not None:
        yield f',\n  "cost": {_text(_missing(costs))}'
    yield "\n}\n"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _statement(head: Head) -> dict[str, Any]:
    return {
        "number": head.number,
        "first": head.statement_number(min(1, head.users_count)) or None,
        "last": head.statement_number(head.users_count) or None,
        "closed_at": datetime.fromtimestamp(head.closed_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sha256": head.sha256,
        "previous_sha256": head.previous_sha256 or None,
    }


def _corrections(accounts: Accounts, head: Head) -> Iterator[str]:
    """Another pass, where there are any: they stand among the rows."""
    found: dict[str, Sums] = {}
    between = "\n    "
    yield '  "corrections": ['
    for batch in accounts.read(unwatched) if head.corrected else ():
        for line in batch:
            if line.month != accounts.month:
                found[line.month] = rows.plus(found.get(line.month, NOTHING), line.sums)
                yield between + _object(accounts, line, None, before=f'"month": "{line.month}", ')
                between = ",\n    "
    yield "],\n"
    totals = [{"month": month, **_named(sums)} for month, sums in sorted(found.items())]
    yield f'  "corrections_total": {_text(totals)},\n'


def _object(accounts: Accounts, line: Line, costs: Costs | None, *, before: str = "") -> str:
    """A line as JSON, by a template: what makes a dictionary first takes twice as long."""
    if accounts.closed is not None:
        before += f'"statement": "{accounts.closed.statement_number(line.number)}", '
    known = cells(line.sums)
    columns = _JSON_KNOWN % known if known[_COUNTS] is not None else _JSON_UNKNOWN % (known[:_COUNTS] + known[_BEHIND:])
    bill = "" if costs is None else f", {_text(_bill_of(costs, line, accounts.month))[1:-1]}"
    return f'{{{before}"user": {_string(line.user)}, "label": {_string(line.label)}, {columns}{bill}}}'


def _string(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def _named(sums: Sequence[int]) -> dict[str, Cell]:
    return dict(zip(COLUMNS, cells(sums), strict=True))


def values(row: AccountRow) -> dict[str, Cell]:
    """A row's columns: counts as they are, quantities as exact decimals; None for what nobody knows."""
    return _named(line_of(row).sums)


def _rules(accounts: Accounts, requests_count: int) -> list[dict[str, Any]]:
    return [
        {
            "requests": by.requests_count,
            "factors": by.factors or None,
            "factors_hash": by.factors_hash or None,
            "hydro": by.hydro or None,
            "wue_basis": by.wue_basis or None,
            "own": list(by.own),
        }
        for by in accounts.rules(requests_count)
    ]


def _bill_of(costs: Costs | None, line: Line, month: str) -> dict[str, str | None]:
    if costs is None:
        return {}
    user = line.user if line.month == month else None
    return _bill(costs, NO_BILL if user is None else costs.bills.get(user, NO_BILL))


def _bill(costs: Costs | None, bill: Bill) -> dict[str, str | None]:
    """The columns of money, where there are any: a total is the sum of its parts as they are shown."""
    if costs is None:
        return {}
    return {
        "cost_electricity": money.text(bill.electricity),
        "cost_water": money.text(bill.water),
        "cost_server": money.text(bill.server),
        "cost_total": money.text(bill.total),
        "currency": costs.currency,
    }


def _missing(costs: Costs) -> dict[str, Any]:
    missing = [
        {"parts": list(lack.parts), "requests": lack.requests_count, "reason": lack.reason} for lack in costs.missing
    ]
    return {"currency": costs.currency, "missing": missing, "reason": costs.reason or None}
