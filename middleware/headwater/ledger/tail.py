"""Reading a journal from its files, in order, from any process that may. Writes nothing but the cut of a torn tail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from headwater.ledger import frames
from headwater.ledger.frames import START, Frame, Kind, Position

_CHUNK_BYTES: Final = 256 << 10
_FIRST_BYTES: Final = 1 << 10


class Tail:
    """A reader of one journal's segments.

    It reads only what `sync` has made durable on disk: the store must never know a charge that the journal could lose.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[int, int] = {}
        self._synced: dict[int, int] = {}
        self.position = START

    def sync(self) -> bool:
        """Make everything written so far durable, and readable here. True when there is anything unread."""
        sizes: dict[int, int] = {}
        for path in sorted(self._folder.glob("[0-9]*.log")):
            number = int(path.stem)
            sizes[number] = size = path.stat().st_size
            if number >= self.position.segment and self._synced.get(number, 0) < size:
                fsync(path)
                if number not in self._synced:
                    fsync(self._folder)  # its name, too
                self._synced[number] = size
        self._sizes = sizes
        return bool(sizes) and self.position < self.end()

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
                return found
            later = [number for number in self._sizes if number > segment]
            if not later:
                return []
            self.position = Position(min(later), 0)

    def _settle(self) -> Position:
        if self.position.segment not in self._sizes and self._sizes:
            later = [number for number in self._sizes if number > self.position.segment]
            if later:
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
        frame = frames.decode(data, 0) or frames.resume(data, 0)
        return [frame._replace(end=offset + frame.end)] if frame else []

    def _bytes(self, segment: int, offset: int, count: int) -> bytes:
        with (self._folder / f"{segment:08d}.log").open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(count) or b""

    def drop_before(self, position: Position) -> bool:
        """Delete the segments that end before a position; never the last one. Whether there were any."""
        numbers = sorted(number for number in self._sizes if number < position.segment)
        for number in numbers:
            (self._folder / f"{number:08d}.log").unlink(missing_ok=True)
            del self._sizes[number]
            self._synced.pop(number, None)
        return bool(numbers)

    def cut_torn_tail(self) -> None:
        """Cut off what a dying owner left of its last record. Only under the journal's lock, read to the end."""
        segment, offset = self.position
        if self.position < self.end():
            path = self._folder / f"{segment:08d}.log"
            os.truncate(path, offset)
            self._sizes[segment] = offset

    def append(self, data: bytes) -> None:
        """Add records to the last segment of a dead process's journal. Only under its lock."""
        path = self._folder / f"{self.end().segment:08d}.log"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(f"short write to {path}; is the disk full?")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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


def head_of(folder: Path) -> tuple[int, str] | None:
    """Sequence before the oldest segment, and the key fingerprint of the journal; None when there is no record."""
    for path in sorted(folder.glob("[0-9]*.log")):
        with path.open("rb", buffering=0) as file:
            frame = frames.decode(file.read(_FIRST_BYTES) or b"", 0)
        if frame is not None and frame.kind == Kind.HEAD:
            return frame.seq, frame.payload.decode()
    return None
