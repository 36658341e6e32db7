"""A whole fleet: the arithmetic of the 2023 articles, reproduced, and what else is asked of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog
from headwater.catalog.decode import decode
from headwater.cli.fleets import as_bars, as_json, as_steps, as_table
from headwater.derivations import _value
from headwater.errors import CatalogError
from headwater.fleet import Answer, Fleet, answer, article_notes
from headwater.records import Bounds, Claim, Factor, FactorSet, HardwareSpec, Site
from tests.command import run
from tests.places import figure

US_GALLON_L = 3.785411784
SEED = "seed-2023"
CHAT: dict[str, Any] = {"model": "llama-3.1-70b", "input_tokens": 800, "output_tokens": 300}
AMOUNTS = (
    "power_kw",
    "it_energy_kwh",
    "facility_energy_kwh",
    "water_onsite_l",
    "water_offsite_l",
    "water_l",
    "carbon_kg",
)


LOADS = st.just(0.0) | st.floats(min_value=1e-9, max_value=1)


def asked(**given_: Any) -> Answer:
    return answer(Fleet(**given_))


def seed(**given_: Any) -> Answer:
    return asked(factors=SEED, **given_)


def server(**changes: Any) -> HardwareSpec:
    """A DGX A100 of which everything is known."""
    known: dict[str, Any] = {
        "accelerator_embodied_g": figure(150_000, unit="g", low=100_000, high=300_000),
        "host_embodied_g": figure(4e6, unit="g"),
        "lifetime_s": figure(1.5e8, unit="s", low=1e8, high=2e8),
        "server_price_usd": figure(200_000, unit="USD"),
    }
    return replace(catalog.hardware("dgx-a100"), **(known | changes))


def value(amount: Bounds | None) -> float:
    assert amount is not None
    assert amount.low <= amount.value <= amount.high
    return amount.value


# --- the articles


def test_ten_thousand_accelerators_are_1250_servers_for_248_million_dollars() -> None:
    """1,250 x 199,000 USD: the articles' 250 million. The list price: NVIDIA, DGX A100, May 2020."""
    made = seed()

    assert (made.servers_count, made.accelerators_count) == (1250, 10_000)
    assert value(made.capital_cost) == pytest.approx(248.75e6, rel=1e-12)
    assert made.capital_cost is not None
    assert (made.capital_cost.low, made.capital_cost.high) == pytest.approx((248.75e6, 250e6))


def test_at_their_nameplate_they_draw_8_megawatts_and_5_85_gigawatt_hours_in_30_days() -> None:
    """1,250 x 6.5 kW (NVIDIA, DGX A100, the most it may draw) x 720 h, at full load and without PUE."""
    made = seed()

    assert made.power_kw == Bounds(low=8125.0, value=8125.0, high=8125.0)
    assert value(made.it_energy_kwh) == pytest.approx(5.85e6, rel=1e-12)
    assert made.facility_energy_kwh == made.it_energy_kwh


def test_a_gallon_per_kwh_makes_22_megalitres_of_it() -> None:
    """Gizmodo, April 2023: about a gallon per kWh. 5.85e6 kWh x 3.785411784 L, and none at power stations."""
    made = seed()

    assert value(made.water_onsite_l) == pytest.approx(5.85e6 * US_GALLON_L, rel=1e-12)
    assert round(value(made.water_onsite_l)) == 22_144_659
    assert value(made.water_offsite_l) == 0


@pytest.mark.parametrize(
    ("wue", "megalitres"),
    [
        (0.375, 2.2),  # LBNL, 2024 United States Data Center Energy Usage Report: consumption, 2023
        (0.34, 2.0),  # Microsoft, Americas, fiscal year 2025
    ],
)
def test_the_same_energy_at_published_wues_takes_a_tenth_of_it(wue: float, megalitres: float) -> None:
    rules = replace(catalog.factor_set(SEED), wue_l_per_it_kwh=None)
    place = replace(
        catalog.site("us-average"),
        wue_l_per_it_kwh=figure(wue, unit="L/kWh"),
        wue_basis="consumption",
        wue_method="reported",
    )

    made = asked(factors=rules, site=place)

    assert value(made.water_onsite_l) / 1e6 == pytest.approx(megalitres, abs=0.05)


