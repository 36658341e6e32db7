"""Frame server-sent events. Knows bytes, lines and fields; does not know JSON, providers, tokens or sockets.

The format is that of https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream: lines end
with CR LF, LF or CR ("\\r\\n", "\\n", "\\r"); U+2028 and its like end no line, so text is never split by `str.splitlines`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from headwater.dialects.kit.pieces import PieceFramer

SSE: Final = b"text/event-stream"
_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_LINE_ENDS: Final = b"\r\n"
_EOL: Final = re.compile(rb"\r\n|\n|\r")
# Atomic: in "\r\nx" the pair must not come apart into the two line ends of a blank line.
_BLANK_LINE: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


class Framer(PieceFramer):
    """Cuts a byte stream into events: each piece is one event with its blank line, or one stray line end."""

    __slots__ = ("_after_cr",)

    def __init__(self) -> None:
        super().__init__()
        self._after_cr = False

    @staticmethod
    def event(raw: bytes) -> Event:
        """A piece, read."""
        return Event(raw)

    def next(self) -> bytes | None:
        """The next whole piece, or None while the event in progress is not complete."""
        buffer, start = self._buffer, self._at
        if start == len(buffer):
            return None
        if buffer[start] == _LF and self._after_cr:
            return self._take(start + 1)
        end = self._end_of_event(buffer, start)
        if end is None:
            self._scanned = max(start, len(buffer) - 3)
            self._after_cr = False
            return None
        return self._take(end)

    def _end_of_event(self, buffer: bytes | bytearray, start: int) -> int | None:
        if buffer[start] not in _LINE_ENDS:
            start = max(start, self._scanned)
            end = buffer.find(b"\n\n", start)
            if buffer.find(b"\r", start, len(buffer) if end < 0 else end) < 0:
                return None if end < 0 else end + 2
        found = _EOL.match(buffer, start) if start == self._at else None
        found = found or _BLANK_LINE.search(buffer, start)
        return None if found is None else found.end()

    def _take(self, end: int) -> bytes:
        buffer, start = self._buffer, self._at
        self._at = end
        # A CR that ends a piece may be half of a CR LF: its LF, should it follow, is no line of its own.
        self._after_cr = end > start and buffer[end - 1] == 0x0D
        return bytes(buffer[start:end])


class Event:
    """One event as it came, and its data field with the place of each data byte among the raw ones."""

    __slots__ = ("_lines", "data", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._lines: list[tuple[int, int]]
        """For each data line: where it starts in `data`, and where in `raw`."""
        end = raw.find(b"\n")
        if raw[:6] == b"data: " and raw[end + 1 :] == b"\n" and 0x0D not in raw:
            self.data: bytes | None = raw[6:end]
            self._lines = [(0, 6)]
        else:
            self.data, self._lines = _data_field(raw)

    def insert(self, edits: Sequence[tuple[int, bytes]]) -> bytes:
        """The raw event with texts, which have no line end, each before a data byte; first places first."""
        raw = self.raw
        for at, text in reversed(edits):
            place = self.raw_offset(at)
            raw = raw[:place] + text + raw[place:]
        return raw

    def cut(self, start: int, end: int) -> bytes:
        """The raw event without the data bytes from `start` to `end`; the line ends between them stay."""
        raw, data_end = self.raw, len(self.data or b"")
        for line_start, place in reversed(self._lines):
            low, high = max(start, line_start), min(end, data_end)
            if low < high:
                raw = raw[: place + low - line_start] + raw[place + high - line_start :]
            data_end = line_start - 1
        return raw

    def raw_offset(self, at: int) -> int:
        """The place of the data byte `at` in the raw event."""
        line_start, place = next(line for line in reversed(self._lines) if line[0] <= at)
        return place + at - line_start


def _data_field(raw: bytes) -> tuple[bytes | None, list[tuple[int, int]]]:
    """The data lines joined by LF, and their places; None where there is no data line."""
    values: list[bytes] = []
    lines: list[tuple[int, int]] = []
    joined, start = 0, len(_BOM) if raw.startswith(_BOM) else 0
    while start < len(raw):
        found = _EOL.search(raw, start)
        end, following = (found.start(), found.end()) if found else (len(raw), len(raw))
        name, colon, value = raw[start:end].partition(b":")
        if name == b"data":
            place = start + len(name) + len(colon)
            if value.startswith(b" "):
                value, place = value[1:], place + 1
            values.append(value)
            lines.append((joined, place))
            joined += len(value) + 1
        start = following
    return (b"\n".join(values), lines) if values else (None, [])
