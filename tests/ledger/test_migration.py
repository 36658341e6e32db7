"""A ledger of layout 1 is moved whole: accounts, single charges, receipts, journals, also when it is cut off in the middle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from headwater.cli import app
from headwater.errors import ConfigError, LedgerError
from headwater.ledger import Reader, schema
from headwater.ledger.migration import _CODES, migrate
from headwater.ledger.packing import pack
from headwater.ledger.redis import Store
from headwater.ledger.rows import sums_of
from headwater.records import Charge
from tests.ledger.strategies import charges
from tests.ledger.support import ADA, BOB, DAY, KEY, MONTH, NOV_23_MS, Server, charge, ship, write

NOW_MS = NOV_23_MS + 9 * 86_400_000
TIMES = st.integers(NOV_23_MS, NOW_MS)
CHARGES = st.lists(
    charges(amounts=st.integers(0, 2**62), times_ms=TIMES), max_size=20, unique_by=lambda each: each.request_id
)


def old_ledger(server: Server, some: list[Charge], *, journal_id: str = "old", shards_count: int = 1) -> None:
    """What version 1 wrote."""
    server.command("FLUSHALL")
    rows: dict[str, Counter[str]] = {}
    with redis.Redis(unix_socket_path=str(server.address)) as client:
        client.hset(
            "hw1:meta",
            mapping={"schema": 1, "shards": shards_count, "created": NOV_23_MS // 1000, "key": KEY, "marks": 5},
        )
        for seq, each in enumerate(some, 1):
            tag = f"hw1:{{s{schema.shard_of(each.user, shards_count):02d}}}:"
            day, month = (period.replace("-", "") for period in schema.periods(each.ended_ms))
            added = {code: int(amount) for code, amount in zip(_CODES, sums_of(each), strict=True) if amount}
            for row in (f"u:{each.user}:m:{month}", f"u:{each.user}:d:{day}", f"t:m:{month}", f"t:d:{day}"):
                rows.setdefault(tag + row, Counter()).update(added)
            part = {f"{each.model}|{each.site}|{code}": amount for code, amount in added.items()}
            rows.setdefault(f"{tag}u:{each.user}:b:{month}", Counter()).update(part)
            rows.setdefault(f"{tag}b:{month}", Counter()).update({each.deployment_hash or "-": 1})
            client.zadd(f"{tag}users", {each.user: each.ended_ms})
            client.xadd(f"{tag}led", {"c": pack(each)}, id=f"{NOW_MS}-{seq}")
            client.hset(f"{tag}j", journal_id, seq)
        for key, sums in rows.items():
            for field, amount in sums.items():
                while amount > 2**63 - 1:
                    client.hset(key, field, 2**63 - 1)
                    field, amount = f"{field}+", amount - (2**63 - 1)
                client.hset(key, field, amount)
            client.expire(key, 86_400)
        if any(each.deployment_hash == "5f0c" for each in some):
            client.set("hw1:basis:5f0c", "{}")
        client.hset("hw1:{s00}:labels", ADA, "ada")


@pytest.fixture
def fresh(server: Server) -> Iterator[Store]:
    store = Store(server.url)
    yield store
    store.close()


def accounts(reader: Reader, some: list[Charge]) -> Any:
    """Everything that can be read of some charges."""
    return (
        [reader.month_rows(month) for month in (MONTH, "2026-12")],
        [reader.breakdown(user, MONTH) for user in sorted({each.user for each in some})],
        reader.day_rows(DAY),
        reader.totals(MONTH),
        reader.totals(DAY),
        reader.bases(MONTH),
        sorted(reader.ledger_entries(), key=str),
        [reader.receipt(each.request_id, each.user) for each in some],
        reader.document("5f0c"),
    )


def new_ledger(server: Server, some: list[Charge], folder: Path) -> Any:
    """The same charges, charged by this version."""
    server.command("FLUSHALL")
    store = Store(server.url)
    store.check(KEY)
    store.set_labels({ADA: "ada"})
    if any(each.deployment_hash == "5f0c" for each in some):
        store.keep_document("5f0c", "{}")
    journal = write(folder, some)
    ship(journal, store)
    journal.close(durable_to=journal.position())
    return accounts(Reader(store), some)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=CHARGES)
def test_a_moved_ledger_says_what_one_of_this_version_would(
    server: Server, tmp_path_factory: pytest.TempPathFactory, some: list[Charge]
) -> None:
    expected = new_ledger(server, some, tmp_path_factory.mktemp("journals"))
    old_ledger(server, some)
    store = Store(server.url)

    moved_count = migrate(store, now_ms=NOW_MS)
    store.check(KEY)

    assert moved_count == len({each.user for each in some})
    assert accounts(Reader(store), some) == expected
    assert server.command("KEYS", "hw1:*") == []
    assert migrate(store, now_ms=NOW_MS) is None
    store.close()


SOME = [charge(1), charge(2, user=BOB), charge(3, once="5a" * 16), charge(4, site="us-average")]


class Dying(redis.Redis):
    """A client whose process dies after so many commands."""

    left_count = 0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        type(self).left_count -= 1
        if self.left_count < 0:
            raise KeyboardInterrupt
        return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


def test_a_move_that_is_cut_off_anywhere_goes_on(server: Server, tmp_path: Path) -> None:
    expected = new_ledger(server, SOME, tmp_path)

    for count in range(1_000):
        old_ledger(server, SOME)
        Dying.left_count = count
        store = Store(server.url, client_factory=lambda endpoint, timeout_s: Dying.from_url(endpoint.url, protocol=2))
        try:
            migrate(store, now_ms=NOW_MS)
        except KeyboardInterrupt:
            Dying.left_count = 1_000
            migrate(store, now_ms=NOW_MS)
            is_cut = True
        else:
            is_cut = False
        Dying.left_count = 1_000
        store.check(KEY)
        assert accounts(Reader(store), SOME) == expected, f"cut off after {count} commands"
        store.close()
        if not is_cut:
            break

    assert 20 < count < 999


def test_a_second_migration_that_goes_on_behind_the_first_changes_nothing(
    server: Server, fresh: Store, tmp_path: Path
) -> None:
    """As where several machines are upgraded at once. It has read half of the accounts when the others are gone."""
    some = [charge(number, user=f"{number:032x}") for number in range(1, 6)]
    late = charge(9, user=some[0].user)
    old_ledger(server, some)
    first = Store(server.url)

    def tick(count: int, _ratio: float) -> None:
        if count == 2:
            migrate(first, now_ms=NOW_MS)
            first.check(KEY)
            ship(write(tmp_path, [late], journal_id="new"), first)

    migrate(fresh, now_ms=NOW_MS, tick=tick)

    reader = Reader(first)
    assert reader.totals(MONTH).requests_count == reader.totals(DAY).requests_count == 6
    assert [row.requests_count for row in reader.month_rows(MONTH)] == [2, 1, 1, 1, 1]
    assert server.command("KEYS", "hw1:*") == []
    first.close()


def test_what_is_still_in_a_journal_is_applied_once(server: Server, fresh: Store, tmp_path: Path) -> None:
    some = [charge(n) for n in range(1, 5)]
    journal = write(tmp_path, some, journal_id="old")
    old_ledger(server, some[:2], journal_id="old")

    migrate(fresh, now_ms=NOW_MS)
    fresh.check(KEY)
    ship(journal, fresh)
    journal.close()

    assert Reader(fresh).totals(MONTH).requests_count == 4
    assert sorted(Reader(fresh).ledger_entries(), key=str) == sorted(some, key=str)


def test_a_process_of_the_older_version_can_write_no_more(server: Server, fresh: Store) -> None:
    """Its script begins by asking where its journal stands."""
    old_ledger(server, SOME)
    server.command("HINCRBY", "hw1:{s00}:t:m:202611", "e", "7")  # stops the move behind the fence

    with pytest.raises(LedgerError):
        migrate(fresh, now_ms=NOW_MS)

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        server.command("HGET", "hw1:{s00}:j", "old")
    assert server.command("HGET", "hw1:meta", "schema") == "moved"


def test_before_it_is_moved_nobody_writes_and_the_remedy_is_named(server: Server, fresh: Store) -> None:
    old_ledger(server, SOME)

    for fingerprint in (KEY, None):
        with pytest.raises(ConfigError, match="headwater migrate"):
            fresh.check(fingerprint)

    assert server.command("KEYS", "hw2:*") == []


def test_a_ledger_that_does_not_add_up_stays(server: Server, fresh: Store) -> None:
    old_ledger(server, SOME)
    server.command("HINCRBY", "hw1:{s00}:t:m:202611", "e", "7")

    with pytest.raises(
        LedgerError, match=r"2026-11: energy_microjoules was 10011 in the old ledger's totals, .* to 10004"
    ):
        migrate(fresh, now_ms=NOW_MS)

    assert server.command("EXISTS", "hw1:meta", "hw1:{s00}:t:m:202611", f"hw1:{{s00}}:u:{ADA}:b:202611") == 3
    with pytest.raises(ConfigError, match="headwater migrate"):
        fresh.check(KEY)


def test_a_ledger_of_an_unknown_layout_is_left_alone(server: Server, fresh: Store) -> None:
    old_ledger(server, SOME)
    server.command("HSET", "hw1:meta", "schema", "7")

    with pytest.raises(ConfigError, match="schema 7"):
        migrate(fresh, now_ms=NOW_MS)


def test_the_command_says_what_it_did(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_ledger(server, SOME, shards_count=4)
    monkeypatch.setenv("HEADWATER_REDIS_URL", server.url)
    monkeypatch.setenv("HEADWATER_DATA_DIR", str(tmp_path))
    runner = CliRunner()

    first, again = runner.invoke(app, ["migrate"]), runner.invoke(app, ["migrate"])
    report = runner.invoke(app, ["report", "--month", MONTH, "--format", "json"])

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert "was moved: 2 users" in first.output
    assert "nothing to do" in again.output
    assert json.loads(report.output)["total"]["requests"] == 4
