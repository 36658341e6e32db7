"""A store that fails, stalls or never answers: it is left alone for a while, and costs those who charge nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.endpoint import Endpoint
from headwater.errors import ConfigError
from headwater.ledger import Ledger, Outside, Timing
from headwater.ledger.connection import SHIP_TIMEOUT_S, StoreError, connect
from headwater.ledger.gauges import Gauges
from headwater.ledger.journal import Journal
from headwater.ledger.packing import pack
from headwater.ledger.periods import PeriodCache
from headwater.ledger.redis import Store
from headwater.ledger.schema import Retention
from headwater.ledger.shipper import Address, Shipper
from headwater.ledger.stats import Stats
from tests.ledger.support import KEY, Server, applied_at_once, charge, eventually, outside
from tests.ledger.test_delivery import count


@dataclass
class Bench:
    """A shipper without its thread, under a clock that only the test moves."""

    url: str
    folder: Path
    jitter: Callable[[], float]
    now_s: float = 0.0
    stats: Stats = field(default_factory=Stats)

    def __post_init__(self) -> None:
        timing = Timing()
        self.journal = Journal(self.folder, journal_id="j1", fingerprint=KEY)
        gauges = Gauges("j1", [], interval_s=timing.gauge_s, life_s=timing.gauge_life_s, monotonic=self.clock)
        self.shipper = Shipper(
            self.journal,
            Address(Endpoint(url=self.url)),
            PeriodCache(self.clock),
            self.stats,
            gauges,
            data_dir=self.folder,
            fingerprint=KEY,
            labels={},
            retention=Retention(),
            renames={},
            outside=Outside(monotonic=self.clock, durability=applied_at_once, jitter=self.jitter),
        )

    def clock(self) -> float:
        return self.now_s

    def tries_at(self, step_s: float, until_s: float) -> list[float]:
        """The moments at which the store was tried, and failed."""
        tried: list[float] = []
        while self.now_s < until_s:
            before = self.stats.failures
            self.shipper._cycle()
            if self.stats.failures > before:
                tried.append(self.now_s)
            self.now_s += step_s
        return tried


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shares=st.lists(st.floats(0, 1), min_size=20, max_size=20))
def test_a_store_that_fails_is_left_alone_longer_each_time_by_no_two_processes_alike(
    tmp_path_factory: pytest.TempPathFactory, shares: list[float]
) -> None:
    given_out = iter(shares)
    bench = Bench("redis://127.0.0.1:1", tmp_path_factory.mktemp("breaker"), lambda: next(given_out))
    step_s = 0.02

    tried = bench.tries_at(step_s, 8.0)

    due_s, wanted, backoff_s = 0.0, [], Timing().first_backoff_s
    for share in shares[: len(tried)]:
        wanted.append(due_s)
        due_s += backoff_s * (1 + share) / 2
        backoff_s = min(2 * backoff_s, Timing().last_backoff_s)
    assert len(tried) >= 6
    # Each try waits for the next step of the clock.
    assert tried == pytest.approx(wanted, abs=step_s * len(tried))


def test_a_store_that_is_back_is_tried_soon_after_its_next_failure(own_server: Server, tmp_path: Path) -> None:
    bench = Bench(own_server.url, tmp_path, lambda: 1.0)
    bench.tries_at(0.1, 4.0)
    own_server.start()
    bench.now_s += Timing().last_backoff_s
    assert bench.shipper._cycle() is True
    own_server.kill()
    bench.journal.final(charge(1).request_id, pack(charge(1)))

    tried = bench.tries_at(0.05, bench.now_s + 0.2)

    assert len(tried) == 2
    bench.shipper._leave()


class Deaf:
    """It takes connections and never answers, as a machine does that has lost its disk, or a firewall in between."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}"
        self.taken: list[socket.socket] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self._listening.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for connection in self.taken:
            connection.close()


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    server = Deaf()
    yield server
    server.close()


