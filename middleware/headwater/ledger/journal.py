"""The journal that a process writes: one `write` per record, on the caller's thread. Never reads, never waits, never
talks to the store.

A journal is a folder of segments and a lock file; its owner holds the lock for life, so whoever gets the lock knows that
the owner is dead. Segments are written under another name and renamed when whole: the one before gets no more records.
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
from headwater.ledger.frames import Kind, Position

FOLDER: Final = "journals"
LOCK: Final = "lock"
SEGMENT_BYTES: Final = 4 << 20
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
    """The journal of this process. Thread-safe; in the middleware one thread writes."""

    def __init__(
        self, data_dir: Path, *, journal_id: str, fingerprint: str, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.journal_id = journal_id
        self.folder = data_dir / FOLDER / journal_id
        self._fingerprint = fingerprint.encode()
        self._segment_bytes = segment_bytes
        self._mutex = threading.Lock()
        self._open: dict[str, bytes] = {}
        self._seq = 0
        self._segment = 1
        self._offset = 0
        self._rotate_at = segment_bytes
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
        self._descriptor = os.open(hidden / segment_name(1), _APPEND, 0o600)
        self._append(frames.encode(Kind.HEAD, 0, self._fingerprint))
        hidden.rename(self.folder)

    def position(self) -> Position:
        """Segment and offset behind the last record written."""
        with self._mutex:
            return Position(self._segment, self._offset)

    def provisional(self, request_id: str, payload: bytes) -> None:
        """Write what to charge if the process dies now."""
        with self._mutex:
            self._append(frames.encode(Kind.PROVISIONAL, 0, payload))
            self._open[request_id] = payload

    def final(self, request_id: str, payload: bytes) -> None:
        """Write a charge; it resolves the provisional one."""
        with self._mutex:
            seq = self._seq + 1
            self._append(frames.encode(Kind.FINAL, seq, payload))
            self._seq = seq
            self._open.pop(request_id, None)

    def forget(self, request_id: str) -> None:
        """Write that a request is not to be charged; nothing is written when there is no provisional charge."""
        with self._mutex:
            if request_id in self._open:
                self._append(frames.encode(Kind.FORGET, 0, request_id.encode()))
                del self._open[request_id]

    def document(self, document_hash: str, document: str) -> None:
        """Write a deployment document."""
        payload = b"\0".join((document_hash.encode(), document.encode()))
        if len(payload) > frames.MAX_PAYLOAD_BYTES:
            raise LedgerError(
                f"the deployment document {document_hash} has {len(payload)} bytes, at most {frames.MAX_PAYLOAD_BYTES} can be kept"
            )
        with self._mutex:
            self._append(frames.encode(Kind.DOCUMENT, 0, payload))

    def _append(self, frame: bytes) -> None:
        # Before the record, when the sequence and the open charges are settled.
        if self._offset >= self._rotate_at:
            self._rotate()
        try:
            written = syscalls.write(self._descriptor, frame)
        except OSError as error:
            raise LedgerError(f"cannot write to the journal {self.folder}: {error}") from error
        if written != len(frame):
            self._undo()
            raise LedgerError(f"the journal {self.folder} took {written} of {len(frame)} bytes; is the disk full?")
        self._offset += written

    def _undo(self) -> None:
        # If the torn record cannot be cut off, reading steps over it.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self._offset)
        with contextlib.suppress(OSError):
            self._offset = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        """Go on in a new segment that starts with all open charges; where that fails, in the old one for a while."""
        number = self._segment + 1
        carried = [frames.encode(Kind.PROVISIONAL, 0, payload) for payload in self._open.values()]
        data = b"".join((frames.encode(Kind.HEAD, self._seq, self._fingerprint), *carried))
        hidden = self.folder / f".{segment_name(number)}"
        descriptor = -1
        try:
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
        self._segment = number
        self._offset = len(data)
        self._rotate_at = len(data) + self._segment_bytes

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
    """Delete a journal whose lock the caller holds. Crash-safe: what is left over is a shorter or an empty journal."""
    for segment in sorted(folder.glob("*.log")):
        segment.unlink()
    shutil.rmtree(folder, ignore_errors=True)
