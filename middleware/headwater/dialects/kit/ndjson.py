"""Frame newline-delimited JSON. Knows bytes and lines; does not know JSON, providers, tokens or sockets.

A line ends with LF; a CR before
it, and white space around the value, belong to the line and not to its data (https://github.com/ndjson/ndjson-spec).
"""

from __future__ import annotations

from typing import Final

from headwater.dialects.kit.pieces import Piece, PieceFramer

NDJSON: Final = b"application/x-ndjson"


class LineFramer(PieceFramer):
    """Cuts a byte stream into lines, each with its line end."""

    __slots__ = ()

    @staticmethod
    def event(raw: bytes) -> Line:
        """A line, read."""
        return Line(raw)

    def next(self) -> bytes | None:
        """The next whole line, or None while the line in progress is not complete."""
        end = self._buffer.find(b"\n", max(self._at, self._scanned)) + 1
        if not end:
            self._scanned = len(self._buffer)
            return None
        return self._take(end)


class Line(Piece):
    """One line as it came, and its data; None where there is nothing but white space."""

    __slots__ = ()

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        stripped = raw.lstrip()
        self._start = len(raw) - len(stripped)
        self.data = stripped.rstrip() or None
