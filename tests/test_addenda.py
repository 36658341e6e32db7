"""The lines beside a footprint: right by hand, never added to it, and a reason for each that is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import beside, catalog
from headwater.cases import Case
from headwater.derivations import as_lines, steps_of
from headwater.errors import CatalogError
from headwater.physics import Profile
from headwater.physics.addenda import addenda
from headwater.records import Addenda, Deployment, Footprint, Observation, Training, TrainingShare, Usage
from headwater.units import J_PER_KWH
from tests.places import figure, site, tower_site

USAGE = Usage(input_tokens=800, output_tokens=300, cached_tokens=0, source="upstream")
SEEN = Observation(elapsed_s=10.0, concurrency_count=4.0)
GPT = Training(
    name="test-model",
    it_kwh=figure(1e6, 9e5, 2e6, unit="kWh"),
    onsite_l=figure(7e5, unit="L"),
    offsite_l=figure(4.3e6, 4e6, 5e6, unit="L"),
    carbon_g=None,
    cost_usd=figure(4.6e6, unit="USD"),
)


def deployment(**changes: Any) -> Deployment:
    """Half of a server whose making is 8 x 100 kg and 200 kg, over 1,000,000 s of which it serves half."""
    hardware = replace(
        catalog.hardware("hgx-h100"),
        accelerator_embodied_g=figure(1e5, 5e4, 2e5, unit="g"),
        host_embodied_g=figure(2e5, unit="g"),
        lifetime_s=figure(1e6, 5e5, 1e6, unit="s"),
    )
    made = catalog.deployment(
        model="llama-3.1-70b",
        hardware=hardware,
        accelerators=4,
        engine="vllm-0.11",
        site=changes.pop("site", site()),
        factors=replace(catalog.factor_set("current-2026.11"), utilisation_ratio=figure(0.5, 0.25, 1.0)),
    )
    return replace(made, **changes)


def found(at: Deployment, observation: Observation = SEEN) -> tuple[Footprint, Addenda]:
    footprint = Profile(at).estimate(USAGE, observation, steps=True)
    assert isinstance(footprint, Footprint)
    return footprint, addenda(footprint, at)


def test_embodied_carbon_is_the_servers_making_by_the_time_that_the_request_had_of_it() -> None:
    """ISO/IEC 21031: M = TE * TiR/EL * RR/ToR. Ten seconds shared by four on half of a server are 1.25 s of the whole one."""
    footprint, aside = found(deployment())

    assert footprint.server_s == pytest.approx(10 / 4 * 4 / 8)
    assert aside.embodied_g is not None
    assert aside.embodied_g.value == pytest.approx(1e6 * 1.25 / (1e6 * 0.5))
    assert aside.embodied_g.low < aside.embodied_g.value < aside.embodied_g.high


def test_the_terms_of_the_sci_standard_add_up() -> None:
    at = deployment()
    footprint, aside = found(at)

    terms = beside.sci(footprint, aside, at)

    assert terms["e_kwh"] * terms["i_g_per_kwh"] == pytest.approx(footprint.carbon_g)
    assert terms["i_g_per_kwh"] == pytest.approx(at.grid.carbon_g_per_kwh.value)
    assert terms["m_te_g"] * terms["m_tir_s"] / (terms["m_el_s"] * terms["m_utilisation"]) == pytest.approx(
        terms["m_g"]
    )
    assert terms["sci_g"] == pytest.approx(terms["e_kwh"] * terms["i_g_per_kwh"] + terms["m_g"])
    assert (terms["r"], terms["i_method"]) == ("request", "location-based, average of the year")
    of_the_hour = beside.sci(footprint, aside, at, grid_g_per_kwh=300.0)
    assert (of_the_hour["i_method"], of_the_hour["i_year"]) == ("location-based, of the hour", None)


def test_a_fixed_energy_per_request_knows_no_time_on_a_server_and_so_no_making() -> None:
    at = catalog.deployment(
        model="llama-3.1-70b", hardware="hgx-h100", engine="vllm-0.11", site=site(), factors="seed-2023"
    )

    footprint, aside = found(at)

    assert footprint.server_s is None
    assert aside.embodied_g is None
    assert "no time on a server" in dict(aside.reasons)["embodied_g"]
    assert beside.sci(footprint, aside, at)["sci_g"] is None


@pytest.mark.parametrize("lacking", ["accelerator_embodied_g", "host_embodied_g", "lifetime_s"])
def test_hardware_of_unknown_making_says_so_and_shows_no_zero(lacking: str) -> None:
    at = deployment()
    without: dict[str, Any] = {lacking: None}
    at = replace(at, hardware=replace(at.hardware, **without))

    _, aside = found(at)

    assert aside.embodied_g is None
    assert dict(aside.reasons)["embodied_g"] == "no source for the making of hgx-h100 was read"
    assert beside.as_json(aside)["carbon_embodied_g"] is None
    assert "hgx-h100" in beside.as_json(aside)["carbon_embodied_g_reason"]


def test_water_of_the_making_is_a_line_only_where_a_source_exists() -> None:
    at = deployment()
    _, without = found(at)
    _, aside = found(replace(at, hardware=replace(at.hardware, embodied_water_l=figure(4e5, unit="L"))))

    assert without.embodied_water_l is None
    assert "no source for the water of making" in dict(without.reasons)["embodied_water_l"]
    assert aside.embodied_water_l is not None
    assert aside.embodied_water_l.value == pytest.approx(4e5 * 1.25 / (1e6 * 0.5))


def test_withdrawal_at_the_site_is_a_line_of_its_own_and_contains_what_is_consumed() -> None:
    footprint, aside = found(deployment(site=site(wue_basis="withdrawal")))

    assert aside.onsite_withdrawal_l is not None
    assert aside.onsite_withdrawal_l.value == pytest.approx(footprint.it_j / J_PER_KWH * 0.5)
    assert footprint.onsite_l == pytest.approx(aside.onsite_withdrawal_l.value * 0.8)


def test_a_tower_shows_its_make_up_in_the_hour_of_the_request() -> None:
    at = deployment(site=tower_site())
    footprint = Profile(at).estimate(USAGE, replace(SEEN, wet_bulb_c=28.0))
    assert isinstance(footprint, Footprint)

    aside = addenda(footprint, at, wet_bulb_c=28.0)

    assert aside.onsite_withdrawal_l is not None
    assert aside.onsite_withdrawal_l.value == pytest.approx(footprint.onsite_l * 5 / 4)


def test_a_site_that_publishes_a_consumption_has_no_withdrawal_and_says_why() -> None:
    _, aside = found(deployment())

    assert aside.onsite_withdrawal_l is None
    assert dict(aside.reasons)["onsite_withdrawal_l"] == "the site's operator publishes no figure of this kind"


def test_withdrawal_at_power_stations_needs_a_grid_that_has_it() -> None:
    at = deployment()
    grid = replace(at.grid, ewif_withdrawal_l_per_kwh=figure(40.0, unit="L/kWh"))

    footprint, aside = found(replace(at, grid=grid))

    assert aside.offsite_withdrawal_l is not None
    assert aside.offsite_withdrawal_l.value == pytest.approx(footprint.facility_j / J_PER_KWH * 40)
    assert found(at)[1].offsite_withdrawal_l is None


def test_contracts_change_nothing_of_the_charge() -> None:
    """Google's fleet in 2024: 94 g/kWh by contracts, 345 where it stands (2025 environmental report)."""
    footprint, aside = found(deployment(site=site(market_g_per_kwh=figure(94.0, unit="g/kWh"))))
    without, _ = found(deployment())

    assert footprint.carbon_g == without.carbon_g
    assert aside.market_g is not None
    assert aside.market_g.value == pytest.approx(footprint.facility_j / J_PER_KWH * 94)


