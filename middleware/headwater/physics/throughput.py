"""How long a serving engine is busy: the roofline of a decode step, and the prefill. Knows no power, water or site.

Notes: B sequences in flight on one replica of n accelerators. A step reads the weights once, those experts that any of its
tokens chose, and every cache; it is bound by memory or by arithmetic, and pays a latency per layer and per sequence on top
(METHODOLOGY.md, "Time").
References: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, doi:10.1145/1498765.1498785; Pope et al.,
"Efficiently scaling transformer inference", MLSys 2023, arXiv:2211.05102 (weights and cache reads of a decode step);
DeepSeek-AI, "DeepSeek-V2", arXiv:2405.04434 (latent attention).
"""

from __future__ import annotations

from typing import Final

# A weight is one multiply and one add per token (Kaplan et al., arXiv:2001.08361, section 2.1).
FLOP_PER_WEIGHT: Final = 2.0
# Two products are computed over the context: query with keys, scores with values; a multiply and an add each.
FLOP_PER_PAIR: Final = 2.0 * 2.0
# A recurrent state is read and written once per step.
PASSES_OVER_STATE: Final = 2.0


# -- what holds for a deployment, whatever is asked of it -----------------------------------------------------------------


def attention_copies_ratio(*, accelerators_count: float, attention_accelerators_count: float) -> float:
    """Copies of the attention in one replica: 1 with tensor parallelism, more with attention data parallelism."""
    return accelerators_count / attention_accelerators_count


def always_read_params_count(
    *, active_params_count: float, expert_params_count: float, chosen_count: float, experts_count: float
) -> float:
    """Weights that every step reads: the active ones but for the chosen experts."""
    return active_params_count - expert_params_count * chosen_count / experts_count


def weights_read_s(
    *,
    always_read_params_count: float,
    bytes_per_weight: float,
    attention_copies_ratio: float,
    accelerators_count: float,
    bw_bytes_per_s: float,
    memory_ratio: float,
) -> float:
    """Seconds to read the always-read weights once, in each copy, from the memory of all accelerators."""
    weights_bytes = always_read_params_count * bytes_per_weight * attention_copies_ratio
    return weights_bytes / (accelerators_count * bw_bytes_per_s * memory_ratio)


def experts_read_s(
    *,
    expert_params_count: float,
    bytes_per_expert_weight: float,
    accelerators_count: float,
    bw_bytes_per_s: float,
    expert_memory_ratio: float,
) -> float:
    """Seconds to read all experts once."""
    return expert_params_count * bytes_per_expert_weight / (accelerators_count * bw_bytes_per_s * expert_memory_ratio)


def fastest_s_per_token(
    *,
    weights_read_s: float,
    memory_ratio: float,
    experts_read_s: float,
    expert_memory_ratio: float,
    chosen_count: float,
    experts_count: float,
    tokens_per_read_count: float,
) -> float:
    """Seconds below which no output token of a sequence can come: the weights read at full bandwidth, and every draft
    of speculative decoding accepted. A reply that was faster did not come from this model."""
    chosen_s = experts_read_s * expert_memory_ratio * chosen_count / experts_count
    return (weights_read_s * memory_ratio + chosen_s) / tokens_per_read_count


def copies_ratio(*, attention_accelerators_count: float, cache_heads_count: float) -> float:
    """Copies of the cache that are kept: a head cannot be split, so more accelerators than heads hold it repeatedly.
    Latent attention has one vector for all heads, so every accelerator holds it."""
    return max(attention_accelerators_count / cache_heads_count, 1)


def cache_bytes_per_layer(*, cache_values_count: float, bytes_per_value: float, copies_ratio: float) -> float:
    """Bytes that one token of context occupies in one layer, over all accelerators."""
    return cache_values_count * bytes_per_value * copies_ratio


def state_read_s(*, state_bytes: float, accelerators_count: float, bw_bytes_per_s: float, cache_ratio: float) -> float:
    """Seconds to read and write one sequence's recurrent state."""
    return PASSES_OVER_STATE * state_bytes / (accelerators_count * bw_bytes_per_s * cache_ratio)


