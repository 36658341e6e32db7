"""`estimate()`: what a caller without a server types, and what it refuses."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st

from headwater import catalog
from headwater.api import estimate
from headwater.cases import Case
from headwater.errors import CatalogError
from headwater.records import Factor, Footprint, HardwareSpec, Unknown


def found(model: Any = "llama-3.1-70b", **given: Any) -> Footprint:
    result = estimate(model, **({"input_tokens": 500, "output_tokens": 300} | given))
    assert isinstance(result, Footprint)
    return result


def figure(value: float, unit: str) -> Factor:
    return Factor(
        value=value, low=value, high=value, unit=unit, source="test", checked="2026-11-23", confidence="reported"
    )


def server(memory_gb: float | None) -> HardwareSpec:
    memory = None if memory_gb is None else figure(memory_gb * 1e9, "B")
    return replace(catalog.hardware("hgx-h100"), memory_bytes=memory)


def step(footprint: Footprint, name: str) -> float:
    return next(step.value for step in footprint.steps if step.name == name)


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


def test_a_model_goes_by_the_name_it_is_served_under() -> None:
    assert found("meta-llama/Llama-3.1-70B") == found("llama-3.1-70b")


def test_the_case_behind_the_call_takes_the_same_with_the_same_defaults() -> None:
    """The call is flat for its callers, the record is for those who need more than the footprint."""
    # A share of the training is no part of a footprint.
    defaults = {field.name: field.default for field in fields(Case) if field.name != "training_requests"}

    assert {
        name: parameter.default for name, parameter in inspect.signature(estimate).parameters.items()
    }.keys() == defaults.keys()
    for name, parameter in inspect.signature(estimate).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            assert parameter.default == defaults[name], name


# --- on what it runs


@pytest.mark.parametrize(
    ("memory_gb", "precision", "count"),
    [(80, "bf16", 4), (80, "fp8", 2), (192, "fp8", 1), (1, "bf16", 8), (None, "fp8", 8)],
)
def test_as_few_accelerators_serve_a_model_as_hold_it(memory_gb: float | None, precision: str, count: int) -> None:
    assert step(found(hardware=server(memory_gb), precision=precision), "accelerators_count") == count


def test_how_many_accelerators_is_the_callers_to_say() -> None:
    assert step(found(hardware=server(80), accelerators=8), "accelerators_count") == 8


def test_replicas_share_what_is_in_flight() -> None:
    one, two = found(concurrency=32), found(concurrency=64, replicas=2)

    assert step(two, "concurrency_count") == 32
    assert one.it_j == two.it_j


def test_a_model_runs_in_its_own_precision_unless_told_otherwise() -> None:
    in_fp8 = replace(catalog.model("llama-3.1-70b"), native_precision="fp8")

    assert found(in_fp8).it_j == found(precision="fp8").it_j < found(precision="bf16").it_j


def test_a_cache_of_half_the_bytes_is_read_in_half_the_time() -> None:
    small, large = found(cache_precision="fp8"), found()

    assert step(small, "cache_read_s_per_token") == step(large, "cache_read_s_per_token") / 2


def test_a_copied_attention_is_read_once_more_per_copy() -> None:
    copied = found(accelerators=8, attention_accelerators=2)

    assert step(copied, "attention_copies_ratio") == 4


# --- what was seen


def test_somebody_elses_concurrency_is_inferred_from_the_pace() -> None:
    slow, fast = found(hosting="hosted", itl_s=0.08), found(hosting="hosted", itl_s=0.02)

    assert slow.method == fast.method == "paced"
    assert step(slow, "concurrency_count") > step(fast, "concurrency_count")


def test_a_presumed_concurrency_of_somebody_elses_server_is_not_measured() -> None:
    presumed = found(hosting="hosted", concurrency=16)

    assert presumed.method == "assumed"
    assert step(presumed, "concurrency_count") == 16


def test_pictures_cost_their_encoding() -> None:
    slow = replace(catalog.engine("vllm-0.11"), image_s=figure(0.1, "s"))

    assert found(images=2, engine=slow, concurrency=8).it_j > found(engine=slow, concurrency=8).it_j


# --- what cannot be


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "cached_tokens", "images"])
@pytest.mark.parametrize("count", [True, -1, 1.5, float("nan"), float("inf"), "7"])
def test_what_is_no_count_is_refused(name: str, count: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 0, not "):
        found(**{name: count})


@pytest.mark.parametrize("name", ["accelerators", "replicas", "attention_accelerators"])
@pytest.mark.parametrize("count", [True, 0, -1, 1.5, float("nan"), "7"])
def test_what_is_no_number_of_machines_is_refused(name: str, count: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, not "):
        found(**{name: count})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_tokens": 5, "cached_tokens": 9}, r"cached_tokens \(9\) exceed input_tokens \(5\)"),
        ({"input_tokens": 0, "output_tokens": 0}, r"input_tokens \(0\) and output_tokens \(0\): there is nothing"),
        (
            {"input_tokens": 10**12},
            r"input_tokens \(1000000000000\) and output_tokens \(300\) are more than 1000000000000",
        ),
        ({"input_tokens": 10**400}, r"input_tokens \(1000.* and output_tokens \(300\) are more than 1000000000000"),
        ({"input_tokens": 5, "images": 6}, r"images \(6\) exceed input_tokens \(5\)"),
        ({"itl_s": 0.02}, r"itl_s \(0\.02\) .* hosting is 'own'"),
        ({"observed_s": 2.5, "hosting": "hosted"}, r"observed_s \(2\.5\) .* hosting is 'hosted'"),
        (
            {"accelerators": 4, "attention_accelerators": 3},
            r"attention_accelerators \(3\) do not divide the accelerators \(4\)",
        ),
    ],
)
def test_what_contradicts_each_other_is_refused_with_both_values(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found(**given)


@pytest.mark.parametrize(("name", "count"), [("hgx-h100", 9), ("hgx-h100", 15), ("cpu-generic", 2)])
def test_accelerators_that_a_server_does_not_have_are_refused_by_the_catalog(name: str, count: int) -> None:
    with pytest.raises(CatalogError, match=rf"accelerators_count \({count}\) exceeds the \d of {name}"):
        found(hardware=name, accelerators=count)


def test_one_copy_of_a_model_may_take_several_whole_servers() -> None:
    assert step(found(accelerators=16), "accelerators_count") == 16


@pytest.mark.parametrize("name", ["accelerators", "replicas", "attention_accelerators"])
def test_more_machines_than_anybody_has_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at most 1000000, not 1000001"):
        found(**{name: 1_000_001})
    with pytest.raises(ValueError, match=f"{name} must be at most 1000000, not more than"):
        found(**{name: 10**400})


@pytest.mark.parametrize("seen", [True, "3", float("nan"), float("inf"), -float("inf"), 1j])
@pytest.mark.parametrize("name", ["observed_s", "concurrency", "itl_s"])
def test_what_is_no_finite_number_is_refused(name: str, seen: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a finite number, not "):
        found(**{name: seen})


@pytest.mark.parametrize(
    ("name", "seen", "message"),
    [
        ("observed_s", 0.0, "observed_s must be above 0, not 0.0"),
        ("observed_s", -2.0, "observed_s must be above 0, not -2.0"),
        ("observed_s", 1e-9, "observed_s must be at least 1e-06, not 1e-09"),
        ("observed_s", 10**400, "observed_s must be at most 1e\\+09, not 1000"),
        ("itl_s", 0, "itl_s must be above 0, not 0"),
        ("itl_s", 1e10, "itl_s must be at most 1e\\+09, not"),
        ("concurrency", 0.5, "concurrency must be at least 1, not 0.5"),
        ("concurrency", -1, "concurrency must be at least 1, not -1"),
        ("concurrency", 1e7, "concurrency must be at most 1e\\+06, not 10000000.0"),
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


@pytest.mark.parametrize("name", ["precision", "cache_precision", "hosting", "hydro"])
def test_a_word_that_is_none_of_those_is_refused_with_those(name: str) -> None:
    with pytest.raises(CatalogError, match="'fp17' is not one of"):
        found(**{name: "fp17"})


# --- what always holds


def test_a_thousand_million_tokens_are_absurd_and_estimated() -> None:
    assert math.isfinite(found(input_tokens=10**9, output_tokens=10**9).facility_j)


def test_where_nothing_takes_time_the_answer_is_unknown_and_says_why() -> None:
    at_once = replace(catalog.engine("vllm-0.11"), prefill_s=figure(0, "s"))

    assert estimate("llama-3.1-70b", input_tokens=9, cached_tokens=9, output_tokens=0, engine=at_once) == Unknown(
        reason="time-unknown"
    )


SECONDS = st.none() | st.floats(1e-6, 1e9) | st.integers(1, 10**9)


@st.composite
def valid_calls(draw: st.DrawFn) -> dict[str, Any]:
    counts = st.integers(0, 20_000) | st.integers(0, 5 * 10**11)
    input_tokens, output_tokens = draw(counts), draw(counts)
    hosting = draw(st.sampled_from(["own", "hosted"]))
    return {
        "model": draw(st.sampled_from(catalog.names("models"))),
        "input_tokens": input_tokens,
        "output_tokens": output_tokens if input_tokens else max(output_tokens, 1),
        "cached_tokens": draw(st.none() | st.integers(0, input_tokens)),
        "images": draw(st.integers(0, input_tokens)),
        "hosting": hosting,
        "observed_s": draw(SECONDS) if hosting == "own" else None,
        "itl_s": draw(SECONDS) if hosting == "hosted" else None,
        "concurrency": draw(st.none() | st.floats(1, 1e6) | st.integers(1, 10**6)),
        "hardware": draw(st.sampled_from(catalog.names("hardware"))),
        "accelerators": draw(st.sampled_from([None, 1])),
        "attention_accelerators": draw(st.sampled_from([None, 1])),
        "replicas": draw(st.integers(1, 1000)),
        "precision": draw(st.sampled_from([None, "bf16", "fp8", "mxfp4", "fp4", "int8", "int4"])),
        "cache_precision": draw(st.sampled_from(["bf16", "fp8"])),
        "site": draw(st.sampled_from(catalog.names("sites"))),
        "factors": draw(st.sampled_from(catalog.names("factor_sets"))),
        "hydro": draw(st.sampled_from([None, "include", "exclude"])),
    }


@generated(valid_calls())
def test_whatever_can_be_has_a_finite_footprint_within_its_interval_or_a_reason(call: dict[str, Any]) -> None:
    footprint = estimate(call.pop("model"), **call)

    if isinstance(footprint, Unknown):
        assert footprint.reason
        return
    within = footprint.spread
    for middle, low_ratio, high_ratio in (
        (footprint.facility_j, within.energy_low, within.energy_high),
        (footprint.water_l, within.water_low, within.water_high),
        (footprint.carbon_g, within.carbon_low, within.carbon_high),
    ):
        assert 0 <= middle * low_ratio <= middle <= middle * high_ratio < math.inf


# --- what a careful reader is told


def case(**given: Any) -> Case:
    asked: dict[str, Any] = {"model": "llama-3.1-70b", "input_tokens": 500, "output_tokens": 300} | given
    return Case(**asked)


def test_there_is_nothing_to_say_where_all_is_known() -> None:
    assert case(hardware=server(80)).warnings() == ()
    assert case(hardware=server(80), observed_s=8).warnings() == ()
    assert case(hardware=server(80), hosting="hosted", itl_s=0.02).warnings() == ()
    assert case(hardware="cpu-generic", model="gemma-3-270m").warnings() == ()


def test_the_pace_of_a_model_that_is_a_guess_is_said_to_be_unused() -> None:
    guess = replace(catalog.model("llama-3.1-8b"), uncertainty_ratio=8.0)

    told = case(model=guess, hosting="hosted", itl_s=0.02).warnings()

    assert any("the pace seen (20 ms per token) has no part in the answer" in words for words in told)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hardware": server(None)}, "the memory of its accelerators is not known, so all 8 are taken"),
        (
            {"hardware": server(10)},
            r"its weights in bf16 \(141 GB\) do not fit into the memory of 8 of hgx-h100 \(80 GB\)",
        ),
        ({"hardware": server(80), "accelerators": 1}, r"do not fit into the memory of 1 of hgx-h100 \(80 GB\)"),
        (
            {"hardware": server(80), "accelerators": 2},
            r"\(141 GB\) do not leave a fifth of the memory of 2 of hgx-h100 \(160 GB\) to the cache",
        ),
        ({"hardware": server(80), "engine": "llama.cpp-cpu"}, "llama.cpp-cpu does not run on servers like hgx-h100"),
        ({"hardware": "cpu-generic", "engine": "vllm-0.11"}, "vllm-0.11 does not run on servers like cpu-generic"),
        (
            {"hardware": server(80), "observed_s": 0.01},
            r"the time seen \(0\.01 s\) has no part in the answer: .*weights cannot be read",
        ),
        (
            {"hardware": server(80), "hosting": "hosted", "itl_s": 1e-6},
            r"the pace seen \(0\.001 ms per token\) has no part in the answer: .*so fast",
        ),
        (
            {"hardware": server(80), "model": replace(catalog.model("llama-3.1-8b"), uncertainty_ratio=8.0)},
            "its architecture is a guess, which widens the interval by x8",
        ),
        ({"hardware": server(80), "images": 1}, "no image encoder is known of it"),
    ],
)
def test_what_was_taken_for_want_of_knowledge_is_said(given: dict[str, Any], words: str) -> None:
    (warning,) = case(**given).warnings()

    assert re.search(words, warning)


def test_a_fixed_figure_per_request_needs_no_warning() -> None:
    assert case(hardware=server(1), factors="seed-2023").warnings() == ()
