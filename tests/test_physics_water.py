"""Water at the site: what operators publish, what a tower must evaporate, and what others computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headwater import catalog
from headwater.errors import CatalogError
from headwater.physics import water
from headwater.physics.onsite import onsite_water
from headwater.records import Site, Tower
from headwater.units import L_PER_US_GALLON
from tests.places import RULES, curve, figure, shares, site, tower, tower_site

FAHRENHEIT = {30: 0.62, 40: 2.2, 50: 3.1, 60: 3.8, 70: 4.7, 80: 6.1}


# -- what a site says ---------------------------------------------------------------------------------------------------------


def test_a_consumption_is_taken_as_it_is_and_tells_nothing_of_withdrawal() -> None:
    found = onsite_water(site(), RULES)

    assert found.wue_l_per_it_kwh == site().wue_l_per_it_kwh
    assert found.withdrawal_l_per_it_kwh is None


def test_a_withdrawal_is_consumed_in_part_and_stays_visible_as_withdrawal() -> None:
    found = onsite_water(site(wue_basis="withdrawal"), RULES)

    assert found.withdrawal_l_per_it_kwh == site().wue_l_per_it_kwh
    consumed = found.wue_l_per_it_kwh
    assert (consumed.low, consumed.value, consumed.high) == pytest.approx((0.4 * 0.5, 0.5 * 0.8, 0.6 * 1.0))


def test_a_figure_of_unstated_basis_counts_whole_and_its_low_may_be_a_withdrawal() -> None:
    found = onsite_water(site(wue_basis="unstated"), RULES)

    consumed = found.wue_l_per_it_kwh
    assert (consumed.low, consumed.value, consumed.high) == pytest.approx((0.4 * 0.5, 0.5, 0.6))
    assert found.withdrawal_l_per_it_kwh is None


def test_a_set_without_a_consumed_share_takes_every_figure_as_published() -> None:
    """Li et al. use Microsoft's figures as they are, whatever their basis."""
    rules = replace(RULES, consumed_ratio=None)

    for basis in ("consumption", "withdrawal", "unstated"):
        assert onsite_water(site(wue_basis=basis), rules).wue_l_per_it_kwh == site().wue_l_per_it_kwh


# -- a tower --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wet_bulb_c", "l_per_kwh"), [(15.0, 1.460), (25.0, 1.474), (35.0, 1.489)])
def test_a_kwh_of_heat_evaporates_about_one_and_a_half_litres(wet_bulb_c: float, l_per_kwh: float) -> None:
    """Latent heat of water 2,465 kJ/kg at 15 degC and 2,418 kJ/kg at 35 degC (steam tables): 3600/2465 and 3600/2418."""
    latent = water.latent_heat_j_per_kg(
        latent_heat_0c_j_per_kg=2_500_800, latent_heat_slope_j_per_kg_k=2_360, wet_bulb_c=wet_bulb_c
    )

    assert water.ceiling_l_per_it_kwh(heat_ratio=1, latent_heat_j_per_kg=latent) == pytest.approx(l_per_kwh, abs=1e-3)


def test_a_modern_tower_takes_1_4_litres_and_withdraws_1_7() -> None:
    """1.1 kWh of heat x 85 % x 1.467 L/kWh; five cycles of concentration withdraw 5/4 of it. For NREL's ESIF with its tower
    alone 1.27 L/kWh were computed (Sickinger et al., NREL/TP-2C00-72196, 2018)."""
    found = onsite_water(tower_site(), RULES)

    assert found.wue_l_per_it_kwh.value == pytest.approx(1.372, abs=1e-3)
    assert found.withdrawal_l_per_it_kwh is not None
    assert found.withdrawal_l_per_it_kwh.value == pytest.approx(1.372 * 5 / 4, abs=2e-3)


def test_a_legacy_tower_withdraws_the_articles_gallon() -> None:
    """A chiller in the loop (1.7 kWh of heat), all of it evaporated, three cycles: within 1 % of 3.785 L/kWh, the gallon per
    kWh of Gizmodo, April 2023."""
    old = tower_site(heat_ratio=figure(1.7), evaporated=shares((15.0, 1.0)), cycles_count=figure(3.0))

    found = onsite_water(old, RULES)

    assert found.wue_l_per_it_kwh.value == pytest.approx(2.494, abs=2e-3)
    assert found.withdrawal_l_per_it_kwh is not None
    assert found.withdrawal_l_per_it_kwh.value == pytest.approx(L_PER_US_GALLON, rel=0.015)


