"""The formulas of a place, and of the lines beside a footprint, as text beside the functions: see physics.formulas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headwater.physics import carbon, energy, water
from headwater.physics.formulas import Rule, rule

WITHDRAWAL_RULES: Final = (
    rule(water.consumed_wue_l_per_it_kwh, "reported_wue_l_per_it_kwh * consumed_ratio", "L/kWh", "wue_l_per_it_kwh"),
)
TOWER_RULES: Final = (
    rule(water.latent_heat_j_per_kg, "latent_heat_0c_j_per_kg - latent_heat_slope_j_per_kg_k * wet_bulb_c", "J/kg"),
    rule(water.ceiling_l_per_it_kwh, "heat_ratio * 3600000.0 / latent_heat_j_per_kg * 1.0", "L/kWh"),
    rule(water.evaporation_l_per_it_kwh, "ceiling_l_per_it_kwh * wet_ratio * evaporated_ratio", "L/kWh"),
    rule(
        water.drift_l_per_it_kwh,
        "heat_ratio * wet_ratio * 3600000.0 / (heat_capacity_j_per_kg_k * range_k) * 1.0 * drift_ratio",
        "L/kWh",
    ),
    rule(
        water.tower_wue_l_per_it_kwh,
        "min(evaporation_l_per_it_kwh + drift_l_per_it_kwh, ceiling_l_per_it_kwh)",
        "L/kWh",
        "wue_l_per_it_kwh",
    ),
    rule(
        water.makeup_l_per_it_kwh,
        "max(evaporation_l_per_it_kwh * cycles_count / (cycles_count - 1), wue_l_per_it_kwh)",
        "L/kWh",
        takes={"tower_wue_l_per_it_kwh": "wue_l_per_it_kwh"},
    ),
)
CURVE_RULES: Final = (
    rule(water.wet_bulb_f, "wet_bulb_c * 1.8 + 32.0", "degF"),
    rule(
        water.curve_wue_l_per_it_kwh,
        "max(cycles_count / (cycles_count - 1) * (coefficient_0 + coefficient_1 * wet_bulb_f + coefficient_2 * wet_bulb_f ** 2"
        " + coefficient_3 * wet_bulb_f * wet_bulb_f ** 2), least_l_per_it_kwh)",
        "L/kWh",
        "wue_l_per_it_kwh",
    ),
)
ONSITE_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "reported": (),
    "withdrawal": WITHDRAWAL_RULES,
    "tower": TOWER_RULES,
    "li2023": CURVE_RULES,
}
"""From what a site says of its water to its WUE, by physics.onsite's word for it."""
PLACE_RULES: Final = (
    rule(energy.facility_j, "it_j * pue", "J"),
    rule(water.onsite_l, "it_j / 3600000.0 * wue_l_per_it_kwh", "L"),
    rule(water.offsite_l, "facility_j / 3600000.0 * ewif_l_per_kwh", "L"),
    rule(water.water_l, "onsite_l + offsite_l", "L"),
    rule(carbon.carbon_g, "facility_j / 3600000.0 * grid_g_per_kwh", "g"),
)

# Lines of their own, beside the footprint.
WITHDRAWN_RULES: Final = (
    rule(water.onsite_l, "it_j / 3600000.0 * withdrawal_l_per_it_kwh", "L", "onsite_withdrawal_l",
          takes={"wue_l_per_it_kwh": "withdrawal_l_per_it_kwh"}),
)  # fmt: skip
WITHDRAWN_OFFSITE_RULES: Final = (
    rule(water.offsite_l, "facility_j / 3600000.0 * ewif_withdrawal_l_per_kwh", "L", "offsite_withdrawal_l",
          takes={"ewif_l_per_kwh": "ewif_withdrawal_l_per_kwh"}),
)  # fmt: skip
MARKET_RULES: Final = (rule(carbon.market_g, "facility_j / 3600000.0 * market_g_per_kwh", "g"),)
EMBODIED_RULES: Final = (
    rule(carbon.server_embodied_g, "accelerator_embodied_g * server_accelerators_count + host_embodied_g", "g"),
    rule(carbon.embodied_g, "server_embodied_g * server_s / (lifetime_s * utilisation_ratio)", "g"),
    rule(carbon.sci_g, "carbon_g + embodied_g", "g"),
)
EMBODIED_WATER_RULES: Final = (
    rule(water.embodied_l, "embodied_server_l * server_s / (lifetime_s * utilisation_ratio)", "L", "embodied_water_l"),
)
