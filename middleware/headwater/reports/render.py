"""Statement -> text: an aligned table for people, CSV for sheets, JSON for programs. Units stand in the column heads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from headwater import money
from headwater.printable import printable
from headwater.records import AccountRow, Bill
from headwater.reports.costs import NO_BILL, Costs
from headwater.reports.statement import Statement
from headwater.tables import aligned, rule, short, widths
from headwater.units import MICROGRAMS_PER_G, MICROJOULES_PER_J, MICROJOULES_PER_KWH, NANOLITRES_PER_L

_J: Final = Decimal(MICROJOULES_PER_J)
WH: Final = Decimal(MICROJOULES_PER_KWH) / 1000
ML: Final = Decimal(NANOLITRES_PER_L) / 1000
G: Final = Decimal(MICROGRAMS_PER_G)
_CENTS: Final = 2
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")

_COLUMNS: Final[tuple[tuple[str, Callable[[AccountRow], int | Decimal]], ...]] = (
    ("requests", lambda row: row.requests_count),
    ("input_tokens", lambda row: row.input_tokens),
    ("cached_tokens", lambda row: row.cached_tokens),
    ("output_tokens", lambda row: row.output_tokens),
    ("reasoning_tokens", lambda row: row.reasoning_tokens),
    ("energy_j", lambda row: row.energy_microjoules / _J),
    ("energy_low_j", lambda row: row.energy_low_microjoules / _J),
    ("energy_high_j", lambda row: row.energy_high_microjoules / _J),
    ("it_j", lambda row: row.it_microjoules / _J),
    ("water_ml", lambda row: row.water_nanolitres / ML),
    ("water_low_ml", lambda row: row.water_low_nanolitres / ML),
    ("water_high_ml", lambda row: row.water_high_nanolitres / ML),
    ("water_onsite_ml", lambda row: row.onsite_nanolitres / ML),
    ("water_offsite_ml", lambda row: row.offsite_nanolitres / ML),
    ("carbon_g", lambda row: row.carbon_micrograms / G),
    ("carbon_low_g", lambda row: row.carbon_low_micrograms / G),
    ("carbon_high_g", lambda row: row.carbon_high_micrograms / G),
    ("requests_counted_here", lambda row: row.not_upstream_count),
    ("requests_without_footprint", lambda row: row.unknown_count),
    ("requests_not_completed", lambda row: row.incomplete_count),
)


def as_csv(statement: Statement, costs: Costs | None = None) -> str:
    """RFC 4180 with LF: a row per user, no total (sums belong to the sheet); exact decimals, nothing rounded but money."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["month", "user", "label", *(name for name, _ in _COLUMNS), *_bill(costs, NO_BILL)])
    for row in statement.rows:
        cells = {**values(row), **_bill_of(costs, row)}
        writer.writerow([statement.month, row.user, guarded(row.label or ""), *map(blank, cells.values())])
    return out.getvalue()


def guarded(label: str) -> str:
    """A label for a sheet: one that a spreadsheet would run as a formula is defused."""
    return f"'{label}" if label.startswith(_FORMULA_STARTS) else label


def blank(value: int | str | None) -> int | str:
    """A cell of a sheet: empty for what nobody knows."""
    return "" if value is None else value


