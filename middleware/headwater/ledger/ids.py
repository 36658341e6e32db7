"""Ids as bytes, and back: a ULID of 26 characters and a pseudonym of 32 hex digits have 16 bytes each."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_CROCKFORD: Final = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BASE32: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUV"  # what int(text, 32) reads
# Every byte outside the alphabet becomes "!", which int() refuses: no underscore, sign or lower case slips through.
_TO_BASE32: Final = bytes(_BASE32[_CROCKFORD.index(byte)] if byte in _CROCKFORD else ord("!") for byte in range(256))
_ULID_CHARACTERS: Final = 26


# A request's id comes twice, in its provisional and in its final charge; a user's pseudonym with each of their charges.
@lru_cache(maxsize=1024)
def ulid_bytes(text: str) -> bytes | None:
    """The 16 bytes of a ULID; None where the text is none."""
    if len(text) != _ULID_CHARACTERS:
        return None
    try:
        return int(text.encode().translate(_TO_BASE32), 32).to_bytes(16, "big")
    except (ValueError, OverflowError):
        return None


def ulid_text(data: bytes) -> str:
    """The ULID of 16 bytes."""
    value = int.from_bytes(data, "big")
    return bytes(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5)).decode()


@lru_cache(maxsize=4096)
def pseudonym_bytes(text: str) -> bytes | None:
    """The 16 bytes of 32 lower-case hex digits; None where the text is something else."""
    if len(text) != 32:
        return None
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    return data if data.hex() == text else None
