"""The physics, dimension by dimension: every function fed with numbers that know their units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headwater.physics import carbon, energy, formulas, place_formulas, throughput, water
from headwater.physics.formulas import Rule
from tests.dims import Dim

J_PER_KWH = Dim(3_600_000.0, {"J": 1, "kWh": -1})
IT_KWH = Dim(3_600_000.0, {"J": 1, "it": 1})
PUE = Dim(2.0, {"facility": 1, "it": -1})
WUE = Dim(3.0, {"L": 1, "kWh": -1, "it": -1})
EWIF = Dim(5.0, {"L": 1, "kWh": -1, "facility": -1})
GRID = Dim(400.0, {"g": 1, "kWh": -1, "facility": -1})
LITRE: dict[str, float] = {"L": 1}


@pytest.fixture(autouse=True)
def kwh_with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joules per kWh as a number with units, so that an inline 3.6e6 leaves J/kWh behind."""
    monkeypatch.setattr(water, "J_PER_KWH", J_PER_KWH)
    monkeypatch.setattr(carbon, "J_PER_KWH", J_PER_KWH)


def dim(function: Callable[..., Any], **inputs: Dim | float) -> Dim:
    """The function's value on numbers with units."""
    result = function(**inputs)
    assert isinstance(result, Dim)
    return result


def total_l(onsite_l: Callable[..., Any]) -> Dim:
    facility_j = dim(energy.facility_j, it_j=IT_KWH, pue=PUE)
    offsite_l = dim(water.offsite_l, facility_j=facility_j, ewif_l_per_kwh=EWIF)
    return dim(water.water_l, onsite_l=onsite_l(facility_j), offsite_l=offsite_l)


def test_one_kwh_of_it_energy_at_pue_2_wue_3_ewif_5_takes_13_litres() -> None:
    water_l = total_l(lambda _: water.onsite_l(it_j=IT_KWH, wue_l_per_it_kwh=WUE))  # type: ignore[arg-type]  # Dim

    assert dict(water_l.units) == LITRE
    assert water_l.value == pytest.approx(13.0, rel=1e-12)


def test_facility_energy_in_the_wue_term_is_a_unit_error() -> None:
    def wrong_onsite_l(facility_j: Dim) -> Any:
        return water.onsite_l(it_j=facility_j, wue_l_per_it_kwh=WUE)  # type: ignore[arg-type]  # Dim

    with pytest.raises(TypeError, match="facility"):
        total_l(wrong_onsite_l)


def test_it_energy_in_the_ewif_term_is_a_unit_error() -> None:
    onsite_l = dim(water.onsite_l, it_j=IT_KWH, wue_l_per_it_kwh=WUE)
    wrong_l = dim(water.offsite_l, facility_j=IT_KWH, ewif_l_per_kwh=EWIF)

    with pytest.raises(TypeError, match="facility"):
        water.water_l(onsite_l=onsite_l, offsite_l=wrong_l)  # type: ignore[arg-type]  # Dim


def test_an_inline_number_of_joules_per_kwh_is_a_unit_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(water, "J_PER_KWH", 3_600_000.0)

    assert dict(dim(water.onsite_l, it_j=IT_KWH, wue_l_per_it_kwh=WUE).units) != LITRE


def test_pue_enters_offsite_water_only() -> None:
    rate = dim(water.water_l_per_it_kwh, wue_l_per_it_kwh=WUE, pue=PUE, ewif_l_per_kwh=EWIF)

    assert dict(rate.units) == {"L": 1, "kWh": -1, "it": -1}
    assert rate.value == 3.0 + 2.0 * 5.0


def test_carbon_is_charged_on_facility_energy() -> None:
    facility_j = dim(energy.facility_j, it_j=IT_KWH, pue=PUE)

    carbon_g = dim(carbon.carbon_g, facility_j=facility_j, grid_g_per_kwh=GRID)

    assert dict(carbon_g.units) == {"g": 1}
    assert carbon_g.value == pytest.approx(800.0, rel=1e-12)


