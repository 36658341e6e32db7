"""A journal is bounded: near its bound it takes no new exchanges, those it knows are charged, and what is lost is counted."""

from __future__ import annotations

import errno
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import LedgerError
from headwater.ledger import Ledger, syscalls
from headwater.ledger.journal import Full, Journal
from headwater.ledger.losses import FILE, Lost, losses
from headwater.ledger.packing import pack, unpack
from headwater.ledger.tail import Tail
from tests.ledger.support import KEY, NOV_23_MS, Server, applied_at_once, charge, eventually, opened, outside
from tests.ledger.test_delivery import count, reached
from tests.ledger.test_journal import finals, read_all

BOUND = 100_000
OPEN, FINAL = pack(opened(1)), pack(charge(1))
Start = Callable[..., Ledger]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    ledgers: list[Ledger] = []

    def make(server: Server, **options: Any) -> Ledger:
        options = {
            "data_dir": tmp_path,
            "key_fingerprint": KEY,
            "outside": outside(applied_at_once),
            "journal_bytes": BOUND,
            **options,
        }
        ledger = Ledger(redis_url=server.url, **options)
        ledger.start()
        ledgers.append(ledger)
        return ledger

    yield make
    for ledger in ledgers:
        ledger.close(timeout_s=0.5)


def bounded(folder: Path, journal_bytes: int = BOUND) -> Journal:
    return Journal(folder, journal_id="j", fingerprint=KEY, journal_bytes=journal_bytes)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.log"))


def fill(journal: Journal) -> int:
    """Charges without an open record, until no more are taken; how many."""
    for number in itertools.count():
        try:
            journal.final(f"fill{number}", pack(charge(number)))
        except Full:
            break
    return number


def test_a_full_journal_takes_the_charges_of_what_it_has_admitted_and_nothing_new(tmp_path: Path) -> None:
    journal = bounded(tmp_path)
    for n in range(20):
        assert journal.provisional(f"open{n}", pack(opened(n)))

    filled_count = fill(journal)

    assert journal.is_full
    assert journal.provisional("late", pack(opened(50))) is False
    assert journal.provisional("open1", pack(opened(1, ended_ms=NOV_23_MS + 9))) is False
    assert journal.document("h", "{}") is False
    journal.forget("open0")
    for n in range(1, 20):
        journal.final(f"open{n}", pack(charge(n)))
    assert finals(journal.folder) == list(range(1, filled_count + 20))
    assert BOUND * 0.8 < size(journal.folder) <= BOUND


def test_an_admitted_charge_beyond_the_very_bound_is_refused_too(tmp_path: Path) -> None:
    journal = bounded(tmp_path)
    journal.provisional("open", pack(opened(1)))
    fill(journal)
    for n in range(1_000):
        try:
            journal._open[f"more{n}"] = b""  # as if many more had been let in than room was kept for
            journal.final(f"more{n}", pack(charge(n)))
        except Full:
            break

    with pytest.raises(Full, match="holds all of the 100000 bytes"):
        journal.final("open", pack(charge(1)))
    assert size(journal.folder) <= BOUND + 512


STEPS = st.sampled_from(["open", "note", "end", "forget", "other", "document", "ship"])


@given(runs=st.lists(st.tuples(STEPS, st.integers(1, 60)), max_size=20))
def test_whatever_comes_in_which_order_admitted_charges_find_room_within_the_bound(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, int]]
) -> None:
    journal = bounded(tmp_path_factory.mktemp("any"), 20_000)
    tail = Tail(journal.folder, seal=journal.seal)
    waiting: list[int] = []
    for number, step in enumerate(one for one, times in runs for _ in range(1 if one == "ship" else times)):
        if step == "open" and journal.provisional(str(number), OPEN):
            waiting.append(number)
        elif step == "note" and waiting:
            journal.provisional(str(waiting[0]), OPEN)
        elif step == "end" and waiting:
            journal.final(str(waiting.pop(0)), FINAL)
        elif step == "forget" and waiting:
            journal.forget(str(waiting.pop()))
        elif step == "other":
            with suppress(Full):
                journal.final("other", FINAL)
        elif step == "document":
            journal.document("h", "d" * 3_000)
        elif step == "ship":
            tail.sync()
            while tail.read():
                pass
            tail.drop_before(tail.position)
            journal.dropped(tail.position.segment)
            journal.relieve()
    for number in waiting:
        journal.final(str(number), FINAL)

    assert size(journal.folder) <= 20_000
    journal.close()


