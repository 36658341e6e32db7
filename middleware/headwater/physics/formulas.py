"""The formulas of an estimate as text beside the functions that compute them, in the order in which they follow.

A text says what its function does, for a reader to recompute; a test evaluates every text and compares. A function's
parameters are the names of figures given before, or of formulas further up; `own_` names the request in hand where it
differs from the mean request of its deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Final

from headwater.physics import energy, throughput


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One formula: the function that computes it, its text, and the figures that it takes, by parameter."""

    name: str
    function: Callable[..., float]
    text: str
    unit: str
    inputs: Mapping[str, str] = field(hash=False)


def rule(
    function: Callable[..., float],
    text: str,
    unit: str,
    name: str = "",
    *,
    own: tuple[str, ...] = (),
    takes: Mapping[str, str] | None = None,
) -> Rule:
    """`own`: parameters that take the figure of the request in hand; `takes`: those that take another name's."""
    inputs = {
        parameter: f"own_{parameter}" if parameter in own else parameter for parameter in signature(function).parameters
    }
    return Rule(
        name=name or function.__name__, function=function, text=text, unit=unit, inputs=inputs | dict(takes or {})
    )


# What holds for every request of a deployment.
ENGINE_RULES: Final = (
    rule(throughput.attention_copies_ratio, "accelerators_count / attention_accelerators_count", "ratio"),
    rule(
        throughput.always_read_params_count,
        "active_params_count - expert_params_count * chosen_count / experts_count",
        "weights",
    ),
    rule(
        throughput.weights_read_s,
        "always_read_params_count * bytes_per_weight * attention_copies_ratio"
        " / (accelerators_count * bw_bytes_per_s * memory_ratio)",
        "s",
    ),
    rule(
        throughput.experts_read_s,
        "expert_params_count * bytes_per_expert_weight / (accelerators_count * bw_bytes_per_s * expert_memory_ratio)",
        "s",
    ),
    rule(
        throughput.fastest_s_per_token,
        "(weights_read_s * memory_ratio + experts_read_s * expert_memory_ratio * chosen_count / experts_count)"
        " / tokens_per_read_count",
        "s",
    ),
    rule(throughput.copies_ratio, "max(attention_accelerators_count / cache_heads_count, 1)", "ratio"),
    rule(throughput.cache_bytes_per_layer, "cache_values_count * bytes_per_value * copies_ratio", "B"),
    rule(
        throughput.cache_read_s_per_token,
        "cache_bytes_per_layer / (accelerators_count * bw_bytes_per_s * cache_ratio)",
        "s",
    ),
    rule(throughput.state_read_s, "2 * state_bytes / (accelerators_count * bw_bytes_per_s * cache_ratio)", "s"),
    rule(
        throughput.token_compute_s,
        "2 * active_params_count / (accelerators_count * peak_flop_per_s * compute_ratio)",
        "s",
    ),
    rule(
        throughput.latency_s,
        "layers_count * (layer_s + layer_parallel_s) + expert_layers_count * expert_layer_s",
        "s",
    ),
    rule(throughput.token_flop, "2 * active_params_count", "FLOP"),
    rule(throughput.decode_flop_per_pair, "4 * q_heads_count * decode_dim", "FLOP"),
    rule(throughput.prefill_flop_per_pair, "4 * q_heads_count * prefill_dim", "FLOP"),
    rule(throughput.image_flop, "2 * vision_params_count * patches_count", "FLOP"),
    rule(energy.host_share_w, "host_w * accelerators_count / server_accelerators_count", "W"),
    rule(energy.limit_w, "accelerators_count * tdp_w", "W"),
)
_PREFILL_FLOP: Final = (
    "({0}input_tokens - {0}cached_tokens) * (token_flop + prefill_flop_per_pair * (whole_layers_count"
    " * ({0}input_tokens + {0}cached_tokens) / 2 + windowed_layers_count"
    " * min(({0}input_tokens + {0}cached_tokens) / 2, window_tokens))) + {0}images_count * image_flop"
)
_SEEN: Final = "whole_layers_count * {0}context_tokens + windowed_layers_count * min({0}context_tokens, window_tokens)"
_PREFILL_GPU: Final = (
    "{0}prefill_flop * attention_copies_ratio / (accelerators_count * peak_flop_per_s * prefill_ratio)"
)
_PREFILL: Final = "{0}prefill_gpu_s + (prefill_overhead_s + image_s * {0}images_count) * attention_copies_ratio"
_DECODE_FLOP: Final = "(token_flop + decode_flop_per_pair * {0}seen_layer_tokens) * {0}output_tokens"
_SEQUENCE: Final = "state_read_s + cache_read_s_per_token * {0}seen_layer_tokens"
CONTEXT_RULES: Final = (rule(throughput.context_tokens, "input_tokens + output_tokens / 2", "tokens"),)
# What the mean request of the deployment makes of the server.
MIX_RULES: Final = (
    rule(throughput.seen_layer_tokens, _SEEN.format(""), "tokens"),
    rule(throughput.prefill_flop, _PREFILL_FLOP.format(""), "FLOP"),
    rule(throughput.prefill_gpu_s, _PREFILL_GPU.format(""), "s"),
    rule(throughput.prefill_s, _PREFILL.format(""), "s"),
    rule(throughput.decode_flop, _DECODE_FLOP.format(""), "FLOP"),
    rule(throughput.request_flop, "prefill_flop + decode_flop", "FLOP"),
    rule(throughput.sequence_read_s, _SEQUENCE.format(""), "s"),
    rule(
        throughput.covered_ratio,
        "1 - (1 - chosen_count / experts_count) ** (1 + expert_spread_ratio * (concurrency_count - 1))",
        "ratio",
    ),
    rule(throughput.shared_read_s, "weights_read_s + experts_read_s * covered_ratio", "s"),
    rule(throughput.memory_s, "shared_read_s + sequence_read_s * concurrency_count", "s"),
    rule(throughput.compute_s, "token_compute_s * concurrency_count", "s"),
    rule(
        throughput.roofline_s,
        "(memory_s ** roofline_exponent + compute_s ** roofline_exponent) ** (1 / roofline_exponent)",
        "s",
    ),
    rule(
        throughput.working_s,
        "output_tokens * (roofline_s + latency_s / 2) + concurrency_count * prefill_gpu_s",
        "s",
    ),
)
STEP_RULES: Final = (
    rule(throughput.decode_step_s, "roofline_s + latency_s + step_s + step_per_sequence_s * concurrency_count", "s"),
)
TIME_RULES: Final = (
    rule(throughput.window_s, "output_tokens * decode_step_s + concurrency_count * prefill_s", "s", "elapsed_s"),
)
PACE_RULES: Final = (
    rule(throughput.paced_window_s, "output_tokens * itl_s + concurrency_count * prefill_s", "s", "elapsed_s"),
)
SERVED_RULES: Final = (rule(throughput.served_s, "seen_s - max(ttft_s - prefill_s, 0)", "s", "elapsed_s"),)
BUSY_RULES: Final = (rule(energy.busy_ratio, "min(working_s / elapsed_s, 1)", "ratio"),)
FLOP_RULES: Final = (
    rule(
        energy.flop_ratio,
        "request_flop * concurrency_count / (accelerators_count * peak_flop_per_s * elapsed_s)",
        "ratio",
    ),
)
LIMIT_RULES: Final = (
    rule(
        energy.uncapped_ratio,
        "static_ratio + busy_weight_ratio * busy_ratio + flop_weight_ratio * flop_ratio",
        "ratio",
    ),
)
HARD_CAP_RULES: Final = (rule(energy.hard_power_ratio, "min(uncapped_ratio, 1)", "ratio", "power_ratio"),)
SMOOTH_CAP_RULES: Final = (
    rule(
        energy.smooth_power_ratio,
        "uncapped_ratio / (1 + uncapped_ratio ** power_cap_exponent) ** (1 / power_cap_exponent)",
        "ratio",
        "power_ratio",
    ),
)
# What the request in hand has of it.
OWN_CONTEXT_RULES: Final = (
    rule(
        throughput.context_tokens,
        "own_input_tokens + own_output_tokens / 2",
        "tokens",
        "own_context_tokens",
        own=("input_tokens", "output_tokens"),
    ),
)
OWN_RULES: Final = (
    rule(
        throughput.seen_layer_tokens, _SEEN.format("own_"), "tokens", "own_seen_layer_tokens", own=("context_tokens",)
    ),
    rule(
        throughput.prefill_flop,
        _PREFILL_FLOP.format("own_"),
        "FLOP",
        "own_prefill_flop",
        own=("input_tokens", "cached_tokens", "images_count"),
    ),
    rule(throughput.prefill_gpu_s, _PREFILL_GPU.format("own_"), "s", "own_prefill_gpu_s", own=("prefill_flop",)),
    rule(throughput.prefill_s, _PREFILL.format("own_"), "s", "own_prefill_s", own=("prefill_gpu_s", "images_count")),
    rule(
        throughput.decode_flop,
        _DECODE_FLOP.format("own_"),
        "FLOP",
        "own_decode_flop",
        own=("seen_layer_tokens", "output_tokens"),
    ),
    rule(
        throughput.request_flop,
        "own_prefill_flop + own_decode_flop",
        "FLOP",
        "own_request_flop",
        own=("prefill_flop", "decode_flop"),
    ),
    rule(throughput.sequence_read_s, _SEQUENCE.format("own_"), "s", "own_sequence_read_s", own=("seen_layer_tokens",)),
)
_REQUEST: Final = "own_output_tokens * {0} + own_prefill_s + (concurrency_count - 1) * prefill_s * likeness_ratio"


