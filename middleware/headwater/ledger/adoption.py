"""The journals of dead processes: their open exchanges become charges, then they are shipped like any other journal.

Every step can be cut short by the adopter's own death: a resolved exchange is a record in that journal under its own id,
so the next adopter finds it resolved, and the store knows what it has applied. It is asked first: a charge that it has may
be unreadable here by now, and its exchange must not be charged again.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Final

from headwater.errors import LedgerError
from headwater.ledger import frames, packing
from headwater.ledger.books import Books
from headwater.ledger.connection import StoreError
from headwater.ledger.damage import Damage
from headwater.ledger.durability import Durability
from headwater.ledger.frames import Kind
from headwater.ledger.journal import FOLDER, lock_journal, remove_journal
from headwater.ledger.redis import Store
from headwater.ledger.shipment import Shipment
from headwater.ledger.stats import Stats
from headwater.ledger.tail import Tail, fingerprint_of

log: Final = getLogger("headwater.ledger")


class Adopted:
    """A dead process's journal, under our lock."""

    def __init__(self, folder: Path, lock: int, shipment: Shipment) -> None:
        self.shipment = shipment
        self._folder = folder
        self._lock = lock

    def release(self, *, remove: bool = False) -> None:
        """Let go of it: removed when all of it is durable, else for the next adopter."""
        self.shipment.close()
        if remove:
            remove_journal(self._folder)
        os.close(self._lock)


class Orphanage:
    """Finds journals whose owners are dead, and makes them shippable."""

    def __init__(
        self,
        data_dir: Path,
        store: Store,
        stats: Stats,
        *,
        fingerprint: str | None,
        durability: Callable[[], Durability],
        clock: Callable[[], float] = time.time,
        renames: Mapping[str, Callable[[str], str]] | None = None,
    ) -> None:
        """`renames`: for each fingerprint of the identity key before this one, from accounts' names of then to those of now."""
        self._journals = data_dir / FOLDER
        self._store = store
        self._stats = stats
        self._fingerprint = fingerprint
        self._durability = durability
        self._clock = clock
        self._renames = dict(renames or {})
        self._refused: set[str] = set()

    def fingerprints(self) -> set[str]:
        """The identity keys of the journals that lie here, dead and alive."""
        return {known for known in map(fingerprint_of, self._folders()) if known is not None}

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._journals.glob("[!.]*") if path.name not in self._refused)

    def take(self) -> list[Adopted]:
        """Every journal whose owner is dead and that nobody else has adopted. Never raises: a bad one is left alone."""
        taken = []
        for folder in self._folders():
            lock = lock_journal(folder)
            if lock is None:
                continue
            damage = Damage(folder.name, self._stats)
            try:
                rename = self._resolve(folder, damage)
            except (OSError, LedgerError) as error:
                os.close(lock)
                if isinstance(error, StoreError):
                    continue  # it is asked again later
                log.error("journal %s of a dead process is left as it is: %s", folder, error)
                if isinstance(error, LedgerError):  # it will not become readable by waiting
                    self._refused.add(folder.name)
                continue
            shipment = Shipment(folder, self._store, self._durability(), self._stats, damage=damage, rename=rename)
            taken.append(Adopted(folder, lock, shipment))
        return taken

    def _resolve(self, folder: Path, damage: Damage) -> Callable[[str], str] | None:
        """Add a charge for every exchange that was open when the owner died. Returns what its accounts are called now, where
        another identity key named them."""
        fingerprint = fingerprint_of(folder)
        rename = None
        if fingerprint is not None and self._fingerprint is not None and fingerprint != self._fingerprint:
            rename = self._renames.get(fingerprint)
            if rename is None:
                raise LedgerError(f"it was written with another identity key ({fingerprint}, here {self._fingerprint})")
        stored = self._store.applied(folder.name)
        damage.stored_seq = min(stored.values())
        tail = Tail(folder, damage=damage)
        tail.sync()
        left = _Left()
        while found := tail.read():
            left.read(found)
        tail.cut_torn_tail()
        unresolved = left.unresolved()
        stored_seq = max(stored.values())
        if damage.lowest_seq <= stored_seq or left.last_seq < stored_seq:
            unresolved = self._without_stored(folder, unresolved)
        if not unresolved:
            return rename
        last_seq = max(left.last_seq, stored_seq)
        head = frames.encode(Kind.HEAD, last_seq, (fingerprint or self._fingerprint or "").encode())
        finals = [frames.encode(Kind.FINAL, last_seq + n, payload) for n, payload in enumerate(unresolved.values(), 1)]
        tail.append(b"".join((head, *finals)))
        self._stats.adopted += len(finals)
        return rename

    def _without_stored(self, folder: Path, unresolved: dict[str, bytes]) -> dict[str, bytes]:
        """The exchanges of a damaged journal that the store has no charge of. Those of which it can no longer tell are none of
        them: rather a charge is lost, aloud, than counted twice."""
        books, kept, doubtful_count = Books(self._store), {}, 0
        receipts_from_ms = (self._clock() - self._store.retention.receipts_s) * 1000
        for request_id, payload in unresolved.items():
            charge = packing.unpack(payload)
            if books.receipt(request_id, charge.user) is not None:
                continue
            if charge.ended_ms < receipts_from_ms:
                doubtful_count += 1
            else:
                kept[request_id] = payload
        if doubtful_count:
            self._stats.lost += doubtful_count
            log.error(
                "journal %s is damaged: %d exchanges were open by what can be read of it, but may have been charged before; they are "
                "not charged again",
                folder.name, doubtful_count,
            )  # fmt: skip
        return kept


class _Left:
    """What a dead process left: its last number, and the exchanges that are open at the end."""

    def __init__(self) -> None:
        self.last_seq = 0
        self._open: dict[str, bytes] = {}
        # A damaged journal may show an open record again behind its end. Hashes of the ended, as they may be millions.
        self._ended = array("q")

    def read(self, found: list[frames.Frame]) -> None:
        """Take in the next records."""
        for frame in found:
            if frame.kind == Kind.PROVISIONAL:
                self._open[packing.unpack(frame.payload).request_id] = frame.payload
            elif frame.kind == Kind.FORGET:
                self._end(frame.payload.decode())
            elif frame.kind == Kind.FINAL:
                self._end(packing.unpack(frame.payload).request_id)
            if frame.kind in {Kind.FINAL, Kind.HEAD}:
                self.last_seq = max(self.last_seq, frame.seq)

    def _end(self, request_id: str) -> None:
        self._open.pop(request_id, None)
        self._ended.append(hash(request_id))

    def unresolved(self) -> dict[str, bytes]:
        """Request id -> what to charge."""
        ids = {hash(request_id): request_id for request_id in self._open}
        for ended in self._ended:
            request_id = ids.pop(ended, None)
            if request_id is not None:
                del self._open[request_id]
        return self._open
