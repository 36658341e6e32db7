"""`estimate()`: what a caller without a server types, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headwater import catalog
from headwater.api import estimate
from headwater.errors import CatalogError
from headwater.records import Footprint


def found(model: Any = "llama-3.1-70b", **given: Any) -> Footprint:
    result = estimate(model, **({"input_tokens": 500, "output_tokens": 300} | given))
    assert isinstance(result, Footprint)
    return result


def test_a_name_and_two_counts_are_enough() -> None:
    footprint = found()

    assert footprint.method == "assumed"
    assert (footprint.model, footprint.hardware, footprint.site) == ("llama-3.1-70b", "hgx-h100", "us-average")
    assert (footprint.factors, footprint.hydro) == ("current-2026.11", "include")
    assert footprint.steps


def test_what_is_known_chooses_the_method_and_narrows_the_interval() -> None:
    assumed, loaded, observed = found(), found(concurrency=64), found(concurrency=64, observed_s=5.0)

    assert [f.method for f in (assumed, loaded, observed)] == ["assumed", "loaded", "observed"]
    assert assumed.spread.energy_high > loaded.spread.energy_high > observed.spread.energy_high


def test_the_engine_fits_the_hardware_unless_named() -> None:
    cpu = found("gemma-3-270m", hardware="cpu-generic", site="local")

    assert cpu == found("gemma-3-270m", hardware="cpu-generic", site="local", engine="llama.cpp-cpu")
    assert cpu.onsite_l == 0


def test_specs_are_taken_in_place_of_names() -> None:
    mine = replace(catalog.model("llama-3.1-8b"), name="mine", uncertainty_ratio=2.0)

    footprint = found(
        mine,
        hardware=catalog.hardware("dgx-a100"),
        accelerators=1,
        precision="int8",
        site=catalog.site("google-fleet"),
        factors=catalog.factor_set("current-2026.11"),
        hydro="exclude",
    )

    assert (footprint.model, footprint.hydro) == ("mine", "exclude")


def test_cached_tokens_are_cheaper() -> None:
    assert found(cached_tokens=400).it_j < found(cached_tokens=0).it_j == found().it_j


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "cached_tokens"])
@pytest.mark.parametrize("count", [True, -1, 1.5, float("nan"), "7"])
def test_what_is_no_count_of_tokens_is_refused(name: str, count: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 0, not "):
        found(**{name: count})


def test_more_cached_than_input_tokens_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"cached_tokens \(9\) exceed input_tokens \(5\)"):
        found(input_tokens=5, cached_tokens=9)


@pytest.mark.parametrize("seen", [True, "3", float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["observed_s", "concurrency"])
def test_what_is_no_finite_number_is_refused(name: str, seen: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a finite number, not "):
        found(**{name: seen})


@pytest.mark.parametrize(
    ("name", "seen", "message"),
    [
        ("observed_s", 0.0, "observed_s must be above 0, not 0.0"),
        ("observed_s", -2.0, "observed_s must be above 0, not -2.0"),
        ("concurrency", 0.5, "concurrency must be at least 1, not 0.5"),
    ],
)
def test_a_measurement_that_nobody_can_have_made_is_refused(name: str, seen: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found(**{name: seen})


@pytest.mark.parametrize(
    "given",
    [{"model": "gpt-2"}, {"hardware": "abacus"}, {"site": "moon"}, {"engine": "steam"}, {"factors": "none"}],
)
def test_an_unknown_name_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(CatalogError, match="is not in the catalog"):
        found(**given)