def test_the_parts_of_the_energy_add_up_and_idle_time_is_nobodys() -> None:
    footprint, _ = found(deployment())

    parts = beside.energy_parts(footprint)

    assert parts["accelerator_j"] + parts["host_j"] + parts["overhead_j"] == pytest.approx(footprint.facility_j)
    assert parts["overhead_j"] == pytest.approx(footprint.it_j * 0.2)
    assert parts["idle_j"] is None
    flat = catalog.deployment(
        model="llama-3.1-70b", hardware="hgx-h100", engine="vllm-0.11", site=site(), factors="seed-2023"
    )
    assert beside.energy_parts(found(flat)[0])["accelerator_j"] is None


def test_training_is_off_unless_asked_for() -> None:
    _, aside = found(deployment())

    assert not any(name.startswith("training") for name in beside.as_json(aside))


def test_a_training_is_spread_evenly_and_what_is_not_disclosed_is_left_out() -> None:
    at = deployment(training=TrainingShare(training=GPT, requests_count=1e9))

    footprint, aside = found(at)

    assert aside.training_it_kwh is not None
    assert (aside.training_it_kwh.low, aside.training_it_kwh.value, aside.training_it_kwh.high) == (9e-4, 1e-3, 2e-3)
    assert aside.training_water_l is not None
    assert aside.training_water_l.value == pytest.approx(5e6 / 1e9)
    assert aside.training_cost_usd is not None
    assert aside.training_cost_usd.value == pytest.approx(0.0046)
    assert aside.training_carbon_g is None
    assert footprint.water_l == found(deployment())[0].water_l


