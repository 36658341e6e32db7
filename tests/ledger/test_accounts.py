"""Accounts add up: in any order, over any split, beyond what a double or an int64 can hold."""

from __future__ import annotations

import socket
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.ledger import Ledger, schema
from headwater.ledger.batch import Batch
from headwater.ledger.closing import close
from headwater.ledger.glance import glance, receipt_id
from headwater.ledger.packing import pack
from headwater.ledger.reader import Reader
from headwater.ledger.redis import Behind, Store
from headwater.ledger.rows import FIELDS, sums_of
from headwater.ledger.statements import Statements
from headwater.records import AccountRow, Amounts, Charge
from tests.ledger.strategies import charges
from tests.ledger.support import (
    ADA,
    BOB,
    DAY,
    KEY,
    MONTH,
    NOV_23_MS,
    Count,
    Server,
    amounts,
    charge,
    eventually,
    opened,
    outside,
    ship,
    unlink,
    write,
)

SUMS = [name for name in AccountRow.__dataclass_fields__ if name not in {"user", "label", "period"}]
TIMES = st.integers(NOV_23_MS, NOV_23_MS + 9 * 86_400_000)  # over the end of a month
UNIQUE_CHARGES = st.lists(
    charges(amounts=st.integers(0, 2**58), times_ms=TIMES), max_size=30, unique_by=lambda each: each.request_id
)


def sums(rows: list[AccountRow]) -> Counter[str]:
    """Field-wise sum of rows."""
    total: Counter[str] = Counter()
    for row in rows:
        total.update({name: getattr(row, name) for name in SUMS})
    return total


def expected(some: list[Charge]) -> Counter[str]:
    """The sum that plain Python integers give."""
    total: Counter[str] = Counter(dict.fromkeys(SUMS, 0))
    for each in some:
        total.update(dict(zip(FIELDS, sums_of(each), strict=True)))
    return total


def account(server: Server, some: list[Charge]) -> Reader:
    """A fresh store that was given charges in this order."""
    server.command("FLUSHALL")
    store = Store(server.url)
    store.check(KEY)
    with tempfile.TemporaryDirectory() as folder:
        journal = write(Path(folder), some)
        ship(journal, store)
        journal.close(durable_to=journal.position())
    return Reader(store)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=UNIQUE_CHARGES, data=st.data())
def test_any_order_of_charges_gives_the_same_accounts(server: Server, some: list[Charge], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(some))

    with account(server, some) as reader:
        first = reader.month_rows("2026-11"), reader.day_rows(DAY), reader.totals("2026-12")
    with account(server, shuffled) as reader:
        assert (reader.month_rows("2026-11"), reader.day_rows(DAY), reader.totals("2026-12")) == first


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=UNIQUE_CHARGES)
def test_parts_add_up_to_the_whole(server: Server, some: list[Charge]) -> None:
    with account(server, some) as reader:
        for month in ("2026-11", "2026-12"):
            of_month = [each for each in some if schema.periods(each.ended_ms)[1] == month]
            rows = reader.month_rows(month)
            assert sums(rows) == expected(of_month)
            assert sums([reader.totals(month)]) == expected(of_month)
            for row in rows:
                assert sums(list(reader.breakdown(row.user, month).values())) == sums([row])
        assert sorted(reader.ledger_entries(), key=str) == sorted(some, key=str)
        assert [reader.receipt(each.request_id, each.user) for each in some] == some


def test_integers_beyond_2_to_the_53_add_exactly(server: Server) -> None:
    big = 2**53 + 1
    some = [charge(n, amounts=Amounts(**dict.fromkeys(Amounts.__dataclass_fields__, big))) for n in range(3)]

    with account(server, some) as reader:
        assert reader.user_row(ADA, MONTH).energy_microjoules == 3 * big
        assert reader.totals(DAY).carbon_micrograms == 3 * big


def test_a_sum_beyond_int64_is_exact(server: Server, tmp_path: Path) -> None:
    big = 2**62
    some = [charge(n, amounts=amounts(big)) for n in range(5)]

    with account(server, some) as reader:
        assert reader.totals(MONTH).it_microjoules == 5 * big
        assert sums(reader.month_rows(MONTH)) == expected(some)
        assert sums(list(reader.breakdown(ADA, MONTH).values())) == expected(some)


def test_rows_come_with_most_energy_first_and_with_labels(server: Server, store: Store, tmp_path: Path) -> None:
    store.set_labels({BOB: "bob"})
    ship(write(tmp_path, [charge(1), charge(2, user=BOB), opened(3, user="anonymous")]), store)

    rows = Reader(store).month_rows(MONTH)

    assert [(row.user, row.label) for row in rows] == [(BOB, "bob"), (ADA, None), ("anonymous", None)]
    assert rows[2].unknown_count == rows[2].incomplete_count == rows[2].not_upstream_count == 1
    assert rows[0].water_nanolitres == 2004 + 2005


def test_a_receipt_is_only_for_its_user_and_for_the_operator(store: Store, tmp_path: Path) -> None:
    mine = charge(1)
    ship(write(tmp_path, [mine]), store)
    reader = Reader(store)

    assert reader.receipt(mine.request_id) == mine
    assert reader.receipt(mine.request_id, ADA) == mine
    assert reader.receipt(mine.request_id, BOB) is None
    assert reader.receipt("unknown") is None


