"""A place in one hour, or over the year: its figures made ready for many requests. Knows no request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headwater.physics.intervals import CERTAIN, Ratio, Told, flat_ratio, metered_ratio, spread, spreads
from headwater.physics.rates import Rates, rates
from headwater.records import Deployment, Scheme, Spread

HOURS: Final = "hours"
"""The word by which a disclosure names a series of the operator's own."""


def own_words(deployment: Deployment, at: Rates, wet_bulb_c: float | None = None) -> tuple[str, ...]:
    """The operator's own figures that a footprint hangs on, in the words of disclosures.

    A series is named where it was used, and only there: not in a gap of it, nor where the water hangs on no weather. So are
    the other figures; a factor set's own figure stands in the place of theirs.
    """
    factors = deployment.factors
    has_weather = "wet_bulb_c" in at.onsite.given
    uses = {
        "pue": ("pue", factors.pue is None),
        "wue": ("wue", factors.wue_l_per_it_kwh is None),
        "wet-bulb": ("wet-bulb", has_weather and wet_bulb_c is None),
        f"ewif-{factors.hydro}": ("ewif", factors.ewif_l_per_kwh is None),
        "carbon": ("carbon", factors.carbon_g_per_kwh is None and not at.is_hourly),
        "grid": ("grid", factors.ewif_l_per_kwh is None or factors.carbon_g_per_kwh is None),
    }
    given = (uses.get(word, ("", False)) for word in deployment.site.own + deployment.grid.own)
    is_hourly = at.is_hourly or (wet_bulb_c is not None and has_weather)
    return tuple(word for word, is_in in given if is_in) + ((HOURS,) if is_hourly else ())


class Place:
    """What a joule of IT energy brings with it where and when it is drawn, with the interval of every method."""

    __slots__ = (
        "ewif_l_per_kwh",
        "flat_spread",
        "grid_g_per_kwh",
        "metered_spreads",
        "own",
        "pue",
        "rates",
        "spreads",
        "wue_basis",
        "wue_l_per_it_kwh",
    )

    def __init__(
        self,
        deployment: Deployment,
        ratios: Mapping[Told, Ratio],
        grid_g_per_kwh: float | None = None,
        wet_bulb_c: float | None = None,
    ) -> None:
        self.rates = at = rates(deployment, grid_g_per_kwh=grid_g_per_kwh, wet_bulb_c=wet_bulb_c)
        self.pue = at.pue.value
        self.wue_l_per_it_kwh = at.wue_l_per_it_kwh.value
        self.ewif_l_per_kwh = at.ewif_l_per_kwh.value
        self.grid_g_per_kwh = at.grid_g_per_kwh.value
        self.wue_basis = at.onsite.word
        self.own = own_words(deployment, at, wet_bulb_c)
        self.spreads = spreads(ratios, at)
        flat = deployment.factors.flat_it_j_per_request
        self.flat_spread = spread(it_ratio=flat_ratio(flat) if flat else CERTAIN, at=at)
        self.metered_spreads: dict[Scheme, Spread] = {
            scheme.name: spread(it_ratio=metered_ratio(deployment, scheme), at=at) for scheme in deployment.reports
        }
