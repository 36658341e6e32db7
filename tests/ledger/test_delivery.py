"""A charge counts exactly once: replies get lost, stores die and come back older than they were."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import ConfigError, LedgerError
from headwater.ledger import Ledger, Outside, Reader, Timing, keeper, marks, schema, syscalls
from headwater.ledger.connection import ClientFactory, StoreError
from headwater.ledger.durability import SafeDelay, WaitAof
from headwater.ledger.frames import Kind
from headwater.ledger.redis import Store
from headwater.ledger.shipment import Shipment
from headwater.ledger.stats import Stats
from tests.ledger.support import (
    ADA,
    DAY,
    KEY,
    MONTH,
    NOV_23_MS,
    Applied,
    Server,
    applied_at_once,
    charge,
    eventually,
    opened,
    outside,
    ship,
    write,
)


def count(server: Server) -> int:
    """Charges in the store, after checking that its parts agree."""
    store = Store(server.url)
    store.check(None)
    with Reader(store, on_close=None) as reader:
        total = reader.totals(MONTH)
        assert total.requests_count == len(list(reader.ledger_entries()))
        assert total.requests_count == sum(row.requests_count for row in reader.month_rows(MONTH))
        assert total.energy_microjoules == sum(row.energy_microjoules for row in reader.month_rows(MONTH))
    store.close()
    return total.requests_count


def reached(server: Server, requests_count: int) -> None:
    """Wait for a number of charges; then the parts must agree."""
    eventually(lambda: int(server.command("XLEN", "hw2:{s00}:led")) >= requests_count)
    assert count(server) == requests_count


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    """Start ledgers; close what a test leaves open."""
    ledgers: list[Ledger] = []

    def make(server: Server, **options: Any) -> Ledger:
        options = {"data_dir": tmp_path, "key_fingerprint": KEY, "outside": outside(applied_at_once), **options}
        ledger = Ledger(redis_url=server.url, **options)
        ledger.start()
        ledgers.append(ledger)
        return ledger

    yield make
    for ledger in ledgers:
        ledger.close(timeout_s=0.5)


class Fickle(redis.Redis):
    """A client whose connection breaks at chosen script calls, before or after the server has executed them."""

    script: str = ""
    calls = 0

    def evalsha(self, *words: Any, **options: Any) -> Any:
        fate = Fickle.script[Fickle.calls] if Fickle.calls < len(Fickle.script) else " "
        Fickle.calls += 1
        if fate == "b":
            raise redis.ConnectionError("broken before the command was sent")
        reply = super().evalsha(*words, **options)
        if fate == "a":
            raise redis.TimeoutError("the reply was lost")
        return reply


def fickle(script: str) -> ClientFactory:
    """A factory of clients that share one fate: a letter a script call, b(efore), a(fter) or blank."""
    Fickle.script, Fickle.calls = script, 0
    return lambda endpoint, timeout_s: Fickle.from_url(endpoint.url, socket_timeout=timeout_s, retry=None, protocol=2)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fates=st.text("ab ", max_size=12))
def test_lost_replies_count_once(server: Server, tmp_path_factory: pytest.TempPathFactory, fates: str) -> None:
    server.command("FLUSHALL")
    store = Store(server.url, client_factory=fickle(fates))
    store.check(KEY)
    journal = write(tmp_path_factory.mktemp("lost"), [charge(n) for n in range(450)])
    shipment = Shipment(journal.folder, store, Applied(), Stats())
    shipment.tail.sync()

    failures = 0
    while True:
        try:
            if not shipment.ship():
                break
        except StoreError:
            failures += 1
    store.close()
    journal.close(durable_to=journal.position())

    assert failures >= fates[:5].count("a")
    assert count(server) == 450


def test_a_replay_a_month_later_counts_once(server: Server, store: Store, tmp_path: Path) -> None:
    journal = write(tmp_path, [charge(n) for n in range(250)])
    ship(journal, store)

    server.command("DEL", *server.command("KEYS", "*:q:*"))  # receipts are gone after 48 hours
    stats = Stats()
    ship(journal, store, stats)

    assert stats == Stats()
    assert count(server) == 250


def test_a_store_absent_at_start_gets_everything_when_it_appears(
    own_server: Server, start: Callable[..., Ledger]
) -> None:
    ledger = start(own_server)
    for n in range(5):
        ledger.provisional(opened(n))
        ledger.charge(charge(n))
    assert ledger.flush(0.05) is False
    assert ledger.period_total(ADA) is None
    assert ledger.stats.failures > 0

    own_server.start()

    assert ledger.flush(10)
    assert count(own_server) == ledger.stats.journalled == ledger.stats.shipped == 5


def test_a_store_killed_and_restarted_misses_nothing(own_server: Server, start: Callable[..., Ledger]) -> None:
    own_server.start()
    ledger = start(own_server, outside=outside())
    numbers = iter(range(10_000))
    for _ in range(3):
        for _ in range(150):
            ledger.charge(charge(next(numbers)))
        assert ledger.flush(10)
        own_server.kill()
        for _ in range(150):
            ledger.charge(charge(next(numbers)))
        own_server.start()
    assert ledger.flush(10)

    reached(own_server, ledger.stats.journalled)
    assert ledger.stats.lost == ledger.stats.gaps == 0


def _set_back(
    server: Server, ledger: Ledger, folder: Path, first: int, second: int, *, segments: int | None = None
) -> None:
    """Charges, a copy of the store's files on disk, more charges, then the store dies and comes back as the copy."""
    for n in range(first):
        ledger.charge(charge(n))
    assert ledger.flush(10)
    server.command("CONFIG", "SET", "appendfsync", "always")  # the copy is taken at a point of fsync
    server.command("SET", "fsync", "now")
    shutil.copytree(server.store / "appendonlydir", folder / "older")
    server.command("CONFIG", "SET", "appendfsync", "everysec")
    for n in range(first, first + second):
        ledger.charge(charge(n))
    assert ledger.flush(10)
    if segments is not None:
        eventually(lambda: len(list(folder.glob("journals/*/[0-9]*.log"))) == segments)
    server.kill()
    shutil.rmtree(server.store / "appendonlydir")
    shutil.copytree(folder / "older", server.store / "appendonlydir")
    server.start()


