"""Costs: exact, the same in any order and any split, by the tariff of the day, and never out of a float."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog, config, money
from headwater.errors import ConfigError
from headwater.meter import Meter
from headwater.physics import Profile
from headwater.records import (
    Amounts,
    Charge,
    Cost,
    Deployment,
    Footprint,
    Observation,
    Tariff,
    Usage,
    added,
)
from headwater.tariffs import NO_DOCUMENT, Pricing, Served, cost, in_force, tariffs
from headwater.units import MICROJOULES_PER_KWH, NANOLITRES_PER_M3
from tests.ledger.support import charge
from tests.places import figure, shares, tower

PRICES = st.decimals(0, 10**6, allow_nan=False, allow_infinity=False, places=12)
INTEGERS = st.integers(0, 2**62)
LIFE_S = 150_000_000
EUR = Tariff(
    valid_from=date(2026, 11, 1),
    currency="EUR",
    electricity_per_kwh=Decimal("0.21"),
    water_per_m3=Decimal("3.2"),
    servers={"hgx-h100": Decimal(250_000)},
)


@lru_cache
def deployment(*, wue_basis: Any = "withdrawal") -> Deployment:
    """A deployment whose figures are round, and not the catalog's."""
    site = replace(
        catalog.site("azure-westus3"),
        wue_l_per_it_kwh=figure(0.5, unit="L/kWh"),
        wue_basis=wue_basis,
        wue_method="reported",
    )
    made = catalog.deployment(model="llama-3.1-70b", hardware="hgx-h100", engine="vllm-0.11", site=site)
    return replace(
        made,
        hardware=replace(made.hardware, lifetime_s=figure(LIFE_S, unit="s")),
        factors=replace(made.factors, utilisation_ratio=figure(0.6), consumed_ratio=figure(0.8)),
    )


def amounts(**known: int) -> Amounts:
    return Amounts(**{**dict.fromkeys((field.name for field in fields(Amounts)), 0), **known})


def at(moment: str) -> int:
    return round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)


def hours(count: float, **changes: Any) -> Charge:
    """A charge of one kilowatt-hour at the facility, that had the server for so many hours among ten."""
    return charge(
        usage=Usage(input_tokens=1000, output_tokens=100_000, source="upstream"),
        observation=Observation(elapsed_s=count * 3600, concurrency_count=10),
        amounts=amounts(
            energy_microjoules=MICROJOULES_PER_KWH,
            it_microjoules=MICROJOULES_PER_KWH * 4 // 5,
            onsite_nanolitres=NANOLITRES_PER_M3 // 4,
            offsite_nanolitres=NANOLITRES_PER_M3 * 9,
        ),
        **changes,
    )


def settings(*given: dict[str, Any]) -> config.Settings:
    return config.load({"tariff": list(given)}, environment={})


def totals(costs: Iterable[Cost]) -> tuple[Fraction | None, ...]:
    made = list(costs)
    return tuple(added(dict(each.parts)[name].amount for each in made) for name in ("electricity", "water", "server"))


def test_a_kilowatt_hour_costs_its_price_and_so_do_the_water_taken_and_the_time_had() -> None:
    made = hours(1)
    footprint = Profile(deployment()).estimate(made.usage, made.observation)
    assert isinstance(footprint, Footprint)
    assert footprint.server_s is not None

    found = cost(EUR, made, Served(deployment()))

    assert found.electricity.amount == Fraction("0.21")
    # Four fifths of a kWh of IT energy, half a litre taken for each.
    assert found.water.amount == Fraction("3.2") * Fraction("0.0004")
    whole_us = round(footprint.server_s * 1e6)
    assert found.server.amount == Fraction(250_000 * whole_us, 10**6) / (LIFE_S * Fraction("0.6"))
    assert found.server.amount == pytest.approx(250_000 * 360 / (LIFE_S * 0.6), rel=1e-9)
    assert found.total == found.electricity.amount + found.water.amount + found.server.amount
    assert (found.currency, found.valid_from, found.lacks) == ("EUR", date(2026, 11, 1), ())


def test_without_a_known_withdrawal_the_water_consumed_at_the_site_is_what_costs() -> None:
    found = cost(EUR, hours(1), Served(deployment(wue_basis="consumption")))

    assert found.water.amount == Fraction("3.2") / 4
    assert (found.water.basis, found.water.unit) == ("consumption", "m3")
    assert cost(EUR, hours(1), Served(deployment())).water.basis == "withdrawal"


