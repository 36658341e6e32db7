"""What a deployment has in flight is the sum over its living workers, by the store's own clock."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.ledger import Ledger
from headwater.ledger.connection import StoreError
from headwater.ledger.gauges import Gauges, Shared
from headwater.ledger.redis import Store
from tests.ledger.support import KEY, Count, Server, applied_at_once, charge, eventually, outside, write
from tests.ledger.test_delivery import reached

LOAD = "hw2:load:chat"
LONG_S = 600.0

WORKER = """
import sys, threading, time
from pathlib import Path
from headwater.ledger import Ledger
from tests.ledger.support import Count, eventually, outside
ledger = Ledger(
    data_dir=Path(sys.argv[1]), redis_url=sys.argv[2], key_fingerprint="0123456789abcdef", outside=outside(gauge_life_s=1.0)
)
count = Count(3)
ledger.share("chat", count, time.monotonic)
ledger.start()
eventually(lambda: count.others_count == 4)
print("ready", flush=True)
threading.Event().wait()
"""


def test_each_worker_is_told_what_the_others_have(store: Store) -> None:
    assert store.exchange_load("chat", "a", 3, LONG_S) == 0
    assert store.exchange_load("chat", "b", 4, LONG_S) == 3
    assert store.exchange_load("other", "c", 9, LONG_S) == 0
    assert store.exchange_load("chat", "a", 5, LONG_S) == 4
    assert store.exchange_load("chat", "c", 0, LONG_S) == 9


def test_a_worker_with_nothing_in_flight_leaves_nothing_behind(server: Server, store: Store) -> None:
    store.exchange_load("chat", "a", 3, LONG_S)
    assert 0 < server.command("PTTL", LOAD) <= LONG_S * 1000

    store.exchange_load("chat", "a", 0, LONG_S)

    assert server.command("EXISTS", LOAD) == 0


def test_what_was_just_said_is_not_written_again(server: Server, store: Store) -> None:
    """Each write goes into the append-only file, four times a second and worker."""
    server.command("CONFIG", "RESETSTAT")
    for _ in range(20):
        store.exchange_load("chat", "a", 3, LONG_S)
        store.exchange_load("chat", "b", 0, LONG_S)

    assert server.client().info("commandstats")["cmdstat_hset"]["calls"] == 1


def test_a_worker_that_says_nothing_more_is_gone_after_its_life(server: Server, store: Store) -> None:
    now_ms = int(server.command("TIME")[0]) * 1000
    server.command("HSET", LOAD, "dead", f"3 {now_ms - 601_000}", "alive", f"2 {now_ms - 300_000}")

    assert store.exchange_load("chat", "me", 1, LONG_S) == 2
    assert server.command("HKEYS", LOAD) == ["alive", "me"]


def test_a_worker_whose_count_stays_the_same_lives_on(server: Server, store: Store) -> None:
    now_ms = int(server.command("TIME")[0]) * 1000
    server.command("HSET", LOAD, "me", f"3 {now_ms - 300_000}")

    store.exchange_load("chat", "me", 3, LONG_S)

    assert int(server.command("HGET", LOAD, "me").split()[1]) >= now_ms


def test_counts_from_before_the_stores_clock_was_set_back_and_foreign_ones_are_swept(
    server: Server, store: Store
) -> None:
    ahead_ms = int(server.command("TIME")[0]) * 1000 + 3_600_000
    server.command("HSET", LOAD, "dead", f"3 {ahead_ms}", "foreign", "many", "old", "7 1000")

    assert store.exchange_load("chat", "me", 1, LONG_S) == 0
    assert server.command("HKEYS", LOAD) == ["me"]


@pytest.fixture
def sharing(tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    """Start ledgers that share loads under names, each as if on a machine of its own; close what a test leaves open."""
    ledgers: list[Ledger] = []

    def make(server: Server, *, gauge_s: float = 0.02, gauge_life_s: float = LONG_S, **counts: Count) -> Ledger:
        ledger = Ledger(
            data_dir=tmp_path / str(len(ledgers)),
            redis_url=server.url,
            key_fingerprint=KEY,
            outside=outside(applied_at_once, gauge_s=gauge_s, gauge_life_s=gauge_life_s),
        )
        for name, count in counts.items():
            ledger.share(name, count, time.monotonic)
        ledgers.append(ledger)
        ledger.start()
        return ledger

    yield make
    for ledger in ledgers:
        ledger.close(timeout_s=0.5)


def test_ledgers_on_one_store_add_up_and_an_orderly_end_is_told_at_once(
    server: Server, sharing: Callable[..., Ledger]
) -> None:
    counts = [Count(3), Count(4), Count(0)]
    ledgers = [sharing(server, chat=count) for count in counts]

    eventually(lambda: [count.others_count for count in counts] == [4, 3, 7])
    counts[2].in_flight_count = 1
    eventually(lambda: [count.others_count for count in counts] == [5, 4, 7])
    ledgers[1].close()

    assert server.command("HLEN", LOAD) == 2
    assert counts[1].others_count == 0
    eventually(lambda: [count.others_count for count in counts] == [1, 0, 3])
    ledgers[0].close()
    ledgers[2].close()
    assert server.command("EXISTS", LOAD) == 0


def test_two_loads_of_one_process_under_one_name_add_up(store: Store) -> None:
    counts = [Count(3), Count(4)]
    gauges = Gauges("w", [Shared("chat", count, time.monotonic) for count in counts], interval_s=0.0)

    gauges.exchange(store)
    gauges.exchange(store)

    assert [count.others_count for count in counts] == [4, 3]


def test_a_killed_worker_vanishes(server: Server, sharing: Callable[..., Ledger], tmp_path: Path) -> None:
    count = Count(4)
    sharing(server, gauge_life_s=1.0, chat=count)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path / "other"), server.url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        eventually(lambda: count.others_count == 3)
        process.kill()

    eventually(lambda: count.others_count == 0)


class Clock:
    """Shows what it is set to."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def test_without_a_store_the_others_are_forgotten_when_their_life_is_over(own_server: Server) -> None:
    own_server.start()
    store = Store(own_server.url)
    store.exchange_load("chat", "other", 3, LONG_S)
    count, monotonic, clock_s = Count(1), Clock(100.0), Clock(7_000.0)
    gauges = Gauges("me", [Shared("chat", count, clock_s)], monotonic=monotonic)
    gauges.exchange(store)
    assert count.said == [(3, 7_000.0)]

    own_server.kill()
    monotonic.now_s, clock_s.now_s = 101.0, 7_001.0
    with pytest.raises(StoreError):
        gauges.exchange(store)
    gauges.expire()
    assert count.others_count == 3
    monotonic.now_s, clock_s.now_s = 105.0, 7_005.0
    gauges.expire()
    gauges.expire()

    # dated to the end of its life, however late this thread came to look
    assert count.said == [(3, 7_000.0), (0, 7_002.0)]
    store.close()