def test_a_question_of_4_wh_takes_15_ml_and_the_bottle_gives_its_range() -> None:
    """25 to 50 questions per 500 mL (press, April 2023) are 10 to 20 mL each; 4 Wh x 3.785 L/kWh = 15.1 mL."""
    made = seed()

    assert made.per_request is not None
    assert value(made.per_request.energy_wh) == pytest.approx(4)
    assert value(made.per_request.water_ml) == pytest.approx(4 * US_GALLON_L, rel=1e-12)
    assert made.per_request.water_ml.low == pytest.approx(10, rel=1e-3)
    assert made.per_request.water_ml.high == pytest.approx(20, rel=1e-3)
    assert value(made.requests) == pytest.approx(5.85e9 / 4)


@pytest.mark.parametrize(
    "words",
    [
        "6.5 kW is the most that a DGX A100 may draw",
        "76 to 82 % of the rating",  # Newkirk et al., arXiv:2506.14551; Latif et al., IEEE Access 13
        "given as 700,000 L",
        "1,287 MWh gives 4.87 ML, 7 times as much",  # Patterson et al., arXiv:2104.10350
        "0.7 ML is the on-site part, at 0.544 L/kWh",
        "together are 5.44 ML",  # Li et al., arXiv:2304.03271v5, Table 1
        "25 to 50 questions per 500 mL are 10 to 20 mL each",
        "at 4 Wh a question (15.1 mL)",
        "0.31 Wh, which at a gallon per kWh is 1.17 mL",  # Microsoft, Joule 10(8) 102430
        "would add 9 to 18 ML to the 22.1 ML",
        "real drift is 0.005 %",
        "which makes 2.2 ML of this energy",
        "2.3 billion gallons of 2019 were requested or granted in three states, not used",
        "175 billion parameters, not 180",  # Brown et al., arXiv:2005.14165
        "4.6 million USD for training GPT-3 is an estimate of others",
    ],
)
def test_where_the_articles_contradict_themselves_it_is_said(words: str) -> None:
    assert any(words in note for note in seed().notes)
    assert not any(words in note for note in asked().notes)


def test_the_remarks_follow_from_the_numbers() -> None:
    """Training: 1,287,000 kWh x 3.785 L = 4.87 ML; mist: 1 to 2 % of the 155 L/kWh that a tower circulates at 10 F."""
    notes = "\n".join(article_notes(2 * 5.85e6))

    by_gallon_ml, circulating_l_per_kwh = 1.287 * US_GALLON_L, 3600 / (4.186 * 5.556)
    assert by_gallon_ml == pytest.approx(4.87, abs=0.005)
    assert "would add 18 to 36 ML to the 44.3 ML" in notes
    assert circulating_l_per_kwh == pytest.approx(155, abs=0.5)


