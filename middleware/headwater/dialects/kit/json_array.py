"""Frame one JSON array that is sent piece by piece. Knows bytes, strings and brackets; does not know providers or tokens.

The pieces that an `ArrayFramer` hands out, joined, are the bytes that were pushed into it. A piece is one element with what
stands before it (the bracket, a comma, white space), or the bracket that closes the array; a lone object in place of an array
is a piece too. Brackets are counted, not matched: whether an element is JSON is for its reader to find out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

JSON: Final = b"application/json"
# What is no bracket, and whole strings; then a run of brackets of one direction, or a string that is not whole,
# or the end: so that each match begins where the one before it ended.
_BRACKETS: Final = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+(?:([\[{]++)|([\]}]++)|(")|\Z)', re.DOTALL)
_OPENED, _CLOSED, _IN_STRING = 1, 2, 3
_STRING_REST: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE, _OPEN_ARRAY = b'"', b"["
_BEFORE_ELEMENT: Final = b" \t\r\n,["
_AFTER_ELEMENT: Final = b" \t\r\n"


class ArrayFramer:
    """Cuts a byte stream into the elements of an array."""

    __slots__ = ("_at", "_base", "_buffer", "_depth", "_is_in_string", "_scanned")

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._at = 0
        self._scanned = 0
        """Where to look on: what stands before has been counted."""
        self._depth = 0
        self._base = 0
        """The depth at which an element ends: 1 in an array, 0 outside of one."""
        self._is_in_string = False

    @property
    def pending_count(self) -> int:
        """Bytes pushed and not yet handed out."""
        return len(self._buffer) - self._at

    @staticmethod
    def event(raw: bytes) -> Element:
        """A piece, read."""
        return Element(raw)

    def pending(self, start: int = 0) -> bytes:
        """The bytes not yet handed out, from `start` on. After `next` gave None: the element in progress."""
        return bytes(self._buffer[self._at + start :])

    def push(self, data: bytes) -> None:
        """Take bytes, cut anywhere."""
        if self._at == len(self._buffer):
            self._buffer, self._scanned = data, 0
        else:
            kept = self._buffer
            if not isinstance(kept, bytearray) or self._at:
                kept = bytearray(kept[self._at :])
                self._scanned -= self._at
            kept += data
            self._buffer = kept
        self._at = 0

    def next(self) -> bytes | None:
        """The next whole element, or None while the one in progress is not complete."""
        while not self._is_in_string or self._leave_string():
            end = self._end_of_element()
            if end is not None:
                return self._take(end)
            if not self._is_in_string:
                break
        return None

    def rest(self) -> bytes:
        """Hand out everything that is left, as at the end of the stream."""
        self._scanned = len(self._buffer)
        return self._take(self._scanned)

    def _leave_string(self) -> bool:
        found = _STRING_REST.match(self._buffer, self._scanned)
        end = self._scanned if found is None else found.end()
        # A backslash at the very end waits for the byte that it escapes.
        self._is_in_string = self._buffer[end : end + 1] != _QUOTE
        self._scanned = end if self._is_in_string else end + 1
        return not self._is_in_string

    def _end_of_element(self) -> int | None:
        """Count brackets until an element ends, or a string begins that is not whole, or all is counted."""
        for found in _BRACKETS.finditer(self._buffer, self._scanned):
            start, end = found.span(found.lastindex or 0)
            if found.lastindex == _OPENED:
                if self._depth == 0:
                    self._base = 1 if self._buffer[start : start + 1] == _OPEN_ARRAY else 0
                self._depth += end - start
            elif found.lastindex == _CLOSED:
                end = min(end, start + max(1, self._depth - self._base))
                self._depth = max(0, self._depth - (end - start))
                if self._depth <= self._base:
                    self._scanned = end
                    return end
            elif found.lastindex == _IN_STRING:
                self._is_in_string, self._scanned = True, end
                return None
        self._scanned = len(self._buffer)
        return None

    def _take(self, end: int) -> bytes:
        start, self._at = self._at, end
        return bytes(self._buffer[start:end])


class Element:
    """One element as it came, and its data; None where there is no object in it."""

    __slots__ = ("_start", "data", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        found = raw.lstrip(_BEFORE_ELEMENT)
        self._start = len(raw) - len(found)
        self.data: bytes | None = found.rstrip(_AFTER_ELEMENT) if found.startswith(b"{") else None

    def insert(self, edits: Sequence[tuple[int, bytes]]) -> bytes:
        """The raw element with texts each before a data byte; first places first."""
        raw = self.raw
        for at, text in reversed(edits):
            raw = raw[: self._start + at] + text + raw[self._start + at :]
        return raw

    def raw_offset(self, at: int) -> int:
        """The place of the data byte `at` in the raw element."""
        return self._start + at
