"""Closed months: what is frozen stays as it is to the byte, what comes late stands in the next one, and nothing is lost or
doubled between them, whatever dies."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import ConfigError, LedgerError
from headwater.ledger import chunks, closing, rows, schema
from headwater.ledger.books import Books
from headwater.ledger.chunks import Kept
from headwater.ledger.closer import Closer
from headwater.ledger.closing import closable_s, close
from headwater.ledger.redis import Store
from headwater.ledger.rows import NOTHING, Sums, plus
from headwater.ledger.statements import Head, Statements
from headwater.records import Charge
from tests.ledger.conftest import Add
from tests.ledger.support import ADA, BOB, KEY, Server, amounts, charge, ship, unlink, write

GRACE_H = 72
MONTHS = ("2026-10", "2026-11", "2026-12")
USERS = (ADA, BOB, "anonymous", "cé" * 16)
MODELS = ("llama-3.1-70b", "m|2")


def at_ms(text: str) -> int:
    """A moment in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


def of(number: int, month: str = "2026-10", **changes: Any) -> Charge:
    """A charge that ended in the middle of a month."""
    when = at_ms(f"{month}-15T12:00")
    return charge(number, **{"started_ms": when - 1_000, "ended_ms": when, **changes})


def closed(store: Store, month: str, **options: Any) -> Head:
    """Close a month, a year after it."""
    after_s = closable_s(month, GRACE_H) + options.pop("later_s", 365 * 86_400)
    return close(Books(store), month, grace_hours=GRACE_H, clock=lambda: after_s, **options)


def frozen(statements: Statements, head: Head) -> dict[tuple[str | None, str, tuple[str, str]], Sums]:
    """Every row of a statement, by user, month and part."""
    return {
        (found.users[place], kept.month, kept.part): kept.sums
        for found in statements.contents(head)
        for place, kept in found.rows
    }


def accounts(books: Books, month: str) -> dict[tuple[str | None, str, tuple[str, str]], Sums]:
    """Every row of a month's accounts now."""
    return {
        (user, month, books.parts(shard)[part]): sums
        for shard in books.shards
        for user, part, sums in books.user_parts(shard, month)
    }


def raw(store: Store) -> dict[bytes, bytes]:
    """The bytes of all frozen rows, without those of a closing that died."""
    return {key: store.client.get(key) for key in store.client.keys("hw2:{s*:f:*")}


@pytest.fixture
def statements(store: Store) -> Statements:
    return Statements(Books(store))


# -- when a month can be closed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("month", "from_"),
    [
        ("2026-10", "2026-11-04T00:00"),
        ("2026-12", "2027-01-04T00:00"),
        ("2028-02", "2028-03-04T00:00"),  # a leap year: the 29th is of the month
        ("2027-02", "2027-03-04T00:00"),
        ("2026-03", "2026-04-04T00:00"),  # clocks change on the 29th, UTC does not
    ],
)
def test_a_month_can_be_closed_72_hours_after_its_last_moment_and_no_earlier(
    store: Store, month: str, from_: str
) -> None:
    from_s = at_ms(from_) / 1_000

    with pytest.raises(ConfigError, match=f"can be closed from {from_.replace('T', ' ')} UTC on"):
        close(Books(store), month, grace_hours=GRACE_H, clock=lambda: from_s - 0.001)

    assert close(Books(store), month, grace_hours=GRACE_H, clock=lambda: from_s).month == month


def test_the_last_month_that_can_be_named_is_not_over(store: Store) -> None:
    with pytest.raises(ConfigError, match="9999-12 can be closed from 9999-12-31 23:59 UTC on"):
        closing.close(Books(store), "9999-12", grace_hours=72)


def test_a_request_belongs_to_the_month_in_which_it_ended(add: Add, store: Store, statements: Statements) -> None:
    midnight_ms = at_ms("2026-11-01T00:00")
    add(
        charge(1, started_ms=midnight_ms - 5_000, ended_ms=midnight_ms - 1),
        charge(2, user=BOB, started_ms=midnight_ms - 5_000, ended_ms=midnight_ms),
    )

    october, november = closed(store, "2026-10"), closed(store, "2026-11")

    assert [user for user, *_ in frozen(statements, october)] == [ADA]
    assert [user for user, *_ in frozen(statements, november)] == [BOB]


