"""Water of IT and facility energy. Two terms with two denominators; never one factor for both.

Consumption is water that is gone: evaporated, or carried off. Withdrawal is water that was taken, and contains it; what is
given back as blow-down is the difference. The two are never added.

References: WUE is litres at the site per kWh of IT energy, ISO/IEC 30134-9:2022 and The Green Grid, White Paper #35
(Patterson, Azevedo, Belady, Pouchet, 2011); EWIF is litres at the power stations per kWh of electricity drawn, Li et
al., "Making AI less thirsty", arXiv:2304.03271, equation 1. The tower is the balance of its heat and of its salt: see
METHODOLOGY.md, "Water at the site".
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.units import F_AT_0_C, F_PER_K, J_PER_KWH, L_PER_KG


def onsite_l(*, it_j: float, wue_l_per_it_kwh: float) -> float:
    """Water consumed at the site. Per kWh of IT energy, so no PUE here."""
    return it_j / J_PER_KWH * wue_l_per_it_kwh


def offsite_l(*, facility_j: float, ewif_l_per_kwh: float) -> float:
    """Water consumed to generate the electricity, all of which the facility draws, cooling included."""
    return facility_j / J_PER_KWH * ewif_l_per_kwh


def water_l_per_it_kwh(*, wue_l_per_it_kwh: float, pue: float, ewif_l_per_kwh: float) -> float:
    """Both terms per kWh of IT energy: the factor whose range enters the interval."""
    return wue_l_per_it_kwh + pue * ewif_l_per_kwh


def water_l(*, onsite_l: float, offsite_l: float) -> float:
    """All water that is charged. The parts stay visible beside it: they fall in different places."""
    return onsite_l + offsite_l


# -- what a site's own figure means ---------------------------------------------------------------------------------------


def consumed_wue_l_per_it_kwh(*, reported_wue_l_per_it_kwh: float, consumed_ratio: float) -> float:
    """Water consumed per kWh of IT energy, of a site that says what it withdraws."""
    return reported_wue_l_per_it_kwh * consumed_ratio


# -- a cooling tower --------------------------------------------------------------------------------------------------------


def latent_heat_j_per_kg(
    *, latent_heat_0c_j_per_kg: float, latent_heat_slope_j_per_kg_k: float, wet_bulb_c: float
) -> float:
    """Heat that evaporates a kilogram of water."""
    return latent_heat_0c_j_per_kg - latent_heat_slope_j_per_kg_k * wet_bulb_c


def ceiling_l_per_it_kwh(*, heat_ratio: float, latent_heat_j_per_kg: float) -> float:
    """The most that can evaporate: all heat that the loop takes up per kWh of IT energy leaves as vapour."""
    return heat_ratio * J_PER_KWH / latent_heat_j_per_kg * L_PER_KG


def evaporation_l_per_it_kwh(*, ceiling_l_per_it_kwh: float, wet_ratio: float, evaporated_ratio: float) -> float:
    """What evaporates: of the heat that meets water at all, the share that does not just warm the air."""
    return ceiling_l_per_it_kwh * wet_ratio * evaporated_ratio


def drift_l_per_it_kwh(
    *, heat_ratio: float, wet_ratio: float, heat_capacity_j_per_kg_k: float, range_k: float, drift_ratio: float
) -> float:
    """Droplets that the air carries off, as a share of the water that circulates to carry the heat."""
    return heat_ratio * wet_ratio * J_PER_KWH / (heat_capacity_j_per_kg_k * range_k) * L_PER_KG * drift_ratio


def tower_wue_l_per_it_kwh(
    *, evaporation_l_per_it_kwh: float, drift_l_per_it_kwh: float, ceiling_l_per_it_kwh: float
) -> float:
    """Water consumed: evaporation and drift, never above the latent-heat ceiling."""
    return min(evaporation_l_per_it_kwh + drift_l_per_it_kwh, ceiling_l_per_it_kwh)


def makeup_l_per_it_kwh(
    *, evaporation_l_per_it_kwh: float, cycles_count: float, tower_wue_l_per_it_kwh: float
) -> float:
    """Water withdrawn: what keeps the salt at `cycles_count` times that of the supply, drift being part of what leaves.

    Blow-down is what this is above consumption; where drift alone keeps the salt down there is none.
    """
    return max(evaporation_l_per_it_kwh * cycles_count / (cycles_count - 1), tower_wue_l_per_it_kwh)


def evaporated_ratio(*, wet_bulb_c: float, points_c: Sequence[float], ratios: Sequence[float]) -> float:
    """Share of a tower's heat that leaves by evaporation: straight lines between points, level beyond both ends."""
    if wet_bulb_c <= points_c[0]:
        return ratios[0]
    for place in range(1, len(points_c)):
        if wet_bulb_c <= points_c[place]:
            before_c, before = points_c[place - 1], ratios[place - 1]
            return before + (ratios[place] - before) * (wet_bulb_c - before_c) / (points_c[place] - before_c)
    return ratios[-1]


# -- for reproduction only ----------------------------------------------------------------------------------------------------


def wet_bulb_f(*, wet_bulb_c: float) -> float:
    """A temperature on the Fahrenheit scale."""
    return wet_bulb_c * F_PER_K + F_AT_0_C


def curve_wue_l_per_it_kwh(
    *,
    wet_bulb_f: float,
    coefficient_0: float,
    coefficient_1: float,
    coefficient_2: float,
    coefficient_3: float,
    cycles_count: float,
    least_l_per_it_kwh: float,
) -> float:
    """WUE by the cubic of Li et al. in degrees Fahrenheit.

    Notes: above about 35 F it exceeds what the heat can evaporate, so it is kept to reproduce and is no default.
    """
    cubic = (
        coefficient_0
        + coefficient_1 * wet_bulb_f
        + coefficient_2 * wet_bulb_f**2
        + coefficient_3 * wet_bulb_f * wet_bulb_f**2
    )
    return max(cycles_count / (cycles_count - 1) * cubic, least_l_per_it_kwh)


# -- of the hardware ----------------------------------------------------------------------------------------------------------


def embodied_l(*, embodied_server_l: float, server_s: float, lifetime_s: float, utilisation_ratio: float) -> float:
    """A request's share of the water that making its server took. A line of its own, and only where a source gives it."""
    return embodied_server_l * server_s / (lifetime_s * utilisation_ratio)
