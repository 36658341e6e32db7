"""The derivation of one footprint, written down line by line: for receipts, so off the hot path and in no hurry."""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import signature
from typing import Final

from headwater.physics.formulas import BUSY_RULES, ENGINE_RULES, PLACE_RULES, POWER_RULES, TIME_RULES, WORK_RULES, Rule
from headwater.physics.rates import UNITY, Rates
from headwater.records import Deployment, Factor, Spread, Step
from headwater.units import BYTES_PER_WEIGHT

Tokens = tuple[int, int, int]
"""Input, cached and output tokens, all known."""

GIVEN: Final = "given"
"""The formula of a step that is not computed: a figure of the catalog, or something counted or seen."""


@dataclass(slots=True)
class Derivation:
    """Figures known so far, and the steps that led to them."""

    known: dict[str, float] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def copy(self) -> Derivation:
        """The same beginning, to go on from."""
        return Derivation(dict(self.known), list(self.steps))

    def given(self, name: str, value: float, unit: str, source: str) -> None:
        """Note a figure that comes from outside."""
        self.known[name] = value
        self.steps.append(Step(name=name, formula=GIVEN, inputs=(), value=value, unit=unit, source=source))

    def take(self, name: str, factor: Factor) -> None:
        """Note a figure of the catalog with its range, source and date."""
        checked = f", checked {factor.checked}" if factor.checked else ""
        source = f"{factor.source} ({factor.confidence}{checked}; {factor.low:g} to {factor.high:g})"
        self.given(name, factor.value, factor.unit, source)

    def follow(self, rules: tuple[Rule, ...]) -> None:
        """Compute each rule from what is known, and note it."""
        for rule in rules:
            inputs = tuple((name, self.known[name]) for name in signature(rule.function).parameters)
            value = rule.function(**dict(inputs))
            self.known[rule.name] = value
            self.steps.append(Step(name=rule.name, formula=rule.text, inputs=inputs, value=value, unit=rule.unit))


def engine_derivation(deployment: Deployment) -> Derivation:
    """What holds for every request of a deployment: its figures, and what follows from them alone."""
    model, hardware, engine = deployment.model, deployment.hardware, deployment.engine
    at = Derivation()
    for name, count, unit in (
        ("params_count", model.active_params_count, "weights"),
        ("layers_count", model.layers_count, "layers"),
        ("q_heads_count", model.q_heads_count, "heads"),
        ("kv_heads_count", model.kv_heads_count, "heads"),
        ("head_dim", model.head_dim, "values"),
    ):
        at.given(name, count, unit, f"{model.name}: {model.source} ({model.confidence}, checked {model.checked})")
    precision = deployment.precision
    at.given("bytes_per_weight", BYTES_PER_WEIGHT[precision], "B", f"deployment: weights in {precision}")
    at.given("bytes_per_value", BYTES_PER_WEIGHT["bf16"], "B", "the cache is kept in bf16")
    at.given("accelerators_count", deployment.accelerators_count, "accelerators", "deployment")
    at.given("server_accelerators_count", hardware.accelerators_count, "accelerators", hardware.name)
    fp8 = hardware.peak_fp8_flop_per_s if precision == "fp8" else None
    at.take("peak_flop_per_s", fp8 or hardware.peak_bf16_flop_per_s)
    at.take("bw_bytes_per_s", hardware.memory_bw_bytes_per_s)
    at.take("tdp_w", hardware.accelerator_tdp_w)
    at.take("host_w", hardware.host_w)
    at.take("overhead_ratio", hardware.accelerator_overhead_ratio or UNITY)
    at.take("static_ratio", hardware.power_static_ratio)
    at.take("busy_weight_ratio", hardware.power_busy_ratio)
    at.take("flop_weight_ratio", hardware.power_flop_ratio)
    at.take("memory_ratio", engine.memory_efficiency_ratio)
    at.take("tokens_per_read_count", engine.tokens_per_read_count)
    at.take("cache_ratio", engine.cache_efficiency_ratio or engine.memory_efficiency_ratio)
    at.take("compute_ratio", engine.compute_efficiency_ratio)
    at.take("prefill_ratio", engine.prefill_efficiency_ratio)
    at.take("layer_s", engine.layer_s)
    if deployment.accelerators_count > 1:
        at.take("layer_parallel_s", engine.layer_parallel_s)
    else:
        at.given("layer_parallel_s", 0.0, "s", "one accelerator exchanges nothing")
    at.take("step_s", engine.step_s)
    at.take("step_per_sequence_s", engine.step_per_sequence_s)
    at.take("prefill_overhead_s", engine.prefill_s)
    at.follow(ENGINE_RULES)
    return at


def work_on(at: Derivation, *, tokens: Tokens | None, timed: bool) -> None:
    """Go on from known times and counts to a request's IT energy. `timed`: the time was seen, not computed."""
    if tokens is None:
        at.given("busy_ratio", 1, "ratio", "tokens unknown: the accelerators are taken as busy all the time")
        at.given("flop_ratio", 0, "ratio", "tokens unknown: no arithmetic is added")
    else:
        for name, count in zip(("input_tokens", "cached_tokens", "output_tokens"), tokens, strict=True):
            at.given(name, count, "tokens", "usage; cached tokens count as fresh where unknown")
        at.follow(WORK_RULES)
        if not timed:
            at.follow(TIME_RULES)
        at.follow(BUSY_RULES)
    at.follow(POWER_RULES)


def place_on(at: Derivation, *, rates: Rates, spread: Spread, spread_source: str) -> tuple[Step, ...]:
    """Go on from IT energy to what is disclosed, with low and high; the whole derivation."""
    at.take("pue", rates.pue)
    at.take("wue_l_per_it_kwh", rates.wue_l_per_it_kwh)
    at.take("ewif_l_per_kwh", rates.ewif_l_per_kwh)
    at.take("grid_g_per_kwh", rates.grid_g_per_kwh)
    at.follow(PLACE_RULES)
    for amount, unit, low_ratio, high_ratio in (
        ("facility_j", "J", spread.energy_low, spread.energy_high),
        ("water_l", "L", spread.water_low, spread.water_high),
        ("carbon_g", "g", spread.carbon_low, spread.carbon_high),
    ):
        for side, ratio in (("low", low_ratio), ("high", high_ratio)):
            at.given(f"{amount}_{side}_ratio", ratio, "ratio", spread_source)
            inputs = ((amount, at.known[amount]), (f"{amount}_{side}_ratio", ratio))
            name, formula = f"{amount}_{side}", f"{amount} * {amount}_{side}_ratio"
            at.steps.append(Step(name=name, formula=formula, inputs=inputs, value=at.known[amount] * ratio, unit=unit))
    return tuple(at.steps)