def test_a_period_without_charges_is_all_zero(store: Store) -> None:
    reader = Reader(store)

    assert reader.month_rows("2020-02") == []
    assert reader.user_row(ADA, "2020-02") == AccountRow(user=ADA, label=None, period="2020-02")
    assert reader.document("nothing") is None


def test_many_users_and_many_entries_are_all_read(store: Store, tmp_path: Path) -> None:
    some = [charge(n, user=f"{n:032x}") for n in range(1_100)]

    ship(write(tmp_path, some), store)

    reader = Reader(store)
    assert len(reader.month_rows(MONTH)) == 1_100
    assert list(reader.ledger_entries()) == some


def test_every_key_has_its_lifetime_and_no_other_key_is_made(server: Server, store: Store, tmp_path: Path) -> None:
    mine = charge(1)
    ship(write(tmp_path, [mine]), store)

    lifetimes = {key: int(server.command("TTL", key)) for key in server.command("KEYS", "*")}

    kept, part = schema.Retention(), schema.part_of(mine.model, mine.site)
    for key in ("hw2:meta", "hw2:{s00}:j", "hw2:{s00}:led", "hw2:{s00}:parts"):
        assert lifetimes.pop(key) == -1
    assert (
        0
        < lifetimes.pop(schema.receipts_key(0, schema.receipts_bucket(receipt_id(mine.request_id))))
        <= kept.receipts_s
    )
    days = {f"hw2:{{s00}}:u:{ADA}:20261123", "hw2:{s00}:t:20261123"}
    months = {
        f"hw2:{{s00}}:u:{ADA}:202611:{part}",
        f"hw2:{{s00}}:t:202611:{part}",
        "hw2:{s00}:b:202611",
    }
    index = {"hw2:{s00}:i:202611", f"hw2:{{s00}}:i:202611:{schema.bucket_of(ADA):x}"}
    assert set(lifetimes) == days | months | index
    assert all(lifetimes[key] > kept.months_s + 61 * 86_400 for key in index)  # they outlive the rows
    assert all(kept.days_s - 60 < lifetimes[key] <= kept.days_s for key in days)
    assert all(kept.months_s - 60 < lifetimes[key] <= kept.months_s for key in months)


def test_a_batch_that_does_not_follow_changes_nothing(server: Server, store: Store) -> None:
    mine = charge(1)
    batch = Batch(journal_id="j", shard=0, previous=3, last=4, charges=[glance(pack(mine))])

    with pytest.raises(Behind) as caught:
        store.apply(batch)

    assert caught.value.stored == 0
    assert server.command("KEYS", "*") == ["hw2:meta"]


def test_four_shards_keep_users_apart_and_add_up(server: Server, tmp_path: Path) -> None:
    server.command("HSET", "hw2:meta", "shards", "4")
    store = Store(server.url)
    store.check(KEY)
    some = [charge(n, user=f"{n:032x}") for n in range(250)]

    journal = write(tmp_path, some)
    ship(journal, store)
    ship(journal, store)

    reader = Reader(store)
    assert len(server.command("KEYS", "*:led")) == 4
    assert sums([reader.totals(MONTH)]) == sums(reader.month_rows(MONTH)) == expected(some)
    assert reader.receipt(some[7].request_id) == reader.receipt(some[7].request_id, some[7].user) == some[7]


def test_a_cluster_is_found_out_and_its_shards_add_up(own_server: Server, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    bus_port = str(int(port) // 2 + 1024)
    own_server.start(*("--port", port, "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", bus_port))
    own_server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    eventually(lambda: "cluster_state:ok" in str(own_server.command("CLUSTER", "INFO")))
    url = f"redis://127.0.0.1:{port}/0"
    ledger = Ledger(data_dir=tmp_path, redis_url=url, key_fingerprint=KEY, outside=outside())
    ledger.share("chat", Count(3), time.monotonic)
    ledger.start()
    some = [charge(n, user=f"{n:032x}") for n in range(250)]
    ledger.document("5f0c", "{}")
    for each in some:
        ledger.charge(each)

    assert ledger.flush(10)
    eventually(lambda: own_server.command("HLEN", "hw2:load:chat") == 1)
    ledger.close()

    assert own_server.command("HLEN", "hw2:load:chat") == 0
    with Reader.open(data_dir=tmp_path, redis_url=url) as reader:
        assert sums([reader.totals(MONTH)]) == sums(reader.month_rows(MONTH)) == expected(some)
        assert reader.receipt(some[7].request_id) == reader.receipt(some[7].request_id, some[7].user) == some[7]
        assert reader.document("5f0c") == "{}"
        assert len(list(reader.ledger_entries())) == 250
        assert sums([row for row, _ in reader.month_entries(MONTH)]) == expected(some)
        head = close(reader.books, MONTH, grace_hours=72, clock=lambda: 2e9, pause=lambda _: None)
        assert head.total(MONTH)[0] == head.users_count == 250
        assert Statements(reader.books).verify(head) == 0
        assert unlink(reader.books.store, some[7].user) == 1
    assert own_server.command("HGET", "hw2:meta", "shards") == "64"


def test_a_month_knows_by_which_documents_it_was_charged(server: Server) -> None:
    some = [charge(1), charge(2), charge(3, deployment_hash="77aa"), charge(4, deployment_hash="")]

    with account(server, some) as reader:
        assert reader.bases(MONTH) == {"5f0c": 2, "77aa": 1, "-": 1}
        assert reader.bases("2026-12") == {}
