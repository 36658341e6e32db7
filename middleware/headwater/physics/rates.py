"""Which site and grid figures an estimate uses: the factor set's own where it has one, else the site's and the grid's.

Runs once per deployment and hour, never per request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headwater.physics.onsite import OnsiteWater, hourly, onsite_water
from headwater.records import Deployment, Factor, FactorSet, Grid, Site

# A server without a figure of its own: one watt at the wall per watt of its accelerators.
UNITY: Final = Factor(
    value=1.0, low=1.0, high=1.0, unit="ratio", source="none given: one to one", checked="", confidence="estimated"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a joule of IT energy brings with it at a place."""

    pue: Factor
    onsite: OnsiteWater
    ewif_l_per_kwh: Factor
    grid_g_per_kwh: Factor
    is_hourly: bool
    """The carbon of the grid is that of the hour, not of the year."""

    @property
    def wue_l_per_it_kwh(self) -> Factor:
        """Water consumed at the site per kWh of IT energy."""
        return self.onsite.wue_l_per_it_kwh


def rates(deployment: Deployment, *, grid_g_per_kwh: float | None = None, wet_bulb_c: float | None = None) -> Rates:
    """The figures that apply to a deployment, after the factor set's overrides and its hydropower convention.

    `grid_g_per_kwh`, `wet_bulb_c`: those of an hour; a factor set with a figure of its own keeps it.
    """
    return place_rates(
        deployment.factors, deployment.site, deployment.grid, grid_g_per_kwh=grid_g_per_kwh, wet_bulb_c=wet_bulb_c
    )


def place_rates(
    own: FactorSet,
    site: Site,
    grid: Grid,
    *,
    grid_g_per_kwh: float | None = None,
    wet_bulb_c: float | None = None,
) -> Rates:
    """The same of a place in which nothing is served yet."""
    electricity = grid.ewif_hydro_include_l_per_kwh if own.hydro == "include" else grid.ewif_hydro_exclude_l_per_kwh
    carbon = own.carbon_g_per_kwh or grid.carbon_g_per_kwh
    is_hourly = grid_g_per_kwh is not None and own.carbon_g_per_kwh is None
    if grid_g_per_kwh is not None and is_hourly:
        carbon = hourly(carbon, grid_g_per_kwh)
    return Rates(
        pue=own.pue or site.pue,
        onsite=_overridden(own.wue_l_per_it_kwh) if own.wue_l_per_it_kwh else onsite_water(site, own, wet_bulb_c),
        ewif_l_per_kwh=own.ewif_l_per_kwh or electricity,
        grid_g_per_kwh=carbon,
        is_hourly=is_hourly,
    )


def _overridden(wue: Factor) -> OnsiteWater:
    return OnsiteWater(wue_l_per_it_kwh=wue, withdrawal_l_per_it_kwh=None, method="reported", given={}, word="set")