_AMONG_OTHERS: Final = {
    "output_tokens": "own_output_tokens",
    "prefill_s": "own_prefill_s",
    "others_prefill_s": "prefill_s",
}
LIKENESS_RULES: Final = (rule(throughput.likeness_ratio, "own_output_tokens / output_tokens", "ratio"),)
OWN_TIME_RULES: Final = (
    rule(throughput.request_s, _REQUEST.format("decode_step_s"), "s", "own_elapsed_s", takes=_AMONG_OTHERS),
)
OWN_PACE_RULES: Final = (
    rule(
        throughput.request_s,
        _REQUEST.format("itl_s"),
        "s",
        "own_elapsed_s",
        takes=_AMONG_OTHERS | {"decode_step_s": "itl_s"},
    ),
)
OWN_SERVED_RULES: Final = (
    rule(throughput.served_s, "seen_s - max(ttft_s - own_prefill_s, 0)", "s", "own_elapsed_s", own=("prefill_s",)),
)
SHARE_RULES: Final = (
    rule(energy.memory_share_ratio, "(memory_s / roofline_s) ** (roofline_exponent - 1)", "ratio"),
    rule(energy.compute_share_ratio, "(compute_s / roofline_s) ** (roofline_exponent - 1)", "ratio"),
    rule(energy.step_share_s, "(memory_share_ratio * shared_read_s + latency_s / 2) / concurrency_count", "s"),
    rule(
        energy.token_share_s,
        "memory_share_ratio * own_sequence_read_s + compute_share_ratio * token_compute_s",
        "s",
    ),
    rule(
        energy.busy_share_s,
        "own_output_tokens * (step_share_s + token_share_s) + own_prefill_gpu_s",
        "s",
        own=("output_tokens", "prefill_gpu_s"),
    ),
    rule(energy.fitted_share_ratio, "busy_ratio * elapsed_s / working_s if working_s > 0 else 1", "ratio"),
    rule(
        energy.peak_share_s,
        "own_request_flop / (accelerators_count * peak_flop_per_s)",
        "s",
        own=("request_flop",),
    ),
)
UNKNOWN_WORK_RULES: Final = (
    rule(energy.accelerator_w, "limit_w * power_ratio", "W"),
    rule(energy.it_w, "host_share_w + overhead_ratio * accelerator_w", "W"),
)


UNKNOWN_SHARE_RULES: Final = (rule(energy.even_share_j, "it_w * own_elapsed_s / concurrency_count", "J", "it_j"),)
METERED_RULES: Final = (
    rule(energy.present_s, "own_elapsed_s / concurrency_count", "s"),
    rule(energy.metered_it_j, "host_share_w * present_s + overhead_ratio * metered_j", "J", "it_j"),
)
METERED_SERVER_RULES: Final = (rule(energy.metered_server_it_j, "metered_j", "J", "it_j"),)
ENERGY_RULES: Final = (
    rule(
        energy.accelerator_j,
        "min(limit_w * power_ratio / uncapped_ratio * (static_ratio * own_elapsed_s / concurrency_count"
        " + busy_weight_ratio * fitted_share_ratio * busy_share_s + flop_weight_ratio * peak_share_s),"
        " limit_w * own_elapsed_s)",
        "J",
    ),
    rule(energy.it_j, "host_share_w * own_elapsed_s / concurrency_count + overhead_ratio * accelerator_j", "J"),
)
