"""What all workers of a deployment have in flight, added up in the store. Knows counts and ages; starts no thread.

Each worker says every quarter of a second how many it has, and is told how many the others have. What a worker said lives
for two seconds, so that a dead one vanishes; what it was told does, too, so that without a store it is left with its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging import getLogger
from typing import Final, Protocol

from headwater.ledger.connection import StoreError
from headwater.ledger.redis import Store

log: Final = getLogger("headwater.ledger")

INTERVAL_S: Final = 0.25
LIFE_S: Final = 2.0


class Load(Protocol):
    """A count of exchanges in flight that other processes add to. Called from the shipper's thread."""

    @property
    def in_flight_count(self) -> int:
        """This process's own."""

    def heard(self, others_count: int, now_s: float) -> None:
        """Take note of the others'."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A load under the name that it has in all processes, and the clock that it goes by."""

    name: str
    load: Load
    clock_s: Callable[[], float]


class _Gauge:
    """One shared load, and what was last heard of it."""

    __slots__ = ("complaint", "heard_s", "others_count", "shared", "worker")

    def __init__(self, shared: Shared, worker: str) -> None:
        self.shared = shared
        self.worker = worker
        self.others_count = 0
        self.heard_s = 0.0
        self.complaint = ""

    def hear(self, others_count: int, age_s: float = 0.0) -> None:
        if others_count != self.others_count:
            self.others_count = others_count
            self.shared.load.heard(others_count, self.shared.clock_s() - age_s)


class Gauges:
    """One worker's shared loads. For one thread."""

    def __init__(
        self,
        worker: str,
        shared: Iterable[Shared],
        *,
        interval_s: float = INTERVAL_S,
        life_s: float = LIFE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        # Numbered: two loads of one process under one name are two workers.
        self._gauges = [_Gauge(each, f"{worker}.{number}") for number, each in enumerate(shared)]
        self._interval_s = interval_s
        self._life_s = life_s
        self._monotonic = monotonic
        self._next_s = 0.0

    def exchange(self, store: Store) -> None:
        """Say what is in flight here and hear what is elsewhere, if it is time to.

        Raises:
            StoreError: the store does not answer. That it refuses no more than this is logged.
        """
        now_s = self._monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._interval_s
        for gauge in self._gauges:
            self._exchange(gauge, store)

    def _exchange(self, gauge: _Gauge, store: Store, in_flight_count: int | None = None) -> None:
        try:
            if in_flight_count is None:
                in_flight_count = gauge.shared.load.in_flight_count
            others_count = store.exchange_load(gauge.shared.name, gauge.worker, in_flight_count, self._life_s)
        except StoreError:
            raise
        except Exception as error:  # charges are shipped all the same
            if str(error) != gauge.complaint:
                gauge.complaint = str(error)
                log.warning("concurrency is this process's own for now: %s", error)
        else:
            gauge.complaint = ""
            gauge.heard_s = self._monotonic()
            gauge.hear(others_count)

    def expire(self) -> None:
        """Forget what was heard too long ago, dated to when its life ended."""
        now_s = self._monotonic()
        for gauge in self._gauges:
            overdue_s = now_s - gauge.heard_s - self._life_s
            if overdue_s >= 0:
                gauge.hear(0, overdue_s)

    def take_back(self, store: Store | None) -> None:
        """The end of this worker: others count it no more, nor it them.

        Raises:
            StoreError: the store does not answer; what was said there ends by itself.
        """
        try:
            if store is not None:
                for gauge in self._gauges:
                    self._exchange(gauge, store, 0)
        finally:
            for gauge in self._gauges:
                gauge.hear(0)
