"""How long a serving engine is busy: the roofline of a decode step, and the prefill. Knows no power, water or site.

Notes: B sequences in flight on n accelerators, tensor parallel. A step reads the weights once and every cache; it is
bound by memory or by arithmetic, and pays a latency per layer and per sequence on top (METHODOLOGY.md, "Time").
References: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, doi:10.1145/1498765.1498785; Pope et al.,
"Efficiently scaling transformer inference", MLSys 2023, arXiv:2211.05102 (weights and cache reads of a decode step).
"""

from __future__ import annotations

from typing import Final

# A weight is one multiply and one add per token (Kaplan et al., arXiv:2001.08361, section 2.1).
FLOP_PER_WEIGHT: Final = 2.0
# Keys and values: two tensors are cached per layer, and two products (query-key, score-value) are computed on them.
TENSORS_PER_CACHE: Final = 2.0


def weights_read_s(
    *,
    params_count: float,
    bytes_per_weight: float,
    accelerators_count: float,
    bw_bytes_per_s: float,
    memory_ratio: float,
) -> float:
    """Seconds to read all weights once from the memory of all accelerators."""
    return params_count * bytes_per_weight / (accelerators_count * bw_bytes_per_s * memory_ratio)


def fastest_s_per_token(*, weights_read_s: float, memory_ratio: float, tokens_per_read_count: float) -> float:
    """Seconds below which no output token of a sequence can come: the weights read at full bandwidth, and every draft
    of speculative decoding accepted. A reply that was faster did not come from this model."""
    return weights_read_s * memory_ratio / tokens_per_read_count


def copies_ratio(*, accelerators_count: float, kv_heads_count: float) -> float:
    """Copies of the cache that are kept: a head cannot be split, so more accelerators than heads hold it repeatedly."""
    return max(accelerators_count / kv_heads_count, 1)


def cache_bytes_per_token(
    *, layers_count: float, kv_heads_count: float, head_dim: float, bytes_per_value: float, copies_ratio: float
) -> float:
    """Bytes that one token of context occupies, over all accelerators."""
    return TENSORS_PER_CACHE * layers_count * kv_heads_count * head_dim * bytes_per_value * copies_ratio


def cache_read_s_per_token(
    *, cache_bytes_per_token: float, accelerators_count: float, bw_bytes_per_s: float, cache_ratio: float
) -> float:
    """Seconds to read the cache of one token of one sequence's context."""
    return cache_bytes_per_token / (accelerators_count * bw_bytes_per_s * cache_ratio)


def token_compute_s(
    *, params_count: float, accelerators_count: float, peak_flop_per_s: float, compute_ratio: float
) -> float:
    """Seconds of arithmetic for one output token of one sequence."""
    return FLOP_PER_WEIGHT * params_count / (accelerators_count * peak_flop_per_s * compute_ratio)


def latency_s(*, layers_count: float, layer_s: float, layer_parallel_s: float) -> float:
    """Seconds per step that pass in kernel starts and, across accelerators, in exchanges; whatever the batch."""
    return layers_count * (layer_s + layer_parallel_s)


def roofline_s(
    *,
    weights_read_s: float,
    cache_read_s_per_token: float,
    token_compute_s: float,
    concurrency_count: float,
    context_tokens: float,
) -> float:
    """Seconds of one decode step that memory and arithmetic ask for.

    Notes: `sqrt(t_mem^2 + t_cmp^2)`, a smooth maximum of the two.
    """
    memory_s = weights_read_s + cache_read_s_per_token * concurrency_count * context_tokens
    compute_s = token_compute_s * concurrency_count
    step_s: float = (memory_s**2 + compute_s**2) ** (1 / 2)
    return step_s


def decode_step_s(
    *, roofline_s: float, latency_s: float, step_s: float, step_per_sequence_s: float, concurrency_count: float
) -> float:
    """Seconds of one decode step of the whole batch: each sequence gains one token."""
    return roofline_s + latency_s + step_s + step_per_sequence_s * concurrency_count


def attention_flop_per_pair(*, layers_count: float, q_heads_count: float, head_dim: float) -> float:
    """Arithmetic for one token that looks at one token of its context."""
    return FLOP_PER_WEIGHT * TENSORS_PER_CACHE * layers_count * q_heads_count * head_dim


def prefill_flop(
    *,
    params_count: float,
    attention_flop_per_pair: float,
    input_tokens: float,
    cached_tokens: float,
) -> float:
    """Arithmetic to take in a prompt. Cached tokens cost none of their own: they are only looked at.

    Notes: fresh token number i sees i tokens, so the pairs are (input^2 - cached^2) / 2.
    """
    fresh_tokens = input_tokens - cached_tokens
    pairs_count = fresh_tokens * (input_tokens + cached_tokens) / 2
    return FLOP_PER_WEIGHT * params_count * fresh_tokens + attention_flop_per_pair * pairs_count


def decode_flop(
    *, params_count: float, attention_flop_per_pair: float, context_tokens: float, output_tokens: float
) -> float:
    """Arithmetic to put out one request's tokens, each looking at the mean context."""
    return (FLOP_PER_WEIGHT * params_count + attention_flop_per_pair * context_tokens) * output_tokens


def prefill_gpu_s(
    *, prefill_flop: float, accelerators_count: float, peak_flop_per_s: float, prefill_ratio: float
) -> float:
    """Seconds of arithmetic to take in a prompt; the accelerators do nothing else meanwhile."""
    return prefill_flop / (accelerators_count * peak_flop_per_s * prefill_ratio)


def prefill_s(*, prefill_gpu_s: float, prefill_overhead_s: float) -> float:
    """Seconds to take in a prompt, with what the engine spends on a new request besides arithmetic."""
    return prefill_gpu_s + prefill_overhead_s


def request_flop(*, prefill_flop: float, decode_flop: float) -> float:
    """All arithmetic of one request."""
    return prefill_flop + decode_flop


def context_tokens(*, input_tokens: float, output_tokens: float) -> float:
    """Mean context over a request's decoding: the prompt and half of the answer."""
    return input_tokens + output_tokens / 2


def window_s(*, output_tokens: float, decode_step_s: float, prefill_s: float, concurrency_count: float) -> float:
    """Seconds that a batch of like requests takes: one's decode steps, and everybody's prefill."""
    return output_tokens * decode_step_s + concurrency_count * prefill_s


def working_s(
    *, output_tokens: float, roofline_s: float, latency_s: float, prefill_gpu_s: float, concurrency_count: float
) -> float:
    """Seconds of that window in which the accelerators work; half of the latency counts as work."""
    return output_tokens * (roofline_s + latency_s / 2) + concurrency_count * prefill_gpu_s
