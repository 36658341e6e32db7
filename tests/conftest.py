"""Fixtures that every room may use: a short data folder, one real embedded ledger for the session, meters on it."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from headwater import config
from headwater.identity import key_fingerprint, load_key
from headwater.ledger import Ledger, Reader, shipper
from headwater.ledger.durability import WaitAof

if TYPE_CHECKING:
    from headwater.meter import Meter

# Runs share their machine: how long an example takes says nothing. In CI the same examples every time, and fewer: all of them
# are run elsewhere, where they are new each time, and bench/fuzz.py runs a million.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, max_examples=25)
settings.load_profile("ci" if os.environ.get("CI") else "here")

MakeMeter = Callable[..., "Meter"]


@pytest.fixture(scope="session", autouse=True)
def _fsync_at_once() -> Iterator[None]:
    """No test's store loses power, but those of it: journals of closed ledgers need not wait for the next fsync, and pile up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipper, "WaitAof", partial(WaitAof, fsync_s=0.0))
        yield


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder with a short name: the path of a Unix socket has about 100 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="hw-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def data_dir(short_folder: Path) -> Iterator[Path]:
    """A data folder whose embedded server stays up for the whole session."""
    folder = short_folder / "data"

    keeper = Ledger(data_dir=folder, key_fingerprint=key_fingerprint(load_key(folder)))
    keeper.start()
    yield folder
    keeper.close()


@pytest.fixture
def make_meter(data_dir: Path) -> Iterator[MakeMeter]:
    """Meters on the session's ledger, started; closed after the test."""
    from headwater.meter import Meter

    made: list[Meter] = []

    def make(**sections: Any) -> Meter:
        document: dict[str, Any] = {
            "ledger": {"data_dir": str(data_dir)},
            "deployment": [{"hardware": "hgx-h100", "engine": "vllm-0.11", "accelerators": 4, "precision": "fp8"}],
        }
        options = {
            name: sections.pop(name)
            for name in ("identify", "hours", "wall_s", "clock_s", "counter", "meter_provider")
            if name in sections
        }
        meter = Meter(config.load({**document, **sections}, environment={}), **options)
        meter.start()
        made.append(meter)
        return meter

    yield make
    for meter in made:
        meter.ledger.close()


@pytest.fixture
def meter(make_meter: MakeMeter) -> Meter:
    """A meter with the settings most tests want."""
    return make_meter()


@pytest.fixture(autouse=True)
def closed_readers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Readers that a test opens in passing are closed after it."""
    opened: list[Reader] = []
    open_reader = Ledger.reader

    def reader(self: Ledger) -> Reader:
        opened.append(open_reader(self))
        return opened[-1]

    monkeypatch.setattr(Ledger, "reader", reader)
    yield
    for one in opened:
        one.close()


_numbers = itertools.count()


@pytest.fixture
def key() -> str:
    """An API key that no other test uses: an account of one's own."""
    return f"sk-test-{next(_numbers)}"