# One entry of every name that the formulas use, in base units. `weight`, `token` and the like are counts: plain numbers.
Units = dict[str, float]
S: Units = {"s": 1}
WATT: Units = {"J": 1, "it": 1, "s": -1}
FLOP: Units = {"FLOP": 1}
BYTE: Units = {"B": 1}
GIVEN: dict[str, Dim | float] = {
    "metered_j": Dim(40.0, {"J": 1, "it": 1}),
    "active_params_count": 7e9,
    "expert_params_count": 2e10,
    "chosen_count": 8,
    "experts_count": 64,
    "expert_layers_count": 30,
    "layers_count": 32,
    "whole_layers_count": 20,
    "windowed_layers_count": 10,
    "window_tokens": 128,
    "q_heads_count": 32,
    "cache_heads_count": 8,
    "cache_values_count": 2048,
    "decode_dim": 128,
    "prefill_dim": 128,
    "state_bytes": Dim(1e8, BYTE),
    "vision_params_count": 4e8,
    "patches_count": 4096,
    "bytes_per_weight": Dim(2.0, BYTE),
    "bytes_per_expert_weight": Dim(1.0, BYTE),
    "bytes_per_value": Dim(2.0, BYTE),
    "accelerators_count": 4,
    "attention_accelerators_count": 4,
    "server_accelerators_count": 8,
    "peak_flop_per_s": Dim(1e15, {"FLOP": 1, "s": -1}),
    "bw_bytes_per_s": Dim(3e12, {"B": 1, "s": -1}),
    "tdp_w": Dim(700.0, WATT),
    "host_w": Dim(1450.0, WATT),
    "overhead_ratio": 1.17,
    "static_ratio": 0.33,
    "busy_weight_ratio": 0.43,
    "flop_weight_ratio": 0.94,
    "power_cap_exponent": 8.0,
    "memory_ratio": 0.83,
    "expert_memory_ratio": 0.4,
    "tokens_per_read_count": 8.0,
    "cache_ratio": 0.6,
    "compute_ratio": 0.28,
    "prefill_ratio": 0.8,
    "expert_spread_ratio": 0.5,
    "roofline_exponent": 1.5,
    "layer_s": Dim(1e-5, S),
    "expert_layer_s": Dim(5e-5, S),
    "layer_parallel_s": Dim(3e-5, S),
    "image_s": Dim(3e-2, S),
    "step_s": Dim(2e-3, S),
    "step_per_sequence_s": Dim(1e-5, S),
    "prefill_overhead_s": Dim(0.02, S),
    "itl_s": Dim(0.03, S),
    "seen_s": Dim(20.0, S),
    "ttft_s": Dim(2.0, S),
    "concurrency_count": 16.0,
    "input_tokens": 500,
    "cached_tokens": 100,
    "output_tokens": 300,
    "images_count": 1,
    "own_input_tokens": 900,
    "own_cached_tokens": 200,
    "own_output_tokens": 100,
    "own_images_count": 0,
    "pue": PUE,
    "wue_l_per_it_kwh": WUE,
    "ewif_l_per_kwh": EWIF,
    "grid_g_per_kwh": GRID,
    "reported_wue_l_per_it_kwh": WUE,
    "consumed_ratio": 0.8,
    "heat_ratio": Dim(1.1, {"it": -1}),
    "wet_ratio": 0.7,
    "wet_bulb_c": Dim(15.0, {"K": 1}),
    "evaporated_ratio": 0.85,
    "latent_heat_0c_j_per_kg": Dim(2.5e6, {"J": 1, "kg": -1}),
    "latent_heat_slope_j_per_kg_k": Dim(2.4e3, {"J": 1, "kg": -1, "K": -1}),
    "heat_capacity_j_per_kg_k": Dim(4.2e3, {"J": 1, "kg": -1, "K": -1}),
    "range_k": Dim(5.6, {"K": 1}),
    "drift_ratio": 5e-5,
    "cycles_count": 5.0,
    "coefficient_0": Dim(-10.4, WUE.units),
    "coefficient_1": Dim(0.61, {**WUE.units, "F": -1}),
    "coefficient_2": Dim(-0.01, {**WUE.units, "F": -2}),
    "coefficient_3": Dim(6e-5, {**WUE.units, "F": -3}),
    "least_l_per_it_kwh": Dim(0.05, WUE.units),
    "withdrawal_l_per_it_kwh": WUE,
    "ewif_withdrawal_l_per_kwh": EWIF,
    "market_g_per_kwh": GRID,
    "accelerator_embodied_g": Dim(2.7e5, {"g": 1}),
    "host_embodied_g": Dim(4e6, {"g": 1}),
    "embodied_server_l": Dim(1e5, {"L": 1}),
    "server_s": Dim(3.0, S),
    "lifetime_s": Dim(1.6e8, S),
    "utilisation_ratio": 0.6,
}
UNITS: dict[str, Units] = {
    "s": S,
    "B": BYTE,
    "FLOP": FLOP,
    "W": WATT,
    "ratio": {},
    "tokens": {},
    "weights": {},
}
UNITS |= {"L": LITRE, "g": {"g": 1}, "L/kWh": dict(WUE.units), "J/kg": {"J": 1, "kg": -1}, "degF": {"F": 1}}
IT: Units = {"J": 1, "it": 1}
BOUNDARY: dict[str, Units] = {"facility_j": {"J": 1, "facility": 1}, "carbon_g": {"g": 1}}
BOUNDARY |= {"it_j": IT, "accelerator_j": IT}
SHARES = (
    formulas.OWN_CONTEXT_RULES
    + formulas.OWN_RULES
    + formulas.LIKENESS_RULES
    + formulas.OWN_SERVED_RULES
    + formulas.OWN_PACE_RULES
    + formulas.OWN_TIME_RULES
    + formulas.SHARE_RULES
)
ALL_RULES = (
    formulas.ENGINE_RULES
    + formulas.CONTEXT_RULES
    + formulas.MIX_RULES
    + formulas.STEP_RULES
    + formulas.PACE_RULES
    + formulas.SERVED_RULES
    + formulas.TIME_RULES
    + formulas.BUSY_RULES
    + formulas.FLOP_RULES
    + formulas.LIMIT_RULES
    + formulas.HARD_CAP_RULES
    + formulas.SMOOTH_CAP_RULES
    + SHARES
    + formulas.UNKNOWN_WORK_RULES
    + formulas.UNKNOWN_SHARE_RULES
    + formulas.ENERGY_RULES
    + formulas.METERED_RULES
    + formulas.METERED_SERVER_RULES
    + place_formulas.WITHDRAWAL_RULES
    + place_formulas.TOWER_RULES
    + place_formulas.CURVE_RULES
    + place_formulas.PLACE_RULES
    + place_formulas.WITHDRAWN_RULES
    + place_formulas.WITHDRAWN_OFFSITE_RULES
    + place_formulas.MARKET_RULES
    + place_formulas.EMBODIED_RULES
    + place_formulas.EMBODIED_WATER_RULES
)


