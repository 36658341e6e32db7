"""Water per kWh of IT energy at a place: at the site, at the power stations, and both. For people who compare places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headwater.physics.rates import Rates
from headwater.physics.water import water_l_per_it_kwh

Where = Literal["onsite", "offsite", "total"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Litres:
    """Litres consumed per kWh of IT energy: central, with all figures at their low, and with all at their high."""

    value: float
    low: float
    high: float


def litres_per_it_kwh(at: Rates) -> dict[Where, Litres]:
    """What a kWh of IT energy consumes: the site's WUE, PUE times EWIF at the power stations, and both together."""
    sides: dict[Where, dict[str, float]] = {"onsite": {}, "offsite": {}, "total": {}}
    for side in ("value", "low", "high"):
        wue, pue, ewif = (getattr(factor, side) for factor in (at.wue_l_per_it_kwh, at.pue, at.ewif_l_per_kwh))
        sides["onsite"][side] = wue
        sides["offsite"][side] = water_l_per_it_kwh(wue_l_per_it_kwh=0, pue=pue, ewif_l_per_kwh=ewif)
        sides["total"][side] = water_l_per_it_kwh(wue_l_per_it_kwh=wue, pue=pue, ewif_l_per_kwh=ewif)
    return {where: Litres(**of) for where, of in sides.items()}
