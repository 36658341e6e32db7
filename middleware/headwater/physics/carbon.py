"""CO2-equivalent of the electricity drawn. Operation only: no making of hardware is charged yet."""

from __future__ import annotations

from headwater.units import J_PER_KWH


def carbon_g(*, facility_j: float, grid_g_per_kwh: float) -> float:
    """Emissions of generating the facility's electricity, location-based."""
    return facility_j / J_PER_KWH * grid_g_per_kwh
