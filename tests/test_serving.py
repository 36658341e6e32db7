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