def test_the_29th_of_february_is_of_its_month(add: Add, store: Store) -> None:
    add(of(1, ended_ms=at_ms("2028-02-29T23:59:59")))

    assert closed(store, "2028-02").total("2028-02")[0] == 1


# -- what is frozen ----------------------------------------------------------------------------------------------------


def test_a_statement_has_every_row_of_its_month_numbered_and_its_hash_holds(
    add: Add, store: Store, statements: Statements
) -> None:
    some = [of(n, user=USERS[n % 4], model=MODELS[n % 2]) for n in range(12)]
    add(*some, of(99, "2026-11"))

    head = closed(store, "2026-10")

    books = Books(store)
    assert frozen(statements, head) == accounts(books, "2026-10")
    assert head.total("2026-10") == books.total(0, "2026-10")
    assert (head.number, head.users_count, head.rows_count) == (1, 4, 4)
    assert head.statement_number(1) == "2026-10-000001"
    assert head.bases == {"5f0c": 12}
    assert statements.of("2026-10") == head
    assert statements.of("2026-11") is None
    assert sorted(statements.of_user(head, user)[0] for user in USERS) == [1, 2, 3, 4]
    assert statements.of_user(head, BOB)[1] == [
        Kept("2026-10", ("m|2", "azure-westus3"), rows.total(rows.sums_of(each) for each in some if each.user == BOB))
    ]
    assert statements.of_user(head, "dd" * 16) == (0, [])
    assert statements.verify(head) == 0


def test_a_month_of_nobody_can_be_closed(store: Store, statements: Statements) -> None:
    head = closed(store, "2026-10")

    assert (head.users_count, head.rows_count, head.total("2026-10")) == (0, 0, NOTHING)
    assert statements.verify(head) == 0
    assert statements.of_user(head, ADA) == (0, [])


def test_closing_again_changes_nothing(add: Add, store: Store, statements: Statements) -> None:
    add(of(1))
    head, before = closed(store, "2026-10"), raw(store)
    add(of(2))

    assert closed(store, "2026-10") == head
    assert raw(store) == before


def test_users_of_one_month_lie_in_chunks_of_which_each_has_whole_users(
    add: Add, store: Store, statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "MOST_ROWS", 2)
    users = [f"{n:032x}" for n in range(7)]
    add(*(of(n, user=user, model=model) for n, (user, model) in enumerate(itertools.product(users, MODELS))))

    head = closed(store, "2026-10")

    found = list(statements.contents(head))
    assert [each.first for each in found] == list(range(1, 8))
    assert {user for each in found for user in each.users} == set(users)
    for user in users:
        number, kept = statements.of_user(head, user)
        assert found[number - 1].users == (user,)
        assert [row.part[0] for row in kept] == sorted(MODELS)
    assert statements.verify(head) == 0


def test_sums_beyond_64_bits_are_frozen_exactly(add: Add, store: Store, statements: Statements) -> None:
    add(*(of(n, amounts=amounts(2**62)) for n in range(5)), of(9, user=BOB))

    head = closed(store, "2026-10")

    assert frozen(statements, head) == accounts(Books(store), "2026-10")
    assert head.total("2026-10")[rows.FIELDS.index("it_microjoules")] > 2**64
    assert statements.of("2026-10") == head
    assert statements.verify(head) == 0


# -- what comes late ---------------------------------------------------------------------------------------------------


def test_late_charges_are_corrections_of_the_next_statement_and_edit_nothing(
    add: Add, store: Store, statements: Statements
) -> None:
    add(of(1), of(2, "2026-11"))
    october, before = closed(store, "2026-10"), raw(store)
    late = [of(3), of(4, user=BOB)]
    add(*late)
    assert statements.waiting("2026-10", statements.heads()) == rows.total(map(rows.sums_of, late))

    november = closed(store, "2026-11")

    part = ("llama-3.1-70b", "azure-westus3")
    assert frozen(statements, november) == {
        (ADA, "2026-10", part): rows.sums_of(late[0]),
        (ADA, "2026-11", part): rows.sums_of(of(2, "2026-11")),
        (BOB, "2026-10", part): rows.sums_of(late[1]),  # who has no account in the month has a statement still
    }
    assert november.corrected == ("2026-10",)
    assert november.previous_sha256 == october.sha256
    heads = statements.heads()
    assert statements.corrections("2026-10", heads) == [(november, rows.total(map(rows.sums_of, late)))]
    assert statements.waiting("2026-10", heads) == NOTHING
    statements.verify_chain(heads)
    assert {key: value for key, value in raw(store).items() if key in before} == before
    assert [statements.verify(head) for head in heads] == [0, 0]
    december = closed(store, "2026-12")
    assert december.rows_count == 0


