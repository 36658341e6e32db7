"""Which deployment serves a model, and how busy it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import config
from headwater.errors import CatalogError
from headwater.records import NOTHING_OBSERVED, Footprint, Usage
from headwater.serving import OTHER, Load, Serving

GPU = {"hardware": "hgx-h100", "engine": "vllm-0.11", "accelerators": 4}
CPU = {"hardware": "cpu-generic", "engine": "llama.cpp-cpu", "site": "local", "precision": "int4"}


def _serving(**document: Any) -> Serving:
    return Serving(config.load(document, environment={}))


def test_the_first_deployment_whose_pattern_fits_serves() -> None:
    serving = _serving(deployment=[{**CPU, "match": ["gemma*"]}, {**GPU, "match": ["*"]}])

    assert serving.of("gemma-3-270m").site == "local"
    assert serving.of("Llama-3.1-70B").site == "us-average"
    assert serving.of("gemma-3-270m").load is not serving.of("llama-3.1-70b").load


def test_a_vendor_in_front_of_a_name_is_looked_past() -> None:
    assert _serving(deployment=[GPU]).of("meta-llama/Llama-3.1-70B").model == "llama-3.1-70b"


def test_a_deployments_own_model_stands_for_whatever_the_request_calls_it() -> None:
    served = _serving(deployment=[{**GPU, "match": ["my-bot"], "model": "llama-3.1-8b"}]).of("my-bot")

    assert served.model == "llama-3.1-8b"
    assert served.profile is not None
    assert served.deployment_hash
    assert served.deployment_hash not in served.document


@pytest.mark.parametrize(
    ("model", "document", "reason"),
    [
        ("who", {"deployment": [GPU]}, "model-not-in-catalog"),
        ("who", {"deployment": [{**GPU, "match": ["llama*"]}]}, "no-deployment-for-model"),
        (None, {"deployment": [GPU]}, "model-not-named"),
    ],
)
def test_what_nobody_serves_has_a_reason_and_no_client_made_name(
    model: str | None, document: dict[str, Any], reason: str
) -> None:
    served = _serving(**document).of(model)

    assert (served.model, served.site, served.profile, served.unknown.reason) == (OTHER, OTHER, None, reason)


def test_the_factor_set_and_the_water_of_hydropower_are_the_settings() -> None:
    usage = Usage(input_tokens=100, output_tokens=100, source="upstream")

    def footprint(**factors: Any) -> Footprint:
        profile = _serving(deployment=[GPU], factors=factors).of("llama-3.1-70b").profile
        assert profile is not None
        made = profile.estimate(usage, NOTHING_OBSERVED)
        assert isinstance(made, Footprint)
        return made

    seed, included, excluded = footprint(set="seed-2023"), footprint(), footprint(hydro="exclude")

    assert (seed.method, seed.it_j) == ("flat", 4 * 3600)
    assert included.offsite_l > excluded.offsite_l
    assert (included.hydro, excluded.hydro) == ("include", "exclude")


def test_a_name_that_the_catalog_does_not_have_is_found_at_the_start() -> None:
    with pytest.raises(CatalogError, match="dgx-h1000"):
        _serving(deployment=[{**GPU, "hardware": "dgx-h1000"}])
    with pytest.raises(CatalogError, match="wide-generic"):
        _serving(deployment=[GPU], fallback={"model": "wide-generic"})


def test_a_flood_of_made_up_names_does_not_fill_the_memory() -> None:
    serving = _serving(deployment=[GPU])

    for number in range(1_100):
        serving.of(f"model-{number}")

    assert len(serving._cache) == 1_000
    assert serving.of("model-1099").unknown.reason == "model-not-in-catalog"


def test_concurrency_is_the_harmonic_mean_over_an_exchanges_life() -> None:
    load = Load()

    mine = load.enter(0.0)
    load.enter(10.0)
    load.leave(20.0)

    # 10 s alone, 10 s with another: 1/B = (10/1 + 10/2) / 20
    assert load.concurrency(mine, 0.0, 20.0) == pytest.approx(20 / 15)
    assert load.in_flight_count == 1


def test_an_exchange_without_length_sees_those_in_flight() -> None:
    load = Load()
    load.enter(1.0)

    mine = load.enter(2.0)

    assert load.concurrency(mine, 2.0, 2.0) == 2.0


def test_an_idle_time_between_exchanges_is_nobodys() -> None:
    load = Load()
    load.enter(0.0)
    load.leave(1.0)

    mine = load.enter(100.0)

    assert load.concurrency(mine, 100.0, 110.0) == 1.0


def test_more_cannot_leave_than_have_come() -> None:
    with pytest.raises(ValueError, match="no exchange"):
        Load().leave(0.0)


@given(st.lists(st.floats(0.001, 100.0), min_size=1, max_size=20))
def test_shares_of_overlapping_exchanges_add_up_to_the_servers_time(starts: list[float]) -> None:
    """The sum of T/B over all exchanges is the time in which the server had any: what makes shares add up to the whole."""
    load, clock, shares = Load(), 0.0, 0.0
    entered: list[tuple[float, float]] = []
    for start in starts:
        clock += start
        entered.append((load.enter(clock), clock))
    begun = entered[0][1]
    for number, (integral, at) in enumerate(entered):
        clock += starts[number]
        shares += (clock - at) / load.concurrency(integral, at, clock)
        load.leave(clock)

    assert shares == pytest.approx(clock - begun)


def test_what_others_have_in_flight_counts_from_when_it_was_heard() -> None:
    load = Load()
    mine = load.enter(0.0)

    load.heard(3, 10.0)
    load.heard(1, 15.0)

    # 10 s alone, 5 s with three others, 5 s with one; the loop itself did nothing meanwhile
    assert load.concurrency(mine, 0.0, 20.0) == pytest.approx(20 / (10 / 1 + 5 / 4 + 5 / 2))
    assert load.in_flight_count == 1


def test_what_is_heard_late_changes_nothing_that_was_already_counted() -> None:
    load = Load()
    mine = load.enter(0.0)
    assert load.concurrency(mine, 0.0, 10.0) == 1.0

    load.heard(1, 4.0)

    assert load.concurrency(mine, 0.0, 20.0) == pytest.approx(20 / (10 / 1 + 10 / 2))


def test_an_exchange_without_length_sees_the_others_too() -> None:
    load = Load()
    load.heard(2, 1.0)

    assert load.concurrency(load.enter(2.0), 2.0, 2.0) == 3.0


def test_a_loop_that_sleeps_does_not_fill_the_memory_and_wakes_to_the_latest_figure() -> None:
    load = Load()
    for second in range(10_000):
        load.heard(second, float(second))

    assert len(load._heard) <= 256
    assert load.concurrency(load.enter(10_000.0), 10_000.0, 10_000.0) == 10_000.0


MOMENTS = st.tuples(
    st.floats(0.001, 100.0), st.one_of(st.just("enter"), st.integers(0, 9), st.integers(0, 50).map(float))
)
"""Seconds later: one enters, one of those in flight leaves (int), or so many others are heard of (float)."""


@given(st.lists(MOMENTS, min_size=1, max_size=60), st.booleans())
def test_any_interleaving_gives_the_exact_harmonic_mean(moments: list[tuple[float, str | float]], alone: bool) -> None:
    load, now_s, others_count = Load(), 0.0, 0
    integral_s = busy_s = shares_s = 0.0
    inside: list[tuple[float, float, float]] = []

    for later_s, event in [*moments, *[(1.0, 0)] * len(moments)]:
        now_s += later_s
        if inside:
            integral_s += later_s / (len(inside) + others_count)
            busy_s += later_s
        if event == "enter":
            inside.append((load.enter(now_s), integral_s, now_s))
        elif isinstance(event, float):
            others_count = 0 if alone else int(event)
            load.heard(others_count, now_s)
        elif inside:
            mine_s, began_s, entered_s = inside.pop(int(event) % len(inside))
            found = load.concurrency(mine_s, entered_s, now_s)
            assert found >= 1.0
            assert found == pytest.approx((now_s - entered_s) / (integral_s - began_s), rel=1e-6)
            shares_s += (now_s - entered_s) / found
            load.leave(now_s)

    assert load.in_flight_count == len(inside) == 0
    assert shares_s <= busy_s * (1 + 1e-9)
    if alone:
        assert shares_s == pytest.approx(busy_s)


@given(st.lists(st.tuples(st.floats(0.001, 100.0), st.integers(0, 2), st.booleans()), min_size=1, max_size=60))
def test_shares_in_all_processes_add_up_to_the_time_in_which_the_server_had_any(
    moments: list[tuple[float, int, bool]],
) -> None:
    """With figures that are never late: what sharing the counts is for."""
    loads, now_s, busy_s, shares_s = [Load(), Load(), Load()], 0.0, 0.0, 0.0
    inside: list[list[tuple[float, float]]] = [[], [], []]
    ends = [(1.0, number % 3, False) for number in range(3 * len(moments))]

    for later_s, at, is_entering in [*moments, *ends]:
        now_s += later_s
        busy_s += later_s if any(inside) else 0.0
        if is_entering:
            inside[at].append((loads[at].enter(now_s), now_s))
        elif inside[at]:
            mine_s, entered_s = inside[at].pop(0)
            shares_s += (now_s - entered_s) / loads[at].concurrency(mine_s, entered_s, now_s)
            loads[at].leave(now_s)
        for number, load in enumerate(loads):
            load.heard(sum(map(len, inside)) - len(inside[number]), now_s)

    assert shares_s == pytest.approx(busy_s)


def test_equal_settings_are_one_deployment_everywhere_and_a_name_tells_them_apart() -> None:
    def names(*deployments: dict[str, Any]) -> list[str]:
        return list(_serving(deployment=deployments).loads)

    (one,) = names({**GPU})

    assert names({**GPU, "hosting": "own", "match": ["*"]}) == [one]
    assert names({**GPU, "concurrency": 32}) == names({**GPU, "concurrency": 32.0}) != [one]
    assert names({**GPU, "name": "east-1"}) == ["east-1"]
    assert len(set(names(GPU, CPU, {**GPU, "site": "azure-westus3"}))) == 3


def test_entries_with_one_name_share_what_is_in_flight() -> None:
    serving = _serving(
        deployment=[
            {**GPU, "match": ["*8b"], "name": "east-1"},
            {**GPU, "match": ["*70b"], "name": "east-1"},
            {**CPU, "match": ["*"]},
        ]
    )

    assert serving.of("llama-3.1-8b").load is serving.of("llama-3.1-70b").load
    assert serving.of("gemma-3-270m").load is not serving.of("llama-3.1-70b").load


def test_deployments_that_name_their_model_are_known_before_any_request() -> None:
    serving = _serving(deployment=[{**GPU, "model": "gpt-4o"}, {**CPU, "match": ["*"]}])

    assert [deployment.model.name for deployment in serving.named()] == ["gpt-4o"]
