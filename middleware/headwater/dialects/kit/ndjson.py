"""Frame newline-delimited JSON. Knows bytes and lines; does not know JSON, providers, tokens or sockets.

The pieces that a `LineFramer` hands out, joined, are the bytes that were pushed into it. A line ends with LF; a CR before
it, and white space around the value, belong to the line and not to its data (https://github.com/ndjson/ndjson-spec).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

NDJSON: Final = b"application/x-ndjson"


class LineFramer:
    """Cuts a byte stream into lines, each with its line end."""

    __slots__ = ("_at", "_buffer", "_scanned")

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._at = 0
        self._scanned = 0

    @property
    def pending_count(self) -> int:
        """Bytes pushed and not yet handed out."""
        return len(self._buffer) - self._at

    @staticmethod
    def event(raw: bytes) -> Line:
        """A piece, read."""
        return Line(raw)

    def pending(self, start: int = 0) -> bytes:
        """The bytes not yet handed out, from `start` on. After `next` gave None: the line in progress."""
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

    def next(self) -> bytes | None:
        """The next whole line, or None while the line in progress is not complete."""
        end = self._buffer.find(b"\n", max(self._at, self._scanned)) + 1
        if not end:
            self._scanned = len(self._buffer)
            return None
        return self._take(end)

    def rest(self) -> bytes:
        """Hand out everything that is left, as at the end of the stream."""
        return self._take(len(self._buffer))

    def _take(self, end: int) -> bytes:
        start, self._at = self._at, end
        return bytes(self._buffer[start:end])


class Line:
    """One line as it came, and its data; None where there is nothing but white space."""

    __slots__ = ("_start", "data", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        stripped = raw.lstrip()
        self._start = len(raw) - len(stripped)
        self.data: bytes | None = stripped.rstrip() or None

    def insert(self, edits: Sequence[tuple[int, bytes]]) -> bytes:
        """The raw line with texts, which have no line end, each before a data byte; first places first."""
        raw = self.raw
        for at, text in reversed(edits):
            raw = raw[: self._start + at] + text + raw[self._start + at :]
        return raw

    def raw_offset(self, at: int) -> int:
        """The place of the data byte `at` in the raw line."""
        return self._start + at
