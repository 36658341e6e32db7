"""Somebody else's server: its concurrency from the pace of its tokens, and what that is worth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog
from headwater.physics import Profile
from headwater.physics.pace import Pace
from headwater.records import NO_USAGE, Footprint, Mix, Observation, Unknown, Usage

USAGE = Usage(input_tokens=600, output_tokens=400, source="upstream")
MEAN = Mix(input_tokens=600, cached_tokens=0, output_tokens=400, context_tokens=800)


def profile(**changes: object) -> Profile:
    made = catalog.deployment(
        model="llama-3.1-70b",
        hardware="hgx-h100",
        engine="vllm-0.11",
        site="us-average",
        accelerators=4,
        hosting="hosted",
    )
    return Profile(replace(made, **changes))  # type: ignore[arg-type]  # any field of the record


def footprint(of: Profile, observation: Observation, usage: Usage = USAGE) -> Footprint:
    found = of.estimate(usage, observation, steps=True)
    assert isinstance(found, Footprint)
    return found


def step(found: Footprint, name: str) -> float:
    return next(step.value for step in found.steps if step.name == name)


def test_time_and_concurrency_seen_of_somebody_elses_server_are_not_the_servers() -> None:
    found = footprint(profile(), Observation(elapsed_s=9.0, busy_s=8.0, concurrency_count=1.0))

    assert found.method == "assumed"
    assert step(found, "concurrency_count") == 64


def test_a_seen_pace_is_charged_as_paced_with_the_time_that_it_gives() -> None:
    found = footprint(profile(), Observation(elapsed_s=9.0, itl_s=0.03, concurrency_count=1.0))

    assert found.method == "paced"
    expected_s = 400 * 0.03 + step(found, "concurrency_count") * step(found, "prefill_s")
    assert step(found, "elapsed_s") == pytest.approx(expected_s, rel=1e-12)


def test_the_concurrency_is_the_best_of_the_grid() -> None:
    made = profile()
    replica, engine = made.replica, made.deployment.engine
    assert engine.pace_error_ratio is not None
    assert engine.concurrency_spread_ratio is not None

    found = Pace(replica).concurrency_count(MEAN, 0.05, 64.0)

    def misfit(count: float) -> float:
        time = math.log(replica.decode_step_s(MEAN, count) / 0.05) / math.log(engine.pace_error_ratio.value)  # type: ignore[union-attr]
        usual = math.log(count / 64) / math.log(engine.concurrency_spread_ratio.value)  # type: ignore[union-attr]
        return time**2 + usual**2

    grid = [2 ** (power / 4) for power in range(49)]
    best = min(grid, key=misfit)
    # The grid's tables are made for contexts an eighth of a doubling apart: one step of the grid is allowed.
    assert abs(math.log2(found / best)) <= 0.2501


@given(st.floats(1e-4, 10), st.floats(1e-4, 10))
def test_a_slower_pace_never_means_fewer_in_flight(one_s: float, other_s: float) -> None:
    pace = Pace(profile().replica)
    faster_s, slower_s = sorted((one_s, other_s))

    assert pace.concurrency_count(MEAN, faster_s, 64.0) <= pace.concurrency_count(MEAN, slower_s, 64.0)


@pytest.mark.parametrize("itl_s", [1e-9, 1e9])
def test_an_absurd_pace_stays_on_the_grid(itl_s: float) -> None:
    assert 1 <= Pace(profile().replica).concurrency_count(MEAN, itl_s, 64.0) <= 4096


@pytest.mark.parametrize(
    ("itl_s", "model"),
    [
        (1e-6, "llama-3.1-70b"),  # no H100 reads 35 GB of weights an accelerator in a microsecond
        (0.02, "gpt-4o"),  # a pace of a model whose size is a guess says nothing of its concurrency
    ],
)
def test_a_pace_that_tells_nothing_is_not_used(itl_s: float, model: str) -> None:
    found = footprint(profile(model=catalog.model(model)), Observation(itl_s=itl_s))

    assert found.method == "assumed"
    assert step(found, "disbelieved_itl_s") == itl_s


def test_a_configured_concurrency_is_the_middle_that_the_pace_is_drawn_to() -> None:
    few, many = (footprint(profile(concurrency_count=count), Observation(itl_s=0.04)) for count in (4.0, 1000.0))

    assert step(few, "concurrency_count") < step(many, "concurrency_count")


def test_replicas_share_what_is_configured() -> None:
    found = footprint(profile(concurrency_count=128.0, replicas_count=4), Observation())

    assert step(found, "concurrency_count") == 32


def test_the_receipt_warns_of_speculative_decoding() -> None:
    found = footprint(profile(), Observation(itl_s=0.03))

    source = next(step.source for step in found.steps if step.name == "concurrency_count")
    assert "speculative decoding" in source


def test_without_tokens_a_pace_says_nothing() -> None:
    assert profile().estimate(NO_USAGE, Observation(itl_s=0.03)) == Unknown(reason="tokens-unknown")


def test_a_count_beyond_all_belief_has_no_footprint() -> None:
    absurd = replace(USAGE, input_tokens=10**400)

    assert profile().estimate(absurd, Observation()) == Unknown(reason="tokens-out-of-range")
