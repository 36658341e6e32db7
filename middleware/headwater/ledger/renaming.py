"""Whose a packed charge is, and the same charge under another name; without unpacking it, where that can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from struct import Struct
from typing import Final

from headwater.ledger.ids import pseudonym_bytes
from headwater.ledger.packing import VERSION, has_pseudonym, layout, pack, unpack

_LONG_HEAD: Final = Struct("<BIBBBqq")
_LONG: Final = (b"\3", bytes([VERSION]))
"""The versions that have 32 presence bits."""


def user_of(data: bytes) -> str:
    """Whose charge it is, read without the rest.

    Raises:
        LedgerError: as `unpack` does.
    """
    end = _end_of_pseudonym(data)
    return data[end - 16 : end].hex() if end else unpack(data).user


def renamed(data: bytes, rename: Callable[[str], str]) -> bytes:
    """The same charge, of the account that its own is called now."""
    end = _end_of_pseudonym(data)
    if end:
        pseudonym = pseudonym_bytes(rename(data[end - 16 : end].hex()))
        if pseudonym is not None:
            return data[: end - 16] + pseudonym + data[end:]
    charge = unpack(data)
    name = rename(charge.user)
    return data if name == charge.user else pack(replace(charge, user=name))


def ended_ms_of(data: bytes) -> int:
    """When a charge's request ended, read without the rest where that can be."""
    if data[:1] in _LONG and len(data) >= _LONG_HEAD.size:
        ended_ms: int = _LONG_HEAD.unpack_from(data)[-1]
        return ended_ms
    return unpack(data).ended_ms


def _end_of_pseudonym(data: bytes) -> int:
    """Where a pseudonym ends: it is the last of what has a fixed length. 0: not to be said without reading all of it."""
    if data[:1] not in _LONG:
        return 0
    presence = int.from_bytes(data[1:5], "little")
    end = layout(presence).size
    return end if has_pseudonym(presence) and len(data) > end else 0