def test_what_power_stations_evaporate_costs_the_operator_nothing() -> None:
    served, dry = Served(deployment()), hours(1)
    assert dry.amounts is not None

    wet = replace(dry, amounts=replace(dry.amounts, offsite_nanolitres=dry.amounts.offsite_nanolitres * 1000))

    assert cost(EUR, wet, served) == cost(EUR, dry, served)


@pytest.mark.parametrize(
    ("changes", "part", "words"),
    [
        ({"electricity_per_kwh": None}, "electricity", "the tariff has no electricity_per_kwh"),
        ({"water_per_m3": None}, "water", "the tariff has no water_per_m3"),
        ({"servers": {"dgx-a100": Decimal(1)}}, "server", "the tariff's servers do not name hgx-h100"),
    ],
)
def test_a_price_that_is_not_given_leaves_its_part_unknown_and_the_total_says_so(
    changes: dict[str, Any], part: str, words: str
) -> None:
    found = cost(replace(EUR, **changes), hours(1), Served(deployment()))

    assert dict(found.parts)[part].amount is None  # type: ignore[index]
    assert dict(found.parts)[part].reason == words  # type: ignore[index]
    assert found.lacks == (part,)
    assert found.total == added(each.amount for name, each in found.parts if name != part)


def test_a_price_of_nothing_is_a_price() -> None:
    found = cost(replace(EUR, water_per_m3=Decimal(0)), hours(1), Served(deployment()))

    assert found.water.amount == 0
    assert found.lacks == ()


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (replace(deployment(), hardware=replace(deployment().hardware, lifetime_s=None)), "lifetime of hgx-h100"),
        (replace(deployment(), factors=replace(deployment().factors, utilisation_ratio=None)), "of its life"),
        (
            replace(
                deployment(),
                factors=replace(catalog.factor_set("seed-2023"), utilisation_ratio=figure(0.6)),
            ),
            "time on the server is not known",
        ),
        (None, NO_DOCUMENT),
    ],
)
def test_a_server_of_which_not_enough_is_known_has_no_cost_but_a_reason(served: Deployment | None, words: str) -> None:
    found = cost(EUR, hours(1), Served(served) if served is not None else None)

    assert found.server.amount is None
    assert words in found.server.reason
    assert found.lacks == ("server",)
    assert found.total is not None


def test_without_the_deployment_the_water_is_what_the_ledger_has() -> None:
    assert cost(EUR, hours(1), None).water.basis == "consumption"


def test_a_charge_without_a_footprint_costs_nobody_knows_what() -> None:
    found = cost(EUR, charge(amounts=None, reason="model-not-in-catalog"), Served(deployment()))

    assert found.total is None
    assert found.lacks == ("electricity", "water", "server")
    assert found.water.reason == "there is no footprint: model-not-in-catalog"


def test_the_water_of_an_hour_costs_by_its_wet_bulb_temperature() -> None:
    site = replace(
        deployment().site,
        wue_method="tower",
        tower=tower(evaporated=shares((0.0, 0.5), (30.0, 0.9))),
        wue_l_per_it_kwh=None,
    )
    served = Served(replace(deployment(), site=site))

    cool, warm = (
        cost(EUR, replace(hours(1), observation=Observation(wet_bulb_c=wet_bulb_c)), served).water
        for wet_bulb_c in (5.0, 25.0)
    )

    assert cool.basis == warm.basis == "withdrawal"
    assert (cool.amount or 0) < (warm.amount or 0)


_parts = st.lists(
    st.tuples(
        INTEGERS, INTEGERS, INTEGERS, st.floats(0, 1e6), st.sampled_from(["2026-10-31", "2026-11-30T23:59:59.999"])
    ),
    min_size=1,
    max_size=12,
)


def _charges(drawn: Iterable[tuple[int, int, int, float, str]]) -> list[Charge]:
    return [
        charge(
            observation=Observation(elapsed_s=elapsed_s, concurrency_count=7.0),
            ended_ms=at(moment),
            amounts=amounts(energy_microjoules=energy, it_microjoules=it, onsite_nanolitres=water),
        )
        for energy, it, water, elapsed_s, moment in drawn
    ]


