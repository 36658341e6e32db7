"""Whose joule it is: what always holds when a window's energy is shared, and that the weights are section "Power" in parts."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import catalog
from headwater.physics.attribution import part_of, shares, taken_in_s, weights_j, whole_shares, window_running
from headwater.physics.metering import PowerSource, WrittenPower, idle_share_w, metered
from headwater.physics.replica import Replica
from headwater.records import (
    Boundary,
    Deployment,
    Experts,
    MeasuredWindow,
    Mix,
    Part,
    Running,
    Stay,
    Window,
)

# Floating-point noise: of one chain of operations, and of sums that must add up.
REL = 1e-12
SUM_REL = 1e-9


def deployment(**changes: object) -> Deployment:
    made = catalog.deployment(
        model="llama-3.1-70b", hardware="hgx-h100", accelerators=4, engine="vllm-0.11", site="us-average"
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # any field of the record


@lru_cache
def replica(kind: str) -> Replica:
    """A dense model, one of experts with windows and a state, several replicas, and one whose power bends softly."""
    plain = deployment()
    if kind == "experts":
        experts = Experts(params_count=60e9, experts_count=64, chosen_count=4, layers_count=40)
        mixed = replace(
            plain.model,
            active_params_count=12e9,
            experts=experts,
            window=Window(layers_count=40, tokens_count=128),
            state_bytes_per_sequence=1e7,
        )
        return Replica(replace(plain, model=mixed))
    if kind == "replicas":
        return Replica(replace(plain, replicas_count=3))
    if kind == "soft":
        exponent = replace(plain.hardware.power_static_ratio, value=8.0)
        return Replica(replace(plain, hardware=replace(plain.hardware, power_cap_exponent=exponent)))
    return Replica(plain)


def measured(energy_j: float, boundary: Boundary = "server", window_s: float = 1.0) -> MeasuredWindow:
    return MeasuredWindow(started_s=10.0, ended_s=10.0 + window_s, energy_j=energy_j, boundary=boundary)


KINDS = ("dense", "experts", "replicas", "soft")
replicas = st.sampled_from(KINDS).map(replica)
some_tokens = st.floats(min_value=0, max_value=100_000)
parts = st.builds(
    Part,
    in_flight_s=st.just(0.0) | st.floats(min_value=1e-6, max_value=1),
    output_tokens=st.floats(min_value=0, max_value=200),
    context_tokens=some_tokens,
    fresh_tokens=st.just(0.0) | some_tokens,
    cached_tokens=some_tokens,
    images_count=st.just(0.0),
)
crowds = st.lists(parts, min_size=1, max_size=20)
boundaries: st.SearchStrategy[Boundary] = st.sampled_from(("accelerators", "server"))
energies = st.floats(min_value=1e-6, max_value=1e9)
magnitudes = st.just(0.0) | st.floats(min_value=-300, max_value=300).map(lambda power: 10.0**power)


def running_of(of: Replica, crowd: list[Part]) -> Running:
    running = window_running(of, [*crowd, Part(in_flight_s=1.0)], busy_s=1.0)
    assert running is not None
    return running


def it_weight(of: Replica, running: Running, part: Part) -> float:
    return weights_j(of, running, [part])[0][1]


# --- sharing an amount


@given(energies, st.lists(magnitudes, min_size=1, max_size=40), magnitudes)
def test_shares_and_idle_are_the_energy_and_none_is_negative(
    energy_j: float, weights: list[float], idle_weight: float
) -> None:
    own, idle = shares(energy_j, weights, idle_weight)

    assert len(own) == len(weights)
    assert math.fsum((*own, idle)) == pytest.approx(energy_j, rel=1e-15)
    assert min((*own, idle)) >= 0


@settings(max_examples=10, deadline=None)
@given(energies, st.integers(min_value=0), st.integers(min_value=1_000, max_value=10_000))
def test_ten_thousand_shares_are_still_the_energy(energy_j: float, seed: int, count: int) -> None:
    drawn = random.Random(seed)  # no secret
    weights = [10.0 ** drawn.uniform(-30, 30) for _ in range(count)]

    own, idle = shares(energy_j, weights)

    assert math.fsum(own) == pytest.approx(energy_j, rel=1e-15)
    assert sum(own) == pytest.approx(energy_j, rel=SUM_REL)
    assert min(own) >= 0
    assert idle == 0


def test_without_any_weight_all_of_it_is_idle() -> None:
    assert shares(7.0, [0.0, 0.0]) == ((0.0, 0.0), 7.0)
    assert shares(7.0, []) == ((), 7.0)
    assert whole_shares(7, [0.0]) == ((0,), 7)


@given(energies, st.lists(magnitudes, min_size=1, max_size=20), magnitudes)
def test_a_weight_that_joins_never_raises_another_share(energy_j: float, weights: list[float], joining: float) -> None:
    before, idle_before = shares(energy_j, weights, 1.0)
    after, idle_after = shares(energy_j, [*weights, joining], 1.0)

    for less, more in zip((*after[:-1], idle_after), (*before, idle_before), strict=True):
        # The residual of rounding moves to another place: an ulp of the energy.
        assert less <= more + energy_j * REL


@given(st.integers(min_value=0, max_value=2**63), st.lists(magnitudes, min_size=1, max_size=40), magnitudes)
def test_whole_shares_add_up_exactly_and_are_less_than_one_off(
    amount: int, weights: list[float], idle_weight: float
) -> None:
    own, idle = whole_shares(amount, weights, idle_weight)

    assert sum(own) + idle == amount
    assert min((*own, idle)) >= 0
    largest = max((*weights, idle_weight))
    if largest > 0:
        ratios = [weight / largest for weight in (*weights, idle_weight)]
        for share, ratio in zip((*own, idle), ratios, strict=True):
            assert share == pytest.approx(amount * ratio / math.fsum(ratios), rel=REL, abs=1)


def test_the_largest_remainders_are_rounded_up() -> None:
    # 10 by 1 : 1 : 1 is three each and one over; the first gets it. 10 by 16 : 9 : 15 is 4.0, 2.25 and 3.75.
    assert whole_shares(10, [1.0, 1.0, 1.0]) == ((4, 3, 3), 0)
    assert whole_shares(10, [16.0, 9.0], 15.0) == ((4, 2), 4)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_what_cannot_be_shared_is_refused(bad: float) -> None:
    for energy_j, weights, idle_weight in ((bad, [1.0], 0.0), (1.0, [1.0, bad], 0.0), (1.0, [1.0], bad)):
        with pytest.raises(ValueError, match="negative or not finite"):
            shares(energy_j, weights, idle_weight)


# --- weights


@given(
    st.sampled_from(("dense", "experts", "soft")).map(replica),
    st.integers(min_value=1, max_value=200),
    st.integers(min_value=0, max_value=20_000),
    st.integers(min_value=0, max_value=2_000),
    st.integers(min_value=1, max_value=2_000),
    st.floats(min_value=0.2, max_value=5),
)
def test_weights_of_like_requests_are_the_servers_energy(
    of: Replica, count: int, fresh_tokens: int, cached_tokens: int, output_tokens: int, hurry: float
) -> None:
    """With `hurry` below 1 the time is too short for the work, and the busy share and the power limit bind."""
    mix = Mix(
        input_tokens=fresh_tokens + cached_tokens,
        cached_tokens=cached_tokens,
        output_tokens=output_tokens,
        context_tokens=fresh_tokens + cached_tokens + output_tokens / 2,
    )
    elapsed_s = of.running(mix, count).elapsed_s * hurry
    like = Part(
        in_flight_s=elapsed_s,
        output_tokens=output_tokens,
        context_tokens=mix.context_tokens,
        fresh_tokens=fresh_tokens,
        cached_tokens=cached_tokens,
    )
    server = of.running(mix, count, elapsed_s=elapsed_s)

    running = window_running(of, [like] * count, busy_s=elapsed_s)

    assert running is not None
    weights = weights_j(of, running, [like] * count)
    assert math.fsum(it for _, it in weights) == pytest.approx(server.it_w * elapsed_s, rel=REL)
    assert math.fsum(own for own, _ in weights) == pytest.approx(server.accelerator_w * elapsed_s, rel=REL)


def test_weights_of_like_requests_on_like_replicas_are_the_energy_of_all() -> None:
    of = replica("replicas")
    like = Part(in_flight_s=1.0, output_tokens=20, context_tokens=900)
    server = of.running(Mix(input_tokens=0, cached_tokens=0, output_tokens=20, context_tokens=900), 4.0, elapsed_s=1.0)

    running = window_running(of, [like] * 12, busy_s=1.0)

    assert running is not None
    weights = weights_j(of, running, [like] * 12)
    assert math.fsum(it for _, it in weights) == pytest.approx(3 * server.it_w, rel=REL)


def test_requests_one_after_another_weigh_like_one_that_stays() -> None:
    """A = sum(T) / T_busy is 1 for both; over the whole window it would be a half."""
    of = replica("dense")
    half = Part(in_flight_s=0.25, output_tokens=10, context_tokens=500)
    whole = Part(in_flight_s=0.5, output_tokens=20, context_tokens=500)

    two = metered(of, measured(1000.0), [half, half], busy_s=0.5)
    one = metered(of, measured(1000.0), [whole], busy_s=0.5)

    assert sum(two.it_j) == pytest.approx(one.it_j[0], rel=REL)
    assert two.it_j[0] == pytest.approx(two.it_j[1], rel=REL)


@given(replicas, crowds, parts, some_tokens)
def test_more_tokens_never_weigh_less(of: Replica, crowd: list[Part], part: Part, more_tokens: float) -> None:
    running = running_of(of, crowd)
    less = it_weight(of, running, part)

    for more in (
        replace(part, output_tokens=part.output_tokens + more_tokens),
        replace(part, context_tokens=part.context_tokens + more_tokens),
        replace(part, fresh_tokens=part.fresh_tokens + more_tokens),
        replace(part, images_count=part.images_count + 1),
        replace(part, in_flight_s=part.in_flight_s * 2),
    ):
        assert it_weight(of, running, more) >= less * (1 - REL)


@given(replicas, crowds, parts, st.floats(min_value=0, max_value=1))
def test_cached_tokens_never_weigh_more_than_fresh_ones(
    of: Replica, crowd: list[Part], part: Part, cached_ratio: float
) -> None:
    running = running_of(of, crowd)
    # A prompt that comes out of the cache stands before the rest of it.
    cached = replace(
        part,
        fresh_tokens=part.fresh_tokens * (1 - cached_ratio),
        cached_tokens=part.cached_tokens + part.fresh_tokens * cached_ratio,
    )

    assert it_weight(of, running, cached) <= it_weight(of, running, part) * (1 + REL)


@given(replicas, parts, st.integers(min_value=1, max_value=30), boundaries)
def test_a_request_like_the_others_never_raises_a_share(
    of: Replica, part: Part, count: int, boundary: Boundary
) -> None:
    like = replace(part, in_flight_s=1.0)
    before = metered(of, measured(500.0, boundary), [like] * count, busy_s=1.0)

    after = metered(of, measured(500.0, boundary), [like] * (count + 1), busy_s=1.0)

    assert after.it_j[0] <= before.it_j[0] * (1 + REL)


# --- windows that were measured


@given(replicas, crowds, energies, st.just(0.0) | st.floats(min_value=1e-6, max_value=1), boundaries)
def test_shares_and_the_idle_pool_add_up_to_the_servers_energy(
    of: Replica, crowd: list[Part], energy_j: float, busy_s: float, boundary: Boundary
) -> None:
    found = metered(of, measured(energy_j, boundary), crowd, busy_s=busy_s)

    server_j = energy_j
    if boundary == "accelerators":
        hosts_w = of.host_share_w * of.replicas_count
        server_j = hosts_w * 1.0 + of.derivation.known["overhead_ratio"] * energy_j
    assert math.fsum((*found.it_j, found.idle_it_j)) == pytest.approx(server_j, rel=SUM_REL)
    assert min((*found.it_j, found.idle_it_j)) >= 0


@pytest.mark.parametrize("crowd", [[], [Part(in_flight_s=0.0)]])
@pytest.mark.parametrize("boundary", ["accelerators", "server"])
def test_a_window_without_a_request_is_the_idle_pools(crowd: list[Part], boundary: Boundary) -> None:
    of = replica("dense")

    found = metered(of, measured(400.0, boundary), crowd, busy_s=0.0)

    # Four of eight accelerators: half of the host for a second, and what their supplies and fans add.
    hardware = of.deployment.hardware
    assert hardware.accelerator_overhead_ratio is not None
    around_j = hardware.host_w.value / 2 + hardware.accelerator_overhead_ratio.value * 400.0
    whole_j = 400.0 if boundary == "server" else around_j
    assert found.it_j == (0.0,) * len(crowd)
    assert found.idle_it_j == pytest.approx(whole_j, rel=REL)


def test_the_idle_rest_of_a_window_costs_what_idling_costs() -> None:
    """Measured as the model expects it, the idle half comes out at the hardware's idle power."""
    of = replica("dense")
    part = Part(in_flight_s=0.5, output_tokens=20, context_tokens=700)
    running = window_running(of, [part], busy_s=0.5)
    assert running is not None
    expected_j = it_weight(of, running, part) + 0.5 * idle_share_w(of)

    found = metered(of, measured(expected_j), [part], busy_s=0.5)

    assert found.idle_it_j == pytest.approx(0.5 * idle_share_w(of), rel=REL)
    assert idle_share_w(of) == of.deployment.hardware.idle_w.value / 2


