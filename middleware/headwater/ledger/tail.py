"""Reading a journal from its files, in order, from any process that may. Writes nothing but the cut of a torn tail."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Final

from headwater.ledger import frames
from headwater.ledger.damage import Damage
from headwater.ledger.frames import LOCK, START, Frame, Kind, Position
from headwater.ledger.order import Order
from headwater.ledger.stats import Stats

log: Final = getLogger("headwater.ledger")

_CHUNK_BYTES: Final = 256 << 10
_FIRST_BYTES: Final = 1 << 10


class Tail:
    """A reader of one journal's segments.

    It reads only what `sync` has made durable on disk: the store must never know a charge that the journal could lose.
    `seal`: has the journal's living owner go on in another segment than this one; False where it cannot.
    """

    def __init__(
        self, folder: Path, *, damage: Damage | None = None, seal: Callable[[int], bool] = lambda _segment: True
    ) -> None:
        self._folder = folder
        self._damage = damage if damage is not None else Damage(folder.name, Stats())
        self._seal = seal
        self._order = Order(self._damage.missing)
        self._sizes: dict[int, int] = {}
        self._synced: dict[int, int] = {}
        self._doubtful: set[int] = set()
        self.position = START

    def sync(self) -> bool:
        """Make everything written so far durable, and readable here. True when there is anything unread.

        Raises:
            OSError: the disk does not take it. None of it is taken for durable, also not when the next `fsync` says so.
        """
        sizes: dict[int, int] = {}
        for path in sorted(self._folder.glob("[0-9]*.log")):
            number = int(path.stem)
            sizes[number] = size = path.stat().st_size
            if number >= self.position.segment and self._synced.get(number, 0) < size:
                sizes[number] = self._synced[number] = self._sync_segment(number, size)
        self._sizes = sizes
        return bool(sizes) and self.position < self.end()

    def _sync_segment(self, number: int, size: int) -> int:
        """Have a segment on disk; the size of what is there."""
        path = self._path(number)
        if number not in self._doubtful:
            try:
                fsync(path)
                if number not in self._synced:
                    fsync(self._folder)  # its name, too
            except OSError as error:
                # The kernel has forgotten which pages it failed to write: asked again it would say that all is well.
                self._doubtful.add(number)
                log.error("the disk failed to keep segment %d of journal %s: %s", number, self._folder.name, error)
            else:
                return size
        size = self._renew(path, number)
        self._doubtful.discard(number)
        log.error("segment %d of journal %s was written anew, to another place", number, self._folder.name)
        return size

    def _renew(self, path: Path, number: int) -> int:
        """Write a segment anew, from what the kernel still holds of it; what that has lost, its checksums will tell."""
        if not self._seal(number):
            raise OSError(f"segment {number} of journal {self._folder.name} is in doubt, and no other can be begun")
        data = path.read_bytes()
        hidden = path.with_name(f".{path.name}.anew")
        write_durably(hidden, data)
        hidden.rename(path)
        fsync(self._folder)
        return len(data)

    def end(self) -> Position:
        """Behind the last byte of the last `sync`."""
        last = max(self._sizes, default=0)
        return Position(last, self._sizes.get(last, 0))

    def rewind(self) -> None:
        """Read again from the oldest segment."""
        self.position = START

    def read(self) -> list[Frame]:
        """The next records, at most a chunk's worth; empty when nothing whole is left. Moves the position."""
        while True:
            segment, offset = self._settle()
            limit = self._sizes.get(segment, 0)
            found = self._read_segment(segment, offset, limit)
            if found:
                self.position = Position(segment, found[-1].end)
                return self._order.follow(segment, found, partial(self._ahead, segment))
            later = [number for number in self._sizes if number > segment]
            if not later:
                return []
            if offset < limit:
                self._damage.skipped(segment, offset, limit)
            self.position = Position(min(later), 0)

    def _settle(self) -> Position:
        if self.position.segment not in self._sizes and self._sizes:
            later = [number for number in self._sizes if number > self.position.segment]
            if later:
                if self.position == START:
                    self._order.begin(min(later))
                self.position = Position(min(later), 0)
        return self.position

    def _read_segment(self, segment: int, offset: int, limit: int) -> list[Frame]:
        """Records from an offset on, with absolute ends. A damaged record is stepped over once all behind it is known."""
        if offset >= limit:
            return []
        data = self._bytes(segment, offset, min(limit - offset, _CHUNK_BYTES))
        found = _sound_run(data, offset)
        if found or len(data) == 0:
            return found
        if len(data) < limit - offset:
            data = self._bytes(segment, offset, limit - offset)
        frame = frames.decode(data, 0)
        if frame is None:
            frame = frames.resume(data, 0)
            if frame is not None:
                start = offset + frame.end - frames.HEAD_BYTES - len(frame.payload)
                self._damage.skipped(segment, offset, start)
        return [frame._replace(end=offset + frame.end)] if frame else []

    def _ahead(self, segment: int, offset: int) -> tuple[list[Frame], int | None]:
        """What is sound in a segment behind an offset, and the number before the segment after it."""
        data = self._bytes(segment, offset, self._sizes.get(segment, 0) - offset)
        found: list[Frame] = []
        frame = frames.decode(data, 0) or frames.resume(data, 0)
        while frame is not None:
            found.append(frame._replace(end=offset + frame.end))
            frame = frames.decode(data, frame.end) or frames.resume(data, frame.end)
        later = [number for number in self._sizes if number > segment]
        head = _head(self._path(min(later))) if later else None
        return found, None if head is None else head.seq

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:08d}.log"

    def _bytes(self, segment: int, offset: int, count: int) -> bytes:
        with self._path(segment).open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(count) or b""

    def drop_before(self, position: Position) -> bool:
        """Delete the segments that end before a position; never the last one. Whether there were any."""
        numbers = sorted(number for number in self._sizes if number < position.segment)
        for number in numbers:
            self._path(number).unlink(missing_ok=True)
            del self._sizes[number]
            self._synced.pop(number, None)
        return bool(numbers)

    def cut_torn_tail(self) -> None:
        """Cut off what a dying owner left of its last record. Only under the journal's lock, read to the end."""
        segment, offset = self.position
        if self.position < self.end():
            self._damage.skipped(segment, offset, self._sizes[segment])
            os.truncate(self._path(segment), offset)
            self._sizes[segment] = offset

    def append(self, data: bytes) -> None:
        """Add a segment to a dead process's journal, whole or not at all. Only under its lock."""
        path = self._path(self.end().segment + 1)
        hidden = path.with_name(f".{path.name}")
        write_durably(hidden, data)
        hidden.rename(path)
        fsync(self._folder)


