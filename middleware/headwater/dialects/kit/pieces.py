"""Bytes that come cut anywhere and go out in pieces: what all framings have in common. Knows no format.

The pieces that a framer hands out, joined, are the bytes that were pushed into it: nothing is lost, nothing is added.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from headwater.dialects.base import RawEvent


class PieceFramer(ABC):
    """Cuts a byte stream into pieces; a subclass says where one ends, and reads it. Fulfils `stream.Framing`."""

    __slots__ = ("_at", "_buffer", "_scanned")

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._at = 0
        """What stands before has been handed out."""
        self._scanned = 0
        """Where to look on for the end: what stands before has been looked at."""

    @abstractmethod
    def next(self) -> bytes | None:
        """The next whole piece, or None while the one in progress is not complete."""

    @staticmethod
    @abstractmethod
    def event(raw: bytes) -> RawEvent:
        """A piece, read."""

    @property
    def pending_count(self) -> int:
        """Bytes pushed and not yet handed out."""
        return len(self._buffer) - self._at

    def pending(self, start: int = 0) -> bytes:
        """The bytes not yet handed out, from `start` on. After `next` gave None: the piece in progress."""
        return bytes(self._buffer[self._at + start :])

    def push(self, data: bytes) -> None:
        """Take bytes, cut anywhere."""
        if self._at == len(self._buffer):
            self._buffer, self._scanned = data, 0
        else:
            kept = self._buffer
            if not isinstance(kept, bytearray) or self._at:
                kept = bytearray(kept[self._at :])
                self._scanned = max(0, self._scanned - self._at)
            kept += data
            self._buffer = kept
        self._at = 0

    def rest(self) -> bytes:
        """Hand out everything that is left, as at the end of the stream."""
        self._scanned = len(self._buffer)
        return self._take(self._scanned)

    def _take(self, end: int) -> bytes:
        start, self._at = self._at, end
        return bytes(self._buffer[start:end])


class Piece:
    """One piece as it came, and its data, which stands in it in one run of bytes. A subclass finds it when it is made."""

    __slots__ = ("_start", "data", "raw")

    raw: bytes
    data: bytes | None
    """None where it has none."""
    _start: int
    """Where in `raw` the data begin."""

    def insert(self, edits: Sequence[tuple[int, bytes]]) -> bytes:
        """The raw piece with texts, which have no line end, each before a data byte; first places first."""
        raw = self.raw
        for at, text in reversed(edits):
            raw = raw[: self._start + at] + text + raw[self._start + at :]
        return raw

    def raw_offset(self, at: int) -> int:
        """The place of the data byte `at` in the raw piece."""
        return self._start + at
