"""Every kind of damage to an account is named; accounts that are as they should be are equal to the last unit."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from headwater.audit import Audit, Difference, as_document, as_text, audit, recount, run, shard
from headwater.audit.recount import days_of, end_ms, lanes, sums_in
from headwater.cli import app
from headwater.errors import ConfigError, LedgerError
from headwater.exports import Exported, Folder, export
from headwater.ledger import packing, rows, schema
from headwater.ledger.batch import Batch
from headwater.ledger.books import Books
from headwater.ledger.connection import READ_TIMEOUT_S
from headwater.ledger.exact import Exact
from headwater.ledger.exporting import Position, Subscription
from headwater.ledger.glance import glance
from headwater.ledger.people import People
from headwater.ledger.redis import Store
from headwater.records import Charge
from tests.ledger.conftest import Add
from tests.ledger.strategies import charges
from tests.ledger.support import ADA, BOB, DAY, KEY, MONTH, NOV_23_MS, Server, charge, opened

STREAM = schema.stream_key(0)
PART = schema.part_of("llama-3.1-70b", "azure-westus3")
DAY_MS = 86_400_000
EVE = "e0" * 16


def now_s() -> float:
    return NOV_23_MS / 1_000 + 6 * 86_400


def some(count: int = 12) -> list[Charge]:
    """Charges of two users, three days, two models, one of them without a footprint and without a deployment."""
    made = [
        charge(
            number,
            user=(ADA, BOB)[number % 2],
            model=("llama-3.1-70b", "qwen3-32b")[number % 4 == 0],
            ended_ms=NOV_23_MS + number % 3 * DAY_MS,
        )
        for number in range(1, count)
    ]
    return [*made, opened(count, deployment_hash="")]


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    """A store for reading: with time for long answers."""
    made = Store(server.url, timeout_s=READ_TIMEOUT_S)
    made.check(KEY)
    yield made
    made.close()


@pytest.fixture
def books(store: Store) -> Books:
    return Books(store)


def audited(books: Books, period: str = MONTH, **options: Any) -> Audit:
    return audit(books, period, clock=now_s, **options)


def changed(books: Books, key: str, **changes: int) -> None:
    """Change some sums of a row, by hand."""
    client = books.store.client
    sums = dict(zip(rows.FIELDS, rows.read(client.get(key)), strict=True)) | changes
    client.set(key, rows.stored(tuple(sums.values())))


def only(found: Audit) -> Difference:
    assert found.differences_count == len(found.differences) == 1, found.differences
    return found.differences[0]


# -- equal -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", ["9999-12", "9999-12-31"])
def test_the_last_of_all_periods_has_an_end(store: Store, period: str) -> None:
    assert audit(Books(store), period, clock=lambda: 0.0).is_equal


def test_accounts_as_they_should_be_are_equal_to_the_last_unit(add: Add, books: Books) -> None:
    add(*some())

    found = audited(books)

    assert found.is_equal, found.differences
    assert (found.charges_count, found.users_count) == (12, 2)
    assert found.equal == {"user month": 3, "user day": 6, "total month": 2, "total day": 3, "basis": 2}
    assert "Everything is equal to the last unit." in as_text(found)
    assert as_document(found)["is_equal"] is True


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    made=st.lists(
        charges(
            amounts=st.integers(-(2**62), 2**62),
            times_ms=st.integers(NOV_23_MS - 40 * DAY_MS, NOV_23_MS + 20 * DAY_MS),
        ),
        max_size=12,
        unique_by=lambda each: each.request_id,
    )
)
def test_any_charges_are_recounted_to_the_last_unit(
    session_server: Server, made: list[Charge], tmp_path_factory: pytest.TempPathFactory
) -> None:
    session_server.command("FLUSHALL")
    store = Store(session_server.url)
    store.check(KEY)
    for number, each in enumerate(made):
        store.apply(Batch("j", 0, number, number + 1, [glance(packing.pack(each))]))

    for period in ("2026-10", "2026-11", "2026-12", DAY):
        found = audited(Books(store), period)
        assert found.is_equal, found.differences
        assert found.charges_count == sum(
            period in (day, day[:7]) for day in (schema.periods(each.ended_ms)[0] for each in made)
        )
    store.close()


def test_an_empty_ledger_is_equal(books: Books) -> None:
    assert audited(books).is_equal
    assert audited(books, DAY).equal == {}


def test_a_day_is_audited_alone(add: Add, books: Books) -> None:
    add(*some())
    changed(books, schema.user_key(0, ADA, "2026-11-24"), requests_count=77)
    changed(books, schema.user_key(0, ADA, MONTH, PART), requests_count=77)

    assert audited(books, DAY).equal == {"user day": 2, "total day": 1}
    assert audited(books, DAY).is_equal
    assert only(audited(books, "2026-11-24")).account == 77


def test_shards_are_audited_one_by_one(server: Server) -> None:
    server.command("HSET", schema.META, "shards", "4", "key", KEY, "schema", str(schema.SCHEMA_VERSION))
    store = Store(server.url)
    store.check(KEY)
    users = [f"{number:032x}" for number in range(12)]
    for number, user in enumerate(users):
        each = charge(number, user=user)
        store.apply(Batch(f"j{number}", schema.shard_of(user, 4), 0, 1, [glance(packing.pack(each))]))
    assert len({schema.shard_of(user, 4) for user in users}) == 4

    found = audited(Books(store))

    assert found.is_equal, found.differences
    assert (found.charges_count, found.equal["user month"], found.equal["total month"]) == (12, 12, 4)
    changed(Books(store), schema.total_key(3, MONTH, PART), requests_count=0)
    assert only(audited(Books(store))).shard == 3
    store.close()


@pytest.mark.parametrize("limit", ["MOST_ROWS", "MOST_REQUESTS"])
def test_many_users_are_counted_some_at_a_time(
    add: Add, books: Books, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(recount, "LOOK_EVERY", 4)
    monkeypatch.setattr(recount, "FEW_ROWS", 0)
    monkeypatch.setattr(recount, limit, 10)
    monkeypatch.setattr(shard, "_USERS_COUNT", 3)
    add(*(charge(number, user=f"{number * 977:032x}") for number in range(1, 61)))
    passes: list[range] = []

    class Counted(recount.Recount):
        def __init__(self, period: str, buckets: range) -> None:
            super().__init__(period, buckets)
            passes.append(buckets)

    monkeypatch.setattr(shard, "Recount", Counted)

    found = audited(books)

    assert found.is_equal, found.differences
    assert (found.users_count, found.charges_count) == (60, 60)
    assert len(passes) > 4
    changed(books, schema.user_key(0, f"{977:032x}", DAY), energy_microjoules=1)
    assert only(audited(books)).user == f"{977:032x}"


def test_one_busy_user_is_counted_at_once(add: Add, books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cannot be divided: what is held is held."""
    monkeypatch.setattr(recount, "LOOK_EVERY", 4)
    monkeypatch.setattr(recount, "MOST_REQUESTS", 10)
    add(*(charge(number) for number in range(1, 31)))

    assert audited(books).charges_count == 30


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("period", "part"), [(MONTH, PART), (DAY, "")])
def test_a_row_changed_by_hand_is_named(add: Add, books: Books, period: str, part: str) -> None:
    add(*some())
    key = schema.user_key(0, ADA, period, part)
    energy = dict(zip(rows.FIELDS, rows.read(books.store.client.get(key)), strict=True))["energy_microjoules"]
    changed(books, key, energy_microjoules=energy - 1)

    found = audited(books)

    difference = only(found)
    assert (difference.what, difference.user, difference.period, difference.field) == (
        "user",
        ADA,
        period,
        "energy_microjoules",
    )
    assert (difference.account, difference.stream, difference.more) == (energy - 1, energy, -1)
    words = f"energy_microjoules is {energy - 1} in the account, {energy} in the single charges, difference -1"
    assert words in as_text(found)
    assert "NOT EQUAL: 1 differences" in as_text(found)