def test_what_an_expired_account_no_longer_has_is_no_correction(add: Add, store: Store, statements: Statements) -> None:
    add(of(1), of(2, user=BOB))
    closed(store, "2026-10")
    part = schema.part_of("llama-3.1-70b", "azure-westus3")
    store.client.delete(schema.user_key(0, BOB, "2026-10", part))
    add(of(3))

    assert frozen(statements, closed(store, "2026-11")) == {
        (ADA, "2026-10", ("llama-3.1-70b", "azure-westus3")): rows.sums_of(of(3))
    }


def test_a_month_whose_accounts_may_have_expired_is_corrected_no_more(add: Add, store: Store) -> None:
    add(of(1))
    closed(store, "2026-10")
    add(of(2))

    assert closed(store, "2026-11", later_s=6 * 366 * 86_400).corrected == ()


CHARGES = st.tuples(
    st.just("charge"),
    st.sampled_from(MONTHS),
    st.sampled_from(USERS),
    st.sampled_from(MODELS),
    st.integers(0, 2**61),
)
CLOSES = st.tuples(st.just("close"), st.sampled_from(MONTHS))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(CHARGES | CLOSES, max_size=25), most_rows=st.sampled_from([1, 2, 1_000]))
def test_in_any_order_of_charges_and_closings_what_is_frozen_and_corrected_is_what_accounts_have(
    server: Server, events: list[Any], most_rows: int
) -> None:
    server.command("FLUSHALL")
    store = Store(server.url)
    store.check(KEY)
    books = Books(store)
    statements = Statements(books)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "MOST_ROWS", most_rows)
        for number, (kind, month, *rest) in enumerate(events):
            if kind == "close":
                closed(store, month)
                continue
            user, model, value = rest
            journal = write(
                Path(folder), [of(number, month, user=user, model=model, amounts=amounts(value))], f"j{number}"
            )
            ship(journal, store)
            journal.close(durable_to=journal.position())
        before = raw(store)
        heads = [*statements.heads(), closed(store, "2027-01")]

    kept: dict[Any, Sums] = {}
    for head in heads:
        assert statements.verify(head) == 0
        for place, sums in frozen(statements, head).items():
            kept[place] = plus(kept.get(place, NOTHING), sums)
    statements.verify_chain(heads)
    assert kept == {place: sums for head in heads for place, sums in accounts(books, head.month).items()}
    assert before.items() <= raw(store).items()
    store.close()


# -- whatever dies -----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Dying:
    """A client that is killed at a command, before it is sent or after."""

    def __init__(self, client: Any, at: int, *, is_sent: bool) -> None:
        self._client = client
        self._left = at
        self._is_sent = is_sent
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name in {"get", "set", "eval", "hset", "hget", "hgetall", "hdel", "expire", "delete", "exists", "mget"}:
            return lambda *args, **options: self._tried(lambda: found(*args, **options))
        return found

    def _tried(self, command: Callable[[], Any]) -> Any:
        if self.is_dead:
            raise Killed
        self._left -= 1
        if self._left >= 0:
            return command()
        self.is_dead = True
        if self._is_sent:
            command()
        raise Killed


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "MOST_ROWS", 2)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("is_sent", [False, True])
def test_a_closing_can_be_killed_at_any_command_and_repeated_to_the_byte(
    add: Add, server: Server, store: Store, statements: Statements, is_sent: bool
) -> None:
    add(*(of(n, user=f"{n:032x}") for n in range(3)))
    for at in itertools.count():
        for key in store.client.keys("hw2:*closed*") + store.client.keys("hw2:*:[fl]:*"):
            store.client.delete(key)
        dying = Store(server.url)
        real = dying._client
        dying._client = killer = Dying(real, at, is_sent=is_sent)
        with contextlib.suppress(Killed):
            closed(dying, "2026-10")
        real.close()
        store.client.delete(schema.CLOSER)  # a minute later
        head = closed(store, "2026-10")

        assert statements.verify(head) == 0
        assert head.total("2026-10")[0] == 3
        assert len(raw(store)) == len(head.chunks[0]) == 2  # nothing of the killed one is left
        assert len(store.client.keys("hw2:*:l:*")) == 2
        assert not store.client.exists(schema.ATTEMPT, schema.CLOSER)
        if not killer.is_dead:
            break
    assert at > 20