@given(_parts, PRICES, PRICES, PRICES, st.randoms(use_true_random=False), st.integers(0, 12))
def test_any_order_and_any_split_of_charges_costs_the_same(
    drawn: list[tuple[int, int, int, float, str]],
    per_kwh: Decimal,
    per_m3: Decimal,
    server: Decimal,
    chance: random.Random,
    cut: int,
) -> None:
    prices = (
        replace(EUR, valid_from=None, electricity_per_kwh=per_kwh, water_per_m3=per_m3, servers={"hgx-h100": server}),
        replace(EUR, electricity_per_kwh=per_m3, water_per_m3=per_kwh),
    )
    served = Served(deployment())
    charges = _charges(drawn)
    costs = []
    for each in charges:
        tariff = in_force(prices, each.ended_ms)
        assert tariff is not None
        costs.append(cost(tariff, each, served))
    whole = totals(costs)
    shuffled = list(costs)
    chance.shuffle(shuffled)

    halves = totals(shuffled[:cut]), totals(shuffled[cut:])

    assert tuple(map(added, zip(*halves, strict=True))) == whole
    assert added(each.total for each in costs) == added(whole)


@given(INTEGERS, INTEGERS, INTEGERS, st.integers(0, 2**62), PRICES)
def test_two_parts_of_a_charge_cost_what_it_costs_whole(
    energy: int, it: int, water: int, cut: int, price: Decimal
) -> None:
    tariff = replace(EUR, electricity_per_kwh=price, water_per_m3=price)
    served = Served(deployment())

    def of(energy: int, it: int, water: int) -> Fraction:
        had = amounts(energy_microjoules=energy, it_microjoules=it, onsite_nanolitres=water)
        made = cost(tariff, charge(amounts=had), served)
        assert made.electricity.amount is not None
        assert made.water.amount is not None
        return made.electricity.amount + made.water.amount

    pieces = [min(cut, each) for each in (energy, it, water)]
    rest = [each - piece for each, piece in zip((energy, it, water), pieces, strict=True)]

    assert of(*pieces) + of(*rest) == of(energy, it, water)