def test_a_question_about_gpt_3_may_ask_for_its_share_of_the_training() -> None:
    """Patterson et al., arXiv:2104.10350: 1,287 MWh; over a thousand million requests 1.287 Wh each."""
    asked = Case(model="gpt3-175b", input_tokens=500, output_tokens=300, training_requests=1e9)

    aside = asked.addenda()

    assert aside is not None
    assert aside.training_it_kwh is not None
    assert aside.training_it_kwh.value == pytest.approx(1.287e-3)
    with pytest.raises(CatalogError, match="catalog of trainings"):
        _ = Case(model="gpt-4o", input_tokens=5, output_tokens=3, training_requests=10).deployment
    with pytest.raises(ValueError, match="training_requests must be at least 1"):
        Case(model="gpt-3", input_tokens=5, output_tokens=3, training_requests=0.5)


def test_training_water_is_unknown_where_one_of_its_two_places_is() -> None:
    training = replace(GPT, offsite_l=None)

    _, aside = found(deployment(training=TrainingShare(training=training, requests_count=10)))

    assert aside.training_water_l is None


@given(seconds=st.floats(1.0, 1000), count=st.floats(1, 200), requests=st.floats(1, 1e12))
def test_every_line_lies_inside_its_range_and_its_derivation_prints(
    seconds: float, count: float, requests: float
) -> None:
    at = deployment(
        site=site(wue_basis="withdrawal", market_g_per_kwh=figure(94.0, 50.0, 100.0, unit="g/kWh")),
        training=TrainingShare(training=GPT, requests_count=requests),
    )

    _, aside = found(at, Observation(elapsed_s=seconds, concurrency_count=count))

    document = beside.as_json(aside)
    ranges = [name for name in document if name.endswith("_range")]
    assert len(ranges) == 7
    for name in ranges:
        low, high = document[name]
        assert 0 < low <= document[name.removesuffix("_range")] <= high
    assert len(list(beside.as_lines(document))) == 7
    assert any("embodied_g = server_embodied_g * server_s" in line for line in as_lines(steps_of(aside)))


def test_the_water_of_a_factor_set_tells_no_withdrawal_and_the_reason_does_not_blame_the_site() -> None:
    at = catalog.deployment(
        model="llama-3.1-70b",
        hardware="hgx-h100",
        engine="vllm-0.11",
        site=site(wue_basis="withdrawal"),
        factors="seed-2023",
    )

    assert dict(found(at)[1].reasons)["onsite_withdrawal_l"] == "the factor set's own water does not tell it"


def test_a_computed_withdrawal_says_what_it_counts_and_where_it_was_computed() -> None:
    _, aside = found(deployment(site=tower_site()))

    (step,) = [step for step in aside.steps if step.name == "withdrawal_l_per_it_kwh"]
    assert step.source.startswith("withdrawal per kWh of IT energy: computed from what the site is known by")