@pytest.mark.parametrize("lacking", ["wue_l_per_it_kwh", "server_w", "flat_it_j_per_request"])
def test_the_remarks_need_the_articles_figures(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    changes: dict[str, Any] = {lacking: None}
    lame = replace(catalog.factor_set(SEED), **changes)
    monkeypatch.setattr(catalog, "factor_set", lambda name: lame)

    with pytest.raises(CatalogError, match=lacking):
        article_notes(5.85e6)


def test_the_remarks_need_a_mean_to_hold_the_gallon_against(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = replace(catalog.site("us-average"), wue_l_per_it_kwh=None)
    monkeypatch.setattr(catalog, "site", lambda name: silent)

    with pytest.raises(CatalogError, match="us-average must have a wue_l_per_it_kwh"):
        article_notes(5.85e6)


def test_what_the_articles_cannot_say_stands_beside_their_figures() -> None:
    made = seed(**CHAT)

    assert made.capacity is not None
    assert value(made.capacity.requests) > value(made.requests)
    assert (made.output_tokens, made.input_tokens) == (None, None)
    assert "counts requests" in made.reasons["output_tokens"]
    assert any("cannot say what the hardware could do; the throughput model's" in note for note in made.notes)
    assert "capacity by throughput, output tokens" in as_table(made)


def test_the_articles_server_is_said_to_be_another_one() -> None:
    made = asked(factors=SEED, hardware="hgx-h100")

    assert value(made.power_kw) == 8125
    assert any("6,500 W per server, also where it is a hgx-h100" in note for note in made.notes)


# --- the throughput model


def test_servers_at_work_draw_what_the_throughput_model_says_and_rest_the_other_time() -> None:
    """Power at load 0.25 lies a quarter of the way from idle to busy."""
    at = [value(asked(load=load, **CHAT, concurrency=64).power_kw) for load in (0.0, 0.25, 1.0)]

    assert at[0] == pytest.approx(1250 * catalog.hardware("dgx-a100").idle_w.value / 1000)
    assert at[1] == pytest.approx(at[0] + (at[2] - at[0]) / 4)


def test_a_request_at_full_load_takes_what_an_estimate_of_it_takes() -> None:
    """A fleet that never idles: the energy of one request is that of `headwater.estimate` with the same in flight."""
    from headwater import estimate

    one = estimate(
        "llama-3.1-70b", input_tokens=800, output_tokens=300, concurrency=32, hardware="dgx-a100", accelerators=4
    )
    made = asked(load=1, concurrency=32, accelerators_per_replica=4, **CHAT)

    assert made.per_request is not None
    assert made.method == "loaded"
    assert value(made.per_request.energy_wh) == pytest.approx(one.facility_j / 3600, rel=1e-9)  # type: ignore[union-attr]
    assert value(made.per_request.water_ml) == pytest.approx(one.water_l * 1000, rel=1e-9)  # type: ignore[union-attr]


def test_tokens_are_those_of_the_requests() -> None:
    made = asked(**CHAT)

    assert value(made.input_tokens) == pytest.approx(800 * value(made.requests))
    assert value(made.output_tokens) == pytest.approx(300 * value(made.requests))
    assert made.method == "assumed"


def test_without_a_model_the_hardware_alone_is_known() -> None:
    made = asked()

    assert (made.requests, made.capacity, made.per_request) == (None, None, None)
    assert "no model is named" in made.reasons["requests"]
    assert made.power_kw.low < made.power_kw.value < made.power_kw.high


@pytest.mark.parametrize("exponent", [None, figure(8, unit="exponent")])
def test_a_server_without_a_bend_at_its_limit_is_cut_off_there(exponent: Factor | None) -> None:
    made = asked(hardware=server(power_cap_exponent=exponent), load=1)

    most_kw = 1250 * (8 * 400 * 1.17 + 1300) / 1000  # TDP of eight A100, supplies and fans, and the host
    assert 0.5 * most_kw < value(made.power_kw) < most_kw


def test_a_server_draws_no_more_than_its_accelerators_at_their_limit() -> None:
    made = asked(load=1, concurrency=64, **CHAT)

    hardware = catalog.hardware("dgx-a100")
    overhead = hardware.accelerator_overhead_ratio
    assert overhead is not None
    most_w = hardware.host_w.high + overhead.high * 8 * hardware.accelerator_tdp_w.value
    assert made.power_kw.high < 1250 * most_w / 1000 * 1.01


def test_the_load_of_a_set_without_one_is_the_current_one() -> None:
    made = asked(factors="li-2023")

    used = catalog.factor_set(catalog.CURRENT_FACTORS).utilisation_ratio
    assert used is not None
    assert made.load_ratio == Bounds(low=used.low, value=used.value, high=used.high)
    assert any(step.name == "load_ratio" and "li-2023 has none" in step.source for step in made.steps)


def test_a_load_that_nobody_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = replace(catalog.factor_set("li-2023"), name="mine")
    silent = replace(catalog.factor_set(catalog.CURRENT_FACTORS), utilisation_ratio=None)
    asked_ = Fleet(factors=rules)
    monkeypatch.setattr(catalog, "factor_set", lambda name: silent)

    with pytest.raises(CatalogError, match=r"mine nor current.* give a load"):
        answer(asked_)


def test_at_load_0_nothing_is_served() -> None:
    made = asked(load=0, visits=10, requests_per_visit=2, **CHAT)

    assert value(made.requests) == 0
    assert made.per_request is None
    assert "nothing is served" in made.reasons["per_request"]
    assert made.asked_ratio is None
    assert "nothing is served" in made.reasons["asked_ratio"]


# --- what holds for all


@given(
    st.integers(min_value=1, max_value=5000),
    st.floats(min_value=0.1, max_value=10_000),
    st.sampled_from([SEED, "li-2023", catalog.CURRENT_FACTORS]),
    st.booleans(),
)
def test_amounts_are_linear_in_servers_and_hours(servers: int, hours: float, factors: str, named: bool) -> None:
    model = CHAT if named else {}
    one = asked(accelerators=8, hours=1, factors=factors, **model)
    many = asked(accelerators=8 * servers, hours=hours, factors=factors, **model)

    assert many.servers_count == servers
    assert value(many.power_kw) == pytest.approx(value(one.power_kw) * servers)
    for name in AMOUNTS[1:]:
        for side in ("low", "value", "high"):
            expected = getattr(getattr(one, name), side) * servers * hours
            assert getattr(getattr(many, name), side) == pytest.approx(expected, rel=1e-9)
    if many.requests is not None:
        assert value(many.requests) == pytest.approx(value(one.requests) * servers * hours)


@given(
    LOADS,
    LOADS,
    st.sampled_from([SEED, catalog.CURRENT_FACTORS]),
)
def test_more_load_never_draws_less_and_serves_no_less(first: float, second: float, factors: str) -> None:
    less, more = sorted((first, second))

    calm, busy = (asked(load=load, factors=factors, **CHAT) for load in (less, more))

    for name in (*AMOUNTS, "requests"):
        assert value(getattr(calm, name)) <= value(getattr(busy, name)) * (1 + 1e-12)


@given(
    LOADS,
    st.sampled_from(catalog.names("sites")),
    st.sampled_from(["include", "exclude"]),
)
def test_parts_add_up(load: float, site: str, hydro: Any) -> None:
    made = asked(load=load, site=site, hydro=hydro, visits=7, requests_per_visit=3, **CHAT)

    assert made.water_onsite_l.value + made.water_offsite_l.value == pytest.approx(made.water_l.value)
    assert made.per_visit is not None
    assert made.per_asked_request is not None
    assert value(made.per_visit.energy_wh) * 7 == pytest.approx(made.facility_energy_kwh.value * 1000)
    assert value(made.per_visit.water_ml) * 7 == pytest.approx(made.water_l.value * 1000)
    assert value(made.per_asked_request.carbon_g) * 21 == pytest.approx(made.carbon_kg.value * 1000)
    assert made.asked_requests == 21


@pytest.mark.parametrize(
    "given_",
    [
        {"factors": SEED},
        {},
        {"hardware": server(power_cap_exponent=None)},
        {**CHAT, "visits": 1e6, "requests_per_visit": 20, "hardware": server()},
        {**CHAT, "factors": "li-2023", "concurrency": 3},
        {**CHAT, "factors": SEED, "visits": 1e6},
    ],
)
def test_every_step_can_be_redone_from_its_own_line(given_: dict[str, Any]) -> None:
    import ast

    steps = asked(**given_).steps

    seen: dict[str, float] = {}
    for step in steps:
        assert all(seen[name] == put_in for name, put_in in step.inputs)
        if step.formula != "given":
            again = _value(ast.parse(step.formula, mode="eval").body, dict(step.inputs))
            assert step.value == pytest.approx(again, rel=1e-12), step
        else:
            assert step.source
        seen[step.name] = step.value
    for name in ("power_kw", "it_energy_kwh", "facility_energy_kwh", "water_l", "carbon_kg"):
        assert {name, f"{name}_low", f"{name}_high"} <= set(seen)


def test_visits_beyond_the_capacity_are_said() -> None:
    made = asked(accelerators=8, visits=1e9, requests_per_visit=20, **CHAT)

    assert value(made.asked_ratio) > 1
    assert any("times what the fleet serves" in note for note in made.notes)


def test_accelerators_come_in_whole_servers_and_whole_replicas() -> None:
    broken, wide = asked(accelerators=10_001), asked(accelerators=17, accelerators_per_replica=16, **CHAT)

    assert (broken.servers_count, broken.accelerators_count) == (1251, 10_008)
    assert any("10,001 accelerators are no whole servers: counted are 10,008 in 1,251" in note for note in broken.notes)
    assert (wide.servers_count, wide.fleet.deployment.replicas_count) == (4, 2)


def test_a_given_price_is_exact_and_in_its_currency() -> None:
    made = seed(price=150_000, currency="EUR")

    assert made.capital_cost == Bounds(low=187.5e6, value=187.5e6, high=187.5e6)
    assert "servers, EUR" in as_table(made)


def test_what_nobody_says_is_unknown_and_not_zero() -> None:
    bare = server(server_price_usd=None, accelerator_embodied_g=None)

    made = asked(hardware=bare)

    assert (made.capital_cost, made.embodied_kg, made.embodied_share_kg) == (None, None, None)
    assert "give one" in made.reasons["capital_cost"]
    assert "unknown embodied_kg, embodied_share_kg: no source" in as_table(made)
    assert as_json(made, steps=False)["capital_cost"] is None


def test_the_making_of_the_servers_and_the_part_of_a_month() -> None:
    """1,250 x (8 x 150 kg + 4,000 kg) = 6,500 t; of it 720 h of 1.5e8 s."""
    made = asked(hardware=server())

    assert made.embodied_kg is not None
    assert value(made.embodied_kg) == pytest.approx(6.5e6)
    assert (made.embodied_kg.low, made.embodied_kg.high) == pytest.approx((6e6, 8e6))
    assert value(made.embodied_share_kg) == pytest.approx(6.5e6 * 720 * 3600 / 1.5e8)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"accelerators": 0}, r"accelerators must be a whole number of at least 1, not 0"),
        ({"load": 1.5}, r"load must be at most 1, not 1\.5"),
        ({"load": -0.1}, r"load must be at least 0"),
        ({"hours": 0}, r"hours must be above 0"),
        ({"price": -1}, r"price must be at least 0"),
        ({"currency": " "}, r"currency must be a word"),
        ({"currency": "EUR"}, r"currency \(EUR\) is that of a price, and no price is given"),
        ({"concurrency": 8}, r"concurrency \(8\) says nothing without a model"),
        ({"output_tokens": 8}, r"output_tokens \(8\) says nothing without a model"),
        ({"model": "llama-3.1-8b", "input_tokens": 8}, r"output_tokens must be given with a model"),
        ({**CHAT, "output_tokens": 0}, r"output_tokens must be a whole number of at least 1"),
        ({**CHAT, "concurrency": 0.5}, r"concurrency must be at least 1"),
        ({**CHAT, "accelerators_per_replica": 0}, r"accelerators_per_replica must be"),
        ({**CHAT, "accelerators_per_replica": 3}, r"accelerators_per_replica \(3\) must divide the 8 of dgx-a100"),
        ({"visits": 0}, r"visits must be at least 1"),
        ({"requests_per_visit": 2}, r"requests_per_visit \(2\) says nothing without visits"),
        ({"visits": 2, "requests_per_visit": 0}, r"requests_per_visit must be above 0"),
        ({"factors": SEED, "hardware": "gb200-nvl72"}, r"servers of 8 accelerators at 6500 W, and gb200-nvl72 has"),
        ({"hardware": "dgx-a1000"}, r"'dgx-a1000' is not in the catalog of hardware; close or known: .*dgx-a100"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_with_value_and_remedy(given_: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, CatalogError), match=message):
        asked(**given_)


