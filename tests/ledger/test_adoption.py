"""Exchanges that were open when their process died are charged once, by whoever comes first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.ledger import Ledger, Reader
from headwater.ledger.adoption import Orphanage
from headwater.ledger.connection import StoreError
from headwater.ledger.frames import MAGIC
from headwater.ledger.journal import Journal, lock_journal, segment_name
from headwater.ledger.packing import pack
from headwater.ledger.redis import Store
from headwater.ledger.stats import Stats
from tests.ledger.support import KEY, MONTH, Applied, Server, applied_at_once, charge, eventually, opened, outside, ship
from tests.ledger.test_delivery import count

WORKER = """
import sys, threading
from pathlib import Path
from headwater.ledger import Ledger
from tests.ledger.support import charge, opened
ledger = Ledger(data_dir=Path(sys.argv[1]), redis_url=sys.argv[2] or None, key_fingerprint="0123456789abcdef")
ledger.start()
for n in range(10):
    ledger.provisional(opened(n))
for n in range(5):
    ledger.charge(charge(n))
ledger.forget(opened(5).request_id)
print("ready", flush=True)
threading.Event().wait()
"""


def worker(data_dir: Path, url: str = "") -> subprocess.Popen[str]:
    """A process with 5 charges, 1 forgotten exchange and 4 open ones."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(data_dir), url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def dead_journal(data_dir: Path, journal_id: str = "dead", *, fingerprint: str = KEY) -> Path:
    """The same as the worker's, made here and given up."""
    journal = Journal(data_dir, journal_id=journal_id, fingerprint=fingerprint)
    for n in range(10):
        journal.provisional(opened(n).request_id, pack(opened(n)))
    for n in range(5):
        journal.final(charge(n).request_id, pack(charge(n)))
    journal.forget(opened(5).request_id)
    journal.close()
    return journal.folder


def orphanage(data_dir: Path, store: Store, stats: Stats | None = None) -> Orphanage:
    return Orphanage(data_dir, store, stats or Stats(), fingerprint=KEY, durability=Applied)


def test_open_exchanges_of_a_killed_process_are_charged_once(server: Server, tmp_path: Path) -> None:
    kill(worker(tmp_path, server.url))

    ledger = Ledger(data_dir=tmp_path, redis_url=server.url, key_fingerprint=KEY, outside=outside(applied_at_once))
    ledger.start()
    eventually(lambda: len(list(tmp_path.glob("journals/*"))) == 1)
    ledger.close()

    assert ledger.stats.adopted == 4
    assert count(server) == 9
    with Reader.open(data_dir=tmp_path, redis_url=server.url) as reader:
        assert reader.totals(MONTH).incomplete_count == 4
        outcomes = [each.outcome for each in reader.ledger_entries()]
    assert sorted(outcomes) == ["completed"] * 5 + ["partial"] * 4


def test_what_was_open_is_found_although_the_segment_in_which_it_began_is_gone(
    server: Server, store: Store, tmp_path: Path
) -> None:
    journal = Journal(tmp_path, journal_id="dead", fingerprint=KEY, segment_bytes=2_000)
    for n in range(3):
        journal.provisional(opened(n).request_id, pack(opened(n)))
    for n in range(3, 30):
        journal.final(charge(n).request_id, pack(charge(n)))
    shipment = ship(journal, store)
    shipment.settle()
    assert shipment.settle()
    assert [path.name for path in journal.folder.glob("[0-9]*.log")] == [segment_name(journal.position().segment)]
    journal.close()

    _adopt(tmp_path, store)

    assert count(server) == 30


def test_two_adopters_racing_charge_once(server: Server, tmp_path: Path) -> None:
    for n in range(10):
        dead_journal(tmp_path, f"dead{n}")
    ledgers = [
        Ledger(data_dir=tmp_path, redis_url=server.url, key_fingerprint=KEY, outside=outside(applied_at_once))
        for _ in range(3)
    ]

    starts = [threading.Thread(target=ledger.start) for ledger in ledgers]
    for each in starts:
        each.start()
    for each in starts:
        each.join()
    eventually(lambda: not list(tmp_path.glob("journals/dead*")))
    for ledger in ledgers:
        ledger.close()

    assert sum(ledger.stats.adopted for ledger in ledgers) == 40
    assert count(server) == 90


