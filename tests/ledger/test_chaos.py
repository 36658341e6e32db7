"""Chaos, in short: one fault after the other on real processes and servers, then every account against what was sent.

bench/chaos.py is the long run. Here each scenario has an arena of its own; the last ones switch off one protection each,
and the comparison must find what is then lost or doubled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import chaos
from chaos_arena import Arena, Nursery
from chaos_load import RAISED
from chaos_proxy import CUTS
from chaos_server import eventually

pytestmark = pytest.mark.skipif("sys.platform != 'linux'", reason="the server's standstill is read from /proc")


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    one = Nursery()
    yield one
    one.close()


@pytest.fixture
def enter(nursery: Nursery) -> Iterator[Callable[..., Arena]]:
    """Makes arenas with two workers at work; ends them after the test."""
    arenas: list[Arena] = []

    def make(**options: Any) -> Arena:
        arena = Arena(nursery, **{"workers": 2, "rate": 200.0, "segment_bytes": 2_000, **options})
        arenas.append(arena)
        arena.__enter__()
        arena.work(60)
        return arena

    yield make
    for arena in arenas:
        arena.__exit__(None, None, None)


def test_killed_workers_lose_nothing_and_what_was_open_is_charged_once(enter: Callable[..., Arena]) -> None:
    arena = enter()

    for _ in range(3):
        arena.kill_worker()
        arena.work(40)

    assert arena.settled() == []
    assert arena.sum("adopted") > 0


def test_adopters_racing_charge_once(enter: Callable[..., Arena]) -> None:
    arena = enter(workers=4)

    arena.race()

    assert arena.settled() == []


def test_a_killed_server_loses_nothing(enter: Callable[..., Arena]) -> None:
    arena = enter()

    arena.kill_server()
    arena.work(20)

    assert arena.settled() == []


def test_a_server_that_lost_power_is_brought_forward(enter: Callable[..., Arena]) -> None:
    arena = enter()

    for _ in range(2):
        arena.lose_power()
        arena.work(100)

    assert arena.settled() == []
    assert arena.lost_bytes > 0


def test_a_server_that_stands_still_charges_once(enter: Callable[..., Arena]) -> None:
    arena = enter()
    failures = arena.sum("failures")

    arena.stall(0.6)
    arena.work(20)

    assert arena.settled() == []
    assert arena.sum("failures") > failures


def test_connections_cut_in_the_middle_charge_once(enter: Callable[..., Arena]) -> None:
    arena = enter()

    for cut in CUTS:
        for _ in range(5):
            arena.cut(cut)
            arena.work(5)

    assert arena.settled() == []
    assert set(arena.proxy.cut_count) == set(CUTS)


def test_a_full_disk_breaks_no_reply_and_what_it_refused_is_charged_later(enter: Callable[..., Arena]) -> None:
    arena = enter()

    heals = [arena.fill_disk() for _ in range(4)]
    arena.work(100)
    for heal in heals:
        heal()

    assert arena.settled() == []
    assert any(bits & RAISED for sheet in arena.sheets for _, bits in sheet.states())


def test_a_worker_that_finds_the_disk_full_charges_its_first_exchanges_later(enter: Callable[..., Arena]) -> None:
    arena = enter(workers=1)

    arena.hire(most_file_bytes=100)
    eventually(lambda: arena.sheets[1]["exchanges"] >= 20, "exchanges of the new worker")

    assert arena.settled() == []


def test_a_server_without_memory_is_waited_for(enter: Callable[..., Arena]) -> None:
    arena = enter()
    failures = arena.sum("failures")

    heal = arena.fill_memory()
    arena.work(60)
    heal()

    assert arena.settled() == []
    assert arena.sum("failures") > failures


def test_flushed_scripts_and_stepped_clocks_change_nothing(enter: Callable[..., Arena]) -> None:
    arena = enter()

    for _ in range(3):
        arena.flush_scripts()
        arena.step_clock()
        arena.work(10)

    assert arena.settled() == []


def test_a_failover_to_a_replica_that_was_cut_off_loses_nothing(enter: Callable[..., Arena]) -> None:
    arena = enter(is_replicated=True)

    arena.fail_over(lambda: arena.work(100), is_last=True)
    arena.work(20)

    assert arena.settled() == []


def test_all_faults_at_once_and_the_report(nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "CALM_EXCHANGES", 30)
    monkeypatch.setattr(chaos, "ROUNDS", 1)
    monkeypatch.setattr(chaos, "FAULTS_A_ROUND", 10)

    chaos.run(chaos.settings(["--seed", "3", "--faults", "1", "--json", str(tmp_path / "chaos.json")]), nursery)

    report = json.loads((tmp_path / "chaos.json").read_text())
    assert (report["differences"], report["failed_replies"], report["comparisons"]) == ([], 0, 1)
    assert report["faults_count"] >= 8
    assert report["latency_us"]["faults: reply"]["p99"] >= report["latency_us"]["faults: reply"]["p50"] > 0


# -- protections switched off -----------------------------------------------------------------------------------------


def test_without_idempotency_a_lost_reply_doubles(enter: Callable[..., Arena]) -> None:
    arena = enter(without="idempotency")

    arena.cut("reply lost", 3)
    arena.work(20)

    found = arena.settled()
    assert any("charged more than once" in each for each in found)
    assert any("everybody: energy_microjoules is" in each and "(+" in each for each in found)


def test_without_the_journal_before_the_reply_a_killed_worker_loses_what_it_acknowledged(
    enter: Callable[..., Arena],
) -> None:
    arena = enter(without="journal")

    arena.kill_worker(2)

    found = arena.settled()
    assert any("charged as partial instead of completed" in each for each in found)
    assert any("everybody: energy_microjoules is" in each and "(-" in each for each in found)


def test_without_keeping_until_durable_a_loss_of_power_loses_charges(enter: Callable[..., Arena]) -> None:
    arena = enter(without="durability")

    arena.lose_power(lambda: arena.until_dropped(0.8))
    arena.work(20)

    found = arena.settled()
    assert any("is lost" in each for each in found)
    assert any("says gaps" in each for each in found)


def test_without_adoption_a_killed_worker_takes_charges_with_it(enter: Callable[..., Arena]) -> None:
    arena = enter(without="adoption")

    arena.kill_worker(2)

    assert any("is lost" in each for each in arena.settled(adoption_s=0.5))


def test_without_waiting_for_replicas_a_failover_loses_charges(enter: Callable[..., Arena]) -> None:
    arena = enter(without="replicas", is_replicated=True)

    arena.fail_over(arena.until_dropped, is_last=True)
    arena.work(20)

    found = arena.settled()
    assert any("is lost" in each for each in found)
    assert any("says gaps" in each for each in found)