class Never(Applied):
    """The disk never confirms: what a crash within the second of an fsync looks like."""

    def done(self) -> bool:
        return False


def test_a_store_set_back_to_an_older_file_is_brought_forward(
    own_server: Server, start: Callable[..., Ledger], tmp_path: Path
) -> None:
    own_server.start()
    ledger = start(own_server, outside=outside(lambda *_: Never()), segment_bytes=10_000)

    _set_back(own_server, ledger, tmp_path, 300, 300)
    ledger.charge(charge(600))

    reached(own_server, 601)
    assert ledger.stats.gaps == ledger.stats.lost == 0


def test_dropping_records_as_soon_as_applied_would_lose_charges_and_is_noticed(
    own_server: Server, start: Callable[..., Ledger], tmp_path: Path
) -> None:
    own_server.start()
    ledger = start(own_server, outside=outside(applied_at_once), segment_bytes=10_000)

    _set_back(own_server, ledger, tmp_path, 300, 300, segments=1)
    ledger.charge(charge(600))
    assert ledger.flush(10)

    eventually(lambda: ledger.stats.gaps > 0)
    assert count(own_server) == 601 - ledger.stats.gaps < 601


def test_a_set_back_is_repaired_without_a_new_charge(
    own_server: Server, start: Callable[..., Ledger], tmp_path: Path
) -> None:
    own_server.start()

    class BreaksWithTheServer(SafeDelay):
        """Like WAITAOF, it notices when the server that holds its mark is gone."""

        def done(self) -> bool:
            if not keeper.answers(own_server.address):
                raise StoreError("gone")
            return False

    ledger = start(own_server, outside=outside(lambda *_: BreaksWithTheServer()))

    _set_back(own_server, ledger, tmp_path, 100, 100)

    reached(own_server, 200)


def test_a_set_back_that_nobody_noticed_is_found_before_a_record_leaves_the_journal(
    server: Server, store: Store, tmp_path: Path
) -> None:
    journal = write(tmp_path, [charge(n) for n in range(100)], segment_bytes=5_000)
    shipment = ship(journal, store)

    server.command("FLUSHALL")  # as if restarted from an older file, between two commands
    assert shipment.settle() is False
    while shipment.ship():
        pass

    assert count(server) == 100
    assert shipment.settle() is True


