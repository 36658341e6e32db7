"""Whatever happens to the bytes of a journal, only the records that were hit are lost, the numbers of lost charges are
known, and nothing is charged twice."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.ledger import frames
from headwater.ledger.adoption import Orphanage
from headwater.ledger.damage import Damage
from headwater.ledger.frames import Frame, Kind
from headwater.ledger.journal import Journal, segment_name
from headwater.ledger.packing import pack, unpack
from headwater.ledger.reader import Reader
from headwater.ledger.redis import Store
from headwater.ledger.stats import Stats
from headwater.ledger.tail import Tail, dropped_seq, fingerprint_of
from tests.ledger.support import ADA, KEY, MONTH, NOV_23_MS, Applied, Server, charge, opened, ship, write
from tests.ledger.test_delivery import count

NOW_S = NOV_23_MS / 1000 + 3_600


class Whole(NamedTuple):
    """A record as it was written."""

    kind: int
    seq: int
    payload: bytes
    start: int
    end: int


def journal_of(folder: Path, steps: list[str], segment_bytes: int = 1 << 20) -> Path:
    """A dead process's journal: `o`pen, `c`harge, `f`orget the oldest open exchange, `d`ocument, `b`ackground charge."""
    journal = Journal(folder, journal_id="j", fingerprint=KEY, segment_bytes=segment_bytes)
    waiting: list[int] = []
    for number, step in enumerate(steps):
        if step == "o":
            journal.provisional(opened(number).request_id, pack(opened(number)))
            waiting.append(number)
        elif step == "d":
            journal.document(f"{number:x}", "{}" * number)
        elif step == "b":
            journal.final(charge(number).request_id, pack(charge(number)))
        elif waiting:
            known = charge(waiting.pop(0))
            if step == "c":
                journal.final(known.request_id, pack(known))
            else:
                journal.forget(known.request_id)
    journal.close()
    return journal.folder


STEPS = st.lists(st.sampled_from("oooccfdb"), min_size=1, max_size=25)


def whole(path: Path) -> list[Whole]:
    data, found, at = path.read_bytes(), [], 0
    while frame := frames.decode(data, at):
        found.append(Whole(frame.kind, frame.seq, frame.payload, at, frame.end))
        at = frame.end
    assert at == len(data)
    return found


def read(folder: Path, stats: Stats) -> list[Frame]:
    tail = Tail(folder, damage=Damage(folder.name, stats))
    tail.sync()
    found = []
    while some := tail.read():
        found += some
    return found


Hurt = Callable[[bytes, int, int], bytes]
ZEROS: Hurt = lambda data, start, end: data[:start] + bytes(end - start) + data[end:]  # noqa: E731
CUT_OUT: Hurt = lambda data, start, end: data[:start] + data[end:]  # noqa: E731
NOISE: Hurt = lambda data, start, end: data[:start] + b"\xf5Hw\x01 noise" * 9 + data[end:]  # noqa: E731


def flipped(data: bytes, start: int, end: int) -> bytes:
    hurt = bytearray(data)
    hurt[start] ^= 1 << end % 8
    return bytes(hurt)


def torn(data: bytes, start: int, _end: int) -> bytes:
    return data[:start]


def oversized(data: bytes, start: int, end: int) -> bytes:
    """The length of a record says more than there is."""
    at = data.rfind(frames.MAGIC, 0, start + 1) + 8
    return data[:at] + b"\xff" * 4 + data[at + 4 :]


