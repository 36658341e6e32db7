"""From ranges to low and high: quadrature per side, and what a zero does."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog
from headwater.physics import Profile, intervals
from headwater.physics.intervals import combined, without
from headwater.physics.rates import rates
from headwater.records import Deployment, Footprint, Method, Observation, Usage

REL = 1e-12
ratios = st.tuples(st.floats(min_value=0, max_value=1), st.floats(min_value=1, max_value=1e6))


def deployment(model: str = "llama-3.1-70b", hardware: str = "hgx-h100", site: str = "us-average") -> Deployment:
    engine = "llama.cpp-cpu" if hardware == "cpu-generic" else "vllm-0.11"
    return catalog.deployment(model=model, hardware=hardware, engine=engine, site=site)


def test_independent_ranges_combine_in_quadrature_of_their_logarithms() -> None:
    low, high = intervals.combined((math.exp(-3), math.exp(6)), (math.exp(-4), math.exp(8)))

    assert low == pytest.approx(math.exp(-5), rel=REL)
    assert high == pytest.approx(math.exp(10), rel=REL)


@given(ratios, ratios)
def test_another_range_never_narrows(one: intervals.Ratio, other: intervals.Ratio) -> None:
    low, high = intervals.combined(one, other)

    assert low <= min(one[0], other[0]) * (1 + REL)
    assert high >= max(one[1], other[1]) * (1 - REL)


def test_a_low_of_zero_makes_the_low_zero() -> None:
    assert intervals.combined((0.0, 2.0), (0.5, 1.0))[0] == 0


def test_a_range_around_zero_stays_zero() -> None:
    assert intervals.around(low=0.0, value=0.0, high=3.0) == intervals.CERTAIN


def test_the_terms_of_water_are_added_before_they_are_combined() -> None:
    at = rates(deployment(site="us-average"))

    water = intervals.spread(it_ratio=intervals.CERTAIN, at=at)

    # WUE 0.375 (0 to 1.15), PUE 1.4 (1.08 to 1.6), EWIF 3.1321 (1.8 to 4.52)
    assert water.water_low == pytest.approx((0 + 1.08 * 1.8) / (0.375 + 1.4 * 3.1321), rel=REL)
    assert water.water_high == pytest.approx((1.15 + 1.6 * 4.52) / (0.375 + 1.4 * 3.1321), rel=REL)
    assert water.energy_high == pytest.approx(1.6 / 1.4, rel=REL)
    assert water.carbon_low == pytest.approx(1.08 * 250 / (1.4 * 384.4), rel=REL)


def test_a_certain_place_leaves_the_band_of_the_method() -> None:
    quiet = rates(deployment(site="local"))
    seed = replace(quiet, ewif_l_per_kwh=quiet.wue_l_per_it_kwh)

    spread = intervals.spread(it_ratio=(0.5, 3.0), at=seed)

    assert (spread.energy_low, spread.energy_high) == pytest.approx((0.5, 3.0), rel=REL)


KNOWN = intervals.Doubts(tokens=True, concurrency=True, small_batch=False, images=False)


def test_better_methods_have_narrower_intervals() -> None:
    for hardware in ("hgx-h100", "dgx-a100", "cpu-generic"):
        widths = [
            math.log(high / low)
            for low, high in (
                intervals.energy_ratio(deployment(hardware=hardware), method, KNOWN) for method in intervals.METHODS
            )
        ]
        assert widths == sorted(widths)


def test_hardware_outside_the_fit_has_a_wider_interval() -> None:
    fitted, other, guessed = (
        intervals.energy_ratio(deployment(hardware=name), "observed", KNOWN)
        for name in ("hgx-h100", "dgx-a100", "cpu-generic")
    )

    assert guessed[0] < other[0] < fitted[0] < 1 < fitted[1] < other[1] < guessed[1]


def test_a_guessed_model_is_wider_by_its_own_ratio_on_both_sides() -> None:
    band = catalog.engine("vllm-0.11").band["observed"]

    low, high = intervals.accelerator_ratio(deployment("generic-wide"), "observed", KNOWN)

    assert (low, high) == pytest.approx((band[0] / 8, band[1] * 8), rel=REL)


def test_the_words_of_an_interval_are_enough_to_recompute_it() -> None:
    made = deployment("generic-wide", "dgx-a100")
    found = Profile(made).estimate(
        Usage(input_tokens=500, output_tokens=300, images_count=1, source="upstream"), Observation(), steps=True
    )
    assert isinstance(found, Footprint)

    for amount, low, high in (
        ("facility_j", found.spread.energy_low, found.spread.energy_high),
        ("water_l", found.spread.water_low, found.spread.water_high),
        ("carbon_g", found.spread.carbon_low, found.spread.carbon_high),
    ):
        source = next(step.source for step in found.steps if step.name == f"{amount}_low_ratio")
        told = [(float(one), float(other)) for one, other in re.findall(r"x(\S+) to x(\S+) ", source)]
        lows, highs = zip(*told, strict=True)
        if 0 in lows:
            assert low == 0
        else:
            assert low == pytest.approx(math.exp(-math.hypot(*map(math.log, lows))), rel=2e-3)
        assert high == pytest.approx(math.exp(math.hypot(*map(math.log, highs))), rel=2e-3)


# --- outside of the fitted domain


@pytest.mark.parametrize(
    ("name", "method", "doubts", "hardware"),
    [
        ("small_batch_ratio", "loaded", KNOWN._replace(small_batch=True), "hgx-h100"),
        ("image_ratio", "observed", KNOWN._replace(images=True), "hgx-b200"),
        ("unseen_hardware_ratio", "paced", KNOWN, "dgx-a100"),
    ],
)
def test_each_way_out_of_the_fitted_domain_adds_its_doubt_in_quadrature(
    name: str, method: Method, doubts: intervals.Doubts, hardware: str
) -> None:
    engine = catalog.engine("vllm-0.11")
    beyond = getattr(engine, name).value
    low, high = engine.band[method]

    found = intervals.accelerator_ratio(deployment(hardware=hardware), method, doubts)

    assert beyond > 1.1
    assert found[0] == pytest.approx(math.exp(-math.hypot(math.log(low), math.log(beyond))), rel=REL)
    assert found[1] == pytest.approx(math.exp(math.hypot(math.log(high), math.log(beyond))), rel=REL)


def test_a_time_that_was_seen_holds_for_small_batches_too() -> None:
    alone = KNOWN._replace(small_batch=True)

    assert intervals.accelerator_ratio(deployment(), "observed", alone) == catalog.engine("vllm-0.11").band["observed"]


def test_a_request_outside_of_the_domain_is_charged_with_the_wider_interval() -> None:
    profile = Profile(deployment())
    usage = Usage(input_tokens=500, output_tokens=300, source="upstream")
    seen = Observation(concurrency_count=8.0)

    inside = profile.estimate(usage, seen)
    alone = profile.estimate(usage, replace(seen, concurrency_count=7.9), steps=True)
    pictures = profile.estimate(replace(usage, images_count=2), seen, steps=True)

    assert isinstance(inside, Footprint)
    for found, why in ((alone, "fewer in flight than entered the fit"), (pictures, "pictures in the prompt")):
        assert isinstance(found, Footprint)
        assert found.spread.energy_high > inside.spread.energy_high * 1.01
        assert found.spread.energy_low < inside.spread.energy_low / 1.01
        assert any(why in step.source for step in found.steps)


# What separates vLLM 0.5, vLLM 0.11 and TensorRT-LLM on the same hardware; METHODOLOGY.md, "Intervals".
UNFITTED = {"observed": 1.25, "loaded": 2.0, "paced": 2.0, "assumed": 2.0}


@pytest.mark.parametrize("name", ["vllm-0.5", "tensorrt-llm", "generic"])
def test_an_engine_without_a_fit_has_the_fitted_bands_and_its_doubt_in_quadrature(name: str) -> None:
    fitted = catalog.engine("vllm-0.11").band

    for method, (low, high) in catalog.engine(name).band.items():
        doubt = math.log(UNFITTED[method])
        expected = (
            math.exp(-math.hypot(math.log(fitted[method][0]), doubt)),
            math.exp(math.hypot(math.log(fitted[method][1]), doubt)),
        )
        # Written with three digits.
        assert (low, high) == pytest.approx(expected, rel=0.01)


@given(
    parts=st.lists(st.tuples(st.floats(0.01, 1), st.floats(1, 100)), min_size=1, max_size=4),
    taken=st.tuples(st.floats(0.01, 1), st.floats(1, 100)),
)
def test_a_part_that_is_taken_out_leaves_the_others(
    parts: list[tuple[float, float]], taken: tuple[float, float]
) -> None:
    # To a thousandth in log: nearly nothing beside a wide part is lost in rounding.
    left, others = without(combined(*parts, taken), taken), combined(*parts)

    assert [math.log(side) for side in left] == pytest.approx([math.log(side) for side in others], abs=1e-3)


def test_a_low_of_nothing_stays_nothing_when_a_part_is_taken_out() -> None:
    assert without(combined((0.0, 2.0), (0.5, 3.0)), (0.5, 3.0)) == pytest.approx((0.0, 2.0))


# -- tokens that were counted here ---------------------------------------------------------------------------------------------


def estimated(count_ratio: float, *, steps: bool = False, observation: Observation | None = None) -> Footprint:
    usage = Usage(input_tokens=900, output_tokens=300, count_ratio=count_ratio, source="estimated")
    found = Profile(deployment()).estimate(
        usage, Observation(elapsed_s=9.0, concurrency_count=8) if observation is None else observation, steps=steps
    )
    assert isinstance(found, Footprint)
    return found


SIDES = [(f"{amount}_low", f"{amount}_high") for amount in ("energy", "water", "carbon")]


@pytest.mark.parametrize(("low", "high"), SIDES)
def test_a_doubtful_count_widens_every_amount_in_quadrature(low: str, high: str) -> None:
    sure, doubtful = estimated(1.0).spread, estimated(1.5).spread

    widened_low = math.exp(-math.hypot(math.log(getattr(sure, low)), math.log(1.5)))
    widened_high = math.exp(math.hypot(math.log(getattr(sure, high)), math.log(1.5)))
    assert getattr(doubtful, low) == pytest.approx(widened_low, rel=REL)
    assert getattr(doubtful, high) == pytest.approx(widened_high, rel=REL)
    assert getattr(doubtful, high) > getattr(sure, high)


def test_a_doubtful_count_leaves_the_middle_alone() -> None:
    sure, doubtful = estimated(1.0), estimated(3.0)

    assert replace(doubtful, spread=sure.spread) == sure


@pytest.mark.parametrize("count_ratio", [1.0, 0.5, 0.0, -1.0, math.inf, math.nan])
def test_a_ratio_that_says_nothing_changes_nothing(count_ratio: float) -> None:
    profile = Profile(deployment())
    usages = [
        Usage(input_tokens=9, output_tokens=3, count_ratio=ratio, source="counted") for ratio in (1.0, count_ratio)
    ]

    plain, odd = (profile.estimate(usage, Observation(), steps=True) for usage in usages)

    assert plain == odd


def test_the_derivation_names_the_doubt_of_the_count_and_ends_at_the_widened_range() -> None:
    found = estimated(1.5, steps=True)

    steps = {step.name: step for step in found.steps}
    assert steps["count_ratio"].value == 1.5
    for name, ratio in (("facility_j_low", found.spread.energy_low), ("facility_j_high", found.spread.energy_high)):
        assert steps[name].value == pytest.approx(found.facility_j * ratio, rel=REL)
    told = steps["carbon_g_high_ratio"].source
    assert "x0.6667 to x1.5 tokens counted here" in told
    highs = [float(high) for high in re.findall(r"to x([\d.e+-]+)", told)]
    assert math.exp(math.hypot(*map(math.log, highs))) == pytest.approx(found.spread.carbon_high, rel=1e-3)


def test_where_no_tokens_enter_their_doubt_does_not_either() -> None:
    flat = catalog.deployment(
        model="llama-3.1-70b", hardware="hgx-h100", engine="vllm-0.11", site="us-average", factors="seed-2023"
    )
    usages = [Usage(input_tokens=9, output_tokens=3, count_ratio=ratio, source="estimated") for ratio in (1.0, 2.0)]
    assert flat.factors.flat_it_j_per_request is not None

    sure, doubtful = (Profile(flat).estimate(usage, Observation(), steps=True) for usage in usages)

    assert sure == doubtful


@pytest.mark.parametrize(("cached", "says"), [(None, "does not say how many were cached"), (0, "usage"), (3, "usage")])
def test_the_derivation_says_where_nothing_was_said_of_cached_tokens(cached: int | None, says: str) -> None:
    usage = Usage(input_tokens=9, output_tokens=3, cached_tokens=cached, source="counted")

    found = Profile(deployment()).estimate(usage, Observation(), steps=True)

    assert isinstance(found, Footprint)
    (source,) = (step.source for step in found.steps if step.name == "own_cached_tokens")
    assert says in source
    assert ("fresh" in source) == (cached is None)