def test_segments_leave_the_journal_when_the_store_has_them_on_disk(
    own_server: Server, start: Callable[..., Ledger], tmp_path: Path
) -> None:
    own_server.start()
    ledger = start(own_server, outside=outside(), segment_bytes=10_000)
    for n in range(500):
        ledger.charge(charge(n))
    assert ledger.flush(10)

    eventually(lambda: len(list(tmp_path.glob("journals/*/[0-9]*.log"))) == 1)
    own_server.kill()
    own_server.start()
    ledger.charge(charge(500))
    assert ledger.flush(10)
    assert count(own_server) == 501
    eventually(lambda: int(own_server.command("GET", schema.mark_key(0))) > 0)


def test_a_server_without_waitaof_is_given_time(server: Server) -> None:
    now_s = 0.0
    delay = SafeDelay(delay_s=2.5, monotonic=lambda: now_s)

    policy = WaitAof(server.url, delay=delay)
    server.command("CONFIG", "SET", "appendonly", "no")
    try:
        policy.begin()
        eventually(lambda: policy._marks[0].is_answered())
        now_s = 2.4
        assert policy.done() is False
        now_s = 2.5
        assert policy.done() is True
        assert policy.done() is False  # there is no mark any more
        policy.begin()
        policy.cancel()
    finally:
        server.command("CONFIG", "SET", "appendonly", "yes")
    delay.cancel()
    assert delay.done() is False


def test_a_wait_that_ends_without_a_confirmation_goes_on(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    own_server.start("--appendfsync", "no")
    monkeypatch.setattr(marks, "_WAIT_MS", 1)
    policy = WaitAof(own_server.url)
    policy.begin()

    eventually(lambda: policy.done() or int(own_server.command("GET", schema.mark_key(0))) > 3)

    policy.cancel()


def test_a_mark_whose_server_died_is_in_doubt(own_server: Server) -> None:
    own_server.start("--appendfsync", "no")  # so that the mark stays open
    policy = WaitAof(own_server.url)
    policy.begin()
    assert policy.done() is False
    own_server.kill()

    with pytest.raises(StoreError):
        eventually(policy.done)
    with pytest.raises(StoreError):
        policy.begin()
    own_server.start()
    policy.begin()
    eventually(policy.done)


def test_what_waitaof_confirms_is_believed_once_an_fsync_has_begun_and_ended_since(server: Server) -> None:
    now_s = 0.0
    policy = WaitAof(server.url, monotonic=lambda: now_s)
    policy.begin()
    eventually(lambda: policy.done() or policy._marks[0]._due_s is not None)

    assert policy.done() is False
    now_s = 1.4
    assert policy.done() is False
    now_s = 1.5
    eventually(policy.done)

    policy.cancel()


def _persistence(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, str]], None]) -> None:
    """Let the server say something else of its file."""
    info = marks.Mark._info

    def told(mark: marks.Mark, section: str) -> dict[str, str]:
        facts = info(mark, section)
        if section == "persistence":
            change(facts)
        return facts

    monkeypatch.setattr(marks.Mark, "_info", told)


def test_a_file_that_cannot_be_written_is_not_durable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = WaitAof(server.url, fsync_s=0.0)
    policy.begin()
    asked: list[str] = []

    def broken(facts: dict[str, str]) -> None:
        asked.append(facts["aof_last_write_status"])
        facts["aof_last_write_status"] = "err"

    with monkeypatch.context() as patch:
        _persistence(patch, broken)
        eventually(lambda: policy.done() or len(asked) > 3)
        assert policy.done() is False
    eventually(policy.done)

    policy.cancel()


def test_a_server_that_does_not_tell_of_its_fsyncs_is_given_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    _persistence(monkeypatch, dict.clear)
    now_s = 0.0
    policy = WaitAof(server.url, delay=SafeDelay(delay_s=2.5, monotonic=lambda: now_s))
    policy.begin()
    eventually(lambda: policy.done() or not policy._marks[0].is_on_disk)

    assert policy.done() is False
    now_s = 2.5
    assert policy.done() is True

    policy.cancel()


