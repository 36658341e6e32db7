"""Statement -> text: an aligned table for people, CSV for sheets, JSON for programs. Units stand in the column heads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from headwater.records import AccountRow
from headwater.reports.statement import Statement
from headwater.units import MICROGRAMS_PER_G, MICROJOULES_PER_J, MICROJOULES_PER_KWH, NANOLITRES_PER_L

_J: Final = Decimal(MICROJOULES_PER_J)
_WH: Final = Decimal(MICROJOULES_PER_KWH) / 1000
_ML: Final = Decimal(NANOLITRES_PER_L) / 1000
_G: Final = Decimal(MICROGRAMS_PER_G)
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
    ("water_ml", lambda row: row.water_nanolitres / _ML),
    ("water_low_ml", lambda row: row.water_low_nanolitres / _ML),
    ("water_high_ml", lambda row: row.water_high_nanolitres / _ML),
    ("water_onsite_ml", lambda row: row.onsite_nanolitres / _ML),
    ("water_offsite_ml", lambda row: row.offsite_nanolitres / _ML),
    ("carbon_g", lambda row: row.carbon_micrograms / _G),
    ("carbon_low_g", lambda row: row.carbon_low_micrograms / _G),
    ("carbon_high_g", lambda row: row.carbon_high_micrograms / _G),
    ("requests_counted_here", lambda row: row.not_upstream_count),
    ("requests_without_footprint", lambda row: row.unknown_count),
    ("requests_not_completed", lambda row: row.incomplete_count),
)


def as_csv(statement: Statement) -> str:
    """RFC 4180 with LF: a row per user, no total (sums belong to the sheet); exact decimals, nothing rounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["month", "user", "label", *(name for name, _ in _COLUMNS)])
    for row in statement.rows:
        label = row.label or ""
        # A label that a spreadsheet would run as a formula is defused.
        guarded = f"'{label}" if label.startswith(_FORMULA_STARTS) else label
        writer.writerow([statement.month, row.user, guarded, *(_plain(read(row)) for _, read in _COLUMNS)])
    return out.getvalue()


def as_json(statement: Statement) -> str:
    """One object: month, rows, total. Quantities as exact decimal strings; counts as numbers."""
    document = {
        "v": 1,
        "month": statement.month,
        "rows": [{"user": row.user, "label": row.label, **_values(row)} for row in statement.rows],
        "total": _values(statement.total),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_table(statement: Statement) -> str:
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
    body = [_cells(row.label or row.user, row) for row in statement.rows]
    total = _cells("total", statement.total)
    widths = [max(len(line[column]) for line in [head, *body, total]) for column in range(len(head))]
    rule = "  ".join("-" * width for width in widths)
    lines = [f"Usage statement {statement.month} (UTC)", "", _aligned(head, widths), rule]
    lines += [_aligned(line, widths) for line in body]
    lines += [rule, _aligned(total, widths)]
    return "\n".join([*lines, *_remarks(statement.total)]) + "\n"


def _remarks(total: AccountRow) -> list[str]:
    remarks = []
    if total.not_upstream_count:
        remarks.append(
            f"{total.not_upstream_count} of {total.requests_count} requests: tokens counted or estimated here, or unknown."
        )
    if total.unknown_count:
        remarks.append(
            f"{total.unknown_count} of {total.requests_count} requests have no footprint: they are in no sum of energy, water and carbon."
        )
    if total.incomplete_count:
        remarks.append(
            f"{total.incomplete_count} of {total.requests_count} requests did not complete; they are charged for what was generated."
        )
    return ["", *remarks] if remarks else []


def _cells(name: str, row: AccountRow) -> list[str]:
    return [
        name,
        f"{row.requests_count:,}",
        f"{row.input_tokens:,}",
        f"{row.cached_tokens:,}",
        f"{row.output_tokens:,}",
        _short(row.energy_microjoules / _WH),
        f"({_short(row.energy_low_microjoules / _WH)} to {_short(row.energy_high_microjoules / _WH)})",
        _short(row.water_nanolitres / _ML),
        f"({_short(row.water_low_nanolitres / _ML)} to {_short(row.water_high_nanolitres / _ML)})",
        _short(row.carbon_micrograms / _G),
    ]


def _aligned(cells: list[str], widths: list[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip()


def _short(value: Decimal) -> str:
    """Three significant digits for people, and no exponent."""
    if value == 0:
        return "0"
    places = max(0, 2 - value.adjusted())
    return f"{value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):,f}"


def _plain(value: int | Decimal) -> str:
    return str(value) if isinstance(value, int) else f"{value:f}"


def _values(row: AccountRow) -> dict[str, Any]:
    return {name: value if isinstance(value := read(row), int) else f"{value:f}" for name, read in _COLUMNS}
