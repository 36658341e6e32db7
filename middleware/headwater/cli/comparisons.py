"""Rows side by side -> a table, JSON, CSV, bars. Pure formatting."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from headwater.bars import Bar, Bars, Panel
from headwater.cases import Case
from headwater.cli.estimates import VERSION, document, in_flight, request_words, with_range
from headwater.cli.reasons import Pair
from headwater.cli.reasons import as_json as reasons_json
from headwater.cli.reasons import as_lines as reasons_lines
from headwater.comparisons import BASES, Amount, Row, basis, bounds, common, doubtful_runs, share_doubts
from headwater.records import Footprint
from headwater.tables import SHORT_DIGITS, aligned, rule, short, significant, widths
from headwater.units import J_PER_WH, ML_PER_L

_MOST_BARS: Final = 40
_MOST_RUNS: Final = 4
_LAST_COLUMNS: Final = ("water_onsite_l", "water_offsite_l", "method", "multiple_of_least", "reason")
Told = Callable[[Case], str]
# What can differ between rows. What does not stands above the table, under the same name.
_FACETS: Final[dict[str, Told]] = {
    "model": lambda case: case.deployment.model.name,
    "runs as": lambda case: _runs_as(case),
    "hardware": lambda case: "" if _is_flat(case) else case.deployment.hardware.name,
    "engine": lambda case: "" if _is_flat(case) else case.deployment.engine.name,
    "site": lambda case: case.deployment.site.name,
    "grid": lambda case: case.deployment.grid.name,
    "factors": lambda case: case.deployment.factors.name,
    "hydro": lambda case: case.deployment.factors.hydro,
    "WUE basis": lambda case: BASES[basis(case)],
}
_UNITS: Final[dict[Amount, tuple[str, float]]] = {
    "water": ("mL", ML_PER_L),
    "energy": ("Wh", 1 / J_PER_WH),
    "carbon": ("g CO2e", 1),
}


def _is_flat(case: Case) -> bool:
    return case.deployment.factors.flat_it_j_per_request is not None


def _runs_as(case: Case) -> str:
    return "" if _is_flat(case) else f"{case.deployment.accelerators_count}x {case.deployment.precision}"


def as_table(rows: Sequence[Row], *, by: Amount, why: Iterable[Pair] = ()) -> str:
    """What is common, a row per combination, and what a reader must know of the order."""
    differing = [name for name, told in _FACETS.items() if common(rows, told) is None]
    # A grid follows from its site, which says enough.
    differing = [name for name in differing if name != "grid"]
    digits = len(str(len(rows)))
    first = differing[:1]
    head = [f"{'#':>{digits}}  {first[0] if first else ''}".rstrip(), *differing[1:]]
    head += ["energy Wh", "(low to high)", "water mL", "(low to high)", "on-site", "off-site"]
    head += ["CO2e g", "(low to high)", "method", "x"]
    body = []
    for number, row in enumerate(rows, 1):
        facets = [_FACETS[name](row.case) for name in differing]
        body.append([f"{number:>{digits}}  {facets[0] if facets else ''}".rstrip(), *facets[1:], *_amounts(row)])
    wide = widths([head, *body])
    lines = [*_head(rows), "", aligned(head, wide), rule(wide), *(aligned(cells, wide) for cells in body)]
    said = list(remarks(rows, by=by))
    lines += ["", *said] if said else []
    for pair in why:
        lines += ["", *reasons_lines(pair)]
    return "\n".join(lines)


def _head(rows: Sequence[Row]) -> list[str]:
    first = next((row.case for row in rows if not _is_flat(row.case)), None)
    lines = [("request", request_words(rows[0].case))]
    lines += [("in flight", in_flight(first))] if first is not None else []
    for name, told in _FACETS.items():
        value = common(rows, told)
        partly = "" if all(told(row.case) for row in rows) else " (where a set has no figure per request)"
        lines += [(name, f"{value}{partly}")] if value else []
    wide = max(len(name) for name, _ in lines)
    return [f"{name:<{wide}}   {value}" for name, value in lines]


def _amounts(row: Row) -> list[str]:
    answer = row.answer
    if not isinstance(answer, Footprint):
        return ["unknown", "", "unknown", "", "", "", "unknown", "", answer.reason, ""]
    within = answer.spread
    multiple = "" if row.multiple_of_least is None else _short(row.multiple_of_least)
    return [
        *with_range(answer.facility_j / J_PER_WH, within.energy_low, within.energy_high),
        *with_range(answer.water_l * ML_PER_L, within.water_low, within.water_high),
        _short(answer.onsite_l * ML_PER_L),
        _short(answer.offsite_l * ML_PER_L),
        *with_range(answer.carbon_g, within.carbon_low, within.carbon_high),
        answer.method,
        multiple,
    ]


def _short(amount: float) -> str:
    return short(significant(Decimal(amount), SHORT_DIGITS), SHORT_DIGITS)


# -- what must be said of the order -----------------------------------------------------------------------------------------


def remarks(rows: Sequence[Row], *, by: Amount) -> Iterator[str]:
    """Sentences: which order is uncertain, and what does not count alike."""
    yield from _doubts(rows, by)
    if any(row.multiple_of_least is None and isinstance(row.answer, Footprint) for row in rows):
        yield "The least is zero, so there are no multiples of it."
    if common(rows, lambda case: basis(case)) is None:
        yield from _made_comparable(rows)
    counted = [row for row in rows if row.case.deployment.factors.ewif_l_per_kwh is None]
    if len({row.case.deployment.factors.hydro for row in counted}) > 1:
        yield (
            "Water of electricity: hydro=include counts what evaporates from reservoirs, hydro=exclude does not; "
            "rows of the two do not count the same."
        )


def _doubts(rows: Sequence[Row], by: Amount) -> Iterator[str]:
    """Runs that follow from each other are one chain: there only neighbours are too close to be told apart."""
    chains: list[tuple[int, int, bool]] = []
    for first, last in doubtful_runs(rows, by=by):
        if chains and first <= chains[-1][1]:
            chains[-1] = (chains[-1][0], last, True)
        else:
            chains.append((first, last, False))
    for first, last, is_chain in chains[:_MOST_RUNS]:
        named = f"{first + 1} {'to' if last - first > 1 else 'and'} {last + 1}"
        sure = ", each with its neighbours: only the order of rows far apart is" if is_chain else ": their order is not"
        yield f"The intervals of rows {named} overlap in {by}{sure} certain."
    if len(chains) > _MOST_RUNS:
        yield f"So do those of {len(chains) - _MOST_RUNS} more groups of rows."
    if any(share_doubts(rows, first, last) for first, last, _ in chains):
        yield "Rows of one model on one server share the doubt about its energy: they are surer apart than their intervals say."


def _made_comparable(rows: Sequence[Row]) -> Iterator[str]:
    """How the figures of sites became consumptions: a sentence for all of which the same is to be said."""
    named: dict[str, list[str]] = {}
    for row in rows:
        at = row.case.deployment
        name = at.factors.name if basis(row.case) == "set" else at.site.name
        names = named.setdefault(_consumed_words(row.case), [])
        if name not in names:
            names.append(name)
    for words, names in named.items():
        yield f"Water at the site, {', '.join(sorted(names))}: {words}."


def _consumed_words(case: Case) -> str:
    at, kind = case.deployment, basis(case)
    share, wue = at.factors.consumed_ratio, at.factors.wue_l_per_it_kwh
    if kind == "set":
        return f"the set's own figure for every site{f' ({wue.basis})' if wue and wue.basis else ''}, taken as it is"
    if kind == "computed":
        return "a consumption, computed from the cooling"
    if kind == "consumption":
        return "a consumption as published"
    if share is None:
        published = "a withdrawal" if kind == "withdrawal" else "a figure that does not say what it counts"
        return f"{published}, taken as a consumption, as {at.factors.name} does"
    if kind == "withdrawal":
        within = f"{share.value:g} ({share.low:g} to {share.high:g})"
        return f"a withdrawal, of which {within} counts as consumed: the consumed_ratio of {at.factors.name}"
    return (
        "a figure that does not say what it counts; all of it is taken as consumed, with a range down to "
        f"{share.low:g} of it: the consumed_ratio of {at.factors.name}"
    )


# -- for programs, and for the eye --------------------------------------------------------------------------------------------


def as_json(rows: Sequence[Row], *, by: Amount, why: Iterable[Pair] = ()) -> dict[str, Any]:
    """Estimates as `headwater estimate --json` has them, in the order of the table, with their multiple of the least."""
    return {
        "v": VERSION,
        "by": by,
        "estimates": [
            {**document(row.case, row.answer, steps=False), "multiple_of_least": row.multiple_of_least} for row in rows
        ],
        "remarks": list(remarks(rows, by=by)),
        "reasons": [reasons_json(pair) for pair in why],
    }


def as_csv(rows: Sequence[Row]) -> str:
    """A row per combination, all columns, in J, L and g. What is not known is empty."""
    out = io.StringIO()
    sheet = csv.writer(out, lineterminator="\n")
    measured = [f"{name}{side}" for name in ("energy_j", "water_l", "carbon_g") for side in ("", "_low", "_high")]
    sheet.writerow([*(name.lower().replace(" ", "_") for name in _FACETS), *measured, *_LAST_COLUMNS])
    for row in rows:
        facets = [told(row.case) for told in _FACETS.values()]
        answer = row.answer
        if not isinstance(answer, Footprint):
            sheet.writerow([*facets, *("" for _ in (*measured, *_LAST_COLUMNS[:-1])), answer.reason])
            continue
        sides = [bounds(answer, amount) for amount in ("energy", "water", "carbon")]
        amounts = [amount for side in sides for amount in (side.value, side.low, side.high)]
        multiple = "" if row.multiple_of_least is None else row.multiple_of_least
        sheet.writerow([*facets, *amounts, answer.onsite_l, answer.offsite_l, answer.method, multiple, ""])
    return out.getvalue().removesuffix("\n")


def as_bars(rows: Sequence[Row], *, by: Amount) -> Bars:
    """The least rows as bars of what they are sorted by; water in its two parts."""
    differing = [name for name, told in _FACETS.items() if common(rows, told) is None and name not in _NOT_IN_LABELS]
    unit, size = _UNITS[by]
    shared = [value for name, told in _FACETS.items() if name in _IN_TITLE and (value := common(rows, told))]
    more = f"; the {_MOST_BARS} least of {len(rows):,}" if len(rows) > _MOST_BARS else ""
    said = ", ".join([request_words(rows[0].case), *shared])
    bars = (_bar(number, row, differing, by, size) for number, row in enumerate(rows[:_MOST_BARS], 1))
    notes = " ".join(remarks(rows[:_MOST_BARS], by=by))
    return Bars(
        title=f"{by.capitalize()} of one request",
        subtitle=f"{said}{more}. {notes}".strip(),
        panels=(Panel(title=by, unit=unit, bars=tuple(bars)),),
    )


_NOT_IN_LABELS: Final = ("runs as", "engine", "grid", "WUE basis")
_IN_TITLE: Final = ("model", "hardware", "site", "factors")


def _bar(number: int, row: Row, differing: Sequence[str], by: Amount, size: float) -> Bar:
    facets = [value for name in differing or ("model",) if (value := _FACETS[name](row.case))]
    label = f"{number}  {', '.join(facets)}"
    answer = row.answer
    if not isinstance(answer, Footprint):
        return Bar(label=label, value=None, reason=answer.reason)
    at = bounds(answer, by)
    parts = (("on-site", answer.onsite_l * size), ("off-site", answer.offsite_l * size)) if by == "water" else ()
    return Bar(label=label, low=at.low * size, value=at.value * size, high=at.high * size, parts=parts)
