"""A real server for every ledger test: one for the session, emptied before each test that asks for it."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.ledger import exporting
from headwater.ledger.reader import Reader
from headwater.ledger.redis import Store
from headwater.records import Charge
from tests.ledger.support import KEY, Server, ship, write

Add = Callable[..., Reader]


@pytest.fixture(scope="session")
def session_server() -> Iterator[Server]:
    # Not tmp_path: a Unix socket's path must stay short.
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def _exported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of exports do not wait until what they export must be on disk; the test of that says so."""
    monkeypatch.setattr(exporting, "DURABLE_S", 0.0)


@pytest.fixture
def server(session_server: Server) -> Server:
    session_server.command("FLUSHALL")
    return session_server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may kill; not started yet."""
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        server = Server(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    store = Store(server.url)
    store.check(KEY)
    yield store
    store.close()


@pytest.fixture
def add(store: Store, tmp_path: Path) -> Add:
    """Puts charges into the store, one journal a call; gives a reader."""
    numbers = itertools.count()

    def put(*some: Charge) -> Reader:
        journal = write(tmp_path, some, journal_id=f"j{next(numbers)}")
        ship(journal, store)
        journal.close(durable_to=journal.position())
        return Reader(store)

    return put
