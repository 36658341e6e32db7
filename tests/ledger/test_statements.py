"""Reports of open and of closed months: streamed, checked, the same bytes each time, and with what came late named."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog, config
from headwater.errors import ConfigError, LedgerError
from headwater.ledger import books, chunks, rows, schema
from headwater.ledger.chunks import Kept
from headwater.ledger.reader import Reader
from headwater.ledger.redis import Store
from headwater.ledger.rows import NOTHING, Sums
from headwater.reports import accounts, costs, csv_pieces, json_pieces, since_words, statement, table
from headwater.reports.lines import Line, cells, exact, total
from headwater.tariffs import Pricing
from tests.ledger.conftest import Add
from tests.ledger.support import ADA, BOB, amounts, unlink
from tests.ledger.test_closing import closed, of
from tests.test_tariffs import deployment

MONTH = "2026-10"
PRICES = {"currency": "EUR", "electricity_per_kwh": "0.2"}


def as_csv(reader: Reader, month: str = MONTH, **options: Any) -> list[dict[str, str]]:
    text = "".join(csv_pieces(accounts(reader, month, **options)))
    return list(csv.DictReader(io.StringIO(text)))


def as_json(reader: Reader, month: str = MONTH, **options: Any) -> Any:
    return json.loads("".join(json_pieces(accounts(reader, month, **options))))


def printed(reader: Reader, month: str = MONTH) -> tuple[str, str]:
    """Everything that may not change any more."""
    found = accounts(reader, month)
    return "".join(csv_pieces(found)), "".join(json_pieces(found))


# -- exact decimals ----------------------------------------------------------------------------------------------------


@given(st.integers(-(2**70), 2**70) | st.integers(-(10**7), 10**7).map(lambda n: n * 10**4))
def test_a_millionth_part_is_an_exact_decimal_without_zeros_behind(value: int) -> None:
    text = exact(value)

    assert Fraction(text) == Fraction(value, 10**6)
    assert text == f"{Decimal(text).normalize() if value % 10**6 else Decimal(text):f}"


def test_sums_without_any_footprint_are_unknown_and_not_zero() -> None:
    sums = rows.sums_of(of(1, amounts=None))

    assert set(cells(sums)[5:17]) == {None}
    assert cells(NOTHING)[5] == "0"


# -- open months -------------------------------------------------------------------------------------------------------


def test_a_stream_has_the_rows_of_the_statement_and_their_labels(
    add: Add, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_CHUNK", "_ROWS", "_TOGETHER", "_BUCKETS"):
        monkeypatch.setattr(books, name, 2)
    users = [f"{n:032x}" for n in range(7)]
    labels = {users[3]: "ada", users[5]: "=x", users[6]: 'Lovelace, "Ada"\n\u00e9'}
    store.set_labels(labels)
    reader = add(*(of(n, user=user, model=f"m{n % 3}") for n, user in enumerate([*users, *users])))
    told: list[tuple[int, float]] = []

    lines = [line for batch in accounts(reader, MONTH).read(lambda *each: told.append(each)) for line in batch]

    made = statement(reader, MONTH)
    assert sorted((line.row() for line in lines), key=str) == sorted(made.rows, key=str)
    assert accounts(reader, MONTH).rules(14) == made.counted_by
    assert told[-1] == (7, 1.0)
    assert [row["user"] for row in as_csv(reader)] == [line.user for line in lines]
    assert {row["label"] for row in as_csv(reader)} == {"", "ada", "'=x", labels[users[6]]}
    assert {row["user"]: row["label"] for row in as_json(reader)["rows"] if row["label"]} == labels
    assert "statement" not in as_csv(reader)[0]
    assert len(as_json(reader)["rows"]) == 7


def test_an_account_without_any_footprint_has_blanks_and_nulls(add: Add) -> None:
    reader = add(of(1, amounts=None), of(2, user=BOB))

    by_user = {row["user"]: row for row in as_csv(reader)}

    assert (by_user[ADA]["energy_j"], by_user[ADA]["requests_without_footprint"]) == ("", "1")
    rows_ = {row["user"]: row for row in as_json(reader)["rows"]}
    assert (rows_[ADA]["energy_j"], rows_[ADA]["requests_without_footprint"]) == (None, 1)
    assert rows_[BOB]["energy_j"] == by_user[BOB]["energy_j"]
    assert list(rows_[ADA]) == list(rows_[BOB])


def test_a_pass_over_an_open_month_reads_while_charges_come_and_adds_up(add: Add) -> None:
    users = [f"{n:032x}" for n in range(5)]
    reader = add(*(of(n, user=user) for n, user in enumerate(users)))
    batches = accounts(reader, MONTH).read(lambda *_: None)
    first = list(next(batches))
    add(*(of(100 + n, user=user) for n, user in enumerate(users)))

    rest = [line for batch in batches for line in batch]  # no error: between the totals before and after

    assert total([*first, *rest])[0] == 5


def test_accounts_that_do_not_add_up_fail_at_the_end_of_the_pass(add: Add, store: Store) -> None:
    reader = add(of(1), of(2, user=BOB))
    part = schema.part_of("llama-3.1-70b", "azure-westus3")
    store.client.delete(schema.user_key(0, BOB, MONTH, part))

    with pytest.raises(LedgerError, match="the accounts' requests_count add up to 1, the ledger's own total is 2"):
        as_csv(reader)


def test_a_month_that_is_none_is_named(store: Store) -> None:
    with pytest.raises(ConfigError, match="YYYY-MM"):
        accounts(Reader(store), "2026-13")


def test_the_table_has_the_biggest_and_one_line_for_all_others(add: Add) -> None:
    users = [f"{n:032x}" for n in range(1, 8)]
    reader = add(*(of(n, user=user, amounts=amounts(n * 3_600_000_000)) for n, user in enumerate(users, 1)))

    text = table(accounts(reader, MONTH), top=2)

    body = [line.split() for line in text.splitlines()[4:7]]
    assert [line[0] for line in body] == [users[6], users[5], "5"]
    assert body[2][1:3] == ["others", "5"]
    whole = next(line for line in text.splitlines() if line.startswith("total"))
    assert whole.split()[1] == "7"
    assert "others" not in table(accounts(reader, MONTH))


def test_costs_of_the_others_are_what_is_left_of_the_total(add: Add, store: Store) -> None:
    store.keep_document("5f0c", catalog.deployment_document(deployment()))
    kwh = 3_600_000_000_000
    reader = add(*(of(n, user=f"{n:032x}", amounts=amounts(n * kwh - 1)) for n in range(1, 5)))
    held = accounts(reader, MONTH).held()
    found = costs(reader, held.statement(), Pricing(config.load({"tariff": PRICES}, environment={})))

    text = table(held, found, top=1)

    costs_shown = [line.split()[-1] for line in text.splitlines() if line[:2] in ("00", "3 ", "to")]
    assert costs_shown == ["0.800", "1.20", "2.00"]


def test_held_accounts_stay_what_they_were(add: Add) -> None:
    reader = add(of(1))
    held = accounts(reader, MONTH).held()
    add(of(2))

    assert held.statement().total.requests_count == 1


# -- closed months -----------------------------------------------------------------------------------------------------


def test_a_closed_month_prints_what_was_frozen_again_and_again(add: Add, store: Store) -> None:
    reader = add(of(1), of(2, user=BOB), of(3, model="other"))
    open_rows = {row["user"]: row for row in as_csv(reader)}
    head = closed(store, MONTH)
    before = printed(reader)
    add(of(4), of(5, user="c1" * 16))

    assert printed(reader) == before
    found = as_csv(reader)
    assert {row["user"]: {name: row[name] for name in open_rows[ADA]} for row in found} == open_rows
    assert [row["statement"] for row in found] == ["2026-10-000001", "2026-10-000002"]
    assert {(row["kind"], row["statement_sha256"]) for row in found} == {("account", head.sha256)}
    document = as_json(reader)
    assert document["statement"] == {
        "number": 1,
        "first": "2026-10-000001",
        "last": "2026-10-000002",
        "closed_at": "2027-11-04T00:00:00Z",
        "sha256": head.sha256,
        "previous_sha256": None,
    }
    assert [row["statement"] for row in document["rows"]] == [row["statement"] for row in found]
    assert document["total"]["requests"] == 3
    assert document["corrections"] == document["corrections_total"] == []
    assert {row["user"] for row in as_csv(reader, live=True)} == {ADA, BOB, "c1" * 16}


def test_what_came_late_is_named_in_words_and_corrected_in_the_next(add: Add, store: Store) -> None:
    reader = add(of(1), of(2, "2026-11", user=BOB))
    closed(store, MONTH)
    assert since_words(MONTH, accounts(reader, MONTH).since) == []
    add(of(3), of(4, user=BOB))
    assert "2 requests of 2026-10 were charged after it was closed" in table(accounts(reader, MONTH))
    assert "corrections, 2 in the one that is closed next." in table(accounts(reader, MONTH))

    closed(store, "2026-11")
    add(of(5))

    (told,) = since_words(MONTH, accounts(reader, MONTH).since)
    assert told == (
        "3 requests of 2026-10 were charged after it was closed, and are not above: they are corrections, 2 in the "
        "statement of 2026-11, 1 in the one that is closed next. With them: headwater report --month 2026-10 --live"
    )
    found = as_csv(reader, "2026-11")
    assert sorted((row["kind"], row["month"], row["user"]) for row in found) == [
        ("account", "2026-11", BOB),
        ("correction", MONTH, ADA),
        ("correction", MONTH, BOB),
    ]
    document = as_json(reader, "2026-11")
    assert [row["user"] for row in document["rows"]] == [BOB]
    assert {(row["month"], row["user"]) for row in document["corrections"]} == {(MONTH, ADA), (MONTH, BOB)}
    assert [(row["month"], row["requests"]) for row in document["corrections_total"]] == [(MONTH, 2)]
    assert document["total"]["requests"] == 1
    text = table(accounts(reader, "2026-11"))
    assert "Corrections of 2026-10, charged after it was closed:" in text
    assert next(line for line in text.splitlines() if line.startswith("total of 2026-10")).split()[3] == "2"


def test_an_erased_user_is_nobody_in_the_report(add: Add, store: Store) -> None:
    store.set_labels({ADA: "ada"})
    reader = add(of(1), of(2, user=BOB))
    closed(store, MONTH)
    unlink(store, ADA)

    assert {row["user"] for row in as_csv(reader)} == {"", BOB}
    assert {(row["user"], row["label"]) for row in as_json(reader)["rows"]} == {(None, None), (BOB, None)}
    assert as_json(reader)["total"]["requests"] == 2
    assert "(erased)" in table(accounts(reader, MONTH))
    assert [row.user for row in accounts(reader, MONTH).statement().rows] == [BOB]


def test_frozen_accounts_cost_what_their_charges_cost_and_corrections_nothing_here(add: Add, store: Store) -> None:
    store.keep_document("5f0c", catalog.deployment_document(deployment()))
    kwh = 3_600_000_000_000
    reader = add(of(1, amounts=amounts(kwh - 1)), of(2, "2026-11", amounts=amounts(kwh - 1)))
    closed(store, MONTH)
    add(of(3, amounts=amounts(9 * kwh)))
    closed(store, "2026-11")
    pricing = Pricing(config.load({"tariff": PRICES}, environment={}))

    for month in (MONTH, "2026-11"):
        held = accounts(reader, month).held()
        found = costs(reader, held.statement(), pricing)
        text = "".join(csv_pieces(held, found))
        by_kind = {row["kind"]: row["cost_electricity"] for row in csv.DictReader(io.StringIO(text))}
        assert by_kind == {"account": "0.2", **({"correction": ""} if month != MONTH else {})}
        assert json.loads("".join(json_pieces(held, found)))["total"]["cost_electricity"] == "0.2"
    assert "Corrections have no cost here." in table(held, found)


def test_rows_that_are_not_those_that_were_frozen_are_not_reported(add: Add, store: Store) -> None:
    reader = add(of(1))
    head = closed(store, MONTH)
    (key,) = store.client.keys("hw2:*:f:*")
    other = chunks.chunk(
        [(ADA, [Kept(MONTH, ("m", "s"), rows.sums_of(of(2)))])], month=MONTH, shard=0, first=1, secret=b"s"
    )
    store.client.set(key, other.packed)

    with pytest.raises(LedgerError, match="the rows are not those that were frozen"):
        as_csv(reader)
    assert head.users_count == 1


def test_a_closed_month_of_nobody_is_a_statement_of_nothing(store: Store) -> None:
    closed(store, MONTH)
    reader = Reader(store)

    assert as_csv(reader) == []
    assert as_json(reader)["statement"]["first"] is None
    assert "statements none" in table(accounts(reader, MONTH))


def test_a_line_of_nobody_has_a_name_for_people() -> None:
    sums: Sums = NOTHING
    found = [Line(user, label, MONTH, sums).name for user, label in ((None, None), (ADA, None), (ADA, "ada"))]
    assert found == ["(erased)", ADA, "ada"]
