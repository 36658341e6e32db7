"""Erasing a person: who it was goes, how much it was stays, to the last unit, wherever the process dies."""

from __future__ import annotations

import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import LedgerError
from headwater.ledger import packing, rows, schema
from headwater.ledger.books import Books
from headwater.ledger.people import Holdings, People
from headwater.ledger.reader import Reader
from headwater.ledger.redis import Store
from headwater.ledger.rows import Sums
from headwater.ledger.schema import ERASED
from headwater.records import Charge
from headwater.reports import statement
from headwater.reports.entries import month_charges
from tests.ledger.conftest import Add
from tests.ledger.dying import Died, Life, dying
from tests.ledger.strategies import charges
from tests.ledger.support import ADA, BOB, DAY, KEY, MONTH, NOV_23_MS, Server, amounts, charge, ship, write

DAY_MS = 86_400_000
TIMES = st.integers(NOV_23_MS, NOV_23_MS + 14 * DAY_MS)  # over the end of a month
SOME = st.lists(
    charges(amounts=st.integers(0, 2**58), times_ms=TIMES), max_size=20, unique_by=lambda each: each.request_id
)
PEOPLE = st.lists(st.sampled_from(["anonymous", ADA, BOB, "c1" * 16]), max_size=3)
MONTHS = (MONTH, "2026-12")
CLOCK_S = NOV_23_MS / 1_000


def opened(server: Server, *, shards_count: int = 1, life: Life | None = None) -> Store:
    """The store, as a new process finds it."""
    store = (
        Store(server.url, clock=lambda: CLOCK_S)
        if life is None
        else Store(server.url, clock=lambda: CLOCK_S, client_factory=dying(life))
    )
    store.shards_count = shards_count
    store.check(KEY)
    return store


def fill(store: Store, some: Iterable[Charge], journal_id: str = "j1") -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = write(Path(folder), some, journal_id=journal_id)
        ship(journal, store)
        journal.close(durable_to=journal.position())


def expected(some: Iterable[Charge], erased: Iterable[str]) -> dict[tuple[str, str, str, str], Sums]:
    """What accounts must say: (user, period, model, site) -> sums, days with neither model nor site."""
    found: dict[tuple[str, str, str, str], list[Sums]] = defaultdict(list)
    for each in some:
        day, month = schema.periods(each.ended_ms)
        user = ERASED if each.user in erased else each.user
        found[user, month, each.model, each.site].append(rows.sums_of(each))
        found[user, day, "", ""].append(rows.sums_of(each))
    return {place: rows.total(sums) for place, sums in found.items()}


def kept(store: Store, some: Iterable[Charge]) -> dict[tuple[str, str, str, str], Sums]:
    """What accounts say, read as reports do."""
    books = Books(store)
    found: dict[tuple[str, str, str, str], list[Sums]] = defaultdict(list)
    days = {schema.periods(each.ended_ms)[0] for each in some}
    for shard in books.shards:
        parts = books.parts(shard)
        for month in MONTHS:
            for user, part, sums in books.user_parts(shard, month):
                found[(user, month, *parts[part])].append(sums)
        for day in days:
            for user, sums in books.user_days(shard, day):
                found[user, day, "", ""].append(sums)
    return {place: rows.total(sums) for place, sums in found.items()}


