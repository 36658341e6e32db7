"""Restatement -> text: as charged and recomputed side by side, for people, sheets and programs."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any, Final

from headwater.printable import printable
from headwater.records import AccountRow, FactorSet
from headwater.reports.recompute import Restatement
from headwater.reports.render import blank, guarded, values
from headwater.reports.table import ML, WH, G, is_unknown, with_range
from headwater.tables import aligned, rule, widths

_HEAD: Final = ("user", "requests", "", "as charged", "(low to high)", "recomputed", "(low to high)")
_QUANTITIES: Final[tuple[tuple[str, tuple[str, str, str], Decimal], ...]] = (
    ("energy Wh", ("energy_microjoules", "energy_low_microjoules", "energy_high_microjoules"), WH),
    ("water mL", ("water_nanolitres", "water_low_nanolitres", "water_high_nanolitres"), ML),
    ("CO2e g", ("carbon_micrograms", "carbon_low_micrograms", "carbon_high_micrograms"), G),
)
_WITHOUT: Final = "requests_without_footprint"


def restated_csv(made: Restatement) -> str:
    """RFC 4180 with LF: a row per user, no total; exact decimals. What may differ stands in it as `charged_...` and
    `recomputed_...`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    same, differing = _columns(made.charged.total)
    names = [f"{which}_{name}" for name in differing for which in ("charged", "recomputed")]
    writer.writerow(["month", "user", "label", "factors", "factors_hash", "hydro", *same, *names])
    factors = made.recomputed_under
    for charged, recomputed in _pairs(made):
        before, after = values(charged), values(recomputed)
        writer.writerow(
            [
                made.charged.month,
                charged.user,
                guarded(charged.label or ""),
                factors.name,
                factors.document_hash,
                factors.hydro,
                *(blank(before[name]) for name in same),
                *(blank(each[name]) for name in differing for each in (before, after)),
            ]
        )
    return out.getvalue()


def _columns(row: AccountRow) -> tuple[list[str], list[str]]:
    """The names of the columns that are the same under any set, and of those that may differ."""
    counts = {name for name, value in values(row).items() if isinstance(value, int)} - {_WITHOUT}
    return [name for name in values(row) if name in counts], [name for name in values(row) if name not in counts]


def restated_json(made: Restatement) -> str:
    """One object: both sets, rows and total as charged and recomputed, and the requests of which there is more to say."""
    pairs = zip(made.charged.rows, made.recomputed.rows, strict=True)
    document = {
        "v": 1,
        "month": made.charged.month,
        "charged_under": [{**_set(factors), "requests": count} for factors, count in made.charged_under],
        "recomputed_under": _set(made.recomputed_under),
        "rows": [
            {
                "user": charged.user,
                "label": charged.label,
                "charged": values(charged),
                "recomputed": values(recomputed),
            }
            for charged, recomputed in pairs
        ],
        "total": {"charged": values(made.charged.total), "recomputed": values(made.recomputed.total)},
        "requests": {
            "footprint_found": made.found_count,
            "footprint_lost": made.lost_count,
            "without_deployment": made.undeployed_count,
            "without_deployment_document": made.undocumented_count,
            "erased": made.erased_count,
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _set(factors: FactorSet) -> dict[str, Any]:
    return {
        "factors": factors.name,
        "factors_hash": factors.document_hash,
        "hydro": factors.hydro,
        "title": factors.title,
    }


def restated_table(made: Restatement) -> str:
    """An aligned table, three lines per user and in total, under the two sets and what they are; plain text."""
    body = [
        _lines(printable(charged.label or charged.user), charged, recomputed) for charged, recomputed in _pairs(made)
    ]
    total = _lines("total", made.charged.total, made.recomputed.total)
    wide = widths([_HEAD, *(line for lines in [*body, total] for line in lines)])
    lines = [f"Usage statement {made.charged.month} (UTC), recomputed under another factor set", ""]
    lines += _heads(made)
    lines += ["", aligned(_HEAD, wide), rule(wide)]
    lines += [aligned(line, wide) for user in body for line in user]
    lines += [rule(wide), *(aligned(line, wide) for line in total), "", *_remarks(made)]
    return "\n".join(lines) + "\n"


def _heads(made: Restatement) -> list[str]:
    many = len(made.charged_under) > 1
    heads = [
        f"as charged   {_named(factors)}" + (f" ({count:,} requests)" if many else "")
        for factors, count in made.charged_under
    ]
    return [*heads, f"recomputed   {_named(made.recomputed_under)}"]


def _named(factors: FactorSet) -> str:
    return printable(f"{factors.name} ({factors.document_hash}), hydro={factors.hydro}: {factors.title}")


def _pairs(made: Restatement) -> list[tuple[AccountRow, AccountRow]]:
    return list(zip(made.charged.rows, made.recomputed.rows, strict=True))


def _lines(name: str, charged: AccountRow, recomputed: AccountRow) -> list[list[str]]:
    lines: list[list[str]] = []
    for quantity, fields, per in _QUANTITIES:
        cells = [cell for row in (charged, recomputed) for cell in _cells(row, fields, per)]
        lines.append(["", "", quantity, *cells] if lines else [name, f"{charged.requests_count:,}", quantity, *cells])
    return lines


def _cells(row: AccountRow, fields: tuple[str, str, str], per: Decimal) -> tuple[str, str]:
    if is_unknown(row):
        return "unknown", ""
    value, low, high = (getattr(row, name) for name in fields)
    return with_range((value, low, high), per)


def _remarks(made: Restatement) -> list[str]:
    charged, recomputed = made.charged.total, made.recomputed.total
    all_count = charged.requests_count
    counted = (
        (charged.unknown_count, "have no footprint as charged."),
        (recomputed.unknown_count, "have no footprint as recomputed: they are in no sum of it."),
        (made.found_count, "had no footprint as charged and have one as recomputed."),
        (made.lost_count, "had a footprint as charged and have none as recomputed: too little is known of them."),
        (made.undeployed_count, "were served by no known deployment: they have no footprint under any set."),
        (
            made.undocumented_count,
            "were served by a deployment whose stored document is missing or of another version: none is recomputed.",
        ),
    )
    return [
        "Charge by charge, from stored tokens, times and deployments; sites and grids are those that were charged.",
        *(f"{count:,} of {all_count:,} requests {words}" for count, words in counted if count),
        *(
            [f"{made.erased_count:,} more requests of this month are in neither: their single charges were erased."]
            if made.erased_count
            else []
        ),
    ]
