"""Closed months after a person was erased or the identity key replaced: hashes hold, links follow or go, corrections are right."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.ledger import closing, schema
from headwater.ledger.books import Books
from headwater.ledger.linked import StatementLinks
from headwater.ledger.redis import Store
from headwater.ledger.rotation import Rotation
from headwater.ledger.rows import plus, sums_of, total
from headwater.ledger.statements import Head, Statements, erase
from headwater.records import Charge
from tests.ledger.support import ADA, BOB, KEY, NOV_23_MS, Server, charge, ship, write

DECEMBER_MS = NOV_23_MS + 20 * 86_400_000
DECEMBER_S, JANUARY_S = NOV_23_MS / 1_000 + 20 * 86_400, NOV_23_MS / 1_000 + 50 * 86_400
NEW_KEY = "fedcba9876543210"


def renamed(user: str) -> str:
    """Another name on the same shard of one."""
    return hashlib.md5(user.encode(), usedforsecurity=False).hexdigest()


class Ledger:
    """A store that is charged and closed by hand."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.store = Store(server.url, timeout_s=5.0)
        self.store.check(KEY)
        self.books = Books(self.store)
        self.statements = Statements(self.books)
        self._folder = folder
        self._count = 0

    def charge(self, *some: Charge) -> None:
        self._count += 1
        journal = write(self._folder, some, journal_id=f"j{self._count}")
        ship(journal, self.store)
        journal.close(durable_to=journal.position())

    def close(self, month: str, now_s: float) -> Head:
        return closing.close(self.books, month, grace_hours=72, clock=lambda: now_s)

    def erase(self, user: str) -> None:
        erase(self.store, user)

    def rotate(self) -> None:
        self.store.check(None, is_rotating=True)
        links = [StatementLinks(self.store)]
        Rotation(self.store, present=KEY, following=NEW_KEY, rename=renamed, links=links).run(self._folder)
        self.store.check(NEW_KEY)


@pytest.fixture
def ledger(server: Server, tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(server, tmp_path)
    yield made
    made.store.close()


def november(number: int, user: str) -> Charge:
    return charge(number, user=user)


def december(number: int, user: str) -> Charge:
    return charge(number, user=user, ended_ms=DECEMBER_MS)


USERS = [ADA, BOB, *(f"{number:032x}" for number in range(20))]
FIRST = [november(number, user) for number, user in enumerate(USERS)]


def is_whole(ledger: Ledger, heads: list[Head]) -> bool:
    """Frozen and corrected, a month is what its accounts are."""
    return all(
        total(head.total(month) for head in heads) == ledger.books.total(0, month)
        for month in {head.month for head in heads}
    )


def test_late_charges_of_an_erased_person_are_corrected_without_what_was_frozen(ledger: Ledger) -> None:
    ledger.charge(*FIRST)
    first = ledger.close("2026-11", DECEMBER_S)
    ledger.erase(ADA)
    ledger.charge(november(90, BOB), december(91, BOB), november(92, ADA))

    second = ledger.close("2026-12", JANUARY_S)

    late = plus(sums_of(november(90, BOB)), sums_of(november(92, ADA)))
    assert second.total("2026-11") == late
    assert is_whole(ledger, [first, second])
    assert ledger.statements.of_user(first, ADA) == (0, [])
    assert ledger.statements.of_user(second, schema.ERASED) == (0, [])
    assert ledger.statements.verify(first) == 1
    assert ledger.statements.verify(second) == 0


def test_what_was_charged_late_to_somebody_erased_later_is_corrected_as_erased(ledger: Ledger) -> None:
    ledger.charge(*FIRST)
    first = ledger.close("2026-11", DECEMBER_S)
    ledger.charge(november(90, ADA))
    ledger.erase(ADA)

    second = ledger.close("2026-12", JANUARY_S)

    (row,) = ledger.statements.of_user(second, schema.ERASED)[1]
    assert (row.month, row.sums) == ("2026-11", sums_of(november(90, ADA)))
    assert is_whole(ledger, [first, second])


def test_after_a_rotation_links_follow_and_corrections_are_those_of_late_charges(ledger: Ledger) -> None:
    ledger.charge(*FIRST)
    first = ledger.close("2026-11", DECEMBER_S)
    before = {user: ledger.statements.of_user(first, user) for user in USERS}

    ledger.rotate()
    ledger.charge(*(november(100 + number, renamed(user)) for number, user in enumerate(USERS[:7])))
    second = ledger.close("2026-12", JANUARY_S)

    for user in USERS:
        assert ledger.statements.of_user(first, renamed(user)) == before[user]
        assert ledger.statements.of_user(first, user) == (0, [])
    assert second.total("2026-11") == total(sums_of(november(100 + number, ADA)) for number in range(7))
    assert is_whole(ledger, [first, second])
    assert ledger.statements.verify(first) == ledger.statements.verify(second) == 0


def test_after_a_rotation_a_person_can_be_erased_from_closed_months(ledger: Ledger) -> None:
    ledger.charge(*FIRST)
    head = ledger.close("2026-11", DECEMBER_S)
    ledger.rotate()

    ledger.erase(renamed(ADA))

    assert ledger.statements.of_user(head, renamed(ADA)) == (0, [])
    assert ledger.statements.of_user(head, renamed(BOB))[1] != []
    assert ledger.statements.verify(head) == 1


def test_a_move_that_is_repeated_renames_once(ledger: Ledger) -> None:
    ledger.charge(*FIRST)
    head = ledger.close("2026-11", DECEMBER_S)
    links = StatementLinks(ledger.store)

    links.move(0, renamed)
    links.move(0, renamed)
    links.place(0)
    links.place(0)

    names = {user for found in ledger.statements.contents(head) for user in found.users}
    assert names == {renamed(user) for user in USERS}
