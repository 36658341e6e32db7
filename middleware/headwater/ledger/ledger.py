"""The ledger of one process: journal first, store later, each charge once. The only class that the middleware needs."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Literal

from headwater.endpoint import Endpoint, endpoint_of
from headwater.errors import ConfigError, LedgerError
from headwater.ledger import packing
from headwater.ledger.embedded import Embedded
from headwater.ledger.gauges import Gauges, Load, Shared
from headwater.ledger.journal import JOURNAL_BYTES, SEGMENT_BYTES, Full, Journal
from headwater.ledger.losses import Losses
from headwater.ledger.periods import PeriodCache
from headwater.ledger.reader import Reader, open_store
from headwater.ledger.schema import Retention
from headwater.ledger.shipper import Address, Outside, Place, Shipper
from headwater.ledger.stats import Stats
from headwater.records import Charge, PeriodTotal

MOST_LATE_COUNT: Final = 10_000
MOST_SIGHTED_COUNT: Final = 10_000

WhenFull = Literal["count", "refuse"]
"""What becomes of new exchanges while the journal takes none: they pass, and their charges are lost and counted; or they
are turned away."""


class Ledger:
    """Accounts of energy and water, charged exactly once per exchange, whatever dies.

    `provisional`, `charge`, `forget` and `document` write to the local journal and return within microseconds; they raise
    LedgerError only when the journal cannot be written. A thread ships the journal to the store.

    `journal_bytes` bounds what this process has journalled and the store does not have on disk yet; each process has a
    journal of its own, and those of the dead only shrink. `when_full`: what then happens to new exchanges. Those that were
    admitted before are charged all the same.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        key_fingerprint: str,
        redis_url: str | Endpoint | None = None,
        labels: Mapping[str, str] | None = None,
        clock: Callable[[], float] | None = None,
        new_journal_id: Callable[[], str] = lambda: secrets.token_hex(8),
        segment_bytes: int = SEGMENT_BYTES,
        journal_bytes: int = JOURNAL_BYTES,
        when_full: WhenFull = "count",
        outside: Outside | None = None,
        retention: Retention | None = None,
        renames: Mapping[str, Callable[[str], str]] | None = None,
    ) -> None:
        """`renames`: for each fingerprint of the identity key before this one, from accounts' names of then to those of now."""
        self.stats = Stats()
        self._data_dir = data_dir
        self._redis_url = redis_url
        self._fingerprint = key_fingerprint
        self._labels = dict(labels or {})
        self._new_journal_id = new_journal_id
        self._segment_bytes = segment_bytes
        self._journal_bytes = journal_bytes
        self._refuses = when_full == "refuse"
        self._renames = dict(renames or {})
        self._retention = retention if retention is not None else Retention()
        self._outside = outside if outside is not None else Outside() if clock is None else Outside(clock=clock)
        self._cache = PeriodCache(self._outside.clock)
        self._place: Place | None = None
        self._journal: Journal | None = None
        self._shipper: Shipper | None = None
        self._shared: list[Shared] = []
        self._known_documents: set[str] = set()
        self._late: deque[tuple[str, bytes]] = deque()
        """Charges that the journal did not take; a disk may have room again."""
        self._late_mutex = threading.Lock()
        self._losses: Losses | None = None
        self._sighted: dict[str, None] = {}
        """What was charged here of what can be seen more than once: the latest, so that asking again writes nothing."""

    def share(self, name: str, load: Load, clock_s: Callable[[], float]) -> None:
        """Add up, with all processes that use this name on this store, what a load has in flight. From the next start on.

        `clock_s`: the load's clock.
        """
        self._shared.append(Shared(name, load, clock_s))

    def start(self, *, timeout_s: float = 3.0) -> None:
        """Open the journal and start shipping; nothing where that is done already. A store that does not answer within
        the time is waited for in the background.

        Raises:
            ConfigError: the store answers, but was written with another key or by another version.
            LedgerError: the journal cannot be written, or there is no embedded server for this platform.
        """
        if self._journal is not None:
            return
        url = self._redis_url
        place: Place = Embedded(self._data_dir) if url is None else Address(endpoint_of(url))
        journal_id = self._new_journal_id()
        timing = self._outside.timing
        gauges = Gauges(
            journal_id,
            self._shared,
            interval_s=timing.gauge_s,
            life_s=timing.gauge_life_s,
            monotonic=self._outside.monotonic,
        )
        journal = Journal(
            self._data_dir,
            journal_id=journal_id,
            fingerprint=self._fingerprint,
            segment_bytes=self._segment_bytes,
            journal_bytes=self._journal_bytes,
        )
        losses = Losses(journal.folder, self.stats, monotonic=self._outside.monotonic)
        try:
            shipper = Shipper(
                journal,
                place,
                self._cache,
                self.stats,
                gauges,
                data_dir=self._data_dir,
                fingerprint=self._fingerprint,
                labels=self._labels,
                outside=self._outside,
                on_room=self._on_room,
                retention=self._retention,
                renames=self._renames,
            )
        except ConfigError:  # the address or its files cannot be used
            journal.close(durable_to=journal.position())
            raise
        self._losses = losses
        shipper.start(timeout_s=timeout_s)
        self._place, self._journal, self._shipper = place, journal, shipper

    @property
    def is_refusing(self) -> bool:
        """Whether a new exchange is to be turned away now: the journal is full, and so it is wanted."""
        return self._refuses and self._journal is not None and self._journal.is_full

    def note_refused(self) -> None:
        """Count a request that was turned away while the ledger was refusing, and say so now and then."""
        assert self._losses is not None  # noqa: S101  # set together with the journal
        self._losses.refuse("the ledger's journal is full and new requests are turned away")

    def provisional(self, charge: Charge) -> bool:
        """Journal what to charge if this process dies now; a later one for the same request replaces it. False: the journal
        is full; the exchange may go on, and is charged if there is room at its end."""
        return self._writable().provisional(charge.request_id, packing.pack(charge), is_let_in=self._refuses)

    def has_charged(self, once: str) -> bool:
        """Whether this process knows that it charged another sighting of the same generation. Where it does not know, the
        store does."""
        return once in self._sighted

    def charge(self, charge: Charge) -> bool:
        """Journal a charge. From here on it counts, once. False: it does not. Another sighting of it was charged here, or the
        journal is full and it is lost, which is counted.

        Raises:
            LedgerError: the journal cannot be written now. The charge waits in memory and is written as soon as there is
                room; it is lost if this process dies before.
        """
        if self.has_charged(charge.once):
            self.forget(charge.request_id)
            return False
        try:
            journal, payload = self._writable(), packing.pack(charge)
        except LedgerError:
            self.stats.lost += 1
            raise
        if self._late:
            with suppress(LedgerError):
                self._write_late(journal)
        try:
            journal.final(charge.request_id, payload)
        except Full as error:
            if self._refuses and self._wait(charge, payload):
                return True
            self._lose(charge, f"{error} Charges are not kept")
            return False
        except LedgerError as error:
            if not self._wait(charge, payload):
                self._lose(charge, f"{error}; charges are not kept")
            raise
        self.stats.journalled += 1
        if charge.once:
            self._sight(charge.once)
        return True

    def _wait(self, charge: Charge, payload: bytes) -> bool:
        """Let a charge wait in memory for room; False when too many do."""
        with self._late_mutex:
            if len(self._late) >= MOST_LATE_COUNT:
                return False
            self._late.append((charge.request_id, payload))
        if charge.once:
            self._sight(charge.once)
        return True

    def _lose(self, charge: Charge, why: str) -> None:
        assert self._losses is not None  # noqa: S101  # set together with the journal
        self._losses.add(charge, why)
        self._writable().abandon(charge.request_id)

    def _sight(self, once: str) -> None:
        self._sighted[once] = None
        if len(self._sighted) > MOST_SIGHTED_COUNT:
            del self._sighted[next(iter(self._sighted))]

    def _write_late(self, journal: Journal) -> None:
        with self._late_mutex:
            while self._late:
                journal.final(*self._late[0])
                self._late.popleft()
                self.stats.journalled += 1

    def _on_room(self) -> None:
        """The journal takes records. Called on the shipper's thread."""
        if self._late and self._journal is not None:
            with suppress(LedgerError):
                self._write_late(self._journal)
        if self._losses is not None and self._losses.is_short:
            self._losses.over()

    def forget(self, request_id: str) -> None:
        """Journal that an admitted request is not to be charged."""
        self._writable().forget(request_id)

    def document(self, document_hash: str, document: str) -> bool:
        """Journal a deployment document, once per process, before the charges that refer to it. False: the journal is full,
        so that it has to be given again."""
        if document_hash not in self._known_documents:
            if not self._writable().document(document_hash, document, is_let_in=self._refuses):
                return False
            self._known_documents.add(document_hash)
        return True

    def period_total(self, user: str) -> PeriodTotal | None:
        """A user's month as this process last saw it; None while unknown. Never waits."""
        return self._cache.get(user)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything journalled so far is applied in the store; False when time runs out."""
        journal = self._writable()
        assert self._shipper is not None  # noqa: S101  # set together with the journal
        return self._shipper.flush(journal.position(), timeout_s)

    def close(self, *, timeout_s: float = 2.0) -> None:
        """Ship what can be shipped in a bounded time; the rest stays in the journal for the next process."""
        if self._journal is not None and self._late:
            with suppress(LedgerError):
                self._write_late(self._journal)
            for _, payload in self._late:
                self._lose(packing.unpack(payload), "the journal took no charges to the end")
            self._late.clear()
        if self._shipper is not None:
            self._shipper.stop(timeout_s=timeout_s)
        self._place = self._journal = self._shipper = None

    def reader(self) -> Reader:
        """The accounts in the store. Close it after use.

        Raises:
            LedgerError: the store does not answer.
        """
        if self._place is None:
            raise LedgerError("the ledger is not started; call start() first")
        with ExitStack() as stack:
            store = open_store(
                self._place.endpoint,
                client_factory=self._outside.client_factory,
                clock=self._outside.clock,
                retention=self._retention,
            )
            stack.callback(store.close)
            store.check(None)  # it may be a cluster, of many shards
            return Reader(store, on_close=stack.pop_all())

    def _writable(self) -> Journal:
        if self._journal is None:
            raise LedgerError("the ledger is not started; call start() first")
        return self._journal