def test_a_document_that_would_break_the_bound_waits(tmp_path: Path) -> None:
    journal = bounded(tmp_path)

    assert journal.document("h", "d" * 99_000) is False
    assert journal.document("h", "d" * 50_000) is True


def test_there_is_room_again_when_segments_are_dropped(tmp_path: Path) -> None:
    journal = bounded(tmp_path)
    tail = Tail(journal.folder, seal=journal.seal)
    first_count = fill(journal)
    tail.sync()
    while tail.read():
        pass

    tail.drop_before(tail.position)
    journal.dropped(tail.position.segment)

    assert not journal.is_full
    assert fill(journal) > first_count * 0.7
    assert size(journal.folder) <= BOUND


def test_a_bound_in_one_segment_is_relieved_by_beginning_another(tmp_path: Path) -> None:
    journal = bounded(tmp_path)
    for n in range(195):  # so many are open that the journal takes no more, and that they would fill segments
        journal.provisional(f"open{n}", pack(opened(n)))
    assert journal.is_full
    for n in range(195):
        journal.final(f"open{n}", pack(charge(n)))
    journal._closed.clear()  # the store has it all
    journal._set_bounds()
    journal._rotate_at = BOUND * 2

    fill(journal)
    before = journal.position().segment
    journal.relieve()

    assert journal.position().segment == before + 1
    journal.dropped(before + 1)
    assert not journal.is_full


def test_a_rotation_at_the_cost_of_the_room_that_is_kept_waits(tmp_path: Path) -> None:
    journal = bounded(tmp_path, 40_000)
    for n in range(50):
        journal.provisional(f"open{n}", pack(opened(n)))
    fill(journal)
    segment = journal.position().segment

    journal._rotate_at = 0
    journal.final("open0", pack(charge(0)))
    assert journal.position().segment == segment
    for n in range(1, 50):
        journal.final(f"open{n}", pack(charge(n)))

    assert size(journal.folder) <= 40_000
    assert len(finals(journal.folder)) > 50


