"""A generation that several exchanges show is charged by the first of them, whichever processes see it, and however often."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import LedgerError
from headwater.ledger import Ledger, ledger, schema, syscalls
from headwater.ledger.batch import Batch
from headwater.ledger.glance import glance, receipt_id
from headwater.ledger.packing import pack
from headwater.ledger.reader import Reader
from headwater.ledger.redis import Store
from headwater.ledger.shipment import Shipment
from headwater.ledger.stats import Stats
from headwater.records import Charge
from tests.ledger.conftest import Add
from tests.ledger.support import (
    ADA,
    BOB,
    DAY,
    KEY,
    MONTH,
    NOV_23_MS,
    Applied,
    Server,
    applied_at_once,
    charge,
    eventually,
    outside,
    ship,
    write,
)
from tests.ledger.test_delivery import fickle

ONCE, OTHER = "0e" * 16, "1f" * 16


@pytest.fixture
def start(server: Server, tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    """Start ledgers on one store; close them after the test."""
    ledgers: list[Ledger] = []

    def make(**options: Any) -> Ledger:
        made = Ledger(
            redis_url=server.url,
            data_dir=tmp_path,
            key_fingerprint=KEY,
            outside=outside(applied_at_once, clock=lambda: NOV_23_MS / 1000),
            **options,
        )
        made.start()
        ledgers.append(made)
        return made

    yield make
    for each in ledgers:
        each.close(timeout_s=0.5)


def account(reader: Reader) -> tuple[list[tuple[str, int, int]], int, int, list[str]]:
    """Users with their requests and energy, the totals beside them, and the entries: they must tell one story."""
    rows = [(row.user, row.requests_count, row.energy_microjoules) for row in reader.month_rows(MONTH)]
    total, day = reader.totals(MONTH), reader.totals(DAY)
    assert (day.requests_count, day.energy_microjoules) == (total.requests_count, total.energy_microjoules)
    assert sum(reader.bases(MONTH).values()) == total.requests_count
    parts = [part for user, _, _ in rows for part in reader.breakdown(user, MONTH).values()]
    assert sum(part.energy_microjoules for part in parts) == total.energy_microjoules
    entries = [each.request_id for each in reader.ledger_entries()]
    return rows, total.requests_count, total.energy_microjoules, entries


def test_two_processes_that_see_the_same_response_charge_it_once(start: Callable[..., Ledger]) -> None:
    first, second = start(), start()

    assert first.charge(charge(1, once=ONCE))
    assert first.flush(10.0)
    assert second.charge(charge(2, once=ONCE))
    assert second.flush(10.0)

    with first.reader() as reader:
        assert account(reader) == ([(ADA, 1, 1001)], 1, 1001, [charge(1).request_id])


def test_the_period_total_of_a_process_that_saw_it_second_is_the_accounts(start: Callable[..., Ledger]) -> None:
    first, second = start(), start()

    first.charge(charge(1, once=ONCE))
    assert first.flush(10.0)
    second.charge(charge(2, once=ONCE))
    assert second.flush(10.0)

    eventually(lambda: second.period_total(ADA) is not None)
    total = second.period_total(ADA)
    assert total is not None
    assert (total.requests_count, total.energy_microjoules) == (1, 1001)


def test_the_receipt_of_a_later_sighting_is_that_of_the_first(add: Add) -> None:
    first, second, bobs = charge(1, once=ONCE), charge(2, once=ONCE), charge(3, user=BOB, once=ONCE)

    reader = add(first)
    add(second, bobs)

    assert reader.receipt(second.request_id, ADA) == first
    assert reader.receipt(first.request_id, ADA) == first
    assert reader.receipt(bobs.request_id, BOB) is None
    assert account(reader) == ([(ADA, 1, 1001)], 1, 1001, [first.request_id])


def test_what_stands_between_sightings_is_charged_in_its_order(add: Add) -> None:
    some = [
        charge(1),
        charge(2, once=ONCE),
        charge(3, user=BOB),
        charge(4, user=BOB, once=OTHER),
        charge(5, once=ONCE),
        charge(6, once=OTHER),
        charge(7),
    ]

    reader = add(*some)

    counted = [each.request_id for number, each in enumerate(some) if number not in (4, 5)]
    energy = sum(1000 * number + 1 for number in (1, 2, 3, 4, 7))
    assert account(reader) == ([(ADA, 3, 10_003), (BOB, 2, 7_002)], 5, energy, counted)


def test_a_first_sighting_is_remembered_as_long_as_the_days(server: Server, add: Add) -> None:
    add(charge(1, once=ONCE))

    life_s, kept_s = int(server.command("TTL", schema.once_key(0, ONCE))), schema.Retention().days_s

    assert kept_s - 60 < life_s <= kept_s


sightings = st.lists(st.tuples(st.sampled_from([ADA, BOB]), st.sampled_from(["", ONCE, OTHER])), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seen=sightings, fates=st.text("ab ", max_size=8))
def test_lost_replies_and_replays_count_the_first_sighting_once(
    server: Server, tmp_path_factory: pytest.TempPathFactory, seen: list[tuple[str, str]], fates: str
) -> None:
    server.command("FLUSHALL")
    some = [charge(number, user=user, once=once) for number, (user, once) in enumerate(seen, 1)]
    journal = write(tmp_path_factory.mktemp("once"), some)
    store = Store(server.url, client_factory=fickle(fates))
    store.check(KEY)
    shipment = Shipment(journal.folder, store, Applied(), Stats())
    shipment.tail.sync()

    for _ in range(2 * len(fates) + 2 + len(some)):
        try:
            if not shipment.ship():
                break
        except LedgerError:
            continue
    ship(journal, store)
    journal.close(durable_to=journal.position())

    counted = _first_ones(some)
    rows, requests_count, energy, entries = account(Reader(store))
    store.close()
    assert entries == [each.request_id for each in counted]
    assert (requests_count, energy) == (len(counted), sum(1000 * some.index(each) + 1001 for each in counted))
    assert sum(row[1] for row in rows) == requests_count


def _first_ones(some: list[Charge]) -> list[Charge]:
    known: set[str] = set()
    counted = []
    for each in some:
        if not each.once or each.once not in known:
            counted.append(each)
        known.add(each.once)
    return counted


def test_a_foreign_value_under_the_mark_counts_the_charge_aloud(
    server: Server, add: Add, caplog: pytest.LogCaptureFixture
) -> None:
    server.command("LPUSH", schema.once_key(0, OTHER), "x")

    reader = add(charge(1), charge(2, once=OTHER), charge(3))

    assert reader.totals(MONTH).requests_count == 3
    assert reader.receipt(charge(2).request_id) == charge(2, once=OTHER)
    assert "were refused" in caplog.text


def test_all_keys_of_a_sighting_are_declared_and_of_one_shard(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    script = store._script

    def noting(*, keys: list[str], args: list[Any]) -> Any:
        called.append(keys)
        return script(keys=keys, args=args)

    monkeypatch.setattr(store, "_script", noting)
    one = charge(1, once=ONCE)
    batch = Batch(journal_id="j", shard=0, previous=0, last=1, charges=[glance(pack(one))])

    store.apply(batch)

    assert called[0][-1] == schema.once_key(0, ONCE)
    assert schema.receipts_key(0, schema.receipts_bucket(receipt_id(one.request_id))) in called[0]
    assert all("{s00}" in key for key in called[0])
    assert {key.decode() for key in store.client.keys("hw2:{*")} == set(called[0])


# -- in one process --------------------------------------------------------------------------------------------------


def test_a_process_that_charged_it_writes_no_more(start: Callable[..., Ledger]) -> None:
    one = start()
    assert not one.has_charged(ONCE)
    one.charge(charge(1, once=ONCE))
    assert one.flush(10.0)
    before = replace(one.stats)

    again = [one.charge(charge(number, once=ONCE)) for number in range(2, 50)]

    assert not any(again)
    assert one.has_charged(ONCE)
    assert one.flush(10.0)
    assert one.stats == before


def test_what_is_open_of_a_later_sighting_is_forgotten(start: Callable[..., Ledger], tmp_path: Path) -> None:
    one = start()
    one.charge(charge(1, once=ONCE))
    one.provisional(charge(2))

    one.charge(charge(2, once=ONCE))
    one.close()

    with start().reader() as reader:
        assert account(reader)[1] == 1


def test_only_the_latest_are_known_without_asking_the_store(
    start: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MOST_SIGHTED_COUNT", 2)
    one = start()

    for number in range(1, 4):
        one.charge(charge(number, once=f"{number:032x}"))
    one.charge(charge(9))

    assert [one.has_charged(f"{number:032x}") for number in range(1, 4)] == [False, True, True]
    assert not one.has_charged("")


def test_a_charge_that_waits_for_room_on_the_disk_is_the_first(
    start: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start()
    write_bytes = syscalls.write
    monkeypatch.setattr(syscalls, "write", _full_disk)
    with pytest.raises(LedgerError):
        one.charge(charge(1, once=ONCE))
    monkeypatch.setattr(syscalls, "write", write_bytes)

    assert not one.charge(charge(2, once=ONCE))
    one.charge(charge(3))
    assert one.flush(10.0)

    with one.reader() as reader:
        assert account(reader)[3] == [charge(1).request_id, charge(3).request_id]


def _full_disk(*_: object) -> int:
    raise OSError(28, "No space left on device")


def test_the_mark_holds_the_packed_charge_and_no_id_of_the_upstream(server: Server, add: Add) -> None:
    add(charge(1, once=ONCE))

    keys = server.command("KEYS", "*once*")

    assert keys == [schema.once_key(0, ONCE)]
    assert json.dumps(keys).count("resp_") == 0
