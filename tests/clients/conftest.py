"""The servers of the client tests, shared by all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import houses
from tests.clients.houses import Houses


@pytest.fixture(scope="session")
def served(short_folder: Path) -> Iterator[Houses]:
    """The upstream bare, wrapped, and behind the gateway, with a ledger of their own."""
    with houses.serving(short_folder / "clients") as found:
        yield found
