"""Power of a server at work, and one request's share of its energy. Knows no tokens and no site.

Notes: the share follows what a request causes: the time it is there, its part of what a step reads for all, and its own
reading, arithmetic and prefill. Over requests that are all alike it is the server's energy divided by their number, exactly.
References: structure and ranges in METHODOLOGY.md, "Power" and "Sharing"; PUE is facility energy over IT energy, ISO/IEC
30134-2.
"""

from __future__ import annotations


def busy_ratio(*, working_s: float, elapsed_s: float) -> float:
    """Share of the time in which the accelerators work, at most all of it."""
    return min(working_s / elapsed_s, 1)


def flop_ratio(
    *,
    request_flop: float,
    concurrency_count: float,
    accelerators_count: float,
    peak_flop_per_s: float,
    elapsed_s: float,
) -> float:
    """Share of the peak arithmetic that a batch of like requests uses over its time."""
    return request_flop * concurrency_count / (accelerators_count * peak_flop_per_s * elapsed_s)


def uncapped_ratio(
    *, static_ratio: float, busy_weight_ratio: float, flop_weight_ratio: float, busy_ratio: float, flop_ratio: float
) -> float:
    """Accelerator power over its limit as it would be without one: always on, plus at work, plus arithmetic."""
    return static_ratio + busy_weight_ratio * busy_ratio + flop_weight_ratio * flop_ratio


def hard_power_ratio(*, uncapped_ratio: float) -> float:
    """Accelerator power over its limit, cut off at the limit."""
    return min(uncapped_ratio, 1)


def smooth_power_ratio(*, uncapped_ratio: float, power_cap_exponent: float) -> float:
    """Accelerator power over its limit, bending below it: clocks fall before the limit is reached."""
    ratio: float = uncapped_ratio / (1 + uncapped_ratio**power_cap_exponent) ** (1 / power_cap_exponent)
    return ratio


def host_share_w(*, host_w: float, accelerators_count: float, server_accelerators_count: float) -> float:
    """The deployment's part of the host's power, by its part of the server's accelerators."""
    return host_w * accelerators_count / server_accelerators_count


def limit_w(*, accelerators_count: float, tdp_w: float) -> float:
    """Power limit of a replica's accelerators together."""
    return accelerators_count * tdp_w


def accelerator_w(*, limit_w: float, power_ratio: float) -> float:
    """Power of a replica's accelerators, as their own meters show it."""
    return limit_w * power_ratio


def it_w(*, host_share_w: float, overhead_ratio: float, accelerator_w: float) -> float:
    """Power at the wall of a replica's accelerators and their part of the host: IT power."""
    return host_share_w + overhead_ratio * accelerator_w


# -- one request's share ------------------------------------------------------------------------------------------------


def memory_share_ratio(*, memory_s: float, roofline_s: float, roofline_exponent: float) -> float:
    """Seconds of a step per second of reading. With the same for arithmetic, the two add up to the step exactly."""
    ratio: float = (memory_s / roofline_s) ** (roofline_exponent - 1)
    return ratio


def compute_share_ratio(*, compute_s: float, roofline_s: float, roofline_exponent: float) -> float:
    """Seconds of a step per second of arithmetic."""
    ratio: float = (compute_s / roofline_s) ** (roofline_exponent - 1)
    return ratio


def step_share_s(
    *, shared_read_s: float, memory_share_ratio: float, latency_s: float, concurrency_count: float
) -> float:
    """Working seconds per output token that all sequences of the step bear alike: weights read, and half of the latency."""
    return (memory_share_ratio * shared_read_s + latency_s / 2) / concurrency_count


def token_share_s(
    *, memory_share_ratio: float, own_sequence_read_s: float, compute_share_ratio: float, token_compute_s: float
) -> float:
    """Working seconds per output token that this sequence alone causes: its cache read, and its arithmetic."""
    return memory_share_ratio * own_sequence_read_s + compute_share_ratio * token_compute_s


def busy_share_s(*, output_tokens: float, step_share_s: float, token_share_s: float, prefill_gpu_s: float) -> float:
    """A request's part of the accelerators' working time."""
    return output_tokens * (step_share_s + token_share_s) + prefill_gpu_s


def fitted_share_ratio(*, busy_ratio: float, elapsed_s: float, working_s: float) -> float:
    """Working seconds that there were per working second expected: below 1 where the time is too short for the work."""
    return busy_ratio * elapsed_s / working_s if working_s > 0 else 1


def peak_share_s(*, request_flop: float, accelerators_count: float, peak_flop_per_s: float) -> float:
    """A request's arithmetic, as seconds of the accelerators at their peak."""
    return request_flop / (accelerators_count * peak_flop_per_s)


def accelerator_j(
    *,
    limit_w: float,
    power_ratio: float,
    uncapped_ratio: float,
    static_ratio: float,
    own_elapsed_s: float,
    concurrency_count: float,
    busy_weight_ratio: float,
    fitted_share_ratio: float,
    busy_share_s: float,
    flop_weight_ratio: float,
    peak_share_s: float,
) -> float:
    """One request's share of the accelerators' energy: its part of being on, of being at work, and of the arithmetic.

    Notes: never more than all accelerators take at their limit while it is served. A prompt that was found in a cache, of
    which the upstream said nothing, would else be charged work that cannot have been done.
    """
    static_s = static_ratio * own_elapsed_s / concurrency_count
    work_s = busy_weight_ratio * fitted_share_ratio * busy_share_s
    caused_j = limit_w * power_ratio / uncapped_ratio * (static_s + work_s + flop_weight_ratio * peak_share_s)
    return min(caused_j, limit_w * own_elapsed_s)


def it_j(
    *,
    host_share_w: float,
    own_elapsed_s: float,
    concurrency_count: float,
    overhead_ratio: float,
    accelerator_j: float,
) -> float:
    """One request's share of the server's IT energy: of the host by its time, of the accelerators by what it caused."""
    return host_share_w * own_elapsed_s / concurrency_count + overhead_ratio * accelerator_j


def present_s(*, own_elapsed_s: float, concurrency_count: float) -> float:
    """Seconds of its replica that a request has for itself."""
    return own_elapsed_s / concurrency_count


def metered_it_j(*, host_share_w: float, present_s: float, overhead_ratio: float, metered_j: float) -> float:
    """IT energy of a request whose accelerators' energy was measured: the host by its time, the overhead in proportion, as
    in a measured window."""
    return host_share_w * present_s + overhead_ratio * metered_j


def metered_server_it_j(*, metered_j: float) -> float:
    """IT energy of a request whose part of the whole server was measured: nothing is to be added."""
    return metered_j


def unmetered_accelerators_j(*, it_j: float, host_share_w: float, present_s: float, overhead_ratio: float) -> float:
    """What a meter of the accelerators alone would show of an IT energy: `metered_it_j`, the other way round."""
    return (it_j - host_share_w * present_s) / overhead_ratio


def even_share_j(*, it_w: float, own_elapsed_s: float, concurrency_count: float) -> float:
    """A share by time alone, where nothing is known of the work."""
    return it_w * own_elapsed_s / concurrency_count


def facility_j(*, it_j: float, pue: float) -> float:
    """Energy of the whole facility for that IT energy: cooling and distribution included."""
    return it_j * pue