def test_the_store_is_asked_only_when_it_is_time(store: Store) -> None:
    count, monotonic = Count(1), Clock(100.0)
    gauges = Gauges("me", [Shared("chat", count, Clock(0.0))], monotonic=monotonic)
    gauges.exchange(store)
    store.exchange_load("chat", "other", 3, LONG_S)

    gauges.exchange(store)
    assert count.said == []
    monotonic.now_s = 100.25
    gauges.exchange(store)

    assert count.others_count == 3


def test_a_ledger_without_its_store_is_left_with_its_own_until_the_store_is_back(
    own_server: Server, sharing: Callable[..., Ledger]
) -> None:
    own_server.start()
    count = Count(1)
    ledger = sharing(own_server, gauge_life_s=0.5, chat=count)
    store = Store(own_server.url)
    eventually(lambda: store.exchange_load("chat", "other", 3, LONG_S) == 1 and count.others_count == 3)

    own_server.kill()

    eventually(lambda: count.others_count == 0)
    assert ledger.stats.failures > 0
    own_server.start()
    eventually(lambda: store.exchange_load("chat", "other", 4, LONG_S) == 1 and count.others_count == 4)
    store.close()


def test_a_refused_exchange_is_said_once_and_charges_are_shipped_all_the_same(
    server: Server, store: Store, sharing: Callable[..., Ledger], caplog: pytest.LogCaptureFixture
) -> None:
    server.command("SET", LOAD, "no hash")
    refused, good = Count(1), Count(1)
    ledger = sharing(server, chat=refused, good=good)
    store.exchange_load("good", "other", 3, LONG_S)
    eventually(lambda: good.others_count == 3)

    for n in range(5):
        ledger.charge(charge(n))

    assert ledger.flush(10)
    reached(server, 5)
    assert ledger.stats.failures == 0
    warnings = [record.message for record in caplog.records if "own for now" in record.message]
    assert len(warnings) == 1
    assert "no load of chat: WRONGTYPE" in warnings[0]
    server.command("DEL", LOAD)
    eventually(lambda: server.command("HLEN", LOAD) == 1)


def test_a_long_shipment_keeps_the_gauge_alive(server: Server, sharing: Callable[..., Ledger], tmp_path: Path) -> None:
    write(tmp_path / "0", [charge(n) for n in range(450)]).close()
    shipped: list[int] = []

    class Watched(Count):
        def __getattribute__(self, name: str) -> Any:
            if name == "in_flight_count":
                shipped.append(int(server.command("XLEN", "hw2:{s00}:led")))
            return super().__getattribute__(name)

    ledger = sharing(server, gauge_s=0.0, chat=Watched(1))
    eventually(lambda: ledger.stats.shipped == 450)

    # said anew behind each of the five batches
    assert len(set(shipped) - {0}) == 5
