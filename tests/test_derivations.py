"""A derivation as text: a reader with the text and a pocket calculator gets every figure again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog
from headwater.derivations import as_lines, steps_of
from headwater.physics import Profile
from headwater.records import (
    NO_USAGE,
    Deployment,
    Experts,
    Factor,
    Footprint,
    Latent,
    Mix,
    ModelSpec,
    Observation,
    Usage,
    Vision,
    Window,
)

# What the text promises.
REL = 1e-4
NUMBER = r"-?[0-9.]+(?:e[+-][0-9]+)?"
FIGURE = re.compile(rf"  (?P<name>\w+) = (?P<value>{NUMBER}) [^=]*")
FORMULA = re.compile(r"  (?P<name>\w+) = (?P<formula>.+)")
WITH_NUMBERS = re.compile(r"      = (?P<sum>.+)")
RESULT = re.compile(rf"      = (?P<value>{NUMBER})(?: \S+)?")
HEADINGS = (
    "The model",
    "The server",
    "The engine",
    "What follows for every request of this deployment",
    "The deployment's mean request",
    "This request",
    "Energy",
    "The place",
    "The interval",
)
MIX = Mix(input_tokens=1000, cached_tokens=100, output_tokens=250, context_tokens=1300, images_count=0.1)


def figure(value: float, unit: str = "ratio") -> Factor:
    return Factor(
        value=value,
        low=value / 2,
        high=value * 2,
        unit=unit,
        source="test",
        checked="2026-11-23",
        confidence="estimated",
    )


@lru_cache
def dense() -> Deployment:
    return catalog.deployment(
        model="llama-3.1-70b", hardware="hgx-h100", accelerators=4, engine="vllm-0.11", site="us-average"
    )


@lru_cache
def mixture() -> Deployment:
    """All that the physics knows, at once."""
    model = ModelSpec(
        name="mixture",
        total_params_count=671e9,
        active_params_count=37.123456789e9,
        layers_count=61,
        q_heads_count=128,
        kv_heads_count=128,
        head_dim=128,
        experts=Experts(params_count=653_123_456_789.0, experts_count=256, chosen_count=8, layers_count=58),
        latent=Latent(cache_dim=576, decode_dim=1088, prefill_dim=320),
        window=Window(layers_count=30, tokens_count=1024),
        vision=Vision(params_count=413e6, patches_count=4096),
        state_bytes_per_sequence=123_456_789.0,
        native_precision="fp8",
        quantised="experts",
        source="test",
        checked="2026-11-23",
        confidence="estimated",
    )
    return catalog.deployment(
        model=model,
        hardware=replace(catalog.hardware("hgx-h100"), power_cap_exponent=figure(5.7, "exponent")),
        engine=replace(
            catalog.engine("vllm-0.11"),
            roofline_exponent=figure(3.3, "exponent"),
            expert_spread_ratio=replace(figure(0.4), high=0.9),
            expert_layer_s=figure(1.7e-5, "s"),
            image_s=figure(0.05, "s"),
        ),
        site="azure-westus3",
        replicas=3,
        cache_precision="fp8",
    )


def tokens(input_tokens: int, output_tokens: int, cached_tokens: int | None = None, images: int = 0) -> Usage:
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        images_count=images,
        source="upstream",
    )


def footprint(deployment: Deployment, usage: Usage, observation: Observation) -> Footprint:
    found = Profile(deployment).estimate(usage, observation, steps=True)
    assert isinstance(found, Footprint)
    return found


def text(found: Footprint, *, brief: bool = False) -> list[str]:
    return list(as_lines(steps_of(found), brief=brief))


def redone(lines: list[str]) -> dict[str, float]:
    """Every figure of a derivation, from its text alone: each formula is redone from the numbers that were put in, and
    once more from the figures as they were printed further up."""
    shown: dict[str, float] = {}
    tools = {"min": min, "max": max, "__builtins__": {}}
    for number, line in enumerate(lines):
        given_figure = FIGURE.fullmatch(line.partition("; source:")[0])
        if given_figure and not WITH_NUMBERS.fullmatch(lines[number + 1] if number + 1 < len(lines) else ""):
            shown[given_figure["name"]] = float(given_figure["value"])
        elif (formula := FORMULA.fullmatch(line)) is not None:
            put_in, result = WITH_NUMBERS.fullmatch(lines[number + 1]), RESULT.fullmatch(lines[number + 2])
            assert put_in is not None
            assert result is not None, lines[number + 2]
            value = float(result["value"])
            assert not re.search(r"[A-Za-z_]{3,}", re.sub(r"\b(min|max)\(", "(", put_in["sum"])), put_in["sum"]
            assert eval(put_in["sum"], tools) == pytest.approx(value, rel=REL, abs=0)  # noqa: S307
            assert eval(formula["formula"], tools, shown) == pytest.approx(value, rel=REL, abs=0)  # noqa: S307
            shown[formula["name"]] = value
    return shown


CASES: dict[str, tuple[Callable[[], Deployment], Usage, Observation]] = {
    "assumed": (dense, tokens(800, 300), Observation()),
    "loaded, cached": (dense, tokens(800, 300, 500), Observation(concurrency_count=32.5)),
    "observed": (dense, tokens(800, 300), Observation(elapsed_s=4.321, concurrency_count=7.77)),
    "observed among others": (dense, tokens(800, 300), Observation(elapsed_s=4.3, concurrency_count=7.7, mix=MIX)),
    "loaded among others": (dense, tokens(800, 300), Observation(concurrency_count=7.7, mix=MIX)),
    "too fast to be believed": (dense, tokens(800, 300), Observation(elapsed_s=0.01)),
    "only the time": (dense, NO_USAGE, Observation(elapsed_s=4.3)),
    "a mixture": (mixture, tokens(8123, 777, 3, 2), Observation(concurrency_count=99.9)),
    "a mixture observed": (mixture, tokens(8123, 777, 3, 2), Observation(elapsed_s=20, concurrency_count=9, mix=MIX)),
    "paced": (lambda: replace(mixture(), hosting="hosted"), tokens(812, 77), Observation(itl_s=0.02)),
    "paced among others": (
        lambda: replace(mixture(), hosting="hosted"),
        tokens(812, 77),
        Observation(itl_s=0.02, mix=MIX),
    ),
    "attention copied": (
        lambda: replace(mixture(), attention_accelerators_count=1),
        tokens(812, 77),
        Observation(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_line_can_be_redone_from_the_printed_numbers(case: str) -> None:
    deployment, usage, observation = CASES[case]
    found = footprint(deployment(), usage, observation)

    shown = redone(text(found))

    assert set(shown) == {step.name for step in found.steps}
    assert shown["facility_j"] == pytest.approx(found.facility_j, rel=REL)
    assert shown["water_l"] == pytest.approx(found.water_l, rel=REL)
    assert shown["carbon_g_high"] == pytest.approx(found.carbon_g * found.spread.carbon_high, rel=REL)


@given(
    st.sampled_from([dense(), mixture()]),
    st.integers(1, 10**9),
    st.integers(0, 10**9),
    st.floats(0, 1),
    st.none() | st.floats(1, 1e5),
    st.none() | st.floats(1e-3, 1e6),
)
def test_so_can_those_of_any_request(
    deployment: Deployment,
    input_tokens: int,
    output_tokens: int,
    cached_ratio: float,
    concurrency_count: float | None,
    elapsed_s: float | None,
) -> None:
    usage = tokens(input_tokens, output_tokens, int(input_tokens * cached_ratio))
    found = footprint(deployment, usage, Observation(elapsed_s=elapsed_s, concurrency_count=concurrency_count))

    assert redone(text(found))["it_j"] == pytest.approx(found.it_j, rel=REL)


def test_the_parts_follow_each_other_under_headings() -> None:
    lines = text(footprint(dense(), tokens(800, 300), Observation()))

    assert tuple(line for line in lines if line and not line.startswith(" ")) == HEADINGS


def test_every_given_figure_has_its_source_and_every_range_is_shown() -> None:
    found = footprint(mixture(), tokens(800, 300), Observation())

    lines = text(found)

    whole = "\n".join(lines)
    given_count = sum(step.formula == "given" for step in found.steps)
    assert whole.count("source: ") == given_count
    for factor in (mixture().hardware.host_w, mixture().engine.prefill_s, mixture().site.pue):
        assert f"({factor.low:g} to {factor.high:g})" in whole
        assert factor.source in whole
        assert f"({factor.confidence}, checked {factor.checked})" in whole


def test_a_source_is_written_out_once_and_then_pointed_to() -> None:
    lines = text(footprint(dense(), tokens(800, 300), Observation()))

    source = catalog.model("llama-3.1-70b").source
    assert sum(source in line for line in lines) == 1
    assert "  layers_count = 80 layers; source: as active_params_count" in lines


def test_a_formula_with_a_choice_shows_the_branch_that_applies() -> None:
    lines = text(footprint(dense(), tokens(800, 300), Observation()))

    at = next(number for number, line in enumerate(lines) if line.startswith("  fitted_share_ratio = "))
    assert " if " in lines[at]
    assert " if " not in lines[at + 1]


def test_whole_numbers_are_written_in_full() -> None:
    assert "  active_params_count = 69503033344 weights" in text(footprint(dense(), tokens(1, 1), Observation()))


def test_in_brief_only_what_was_computed_is_left() -> None:
    found = footprint(dense(), tokens(800, 300), Observation())

    lines = text(found, brief=True)

    assert not any("source:" in line for line in lines)
    assert [line for line in lines if line and not line.startswith(" ")] == list(HEADINGS[3:])
    computed = [step.name for step in found.steps if step.formula != "given"]
    assert [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "] == computed


def test_a_flat_figure_needs_no_server() -> None:
    flat = replace(dense(), factors=catalog.factor_set("seed-2023"))

    lines = text(footprint(flat, NO_USAGE, Observation()))

    assert [line for line in lines if line and not line.startswith(" ")] == ["Energy", "The place", "The interval"]
    assert redone(lines)["it_j"] == 14400


def test_more_digits_are_shown_where_a_difference_needs_them() -> None:
    steps = [
        {"name": "a", "formula": "given", "inputs": {}, "value": 1.23456789012, "unit": "s", "source": "test"},
        {"name": "b", "formula": "given", "inputs": {}, "value": 1.23456788012, "unit": "s", "source": "test"},
        {
            "name": "c",
            "formula": "a - b",
            "inputs": {"a": 1.23456789012, "b": 1.23456788012},
            "value": 1e-8,
            "unit": "s",
        },
    ]

    assert redone(list(as_lines(steps)))["c"] == pytest.approx(1e-8, rel=REL)
