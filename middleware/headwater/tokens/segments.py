"""A text in pieces of bounded length, so that no text makes a count slow beyond its length. Pure; knows white space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_SEGMENT_CHARS: Final = 8_000
_SEGMENT_CHARS_UNBROKEN: Final = 1_000


def segments(text: str) -> Iterator[str]:
    """The text in pieces, cut before white space where there is any: there tokens end anyway. A text that begins like another
    one is cut like it."""
    start = 0
    while len(text) - start > _SEGMENT_CHARS:
        end = _last_break(text, start + 1, start + _SEGMENT_CHARS)
        if end is None:
            end = start + _SEGMENT_CHARS_UNBROKEN
        yield text[start:end]
        start = end
    if text:
        yield from _tail(text, start)


def _tail(text: str, start: int) -> Iterator[str]:
    rest = text[start:]
    if len(rest) <= _SEGMENT_CHARS_UNBROKEN or _last_break(rest, 1, len(rest)) is not None:
        yield rest
    else:
        yield from (rest[i : i + _SEGMENT_CHARS_UNBROKEN] for i in range(0, len(rest), _SEGMENT_CHARS_UNBROKEN))


def _last_break(text: str, start: int, end: int) -> int | None:
    """The last place in [start, end) where white space follows something else."""
    place = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
    length = len(text[start:place].rstrip()) if place > start else 0
    return start + length if length else None
