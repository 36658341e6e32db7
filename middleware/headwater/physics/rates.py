"""Which site and grid figures an estimate uses: the factor set's own where it has one, else the site's and the grid's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headwater.records import Deployment, Factor

# A server without a figure of its own: one watt at the wall per watt of its accelerators.
UNITY: Final = Factor(
    value=1.0, low=1.0, high=1.0, unit="ratio", source="none given: one to one", checked="", confidence="estimated"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a joule of IT energy brings with it at a place."""

    pue: Factor
    wue_l_per_it_kwh: Factor
    ewif_l_per_kwh: Factor
    grid_g_per_kwh: Factor


def rates(deployment: Deployment) -> Rates:
    """The figures that apply to a deployment, after the factor set's overrides and its hydropower convention."""
    own, site, grid = deployment.factors, deployment.site, deployment.grid
    electricity = grid.ewif_hydro_include_l_per_kwh if own.hydro == "include" else grid.ewif_hydro_exclude_l_per_kwh
    return Rates(
        pue=own.pue or site.pue,
        wue_l_per_it_kwh=own.wue_l_per_it_kwh or site.wue_l_per_it_kwh,
        ewif_l_per_kwh=own.ewif_l_per_kwh or electricity,
        grid_g_per_kwh=own.carbon_g_per_kwh or grid.carbon_g_per_kwh,
    )