@pytest.mark.parametrize(("period", "part"), [(MONTH, PART), (DAY, "")])
def test_a_lost_row_is_named(add: Add, books: Books, period: str, part: str) -> None:
    add(*some())
    books.store.client.delete(schema.user_key(0, ADA, period, part))

    found = audited(books)

    assert (only(found).what, only(found).user, only(found).account) == ("user", ADA, None)
    assert only(found).stream == sum(
        each.user == ADA and (each.model == "llama-3.1-70b" if part else schema.periods(each.ended_ms)[0] == DAY)
        for each in some()
    )
    assert "there is no row; the single charges have requests_count" in as_text(found)


def test_a_row_that_nobody_was_charged_is_named(add: Add, books: Books) -> None:
    add(*some())
    client = books.store.client
    client.set(schema.user_key(0, ADA, "2026-11-03"), client.get(schema.user_key(0, ADA, DAY)))

    found = audited(books)

    assert found.differences_count > 10  # every sum of it
    assert {(each.user, each.period, each.stream) for each in found.differences} == {(ADA, "2026-11-03", 0)}


def test_a_lost_index_member_is_named(add: Add, books: Books) -> None:
    add(*some())
    key = schema.index_key(0, MONTH, schema.bucket_of(BOB))
    books.store.client.srem(key, schema.index_member(BOB, PART))

    found = audited(books)

    assert (only(found).what, only(found).user, only(found).model) == ("index", BOB, "llama-3.1-70b")
    assert "does not name this row, so no report shows it" in as_text(found)


