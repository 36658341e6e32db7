"""CO2-equivalent: of the electricity drawn, and, as lines of their own, by contract and of making the hardware.

References: ISO/IEC 21031:2024, Software Carbon Intensity: `SCI = (E*I + M) per R`, I location-based, `M = TE * TiR/EL *
RR/ToR`. Here E is `facility_j`, I is `grid_g_per_kwh`, M is `embodied_g`, R is one request; TE is `server_embodied_g`, TiR
with RR/ToR is `server_s`, EL is `lifetime_s` times the share of it in which the server serves.
"""

from __future__ import annotations

from headwater.units import J_PER_KWH


def carbon_g(*, facility_j: float, grid_g_per_kwh: float) -> float:
    """Emissions of generating the facility's electricity, location-based."""
    return facility_j / J_PER_KWH * grid_g_per_kwh


def market_g(*, facility_j: float, market_g_per_kwh: float) -> float:
    """Emissions of the electricity that the site's operator bought by contract. Beside the location-based ones, never added."""
    return facility_j / J_PER_KWH * market_g_per_kwh


def server_embodied_g(
    *, accelerator_embodied_g: float, server_accelerators_count: float, host_embodied_g: float
) -> float:
    """Emissions of making a whole server."""
    return accelerator_embodied_g * server_accelerators_count + host_embodied_g


def embodied_g(*, server_embodied_g: float, server_s: float, lifetime_s: float, utilisation_ratio: float) -> float:
    """A request's share of the making of its server: by the server's time that it had, of all time in which it serves."""
    return server_embodied_g * server_s / (lifetime_s * utilisation_ratio)


def sci_g(*, carbon_g: float, embodied_g: float) -> float:
    """Software carbon intensity per request: operational and embodied emissions."""
    return carbon_g + embodied_g