def test_a_replica_without_a_request_idles_while_another_works() -> None:
    of = replica("replicas")

    found = metered(of, measured(1000.0), [Part(in_flight_s=1.0, output_tokens=20, context_tokens=700)], busy_s=1.0)

    # Two of three.
    assert 0 < found.idle_it_j < 1000.0
    assert found.it_j[0] + found.idle_it_j == pytest.approx(1000.0, rel=SUM_REL)


def test_a_request_that_failed_before_its_first_token_keeps_its_share() -> None:
    of = replica("dense")
    served = Stay(admitted_s=10.0, first_token_s=10.2, ended_s=11.0, input_tokens=500)
    failed = Stay(admitted_s=10.0, first_token_s=None, ended_s=11.0, input_tokens=500)
    one = part_of(of, served, (10.0, 11.0), output_tokens=30, earlier_tokens=0)
    other = part_of(of, failed, (10.0, 11.0), output_tokens=0, earlier_tokens=0)

    found = metered(of, measured(900.0), [one, other], busy_s=1.0)

    assert found.it_j[0] > found.it_j[1] > 900.0 / 10


@pytest.mark.parametrize(
    ("window", "busy_s", "words"),
    [
        (measured(1.0, window_s=0.0), 0.0, "takes no time"),
        (measured(1.0, window_s=-1.0), 0.0, "takes no time"),
        (measured(1.0), 1.5, "in flight for 1.5 s"),
        (measured(1.0), -0.5, "in flight for -0.5 s"),
        (measured(-1.0), 1.0, "negative or not finite"),
        (measured(math.nan), 1.0, "negative or not finite"),
    ],
)
def test_a_window_that_cannot_be_is_refused(window: MeasuredWindow, busy_s: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metered(replica("dense"), window, [Part(in_flight_s=1.0)], busy_s=busy_s)


def test_written_windows_come_once_and_in_order() -> None:
    meter: PowerSource = WrittenPower([measured(1.0), measured(2.0)])

    first = [window.energy_j for window in meter.windows()]

    assert first == [1.0, 2.0]
    assert list(meter.windows()) == []


# --- who was there


def test_what_lies_before_the_taking_in_is_the_queue() -> None:
    of = replica("dense")
    prefill_s = of.prefill_s(input_tokens=1_000)
    waited = Stay(admitted_s=0.0, first_token_s=9.0, ended_s=10.0, input_tokens=1_000)
    prompt = replace(waited, first_token_s=prefill_s / 2)

    assert taken_in_s(of, waited) == (9.0 - prefill_s, 9.0)
    assert taken_in_s(of, prompt) == (0.0, prefill_s / 2)
    assert taken_in_s(of, replace(waited, first_token_s=None)) == (0.0, prefill_s)
    assert part_of(of, waited, (0.0, 1.0), output_tokens=0, earlier_tokens=0).in_flight_s == 0


stays = st.builds(
    lambda admitted_s, wait_s, rest_s, input_tokens, cached_ratio, is_seen: Stay(
        admitted_s=admitted_s,
        first_token_s=admitted_s + wait_s if is_seen else None,
        ended_s=admitted_s + wait_s + rest_s,
        input_tokens=input_tokens,
        cached_tokens=input_tokens * cached_ratio,
        images_count=2,
    ),
    st.floats(min_value=0, max_value=3),
    st.floats(min_value=0, max_value=3),
    st.floats(min_value=0, max_value=3),
    some_tokens,
    st.floats(min_value=0, max_value=1),
    st.booleans(),
)


@given(replicas, stays)
def test_the_parts_of_a_stay_are_all_of_it(of: Replica, stay: Stay) -> None:
    cut = [
        part_of(of, stay, (second, second + 1.0), output_tokens=5, earlier_tokens=5 * second) for second in range(10)
    ]

    since_s = taken_in_s(of, stay)[0]
    assert math.fsum(part.in_flight_s for part in cut) == pytest.approx(stay.ended_s - since_s, rel=REL, abs=REL)
    fresh_tokens = math.fsum(part.fresh_tokens for part in cut)
    assert fresh_tokens == pytest.approx(stay.input_tokens - stay.cached_tokens, rel=REL, abs=SUM_REL)
    assert math.fsum(part.images_count for part in cut) == pytest.approx(2, rel=REL)
    for second, part in enumerate(cut):
        assert part.in_flight_s >= 0
        assert part.fresh_tokens >= 0
        assert part.context_tokens == stay.input_tokens + 5 * second + 2.5


def test_a_prompt_cut_by_a_window_weighs_as_much_as_in_one() -> None:
    """What was taken in before counts as context of the rest: attention grows with the square of the prompt."""
    of = replica("dense")
    stay = Stay(admitted_s=0.0, first_token_s=1.5, ended_s=1.5, input_tokens=30_000)
    running = running_of(of, [])

    halves = [part_of(of, stay, (second, second + 1.0), output_tokens=0, earlier_tokens=0) for second in (0.0, 1.0)]
    whole = part_of(of, stay, (0.0, 2.0), output_tokens=0, earlier_tokens=0)

    assert sum(it_weight(of, running, half) for half in halves) == pytest.approx(
        it_weight(of, running, whole), rel=SUM_REL
    )
    assert halves[1].cached_tokens == halves[0].fresh_tokens