def test_a_lost_bit_of_the_index_is_named(add: Add, books: Books) -> None:
    add(*some())
    books.store.client.setbit(schema.buckets_key(0, MONTH), schema.bucket_of(BOB), 0)

    found = audited(books)

    assert {(each.what, each.user) for each in found.differences} == {("index", BOB)}


def test_an_index_member_without_a_row_is_named(add: Add, books: Books) -> None:
    add(*some())
    key = schema.index_key(0, MONTH, schema.bucket_of(ADA))
    books.store.client.sadd(key, schema.index_member(ADA, "gone"))

    found = audited(books)

    assert (only(found).what, only(found).user) == ("index", ADA)
    assert "names a row, and there is none" in as_text(found)


def test_a_lost_stream_entry_is_named_in_every_account_it_was_in(add: Add, books: Books) -> None:
    add(*some())
    entries = list(books.stream(0))
    lost = packing.unpack(entries[2].packed)
    books.store.client.xdel(STREAM, entries[2].entry_id)

    found = audited(books)

    of_requests = {
        (each.what, each.user, each.period): each.more
        for each in found.differences
        if each.field in ("requests_count", "5f0c")
    }
    day = schema.periods(lost.ended_ms)[0]
    assert of_requests[("user", lost.user, MONTH)] == of_requests[("user", lost.user, day)] == 1
    assert found.differences_count > len(found.differences) == 20
    assert f"and {found.differences_count - 20:,} more" in as_text(found)


def test_a_doubled_stream_entry_is_named_even_where_accounts_have_it_twice(add: Add, books: Books) -> None:
    add(*some())
    twice = packing.unpack(next(books.stream(0)).packed)
    add(twice)  # by another journal: what must never happen

    found = audited(books)

    assert (only(found).what, only(found).user, only(found).field) == ("stream", twice.user, twice.request_id)
    assert f"request {twice.request_id} stands twice in the ledger stream" in as_text(found)


def test_a_doubled_stream_entry_alone_is_named_with_all_it_changes(add: Add, books: Books) -> None:
    add(charge())
    books.store.client.xadd(STREAM, {schema.STREAM_FIELD: packing.pack(charge())})

    found = audited(books)

    assert found.differences[0].what == "stream"
    assert {(each.what, each.more) for each in found.differences if each.field == "requests_count"} == {("user", -1)}


@pytest.mark.parametrize(("period", "part"), [(MONTH, PART), (DAY, "")])
def test_a_wrong_total_is_named(add: Add, books: Books, period: str, part: str) -> None:
    add(*some())
    changed(books, schema.total_key(0, period, part), output_tokens=1)

    found = audited(books)

    difference = only(found)
    assert (difference.what, difference.user, difference.period, difference.field, difference.account) == (
        "total",
        "",
        period,
        "output_tokens",
        1,
    )
    assert f"total, {period}" in as_text(found)