@pytest.mark.usefixtures("small_chunks")
def test_a_closing_that_was_killed_before_the_end_gives_the_same_hash_when_it_is_repeated(
    add: Add, server: Server, store: Store, statements: Statements
) -> None:
    add(*(of(n, user=f"{n:032x}") for n in range(5)))
    head: list[Head] = []

    freeze = closing._Closing.freeze
    with pytest.MonkeyPatch.context() as patch:

        def killed(self: Any) -> Head:
            head.append(freeze(self))
            raise Killed

        patch.setattr(closing._Closing, "freeze", killed)
        with pytest.raises(Killed):
            closed(store, "2026-10")

    assert statements.heads() == []
    assert closed(store, "2026-10").sha256 == head[0].sha256


def test_only_one_closes_at_a_time_and_says_so(add: Add, store: Store, statements: Statements) -> None:
    add(of(1))
    other = Closer(store)
    other.begin()

    with pytest.raises(LedgerError, match="another process closes a month"):
        closed(store, "2026-10")

    assert statements.heads() == []
    other.end()
    assert closed(store, "2026-10").number == 1


def test_one_that_was_taken_for_dead_and_is_not_closes_nothing(add: Add, store: Store, statements: Statements) -> None:
    add(of(1))
    others: list[Head] = []

    def overtaken(*_: Any) -> int:
        store.client.delete(schema.CLOSER)
        others.append(_november(store))
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Statements, "verify", overtaken)
        with pytest.raises(LedgerError, match=r"another process took over while 2026-10 was being closed"):
            closed(store, "2026-10")

    assert statements.heads() == others
    assert raw(store) == {}  # November has no rows; those of October are removed
    assert closed(store, "2026-10").number == 2


def _november(store: Store) -> Head:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Statements, "verify", lambda *_: 0)
        return closed(store, "2026-11")


def test_charges_that_come_while_a_month_is_closed_are_in_it_or_in_the_next(
    add: Add, store: Store, statements: Statements, small_chunks: None
) -> None:
    users = [f"{n:032x}" for n in range(9)]
    add(*(of(n, user=user) for n, user in enumerate(users)))
    numbers = itertools.count(100)

    def meanwhile(_count: int, _ratio: float) -> None:
        add(*(of(next(numbers), user=user) for user in users))

    first = closed(store, "2026-10", tick=meanwhile)
    second = closed(store, "2026-11")

    books = Books(store)
    assert NOTHING < first.total("2026-10") < books.total(0, "2026-10")
    assert plus(first.total("2026-10"), second.total("2026-10")) == books.total(0, "2026-10")
    assert statements.verify(first) == statements.verify(second) == 0


def test_accounts_that_do_not_add_up_to_the_totals_are_not_closed(
    add: Add, store: Store, statements: Statements
) -> None:
    add(of(1), of(2, user=BOB))
    part = schema.part_of("llama-3.1-70b", "azure-westus3")
    store.client.set(schema.user_key(0, BOB, "2026-10", part), rows.stored(rows.sums_of(of(3))))

    with pytest.raises(
        LedgerError, match=r"2026-10: the accounts' it_microjoules add up to \d+, the ledger's own total"
    ):
        closed(store, "2026-10")

    assert statements.heads() == []


# -- verifying ---------------------------------------------------------------------------------------------------------


def test_a_changed_amount_a_swapped_link_and_missing_rows_are_told(
    add: Add, store: Store, statements: Statements
) -> None:
    add(of(1), of(2, user=BOB))
    head = closed(store, "2026-10")
    place = 0, head.number, head.token, 0
    key, links_key = schema.frozen_key(*place), schema.links_key(*place)
    packed, links = store.client.get(key), store.client.get(links_key)

    canonical = chunks.unpacked(packed)
    store.client.set(key, zlib.compress(canonical[:-1] + bytes([canonical[-1] ^ 1])))
    with pytest.raises(LedgerError, match="the statement has sha256"):
        statements.verify(head)
    store.client.set(key, packed)
    width = (len(links) - 1) // 2
    store.client.set(links_key, links[:1] + links[1 + width :] + links[1 : 1 + width])
    with pytest.raises(LedgerError, match="2026-10-000001 is linked to another user"):
        statements.verify(head)
    store.client.set(links_key, links[:-1])
    with pytest.raises(LedgerError, match="a chunk of a closed month cannot be read: links of 2 users"):
        statements.verify(head)
    store.client.set(key, b"?")
    with pytest.raises(LedgerError, match="a chunk of a closed month cannot be read"):
        statements.verify(head)
    store.client.delete(key)
    with pytest.raises(LedgerError, match="no longer kept"):
        statements.verify(head)


