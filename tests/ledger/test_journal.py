"""The journal survives short writes, full disks, torn tails and flipped bits, at the cost of the record that was hit."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import LedgerError
from headwater.ledger import frames, syscalls
from headwater.ledger.frames import START, Frame, Kind
from headwater.ledger.journal import Journal, lock_journal, segment_name
from headwater.ledger.packing import pack
from headwater.ledger.tail import Tail, dropped_seq, fingerprint_of
from tests.ledger.support import KEY, charge, opened, write


def read_all(folder: Path) -> list[Frame]:
    tail = Tail(folder)
    tail.sync()
    found = []
    while some := tail.read():
        found += some
    return found


def finals(folder: Path) -> list[int]:
    return [frame.seq for frame in read_all(folder) if frame.kind == Kind.FINAL]


def test_records_are_read_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY)

    journal.document("5f0c", "{}")
    journal.provisional("a", pack(opened(1)))
    journal.final("a", pack(charge(1)))
    journal.provisional("b", pack(opened(2)))
    journal.forget("b")
    journal.forget("b")

    kinds = [frame.kind for frame in read_all(journal.folder)]
    assert kinds == [Kind.HEAD, Kind.DOCUMENT, Kind.PROVISIONAL, Kind.FINAL, Kind.PROVISIONAL, Kind.FORGET]
    assert (dropped_seq(journal.folder), fingerprint_of(journal.folder)) == (0, KEY)


def test_a_tail_sees_nothing_before_it_is_durable_on_disk(tmp_path: Path) -> None:
    journal = write(tmp_path, [charge(1)])
    tail = Tail(journal.folder)

    assert tail.read() == []
    assert tail.sync() is True
    assert [frame.kind for frame in tail.read()] == [Kind.HEAD, Kind.FINAL]
    assert tail.sync() is False
    assert tail.position == tail.end() == journal.position()


def test_rotation_carries_open_exchanges_and_keeps_the_sequence(tmp_path: Path) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY, segment_bytes=1_000)
    journal.provisional("open", pack(opened(99)))

    for n in range(20):
        journal.final(f"r{n}", pack(charge(n)))

    assert finals(journal.folder) == list(range(1, 21))
    segments = sorted(journal.folder.glob("[0-9]*.log"))
    assert len(segments) > 3
    for segment in segments[1:]:
        head = frames.decode(segment.read_bytes(), 0)
        assert head is not None
        assert head.kind == Kind.HEAD
        carried = frames.decode(segment.read_bytes(), head.end)
        assert carried is not None
        assert carried.payload == pack(opened(99))


def test_a_rotation_that_fails_goes_on_in_the_old_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY, segment_bytes=500)
    full = OSError(errno.ENOSPC, "no space")

    def refuse(*_: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        for n in range(10):
            journal.final(f"r{n}", pack(charge(n)))
        patch.setattr(os, "open", refuse)
        for n in range(10, 800):
            journal.final(f"r{n}", pack(charge(n)))

    assert finals(journal.folder) == list(range(1, 801))
    assert len(list(journal.folder.glob("[0-9]*.log"))) == 1


def test_a_short_write_is_an_error_and_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = write(tmp_path, [charge(1)])
    real_write = syscalls.write

    with monkeypatch.context() as patch:
        patch.setattr(syscalls, "write", lambda descriptor, data: real_write(descriptor, data[:50]))
        with pytest.raises(LedgerError, match="50 of"):
            journal.final("b", pack(charge(2)))
    journal.final("c", pack(charge(3)))

    assert journal.position().offset == (journal.folder / segment_name(1)).stat().st_size
    assert finals(journal.folder) == [1, 2]


def test_a_short_write_that_cannot_be_cut_off_is_stepped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = write(tmp_path, [charge(1)])
    real_write = syscalls.write

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patch:
        patch.setattr(syscalls, "write", lambda descriptor, data: real_write(descriptor, data[:50]))
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(LedgerError):
            journal.final("b", pack(charge(2)))
    journal.final("c", pack(charge(3)))

    assert finals(journal.folder) == [1, 2]


def test_a_full_disk_is_an_error_and_costs_only_what_it_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = write(tmp_path, [charge(1)])

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(syscalls, "write", refuse)
        with pytest.raises(LedgerError, match="no space left"):
            journal.final("b", pack(charge(2)))
    journal.final("c", pack(charge(3)))

    assert finals(journal.folder) == [1, 2]


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "journals").write_text("in the way")

    with pytest.raises(LedgerError, match="HEADWATER_DATA_DIR"):
        Journal(tmp_path, journal_id="j", fingerprint=KEY)


def test_a_document_beyond_a_mebibyte_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY)

    with pytest.raises(LedgerError, match="at most 1048576"):
        journal.document("h", "x" * (1 << 20))


def test_a_document_larger_than_a_chunk_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY)

    journal.final("a", pack(charge(1)))
    journal.document("h", "x" * 900_000)
    journal.final("b", pack(charge(2)))

    assert [frame.kind for frame in read_all(journal.folder)] == [Kind.HEAD, Kind.FINAL, Kind.DOCUMENT, Kind.FINAL]


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 2_000))
def test_a_torn_tail_costs_only_the_torn_record(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    journal = write(tmp_path_factory.mktemp("torn"), [charge(n) for n in range(6)])
    path = journal.folder / segment_name(1)
    ends = [frame.end for frame in read_all(journal.folder)]

    size = min(cut, ends[-1])
    os.truncate(path, size)

    assert [frame.end for frame in read_all(journal.folder)] == [end for end in ends if end <= size]


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 1_500), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_only_its_record(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int) -> None:
    journal = write(tmp_path_factory.mktemp("flip"), [charge(n) for n in range(6)])
    path = journal.folder / segment_name(1)
    ends = [frame.end for frame in read_all(journal.folder)]
    data = bytearray(path.read_bytes())
    place = min(place, len(data) - 1)

    data[place] ^= 1 << bit
    path.write_bytes(data)

    hit = next(end for end in ends if place < end)
    assert [frame.end for frame in read_all(journal.folder)] == [end for end in ends if end != hit]


def test_damage_in_one_segment_leaves_the_next_ones(tmp_path: Path) -> None:
    journal = write(tmp_path, [charge(n) for n in range(40)], segment_bytes=2_000)
    first = journal.folder / segment_name(1)
    last_of_first = max(frame.seq for frame in _sound(first))

    os.truncate(first, first.stat().st_size - 1)

    assert finals(journal.folder) == [n for n in range(1, 41) if n != last_of_first]


def _sound(path: Path) -> list[Frame]:
    data, found = path.read_bytes(), []
    frame = frames.decode(data, 0)
    while frame is not None:
        found.append(frame)
        frame = frames.decode(data, frame.end)
    return found


def test_a_journal_can_be_locked_only_when_its_owner_is_gone(tmp_path: Path) -> None:
    journal = write(tmp_path, [charge(1)])

    assert lock_journal(journal.folder) is None
    journal.close()
    journal.close()
    lock = lock_journal(journal.folder)
    assert lock is not None
    assert lock_journal(journal.folder) is None
    os.close(lock)
    assert lock_journal(tmp_path / "nothing") is None


def test_a_lock_on_a_journal_that_was_removed_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = write(tmp_path, [])
    journal.close()
    real_open = os.open

    def open_then_replace(path: Path, flags: int) -> int:
        descriptor = real_open(path, flags)
        path.rename(path.with_name("gone"))
        os.close(real_open(path, flags | os.O_CREAT))
        return descriptor

    monkeypatch.setattr(os, "open", open_then_replace)
    assert lock_journal(journal.folder) is None


def test_removal_leaves_nothing(tmp_path: Path) -> None:
    journal = write(tmp_path, [charge(1)])

    journal.close(durable_to=journal.position())

    assert list((tmp_path / "journals").iterdir()) == []


def test_a_reader_beside_a_writer_sees_every_record_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY, segment_bytes=20_000)
    payload = pack(charge(1))

    def append() -> None:
        for n in range(5_000):
            journal.final(str(n), payload)

    writer = threading.Thread(target=append)
    tail = Tail(journal.folder)
    seen: list[int] = []

    writer.start()
    while len(seen) < 5_000:
        alive = writer.is_alive()
        tail.sync()
        while some := tail.read():
            seen += [frame.seq for frame in some if frame.kind == Kind.FINAL]
        tail.drop_before(tail.position)
        if not alive:
            break
    writer.join()

    assert seen == list(range(1, 5_001))
    assert len(list(journal.folder.glob("[0-9]*.log"))) <= 2
    tail.rewind()
    assert tail.position == START


def test_a_folder_without_a_record_has_no_head(tmp_path: Path) -> None:
    assert (dropped_seq(tmp_path), fingerprint_of(tmp_path)) == (None, None)
    (tmp_path / segment_name(2)).write_bytes(b"noise")
    assert (dropped_seq(tmp_path), fingerprint_of(tmp_path)) == (None, None)
    tail = Tail(tmp_path)
    tail.sync()
    assert tail.read() == []
