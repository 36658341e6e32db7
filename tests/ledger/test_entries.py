"""A month's charges one by one: all of them, none twice, none of another month, and never fewer without a word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import ConfigError, LedgerError
from headwater.ledger import rows, schema
from headwater.ledger.connection import connect
from headwater.ledger.packing import pack
from headwater.ledger.reader import Reader
from headwater.ledger.redis import Store
from headwater.records import Charge
from headwater.reports.entries import TICK_EVERY, month_charges
from tests.ledger.conftest import Add
from tests.ledger.strategies import charges
from tests.ledger.support import BOB, MONTH, NOV_23_MS, Server, charge, ship, write

DAY_MS = 86_400_000
NEXT_MONTH_MS = NOV_23_MS + 8 * DAY_MS
STREAM = schema.stream_key(0)
PART = charge().model, charge().site
TOTAL = schema.total_key(0, MONTH, schema.part_of(*PART))


def _set_total(server: Server, sums: rows.Sums) -> None:
    """Write the total of the month by hand."""
    server.command("HSET", schema.parts_key(0), schema.part_of(*PART), schema.part_name(*PART))
    with connect(server.url, 5.0) as client:
        client.set(TOTAL, rows.stored(sums))


TIMES = st.integers(NOV_23_MS, NOV_23_MS + 14 * DAY_MS)
SOME = st.lists(
    charges(amounts=st.integers(0, 2**50), times_ms=TIMES), max_size=30, unique_by=lambda each: each.request_id
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=SOME)
def test_months_divide_the_charges_among_them(server: Server, add: Add, some: list[Charge]) -> None:
    server.command("FLUSHALL")
    reader = add(*some)

    # The store's clock is this machine's, and may be behind the charges'.
    november, december = (list(month_charges(reader, month)) for month in (MONTH, "2026-12"))

    assert november == [each for each in some if schema.periods(each.ended_ms)[1] == MONTH]
    assert december == [each for each in some if schema.periods(each.ended_ms)[1] == "2026-12"]


def test_a_month_without_charges_has_none(add: Add) -> None:
    assert list(month_charges(add(charge()), "2026-10")) == []


def test_what_is_charged_during_a_pass_is_not_in_it(add: Add) -> None:
    reader = add(charge(1), charge(2))

    seen = month_charges(reader, MONTH)
    first = next(seen)
    add(charge(3), charge(4, user=BOB))

    assert [first, *seen] == [charge(1), charge(2)]
    assert len(list(month_charges(reader, MONTH))) == 4


def test_a_charge_that_came_late_is_among_those_of_its_month(add: Add) -> None:
    reader = add(charge(1), charge(2, ended_ms=NEXT_MONTH_MS), charge(3))

    assert list(month_charges(reader, MONTH)) == [charge(1), charge(3)]


def test_reading_begins_near_the_month_and_ends_with_its_last_charge(server: Server, add: Add) -> None:
    """The entries before and behind it are no charges: whoever reads them fails."""
    reader = add()
    first_ms = schema.period_start_ms(MONTH)
    server.command("XADD", STREAM, f"{first_ms - DAY_MS}-0", schema.STREAM_FIELD, "before")
    with connect(server.url, 5.0) as client:
        client.xadd(STREAM, {schema.STREAM_FIELD: pack(charge(1))}, id=f"{first_ms - 1000}-0")  # a clock that is behind
        client.xadd(STREAM, {schema.STREAM_FIELD: pack(charge(2))}, id=f"{NOV_23_MS}-0")
        client.xadd(STREAM, {schema.STREAM_FIELD: b"behind"}, id=f"{NEXT_MONTH_MS}-0")
    _set_total(server, rows.total(map(rows.sums_of, (charge(1), charge(2)))))

    assert list(month_charges(reader, MONTH)) == [charge(1), charge(2)]


def test_charges_that_are_no_longer_kept_are_an_error_that_says_how_many(server: Server, add: Add) -> None:
    reader = add(*map(charge, range(1, 6)))
    server.command("XTRIM", STREAM, "MAXLEN", "2")

    with pytest.raises(LedgerError, match=r"2026-11: 3 of 5 requests are no longer kept one by one; .* for 400 days"):
        list(month_charges(reader, MONTH))


def test_a_store_whose_charges_are_all_gone_says_so(server: Server, add: Add) -> None:
    reader = add(charge(1))
    server.command("DEL", STREAM)

    with pytest.raises(LedgerError, match="1 of 1 requests"):
        list(month_charges(reader, MONTH))


def test_charges_that_do_not_add_up_to_the_account_are_an_error_that_names_both(server: Server, add: Add) -> None:
    reader = add(charge(1), charge(2))
    sums = rows.total(map(rows.sums_of, (charge(1), charge(2))))
    at = rows.FIELDS.index("it_microjoules")
    _set_total(server, (*sums[:at], sums[at] + 7, *sums[at + 1 :]))

    with pytest.raises(LedgerError, match=r"of 2 single charges add up to 3000, the ledger's own total is 3007"):
        list(month_charges(reader, MONTH))


def test_a_store_that_never_stands_still_is_asked_again_later(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = add(charge(1))
    monkeypatch.setattr("headwater.ledger.books._STANDING_TRIES", 0)

    with pytest.raises(LedgerError, match="ask again"):
        list(month_charges(reader, MONTH))


def test_an_account_is_read_again_where_a_charge_came_in_between(
    server: Server, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(charge(1))
    store = Store(server.url)
    store.check(None)
    pipeline, numbers = store.client.pipeline, iter((2, 3))

    def between(**options: bool) -> object:
        made = pipeline(**options)
        execute = made.execute

        def torn() -> list[object]:
            found = execute()
            number = next(numbers, None)
            if number is not None:
                add(charge(number))
                found[1:3] = [store.client.xrevrange(STREAM, count=1), store.client.mget(TOTAL, STREAM)]
            return found  # type: ignore[no-any-return]

        made.execute = torn
        return made

    monkeypatch.setattr(store.client, "pipeline", between)

    assert list(month_charges(Reader(store), MONTH)) == [charge(1), charge(2), charge(3)]
    store.close()


def test_a_cluster_is_read_shard_after_shard(server: Server, tmp_path: Path) -> None:
    store = Store(server.url)
    store.shards_count = 4
    users = [f"{number:032x}" for number in range(12)]
    some = [replace(charge(number), user=user) for number, user in enumerate(users, 1)]
    journal = write(tmp_path, some)
    ship(journal, store)
    journal.close(durable_to=journal.position())

    found = list(month_charges(Reader(store), MONTH))

    assert sorted(found, key=str) == sorted(some, key=str)
    shards = [schema.shard_of(each.user, 4) for each in found]
    assert shards == sorted(shards)
    assert len(set(shards)) > 1
    store.close()


def test_progress_is_told_with_the_share_that_is_done(add: Add) -> None:
    told: list[tuple[int, float]] = []
    reader = add(*map(charge, range(2 * TICK_EVERY)))

    list(month_charges(reader, MONTH, lambda count, ratio: told.append((count, ratio))))

    assert told == [(TICK_EVERY, 0.5), (2 * TICK_EVERY, 1.0)]


def test_a_month_that_is_none_is_refused(add: Add) -> None:
    with pytest.raises(ConfigError, match="YYYY-MM"):
        list(month_charges(add(), "november"))