def test_a_statement_that_was_taken_out_of_the_chain_is_missed(add: Add, store: Store, statements: Statements) -> None:
    for month in MONTHS:
        closed(store, month)
    statements.verify_chain(statements.heads())
    store.client.hdel(schema.HEADS, "2")

    with pytest.raises(LedgerError, match="2026-12: statement 3 follows"):
        statements.verify_chain(statements.heads())


def test_what_is_no_head_and_what_is_of_a_later_version_is_told(store: Store, statements: Statements) -> None:
    for text, words in (
        (b"{", "cannot be read"),
        (b'{"v":9}', "has format 9, this version reads 1; upgrade headwater"),
    ):
        store.client.hset(schema.HEADS, "1", text)
        with pytest.raises(LedgerError, match=words):
            statements.heads()
    chunk = chunks.chunk([(ADA, [])], month="2026-10", shard=0, first=1, secret=b"s")
    with pytest.raises(LedgerError, match="upgrade headwater"):
        chunks.content(chunk.canonical.replace(b'"v":1', b'"v":2'), chunk.links)
    with pytest.raises(LedgerError, match="0 rows announced"):
        chunks.content(chunk.canonical + b"?", chunk.links)


def test_numbers_that_jump_and_links_that_are_gone_are_told(add: Add, store: Store, statements: Statements) -> None:
    add(of(1))
    head = closed(store, "2026-10")
    place = 0, head.number, head.token, 0
    found = chunks.chunk([(ADA, [])], month="2026-10", shard=0, first=2, secret=b"s")
    store.client.set(schema.frozen_key(*place), found.packed)
    with pytest.raises(LedgerError, match="2026-10: statement numbers jump from 0 to 2"):
        statements.verify(head)
    store.client.delete(schema.links_key(*place))

    assert statements.of_user(head, ADA) == (0, [])
    assert unlink(store, ADA) == 0


@pytest.mark.parametrize("user", [ADA, ADA.upper(), "z" * 32, "é", "anonymous", "x" * 254])
def test_any_user_is_linked_as_written(user: str) -> None:
    made = chunks.chunk([(BOB, []), (user, [])], month="2026-10", shard=0, first=1, secret=b"s")

    assert set(chunks.content(made.canonical, made.links).users) == {BOB, user}
    place = chunks.place_of(made.links, 2, user)
    assert place is not None
    begin, nothing = chunks.erasure(made.links, place)
    erased = made.links[:begin] + nothing + made.links[begin + len(nothing) :]
    assert set(chunks.content(made.canonical, erased).users) == {BOB, None}
    assert chunks.false_links(made.canonical, erased) == []