def test_a_command_gives_up_after_the_time_out_and_goes_on_on_a_new_connection(deaf: Deaf, tmp_path: Path) -> None:
    bench = Bench(deaf.url, tmp_path, lambda: 0.0)
    begun_s = time.monotonic()

    assert bench.shipper._cycle() is False
    taken_s = time.monotonic() - begun_s

    assert bench.stats.failures == 1
    assert taken_s >= SHIP_TIMEOUT_S  # and no second time-out: nothing was repeated
    assert taken_s < 2 * SHIP_TIMEOUT_S + 1.0
    eventually(lambda: len(deaf.taken) == 1)
    deaf.taken[0].settimeout(5.0)
    while deaf.taken[0].recv(4096):  # what was asked, then the end: the connection was dropped
        pass
    bench.now_s += Timing().last_backoff_s
    bench.shipper._cycle()
    eventually(lambda: len(deaf.taken) == 2)


def test_the_client_repeats_nothing_by_itself(deaf: Deaf) -> None:
    client = connect(deaf.url, 0.05)

    for attempt in range(1, 3):
        with pytest.raises(Exception, match=r"(?i)time"):
            client.ping()
        eventually(lambda attempt=attempt: len(deaf.taken) == attempt)  # type: ignore[misc]
    client.close()
    assert len(deaf.taken) == 2


@pytest.mark.parametrize("is_started", [True, False])
def test_a_store_that_stalls_costs_those_who_charge_nothing(
    own_server: Server, tmp_path: Path, *, is_started: bool
) -> None:
    own_server.start()
    ledger = Ledger(data_dir=tmp_path, redis_url=own_server.url, key_fingerprint=KEY, outside=outside(applied_at_once))
    if is_started:
        ledger.start()
        own_server.pause()
    else:
        own_server.pause()
        ledger.start(timeout_s=0.0)

    slowest_s = 0.0
    for number in range(300):
        begun_s = time.perf_counter()
        ledger.provisional(charge(number))
        ledger.charge(charge(number))
        ledger.period_total(charge(number).user)
        slowest_s = max(slowest_s, time.perf_counter() - begun_s)
    eventually(lambda: ledger.stats.failures > 0)
    own_server.resume()

    assert slowest_s < SHIP_TIMEOUT_S  # whoever waited for the store would have waited that long
    assert ledger.flush(10)
    assert ledger.stats.shipped >= 300
    ledger.close()
    assert count(own_server) == 300


def test_a_refusal_that_comes_after_the_start_keeps_the_charges(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer = threading.Event()

    def slow(*_: Any) -> None:
        answer.wait(10)
        raise ConfigError("another key")

    monkeypatch.setattr(Store, "check", slow)
    ledger = Ledger(data_dir=tmp_path, redis_url=server.url, key_fingerprint=KEY, outside=outside(applied_at_once))
    ledger.start(timeout_s=0.0)
    ledger.charge(charge(1))

    answer.set()
    eventually(lambda: ledger.stats.failures > 0)
    ledger.close(timeout_s=0.0)

    assert "another key" in caplog.text
    assert len(list(tmp_path.glob("journals/*/*.log"))) == 1
    monkeypatch.undo()
    second = Ledger(data_dir=tmp_path, redis_url=server.url, key_fingerprint=KEY, outside=outside(applied_at_once))
    second.start()
    eventually(lambda: second.stats.shipped == 1)
    second.close()


def test_a_store_error_is_never_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise StoreError("not yet")

    monkeypatch.setattr(Store, "check", fail)
    ledger = Ledger(data_dir=tmp_path, redis_url="redis://127.0.0.1:1", key_fingerprint=KEY, outside=outside())

    ledger.start()
    ledger.charge(charge(1))
    ledger.close(timeout_s=0.0)

    assert len(list(tmp_path.glob("journals/*/*.log"))) == 1
