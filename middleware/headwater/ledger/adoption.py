"""The journals of dead processes: their open exchanges become charges, then they are shipped like any other journal.

Every step can be cut short by the adopter's own death: a resolved exchange is a record in that journal under its own id,
so the next adopter finds it resolved, and the store knows what it has applied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Final

from headwater.errors import LedgerError
from headwater.ledger import frames, packing
from headwater.ledger.durability import Durability
from headwater.ledger.frames import Kind
from headwater.ledger.journal import FOLDER, lock_journal, remove_journal
from headwater.ledger.redis import Store
from headwater.ledger.shipment import Shipment
from headwater.ledger.stats import Stats
from headwater.ledger.tail import Tail, head_of

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
        renames: Mapping[str, Callable[[str], str]] | None = None,
    ) -> None:
        """`renames`: for each fingerprint of the identity key before this one, from accounts' names of then to those of now."""
        self._journals = data_dir / FOLDER
        self._store = store
        self._stats = stats
        self._fingerprint = fingerprint
        self._durability = durability
        self._renames = dict(renames or {})
        self._refused: set[str] = set()

    def fingerprints(self) -> set[str]:
        """The identity keys of the journals that lie here, dead and alive."""
        return {head[1] for head in map(head_of, self._folders()) if head is not None}

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._journals.glob("[!.]*") if path.name not in self._refused)

    def take(self) -> list[Adopted]:
        """Every journal whose owner is dead and that nobody else has adopted. Never raises: a bad one is left alone."""
        taken = []
        for folder in self._folders():
            lock = lock_journal(folder)
            if lock is None:
                continue
            try:
                rename = self._resolve(folder)
            except (OSError, LedgerError) as error:
                os.close(lock)
                log.error("journal %s of a dead process is left as it is: %s", folder, error)
                if isinstance(error, LedgerError):  # it will not become readable by waiting
                    self._refused.add(folder.name)
                continue
            shipment = Shipment(folder, self._store, self._durability(), self._stats, rename=rename)
            taken.append(Adopted(folder, lock, shipment))
        return taken

    def _resolve(self, folder: Path) -> Callable[[str], str] | None:
        """Append a charge for every exchange that was open when the owner died. Returns what its accounts are called now."""
        head = head_of(folder)
        rename = None
        if head is not None and self._fingerprint is not None and head[1] != self._fingerprint:
            rename = self._renames.get(head[1])
            if rename is None:
                raise LedgerError(f"it was written with another identity key ({head[1]}, here {self._fingerprint})")
        tail = Tail(folder)
        tail.sync()
        last_seq, unresolved = _scan(tail)
        tail.cut_torn_tail()
        if not unresolved:
            return rename
        finals = [frames.encode(Kind.FINAL, last_seq + n, payload) for n, payload in enumerate(unresolved.values(), 1)]
        tail.append(b"".join(finals))
        self._stats.adopted += len(finals)
        return rename


def _scan(tail: Tail) -> tuple[int, dict[str, bytes]]:
    """The last sequence of a journal, and the charges of the exchanges that are open at its end."""
    last_seq = 0
    unresolved: dict[str, bytes] = {}
    while found := tail.read():
        for frame in found:
            if frame.kind == Kind.PROVISIONAL:
                unresolved[packing.unpack(frame.payload).request_id] = frame.payload
            elif frame.kind == Kind.FORGET:
                unresolved.pop(frame.payload.decode(), None)
            elif frame.kind == Kind.FINAL:
                unresolved.pop(packing.unpack(frame.payload).request_id, None)
            if frame.kind in {Kind.FINAL, Kind.HEAD}:
                last_seq = max(last_seq, frame.seq)
    return last_seq, unresolved