@pytest.mark.parametrize("step", range(4))
def test_an_adopter_that_dies_at_any_step_charges_once(
    server: Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    folder = dead_journal(tmp_path)
    deaths: list[Callable[[], None]] = [
        lambda: monkeypatch.setattr("headwater.ledger.tail.Tail.append", _die),
        lambda: monkeypatch.setattr("headwater.ledger.adoption.Shipment", _die),
        lambda: monkeypatch.setattr("headwater.ledger.redis.Store.apply", _die),
        lambda: monkeypatch.setattr("headwater.ledger.adoption.remove_journal", _die),
    ]

    deaths[step]()
    with pytest.raises(_Death):
        _adopt(tmp_path, store)
    monkeypatch.undo()
    _close_descriptors_below(folder)
    _adopt(tmp_path, store)

    assert count(server) == 9
    assert not folder.exists()


class _Death(BaseException):
    """The process ends here."""


def _die(*_: object, **__: object) -> None:
    raise _Death


def _adopt(data_dir: Path, store: Store) -> None:
    for adopted in orphanage(data_dir, store).take():
        adopted.shipment.tail.sync()
        while adopted.shipment.ship():
            pass
        assert adopted.shipment.settle()
        adopted.release(remove=True)


def _close_descriptors_below(folder: Path) -> None:
    """What the kernel does for a dead process."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            path = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except OSError:
            continue
        if path.startswith(str(folder)):
            os.close(int(name))


def test_a_torn_tail_is_cut_off_before_charges_are_added(server: Server, store: Store, tmp_path: Path) -> None:
    folder = dead_journal(tmp_path)
    segment = next(folder.glob("[0-9]*.log"))
    with segment.open("ab") as file:
        file.write(MAGIC + b"torn")

    _adopt(tmp_path, store)

    assert count(server) == 9


def test_a_journal_of_another_key_is_left_alone(
    server: Server, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = dead_journal(tmp_path, fingerprint="fedcba9876543210")
    home = orphanage(tmp_path, store)

    assert home.take() == []
    assert home.take() == []

    assert caplog.text.count("another identity key") == 1
    assert folder.exists()


def test_a_journal_of_a_newer_version_is_left_alone(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path, journal_id="newer", fingerprint=KEY)
    journal.final("x", b"\x7f from the future")
    journal.close()

    assert orphanage(tmp_path, store).take() == []
    assert "upgrade headwater" in caplog.text


def test_an_empty_journal_of_a_dead_process_goes_away(store: Store, tmp_path: Path) -> None:
    journal = Journal(tmp_path, journal_id="empty", fingerprint=KEY)
    journal.close()
    (tmp_path / "journals" / ".hidden").mkdir()

    _adopt(tmp_path, store)

    assert not journal.folder.exists()


def test_a_reader_charges_what_dead_processes_left(own_server: Server, tmp_path: Path) -> None:
    own_server.start()
    dead_journal(tmp_path)

    for _ in range(2):
        with Reader.open(data_dir=tmp_path, redis_url=own_server.url) as reader:
            assert reader.totals(MONTH).requests_count == 9
    assert own_server.command("HGET", "hw2:meta", "key") == KEY


def test_a_reader_whose_store_fails_lets_go_of_all_journals(
    server: Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [dead_journal(tmp_path, f"dead{n}") for n in range(3)]
    monkeypatch.setattr(Store, "apply", _fail)

    with pytest.raises(StoreError):
        Reader.open(data_dir=tmp_path, redis_url=server.url)
    monkeypatch.undo()

    locks = [lock_journal(folder) for folder in folders]
    for lock in locks:
        assert lock is not None
        os.close(lock)
    _adopt(tmp_path, store)
    assert count(server) == 27


def _fail(*_: object) -> None:
    raise StoreError("gone")


def test_a_reader_of_an_unused_store_leaves_journals_of_several_keys(server: Server, tmp_path: Path) -> None:
    dead_journal(tmp_path, "a")
    dead_journal(tmp_path, "b", fingerprint="fedcba9876543210")

    with Reader.open(data_dir=tmp_path, redis_url=server.url) as reader:
        assert reader.totals(MONTH).requests_count == 0


def test_a_restored_journal_counts_once(server: Server, store: Store, tmp_path: Path) -> None:
    folder = dead_journal(tmp_path)
    shutil.copytree(folder, tmp_path / "backup")
    _adopt(tmp_path, store)

    shutil.copytree(tmp_path / "backup", folder)
    _adopt(tmp_path, store)

    assert count(server) == 9
