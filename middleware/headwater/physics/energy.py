"""Power of a server at work, and one request's share of its energy. Knows no tokens and no site.

References: structure and ranges in METHODOLOGY.md, "Power"; PUE is facility energy over IT energy, ISO/IEC 30134-2.
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


def power_ratio(
    *, static_ratio: float, busy_weight_ratio: float, flop_weight_ratio: float, busy_ratio: float, flop_ratio: float
) -> float:
    """Accelerator power over its limit: always on, plus at work, plus arithmetic; never above the limit."""
    return min(static_ratio + busy_weight_ratio * busy_ratio + flop_weight_ratio * flop_ratio, 1)


def host_share_w(*, host_w: float, accelerators_count: float, server_accelerators_count: float) -> float:
    """The deployment's part of the host's power, by its part of the server's accelerators."""
    return host_w * accelerators_count / server_accelerators_count


def server_w(
    *, host_share_w: float, accelerators_count: float, tdp_w: float, overhead_ratio: float, power_ratio: float
) -> float:
    """Power at the wall of the deployment's accelerators and their part of the host: IT power."""
    return host_share_w + accelerators_count * tdp_w * overhead_ratio * power_ratio


def it_j(*, server_w: float, elapsed_s: float, concurrency_count: float) -> float:
    """One request's share of the server's IT energy: its time at the server's power, split among those in flight."""
    return server_w * elapsed_s / concurrency_count


def facility_j(*, it_j: float, pue: float) -> float:
    """Energy of the whole facility for that IT energy: cooling and distribution included."""
    return it_j * pue
