"""A real server for every ledger test: one for the session, emptied before each test that asks for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.ledger.redis import Store
from tests.ledger.support import KEY, Server


@pytest.fixture(scope="session")
def session_server() -> Iterator[Server]:
    # Not tmp_path: a Unix socket's path must stay short.
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.stop()


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
