"""The journal that a process writes: one `write` per record, on the caller's thread. Never reads, never waits, never
talks to the store.

A journal is a folder of segments and a lock file; its owner holds the lock for life, so whoever gets the lock knows that
the owner is dead. Segments are written under another name and renamed when whole: the one before gets no more records.

A journal is bounded, each process's own by itself. Near its bound it takes no new exchanges; those that it has an open record
of still get their charges in, for which room is kept. Journals of the dead take nothing in any more, and count for nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
from pathlib import Path
from typing import Final

from headwater.errors import LedgerError
from headwater.ledger import frames, syscalls
from headwater.ledger.frames import LOCK, Kind, Position
from headwater.ledger.losses import keep_losses

FOLDER: Final = "journals"
SEGMENT_BYTES: Final = 4 << 20
# An exchange takes 400 to 600 bytes (one open record, one or more notes of progress, one charge): two million of them, or
# eleven hours without a store at 50 requests/s in each process; and a disk has it to spare.
JOURNAL_BYTES: Final = 1 << 30
_RESERVE_SHARE: Final = 16
_CHARGE_BYTES: Final = 512  # what a charge may take, and more than any but one of absurd names
_FEWEST_SEGMENTS: Final = 8
_PROBE_BYTES: Final = 64 << 10
_ROTATE_AGAIN_BYTES: Final = 64 << 10
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def segment_name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:08d}.log"


def lock_journal(folder: Path) -> int | None:
    """The lock of a journal whose owner is dead, as a descriptor; None while it lives, or when the journal is gone."""
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have removed the journal while we waited for the lock.
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


class Full(LedgerError):
    """The journal has reached its bound; the record was not written."""


def living_journals(data_dir: Path) -> list[str]:
    """The journals of a folder whose owners, or adopters, live."""
    living = []
    for folder in sorted((data_dir / FOLDER).glob("[!.]*")):
        lock = lock_journal(folder)
        if lock is not None:
            os.close(lock)
        elif (folder / LOCK).exists():
            living.append(folder.name)
    return living


class Journal:
    """The journal of this process. Thread-safe; in the middleware one thread writes.

    `journal_bytes`: the bound of all its segments together.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        journal_id: str,
        fingerprint: str,
        segment_bytes: int = SEGMENT_BYTES,
        journal_bytes: int = JOURNAL_BYTES,
    ) -> None:
        self.journal_id = journal_id
        self.folder = data_dir / FOLDER / journal_id
        self._fingerprint = fingerprint.encode()
        self._segment_bytes = min(segment_bytes, journal_bytes // _FEWEST_SEGMENTS)
        self._journal_bytes = journal_bytes
        self._mutex = threading.Lock()
        self._open: dict[str, bytes] = {}
        """Request id -> its open record, as it is carried into the next segment."""
        self._closed: dict[int, int] = {}
        """Segment -> its bytes, of those that get no more records and are still there."""
        self._is_stuck = False
        self._seq = 0
        self._segment = 1
        self._offset = 0
        self._rotate_at = self._segment_bytes
        self._full_at = self._most_at = 0
        self._set_bounds()
        self._descriptor = -1
        self._lock = -1
        try:
            self._create(data_dir / FOLDER)
        except OSError as error:
            raise LedgerError(
                f"cannot write a journal in {data_dir / FOLDER}: {error}; name another HEADWATER_DATA_DIR"
            ) from error

    def _create(self, journals: Path) -> None:
        journals.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Built under a hidden name and locked before it appears: nobody can take it for the journal of a dead process.
        hidden = journals / f".{self.journal_id}"
        hidden.mkdir(mode=0o700)
        self._lock = os.open(hidden / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._lock, self._fingerprint)
        self._descriptor = os.open(hidden / segment_name(1), _APPEND, 0o600)
        self._append(frames.encode(Kind.HEAD, 0, self._fingerprint))
        hidden.rename(self.folder)

    def position(self) -> Position:
        """Segment and offset behind the last record written."""
        with self._mutex:
            return Position(self._segment, self._offset)

    @property
    def is_full(self) -> bool:
        """It takes no new exchange now: it is near its bound, or the disk has refused the last record."""
        return self._is_stuck or self._is_near_bound

    @property
    def _has_reserve(self) -> bool:
        return not self._is_stuck and self._offset < self._most_at

    @property
    def _is_near_bound(self) -> bool:
        return self._offset + _CHARGE_BYTES * len(self._open) >= self._full_at

    def provisional(self, request_id: str, payload: bytes, *, is_let_in: bool = False) -> bool:
        """Write what to charge if the process dies now. False: the journal is full, and nothing was written.

        `is_let_in`: the exchange was let in when it was not full, and may use the room that is kept.
        """
        with self._mutex:
            if self.is_full and not (is_let_in and self._has_reserve):
                return False
            frame = frames.encode(Kind.PROVISIONAL, 0, payload)
            self._append(frame)
            self._open[request_id] = frame
            return True

    def final(self, request_id: str, payload: bytes) -> None:
        """Write a charge; it resolves the provisional one.

        Raises:
            Full: the bound is reached, and for an exchange without an open record no room was kept.
        """
        with self._mutex:
            is_open = request_id in self._open
            if self._offset >= self._most_at if is_open else self._is_near_bound:
                raise Full(
                    f"the journal {self.folder} holds all of the {self._journal_bytes} bytes that it may; is the store away?"
                )
            seq = self._seq + 1
            self._append(frames.encode(Kind.FINAL, seq, payload))
            self._seq = seq
            if is_open:
                del self._open[request_id]

    def forget(self, request_id: str) -> None:
        """Write that a request is not to be charged; nothing is written when there is no provisional charge."""
        with self._mutex:
            if request_id in self._open:
                self._append(frames.encode(Kind.FORGET, 0, request_id.encode()))
                del self._open[request_id]

    def abandon(self, request_id: str) -> None:
        """The charge of a request is lost: carry its open record no longer."""
        with contextlib.suppress(LedgerError):
            self.forget(request_id)
        self._open.pop(request_id, None)

    def document(self, document_hash: str, document: str, *, is_let_in: bool = False) -> bool:
        """Write a deployment document, as `provisional` does. False: the journal is full, and nothing was written."""
        payload = b"\0".join((document_hash.encode(), document.encode()))
        if len(payload) > frames.MAX_PAYLOAD_BYTES:
            raise LedgerError(
                f"the deployment document {document_hash} has {len(payload)} bytes, at most {frames.MAX_PAYLOAD_BYTES} can be kept"
            )
        with self._mutex:
            most_at = self._most_at if is_let_in else self._full_at
            if self._is_stuck or self._offset + len(payload) + _CHARGE_BYTES * len(self._open) > most_at:
                return False
            self._append(frames.encode(Kind.DOCUMENT, 0, payload))
            return True

    def _append(self, frame: bytes) -> None:
        # Before the record, when the sequence and the open charges are settled.
        if self._offset >= self._rotate_at:
            self._rotate()
        try:
            written = syscalls.write(self._descriptor, frame)
        except OSError as error:
            self._is_stuck = True
            raise LedgerError(f"cannot write to the journal {self.folder}: {error}") from error
        if written != len(frame):
            self._is_stuck = True
            self._undo()
            raise LedgerError(f"the journal {self.folder} took {written} of {len(frame)} bytes; is the disk full?")
        self._offset += written
        self._is_stuck = False

    def _undo(self) -> None:
        # If the torn record cannot be cut off, reading steps over it.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self._offset)
        with contextlib.suppress(OSError):
            self._offset = os.fstat(self._descriptor).st_size

    def _rotate(self, *, is_forced: bool = False) -> None:
        """Go on in a new segment that starts with all open charges; where that fails, in the old one for a while. Not at the
        cost of the room that is kept for those charges, unless forced."""
        number = self._segment + 1
        data = b"".join((frames.encode(Kind.HEAD, self._seq, self._fingerprint), *self._open.values()))
        hidden = self.folder / f".{segment_name(number)}"
        descriptor = -1
        try:
            if not is_forced and self._offset + len(data) + _CHARGE_BYTES * len(self._open) > self._most_at:
                raise OSError("no room within the bound")
            descriptor = os.open(hidden, _APPEND | os.O_TRUNC, 0o600)
            if syscalls.write(descriptor, data) != len(data):
                raise OSError("short write")
            hidden.rename(self.folder / segment_name(number))
        except OSError:
            self._rotate_at = self._offset + _ROTATE_AGAIN_BYTES
            if descriptor >= 0:
                os.close(descriptor)
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._closed[self._segment] = self._offset
        self._segment = number
        self._offset = len(data)
        # As much again as was carried: however many are open, they are written at most twice in all.
        self._rotate_at = len(data) + max(self._segment_bytes, len(data))
        self._set_bounds()

    def _set_bounds(self) -> None:
        """Where in the present segment the journal is full for new exchanges, and for all."""
        self._most_at = self._journal_bytes - sum(self._closed.values())
        self._full_at = self._most_at - self._journal_bytes // _RESERVE_SHARE

    # -- the shipper's thread ----------------------------------------------------------------------------------------

    def dropped(self, oldest: int) -> None:
        """All segments before this one are gone."""
        with self._mutex:
            for number in [number for number in self._closed if number < oldest]:
                del self._closed[number]
            self._set_bounds()

    def seal(self, segment: int) -> bool:
        """See to it that a segment gets no more records; False where no other can be begun."""
        with self._mutex:
            if segment == self._segment:
                self._rotate(is_forced=True)
            return segment != self._segment

    def relieve(self) -> bool:
        """Try to make room in a full journal. False: it is full still."""
        if self._is_stuck and not self._has_disk():
            return False
        with self._mutex:
            # Where the disk was full: in another file, as the one may have reached a limit of its own. Else, because only
            # what is closed can be dropped.
            if self._is_stuck or (not self._closed and self._offset > self._segment_bytes):
                self._rotate()
            self._is_stuck = False
            return not self.is_full

    def _has_disk(self) -> bool:
        probe = self.folder / ".probe"
        try:
            probe.write_bytes(bytes(_PROBE_BYTES))
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
        return True

    def close(self, *, durable_to: Position | None = None) -> None:
        """Give the journal up. It is removed when the store has all of it on disk, else left for others to adopt."""
        with self._mutex:
            if self._lock < 0:
                return
            os.close(self._descriptor)
            if durable_to == Position(self._segment, self._offset) and not self._open:
                remove_journal(self.folder)
            os.close(self._lock)
            self._descriptor = self._lock = -1


def remove_journal(folder: Path) -> None:
    """Delete a journal whose lock the caller holds. Crash-safe: what is left over is a shorter or an empty journal. What it
    says of lost charges is kept."""
    keep_losses(folder)
    for segment in sorted(folder.glob("*.log")):
        segment.unlink()
    shutil.rmtree(folder, ignore_errors=True)