def cache_read_s_per_token(
    *, cache_bytes_per_layer: float, accelerators_count: float, bw_bytes_per_s: float, cache_ratio: float
) -> float:
    """Seconds to read the cache of one token of one sequence's context in one layer."""
    return cache_bytes_per_layer / (accelerators_count * bw_bytes_per_s * cache_ratio)


def token_compute_s(
    *, active_params_count: float, accelerators_count: float, peak_flop_per_s: float, compute_ratio: float
) -> float:
    """Seconds of arithmetic for one output token of one sequence."""
    return FLOP_PER_WEIGHT * active_params_count / (accelerators_count * peak_flop_per_s * compute_ratio)


def latency_s(
    *,
    layers_count: float,
    layer_s: float,
    layer_parallel_s: float,
    expert_layers_count: float,
    expert_layer_s: float,
) -> float:
    """Seconds per step that pass in kernel starts and, across accelerators, in exchanges; whatever the batch."""
    return layers_count * (layer_s + layer_parallel_s) + expert_layers_count * expert_layer_s


def token_flop(*, active_params_count: float) -> float:
    """Arithmetic of one token through all weights that are active for it."""
    return FLOP_PER_WEIGHT * active_params_count


def decode_flop_per_pair(*, q_heads_count: float, decode_dim: float) -> float:
    """Arithmetic, per layer, for one output token that looks at one token of its context."""
    return FLOP_PER_PAIR * q_heads_count * decode_dim


def prefill_flop_per_pair(*, q_heads_count: float, prefill_dim: float) -> float:
    """Arithmetic, per layer, for one prompt token that looks at one token before it."""
    return FLOP_PER_PAIR * q_heads_count * prefill_dim


def image_flop(*, vision_params_count: float, patches_count: float) -> float:
    """Arithmetic to encode one picture."""
    return FLOP_PER_WEIGHT * vision_params_count * patches_count


# -- what follows for requests --------------------------------------------------------------------------------------------


def seen_layer_tokens(
    *, context_tokens: float, whole_layers_count: float, windowed_layers_count: float, window_tokens: float
) -> float:
    """Tokens looked at by one new token, summed over all attention layers; a window looks at its last ones only."""
    return whole_layers_count * context_tokens + windowed_layers_count * min(context_tokens, window_tokens)


def prefill_flop(
    *,
    token_flop: float,
    prefill_flop_per_pair: float,
    whole_layers_count: float,
    windowed_layers_count: float,
    window_tokens: float,
    image_flop: float,
    input_tokens: float,
    cached_tokens: float,
    images_count: float,
) -> float:
    """Arithmetic to take in a prompt. Cached tokens cost none of their own: they are only looked at.

    Notes: fresh token number i sees i tokens, so they see (input + cached) / 2 on average, a window at most its own.
    """
    fresh_tokens = input_tokens - cached_tokens
    seen_tokens = (input_tokens + cached_tokens) / 2
    layer_tokens = whole_layers_count * seen_tokens + windowed_layers_count * min(seen_tokens, window_tokens)
    return fresh_tokens * (token_flop + prefill_flop_per_pair * layer_tokens) + images_count * image_flop


def prefill_gpu_s(
    *,
    prefill_flop: float,
    accelerators_count: float,
    peak_flop_per_s: float,
    prefill_ratio: float,
    attention_copies_ratio: float,
) -> float:
    """Seconds of arithmetic to take in a prompt; the accelerators do nothing else meanwhile. With attention data
    parallelism the others wait for the one that does."""
    return prefill_flop * attention_copies_ratio / (accelerators_count * peak_flop_per_s * prefill_ratio)


def prefill_s(
    *,
    prefill_gpu_s: float,
    prefill_overhead_s: float,
    image_s: float,
    images_count: float,
    attention_copies_ratio: float,
) -> float:
    """Seconds to take in a prompt, with what the engine spends on a new request and on its pictures besides arithmetic."""
    return prefill_gpu_s + (prefill_overhead_s + image_s * images_count) * attention_copies_ratio


def covered_ratio(
    *, chosen_count: float, experts_count: float, expert_spread_ratio: float, concurrency_count: float
) -> float:
    """Share of the experts that a step of the batch touches. Tokens of a batch choose alike to some degree: each further
    one counts as `expert_spread_ratio` tokens that choose at random."""
    missed_ratio: float = (1 - chosen_count / experts_count) ** (1 + expert_spread_ratio * (concurrency_count - 1))
    return 1 - missed_ratio