def test_a_part_that_is_charged_for_the_first_time_meanwhile_is_frozen_under_its_name(
    add: Add, store: Store, statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(of(1))
    parts, first = Books.parts, [True]

    def late(self: Books, shard: int) -> dict[str, tuple[str, str]]:
        return {} if first and first.pop() else parts(self, shard)

    found = list(closing.live_rows(Books(store), 0, "2026-10"))
    monkeypatch.setattr(Books, "parts", late)

    assert list(closing.live_rows(Books(store), 0, "2026-10")) == found
    assert found[0].kept.part == ("llama-3.1-70b", "azure-westus3")


def test_a_user_who_cannot_stand_in_a_statement_is_named() -> None:
    with pytest.raises(LedgerError, match="of 300 bytes cannot stand in a statement"):
        chunks.chunk([("x" * 300, [])], month="2026-10", shard=0, first=1, secret=b"s")


def test_rows_of_a_version_that_knew_fewer_sums_read_with_zeros(
    add: Add, store: Store, statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(of(1))
    head = closed(store, "2026-10")
    before = frozen(statements, head)
    monkeypatch.setattr(rows, "FIELDS", (*rows.FIELDS, "later"))
    monkeypatch.setattr(rows, "NOTHING", (*rows.NOTHING, 0))
    monkeypatch.setattr(chunks, "FIELDS", rows.FIELDS)

    again = statements.of("2026-10")

    assert again is not None
    assert frozen(statements, again) == {place: (*sums, 0) for place, sums in before.items()}
    assert again.total("2026-10") == (*rows.sums_of(of(1)), 0)
    assert statements.verify(again) == 0


# -- erasing -----------------------------------------------------------------------------------------------------------


def test_an_erased_user_cannot_be_found_while_amounts_and_hashes_stay(
    add: Add, store: Store, statements: Statements
) -> None:
    add(of(1), of(2, user=BOB), of(3, "2026-11"))
    first = closed(store, "2026-10")
    add(of(4))
    second = closed(store, "2026-11")
    sums = first.total("2026-10")

    assert unlink(store, ADA) == 2
    assert unlink(store, ADA) == 0

    for head in (first, second):
        assert statements.verify(head) == 1
        assert statements.of_user(head, ADA) == (0, [])
        assert statements.of(head.month) == head
    assert {user for user, *_ in frozen(statements, first)} == {None, BOB}
    assert rows.total(frozen(statements, first).values()) == sums
    part = ("llama-3.1-70b", "azure-westus3")
    assert frozen(statements, first)[None, "2026-10", part] == rows.sums_of(of(1))
    everything = b"".join(store.client.get(key) for key in store.client.keys("hw2:*:[fl]:*")) + b"".join(
        chunks.unpacked(value) for value in raw(store).values()
    )
    assert bytes.fromhex(BOB) in everything
    assert bytes.fromhex(ADA) not in everything
    assert ADA.encode() not in everything


def test_an_account_that_begins_anew_after_its_erasure_is_corrected_by_what_it_has(
    add: Add, store: Store, statements: Statements
) -> None:
    add(of(1))
    closed(store, "2026-10")
    part = schema.part_of("llama-3.1-70b", "azure-westus3")
    store.client.delete(schema.user_key(0, ADA, "2026-10", part), schema.total_key(0, "2026-10", part))
    unlink(store, ADA)
    add(of(2))

    found = frozen(statements, closed(store, "2026-11"))

    assert list(found.values()) == [rows.sums_of(of(2))]


def test_an_erasure_and_a_closing_do_not_run_at_once(add: Add, store: Store, statements: Statements) -> None:
    add(of(1))

    def meanwhile(*_: Any) -> None:
        with pytest.raises(LedgerError, match="another process closes a month"):
            unlink(store, ADA)

    closed(store, "2026-10", tick=meanwhile)

    assert unlink(store, ADA) == 1


@pytest.mark.usefixtures("small_chunks")
def test_an_erasure_removes_the_links_of_a_closing_that_was_killed(
    add: Add, store: Store, statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(*(of(n, user=f"{n:032x}") for n in range(5)))
    with monkeypatch.context() as patch:
        patch.setattr(closing._Closing, "publish", _die)
        with pytest.raises(Killed):
            closed(store, "2026-10")
    assert len(raw(store)) == 3

    assert unlink(store, "0" * 32) == 0

    assert store.client.keys("hw2:*:[fl]:*") == []
    assert statements.verify(closed(store, "2026-10")) == 0


def _die(*_: Any) -> None:
    raise Killed


# -- many shards -------------------------------------------------------------------------------------------------------


def test_statements_of_many_shards_are_numbered_through_and_wait_before_they_are_published(
    add: Add, store: Store, statements: Statements
) -> None:
    store.shards_count = 4
    users = [f"{n:032x}" for n in range(9)]
    add(*(of(n, user=user) for n, user in enumerate(users)))
    waited: list[float] = []

    head = closed(store, "2026-10", pause=waited.append)

    assert len(waited) == 1
    assert len(head.chunks) > 1
    assert sorted(statements.of_user(head, user)[0] for user in users) == list(range(1, 10))
    assert frozen(statements, head) == accounts(Books(store), "2026-10")
    assert statements.verify(head) == 0
    assert [unlink(store, user) for user in users] == [1] * 9
    assert statements.verify(head) == 9