def test_every_formula_has_the_unit_that_its_step_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "FLOP_PER_WEIGHT", Dim(2.0, FLOP))
    monkeypatch.setattr(throughput, "FLOP_PER_PAIR", Dim(4.0, FLOP))
    monkeypatch.setattr(water, "L_PER_KG", Dim(1.0, {"L": 1, "kg": -1}))
    monkeypatch.setattr(water, "F_PER_K", Dim(1.8, {"F": 1, "K": -1}))
    monkeypatch.setattr(water, "F_AT_0_C", Dim(32.0, {"F": 1}))
    known = dict(GIVEN)

    for rule in ALL_RULES:
        known[rule.name] = evaluate(rule, known)

        units = known[rule.name].units if isinstance(known[rule.name], Dim) else {}  # type: ignore[union-attr]
        assert dict(units) == BOUNDARY.get(rule.name, UNITS.get(rule.unit)), rule.name


def test_no_rule_is_left_out_of_the_dimensions() -> None:
    every = {
        id(rule)
        for module in (formulas, place_formulas)
        for name in dir(module)
        if name.endswith("_RULES") and name != "ONSITE_RULES"
        for rule in getattr(module, name)
    }

    assert every == {id(rule) for rule in ALL_RULES}


def evaluate(rule: Rule, known: dict[str, Dim | float]) -> Dim | float:
    result: Dim | float = rule.function(**{parameter: known[name] for parameter, name in rule.inputs.items()})
    return result