@settings(max_examples=150)
@given(
    steps=STEPS,
    segment_bytes=st.sampled_from([500, 1 << 20]),
    hurt=st.sampled_from([ZEROS, CUT_OUT, NOISE, flipped, torn, oversized]),
    places=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.floats(0, 0.4)),
)
def test_damage_costs_the_records_it_hit_and_no_other(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[str],
    segment_bytes: int,
    hurt: Hurt,
    places: tuple[float, float, float],
) -> None:
    folder = journal_of(tmp_path_factory.mktemp("hurt"), steps, segment_bytes)
    paths = sorted(folder.glob("[0-9]*.log"))
    hit = paths[int(places[0] * len(paths))]
    records, data = {path: whole(path) for path in paths}, hit.read_bytes()
    start = int(places[1] * len(data))

    damaged = hurt(data, start, min(len(data), start + 1 + int(places[2] * len(data))))
    hit.write_bytes(damaged)
    stats = Stats()
    found = read(folder, stats)

    # A record whose bytes are still there is sound.
    left = [each for path in paths for each in records[path] if path != hit or data[each.start : each.end] in damaged]
    assert [(each.kind, each.seq, each.payload) for each in found] == [(r.kind, r.seq, r.payload) for r in left]
    # What is behind the last number that can be read, nobody misses.
    last_seq = max((each.seq for each in left), default=0)
    assert stats.lost == last_seq - sum(each.kind == Kind.FINAL for each in left)


@given(steps=STEPS, places=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)))
def test_records_that_stand_there_twice_are_read_once_and_nothing_is_missed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], places: tuple[float, float, float]
) -> None:
    folder = journal_of(tmp_path_factory.mktemp("twice"), steps)
    path = folder / segment_name(1)
    records, data = whole(path), path.read_bytes()
    bounds = [0, *(record.end for record in records)]
    start, end = sorted(bounds[int(place * (len(bounds) - 1))] for place in places[:2])
    at = bounds[int(places[2] * (len(bounds) - 1))]

    path.write_bytes(data[:at] + data[start:end] + data[at:])
    stats = Stats()
    found = read(folder, stats)

    finals = [(each.seq, each.payload) for each in found if each.kind == Kind.FINAL]
    assert finals == [(record.seq, record.payload) for record in records if record.kind == Kind.FINAL]
    assert stats.lost == 0


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    steps=STEPS,
    hurt=st.sampled_from([ZEROS, CUT_OUT, NOISE, flipped, torn, oversized, lambda data, start, end: data[:end] + data[start:]]),
    places=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 0.4)),
    shipped=st.booleans(),
)  # fmt: skip
def test_a_damaged_journal_of_a_dead_process_charges_no_exchange_twice(
    server: Server,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[str],
    hurt: Hurt,
    places: tuple[float, float],
    shipped: bool,
) -> None:
    server.command("FLUSHALL")
    store = Store(server.url)
    store.check(KEY)
    data_dir = tmp_path_factory.mktemp("dead")
    folder = journal_of(data_dir, steps)
    path = folder / segment_name(1)
    records, data = whole(path), path.read_bytes()
    ended = {unpack(r.payload).request_id for r in records if r.kind == Kind.FINAL}
    if shipped:  # the process had got all of it into the store before it died, and then the disk failed
        _ship(folder, store)
    start = int(places[0] * len(data))

    path.write_bytes(hurt(data, start, min(len(data), start + 1 + int(places[1] * len(data)))))
    stats = Stats()
    _adopt(data_dir, store, stats)

    with Reader(store, on_close=None) as reader:
        charged = [each.request_id for each in reader.ledger_entries()]
    assert len(charged) == len(set(charged))
    if shipped:
        assert ended <= set(charged)
        assert stats.lost == 0
    assert count(server) == len(charged)
    store.close()


def _ship(folder: Path, store: Store) -> None:
    class Written:
        def __init__(self) -> None:
            self.folder = folder

    ship(Written(), store)  # type: ignore[arg-type]


def _adopt(data_dir: Path, store: Store, stats: Stats, now_s: float = NOW_S) -> None:
    home = Orphanage(data_dir, store, stats, fingerprint=KEY, durability=Applied, clock=lambda: now_s)
    for adopted in home.take():
        adopted.shipment.tail.sync()
        while adopted.shipment.ship():
            pass
        assert adopted.shipment.settle()
        adopted.release(remove=True)