def test_a_set_that_counts_nothing_per_request_is_refused() -> None:
    free: FactorSet = replace(catalog.factor_set("li-2023"), flat_it_j_per_request=figure(4, unit="J", low=0))

    with pytest.raises(ValueError, match="requests without end"):
        asked(factors=free)


# --- the claims


@pytest.mark.parametrize("name", catalog.names("claims"))
def test_every_claim_says_what_the_article_and_what_the_evidence_says(name: str) -> None:
    claim = catalog.claim(name)

    assert claim.name == name
    assert claim.says
    assert claim.primary
    assert claim.figure.source


def test_a_claim_has_the_unit_of_its_name() -> None:
    table = {"value": 1.0, "low": 1.0, "high": 1.0, "unit": "US gal", "source": "a paper", "checked": "2026-11-25"}
    table |= {"confidence": "reported"}
    words = {"says": "so", "primary": "not so", "figure": table}

    assert decode(Claim, {"name": "spilt_l", **words}, at="claims.spilt_l").figure.value == US_GALLON_L
    with pytest.raises(CatalogError, match="'US gal' is not one of"):
        decode(Claim, {"name": "spilt_kwh", **words}, at="claims.spilt_kwh")
    with pytest.raises(CatalogError, match="'zzz' is not in the catalog of claims"):
        catalog.claim("zzz")