def check(store: Store, some: list[Charge], erased: set[str]) -> None:
    """All that must hold when people were erased."""
    books = Books(store)
    assert kept(store, some) == expected(some, erased)
    for shard in books.shards:
        mine = [each for each in some if schema.shard_of(each.user, store.shards_count) == shard]
        for month in MONTHS:
            of_month = [each for each in mine if schema.periods(each.ended_ms)[1] == month]
            total = rows.total(map(rows.sums_of, of_month))
            assert books.total(shard, month) == total
            assert rows.total(sums for _, _, sums in books.user_parts(shard, month)) == total
            gone = [rows.sums_of(each) for each in of_month if each.user in erased]
            assert books.erased_month(shard, month) == rows.total(gone)
        left = [packing.unpack(entry.packed) for entry in books.stream(shard)]
        assert left == [each for each in mine if each.user not in erased]
    for each in some:
        receipt = books.receipt(each.request_id, each.user)
        assert (receipt is None) == (each.user in erased)
        if each.once:
            shard = schema.shard_of(each.user, store.shards_count)
            assert store.client.exists(schema.once_key(shard, each.once))  # or it would be charged again
    assert not any(user.encode() in key for key in store.client.keys("*") for user in erased)
    assert not erased & set(books.labels())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=SOME, people=PEOPLE, shards_count=st.sampled_from([1, 4]))
def test_whoever_is_erased_accounts_add_up_and_no_single_charge_is_left(
    server: Server, some: list[Charge], people: list[str], shards_count: int
) -> None:
    server.command("FLUSHALL")
    store = opened(server, shards_count=shards_count)
    store.set_labels({ADA: "ada", BOB: "bob"})
    fill(store, some)

    for user in people:
        People(Books(store)).erase(user)

    check(store, some, set(people))
    store.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=SOME, lives=st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=4))
def test_wherever_an_erasure_dies_the_next_one_ends_it(
    server: Server, some: list[Charge], lives: list[tuple[int, bool]]
) -> None:
    """Between two of them, more is charged."""
    server.command("FLUSHALL")
    store = opened(server)
    fill(store, some)
    late: list[Charge] = []
    for number, (trips_count, is_heard) in enumerate(lives):
        life = Life(1_000, is_heard=is_heard)
        dying_store = opened(server, life=life)
        life.left_count = trips_count
        with suppress(Died):
            People(Books(dying_store)).erase(ADA)
        late.append(charge(10_000 + number))
        fill(store, late[-1:], f"late-{number}")
        total = [rows.total(map(rows.sums_of, [*some, *late]))]
        assert [rows.total(Books(store).total(0, month) for month in MONTHS)] == total
        assert [rows.total(sums for (_, period, _, _), sums in kept(store, []).items() if period in MONTHS)] == total

    People(Books(store)).erase(ADA)

    check(store, some + late, {ADA})
    store.close()


def test_it_says_how_much_there_was_and_the_second_time_that_there_is_nothing(server: Server) -> None:
    store = opened(server)
    store.set_labels({ADA: "ada"})
    fill(store, [charge(1), charge(2, model="other"), charge(3, ended_ms=NOV_23_MS + 9 * DAY_MS), charge(4, user=BOB)])
    people = People(Books(store))
    ticks: list[tuple[int, float]] = []
    unlinked: list[str] = []

    assert people.holdings(ADA) == Holdings(rows_count=5, charges_count=3, has_label=True)
    assert people.erase(ADA, unlink=unlinked.append, tick=lambda *told: ticks.append(told)) == Holdings(
        rows_count=5, charges_count=3, has_label=True
    )
    assert people.holdings(ADA) == people.erase(ADA, unlink=unlinked.append) == Holdings()
    assert unlinked == [ADA, ADA]
    assert ticks == []  # fewer than one chunk
    assert people.holdings(BOB) == Holdings(rows_count=2, charges_count=1)
    store.close()


def test_what_is_charged_during_an_erasure_is_whole_in_one_account_or_the_other(server: Server) -> None:
    store = opened(server)
    fill(store, [charge(1)])

    class Late(People):
        def _move(self, shard: int, user: str, month: str) -> tuple[str, int]:
            moved = super()._move(shard, user, month)
            if month == MONTH:
                fill(store, [charge(2)], "late")
            return moved

    Late(Books(store)).erase(ADA)

    both = [charge(1, user=ERASED), charge(2)]
    assert kept(store, both) == expected(both, [])
    assert [packing.unpack(entry.packed) for entry in Books(store).stream(0)] == [charge(2)]
    store.close()


