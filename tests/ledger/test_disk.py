"""A disk that fails to keep what it took is never believed afterwards, and costs no charge as long as the bytes are there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from headwater.ledger import Ledger
from headwater.ledger.frames import Kind
from headwater.ledger.journal import Journal, segment_name
from headwater.ledger.packing import pack
from headwater.ledger.tail import Tail
from tests.ledger.support import KEY, Server, applied_at_once, charge, eventually, opened, outside
from tests.ledger.test_delivery import count


class Disk:
    """`fsync` as Linux has it: it fails once, forgets which pages it did not write, and then says that all is well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.kept: set[int] = set()
        """Inodes that are on disk."""
        self.spoiled: set[int] = set()
        self.fails = set(names)
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, descriptor: int) -> None:
        path, inode = Path(os.readlink(f"/proc/self/fd/{descriptor}")), os.fstat(descriptor).st_ino  # noqa: PTH115
        if path.name in self.fails:
            self.fails.discard(path.name)
            if not path.name.startswith("."):  # a new file that failed is gone, and its inode is another's soon
                self.spoiled.add(inode)
            raise OSError(errno.EIO, "Input/output error")
        if inode not in self.spoiled:
            self.kept.add(inode)

    def is_kept(self, path: Path) -> bool:
        return path.stat().st_ino in self.kept


def seqs(tail: Tail) -> list[int]:
    found = []
    while some := tail.read():
        found += [frame.seq for frame in some if frame.kind == Kind.FINAL]
    return found


def test_a_segment_that_the_disk_failed_to_keep_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY)
    journal.provisional("open", pack(opened(9)))
    journal.final("a", pack(charge(1)))
    disk = Disk(monkeypatch, segment_name(1))
    tail = Tail(journal.folder, seal=journal.seal)

    tail.sync()
    journal.final("b", pack(charge(2)))
    tail.sync()

    assert seqs(tail) == [1, 2]
    paths = sorted(journal.folder.glob("[0-9]*.log"))
    assert [path.name for path in paths] == [segment_name(1), segment_name(2)]
    assert all(map(disk.is_kept, paths))
    assert "the disk failed to keep segment 1 of journal j: [Errno 5]" in caplog.text


def test_while_the_disk_takes_nothing_nothing_counts_as_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY)
    journal.final("a", pack(charge(1)))
    disk = Disk(monkeypatch, segment_name(1), f".{segment_name(1)}.anew")
    tail = Tail(journal.folder, seal=journal.seal)

    with pytest.raises(OSError, match="Input/output error"):
        tail.sync()
    assert tail.read() == []
    tail.sync()

    assert seqs(tail) == [1]
    assert disk.is_kept(journal.folder / segment_name(1))
    assert list(journal.folder.glob(".*")) == []


def test_a_segment_that_cannot_be_left_stays_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY)
    journal.final("a", pack(charge(1)))
    Disk(monkeypatch, segment_name(1))
    tail = Tail(journal.folder, seal=lambda _segment: False)

    for _ in range(2):
        with pytest.raises(OSError, match="no other can be begun"):
            tail.sync()
    assert tail.read() == []


def test_a_name_that_the_disk_failed_to_keep_is_given_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY)
    journal.final("a", pack(charge(1)))
    before = (journal.folder / segment_name(1)).stat().st_ino
    Disk(monkeypatch, "j")
    tail = Tail(journal.folder, seal=journal.seal)

    tail.sync()

    assert seqs(tail) == [1]
    assert (journal.folder / segment_name(1)).stat().st_ino != before


def test_charges_reach_the_store_although_the_disk_failed_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(data_dir=tmp_path, redis_url=server.url, key_fingerprint=KEY, outside=outside(applied_at_once))
    ledger.start()
    Disk(monkeypatch, segment_name(1))

    for n in range(20):
        ledger.charge(charge(n))

    assert ledger.flush(10)
    assert count(server) == 20
    journal = ledger._writable()
    assert journal.position().segment == 2
    eventually(lambda: [path.name for path in journal.folder.glob("[0-9]*.log")] == [segment_name(2)])
    ledger.close()
    assert ledger.stats.lost == 0