# --- printed and drawn


def test_the_table_shows_no_more_digits_than_the_interval_deserves() -> None:
    lines = {line.partition("  ")[0]: line for line in as_table(seed()).splitlines()}

    assert lines["IT power, kW"].split() == ["IT", "power,", "kW", "8,125"]
    assert lines["water on-site, L"].endswith(" 22,144,659")
    assert "248,750,000  (248,750,000 to 250,000,000)" in re.sub(r"  +", "  ", lines["servers, USD"])


def test_json_has_the_articles_keys_with_their_ranges() -> None:
    made = asked(**CHAT, visits=5, hardware=server())

    document = json.loads(json.dumps(as_json(made, steps=True)))

    for name in (*AMOUNTS, "capital_cost", "requests", "embodied_kg"):
        low, high = document[f"{name}_range"]
        assert low <= document[name] <= high
    assert document["factors_hash"] == catalog.factor_set(catalog.CURRENT_FACTORS).document_hash
    assert document["hydro"] == "include"
    assert document["wue_basis"] == "consumption"
    assert document["per_visit"]["water_ml"] == pytest.approx(document["water_l"] * 1000 / 5)
    assert document["replicas"] * document["accelerators_per_replica"] == 10_000
    assert document["derivation"][-1]["name"] == made.steps[-1].name
    assert "derivation" not in as_json(made, steps=False)


