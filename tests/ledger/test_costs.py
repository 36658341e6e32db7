"""What accounts cost: every charge by the tariff of its day, added up exactly, and never short of a charge without a word."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater import catalog, config, money
from headwater.errors import LedgerError
from headwater.ledger import schema
from headwater.ledger.reader import Reader
from headwater.ledger.redis import Store
from headwater.records import Charge, Observation, added
from headwater.reports import Costs, Statement, as_csv, as_json, as_table, costs, statement
from headwater.reports.costs import summed
from headwater.tariffs import NO_DOCUMENT, Pricing
from tests.ledger.strategies import charges
from tests.ledger.support import ADA, BOB, KEY, MONTH, NOV_23_MS, Server, charge, ship, write
from tests.test_tariffs import amounts, deployment

DAY_MS = 86_400_000
DEAR_MS = NOV_23_MS + DAY_MS // 2  # 2026-11-24 00:00 UTC
KWH = 3_600_000_000_000
DOCUMENT = catalog.deployment_document(deployment())
CHEAP: dict[str, Any] = {
    "currency": "EUR",
    "electricity_per_kwh": "0.2",
    "water_per_m3": "3",
    "servers": {"hgx-h100": "250000"},
}
DEAR = {**CHEAP, "valid_from": "2026-11-24", "electricity_per_kwh": "0.3"}
Add = Callable[..., Reader]


@pytest.fixture
def add(server: Server, tmp_path: Path) -> Iterator[Add]:
    """Puts charges into the store, one journal a call; gives a reader."""
    store = Store(server.url)
    store.check(KEY)
    numbers = itertools.count()

    def put(*some: Charge) -> Reader:
        # A test may have emptied the store.
        store.check(KEY)
        store.keep_document("5f0c", DOCUMENT)
        journal = write(tmp_path, some, journal_id=f"j{next(numbers)}")
        ship(journal, store)
        journal.close(durable_to=journal.position())
        return Reader(store)

    yield put
    store.close()


def pricing(*tariffs: dict[str, Any]) -> Pricing:
    return Pricing(config.load({"tariff": list(tariffs or (CHEAP, DEAR))}, environment={}))


def kwh(number: int, count: int = 1, **changes: Any) -> Charge:
    """A charge of so many whole kilowatt-hours."""
    had = amounts(energy_microjoules=count * KWH, it_microjoules=count * KWH // 2, onsite_nanolitres=10**9)
    return charge(number, **{"amounts": had, **changes})


def priced(reader: Reader, given: Pricing) -> tuple[Statement, Costs]:
    made = statement(reader, MONTH)
    return made, costs(reader, made, given)


def rows(text: str) -> dict[str, dict[str, str]]:
    return {row["user"]: row for row in csv.DictReader(io.StringIO(text))}


def test_each_charge_costs_by_the_tariff_of_its_day_and_accounts_and_total_add_up(add: Add) -> None:
    reader = add(
        kwh(1, 2, ended_ms=DEAR_MS - 1),
        kwh(2, 5, ended_ms=DEAR_MS),
        kwh(3, 1, user=BOB, ended_ms=DEAR_MS),
    )

    made, found = priced(reader, pricing())

    assert found.reason == ""
    assert found.bills[ADA].electricity == Fraction("0.2") * 2 + Fraction("0.3") * 5
    assert found.bills[BOB].electricity == Fraction("0.3")
    # Half a litre is taken for each kWh of IT energy, half of all.
    assert found.bills[ADA].water == Fraction(3 * 7, 4 * 1000)
    assert found.total.electricity == Fraction("2.2")
    assert found.total.total == added(bill.total for bill in found.bills.values())
    from_csv, from_json = rows(as_csv(made, found)), json.loads(as_json(made, found))
    assert from_csv[ADA]["cost_electricity"] == "1.9"
    assert from_csv[ADA]["currency"] == from_json["total"]["currency"] == "EUR"
    for name in ("cost_electricity", "cost_water", "cost_server", "cost_total"):
        assert Fraction(from_json["total"][name]) == sum(Fraction(row[name]) for row in from_csv.values())
        assert [row[name] for row in from_json["rows"]] == [from_csv[row.user][name] for row in made.rows]
    for row in from_csv.values():
        parts = sum(Fraction(row[f"cost_{part}"]) for part in ("electricity", "water", "server"))
        assert Fraction(row["cost_total"]) == parts


def test_a_row_is_the_sum_of_its_receipts(add: Add) -> None:
    some = [
        kwh(number, 1, observation=Observation(elapsed_s=number / 7, concurrency_count=3.0)) for number in range(1, 9)
    ]
    given_prices = pricing()

    _, found = priced(add(*some), given_prices)

    receipts = [given_prices.cost(each, DOCUMENT) for each in some]
    for name in ("electricity", "water", "server"):
        exact = added(dict(cost.parts)[name].amount for cost in receipts if cost is not None)
        assert exact
        assert getattr(found.bills[ADA], name) == money.rounded(exact)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some=st.lists(
        charges(amounts=st.integers(0, 2**40), times_ms=st.integers(NOV_23_MS, NOV_23_MS + 2 * DAY_MS)),
        max_size=12,
        unique_by=lambda each: each.request_id,
    ),
    chance=st.randoms(use_true_random=False),
)
def test_the_order_in_which_charges_came_costs_nothing(
    server: Server, add: Add, some: list[Charge], chance: Any
) -> None:
    found = []
    for _ in range(2):
        server.command("FLUSHALL")
        found.append(priced(add(*some), pricing()))
        chance.shuffle(some)

    (_, first), (_, second) = found
    assert (first.bills, first.total, set(first.missing)) == (second.bills, second.total, set(second.missing))
    known = [each for each in some if each.amounts is not None]
    assert added(bill.electricity for bill in first.bills.values()) is not None or not known


def test_requests_without_a_footprint_cost_nothing_and_are_said_to(add: Add) -> None:
    unknown = {"amounts": None, "method": None, "reason": "model-not-in-catalog"}
    reader = add(kwh(1), charge(2, **unknown), charge(3, user=BOB, **unknown))

    made, found = priced(reader, pricing())

    assert found.total.electricity == Fraction("0.2")
    assert found.bills[BOB].total is None
    text = as_table(made, found)
    assert "2 of 3 requests have no footprint: they are in no sum of energy, water, carbon and cost." in text
    assert next(line for line in text.splitlines() if line.startswith(BOB)).endswith("unknown")
    assert rows(as_csv(made, found))[BOB]["cost_total"] == ""


def test_what_has_no_price_is_in_no_sum_and_the_statement_says_of_how_many_requests(add: Add) -> None:
    no_server = {**DEAR, "servers": {}}
    reader = add(kwh(1), kwh(2, ended_ms=DEAR_MS, deployment_hash=""), kwh(3, ended_ms=DEAR_MS))

    made, found = priced(reader, pricing(no_server))

    text = as_table(made, found)
    assert (
        "1 of 3 requests have no cost of electricity, water and server: no tariff was in force yet: "
        "the first is valid from 2026-11-24 on." in text
    )
    assert "1 of 3 requests have no cost of server: the tariff's servers do not name hgx-h100." in text
    assert f"1 of 3 requests have no cost of server: {NO_DOCUMENT}." in text
    document = json.loads(as_json(made, found))
    assert document["cost"]["currency"] == "EUR"
    assert {"parts": ["server"], "requests": 1, "reason": NO_DOCUMENT} in document["cost"]["missing"]
    assert document["total"]["cost_server"] is None
    assert document["total"]["cost_electricity"] == document["rows"][0]["cost_electricity"] == "0.6"


def test_charges_that_are_no_longer_kept_leave_the_statement_without_costs_and_with_the_reason(
    add: Add, server: Server
) -> None:
    reader = add(kwh(1), kwh(2))
    server.command("XTRIM", schema.stream_key(0), "MAXLEN", "1")

    made, found = priced(reader, pricing())

    assert "1 of 2 requests are no longer kept one by one" in found.reason
    assert made.total.requests_count == 2
    text = as_table(made, found)
    assert "cost EUR" not in text
    assert "Without costs: 2026-11: 1 of 2 requests are no longer kept" in text
    assert rows(as_csv(made, found))[ADA]["cost_total"] == ""
    document = json.loads(as_json(made, found))
    assert document["rows"][0]["cost_total"] is None
    assert "no longer kept" in document["cost"]["reason"]


def test_what_is_charged_after_the_statement_was_read_is_not_in_its_costs(add: Add) -> None:
    reader = add(kwh(1))
    made = statement(reader, MONTH)
    add(kwh(2, 50), kwh(3, 50, user=BOB))

    found = costs(reader, made, pricing())

    assert found.reason == ""
    assert found.total.electricity == Fraction("0.2")


@pytest.mark.parametrize("change", [{"energy_microjoules": 1}, None])
def test_charges_that_are_not_the_accounts_are_refused_with_both_figures(
    add: Add, change: dict[str, int] | None
) -> None:
    reader = add(kwh(1))
    made = statement(reader, MONTH)
    other = [] if change is None else [kwh(1, amounts=amounts(**change))]

    with pytest.raises(
        LedgerError, match=f"the single charges of {ADA} have . energy_microjoules in . requests"
    ) as caught:
        summed(other, made, pricing(), lambda _: None)
    assert f"the account has {KWH} in 1" in str(caught.value)


def test_a_month_without_requests_costs_nothing(add: Add) -> None:
    reader = add(kwh(1))
    made = statement(reader, "2026-10")

    found = costs(reader, made, pricing())

    assert as_table(made, found).splitlines()[-1].split()[-1] == "0"
    assert as_csv(made, found).count("\n") == 1
    assert json.loads(as_json(made, found))["total"]["cost_total"] == "0"


def test_the_table_has_one_column_of_money_with_cents_at_least(add: Add) -> None:
    reader = add(kwh(1, 123_456), kwh(2, 0, user=BOB, observation=Observation()))
    made, found = priced(reader, pricing({"currency": "EUR", "electricity_per_kwh": "0.21"}))

    head, _, ada, bob, _, total = as_table(made, found).splitlines()[2:8]

    assert head.endswith("cost EUR")
    assert ada.endswith("25,925.76")
    assert bob.endswith("  0")
    assert total.endswith("25,925.76")


def test_without_costs_a_statement_is_as_it_was(add: Add) -> None:
    made = statement(add(kwh(1)), MONTH)

    assert "cost" not in as_table(made)
    assert "cost" not in as_csv(made)
    assert "currency" not in as_json(made)


def test_documents_are_read_once_each(add: Add) -> None:
    asked: list[str] = []

    class Asked(Reader):
        def document(self, document_hash: str) -> str | None:
            asked.append(document_hash)
            return super().document(document_hash)

    reader = add(kwh(1), kwh(2), replace(kwh(3), deployment_hash="none"))
    watched = Asked(reader._books.store)

    made = statement(reader, MONTH)

    costs(watched, made, pricing())

    assert sorted(asked) == ["5f0c", "none"]


def test_what_was_erased_has_no_cost_and_is_said_to(add: Add) -> None:
    reader = add(kwh(1), kwh(2, user=BOB), kwh(3, user=BOB))
    reader.people.erase(BOB)

    made, found = priced(reader, pricing())

    assert set(found.bills) == {ADA}
    assert found.total.electricity == Fraction("0.2")
    text = as_table(made, found)
    assert "2 of 3 requests have no cost of electricity, water and server: their single charges were erased." in text
    assert Fraction(rows(as_csv(made, found))[ADA]["cost_electricity"]) == Fraction("0.2")
    assert rows(as_csv(made, found))["erased"]["cost_electricity"] == ""