def as_json(statement: Statement, costs: Costs | None = None) -> str:
    """One object: month, rows, total. Counts as numbers; quantities as exact decimals in strings, null where unknown.

    With costs, `cost` says what is not in them, and why.
    """
    document = {
        "v": 1,
        "month": statement.month,
        "rows": [
            {"user": row.user, "label": row.label, **values(row), **_bill_of(costs, row)} for row in statement.rows
        ],
        "counted_by": [
            {
                "requests": by.requests_count,
                "factors": by.factors or None,
                "factors_hash": by.factors_hash or None,
                "hydro": by.hydro or None,
                "wue_basis": by.wue_basis or None,
                "own": list(by.own),
            }
            for by in statement.counted_by
        ],
        "total": {**values(statement.total), **_bill(costs, costs.total if costs is not None else NO_BILL)},
        **({} if costs is None else {"cost": _missing(costs)}),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_table(statement: Statement, costs: Costs | None = None) -> str:
    """An aligned table with a total line and the interval of each quantity; plain text."""
    head = [
        "user",
        "requests",
        "input",
        "cached",
        "output",
        "energy Wh",
        "(low to high)",
        "water mL",
        "(low to high)",
        "CO2e g",
    ]
    body = [_cells(printable(row.label or row.user), row) for row in statement.rows]
    total = _cells("total", statement.total)
    if costs is not None and not costs.reason:
        head.append(f"cost {costs.currency}")
        for cells, row in zip(body, statement.rows, strict=True):
            cells.append(_money(costs.bills.get(row.user, NO_BILL)))
        total.append(_money(costs.total))
    wide = widths([head, *body, total])
    lines = [f"Usage statement {statement.month} (UTC)", "", aligned(head, wide), rule(wide)]
    lines += [aligned(line, wide) for line in body]
    lines += [rule(wide), aligned(total, wide)]
    remarks = [*_remarks(statement.total, costs), *_rules(statement)]
    return "\n".join([*lines, *([""] if remarks else []), *remarks]) + "\n"


def _rules(statement: Statement) -> list[str]:
    """By which rules the month was charged: a statement without them could not be checked."""
    lines = []
    for by in statement.counted_by:
        if not by.factors:
            lines.append(f"{by.requests_count:,} requests were charged by rules that are not known any more.")
            continue
        own = f", own figures: {', '.join(by.own)}" if by.own else ""
        lines.append(
            f"{by.requests_count:,} requests were charged under {by.factors} ({by.factors_hash}), hydro={by.hydro}, "
            f"wue={by.wue_basis}{own}."
        )
    if len({(by.factors, by.hydro) for by in statement.counted_by}) > 1:
        lines.append(
            f"Sums over different factor sets say little: headwater recompute --month {statement.month} counts all by one."
        )
    return lines


def _remarks(total: AccountRow, costs: Costs | None) -> list[str]:
    no_sum = "energy, water and carbon" if costs is None or costs.reason else "energy, water, carbon and cost"
    remarks = [
        f"{count:,} of {total.requests_count:,} requests {words}"
        for count, words in (
            (
                total.not_upstream_count,
                "came without token counts: those were counted or estimated here, or are unknown.",
            ),
            (total.unknown_count, f"have no footprint: they are in no sum of {no_sum}."),
            (total.incomplete_count, "did not complete: charged for what was generated, if anything."),
        )
        if count
    ]
    for lack in costs.missing if costs is not None else ():
        *firsts, last = lack.parts
        parts = f"{', '.join(firsts)} and {last}" if firsts else last
        remarks.append(
            f"{lack.requests_count:,} of {total.requests_count:,} requests have no cost of {parts}: {lack.reason}."
        )
    if costs is not None and costs.reason:
        remarks.append(f"Without costs: {costs.reason}.")
    return remarks


def _bill_of(costs: Costs | None, row: AccountRow) -> dict[str, str | None]:
    return _bill(costs, NO_BILL if costs is None else costs.bills.get(row.user, NO_BILL))


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


def _money(bill: Bill) -> str:
    return "unknown" if bill.total is None else short(money.decimal(bill.total), least_places=_CENTS)


def _cells(name: str, row: AccountRow) -> list[str]:
    counts = [f"{row.requests_count:,}", f"{row.input_tokens:,}", f"{row.cached_tokens:,}", f"{row.output_tokens:,}"]
    if is_unknown(row):
        return [name, *counts, "unknown", "", "unknown", "", "unknown"]
    energy = row.energy_microjoules, row.energy_low_microjoules, row.energy_high_microjoules
    water = row.water_nanolitres, row.water_low_nanolitres, row.water_high_nanolitres
    return [name, *counts, *with_range(energy, WH), *with_range(water, ML), short(row.carbon_micrograms / G)]


def with_range(amounts: tuple[int, int, int], per: Decimal) -> tuple[str, str]:
    """An amount and its range for people, in the unit that has so many of the ledger's."""
    value, low, high = (short(amount / per) for amount in amounts)
    return value, f"({low} to {high})"


def values(row: AccountRow) -> dict[str, int | str | None]:
    """A row's columns: counts as they are, quantities as exact decimals; None for what nobody knows."""
    return {name: _exact(read(row), row) for name, read in _COLUMNS}


def _exact(value: int | Decimal, row: AccountRow) -> int | str | None:
    if isinstance(value, int):
        return value
    return None if is_unknown(row) else f"{value:f}"


def is_unknown(row: AccountRow) -> bool:
    """No request of the account has a footprint: its sums of quantities are empty, which is not zero."""
    return row.requests_count > 0 and row.unknown_count == row.requests_count
