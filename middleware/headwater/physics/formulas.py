"""The formulas of an estimate as text beside the functions that compute them, in the order in which they follow.

A text says what its function does, for a reader to recompute; a test evaluates every text and compares. A function's
parameters are the names of figures given before, or of formulas further up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headwater.physics import carbon, energy, throughput, water


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One formula: the function that computes it, and its text."""

    name: str
    function: Callable[..., float]
    text: str
    unit: str


def _rule(function: Callable[..., float], text: str, unit: str, name: str = "") -> Rule:
    return Rule(name=name or function.__name__, function=function, text=text, unit=unit)


ENGINE_RULES: Final = (
    _rule(
        throughput.weights_read_s,
        "params_count * bytes_per_weight / (accelerators_count * bw_bytes_per_s * memory_ratio)",
        "s",
    ),
    _rule(throughput.fastest_s_per_token, "weights_read_s * memory_ratio / tokens_per_read_count", "s"),
    _rule(throughput.copies_ratio, "max(accelerators_count / kv_heads_count, 1)", "ratio"),
    _rule(
        throughput.cache_bytes_per_token,
        "2 * layers_count * kv_heads_count * head_dim * bytes_per_value * copies_ratio",
        "B/token",
    ),
    _rule(
        throughput.cache_read_s_per_token,
        "cache_bytes_per_token / (accelerators_count * bw_bytes_per_s * cache_ratio)",
        "s/token",
    ),
    _rule(throughput.token_compute_s, "2 * params_count / (accelerators_count * peak_flop_per_s * compute_ratio)", "s"),
    _rule(throughput.latency_s, "layers_count * (layer_s + layer_parallel_s)", "s"),
    _rule(throughput.attention_flop_per_pair, "4 * layers_count * q_heads_count * head_dim", "FLOP"),
    _rule(energy.host_share_w, "host_w * accelerators_count / server_accelerators_count", "W"),
)
WORK_RULES: Final = (
    _rule(throughput.context_tokens, "input_tokens + output_tokens / 2", "tokens"),
    _rule(
        throughput.prefill_flop,
        "2 * params_count * (input_tokens - cached_tokens)"
        " + attention_flop_per_pair * ((input_tokens - cached_tokens) * (input_tokens + cached_tokens) / 2)",
        "FLOP",
    ),
    _rule(
        throughput.decode_flop,
        "(2 * params_count + attention_flop_per_pair * context_tokens) * output_tokens",
        "FLOP",
    ),
    _rule(throughput.request_flop, "prefill_flop + decode_flop", "FLOP"),
    _rule(throughput.prefill_gpu_s, "prefill_flop / (accelerators_count * peak_flop_per_s * prefill_ratio)", "s"),
    _rule(
        throughput.roofline_s,
        "((weights_read_s + cache_read_s_per_token * concurrency_count * context_tokens) ** 2"
        " + (token_compute_s * concurrency_count) ** 2) ** 0.5",
        "s",
    ),
    _rule(
        throughput.working_s,
        "output_tokens * (roofline_s + latency_s / 2) + concurrency_count * prefill_gpu_s",
        "s",
    ),
)
TIME_RULES: Final = (
    _rule(throughput.decode_step_s, "roofline_s + latency_s + step_s + step_per_sequence_s * concurrency_count", "s"),
    _rule(throughput.prefill_s, "prefill_gpu_s + prefill_overhead_s", "s"),
    _rule(throughput.window_s, "output_tokens * decode_step_s + concurrency_count * prefill_s", "s", "elapsed_s"),
)
BUSY_RULES: Final = (
    _rule(energy.busy_ratio, "min(working_s / elapsed_s, 1)", "ratio"),
    _rule(
        energy.flop_ratio,
        "request_flop * concurrency_count / (accelerators_count * peak_flop_per_s * elapsed_s)",
        "ratio",
    ),
)
POWER_RULES: Final = (
    _rule(
        energy.power_ratio,
        "min(static_ratio + busy_weight_ratio * busy_ratio + flop_weight_ratio * flop_ratio, 1)",
        "ratio",
    ),
    _rule(energy.server_w, "host_share_w + accelerators_count * tdp_w * overhead_ratio * power_ratio", "W"),
    _rule(energy.it_j, "server_w * elapsed_s / concurrency_count", "J"),
)
PLACE_RULES: Final = (
    _rule(energy.facility_j, "it_j * pue", "J"),
    _rule(water.onsite_l, "it_j / 3600000.0 * wue_l_per_it_kwh", "L"),
    _rule(water.offsite_l, "facility_j / 3600000.0 * ewif_l_per_kwh", "L"),
    _rule(water.water_l, "onsite_l + offsite_l", "L"),
    _rule(carbon.carbon_g, "facility_j / 3600000.0 * grid_g_per_kwh", "g"),
)
