"""The derivation of one footprint, written down line by line: for receipts, so off the hot path and in no hurry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from headwater.physics import formulas, place_formulas
from headwater.physics.formulas import Rule
from headwater.physics.rates import UNITY, Rates
from headwater.records import Boundary, Deployment, Factor, Mix, Precision, Scheme, Spread, Step
from headwater.units import BYTES_PER_WEIGHT

GIVEN: Final = "given"
"""The formula of a step that is not computed: a figure of the catalog, or something counted or seen."""

_OF_ENERGY: Final = frozenset({"accelerator_j", "it_j"})
"""Where an estimate goes on from time and power to energy."""


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
        basis = f"{factor.basis}: " if factor.basis else ""
        source = f"{basis}{factor.source} ({factor.confidence}{checked}; {factor.low:g} to {factor.high:g})"
        self.given(name, factor.value, factor.unit, source)

    def divide(self, name: str, whole: str, count: str, unit: str) -> None:
        """Note an even part of a known figure."""
        inputs = ((whole, self.known[whole]), (count, self.known[count]))
        self.known[name] = self.known[whole] / self.known[count]
        formula = f"{whole} / {count}"
        self.steps.append(Step(name=name, formula=formula, inputs=inputs, value=self.known[name], unit=unit))

    def within(self, name: str, unit: str, ratio: tuple[float, float], source: str) -> None:
        """Note the low and the high of a known figure, as multiples of it."""
        for side, multiple in zip(("low", "high"), ratio, strict=True):
            self.given(f"{name}_{side}_ratio", multiple, "ratio", source)
            inputs = ((name, self.known[name]), (f"{name}_{side}_ratio", multiple))
            value = self.known[f"{name}_{side}"] = self.known[name] * multiple
            formula = f"{name} * {name}_{side}_ratio"
            self.steps.append(Step(name=f"{name}_{side}", formula=formula, inputs=inputs, value=value, unit=unit))

    def follow(self, rules: tuple[Rule, ...]) -> None:
        """Compute each rule from what is known, and note it."""
        for rule in rules:
            inputs = tuple((name, self.known[name]) for name in dict.fromkeys(rule.inputs.values()))
            value = rule.function(**{parameter: self.known[name] for parameter, name in rule.inputs.items()})
            self.known[rule.name] = value
            self.steps.append(Step(name=rule.name, formula=rule.text, inputs=inputs, value=value, unit=rule.unit))


def engine_derivation(deployment: Deployment) -> Derivation:
    """What holds for every request of a deployment: its figures, and what follows from them alone."""
    at = Derivation()
    _model_on(at, deployment)
    _hardware_on(at, deployment)
    _engine_on(at, deployment)
    at.follow(formulas.ENGINE_RULES)
    return at


def _model_on(at: Derivation, deployment: Deployment) -> None:
    model, precision = deployment.model, deployment.precision
    experts, latent, vision = model.experts, model.latent, model.vision
    attention_count = model.layers_count if model.attention_layers_count is None else model.attention_layers_count
    windowed_count = 0 if model.window is None else model.window.layers_count
    read = f"{model.name}: {model.source} ({model.confidence}, checked {model.checked})"
    dense = f"{model.name}: no experts"
    for name, count, unit, source in (
        ("active_params_count", model.active_params_count, "weights", read),
        ("expert_params_count", experts.params_count if experts else 0, "weights", read if experts else dense),
        ("chosen_count", experts.chosen_count if experts else 1, "experts", read if experts else dense),
        ("experts_count", experts.experts_count if experts else 1, "experts", read if experts else dense),
        ("expert_layers_count", experts.layers_count if experts else 0, "layers", read if experts else dense),
        ("layers_count", model.layers_count, "layers", read),
        ("whole_layers_count", attention_count - windowed_count, "layers", read),
        ("windowed_layers_count", windowed_count, "layers", read),
        ("window_tokens", model.window.tokens_count if model.window else 0, "tokens", read),
        ("q_heads_count", model.q_heads_count, "heads", read),
        ("cache_heads_count", 1 if latent else model.kv_heads_count, "heads", read),
        # Keys and values: two tensors per head are cached, or one vector for all.
        (
            "cache_values_count",
            latent.cache_dim if latent else 2 * model.kv_heads_count * model.head_dim,
            "values",
            read,
        ),
        ("decode_dim", latent.decode_dim if latent else model.head_dim, "values", read),
        ("prefill_dim", latent.prefill_dim if latent else model.head_dim, "values", read),
        ("state_bytes", model.state_bytes_per_sequence, "B", read),
        ("vision_params_count", vision.params_count if vision else 0, "weights", read),
        ("patches_count", vision.patches_count if vision else 0, "patches", read),
    ):
        at.given(name, count, unit, source)
    always: Precision = "bf16" if model.quantised == "experts" else precision
    at.given("bytes_per_weight", BYTES_PER_WEIGHT[always], "B", f"deployment: these weights in {always}")
    at.given("bytes_per_expert_weight", BYTES_PER_WEIGHT[precision], "B", f"deployment: experts in {precision}")
    cache = deployment.cache_precision
    at.given("bytes_per_value", BYTES_PER_WEIGHT[cache], "B", f"deployment: the cache in {cache}")


def peak(deployment: Deployment) -> Factor:
    """The peak arithmetic that a deployment's weights are computed at.

    Notes: fp8 weights are multiplied in fp8, and so are the 4-bit floats where the hardware knows them (Blackwell); else
    they are unpacked to bf16, as whole numbers always are.
    """
    hardware, precision = deployment.hardware, deployment.precision
    in_fp8 = precision == "fp8" or (precision in ("mxfp4", "fp4") and hardware.peak_fp4_flop_per_s is not None)
    return (hardware.peak_fp8_flop_per_s if in_fp8 else None) or hardware.peak_bf16_flop_per_s


def _hardware_on(at: Derivation, deployment: Deployment) -> None:
    hardware = deployment.hardware
    attention_count = deployment.attention_accelerators_count or deployment.accelerators_count
    at.given("replicas_count", deployment.replicas_count, "replicas", "deployment")
    at.given("accelerators_count", deployment.accelerators_count, "accelerators", "deployment: of one replica")
    at.given("attention_accelerators_count", attention_count, "accelerators", "deployment: that share one attention")
    at.given("server_accelerators_count", hardware.accelerators_count, "accelerators", hardware.name)
    at.take("peak_flop_per_s", peak(deployment))
    at.take("bw_bytes_per_s", hardware.memory_bw_bytes_per_s)
    at.take("tdp_w", hardware.accelerator_tdp_w)
    at.take("host_w", hardware.host_w)
    at.take("overhead_ratio", hardware.accelerator_overhead_ratio or UNITY)
    at.take("static_ratio", hardware.power_static_ratio)
    at.take("busy_weight_ratio", hardware.power_busy_ratio)
    if attention_count < deployment.accelerators_count:
        at.given("flop_weight_ratio", 0, "ratio", "attention data parallelism: the accelerators wait for each other")
    else:
        at.take("flop_weight_ratio", hardware.power_flop_ratio)
    if hardware.power_cap_exponent is not None:
        at.take("power_cap_exponent", hardware.power_cap_exponent)


def _engine_on(at: Derivation, deployment: Deployment) -> None:
    engine, experts = deployment.engine, deployment.model.experts
    in_fp8 = deployment.precision == "fp8"
    at.take("memory_ratio", engine.memory_efficiency_ratio)
    at.take(
        "expert_memory_ratio",
        (engine.expert_fp8_efficiency_ratio if in_fp8 else None) or engine.memory_efficiency_ratio,
    )
    at.take("tokens_per_read_count", engine.tokens_per_read_count)
    at.take("cache_ratio", engine.cache_efficiency_ratio or engine.memory_efficiency_ratio)
    at.take(
        "compute_ratio",
        (engine.expert_compute_efficiency_ratio if experts else None) or engine.compute_efficiency_ratio,
    )
    at.take(
        "prefill_ratio",
        (engine.expert_prefill_efficiency_ratio if experts else None) or engine.prefill_efficiency_ratio,
    )
    if engine.expert_spread_ratio is not None:
        at.take("expert_spread_ratio", engine.expert_spread_ratio)
    else:
        at.given("expert_spread_ratio", 1, "ratio", f"{engine.name}: none given, so experts are chosen at random")
    if engine.roofline_exponent is not None:
        at.take("roofline_exponent", engine.roofline_exponent)
    else:
        at.given("roofline_exponent", 2, "exponent", f"{engine.name}: none given, so in quadrature")
    at.take("layer_s", engine.layer_s)
    if deployment.accelerators_count > 1:
        at.take("layer_parallel_s", engine.layer_parallel_s)
    else:
        at.given("layer_parallel_s", 0, "s", "one accelerator exchanges nothing")
    for name, factor in (("expert_layer_s", engine.expert_layer_s), ("image_s", engine.image_s)):
        if factor is not None:
            at.take(name, factor)
        else:
            at.given(name, 0, "s", f"{engine.name}: none given")
    at.take("step_s", engine.step_s)
    at.take("step_per_sequence_s", engine.step_per_sequence_s)
    at.take("prefill_overhead_s", engine.prefill_s)


def mix_on(at: Derivation, mean: Mix, *, alone: bool) -> None:
    """Go on to what the mean request makes of a replica. `alone`: that is the request in hand."""
    _given_mix(
        at, "", mean, "the request in hand, as no mean is known" if alone else "mean of the deployment's requests"
    )
    if alone:
        at.follow(formulas.CONTEXT_RULES)
    else:
        at.given("context_tokens", mean.context_tokens, "tokens", "mean over the deployment's output tokens")
    at.follow(formulas.MIX_RULES)


def running_on(at: Derivation, *, itl_s: float | None) -> None:
    """Go on to time and power; the time is computed where `elapsed_s` is not known yet. `itl_s`: the pace was seen."""
    if itl_s is not None:
        at.given("itl_s", itl_s, "s", "observed: median time between two output tokens")
        at.follow(formulas.PACE_RULES)
    elif "elapsed_s" not in at.known:
        at.follow(formulas.STEP_RULES + formulas.TIME_RULES)
    if at.known["attention_copies_ratio"] > 1 and at.known["working_s"] > 0:
        at.given(
            "busy_ratio", 1, "ratio", "attention data parallelism: the accelerators wait for each other, clocks up"
        )
    else:
        at.follow(formulas.BUSY_RULES)
    at.follow(formulas.FLOP_RULES)
    _power_on(at)


def seen_on(at: Derivation, name: str, seen_s: float, ttft_s: float | None, source: str) -> None:
    """Note a time that was seen, as `elapsed_s` or `own_elapsed_s`, less the queue where the first token tells of it."""
    if ttft_s is None:
        at.given(name, seen_s, "s", source)
        return
    at.given("seen_s", seen_s, "s", source)
    at.given("ttft_s", ttft_s, "s", "observed, from admission to the first byte of the stream")
    at.follow(formulas.SERVED_RULES if name == "elapsed_s" else formulas.OWN_SERVED_RULES)


def own_on(at: Derivation, own: Mix, *, cached_is_known: bool, count_ratio: float) -> None:
    """Go on to what the request in hand makes of it."""
    told = (
        "usage"
        if cached_is_known
        else "usage, which does not say how many were cached: all of the prompt counts as fresh"
    )
    _given_mix(at, "own_", own, told)
    if count_ratio > 1:
        at.given("count_ratio", count_ratio, "ratio", "tokens that the upstream did not tell may be off by this factor")
    at.follow(formulas.OWN_CONTEXT_RULES + formulas.OWN_RULES)


def share_on(at: Derivation) -> None:
    """Go on to its IT energy; its time is computed where `own_elapsed_s` is not known yet."""
    if "own_elapsed_s" not in at.known:
        at.follow(formulas.LIKENESS_RULES)
        at.follow(formulas.OWN_PACE_RULES if "itl_s" in at.known else formulas.OWN_TIME_RULES)
    at.follow(formulas.SHARE_RULES + formulas.ENERGY_RULES)


def metered_on(modelled: Sequence[Step], metered_j: float, scheme: Scheme, boundary: Boundary | None) -> Derivation:
    """The derivation of IT energy from a report. `modelled`: that of the deployment's own estimate, which leads to the time
    by which the host is added; of a report on the whole server it has no part."""
    at = Derivation()
    if boundary != "server":
        for step in takewhile(lambda step: step.name not in _OF_ENERGY, modelled):
            at.known[step.name] = step.value
            at.steps.append(step)
    at.given("metered_j", metered_j, "J", f"the upstream's own report ({scheme}), measured at: {boundary}")
    at.follow(formulas.METERED_SERVER_RULES if boundary == "server" else formulas.METERED_RULES)
    return at


def unknown_work_on(at: Derivation) -> None:
    """Go on from a time to IT energy where the tokens are unknown."""
    at.given("busy_ratio", 1, "ratio", "tokens unknown: the accelerators are taken as busy all the time")
    at.given("flop_ratio", 0, "ratio", "tokens unknown: no arithmetic is added")
    _power_on(at)
    at.follow(formulas.UNKNOWN_WORK_RULES + formulas.UNKNOWN_SHARE_RULES)


def _power_on(at: Derivation) -> None:
    at.follow(formulas.LIMIT_RULES)
    at.follow(formulas.SMOOTH_CAP_RULES if "power_cap_exponent" in at.known else formulas.HARD_CAP_RULES)


def _given_mix(at: Derivation, whose: str, mix: Mix, source: str) -> None:
    for name, value, unit in (
        ("input_tokens", mix.input_tokens, "tokens"),
        ("cached_tokens", mix.cached_tokens, "tokens"),
        ("output_tokens", mix.output_tokens, "tokens"),
        ("images_count", mix.images_count, "pictures"),
    ):
        at.given(whose + name, value, unit, source)


def rates_on(at: Derivation, *, rates: Rates) -> None:
    """Go on from IT energy to what it brings with it at a place, without low and high."""
    at.take("pue", rates.pue)
    onsite = rates.onsite
    for name, factor in onsite.given.items():
        at.take(name, factor)
    at.follow(place_formulas.ONSITE_RULES[onsite.method])
    if onsite.method == "reported":
        at.take("wue_l_per_it_kwh", onsite.wue_l_per_it_kwh)
    at.take("ewif_l_per_kwh", rates.ewif_l_per_kwh)
    at.take("grid_g_per_kwh", rates.grid_g_per_kwh)
    at.follow(place_formulas.PLACE_RULES)


def place_on(at: Derivation, *, rates: Rates, spread: Spread, spread_sources: Mapping[str, str]) -> tuple[Step, ...]:
    """Go on from IT energy to what is disclosed, with low and high; the whole derivation."""
    rates_on(at, rates=rates)
    for amount, unit, ratio in (
        ("facility_j", "J", (spread.energy_low, spread.energy_high)),
        ("water_l", "L", (spread.water_low, spread.water_high)),
        ("carbon_g", "g", (spread.carbon_low, spread.carbon_high)),
    ):
        at.within(amount, unit, ratio, spread_sources[amount])
    return tuple(at.steps)