@pytest.mark.parametrize(("document", "count"), [("5f0c", 1), ("f00d", 3), (schema.NO_DOCUMENT, -1)])
def test_a_wrong_count_of_a_document_is_named(add: Add, books: Books, document: str, count: int) -> None:
    add(*some())
    books.store.client.hincrby(schema.bases_key(0, MONTH), document, count)

    found = audited(books)

    assert (only(found).what, only(found).field, only(found).more) == ("basis", document, count)
    assert f"document {document}, {MONTH}, shard 0: the store counts" in as_text(found)


def test_what_is_no_row_is_said(add: Add, books: Books) -> None:
    add(*some())
    books.store.client.set(schema.user_key(0, ADA, DAY), b"abc")

    with pytest.raises(LedgerError, match="a row of 3 bytes is none of ours; the store was changed by another hand"):
        audited(books)


def test_a_charge_that_cannot_be_read_is_named(add: Add, books: Books) -> None:
    add(*some())
    entry_id = books.store.client.xadd(STREAM, {schema.STREAM_FIELD: b"\x04"}).decode()

    with pytest.raises(LedgerError, match=f"charge {entry_id} of the ledger stream: .* malformed"):
        audited(books)


# -- people, clocks, lifetimes -------------------------------------------------------------------------------------------


def erase(books: Books, user: str) -> None:
    """As the command does."""
    People(books).erase(user)


def test_who_was_erased_is_taken_at_the_accounts_word(add: Add, books: Books) -> None:
    add(*some())
    erase(books, BOB)

    found = audited(books)
    day = audited(books, DAY)

    assert found.is_equal, found.differences
    assert found.erased_count == sum(each.user == BOB for each in some())
    assert day.is_equal, day.differences
    assert day.erased_count == sum(each.user == BOB and schema.periods(each.ended_ms)[0] == DAY for each in some())
    assert f"{found.erased_count}  requests of people who were erased" in as_text(found)


def test_accounts_of_the_erased_must_still_add_up_to_the_totals(add: Add, books: Books) -> None:
    add(*some())
    erase(books, BOB)
    changed(books, schema.user_key(0, schema.ERASED, MONTH, PART), energy_microjoules=1)

    found = audited(books)

    assert (only(found).what, only(found).field) == ("total", "energy_microjoules")


def test_counts_of_documents_must_add_up_with_the_erased(add: Add, books: Books) -> None:
    add(*some())
    erase(books, BOB)
    books.store.client.hincrby(schema.bases_key(0, MONTH), "5f0c", 1)

    assert {each.what for each in audited(books).differences} == {"basis"}