def _sound_run(data: bytes, base: int) -> list[Frame]:
    found = []
    frame = frames.decode(data, 0)
    while frame is not None:
        found.append(frame._replace(end=base + frame.end))
        frame = frames.decode(data, frame.end)
    return found


def fsync(path: Path) -> None:
    """Have a file or a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Make a file with these bytes, on disk; where the disk refuses, there is none.

    Raises:
        OSError: it did.
    """
    try:
        with path.open("wb", buffering=0) as file:
            if file.write(data) != len(data):
                raise OSError(f"short write to {path}; is the disk full?")
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _head(path: Path) -> Frame | None:
    """The first record of a segment, where it is sound."""
    with path.open("rb", buffering=0) as file:
        frame = frames.decode(file.read(_FIRST_BYTES) or b"", 0)
    return frame if frame is not None and frame.kind == Kind.HEAD else None


def fingerprint_of(folder: Path) -> str | None:
    """The fingerprint of the identity key that a journal was written with: by the first segment that tells it, else by the
    lock file, which keeps it too; None when there is none."""
    for path in sorted(folder.glob("[0-9]*.log")):
        head = _head(path)
        if head is not None:
            return head.payload.decode()
    with suppress(OSError, UnicodeDecodeError):
        return (folder / LOCK).read_text("ascii").strip() or None
    return None


def dropped_seq(folder: Path) -> int | None:
    """The number of the last charge that has left a journal with its segments; None where its oldest one does not tell."""
    oldest = min(folder.glob("[0-9]*.log"), default=None)
    if oldest is None:
        return None
    head = _head(oldest)
    if head is not None:
        return head.seq
    return 0 if int(oldest.stem) == 1 else None
