"""The ledger of one process: journal first, store later, each charge once. The only class that the middleware needs."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from headwater.errors import ConfigError, LedgerError
from headwater.ledger import packing
from headwater.ledger.embedded import Embedded
from headwater.ledger.gauges import Gauges, Load, Shared
from headwater.ledger.journal import SEGMENT_BYTES, Journal
from headwater.ledger.periods import PeriodCache
from headwater.ledger.reader import Reader, open_store
from headwater.ledger.schema import Retention
from headwater.ledger.shipper import Address, Outside, Place, Shipper
from headwater.ledger.stats import Stats
from headwater.records import Charge, PeriodTotal

MOST_LATE_COUNT: Final = 10_000
MOST_SIGHTED_COUNT: Final = 10_000


class Ledger:
    """Accounts of energy and water, charged exactly once per exchange, whatever dies.

    `provisional`, `charge`, `forget` and `document` write to the local journal and return within microseconds; they raise
    LedgerError only when the journal cannot be written. A thread ships the journal to the store.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        key_fingerprint: str,
        redis_url: str | None = None,
        labels: Mapping[str, str] | None = None,
        clock: Callable[[], float] | None = None,
        new_journal_id: Callable[[], str] = lambda: secrets.token_hex(8),
        segment_bytes: int = SEGMENT_BYTES,
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
        place: Place = Embedded(self._data_dir) if self._redis_url is None else Address(self._redis_url)
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
        )
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
                retention=self._retention,
                renames=self._renames,
            )
        except ValueError as error:
            journal.close(durable_to=journal.position())
            raise ConfigError(f"HEADWATER_REDIS_URL {self._redis_url!r} cannot be used: {error}") from error
        shipper.start(timeout_s=timeout_s)
        self._place, self._journal, self._shipper = place, journal, shipper

    def provisional(self, charge: Charge) -> None:
        """Journal what to charge if this process dies now; a later one for the same request replaces it."""
        self._writable().provisional(charge.request_id, packing.pack(charge))

    def has_charged(self, once: str) -> bool:
        """Whether this process knows that it charged another sighting of the same generation. Where it does not know, the
        store does."""
        return once in self._sighted

    def charge(self, charge: Charge) -> bool:
        """Journal a charge. From here on it counts, once. False: another sighting of it was charged here, this one is not.

        Raises:
            LedgerError: the journal cannot be written now. The charge waits in memory and is written with the next one
                that can be; it is lost if this process dies before.
        """
        if self.has_charged(charge.once):
            self.forget(charge.request_id)
            return False
        try:
            journal, payload = self._writable(), packing.pack(charge)
        except LedgerError:
            self.stats.lost += 1
            raise
        try:
            self._write_late(journal)
            journal.final(charge.request_id, payload)
        except LedgerError:
            if len(self._late) < MOST_LATE_COUNT:
                self._late.append((charge.request_id, payload))
                self._sight(charge.once)
            else:
                self.stats.lost += 1
            raise
        self.stats.journalled += 1
        self._sight(charge.once)
        return True

    def _sight(self, once: str) -> None:
        if once:
            self._sighted[once] = None
            if len(self._sighted) > MOST_SIGHTED_COUNT:
                del self._sighted[next(iter(self._sighted))]

    def _write_late(self, journal: Journal) -> None:
        while self._late:
            journal.final(*self._late[0])
            self._late.popleft()
            self.stats.journalled += 1

    def forget(self, request_id: str) -> None:
        """Journal that an admitted request is not to be charged."""
        self._writable().forget(request_id)

    def document(self, document_hash: str, document: str) -> None:
        """Journal a deployment document, once per process, before the charges that refer to it."""
        if document_hash not in self._known_documents:
            self._writable().document(document_hash, document)
            self._known_documents.add(document_hash)

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
            self.stats.lost += len(self._late)
            self._late.clear()
        if self._shipper is not None:
            self._shipper.stop(timeout_s=timeout_s)
        self._place = self._journal = self._shipper = None

    def reader(self) -> Reader:
        """The accounts in the store. Close it after use."""
        if self._place is None:
            raise LedgerError("the ledger is not started; call start() first")
        store = open_store(
            self._place.url,
            client_factory=self._outside.client_factory,
            clock=self._outside.clock,
            retention=self._retention,
        )
        return Reader(store)

    def _writable(self) -> Journal:
        if self._journal is None:
            raise LedgerError("the ledger is not started; call start() first")
        return self._journal