@pytest.mark.parametrize(
    ("drift_ratio", "l_per_kwh"),
    [(0.01, 1.54), (0.002, 0.307), (0.0001, 0.0154), (0.00005, 0.0077), (0.000005, 0.00077)],
)
def test_drift_is_a_share_of_the_circulating_water(drift_ratio: float, l_per_kwh: float) -> None:
    """A range of 5.6 K circulates 3600/(4.186*5.6) = 154 L per kWh of heat: 1 % of that is as much as evaporates, which is what
    the article's "1-2 %" can mean; eliminators hold drift to 0.005 % and less (xcellcooling, 2025)."""
    drift = water.drift_l_per_it_kwh(
        heat_ratio=1, wet_ratio=1, heat_capacity_j_per_kg_k=4_186, range_k=5.6, drift_ratio=drift_ratio
    )

    assert drift == pytest.approx(l_per_kwh, rel=0.01)


def test_a_dry_cooler_takes_no_water() -> None:
    found = onsite_water(tower_site(wet_ratio=figure(0.0)), RULES)

    assert found.wue_l_per_it_kwh.value == 0
    assert found.withdrawal_l_per_it_kwh is not None
    assert found.withdrawal_l_per_it_kwh.value == 0


def test_the_wet_bulb_temperature_moves_the_evaporated_share_along_its_points() -> None:
    points_c, ratios = (0.0, 10.0, 30.0), (0.5, 0.7, 0.9)

    found = [
        water.evaporated_ratio(wet_bulb_c=at_c, points_c=points_c, ratios=ratios)
        for at_c in (-20, 0, 5, 10, 20, 30, 45)
    ]

    assert found == pytest.approx([0.5, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9])


def test_the_same_site_takes_more_water_in_a_warm_hour() -> None:
    here = tower_site(evaporated=shares((0.0, 0.5), (30.0, 0.9)))

    night, noon = (onsite_water(here, RULES, wet_bulb_c=at_c).wue_l_per_it_kwh for at_c in (8.0, 24.0))

    assert night.value < noon.value
    assert (noon.low, noon.high) == pytest.approx((noon.value, noon.value))


ratio = st.floats(0, 1)


@given(
    heat=st.floats(1.0, 2.0),
    wet=ratio,
    evaporated=ratio,
    doubt=st.tuples(st.floats(0.5, 1), st.floats(1, 1.5)),
    cycles=st.tuples(st.floats(1.5, 20), st.floats(1.5, 20), st.floats(1.5, 20)).map(sorted),
    drift=st.floats(0, 0.01),
    wet_bulb_c=st.floats(-20, 40),
)
def test_a_tower_never_evaporates_more_than_its_heat_can_and_never_less_than_it_withdraws(
    heat: float,
    wet: float,
    evaporated: float,
    doubt: tuple[float, float],
    cycles: list[float],
    drift: float,
    wet_bulb_c: float,
) -> None:
    few, usual, many = cycles
    share = shares((0.0, evaporated), doubt=figure(1.0, doubt[0], doubt[1]))
    made = tower_site(
        heat_ratio=figure(heat),
        wet_ratio=figure(wet),
        evaporated=share,
        cycles_count=figure(usual, few, many),
        drift_ratio=figure(drift),
    )

    found = onsite_water(made, RULES, wet_bulb_c=wet_bulb_c)

    consumed, withdrawn = found.wue_l_per_it_kwh, found.withdrawal_l_per_it_kwh
    assert withdrawn is not None
    latent = water.latent_heat_j_per_kg(
        latent_heat_0c_j_per_kg=2_500_800, latent_heat_slope_j_per_kg_k=2_360, wet_bulb_c=wet_bulb_c
    )
    ceiling = water.ceiling_l_per_it_kwh(heat_ratio=heat, latent_heat_j_per_kg=latent)
    for side in ("low", "value", "high"):
        assert getattr(consumed, side) <= ceiling * (1 + 1e-12)
        assert getattr(consumed, side) <= getattr(withdrawn, side) * (1 + 1e-12)
    assert consumed.low <= consumed.value <= consumed.high
    assert withdrawn.low <= withdrawn.value <= withdrawn.high


