"""From ranges to low and high: quadrature per side, and what a zero does."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog
from headwater.physics import intervals
from headwater.physics.rates import rates
from headwater.records import Deployment

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


def test_better_methods_have_narrower_intervals() -> None:
    for hardware in ("hgx-h100", "dgx-a100", "cpu-generic"):
        widths = [
            math.log(high / low)
            for low, high in (intervals.energy_ratio(deployment(hardware=hardware), m) for m in intervals.METHODS)
        ]
        assert widths == sorted(widths)


def test_hardware_outside_the_fit_has_a_wider_interval() -> None:
    fitted, other, guessed = (
        intervals.hardware_ratio(deployment(hardware=name)) for name in ("hgx-h100", "dgx-a100", "cpu-generic")
    )

    assert guessed[0] < other[0] < fitted[0] < 1 < fitted[1] < other[1] < guessed[1]


def test_a_guessed_model_is_wider_by_its_own_ratio_on_both_sides() -> None:
    low, high = intervals.energy_ratio(deployment("generic-wide"), "observed")

    assert low < 0.76 / 8
    assert high > 1.40 * 8