def test_months_of_a_clock_that_was_far_off_are_found_by_their_single_charges(server: Server) -> None:
    store = opened(server)
    odd = charge(1, ended_ms=5_000)
    fill(store, [odd, charge(2)])

    People(Books(store)).erase(ADA)

    part = schema.part_of(odd.model, odd.site)
    assert Books(store).user_month(ERASED, "1970-01") == {(odd.model, odd.site): rows.sums_of(odd)}
    assert store.client.exists(schema.user_key(0, ADA, "1970-01", part)) == 0
    store.close()


def test_erased_rows_live_as_long_as_the_longest_of_those_in_them(server: Server) -> None:
    store = opened(server)
    fill(store, [charge(1), charge(2, user=BOB)])
    part = schema.part_of(charge().model, charge().site)
    store.client.expire(schema.user_key(0, ADA, MONTH, part), 1_000)
    store.client.expire(schema.user_key(0, BOB, MONTH, part), 2_000)
    store.client.persist(schema.user_key(0, BOB, DAY))

    left = []
    for user in (BOB, ADA):
        People(Books(store)).erase(user)
        left.append(store.client.ttl(schema.user_key(0, ERASED, MONTH, part)))

    assert all(1_900 < each <= 2_000 for each in left)
    assert store.client.ttl(schema.user_key(0, ERASED, DAY)) > 10 * 366 * 86_400
    store.close()


def test_sums_beyond_64_bits_and_rows_of_another_version_are_added_exactly(server: Server) -> None:
    store = opened(server)
    some = [charge(number, user=user, amounts=amounts(2**62)) for number, user in enumerate([ADA] * 5 + [BOB] * 3)]
    fill(store, some)
    part = schema.part_of(charge().model, charge().site)
    key = schema.user_key(0, BOB, MONTH, part)
    longer = rows.stored((*rows.read(store.client.get(key)), 7))
    store.client.set(key, longer, ex=1_000)

    for user in (ADA, BOB):
        People(Books(store)).erase(user)

    assert Books(store).erased_month(0, MONTH) == rows.total(map(rows.sums_of, some))
    assert store.client.get(schema.user_key(0, ERASED, MONTH, part)) == rows.stored(
        (*rows.total(map(rows.sums_of, some)), 7)
    )
    store.close()


def test_what_is_no_row_stops_the_erasure_before_anything_is_changed(server: Server) -> None:
    store = opened(server)
    fill(store, [charge(1)])
    store.client.set(schema.user_key(0, ERASED, DAY), b"scribbles")
    before = {key: store.client.dump(key) for key in store.client.keys("*")}

    with pytest.raises(LedgerError, match="or 9 bytes is none of ours"):
        People(Books(store)).erase(ADA)

    assert {key: store.client.dump(key) for key in store.client.keys("*")} == before
    store.close()


def test_a_model_that_was_never_seen_before_makes_it_look_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(server)
    fill(store, [charge(1)])
    books = Books(store)
    real, tries = books.parts, iter(range(10))

    def parts(shard: int) -> dict[str, tuple[str, str]]:
        found = real(shard)
        if next(tries) == 1:
            fill(store, [charge(2, model="new")], "late")
        return found

    monkeypatch.setattr(books, "parts", parts)
    people = People(books)

    assert people.erase(ADA).rows_count == 3
    both = [charge(1), charge(2, model="new")]
    assert kept(store, both) == expected(both, [ADA])

    monkeypatch.setattr("headwater.ledger.people._TRIES", 0)
    fill(store, [charge(3)], "again")
    with pytest.raises(LedgerError, match="run it again"):
        people.erase(ADA)
    store.close()


def test_what_was_erased_is_nobodys(store: Store) -> None:
    with pytest.raises(LedgerError, match="nobody's"):
        People(Books(store)).erase(ERASED)


