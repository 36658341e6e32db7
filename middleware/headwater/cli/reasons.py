"""Why two factor sets give one request different water: ratios that multiply to the whole, the figures behind them, and
where those were read. Pure formatting."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from headwater.catalog import CURRENT_FACTORS
from headwater.comparisons import Factoring, Row, factored
from headwater.physics.rates import Rates, rates
from headwater.records import Deployment, Footprint
from headwater.tables import short, significant
from headwater.units import J_PER_KWH, J_PER_WH, L_PER_US_GALLON, ML_PER_L

_DIGITS: Final = 3
_WIDTH: Final = 116
_INDENT: Final = "  "
_SOURCE_INDENT: Final = "      "
_GALLONS_ROUNDING: Final = 1e-6
# The figures that a set can have of its own, and what they are about.
_OWN: Final = {
    "flat_it_j_per_request": "energy",
    "wue_l_per_it_kwh": "at the site",
    "pue": "facility",
    "ewif_l_per_kwh": "at power stations",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One request under two factor sets, all else being the same."""

    one: Deployment
    other: Deployment
    one_answer: Footprint
    other_answer: Footprint
    ratios: Factoring


def pairs(rows: Sequence[Row], names: Sequence[str]) -> list[Pair]:
    """Each set against the current one, or the first that is named: on the least row for which there are both."""
    reference = CURRENT_FACTORS if CURRENT_FACTORS in names else names[0]
    found = []
    for name in names:
        if name != reference:
            found += [pair for row in rows if (pair := _pair(row, name, reference, rows)) is not None][:1]
    return found


def _pair(row: Row, name: str, reference: str, rows: Sequence[Row]) -> Pair | None:
    if row.case.deployment.factors.name != name or not isinstance(row.answer, Footprint):
        return None
    for other in rows:
        if other.case.deployment.factors.name != reference or _rest(other) != _rest(row):
            continue
        ratios = factored(row.answer, other.answer) if isinstance(other.answer, Footprint) else None
        if ratios is not None and isinstance(other.answer, Footprint):
            return Pair(
                one=row.case.deployment,
                other=other.case.deployment,
                one_answer=row.answer,
                other_answer=other.answer,
                ratios=ratios,
            )
    return None


def _rest(row: Row) -> tuple[Any, ...]:
    at = row.case.deployment
    return at.model.name, at.hardware.name, at.site.name, row.case.hydro


def as_lines(pair: Pair) -> Iterator[str]:
    """The ratios, and below them the sets with their sources."""
    one, other = pair.one, pair.other
    here, there = rates(one), rates(other)
    ratios = pair.ratios
    whole, energy, water = map(_ratio, (ratios.water_ratio, ratios.energy_ratio, ratios.water_per_energy_ratio))
    yield (
        f"Why {one.factors.name} gives {whole} times the water of {other.factors.name} "
        f"({other.model.name}, {other.hardware.name}, {other.site.name})"
    )
    table = [
        (f"IT energy x {energy}", _energy(pair.one_answer), _energy(pair.other_answer)),
        (f"water per kWh x {water}", _water(pair.one_answer), _water(pair.other_answer)),
        ("  at the site", _onsite(one, here), _onsite(other, there)),
        ("  at power stations", _offsite(one, here), _offsite(other, there)),
        (f"together x {whole}", _whole(pair.one_answer), _whole(pair.other_answer)),
    ]
    wide = max(len(name) for name, _, _ in table)
    for name, mine, its in table:
        yield from _wrapped(f"{name:<{wide}}  {mine}, against {its}", _INDENT, " " * (wide + 4))
    for at in (one, other):
        yield from sources(at)


def sources(at: Deployment) -> Iterator[str]:
    """A set's title, and where its figures were read; those that it leaves to the place are the place's."""
    yield from _wrapped(f"{at.factors.name}: {at.factors.title}", _INDENT, _SOURCE_INDENT)
    told = [(about, factor.source) for name, about in _OWN.items() if (factor := getattr(at.factors, name)) is not None]
    if at.factors.flat_it_j_per_request is None:
        told.insert(
            0, ("energy", "the throughput model; `headwater estimate --steps` prints its figures with their sources")
        )
    applied = rates(at)
    if at.factors.wue_l_per_it_kwh is None:
        wue = at.site.wue_l_per_it_kwh
        told.append(("at the site", wue.source if wue is not None else f"computed from the cooling of {at.site.name}"))
    if at.factors.pue is None:
        told.append((_OWN["pue"], at.site.pue.source))
    if at.factors.ewif_l_per_kwh is None:
        told.append(("at power stations", applied.ewif_l_per_kwh.source))
    for about, source in told:
        yield from _wrapped(f"{about}: {source}", _INDENT * 2, _SOURCE_INDENT)


def as_json(pair: Pair) -> dict[str, Any]:
    """The ratios as numbers, with the two sets."""
    one, other = pair.one, pair.other
    return {
        "factors": [one.factors.name, other.factors.name],
        "titles": [one.factors.title, other.factors.title],
        "model": one.model.name,
        "hardware": one.hardware.name,
        "site": one.site.name,
        **{name: float(ratio) for name, ratio in asdict(pair.ratios).items()},
        "text": list(as_lines(pair)),
    }


def _wrapped(words: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        words, _WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _ratio(ratio: Fraction) -> str:
    return _figure(float(ratio))


def _figure(value: float) -> str:
    return short(significant(Decimal(value), _DIGITS), _DIGITS)


def _energy(answer: Footprint) -> str:
    kind = "the set's own figure for every request" if answer.method == "flat" else "by the throughput model"
    return f"{_figure(answer.it_j / J_PER_WH)} Wh, {kind}"


def _water(answer: Footprint) -> str:
    return f"{_figure(answer.water_l / (answer.it_j / J_PER_KWH))} L per kWh of IT energy"


def _whole(answer: Footprint) -> str:
    return f"{_figure(answer.water_l * ML_PER_L)} mL"


def _onsite(at: Deployment, applied: Rates) -> str:
    wue = applied.wue_l_per_it_kwh.value
    if wue == 0:
        return "none"
    if at.factors.wue_l_per_it_kwh is None:
        return f"{_figure(wue)} L, WUE of {at.site.name}"
    gallons = wue / L_PER_US_GALLON
    whole = round(gallons)
    if whole and abs(gallons - whole) < _GALLONS_ROUNDING:
        return f"{_figure(wue)} L, the set's own: {whole} US gallon{'s' if whole > 1 else ''}"
    return f"{_figure(wue)} L, the set's own"


def _offsite(at: Deployment, applied: Rates) -> str:
    ewif, pue = applied.ewif_l_per_kwh.value, applied.pue.value
    if ewif == 0:
        return "none" if at.factors.ewif_l_per_kwh is None else "none: the set counts no water there"
    origin = f"grid {at.grid.name}, hydro={at.factors.hydro}" if at.factors.ewif_l_per_kwh is None else "the set's own"
    return f"{_figure(ewif * pue)} L: EWIF {_figure(ewif)} ({origin}) x PUE {pue:g}"
