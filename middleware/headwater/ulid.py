"""Request ids: ULIDs (48 bits of milliseconds, 80 random bits, Crockford base32). No clock of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Two digits at a time: 13 look-ups an id instead of 26.
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_VALID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII)
_RANDOM_BYTES: Final = 10
_POOL_BYTES: Final = 400 * _RANDOM_BYTES


class _Pool:
    """The system's random bytes, some hundred ids' worth at a time.

    A system call gives up the interpreter's lock, and another thread may keep it for milliseconds; one call in 400 does
    not matter. A child process starts with an empty pool, so that no two processes share bytes.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._used_count = 0
        os.register_at_fork(after_in_child=self.clear)

    def clear(self) -> None:
        self._bytes = b""
        self._used_count = 0

    def take(self, count: int) -> bytes:
        start, end = self._used_count, self._used_count + count
        if end > len(self._bytes):
            self._bytes = os.urandom(_POOL_BYTES)
            start, end = 0, count
        self._used_count = end
        return self._bytes[start:end]


_pool: Final = _Pool()


def new(time_ms: int, random: Callable[[int], bytes] = _pool.take) -> str:
    """A new id for a moment in milliseconds since the epoch."""
    v = (time_ms & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(random(_RANDOM_BYTES), "big")
    p = _PAIRS
    return (
        f"{p[v >> 120]}{p[v >> 110 & 1023]}{p[v >> 100 & 1023]}{p[v >> 90 & 1023]}{p[v >> 80 & 1023]}"
        f"{p[v >> 70 & 1023]}{p[v >> 60 & 1023]}{p[v >> 50 & 1023]}{p[v >> 40 & 1023]}{p[v >> 30 & 1023]}"
        f"{p[v >> 20 & 1023]}{p[v >> 10 & 1023]}{p[v & 1023]}"
    )


def is_valid(text: str) -> bool:
    """Whether this is an id in its canonical spelling."""
    return _VALID.fullmatch(text) is not None


def time_ms(text: str) -> int:
    """The milliseconds since the epoch that a valid id carries."""
    value = 0
    for character in text[:10]:
        value = value << 5 | _ALPHABET.index(character)
    return value
