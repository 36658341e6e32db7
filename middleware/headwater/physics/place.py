"""A place in one hour, or over the year: its figures made ready for many requests. Knows no request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headwater.physics.intervals import CERTAIN, Ratio, Told, flat_ratio, spread, spreads
from headwater.physics.rates import rates
from headwater.records import Deployment

HOURS: Final = "hours"
"""The word by which a disclosure names a series of the operator's own."""


class Place:
    """What a joule of IT energy brings with it where and when it is drawn, with the interval of every method."""

    __slots__ = (
        "ewif_l_per_kwh",
        "flat_spread",
        "grid_g_per_kwh",
        "own",
        "pue",
        "rates",
        "spreads",
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
        # A series is named where it was used, and only there: not in a gap of it, nor where the water hangs on no weather.
        is_used = at.is_hourly or (wet_bulb_c is not None and "wet_bulb_c" in at.onsite.given)
        given = deployment.site.own + deployment.grid.own
        self.own = tuple(word for word in given if word != HOURS) + ((HOURS,) if is_used else ())
        self.spreads = spreads(ratios, at)
        flat = deployment.factors.flat_it_j_per_request
        self.flat_spread = spread(it_ratio=flat_ratio(flat) if flat else CERTAIN, at=at)