@given(st.lists(st.tuples(INTEGERS, PRICES), min_size=1, max_size=9))
def test_what_is_shown_adds_up_as_it_is_shown(drawn: list[tuple[int, Decimal]]) -> None:
    for energy, price in drawn:
        tariff = replace(EUR, electricity_per_kwh=price, water_per_m3=price / 3)
        had = amounts(energy_microjoules=energy, it_microjoules=energy // 3)
        shown = money.as_json(cost(tariff, charge(amounts=had), Served(deployment())))

        parts = [Fraction(shown[name]) for name in ("electricity", "water", "server")]
        assert Fraction(shown["total"]) == sum(parts)
        assert abs(parts[0] - Fraction(energy, MICROJOULES_PER_KWH) * Fraction(price)) <= Fraction(
            1, 2 * 10**money.PLACES
        )


def test_a_price_of_many_digits_loses_none() -> None:
    made = settings({"currency": "EUR", "electricity_per_kwh": "0.123456789012345678"})
    found = cost(tariffs(made)[0], hours(1), None)

    assert money.as_json(found)["electricity"] == "0.123456789012345678"


def test_large_amounts_lose_no_digit_either() -> None:
    """More digits than decimals keep by themselves."""
    tariff = replace(EUR, electricity_per_kwh=Decimal("123456789012.345678"))
    year = charge(amounts=amounts(energy_microjoules=2**62 // 9 * 9))

    shown = money.as_json(cost(tariff, year, None))["electricity"]

    assert Fraction(shown) == pytest.approx(
        Fraction("123456789012.345678") * (2**62 // 9 * 9) / MICROJOULES_PER_KWH, abs=1e-17
    )
    assert len(shown) > 30


@pytest.mark.parametrize(
    ("moment", "price"),
    [
        ("2026-10-31T23:59:59.999", "0.20"),
        ("2026-11-01T00:00:00.000", "0.30"),
        ("2026-11-30T23:59:59.999", "0.30"),
        ("2026-12-01T00:00:00.000", "0.40"),
        ("2030-01-01T00:00:00.000", "0.40"),
    ],
)
def test_the_day_in_utc_on_which_it_ended_decides_the_tariff(moment: str, price: str) -> None:
    pricing = Pricing(
        settings(
            {"currency": "EUR", "electricity_per_kwh": "0.40", "valid_from": "2026-12-01"},
            {"currency": "EUR", "electricity_per_kwh": "0.20"},
            {"currency": "EUR", "electricity_per_kwh": "0.30", "valid_from": date(2026, 11, 1)},
        )
    )

    found = pricing.cost(hours(1, started_ms=at("2026-10-31"), ended_ms=at(moment)), None)

    assert found is not None
    assert found.electricity.amount == Fraction(price)


def test_before_the_first_tariff_there_is_none_and_the_reason_names_its_day() -> None:
    pricing = Pricing(settings({"currency": "EUR", "electricity_per_kwh": 0.3, "valid_from": date(2026, 11, 1)}))

    found = pricing.cost(hours(1, ended_ms=at("2026-10-31T23:59:59.999")), None)

    assert found is not None
    assert (found.currency, found.valid_from, found.total) == ("EUR", None, None)
    assert found.electricity.reason == "no tariff was in force yet: the first is valid from 2026-11-01 on"


def test_without_a_tariff_nothing_has_a_cost() -> None:
    pricing = Pricing(settings())

    assert not pricing
    assert pricing.currency == ""
    assert pricing.cost(hours(1), None) is None


def test_the_stored_deployment_is_what_a_charge_is_priced_on() -> None:
    document = catalog.deployment_document(deployment())
    pricing = Pricing(settings({"currency": "EUR", "water_per_m3": "3.2", "servers": {"hgx-h100": 250_000}}))

    found = [pricing.cost(hours(1), document) for _ in range(2)]

    assert (
        found[0]
        == found[1]
        == cost(replace(EUR, valid_from=None, electricity_per_kwh=None), hours(1), Served(deployment()))
    )


def test_a_deployment_that_this_version_cannot_read_leaves_what_the_ledger_itself_knows() -> None:
    pricing = Pricing(settings({"currency": "EUR", "electricity_per_kwh": "0.21", "servers": {"hgx-h100": 1}}))

    found = pricing.cost(hours(1), '{"of": "another version"}')

    assert found is not None
    assert (found.electricity.amount, found.server.reason) == (Fraction("0.21"), NO_DOCUMENT)


def test_a_number_of_the_settings_is_the_decimal_that_was_written() -> None:
    (made,) = tariffs(settings({"currency": "EUR", "electricity_per_kwh": 0.1, "water_per_m3": 3}))

    assert (made.electricity_per_kwh, made.water_per_m3) == (Decimal("0.1"), Decimal(3))


def test_one_tariff_may_be_a_plain_table(tmp_path: Path) -> None:
    path = tmp_path / "headwater.toml"
    path.write_text('[tariff]\ncurrency = "EUR"\nwater_per_m3 = 3.2\n[tariff.servers]\nhgx-h100 = 250000\n')

    (made,) = tariffs(config.load(path, environment={}))

    assert (made.water_per_m3, made.servers) == (Decimal("3.2"), {"hgx-h100": Decimal(250_000)})


BAD = [
    ("electricity_per_kwh = -0.1", "line 4, [[tariff]] number 1, electricity_per_kwh", "at least 0", "-0.1"),
    ("water_per_m3 = nan", "line 4, [[tariff]] number 1, water_per_m3", "must be a number", "nan"),
    ('water_per_m3 = "Infinity"', "line 4", "must be a number", "'Infinity'"),
    ('water_per_m3 = "3,20"', "line 4", 'like 0.21 or "0.21"', "'3,20'"),
    ("water_per_m3 = true", "line 4", "must be a number", "True"),
    ("water_per_m3 = 0.12345678901234568", "line 4", "write it as a text", "0.12345678901234568"),
    ('water_per_m3 = "1e99"', "line 4", "at most 18", "'1e99'"),
    ('water_per_m3 = "1e-99"', "line 4", "at most 18", "'1e-99'"),
    ("servers = { hgx-h100 = -1 }", "line 4, [[tariff]] number 1, servers, hgx-h100", "at least 0", "-1"),
    ("servers = { hgx-h1000 = 1 }", "line 4, [[tariff]] number 1, servers, hgx-h1000", "hgx-h100", "'hgx-h1000'"),
    ("valid_from = 20261101", "line 4, [[tariff]] number 1, valid_from", "like 2026-11-01", "20261101"),
    ('valid_from = "2026-02-30"', "line 4", "like 2026-11-01", "'2026-02-30'"),
    ("valid_from = 2026-11-01T05:00:00Z", "line 4", "must be a day", "05:00"),
    ("electricty_per_kwh = 1", "line 4", "did you mean 'electricity_per_kwh'", "electricty_per_kwh"),
    ('[[tariff]]\ncurrency = "EUR"', "line 4, [[tariff]] number 2", "more than once", "from the beginning"),
    (
        '[[tariff]]\ncurrency = "USD"\nvalid_from = 2026-11-01',
        "line 5, [[tariff]] number 2, currency",
        "one currency",
        "USD",
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=[each[0] for each in BAD])
def test_a_bad_tariff_stops_the_start_with_file_line_value_and_remedy(bad: tuple[str, ...], tmp_path: Path) -> None:
    line, *words = bad
    path = tmp_path / "headwater.toml"
    path.write_text(f'# prices\n[[tariff]]\ncurrency = "EUR"\n{line}\n[ledger]\ndata_dir = "{tmp_path}"\n')

    with pytest.raises(ConfigError) as caught:
        Meter(config.load(path, environment={}))

    assert str(path) in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("currency", ["eur", "EURO", "", "\u20ac", 978])
def test_a_currency_is_a_code_in_capitals(currency: object) -> None:
    with pytest.raises(ConfigError, match="three capital letters, like EUR"):
        settings({"currency": currency})


def test_two_tariffs_of_one_day_are_told_apart_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "headwater.toml"
    day = '[[tariff]]\ncurrency = "EUR"\nvalid_from = 2026-11-01\n'
    path.write_text(day * 2)

    with pytest.raises(
        ConfigError, match=r"line 6, \[\[tariff\]\] number 2, valid_from: .*2026-11-01 is there more than once"
    ):
        config.load(path, environment={})


def test_the_places_of_a_plain_table_are_found(tmp_path: Path) -> None:
    path = tmp_path / "headwater.toml"
    path.write_text('[tariff]\ncurrency = "EUR"\nwater_per_m3 = -1\n')

    with pytest.raises(ConfigError, match=r"line 3, .*water_per_m3"):
        config.load(path, environment={})


def test_a_receipts_cost_shows_how_each_part_was_made() -> None:
    shown = money.as_json(cost(EUR, hours(1), Served(deployment())))

    assert shown["currency"] == "EUR"
    assert shown["valid_from"] == "2026-11-01"
    assert shown["parts"][0] == {"part": "electricity", "quantity": "1", "unit": "kWh", "price": "0.21"}
    assert shown["parts"][1] == {
        "part": "water",
        "quantity": "0.0004",
        "unit": "m3",
        "basis": "withdrawal",
        "price": "3.2",
    }
    assert shown["parts"][2]["unit"] == "server lives"
    assert Fraction(shown["parts"][2]["quantity"]) == pytest.approx(360 / (LIFE_S * 0.6), rel=1e-6)
    lines = list(money.as_lines(shown))
    assert lines[1] == "    electricity 0.21 EUR = 1 kWh * 0.21 EUR"
    assert lines[2] == "    water       0.00128 EUR = 0.0004 m3 withdrawn at the site * 3.2 EUR"
    assert lines[0].endswith(" EUR; by the tariff from 2026-11-01 on")


def test_the_lines_say_what_is_lacking_and_why() -> None:
    no_water = replace(EUR, valid_from=None, water_per_m3=None, servers={})

    lines = list(money.as_lines(money.as_json(cost(no_water, hours(1), Served(deployment())))))
    unknown = list(money.as_lines(money.as_json(cost(EUR, charge(amounts=None, reason="x"), None))))

    assert lines[0] == "  cost        0.21 EUR, without water and server; by the tariff"
    assert lines[2] == "    water       unknown: the tariff has no water_per_m3"
    assert unknown[0] == "  cost        unknown"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [("0", "0"), ("1200", "1200"), ("0.0000241", "0.0000241"), ("1/3", "0.333333333333333333"), ("1e-19", "0")],
)
def test_amounts_are_shown_as_plain_decimals(amount: str, shown: str) -> None:
    assert money.text(Fraction(amount)) == shown