def test_damage_is_counted_and_costs_only_its_record(store: Store, server: Server, tmp_path: Path) -> None:
    journal = write(tmp_path, [charge(n) for n in range(5)])
    path = next(journal.folder.glob("[0-9]*.log"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    stats = Stats()

    ship(journal, store, stats)
    ship(journal, store)

    assert (stats.shipped, stats.lost) == (4, 1)
    assert count(server) == 4


def test_documents_arrive_before_their_charges_and_once(server: Server, start: Callable[..., Ledger]) -> None:
    ledger = start(server)
    ledger.document("5f0c", '{"model": "first"}')
    ledger.document("5f0c", '{"model": "second"}')
    ledger.charge(charge(1))
    assert ledger.flush(10)

    with ledger.reader() as reader:
        assert reader.document("5f0c") == '{"model": "first"}'
    assert [frame for frame in _kinds(ledger) if frame == Kind.DOCUMENT] == [Kind.DOCUMENT]


def _kinds(ledger: Ledger) -> list[int]:
    from tests.ledger.test_journal import read_all

    return [frame.kind for frame in read_all(ledger._writable().folder)]


def test_a_forgotten_exchange_opens_no_account(server: Server, start: Callable[..., Ledger], tmp_path: Path) -> None:
    ledger = start(server)
    ledger.provisional(opened(1))
    ledger.forget(opened(1).request_id)
    ledger.close()

    second = start(server)
    eventually(lambda: not [path for path in tmp_path.glob("journals/*") if path.name != second._writable().journal_id])
    assert count(server) == 0
    assert second.stats.adopted == 0


def test_a_users_month_is_known_after_a_charge_and_fetched_where_it_is_not(
    server: Server, start: Callable[..., Ledger]
) -> None:

    def clock() -> float:
        return NOV_23_MS / 1000 + 60

    first = start(server, outside=outside(applied_at_once, clock=clock))
    assert first.period_total(ADA) is None
    eventually(lambda: first.period_total(ADA) is not None)
    first.charge(charge(1))
    assert first.flush(10)
    total = first.period_total(ADA)
    assert total is not None
    assert (total.period, total.requests_count, total.energy_microjoules) == (MONTH, 1, 1_001)
    assert total.water_nanolitres == 1_004 + 1_005
    assert total.read_at_s == clock()

    second = start(server, outside=outside(applied_at_once, clock=clock))
    eventually(lambda: second.period_total(ADA) == total)
    eventually(lambda: second.period_total("c1" * 16) is not None)


def test_another_identity_key_refuses_to_start_and_names_the_remedy(
    server: Server, start: Callable[..., Ledger]
) -> None:
    start(server)

    with pytest.raises(ConfigError, match=r"another identity key .*restore the key file"):
        start(server, key_fingerprint="fedcba9876543210")


def test_another_schema_refuses_to_start(server: Server, start: Callable[..., Ledger]) -> None:
    server.command("HSET", "hw2:meta", "schema", "3")

    with pytest.raises(ConfigError, match="schema 3, this version of headwater needs 2"):
        start(server)


def test_a_wrong_store_that_appears_later_gets_nothing(
    own_server: Server, start: Callable[..., Ledger], caplog: pytest.LogCaptureFixture
) -> None:
    own_server.start("--appendfsync", "always")
    own_server.command("HSET", "hw2:meta", "key", "fedcba9876543210")
    own_server.kill()
    ledger = start(own_server)
    ledger.charge(charge(1))

    own_server.start()

    eventually(lambda: "another identity key" in caplog.text)
    assert ledger.stats.shipped == 0
    assert own_server.command("KEYS", "*") == ["hw2:meta"]


def test_an_address_that_is_none_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    ledger = Ledger(data_dir=tmp_path, redis_url="nonsense", key_fingerprint=KEY)

    with pytest.raises(ConfigError, match="HEADWATER_REDIS_URL 'nonsense'"):
        ledger.start()
    with pytest.raises(ConfigError, match="HEADWATER_REDIS_URL 'nonsense'"):
        Reader.open(data_dir=tmp_path, redis_url="nonsense")
    assert list(tmp_path.glob("journals/*")) == []


def test_a_ledger_that_is_not_started_says_so(tmp_path: Path) -> None:
    ledger = Ledger(data_dir=tmp_path, redis_url="redis://127.0.0.1:1", key_fingerprint=KEY)

    with pytest.raises(LedgerError, match="call start"):
        ledger.charge(charge(1))
    with pytest.raises(LedgerError, match="call start"):
        ledger.reader()
    assert ledger.stats.lost == 1
    ledger.close()


def test_a_store_that_may_evict_accounts_is_warned_of(
    server: Server, start: Callable[..., Ledger], caplog: pytest.LogCaptureFixture
) -> None:
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        start(server)
    finally:
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")

    assert "set it to noeviction" in caplog.text


def test_a_server_that_forbids_config_is_used_all_the_same(server: Server, start: Callable[..., Ledger]) -> None:
    server.command("ACL", "SETUSER", "modest", "on", ">secret", "~*", "&*", "+@all", "-config")
    modest = Server.__new__(Server)
    modest.url = server.url.replace("unix://", "unix://modest:secret@")
    try:
        ledger = start(modest)
        ledger.charge(charge(1))
        assert ledger.flush(10)
    finally:
        server.command("ACL", "DELUSER", "modest")


def test_a_defect_in_shipping_does_not_end_it(
    server: Server, start: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = start(server)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "apply", lambda *_: 1 / 0)
        ledger.charge(charge(1))
        eventually(lambda: "shipping failed" in caplog.text)

    assert ledger.flush(10)
    assert count(server) == 1


def test_closing_ships_the_rest_and_leaves_no_journal(
    server: Server, start: Callable[..., Ledger], tmp_path: Path
) -> None:
    ledger = start(server, outside=Outside(durability=applied_at_once, timing=Timing(cycle_s=60.0)))
    for n in range(300):
        ledger.charge(charge(n))

    ledger.close()

    assert count(server) == 300
    assert list(tmp_path.glob("journals/*")) == []


def test_closing_without_a_store_is_bounded_and_keeps_the_journal(
    own_server: Server, start: Callable[..., Ledger], tmp_path: Path
) -> None:
    ledger = start(own_server)
    ledger.charge(charge(1))

    ledger.close(timeout_s=0.05)
    assert len(list(tmp_path.glob("journals/*"))) == 1

    own_server.start()
    start(own_server)
    reached(own_server, 1)


def test_a_failure_to_journal_is_raised_and_counted(
    server: Server, start: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = start(server)

    with pytest.raises(LedgerError, match="cannot be stored"):
        ledger.charge(charge(1, ended_ms=2**63))

    assert (ledger.stats.lost, ledger.stats.journalled) == (1, 0)


def _refuse(*_: object) -> int:
    raise OSError(errno.ENOSPC, "no space left on device")


def test_charges_that_a_full_disk_refused_are_written_when_it_has_room_again(
    server: Server, start: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = start(server)

    with monkeypatch.context() as full:
        full.setattr(syscalls, "write", _refuse)
        for number in range(3):
            with pytest.raises(LedgerError, match="no space left"):
                ledger.charge(charge(number))
    ledger.charge(charge(3))

    assert ledger.flush(10.0)
    assert count(server) == 4
    assert (ledger.stats.journalled, ledger.stats.lost) == (4, 0)


def test_what_a_full_disk_refuses_to_the_end_is_counted_as_lost(
    server: Server, start: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.ledger.ledger.MOST_LATE_COUNT", 2)
    ledger = start(server)

    with monkeypatch.context() as full:
        full.setattr(syscalls, "write", _refuse)
        for number in range(3):
            with pytest.raises(LedgerError, match="no space left"):
                ledger.charge(charge(number))
        ledger.close()

    assert ledger.stats.lost == 3


def test_closing_writes_what_waited_for_room(
    server: Server, start: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = start(server)

    with monkeypatch.context() as full:
        full.setattr(syscalls, "write", _refuse)
        with pytest.raises(LedgerError, match="no space left"):
            ledger.charge(charge(1))
    ledger.close()

    assert ledger.stats.lost == 0
    eventually(lambda: count(server) == 1)


def test_something_else_under_our_keys_is_reported_and_stepped_over(
    server: Server, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = charge(1)
    row = schema.user_key(0, ADA, MONTH, schema.part_of(one.model, one.site))
    server.command("SET", row, "foreign")
    server.command("LPUSH", schema.user_key(0, ADA, DAY), "foreign")
    server.command("SET", schema.bases_key(0, MONTH), "foreign")
    journal = write(tmp_path, [one])

    ship(journal, store)

    assert "3 sums of journal j1 were refused: something else writes to the ledger's keys" in caplog.text
    assert server.command("GET", row) == "foreign"
    assert Reader(store).totals(MONTH).requests_count == Reader(store).totals(DAY).requests_count == 1
    assert list(Reader(store).ledger_entries()) == [one]


def test_reading_without_a_store_is_an_error_of_the_ledger(own_server: Server, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="does not answer"):
        Reader.open(data_dir=tmp_path, redis_url=own_server.url)


def test_labels_of_the_settings_stand_in_the_rows(server: Server, start: Callable[..., Ledger]) -> None:
    ledger = start(server, labels={ADA: "ada"})
    ledger.charge(charge(1))
    assert ledger.flush(10)

    with ledger.reader() as reader:
        assert reader.user_row(ADA, MONTH).label == "ada"
        assert reader.labels() == {ADA: "ada"}
