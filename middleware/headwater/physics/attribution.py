"""Whose joule it is: what each request in flight has of a window's energy. Pure functions; knows no clock and no meter.

Notes: over a window a request gets the weight

    a_r = S*T_r/A + W*D_r/A + C*D_r + V*D_r*ctx_r + Pre_r        [J]

T_r its seconds in flight, D_r its output tokens, ctx_r their mean context, A = sum(T) / T_busy the mean concurrency while any
request was there; over the whole window it would be too low, and who shares a window with idling would pay twice. S is the
static power; W what a step reads once for all, and half of its latency; C arithmetic, V the cache read of one token of
context, Pre_r the prompt tokens that were taken in. They are `Replica.share_j` under the mean of the window (METHODOLOGY.md,
"Sharing").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.physics.replica import Replica
from headwater.records import Mix, Part, Running, Stay

# -- who was there, and with what ---------------------------------------------------------------------------------------


def part_of(
    replica: Replica, stay: Stay, window: tuple[float, float], *, output_tokens: float, earlier_tokens: float
) -> Part:
    """What of a request falls into the window from and to these seconds: its presence, and its prompt as it is taken in.

    `output_tokens` came in the window, `earlier_tokens` before it.
    """
    since_s, until_s = taken_in_s(replica, stay)
    done_ratio = _share_before(window[0], since_s, until_s)
    ratio = _share_before(window[1], since_s, until_s) - done_ratio
    fresh_tokens = stay.input_tokens - stay.cached_tokens
    return Part(
        in_flight_s=max(min(stay.ended_s, window[1]) - max(since_s, window[0]), 0.0),
        output_tokens=output_tokens,
        context_tokens=stay.input_tokens + earlier_tokens + output_tokens / 2,
        fresh_tokens=fresh_tokens * ratio,
        cached_tokens=stay.cached_tokens + fresh_tokens * done_ratio if ratio > 0 else 0.0,
        images_count=stay.images_count * ratio,
    )


def taken_in_s(replica: Replica, stay: Stay) -> tuple[float, float]:
    """When a prompt was taken in, most likely: up to its first token, for as long as the model needs for it.

    What lies before that is the queue. It runs nothing, so it has no part in who pays for what runs; in bursts, leaving it
    in would be the rule's largest error (METHODOLOGY.md, "Sharing"). Without a first token, from the admission on.
    """
    prefill_s = replica.prefill_s(
        input_tokens=stay.input_tokens, cached_tokens=stay.cached_tokens, images_count=stay.images_count
    )
    if stay.first_token_s is None:
        return stay.admitted_s, min(stay.admitted_s + prefill_s, stay.ended_s)
    return max(stay.first_token_s - prefill_s, stay.admitted_s), stay.first_token_s


def _share_before(at_s: float, since_s: float, until_s: float) -> float:
    """The share of a stretch of time that lies before a moment. A stretch without length lies just after its moment."""
    if at_s <= since_s:
        return 0.0
    return 1.0 if at_s >= until_s else (at_s - since_s) / (until_s - since_s)


# -- weights --------------------------------------------------------------------------------------------------------------


def present_replicas_s(parts: Sequence[Part], *, busy_s: float, replicas_count: float) -> float:
    """Seconds that replicas had a request, over all replicas: for `busy_s` any had. Requests spread as far as they go."""
    return min(math.fsum(part.in_flight_s for part in parts), busy_s * replicas_count)


def window_running(replica: Replica, parts: Sequence[Part], *, busy_s: float) -> Running | None:
    """How a replica ran in a window, on average over `busy_s`, the seconds in which any request was in flight.

    None where no request was: then there is nobody to share among.
    """
    replicas_count = replica.replicas_count
    present_s = present_replicas_s(parts, busy_s=busy_s, replicas_count=replicas_count)
    if present_s <= 0:
        return None
    concurrency_count = math.fsum(part.in_flight_s for part in parts) / present_s
    mean = mean_mix(parts, concurrency_count * replicas_count)
    return replica.running(mean, concurrency_count, elapsed_s=present_s / replicas_count)


def mean_mix(parts: Sequence[Part], slots_count: float) -> Mix:
    """What came into and out of one slot of the batches on average. A slot is one place in flight, whoever holds it.

    Notes: contexts are means over tokens, not over requests: of the output tokens, and of what a fresh prompt token sees
    before it, which is half of the fresh tokens and all cached ones. So the sums of cache reads and of prefills are kept.
    """
    output_tokens = math.fsum(part.output_tokens for part in parts)
    fresh_tokens = math.fsum(part.fresh_tokens for part in parts)
    read_tokens = math.fsum(part.output_tokens * part.context_tokens for part in parts)
    seen_tokens = math.fsum(part.fresh_tokens * (part.cached_tokens + part.fresh_tokens / 2) for part in parts)
    mean_fresh_tokens = fresh_tokens / slots_count
    mean_seen_tokens = seen_tokens / fresh_tokens if fresh_tokens > 0 else 0.0
    return Mix(
        input_tokens=mean_seen_tokens + mean_fresh_tokens / 2,
        cached_tokens=mean_seen_tokens - mean_fresh_tokens / 2,
        output_tokens=output_tokens / slots_count,
        context_tokens=read_tokens / output_tokens if output_tokens > 0 else 0.0,
        images_count=math.fsum(part.images_count for part in parts) / slots_count,
    )


def weights_j(replica: Replica, running: Running, parts: Sequence[Part]) -> list[tuple[float, float]]:
    """Each part's weight, in joules of the accelerators and of IT as the model expects them.

    With `running` given, a part's weight depends on nothing but the part: so nobody's weight moves when another joins.
    """
    return [replica.share_j(running, _own(part), part.in_flight_s) for part in parts]


def _own(part: Part) -> Mix:
    return Mix(
        input_tokens=part.fresh_tokens + part.cached_tokens,
        cached_tokens=part.cached_tokens,
        output_tokens=part.output_tokens,
        context_tokens=part.context_tokens,
        images_count=part.images_count,
    )


# -- sharing exactly ----------------------------------------------------------------------------------------------------


def shares(energy_j: float, weights: Sequence[float], idle_weight: float = 0.0) -> tuple[tuple[float, ...], float]:
    """Energy in proportion to weights, and the idle pool's part of it; together they are the energy to the last digits.

    Nothing is negative. Without any weight all of it is the pool's. What rounding leaves over goes to the largest, where it
    is the least change.

    Raises:
        ValueError: the energy or a weight is negative, infinite or not a number.
    """
    everyone = [*weights, idle_weight]
    for amount in (energy_j, *everyone):
        _check(amount)
    largest = max(everyone)
    if largest <= 0:
        return (0.0,) * len(weights), energy_j
    # Over the largest first: the sum then cannot overflow.
    ratios = [weight / largest for weight in everyone]
    ratios_sum = math.fsum(ratios)
    found = [energy_j * (ratio / ratios_sum) for ratio in ratios]
    place = everyone.index(largest)
    residual_j = math.fsum((energy_j, *(-share_j for share_j in found)))
    found[place] = max(found[place] + residual_j, 0.0)
    return tuple(found[:-1]), found[-1]


def whole_shares(amount: int, weights: Sequence[float], idle_weight: float = 0.0) -> tuple[tuple[int, ...], int]:
    """A whole amount (the ledger's microjoules) in whole shares that add up to it: the largest remainders are rounded up.

    Notes: Hamilton's method. Weights are taken as the exact fractions that floats are, so no rounding enters. Among equal
    remainders the first wins.

    Raises:
        ValueError: the amount or a weight is negative, infinite or not a number.
    """
    everyone = [*weights, idle_weight]
    for number in (amount, *everyone):
        _check(number)
    fractions = [float(weight).as_integer_ratio() for weight in everyone]
    # All denominators are powers of two, so the largest is common to all.
    denominator = max(below for _, below in fractions)
    whole_weights = [above * (denominator // below) for above, below in fractions]
    weights_sum = sum(whole_weights)
    if weights_sum == 0:
        return (0,) * len(weights), amount
    divided = [divmod(amount * weight, weights_sum) for weight in whole_weights]
    found = [quotient for quotient, _ in divided]
    by_remainder = sorted(range(len(divided)), key=lambda place: -divided[place][1])
    for place in by_remainder[: amount - sum(found)]:
        found[place] += 1
    return tuple(found[:-1]), found[-1]


def _check(amount: float) -> None:
    if not 0 <= amount < math.inf:
        raise ValueError(f"{amount} cannot be shared or weigh: it is negative or not finite")
