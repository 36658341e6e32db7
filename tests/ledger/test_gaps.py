"""A store that has lost charges which no journal holds any more is told of, shard by shard."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.ledger import Reader, watermarks
from headwater.ledger.packing import pack
from headwater.ledger.redis import Store
from headwater.ledger.shipment import Shipment
from headwater.ledger.stats import Stats
from tests.ledger.support import KEY, MONTH, Applied, Server, charge, write

USERS = [f"{number:032x}" for number in range(4)]


class Shards:
    """A journal on its way into a store of four shards, to be set back."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.stats = Stats()
        self.journal = write(folder, [], segment_bytes=5_000)
        self.store = self._new_store()
        self.shipment = Shipment(self.journal.folder, self.store, Applied(), self.stats)
        self._numbers = iter(range(10_000))

    def _new_store(self) -> Store:
        store = Store(self.server.url)
        self.server.command("FLUSHALL")
        store.check(KEY)
        for key in self.server.command("KEYS", "*meta"):
            self.server.command("HSET", key, "shards", "4")
        store.check(KEY)
        return store

    def charge(self, *users: str) -> None:
        for number, user in zip(self._numbers, users, strict=False):
            made = charge(number, user=user)
            self.journal.final(made.request_id, pack(made))
        self.shipment.tail.sync()
        while self.shipment.ship():
            pass
        self.shipment.settle()

    def lose(self, *, restart: bool = False) -> None:
        self._new_store().close()
        if restart:
            self.shipment = Shipment(self.journal.folder, self.store, Applied(), self.stats)
        self.shipment.doubt()

    def requests_count(self) -> int:
        return Reader(self.store).totals(MONTH).requests_count


@pytest.fixture
def shards(server: Server, tmp_path: Path) -> Shards:
    return Shards(server, tmp_path)


@pytest.mark.parametrize("restart", [True, False])
def test_each_shard_that_has_lost_charges_is_told_of_once(
    shards: Shards, caplog: pytest.LogCaptureFixture, restart: bool
) -> None:
    for _ in range(40):
        shards.charge(*USERS[:3])
    assert shards.shipment.tail.position.segment > 3

    shards.lose(restart=restart)
    shards.charge(USERS[0])
    shards.shipment.doubt()
    shards.charge(USERS[0])

    assert shards.stats.gaps == 3
    assert caplog.text.count("that were durable once") == 3
    assert 2 < shards.requests_count() < 122
    shards.store.close()


def test_a_shard_whose_charges_the_journal_still_holds_has_lost_none(
    shards: Shards, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(60):
        shards.charge(USERS[0])
    while shards.shipment.tail.position.offset > 1_000:
        shards.charge(USERS[0])
    shards.charge(USERS[1])
    caplog.clear()

    shards.lose()
    shards.charge(USERS[1])

    assert shards.stats.gaps == 1
    assert Reader(shards.store).user_row(USERS[1], MONTH).requests_count == 2
    shards.store.close()


def test_without_a_loss_nothing_is_told(shards: Shards) -> None:
    for number in range(150):
        shards.charge(USERS[number % 4])
        if number % 40 == 0:
            shards.shipment.doubt()

    assert shards.stats.gaps == 0
    assert shards.requests_count() == 150
    shards.store.close()


def test_a_note_never_claims_what_the_journal_still_has(tmp_path: Path) -> None:
    watermarks.note(tmp_path, [{0: 3, 1: 10}, {0: 9, 3: 12}])
    watermarks.note(tmp_path, [{0: 2}])

    assert watermarks.noted(tmp_path) == {0: 9, 1: 10, 3: 12}


@pytest.mark.parametrize("content", ["", "[]", "[", '{"x": 1}', '{"1": null}'])
def test_a_note_that_cannot_be_read_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "dropped.json").write_text(content)

    assert watermarks.noted(tmp_path) == {}


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    watermarks.note(tmp_path / "absent", [{0: 3}])

    assert watermarks.noted(tmp_path / "absent") == {}