def test_charges_beyond_the_bound_are_lost_and_counted_aloud(
    own_server: Server, start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    now_s = 0.0
    ledger = start(own_server, outside=outside(applied_at_once, monotonic=lambda: now_s))
    for n in range(10):
        ledger.provisional(opened(n))
    kept_count = 0
    while ledger.charge(charge(1_000 + kept_count)):
        kept_count += 1

    lost = [charge(5_000 + n) for n in range(5)]
    for each in lost:
        assert ledger.provisional(opened(7)) is False
        assert ledger.charge(each) is False
    assert caplog.text.count("charges are lost") == 1
    now_s = 61.0
    assert ledger.charge(charge(5_005)) is False
    assert caplog.text.count("charges are lost") == 2
    for n in range(10):
        assert ledger.charge(charge(n)) is True

    assert not ledger.is_refusing
    assert ledger.stats.lost == 7
    assert ledger.stats.journalled == kept_count + 10
    every = [charge(1_000 + kept_count), *lost, charge(5_005)]
    energy = sum(each.amounts.energy_microjoules for each in every if each.amounts is not None)
    assert ledger.stats.lost_energy_microjoules == energy
    assert f"7 charges are lost (175 input tokens, 28 output tokens, {energy} microjoules)" in caplog.text
    assert losses(tmp_path) == [
        Lost(
            journal_id=ledger._writable().journal_id,
            charges_count=7,
            input_tokens=175,
            output_tokens=28,
            energy_microjoules=energy,
            first_ms=every[0].ended_ms,
            last_ms=every[-1].ended_ms,
        )
    ]

    own_server.start()
    now_s = 1_000.0  # the back-off is over
    reached(own_server, kept_count + 10)
    eventually(lambda: "room again" in caplog.text)
    assert ledger.charge(charge(6_000)) is True
    ledger.close()

    assert list(tmp_path.glob("journals/*")) == []
    (kept,) = losses(tmp_path)
    assert kept.charges_count == 7


def test_a_ledger_that_is_to_refuse_says_so_and_charges_what_it_admitted(
    own_server: Server, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = start(own_server, when_full="refuse")
    admitted = 0
    while not ledger.is_refusing:
        ledger.provisional(opened(admitted))
        admitted += 1
    ledger.note_refused()

    for n in range(admitted):
        assert ledger.charge(charge(n)) is True
    while not ledger._writable().is_full:
        ledger.charge(charge(admitted))
        admitted += 1
    assert ledger.charge(charge(admitted)) is True  # one without an open record waits in memory

    own_server.start()
    eventually(lambda: not ledger.is_refusing)
    eventually(lambda: ledger.stats.journalled == admitted + 1)
    assert ledger.flush(10)
    assert count(own_server) == admitted + 1
    assert (ledger.stats.lost, ledger.stats.refused) == (0, 1)
    assert "new requests are turned away" in caplog.text
    assert "room again" in caplog.text


def test_what_waits_for_room_has_a_bound_of_its_own(
    own_server: Server, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.ledger.ledger.MOST_LATE_COUNT", 1)
    ledger = start(own_server, when_full="refuse")
    n = 0
    while not ledger.is_refusing:
        ledger.charge(charge(n))
        n += 1

    assert ledger.charge(charge(n, once="ab" * 16)) is True
    assert ledger.has_charged("ab" * 16)
    assert ledger.charge(charge(n + 1)) is False
    assert ledger.stats.lost == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_counts_as_the_bound_and_ends_by_itself(
    server: Server, start: Start, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    ledger = start(server, when_full="refuse")
    ledger.provisional(opened(1))

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as full:
        full.setattr(syscalls, "write", refuse)
        full.setattr(Path, "write_bytes", refuse)
        with pytest.raises(LedgerError):
            ledger.charge(charge(1))
        assert ledger.is_refusing
        assert ledger.provisional(opened(2)) is False

    # Nobody comes any more; the shipper looks.
    eventually(lambda: not ledger.is_refusing)
    eventually(lambda: ledger.stats.journalled == 1)
    assert ledger.flush(10)
    assert count(server) == 1


def test_a_segment_that_reached_a_limit_of_its_own_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = bounded(tmp_path)
    journal.provisional("open", pack(opened(1)))
    real, first = syscalls.write, journal._descriptor

    def refuse(descriptor: int, data: bytes) -> int:
        if descriptor == first:
            raise OSError(errno.EFBIG, "file too large")
        return real(descriptor, data)

    monkeypatch.setattr(syscalls, "write", refuse)
    with pytest.raises(LedgerError, match="too large"):
        journal.final("open", pack(charge(1)))

    assert journal.relieve()
    journal.final("open", pack(charge(1)))
    assert [unpack(frame.payload).outcome for frame in read_all(journal.folder) if frame.payload[:1] == b"\x04"] == [
        "partial", "partial", "completed",
    ]  # fmt: skip


def test_while_the_disk_has_no_room_for_a_probe_the_journal_stays_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = bounded(tmp_path)
    real = syscalls.write

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as full:
        full.setattr(syscalls, "write", refuse)
        full.setattr(Path, "write_bytes", refuse)
        with pytest.raises(LedgerError):
            journal.final("a", pack(charge(1)))
        assert journal.relieve() is False
    with monkeypatch.context() as tight:
        # Room enough for the probe, not for a new segment: then the old one is gone on with.
        tight.setattr(syscalls, "write", lambda descriptor, data: real(descriptor, data[:10]))
        assert journal.relieve() is True
    journal.final("a", pack(charge(1)))

    assert journal.position().segment == 1
    assert finals(journal.folder) == [1]
    assert not list(journal.folder.glob(".probe"))


def test_an_exchange_whose_charge_is_lost_is_carried_no_longer(
    own_server: Server, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.ledger.ledger.MOST_LATE_COUNT", 0)
    ledger = start(own_server)
    ledger.provisional(opened(1))

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as full:
        full.setattr(syscalls, "write", refuse)
        with pytest.raises(LedgerError, match="no space left"):
            ledger.charge(charge(1))

    assert ledger.stats.lost == 1
    assert ledger._writable()._open == {}


def test_figures_that_cannot_be_read_or_kept_are_said_and_stepped_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).mkdir()
    (tmp_path / FILE / "old").write_text("{")
    journal = bounded(tmp_path)

    assert losses(tmp_path) == []
    assert "cannot be read" in caplog.text
    journal.close(durable_to=journal.position())


def test_ten_thousand_open_exchanges_are_carried_at_most_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path, journal_id="j", fingerprint=KEY, segment_bytes=20_000)
    payload, final = pack(opened(1)), pack(charge(1))
    for n in range(10_000):
        journal.provisional(str(n), payload)
    before = journal.position().segment
    for n in range(10_000):
        journal.final(f"other{n}", final)

    written = size(journal.folder)
    own = 10_000 * (len(payload) + len(final) + 42)
    assert before < 20
    assert written < 3 * own