def test_steps_are_printed_under_headings() -> None:
    printed = as_steps(seed(**CHAT, visits=5))

    for heading in (
        "The model",
        "The fleet",
        "Energy",
        "The place",
        "The interval",
        "What the fleet can serve",
        "The visits",
    ):
        assert f"\n{heading}\n" in printed
    assert "fleet_w = load_ratio * server_w * servers_count\n      = 1 * 6500 * 1250" in printed


def test_bars_show_one_fleet_under_three_factor_sets() -> None:
    energy, water = as_bars(seed()).panels

    assert [bar.label.partition(",")[0] for bar in water.bars] == [SEED, "li-2023", catalog.CURRENT_FACTORS]
    assert energy.bars[0].value == pytest.approx(5850)
    assert water.bars[0].value == pytest.approx(22_144.659, abs=0.01)


def test_bars_say_why_a_set_has_none() -> None:
    wide = as_bars(asked(hardware="gb200-nvl72", factors=replace(catalog.factor_set("li-2023"), name="mine")))
    unpublished: Site = replace(catalog.site("us-average"), wue_method="tower", tower=catalog.tower("tower-modern"))
    modelled = as_bars(asked(site=unpublished))

    assert wide.panels[0].bars[0].label.startswith("mine, load ")
    assert "servers of 8 accelerators" in wide.panels[0].bars[1].reason
    assert modelled.panels[1].bars[1].reason == "the site publishes no WUE"


# --- the command


def test_the_articles_command() -> None:
    done = run("fleet", "--accelerators", "10000", "--hardware", "dgx-a100", "--factors", SEED)

    assert done.returncode == 0, done.stderr
    for words in (
        "1,250 servers dgx-a100",
        "22,144,659",
        "248,750,000",
        "5,850,000",
        "training GPT-3 is given as 700,000 L",
    ):
        assert words in done.stdout


def test_the_command_as_json_and_with_a_plot(tmp_path: Path) -> None:
    plot = tmp_path / "fleet.html"

    done = run("fleet", "--factors", SEED, "--json", "--steps", "--plot", str(plot))

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["power_kw"], document["currency"]) == (8125, "USD")
    assert document["derivation"]
    assert "li-2023" in plot.read_text(encoding="utf-8")


def test_the_command_prints_steps() -> None:
    done = run("fleet", "--model", "llama-3.1-70b", "--input", "800", "--output", "300", "--steps")

    assert done.returncode == 0, done.stderr
    assert "capacity_requests_count = replicas_count" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--load", "2"), "--load must be at most 1, not 2"),
        (("--model", "llama-3.1-70b", "--input", "3"), "--output must be given with a model"),
        (("--requests-per-visit", "3"), "--requests-per-visit (3) says nothing without visits"),
        (("--hardware", "dgx-a1000"), "'dgx-a1000' is not in the catalog"),
        (("--plot", "fleet.gif"), "must end in .svg, .html"),
    ],
)
def test_the_command_refuses_with_value_and_remedy(arguments: tuple[str, ...], words: str) -> None:
    done = run("fleet", *arguments)

    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""


def test_help_has_examples() -> None:
    done = run("fleet", "--help")

    assert done.returncode == 0
    assert "headwater fleet --accelerators 10000 --hardware dgx-a100 --factors seed-2023" in done.stdout


def test_hours_beyond_a_servers_life_are_said_to_count_its_making_again() -> None:
    assert any("longer than servers are kept" in note for note in asked(hours=270_000).notes)
    assert not any("longer than servers are kept" in note for note in asked().notes)