# -- for reproduction ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at_f", "l_per_kwh"), FAHRENHEIT.items())
def test_the_curve_of_li_gives_its_own_figures(at_f: int, l_per_kwh: float) -> None:
    """ "Making AI Less Thirsty", the authors' repository: WUE = S/(S-1) (6e-5 T^3 - 0.01 T^2 + 0.61 T - 10.4), T in degrees
    Fahrenheit, S = 6; its values at 30 to 80 F to two digits."""
    found = onsite_water(_by_curve(), RULES, wet_bulb_c=(at_f - 32) / 1.8)

    assert found.wue_l_per_it_kwh.value == pytest.approx(l_per_kwh, abs=0.06)


def test_the_curve_of_li_never_falls_below_its_least() -> None:
    assert onsite_water(_by_curve(), RULES, wet_bulb_c=-10).wue_l_per_it_kwh.value == 0.05


def test_the_curve_of_li_evaporates_more_than_the_heat_of_a_site_can_which_is_why_it_is_no_default() -> None:
    """At 60 F it evaporates 3.2 L per kWh of IT energy (without the blow-down in S/(S-1)), for which 2.1 kWh of heat are needed."""
    at_60_f = onsite_water(_by_curve(), RULES, wet_bulb_c=(60 - 32) / 1.8).wue_l_per_it_kwh.value
    evaporated = at_60_f * 5 / 6
    latent = 2_500_800 - 2_360 * (60 - 32) / 1.8

    assert evaporated == pytest.approx(3.16, abs=0.01)
    assert evaporated / (3.6e6 / latent) == pytest.approx(2.16, abs=0.01)


def _by_curve() -> Site:
    return site(wue_method="li2023", wue_l_per_it_kwh=None, curve=curve())


@given(wet_bulb_c=st.floats(-40, 40))
def test_every_step_of_the_tower_gives_the_same_as_the_whole(wet_bulb_c: float) -> None:
    """The receipt's lines are the same functions, one by one."""
    from headwater.physics.derivation import Derivation
    from headwater.physics.place_formulas import ONSITE_RULES

    found = onsite_water(tower_site(drift_ratio=figure(1e-4)), RULES, wet_bulb_c=wet_bulb_c)
    assume(found.method == "tower")
    at = Derivation()
    for name, factor in found.given.items():
        at.take(name, factor)
    at.follow(ONSITE_RULES[found.method])

    assert at.known["wue_l_per_it_kwh"] == pytest.approx(found.wue_l_per_it_kwh.value, rel=1e-12)
    assert found.withdrawal_l_per_it_kwh is not None
    assert at.known["makeup_l_per_it_kwh"] == pytest.approx(found.withdrawal_l_per_it_kwh.value, rel=1e-12)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (lambda: site(wue_l_per_it_kwh=None), "wue_method 'reported' needs wue_l_per_it_kwh"),
        (lambda: site(wue_method="tower"), "wue_method 'tower' needs tower"),
        (lambda: site(wue_method="li2023"), "wue_method 'li2023' needs curve"),
        (lambda: tower(cycles_count=figure(5, 1, 6, unit="count")), "must be above one"),
        (lambda: tower(evaporated=shares((10.0, 0.5), (5.0, 0.6))), "must rise"),
        (lambda: tower(evaporated=shares((10.0, 1.5))), "between 0 and 1"),
        (lambda: tower(evaporated=shares()), "list of numbers"),
        (lambda: tower(range_k=figure(0, unit="K")), "too low"),
        (lambda: tower(wet_ratio=figure(1.2)), "above one"),
    ],
)
def test_a_place_that_cannot_be_is_refused(record: Callable[[], Site | Tower], words: str) -> None:
    with pytest.raises(CatalogError, match=words):
        catalog.checked(record(), at="it")


def test_a_site_without_any_figure_of_water_is_nobodys_fault_but_the_callers() -> None:
    with pytest.raises(ValueError, match="test-site has no wue_l_per_it_kwh"):
        onsite_water(site(wue_l_per_it_kwh=None), RULES)


def test_a_tower_record_of_the_tests_is_one_that_the_catalog_would_take() -> None:
    assert catalog.checked(tower(), at="tower") == tower()
    assert catalog.checked(tower_site(), at="site") == tower_site()