def test_an_open_record_that_comes_again_behind_its_end_is_not_charged(
    server: Server, store: Store, tmp_path: Path
) -> None:
    folder = journal_of(tmp_path, ["o", "o", "c", "f", "o"])
    path = folder / segment_name(1)
    data = path.read_bytes()
    path.write_bytes(data + data[: whole(path)[2].end])
    stats = Stats()

    _adopt(tmp_path, store, stats)

    assert (count(server), stats.adopted, stats.lost) == (2, 1, 0)


def test_an_exchange_whose_last_record_is_torn_is_charged_as_partial(
    server: Server, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = journal_of(tmp_path, ["o", "o", "c", "c"])
    path = folder / segment_name(1)
    size = path.stat().st_size
    os.truncate(path, size - 1)
    stats = Stats()

    _adopt(tmp_path, store, stats)

    with Reader(store, on_close=None) as reader:
        outcomes = {each.request_id: each.outcome for each in reader.ledger_entries()}
    assert outcomes == {charge(0).request_id: "completed", charge(1).request_id: "partial"}
    assert stats.adopted == 1
    assert f"journal j is damaged: bytes {whole_end(path, size)} to {size - 1} of segment 1" in caplog.text


def whole_end(path: Path, size: int) -> int:
    """Where the last record of a journal of four began."""
    return size - frames.HEAD_BYTES - len(pack(charge(1)))


def test_what_is_missing_is_said_with_journal_segment_and_numbers(
    server: Server, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = write(tmp_path, [charge(n) for n in range(30)], segment_bytes=2_000)
    records = whole(journal.folder / segment_name(2))
    hit = records[2:5]
    path = journal.folder / segment_name(2)
    path.write_bytes(ZEROS(path.read_bytes(), hit[0].start + 5, hit[-1].start + 5))
    stats = Stats()

    ship(journal, store, stats)

    assert (stats.lost, count(server)) == (3, 27)
    assert (
        f"journal j1 is damaged: 3 charges (numbers {hit[0].seq} to {hit[-1].seq}, in or before segment 2)"
        in caplog.text
    )
    assert f"bytes {hit[0].start} to {hit[-1].end} of segment 2 are no sound record" in caplog.text


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_segment_that_is_gone_or_empty_costs_its_own_charges(
    server: Server, store: Store, tmp_path: Path, number: int, is_there: bool
) -> None:
    journal = write(tmp_path, [charge(n) for n in range(30)], segment_bytes=2_000)
    path = journal.folder / segment_name(number)
    lost_count = sum(record.kind == Kind.FINAL for record in whole(path))
    path.write_bytes(b"")
    if not is_there:
        path.unlink()
    stats = Stats()

    ship(journal, store, stats)

    assert count(server) == 30 - lost_count
    # Where the first one is gone, it looks as if the store had lost what it once had.
    assert stats.lost + stats.gaps == lost_count > 0
    assert (stats.gaps > 0) == (number == 1 and not is_there)


def test_records_of_a_later_segment_that_stand_in_an_earlier_one_too_cost_nothing(tmp_path: Path) -> None:
    journal = write(tmp_path, [charge(n) for n in range(30)], segment_bytes=2_000)
    later = journal.folder / segment_name(3)
    records, path = whole(later), journal.folder / segment_name(1)
    path.write_bytes(path.read_bytes() + later.read_bytes()[records[2].start : records[4].end])
    stats = Stats()

    found = read(journal.folder, stats)

    assert [frame.seq for frame in found if frame.kind == Kind.FINAL] == list(range(1, 31))
    assert stats.lost == 0


def test_a_damaged_head_costs_nothing_and_hides_no_key(server: Server, store: Store, tmp_path: Path) -> None:
    folder = journal_of(tmp_path, ["o", "o", "c"])
    path = folder / segment_name(1)
    data = path.read_bytes()
    path.write_bytes(flipped(data, 30, 0))
    stats = Stats()

    assert (dropped_seq(folder), fingerprint_of(folder)) == (0, KEY)
    home = Orphanage(tmp_path, store, stats, fingerprint="fedcba9876543210", durability=Applied)
    assert home.take() == []
    _adopt(tmp_path, store, stats)

    assert (count(server), stats.lost, stats.gaps, stats.adopted) == (2, 0, 0, 1)


def test_a_damaged_head_of_the_oldest_segment_is_no_gap_of_the_store(
    server: Server, store: Store, tmp_path: Path
) -> None:
    journal = write(tmp_path, [charge(n) for n in range(30)], segment_bytes=2_000)
    (journal.folder / segment_name(1)).unlink()
    path = journal.folder / segment_name(2)
    sound = sum(record.kind == Kind.FINAL for record in whole(path))
    path.write_bytes(flipped(path.read_bytes(), 30, 0))
    stats = Stats()

    assert dropped_seq(journal.folder) is None
    ship(journal, store, stats)

    assert (stats.gaps, stats.lost) == (0, 0)
    assert count(server) >= sound


def test_an_open_record_that_is_unreadable_costs_its_exchange_alone(
    server: Server, store: Store, tmp_path: Path
) -> None:
    folder = journal_of(tmp_path, ["o", "o", "o"])
    path = folder / segment_name(1)
    second = whole(path)[2]
    path.write_bytes(flipped(path.read_bytes(), second.start + 40, 3))
    stats = Stats()

    _adopt(tmp_path, store, stats)

    assert (stats.adopted, count(server)) == (2, 2)


def test_an_exchange_of_which_the_store_cannot_tell_any_more_is_not_charged_again(
    server: Server, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = journal_of(tmp_path, ["o", "o", "c"])
    _ship(folder, store)
    server.command("DEL", *server.command("KEYS", "*:q:*"))
    path = folder / segment_name(1)
    os.truncate(path, path.stat().st_size - 1)
    stats = Stats()

    _adopt(tmp_path, store, stats, now_s=NOW_S + 72 * 3_600)

    assert (count(server), stats.lost, stats.adopted) == (1, 2, 0)
    assert "2 exchanges were open by what can be read of it" in caplog.text


def test_the_store_is_asked_before_numbers_are_given_to_what_a_dead_process_left(
    server: Server, store: Store, tmp_path: Path
) -> None:
    folder = journal_of(tmp_path, ["o", "o", "c", "o"])
    _ship(folder, store)
    path = folder / segment_name(1)
    final = whole(path)[3]
    path.write_bytes(ZEROS(path.read_bytes(), final.start, final.end))
    stats = Stats()

    _adopt(tmp_path, store, stats)

    # Its number is the store's last: a charge under it would be taken for the one that the store has.
    with Reader(store, on_close=None) as reader:
        outcomes = [(each.request_id, each.outcome) for each in reader.ledger_entries()]
    assert outcomes == [
        (charge(0).request_id, "completed"), (charge(1).request_id, "partial"), (charge(3).request_id, "partial"),
    ]  # fmt: skip
    assert (stats.adopted, stats.lost) == (2, 0)


def test_a_store_that_does_not_answer_leaves_a_dead_journal_for_later(
    server: Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from headwater.ledger.connection import StoreError

    journal_of(tmp_path, ["o"])
    home = Orphanage(tmp_path, store, Stats(), fingerprint=KEY, durability=Applied)

    def refuse(_journal_id: str) -> dict[int, int]:
        raise StoreError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(store, "applied", refuse)
        assert home.take() == []
    assert "left as it is" not in caplog.text
    (taken,) = home.take()
    taken.release()


def test_the_same_damage_is_said_once_however_often_it_is_read(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    journal = write(tmp_path, [charge(n) for n in range(5)])
    path = journal.folder / segment_name(1)
    path.write_bytes(flipped(path.read_bytes(), 500, 0))
    stats = Stats()

    shipment = ship(journal, store, stats)
    shipment.doubt()
    shipment.tail.rewind()
    while shipment.ship():
        pass

    assert stats.lost == 1
    assert caplog.text.count("is damaged") == 2
    with Reader(store, on_close=None) as reader:
        assert reader.user_row(ADA, MONTH).requests_count == 4