def test_charges_that_the_servers_clock_puts_before_their_month_are_found(add: Add, books: Books) -> None:
    later_ms = (int(time.time() * 1000) // DAY_MS + 90) * DAY_MS
    add(charge(ended_ms=later_ms))
    month = schema.periods(later_ms)[1]

    found = audit(books, month, clock=lambda: later_ms / 1_000)

    assert found.is_equal, found.differences
    assert found.charges_count == 1


def test_a_month_whose_charges_are_no_longer_kept_cannot_be_audited(add: Add, books: Books) -> None:
    add(*some())

    with pytest.raises(LedgerError, match=r"single charges are kept for 400 days; audit an export of it, with --from"):
        audit(books, MONTH, clock=lambda: now_s() + 400 * 86_400)


# -- while charges come in -----------------------------------------------------------------------------------------------


def test_charges_between_the_recount_and_each_row_are_added(
    add: Add, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before every reading of rows, one more charge: of a known user, of a new one, of another month, by another document."""
    add(*some())
    numbers = iter(range(100, 200))
    more: list[Callable[[int], Charge]] = [
        lambda number: charge(number, user=ADA, deployment_hash="f00d"),
        lambda number: charge(number, user=EVE, deployment_hash=""),
        lambda number: charge(number, user=BOB, ended_ms=NOV_23_MS - 60 * DAY_MS),
    ]
    real = Exact._between

    def busy(self: Exact, *command: str) -> Any:
        number = next(numbers)
        add(more[number % 3](number))
        return real(self, *command)

    monkeypatch.setattr(Exact, "_between", busy)
    monkeypatch.setattr(shard, "_SUSPECTS_COUNT", 2)
    first = audited(books)
    monkeypatch.setattr(run, "ROUNDS", 1)
    changed(books, schema.user_key(0, ADA, MONTH, PART), cached_tokens=-5)
    second = audited(books)

    assert first.is_equal, first.differences
    assert first.charges_count == 12
    assert [(each.user, each.field, each.account) for each in second.differences] == [(ADA, "cached_tokens", -5)]


def test_a_running_month_is_audited_under_load(add: Add, books: Books, server: Server) -> None:
    add(*some())
    writer = Store(server.url, timeout_s=5.0)
    writer.check(KEY)
    ended = threading.Event()
    sent: list[int] = []

    def load() -> None:
        while not ended.is_set():
            number = len(sent) + 1
            each = [charge(1_000 + 5 * number + at, user=f"{(number + at) % 7:032x}") for at in range(5)]
            writer.apply(Batch("load", 0, number - 1, number, [glance(packing.pack(one)) for one in each]))
            sent.append(number)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        found = [audited(books) for _ in range(5)]
    finally:
        ended.set()
        thread.join()
        writer.close()

    assert [each.differences for each in found] == [[]] * 5
    assert found[-1].charges_count > found[0].charges_count
    assert audited(books).charges_count == 12 + 5 * len(sent)


def test_a_store_that_changes_faster_than_it_can_be_read_is_said(
    add: Add, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(*some())
    ends = iter(range(10_000))
    monkeypatch.setattr("headwater.ledger.exact._last", lambda _found: Position(next(ends), 0))

    with pytest.raises(LedgerError, match="faster than the ledger can be read"):
        list(Exact(books, 0).rows(["x"]))


# -- from an export ------------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(books: Books, tmp_path: Path) -> Callable[..., Exported]:
    def make(kind: str = "jsonl", ledger: str = KEY) -> Exported:
        with Folder(tmp_path / kind, kind, ledger=ledger) as folder:
            feed = Subscription(books, folder.name)
            feed.begin({})
            export(feed, folder)
        return Exported(tmp_path / kind)

    return make


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_export_and_the_stream_beyond_it_are_audited(
    add: Add, books: Books, exported: Callable[..., Exported], kind: str
) -> None:
    add(*some())
    folder = exported(kind)
    books.store.client.xtrim(STREAM, maxlen=0, approximate=False)
    add(charge(77), charge(78, ended_ms=NOV_23_MS - 60 * DAY_MS))

    found = audited(books, exported=folder)

    assert found.is_equal, found.differences
    assert found.charges_count == 13
    assert not audited(books).is_equal


def test_a_charge_that_an_export_holds_twice_counts_once(
    add: Add, books: Books, exported: Callable[..., Exported], tmp_path: Path
) -> None:
    add(*some())
    exported()
    path = next((tmp_path / "jsonl").glob(f"day={DAY}/*.jsonl"))
    first = path.read_text().splitlines()[0]
    path.with_name("part-s00-1-0_2-0.jsonl").write_text(first + "\n")

    found = audited(books, exported=Exported(tmp_path / "jsonl"))

    assert found.is_equal, found.differences
    assert found.repeated_count == 1
    assert "1  charges stand more than once in the export: counted once" in as_text(found)


def test_a_request_that_an_export_has_from_two_places_is_named(
    add: Add, books: Books, exported: Callable[..., Exported], tmp_path: Path
) -> None:
    add(*some())
    exported()
    path = next((tmp_path / "jsonl").glob(f"day={DAY}/*.jsonl"))
    row = json.loads(path.read_text().splitlines()[0])
    path.with_name("part-s00-1-0_2-0.jsonl").write_text(json.dumps(row | {"entry_id": "7-7"}) + "\n")

    found = audited(books, exported=Exported(tmp_path / "jsonl"))

    assert (found.differences[0].what, found.differences[0].field) == ("stream", row["request_id"])


def test_an_export_that_was_cut_off_has_to_be_finished_first(
    add: Add, books: Books, exported: Callable[..., Exported]
) -> None:
    add(*some())
    folder = exported()
    add(charge(77))
    feed = Subscription(books, folder.name)
    list(feed.fresh(0, feed.end(0)))

    with pytest.raises(ConfigError, match=r"was cut off .*; export into it again first"):
        audited(books, exported=folder)

    assert audited(books, exported=exported()).charges_count == 13


def test_an_export_of_another_ledger_is_refused(books: Books, exported: Callable[..., Exported]) -> None:
    with pytest.raises(ConfigError, match=f"is an export of ledger f00d, this one is {KEY}"):
        audited(books, exported=exported(ledger="f00d"))


def test_a_row_of_noon_may_be_gone_at_noon_and_not_before_its_day(
    add: Add, books: Books, exported: Callable[..., Exported]
) -> None:
    """Rows live from when they were last written, not from the end of their period."""
    add(charge(1))
    folder = exported()
    for key in books.store.client.scan_iter("*202611??"):
        books.store.client.delete(key)
    first_s = schema.period_start_ms(DAY) / 1_000 + books.store.retention.days_s

    found = audit(books, MONTH, exported=folder, clock=lambda: first_s + 43_201)

    assert (found.differences, found.gone_count) == ([], 2)
    assert not audit(books, MONTH, exported=folder, clock=lambda: first_s - 1).is_equal


def test_days_that_were_kept_for_their_time_need_not_be_there(
    add: Add, books: Books, exported: Callable[..., Exported]
) -> None:
    add(*some())
    folder = exported()
    for key in books.store.client.scan_iter("*202611??"):
        books.store.client.delete(key)

    found = audit(books, MONTH, exported=folder, clock=lambda: now_s() + 420 * 86_400)

    assert found.is_equal, found.differences
    assert (found.gone_count, found.equal["user month"]) == (9, 3)
    assert "9  rows are no longer kept" in as_text(found)
    assert not audited(books, exported=folder).is_equal


# -- the command ---------------------------------------------------------------------------------------------------------


def test_the_command_tells_and_exits_with_1_where_something_differs(
    add: Add, books: Books, server: Server, tmp_path: Path
) -> None:
    now_ms = int(time.time() * 1000)
    day, month = schema.periods(now_ms)
    add(*(replace(each, ended_ms=now_ms) for each in some()))
    where = {"HEADWATER_REDIS_URL": server.url, "HEADWATER_DATA_DIR": str(tmp_path / "data")}

    def ask(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["audit", *arguments], env=where)

    exported = CliRunner().invoke(app, ["export", "--to", str(tmp_path / "out")], env=where)
    good = ask("--month", month)
    of_day = ask("--day", day, "--json")
    from_export = ask("--month", month, "--from", str(tmp_path / "out"), "--json")
    changed(books, schema.user_key(0, ADA, day), requests_count=99)
    bad = ask("--month", month, "--json")

    assert exported.exit_code == good.exit_code == of_day.exit_code == from_export.exit_code == 0, good.output
    assert "Everything is equal to the last unit." in good.stdout
    assert json.loads(of_day.stdout)["equal_rows"]["user_day"] == 2
    assert json.loads(from_export.stdout)["charges_count"] == 12
    assert bad.exit_code == 1
    (difference,) = json.loads(bad.stdout)["differences"]
    assert (difference["user"], difference["field"], difference["account"]) == (ADA, "requests_count", 99)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--month", "2026-11", "--day", "2026-11-23"], "exclude each other"),
        (["--month", "2026-13"], "a month is written like 2026-11, not '2026-13'"),
        (["--month", "2026-11-23"], "a month is written like 2026-11"),
        (["--day", "2026-11"], "a day is written like 2026-11-23"),
        (["--day", "2026-11-31"], "a day is written like 2026-11-23"),
        (["--from", "nowhere"], "is no folder that headwater export wrote into"),
    ],
)
def test_what_cannot_be_audited_is_said(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["audit", *arguments])

    assert (done.exit_code, words in done.output) == (2, True), done.output


@given(st.lists(st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * len(rows.FIELDS)), max_size=5))
def test_rows_are_added_as_one_number(made: list[rows.Sums]) -> None:
    assert sums_in(sum(map(lanes, made))) == rows.total(made)


def test_periods_end_where_the_next_begin() -> None:
    assert end_ms("2026-11") == schema.period_start_ms("2026-12")
    assert end_ms("2026-12") == schema.period_start_ms("2027-01")
    assert end_ms("2026-12-31") == schema.period_start_ms("2027-01")
    assert days_of("2028-02")[-1] == "2028-02-29"
    assert days_of("2026-11-23") == ["2026-11-23"]