def test_reports_show_what_was_erased_as_one_account_and_charges_still_agree_with_it(server: Server, add: Add) -> None:
    some = [charge(number, user=f"{number:032x}") for number in range(6)]
    reader = add(*some)

    for each in some[:3]:
        reader.people.erase(each.user)

    made = statement(reader, MONTH)
    assert [row.user for row in made.rows if row.requests_count == 3] == [ERASED]
    assert made.total.requests_count == 6
    assert list(month_charges(reader, MONTH)) == some[3:]
    assert reader.user_row(ERASED, MONTH).requests_count == reader.user_row(ERASED, DAY).requests_count == 3


def test_on_several_shards_it_is_still_one_account(server: Server) -> None:
    store = opened(server, shards_count=4)
    some = [charge(number, user=f"{number:032x}") for number in range(12)]
    fill(store, some)
    reader = Reader(store)
    for each in some:
        reader.people.erase(each.user)

    assert [replace(row, label=None) for row in reader.rows(MONTH)] == [reader.user_row(ERASED, MONTH)]
    assert [row.requests_count for row in reader.rows(DAY)] == [12]
    assert reader.user_row(ERASED, DAY).requests_count == 12
    assert sum(row.requests_count for row in reader.breakdown(ERASED, MONTH).values()) == 12
    assert reader.totals(MONTH).requests_count == 12
    store.close()


def test_a_persons_charges_are_found_among_many(server: Server, add: Add) -> None:
    users = [ADA, "anonymous", "a name"]
    some = [charge(number, user=users[number] if number < 3 else BOB) for number in range(1_203)]
    reader = add(*some)
    ticks: list[tuple[int, float]] = []

    for number, user in enumerate(users):
        entries = reader.people.charges(user, lambda *told: ticks.append(told))
        assert [packing.unpack(entry.packed) for entry in entries] == [some[number]]

    assert [count for count, _ in ticks[:2]] == [500, 1_000]
    assert [ratio for _, ratio in ticks[:2]] == pytest.approx([500 / 1_203, 1_000 / 1_203])


@pytest.mark.parametrize("user", ["beef", "ab cd", "AD" * 16, "a|b:{s00}", ""])
def test_names_that_look_like_a_pseudonym_are_erased_as_what_they_are(server: Server, user: str) -> None:
    store = opened(server)
    fill(store, [charge(1, user=user), charge(2)])

    assert People(Books(store)).erase(user) == Holdings(rows_count=2, charges_count=1)
    assert [packing.unpack(entry.packed) for entry in Books(store).stream(0)] == [charge(2)]
    store.close()


def test_whoever_is_known_by_a_label_has_it_until_all_is_erased(server: Server) -> None:
    """Closed months cannot be touched for a moment: the same command again must find the same person."""
    store = opened(server)
    store.set_labels({ADA: "ada"})
    fill(store, [charge(1)])
    people = People(Books(store))

    def unlink(_user: str) -> None:
        raise LedgerError("another process closes a month")

    with pytest.raises(LedgerError, match="another process"):
        people.erase(ADA, unlink=unlink)
    assert Books(store).labels() == {ADA: "ada"}
    assert people.erase(ADA) == Holdings(has_label=True)
    assert Books(store).labels() == {}
    store.close()


def test_a_server_without_a_file_has_none_to_rewrite(own_server: Server) -> None:
    own_server.start("--appendonly", "no")
    store = opened(own_server)

    People(Books(store)).rewrite_file()

    assert store.client.info("persistence")["aof_rewrite_in_progress"] == 0
    store.close()


def test_a_rewriting_that_is_under_way_is_waited_for_and_followed_by_another(server: Server) -> None:
    store = opened(server)
    fill(store, [charge(1)])
    store.client.bgrewriteaof()
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        threading.Event().wait(seconds)

    People(Books(store)).rewrite_file(pause)

    assert waits
    assert store.client.info("persistence")["aof_last_bgrewrite_status"] == "ok"
    store.close()
