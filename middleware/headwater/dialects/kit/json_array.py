"""Frame one JSON array that is sent piece by piece. Knows bytes, strings and brackets; does not know providers or tokens.

A piece is one element with what
stands before it (the bracket, a comma, white space), or the bracket that closes the array; a lone object in place of an array
is a piece too. Brackets are counted, not matched: whether an element is JSON is for its reader to find out.
"""

from __future__ import annotations

import re
from typing import Final

from headwater.dialects.kit.pieces import Piece, PieceFramer

JSON: Final = b"application/json"
# What is no bracket, and whole strings; then a run of brackets of one direction, or a string that is not whole,
# or the end: so that each match begins where the one before it ended.
_BRACKETS: Final = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+(?:([\[{]++)|([\]}]++)|(")|\Z)', re.DOTALL)
_OPENED, _CLOSED, _IN_STRING = 1, 2, 3
_STRING_REST: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE, _OPEN_ARRAY = b'"', b"["
_BEFORE_ELEMENT: Final = b" \t\r\n,["
_AFTER_ELEMENT: Final = b" \t\r\n"


class ArrayFramer(PieceFramer):
    """Cuts a byte stream into the elements of an array."""

    __slots__ = ("_base", "_depth", "_is_in_string")

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._base = 0
        """The depth at which an element ends: 1 in an array, 0 outside of one."""
        self._is_in_string = False

    @staticmethod
    def event(raw: bytes) -> Element:
        """An element, read."""
        return Element(raw)

    def next(self) -> bytes | None:
        """The next whole element, or None while the one in progress is not complete."""
        while not self._is_in_string or self._leave_string():
            end = self._end_of_element()
            if end is not None:
                return self._take(end)
            if not self._is_in_string:
                break
        return None

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


class Element(Piece):
    """One element as it came, and its data; None where there is no object in it."""

    __slots__ = ()

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        found = raw.lstrip(_BEFORE_ELEMENT)
        self._start = len(raw) - len(found)
        self.data = found.rstrip(_AFTER_ELEMENT) if found.startswith(b"{") else None