def sequence_read_s(*, state_read_s: float, cache_read_s_per_token: float, seen_layer_tokens: float) -> float:
    """Seconds to read what one sequence keeps: its cache and its state."""
    return state_read_s + cache_read_s_per_token * seen_layer_tokens


def shared_read_s(*, weights_read_s: float, experts_read_s: float, covered_ratio: float) -> float:
    """Seconds to read what all sequences of a step share: the weights."""
    return weights_read_s + experts_read_s * covered_ratio


def memory_s(*, shared_read_s: float, sequence_read_s: float, concurrency_count: float) -> float:
    """Seconds of one step that reading asks for."""
    return shared_read_s + sequence_read_s * concurrency_count


def compute_s(*, token_compute_s: float, concurrency_count: float) -> float:
    """Seconds of one step that arithmetic asks for."""
    return token_compute_s * concurrency_count


def roofline_s(*, memory_s: float, compute_s: float, roofline_exponent: float) -> float:
    """Seconds of one decode step: a smooth maximum of reading and arithmetic.

    Notes: `(t_mem^q + t_cmp^q)^(1/q)`; q = 1 is one after the other, q to infinity the larger of the two.
    """
    step_s: float = (memory_s**roofline_exponent + compute_s**roofline_exponent) ** (1 / roofline_exponent)
    return step_s


def decode_step_s(
    *, roofline_s: float, latency_s: float, step_s: float, step_per_sequence_s: float, concurrency_count: float
) -> float:
    """Seconds of one decode step of the whole batch: each sequence gains one token."""
    return roofline_s + latency_s + step_s + step_per_sequence_s * concurrency_count


def window_s(*, output_tokens: float, decode_step_s: float, prefill_s: float, concurrency_count: float) -> float:
    """Seconds that a batch of like requests takes: one's decode steps, and everybody's prefill."""
    return output_tokens * decode_step_s + concurrency_count * prefill_s


def working_s(
    *, output_tokens: float, roofline_s: float, latency_s: float, prefill_gpu_s: float, concurrency_count: float
) -> float:
    """Seconds of that window in which the accelerators work; half of the latency counts as work."""
    return output_tokens * (roofline_s + latency_s / 2) + concurrency_count * prefill_gpu_s


def decode_flop(
    *, token_flop: float, decode_flop_per_pair: float, seen_layer_tokens: float, output_tokens: float
) -> float:
    """Arithmetic to put out one request's tokens, each looking at the mean context."""
    return (token_flop + decode_flop_per_pair * seen_layer_tokens) * output_tokens


def request_flop(*, prefill_flop: float, decode_flop: float) -> float:
    """All arithmetic of one request."""
    return prefill_flop + decode_flop


def context_tokens(*, input_tokens: float, output_tokens: float) -> float:
    """Mean context over a request's decoding: the prompt and half of the answer."""
    return input_tokens + output_tokens / 2


def likeness_ratio(*, own_output_tokens: float, output_tokens: float) -> float:
    """A request's output tokens over the mean request's."""
    return own_output_tokens / output_tokens


def request_s(
    *,
    output_tokens: float,
    decode_step_s: float,
    prefill_s: float,
    others_prefill_s: float,
    concurrency_count: float,
    likeness_ratio: float,
) -> float:
    """Seconds that one request takes among others: its own prefill, its steps, and the prefills that interrupt them.

    Notes: `likeness_ratio` is its output tokens over the mean request's: a longer answer is interrupted more often.
    """
    return output_tokens * decode_step_s + prefill_s + (concurrency_count - 1) * others_prefill_s * likeness_ratio


def served_s(*, seen_s: float, ttft_s: float, prefill_s: float) -> float:
    """Seconds in which a request was served: what lies before the first token beyond its prefill was the queue."""
    return seen_s - max(ttft_s - prefill_s, 0)


def paced_window_s(*, output_tokens: float, itl_s: float, prefill_s: float, concurrency_count: float) -> float:
    """Seconds that a batch of like requests takes at a pace seen between its prefills."""
    return output_tokens * itl_s + concurrency_count * prefill_s
