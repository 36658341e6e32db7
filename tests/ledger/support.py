"""What the ledger's tests share: a real server, charges, and waiting for conditions instead of for time."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from headwater import ulid
from headwater.endpoint import Endpoint
from headwater.ledger import keeper
from headwater.ledger.books import Books
from headwater.ledger.closer import Closer
from headwater.ledger.connection import ClientFactory
from headwater.ledger.durability import Durability
from headwater.ledger.embedded import find_binary
from headwater.ledger.journal import Journal
from headwater.ledger.ledger import Ledger
from headwater.ledger.packing import pack
from headwater.ledger.redis import Store
from headwater.ledger.shipment import Shipment
from headwater.ledger.shipper import Outside, Timing
from headwater.ledger.statements import Statements
from headwater.ledger.stats import Stats
from headwater.records import NO_USAGE, NOTHING_OBSERVED, Amounts, Charge, Observation, Usage

KEY = "0123456789abcdef"
ADA = "ad" * 16
BOB = "b0" * 16
NOV_23_MS = 1_795_435_200_000  # 2026-11-23 12:00 UTC
MONTH, DAY = "2026-11", "2026-11-23"
DEADLINE_S = 20.0


def eventually(condition: Callable[[], object], timeout_s: float = DEADLINE_S) -> None:
    """Wait until a condition holds; fail at a deadline."""
    pause = threading.Event()
    by_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < by_s, f"{condition} does not hold after {timeout_s} s"
        pause.wait(0.01)


def amounts(value: int) -> Amounts:
    """Eleven amounts that differ from each other."""
    names = Amounts.__dataclass_fields__
    return Amounts(**{name: value + place for place, name in enumerate(names)})


def charge(number: int = 1, **changes: Any) -> Charge:
    """A complete charge; numbers make ids and amounts differ."""
    made = Charge(
        request_id=ulid.new(NOV_23_MS, random.Random(number).randbytes),
        user=ADA,
        started_ms=NOV_23_MS,
        ended_ms=NOV_23_MS + 1_500,
        outcome="completed",
        model="llama-3.1-70b",
        site="azure-westus3",
        deployment_hash="5f0c",
        method="observed",
        usage=Usage(input_tokens=25, output_tokens=4, source="upstream"),
        observation=Observation(elapsed_s=1.5, ttft_s=0.3),
        amounts=amounts(1_000 * number),
    )
    return replace(made, **changes)


def opened(number: int = 1, **changes: Any) -> Charge:
    """What is journalled when an exchange is admitted: nothing known yet."""
    return charge(
        number,
        **{
            "outcome": "partial",
            "usage": NO_USAGE,
            "observation": NOTHING_OBSERVED,
            "amounts": None,
            "method": None,
            "reason": "in-flight",
            **changes,
        },
    )


class Applied:
    """Durable as soon as applied. Loses charges when the store falls back on an older file: the policy that these tests show to be wrong."""

    def begin(self) -> None:
        """Nothing to mark."""

    def done(self) -> bool:
        """Always."""
        return True

    def cancel(self) -> None:
        """Nothing to forget."""


class Count:
    """A load that remembers what it heard."""

    def __init__(self, in_flight_count: int = 0) -> None:
        self.in_flight_count = in_flight_count
        self.said: list[tuple[int, float]] = []

    def heard(self, others_count: int, now_s: float) -> None:
        self.said.append((others_count, now_s))

    @property
    def others_count(self) -> int:
        """As last heard."""
        return self.said[-1][0] if self.said else 0


class Server:
    """A real server on a Unix socket, to be started, killed and restarted."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.store.mkdir(parents=True)
        self.address = folder / "s"
        self.url = f"unix://{self.address}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        command = [*keeper.server_command(find_binary(), self.store, self.address), *options]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        eventually(lambda: keeper.answers(self.address) == b"+PONG\r\n")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.address.unlink(missing_ok=True)

    def pause(self) -> None:
        """Stop it in its tracks: it takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.address), decode_responses=True)

    def command(self, *words: str) -> Any:
        with self.client() as client:
            return client.execute_command(*words)


def settled(ledger: Ledger) -> bool:
    """Whether the store has all that was journalled where it cannot lose it: then the journal goes with the ledger."""
    assert ledger._shipper is not None
    return ledger._shipper._live._durable >= ledger._writable().position()


def outside(
    durability: Callable[[Endpoint, ClientFactory], Durability] | None = None,
    *,
    adoption_s: float = 0.05,
    gauge_s: float = 0.02,
    gauge_life_s: float = 2.0,
    **changes: Any,
) -> Outside:
    """Short intervals; everything else as in production unless given."""
    timing = Timing(
        cycle_s=0.005,
        adoption_s=adoption_s,
        first_backoff_s=0.01,
        last_backoff_s=0.05,
        gauge_s=gauge_s,
        gauge_life_s=gauge_life_s,
    )
    if durability is not None:
        changes["durability"] = durability
    return Outside(timing=timing, **changes)


def applied_at_once(_endpoint: Endpoint, _factory: ClientFactory) -> Durability:
    """The policy that trusts the store's memory."""
    return Applied()


def write(data_dir: Path, charges: Iterable[Charge], journal_id: str = "j1", **options: Any) -> Journal:
    """A journal with charges, still owned."""
    journal = Journal(data_dir, journal_id=journal_id, fingerprint=KEY, **options)
    for each in charges:
        journal.final(each.request_id, pack(each))
    return journal


def ship(journal: Journal, store: Store, stats: Stats | None = None) -> Shipment:
    """Ship a journal to the end, on this thread."""
    shipment = Shipment(journal.folder, store, Applied(), stats or Stats())
    shipment.tail.sync()
    while shipment.ship():
        pass
    return shipment


def unlink(store: Store, user: str) -> int:
    """Forget which rows of closed months are a user's, and nothing else. Returns in how many statements."""
    closer = Closer(store)
    closer.begin()
    try:
        return Statements(Books(store)).unlink(user)
    finally:
        closer.end()
