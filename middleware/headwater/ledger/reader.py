"""Reading accounts: for reports, receipts and pages. Synchronous; adds up what the store keeps, computes nothing new."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from headwater.endpoint import Endpoint
from headwater.errors import LedgerError
from headwater.ledger import packing, schema
from headwater.ledger.adoption import Orphanage
from headwater.ledger.books import Books, Entry
from headwater.ledger.connection import READ_TIMEOUT_S, ClientFactory, connect
from headwater.ledger.durability import SafeDelay
from headwater.ledger.embedded import Embedded
from headwater.ledger.people import People
from headwater.ledger.redis import Store
from headwater.ledger.rows import Sums, account_row, minus, total
from headwater.ledger.schema import Retention
from headwater.ledger.stats import Stats
from headwater.records import AccountRow, Charge

CLOCK_DOUBT_MS: Final = 3_600_000
"""By how much the store's clock is behind those of the processes that charge, if at all: a charge is applied after it ended."""


class Reader:
    """Everybody's accounts. Every method raises LedgerError when the store does not answer."""

    def __init__(self, store: Store, *, on_close: ExitStack | None = None) -> None:
        self._books = Books(store)
        self._on_close = on_close if on_close is not None else ExitStack()

    @classmethod
    def open(
        cls,
        *,
        data_dir: Path,
        redis_url: str | Endpoint | None = None,
        client_factory: ClientFactory = connect,
        clock: Callable[[], float] = time.time,
        retention: Retention | None = None,
        renames: Mapping[str, Callable[[str], str]] | None = None,
        key_fingerprint: str | None = None,
    ) -> Reader:
        """A reader without a running ledger: starts the embedded server where needed, and first charges what dead
        processes left in their journals, so that a report is complete. `renames`: for each identity key before that of
        `key_fingerprint`, from accounts' names of then to those of now; not used where the store has another key than that.

        Raises:
            LedgerError: the store cannot be reached, or there never was one in the folder.
            ConfigError: the store is of another version.
        """
        with ExitStack() as stack:
            store = stack.enter_context(
                opened_store(data_dir, redis_url, client_factory=client_factory, clock=clock, retention=retention)
            )
            store.check(None)
            known = renames if renames and store.fingerprint() == key_fingerprint else {}
            _ship_orphans(data_dir, store, known)
            return cls(store, on_close=stack.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; an embedded server that nobody else needs stops."""
        self._on_close.close()

    @property
    def books(self) -> Books:
        """What the store has."""
        return self._books

    @property
    def people(self) -> People:
        """What is kept of single people."""
        return People(self._books)

    @property
    def kept_days(self) -> int:
        """For how many days single charges are kept."""
        return self._books.store.retention.days_s // 86_400

    @property
    def receipts_hours(self) -> int:
        """For how many hours receipts are found."""
        return self._books.store.retention.receipts_s // 3_600

    # -- accounts -----------------------------------------------------------------------------------------------------

    def rows(self, period: str) -> Iterator[AccountRow]:
        """Every user's account of a month `2026-11` or a day `2026-11-23`, shard after shard; a few thousand at a time are
        held."""
        labels = self.labels()
        read = self._books.user_months if schema.is_month(period) else self._books.user_days
        erased: list[Sums] = []
        for shard in self._books.shards:
            for user, sums in read(shard, period):
                if user == schema.ERASED:
                    erased.append(sums)
                else:
                    yield account_row(sums, user=user, period=period, label=labels.get(user))
        if erased:
            yield account_row(total(erased), user=schema.ERASED, period=period)

    def month_rows(self, month: str) -> list[AccountRow]:
        """Every user's account of a month `2026-11`, most energy first, then by user."""
        return sorted(self.rows(month), key=lambda row: (-row.energy_microjoules, row.user))

    def day_rows(self, day: str) -> list[AccountRow]:
        """Every user's account of a day `2026-11-23`, most energy first, then by user."""
        return self.month_rows(day)

    def totals(self, period: str) -> AccountRow:
        """Everybody's account of a month or a day, as kept beside the users' accounts; its user is ''."""
        return account_row(
            total(self._books.total(shard, period) for shard in self._books.shards), user="", period=period
        )

    def user_row(self, user: str, period: str) -> AccountRow:
        """One user's account of a month or a day; all zero where there is none."""
        books = self._books
        parts = books.user_month(user, period).values() if schema.is_month(period) else [books.user_day(user, period)]
        sums = total(part for part in parts if part is not None)
        return account_row(sums, user=user, period=period, label=self.labels().get(user))

    def breakdown(self, user: str, month: str) -> dict[tuple[str, str], AccountRow]:
        """One user's month by (model, site)."""
        found = self._books.user_month(user, month)
        return {place: account_row(sums, user=user, period=month) for place, sums in sorted(found.items())}

    def bases(self, month: str) -> dict[str, int]:
        """By which documents a month was charged, and how many requests by each; "-" stands for none."""
        return self._books.bases(month)

    # -- single charges -----------------------------------------------------------------------------------------------

    def receipt(self, request_id: str, user: str | None = None) -> Charge | None:
        """The charge of a request of the last hours (48, if not set otherwise); where a user is given, only if it is that user's."""
        packed = self._books.receipt(request_id, user)
        if packed is None:
            return None
        charge = packing.unpack(packed)
        return charge if user is None or charge.user == user else None

    def document(self, document_hash: str) -> str | None:
        """The deployment document that charges refer to."""
        return self._books.document(document_hash)

    def ledger_entries(self) -> Iterator[Charge]:
        """Every charge that the ledger still keeps one by one, in the order in which it was applied."""
        for shard in self._books.shards:
            for entry in self._books.stream(shard):
                yield packing.unpack(entry.packed)

    def month_entries(self, month: str) -> Iterator[tuple[AccountRow, Iterator[Charge]]]:
        """Shard after shard: everybody's account of a month but for what was erased, and the charges that are kept one by one,
        up to the last one in that account. Those of other months are among them; the month's own come early: first those that were applied since
        it began, then all before, where the store's clock was behind.

        Raises:
            LedgerError: charges come in so fast that the account cannot be read together with them.
        """
        for shard in self._books.shards:
            standing = self._books.standing(shard, month)
            if standing is None:
                raise LedgerError(f"{month}: charges come in faster than the ledger can be read; ask again")
            sums, last = standing
            entries: Iterator[Entry] = iter(())
            if last:
                begun_ms = max(0, schema.period_start_ms(month) - CLOCK_DOUBT_MS)
                since = self._books.stream(shard, str(begun_ms), last)
                entries = chain(since, self._books.stream(shard, "-", f"({begun_ms}"))
            charges = (packing.unpack(entry.packed) for entry in entries)
            yield account_row(minus(sums, self._books.erased_month(shard, month)), user="", period=month), charges

    def labels(self) -> dict[str, str]:
        """Pseudonym -> the operator's label."""
        return self._books.labels()


@contextmanager
def opened_store(
    data_dir: Path,
    redis_url: str | Endpoint | None,
    *,
    client_factory: ClientFactory = connect,
    clock: Callable[[], float] = time.time,
    retention: Retention | None = None,
) -> Iterator[Store]:
    """The store of a folder, or at an address, not checked yet; the embedded server is started where needed.

    Raises:
        LedgerError: the store cannot be reached, or there never was one in the folder.
    """
    if redis_url is None and not any((data_dir / name).exists() for name in ("store", "journals")):
        raise LedgerError(
            f"there is no ledger in {data_dir}: nothing was ever charged there; name another folder with HEADWATER_DATA_DIR"
        )
    with ExitStack() as stack:
        if redis_url is None:
            place = Embedded(data_dir)
            stack.callback(place.leave)
            place.ensure()
            redis_url = place.endpoint
        store = open_store(redis_url, client_factory=client_factory, clock=clock, retention=retention)
        stack.callback(store.close)
        yield store


def open_store(
    where: str | Endpoint,
    *,
    client_factory: ClientFactory,
    clock: Callable[[], float],
    retention: Retention | None = None,
) -> Store:
    """A store for reading: with time for long answers."""
    return Store(where, timeout_s=READ_TIMEOUT_S, client_factory=client_factory, clock=clock, retention=retention)


def _ship_orphans(data_dir: Path, store: Store, renames: Mapping[str, Callable[[str], str]]) -> None:
    """Charge what dead processes left. The journals stay: the next ledger removes them when the store is durable."""
    fingerprint = store.fingerprint()
    orphanage = Orphanage(data_dir, store, Stats(), fingerprint=fingerprint, durability=SafeDelay, renames=renames)
    if fingerprint is None:
        # A store that was never reached: the journals' own key becomes its key.
        known = orphanage.fingerprints()
        if len(known) != 1:
            return
        store.check(known.pop())
    with ExitStack() as stack:
        taken = orphanage.take()
        for adopted in taken:  # all of them, also where the store fails at the first: else nobody could take the others
            stack.callback(adopted.release)
        for adopted in taken:
            adopted.shipment.tail.sync()
            while adopted.shipment.ship():
                pass
