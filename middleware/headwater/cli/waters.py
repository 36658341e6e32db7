"""What today's factor set makes of a site's water: lines for people, JSON for programs. Pure formatting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, Final, get_args

from headwater import catalog
from headwater.cli.writing import hanging, number
from headwater.physics.litres import Litres, litres_per_it_kwh
from headwater.physics.rates import Rates, place_rates
from headwater.records import Factor, Hydro, Site, WueWord

_WAYS: Final[Mapping[WueWord, str]] = {
    "consumption": "as its operator reports it",
    "withdrawal": "a withdrawal, taken as it is",
    "from-withdrawal": "a share of what its operator withdraws",
    "unstated": "all of it; its low as if it were a withdrawal",
    "set": "the factor set's own",
    "tower": "computed from its cooling tower",
    "li2023": "read off the curve of Li et al.",
}
_HEAD: Final = ("L consumed per IT kWh", "on-site", "off-site", "total")
_DIGITS: Final = 3


def water_lines(site: Site, *, width: int) -> Iterator[str]:
    """Consumption, withdrawal and how they were come by; then litres per kWh of IT energy under both conventions."""
    by_hydro = _rates(site)
    onsite = next(iter(by_hydro.values())).onsite
    withdrawn = onsite.withdrawal_l_per_it_kwh
    yield f"under {catalog.CURRENT_FACTORS}, L per kWh of IT energy"
    yield f"  WUE, consumption  {_range(onsite.wue_l_per_it_kwh)}"
    yield f"  WUE, withdrawal   {'not known' if withdrawn is None else _range(withdrawn)}"
    yield f"  method            {onsite.word}: {_WAYS[onsite.word]}"
    for name, factor in onsite.given.items():
        # A tower's and a curve's figures stand above with their sources; what a factor set makes of a report does not.
        source = f"; {factor.source}" if onsite.method == "withdrawal" else ""
        yield from hanging(f"{name} = {_range(factor)}{source}", width=width, first=" " * 20, further=" " * 22)
    rows = [_HEAD] + [
        (f"hydro {hydro}d", *(_range(of) for of in litres_per_it_kwh(at).values())) for hydro, at in by_hydro.items()
    ]
    wide = [max(len(row[place]) for row in rows) for place in range(len(_HEAD))]
    yield ""
    for row in rows:
        yield "  " + "  ".join(cell.ljust(size) for cell, size in zip(row, wide, strict=True)).rstrip()
    yield "  (low to high: all figures at their low, all at their high)"


def water_document(site: Site) -> dict[str, Any]:
    """The same for programs."""
    by_hydro = _rates(site)
    onsite = next(iter(by_hydro.values())).onsite
    withdrawn = onsite.withdrawal_l_per_it_kwh
    return {
        "factors": catalog.CURRENT_FACTORS,
        "method": onsite.word,
        "consumption_l_per_it_kwh": asdict(onsite.wue_l_per_it_kwh),
        "withdrawal_l_per_it_kwh": None if withdrawn is None else asdict(withdrawn),
        "given": {name: asdict(factor) for name, factor in onsite.given.items()},
        "l_per_it_kwh": {
            f"hydro_{hydro}": {where: asdict(of) for where, of in litres_per_it_kwh(at).items()}
            for hydro, at in by_hydro.items()
        },
    }


def _rates(site: Site) -> dict[Hydro, Rates]:
    rules = catalog.factor_set(catalog.CURRENT_FACTORS)
    conventions: tuple[Hydro, ...] = get_args(Hydro)
    return {hydro: place_rates(replace(rules, hydro=hydro), site, catalog.grid(site.grid)) for hydro in conventions}


def _range(of: Factor | Litres) -> str:
    return f"{number(of.value, _DIGITS)} ({number(of.low, _DIGITS)} to {number(of.high, _DIGITS)})"
