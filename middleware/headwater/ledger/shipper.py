"""The thread that carries journals into the store. Nothing on a client's path waits for it.

One cycle: make the journal durable on disk, ship what is new, drop what the store has on disk, look for journals of dead
processes, refresh the period cache, exchange what is in flight. A store that fails is left alone for a while, longer each
time, and not by all processes for the same while.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Final, Protocol

from headwater.endpoint import Endpoint
from headwater.errors import ConfigError, HeadwaterError, LedgerError
from headwater.ledger.adoption import Adopted, Orphanage
from headwater.ledger.books import Books
from headwater.ledger.connection import ClientFactory, StoreError, connect
from headwater.ledger.durability import Durability, WaitAof
from headwater.ledger.frames import Position
from headwater.ledger.gauges import INTERVAL_S, LIFE_S, Gauges
from headwater.ledger.journal import Journal
from headwater.ledger.periods import PeriodCache
from headwater.ledger.redis import Store
from headwater.ledger.schema import Retention
from headwater.ledger.shipment import Shipment
from headwater.ledger.stats import Stats

log: Final = getLogger("headwater.ledger")

CYCLE_S: Final = 0.05
ADOPTION_S: Final = 10.0
BATCHES_A_CYCLE: Final = 100
FIRST_BACKOFF_S: Final = 0.1
LAST_BACKOFF_S: Final = 5.0


class Place(Protocol):
    """Where the store is."""

    @property
    def endpoint(self) -> Endpoint:
        """Its address, and what it takes to be let in."""

    def ensure(self) -> None:
        """See to it that a store of our own is running; called before each attempt to connect."""

    def leave(self) -> None:
        """The store is not needed here any more."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server that somebody else runs."""

    endpoint: Endpoint

    def ensure(self) -> None:
        """Not ours to start."""

    def leave(self) -> None:
        """Not ours to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often, and how long. Seconds."""

    cycle_s: float = CYCLE_S
    adoption_s: float = ADOPTION_S
    first_backoff_s: float = FIRST_BACKOFF_S
    last_backoff_s: float = LAST_BACKOFF_S
    gauge_s: float = INTERVAL_S
    gauge_life_s: float = LIFE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the ledger takes from outside itself."""

    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    client_factory: ClientFactory = connect
    durability: Callable[[Endpoint, ClientFactory], Durability] = field(
        default=lambda endpoint, factory: WaitAof(endpoint, client_factory=factory)
    )
    timing: Timing = field(default_factory=Timing)
    jitter: Callable[[], float] = field(default_factory=lambda: random.Random().random)  # noqa: S311
    """From 0 to 1, each time another: processes that a store failed together must not come back to it together."""


class Shipper:
    """Ships this process's journal, and those of the dead."""

    def __init__(
        self,
        journal: Journal,
        place: Place,
        cache: PeriodCache,
        stats: Stats,
        gauges: Gauges,
        *,
        data_dir: Path,
        fingerprint: str,
        labels: Mapping[str, str],
        outside: Outside,
        retention: Retention,
        renames: Mapping[str, Callable[[str], str]],
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_room`: called on the thread, in each cycle in which the journal takes records."""
        self._journal = journal
        self._on_room = on_room
        self._place = place
        self._cache = cache
        self._stats = stats
        self._gauges = gauges
        self._fingerprint = fingerprint
        self._labels = labels
        self._outside = outside
        self._timing = outside.timing
        self._store = Store(
            place.endpoint, client_factory=outside.client_factory, clock=outside.clock, retention=retention
        )
        self._books = Books(self._store)
        self._live = Shipment(
            journal.folder,
            self._store,
            self._durability(),
            stats,
            on_added=cache.add,
            on_dropped=journal.dropped,
            seal=journal.seal,
        )
        self._orphanage = Orphanage(
            data_dir,
            self._store,
            stats,
            fingerprint=fingerprint,
            durability=self._durability,
            clock=outside.clock,
            renames=renames,
        )
        self._adopted: list[Adopted] = []
        self._connected = False
        self._next_adoption_s = 0.0
        self._next_try_s = 0.0
        self._backoff_s = outside.timing.first_backoff_s
        self._has_more = False
        self._complaint = ""
        self._stop_by_s: float | None = None
        self._wake = threading.Event()
        self._progress = threading.Condition()
        self._tried = threading.Event()
        self._mutex = threading.Lock()
        self._has_started = False
        self._refusal: HeadwaterError | None = None
        self._thread = threading.Thread(target=self._run, name="headwater-ledger", daemon=True)

    # -- other threads ------------------------------------------------------------------------------------------------

    def start(self, *, timeout_s: float) -> None:
        """Start, and wait a moment for the first answer of the store.

        Raises:
            HeadwaterError: the store answers and refuses, or there can be none on this machine.
        """
        self._thread.start()
        self._tried.wait(timeout_s)
        with self._mutex:
            self._has_started = True  # charges may come: from now on nothing is a refusal
        if self._refusal is not None:
            self.stop(timeout_s=0.0)
            raise self._refusal

    def flush(self, target: Position, timeout_s: float) -> bool:
        """Wait until everything before a position is applied."""
        self._wake.set()
        with self._progress:
            return self._progress.wait_for(lambda: self._live.applied >= target, timeout_s)

    def stop(self, *, timeout_s: float) -> None:
        """Ship what can be shipped in a bounded time and end; the rest stays in the journal."""
        self._stop_by_s = self._outside.monotonic() + timeout_s
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s + 5.0)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._stop_by_s is None:
                self._cycle()
                self._wake.wait(self._timing.cycle_s)
                self._wake.clear()
            self._finish(self._stop_by_s)
        finally:
            self._leave()

    def _cycle(self) -> bool:
        """One round; False when the store failed."""
        now_s = self._outside.monotonic()
        try:
            self._gauges.expire()
            self._relieve()
            self._live.tail.sync()
            if now_s < self._next_try_s:
                return False
            if not self._connected:
                self._connect()
                self._tried.set()  # whoever starts need not wait for what the dead have left
            self._ship()
        except ConfigError as error:
            self._fail(error, self._timing.last_backoff_s)
        except (LedgerError, OSError) as error:
            self._fail(error, self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, self._timing.last_backoff_s)
        except Exception as error:  # a defect here must not end the shipping of all later charges
            log.exception("the ledger's shipping failed")
            self._fail(LedgerError(repr(error)), self._timing.last_backoff_s)
        else:
            self._backoff_s = self._timing.first_backoff_s
            if self._complaint:
                log.warning("the ledger's store is back")
                self._complaint = ""
            self._tried.set()
            return True
        return False

    def _relieve(self) -> None:
        """Look whether a full journal has room again: nobody may come any more to try it."""
        if not self._journal.is_full or self._journal.relieve():
            self._on_room()

    def _fail(self, error: Exception, backoff_s: float) -> None:
        self._stats.failures += 1
        # Between half of it and all of it.
        self._next_try_s = self._outside.monotonic() + backoff_s * (1 + self._outside.jitter()) / 2
        if not self._refuses_start(error) and str(error) != self._complaint:
            self._complaint = str(error)
            log.warning("charges stay in the journal for now: %s", error)
        self._disconnect()
        self._tried.set()

    def _refuses_start(self, error: Exception) -> bool:
        """Whether the first attempt failed for good, and somebody still waits for it."""
        if self._tried.is_set() or isinstance(error, StoreError) or not isinstance(error, HeadwaterError):
            return False
        with self._mutex:
            if not self._has_started:
                self._refusal = error
        return self._refusal is not None

    def _durability(self) -> Durability:
        return self._outside.durability(self._place.endpoint, self._outside.client_factory)

    def _connect(self) -> None:
        self._place.ensure()
        self._store.check(self._fingerprint)
        self._store.set_labels(self._labels)
        self._connected = True

    def _disconnect(self) -> None:
        self._connected = False
        for shipment in (self._live, *(adopted.shipment for adopted in self._adopted)):
            shipment.doubt()
        self._store.close()

    def _ship(self) -> None:
        self._live.tail.sync()
        self._has_more = self._ship_some(self._live)
        self._cache.refresh(self._books)
        self._live.settle()
        now_s = self._outside.monotonic()
        if now_s >= self._next_adoption_s:
            self._next_adoption_s = now_s + self._timing.adoption_s
            self._adopted += self._orphanage.take()
        self._ship_adopted()

    def _ship_some(self, shipment: Shipment) -> bool:
        """Ship some batches; whether there may be more. However much there is: new records must get onto the disk meanwhile,
        what is in flight here must not seem dead, and a stop must be heard."""
        for _ in range(BATCHES_A_CYCLE):
            is_moved = shipment.ship()
            self._gauges.exchange(self._store)
            if not is_moved:
                return False
            self._announce()
            if self._stop_by_s is not None and self._outside.monotonic() >= self._stop_by_s:
                break
        self._wake.set()
        return True

    def _ship_adopted(self) -> None:
        for adopted in list(self._adopted):
            shipment = adopted.shipment
            shipment.tail.sync()
            if self._ship_some(shipment):
                self._has_more = True
            elif shipment.settle():
                adopted.release(remove=True)
                self._adopted.remove(adopted)

    def _announce(self) -> None:
        with self._progress:
            self._progress.notify_all()

    def _finish(self, by_s: float) -> None:
        """Ship the rest as far as time allows."""
        self._next_adoption_s = float("inf")
        while not (self._cycle() and not self._has_more) and self._outside.monotonic() < by_s:
            self._wake.wait(self._timing.cycle_s)
            self._wake.clear()

    def _leave(self) -> None:
        durable_to = None
        with suppress(LedgerError):
            self._gauges.take_back(self._store if self._connected else None)
        if self._refusal is not None:
            durable_to = self._journal.position()  # a start that was refused has journalled nothing
        elif self._connected:
            with suppress(LedgerError):
                durable_to = self._live.tail.end() if self._live.settle() else None
        for adopted in self._adopted:
            adopted.release()
        self._disconnect()
        self._journal.close(durable_to=durable_to)
        self._place.leave()
