"""The records of a journal file. Knows bytes and checksums; knows no file and no charge.

A frame is magic, CRC-32, length, kind, sequence, payload. The magic is where reading starts again behind damage, so a
flipped bit or a torn write costs the record it hit and no other.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import Final, NamedTuple

LOCK: Final = "lock"
"""The file in a journal's folder that its owner holds locked; it says which identity key the journal was written with."""
MAGIC: Final = b"\xf5Hw\x01"
MAX_PAYLOAD_BYTES: Final = 1 << 20
_HEAD: Final = Struct("<4sIIBQ")
_SEAL: Final = Struct("<4sI")
_SEALED: Final = Struct("<IBQ")  # the rest of the head, covered by the checksum like the payload
HEAD_BYTES: Final = _HEAD.size


class Kind:
    """What a record says."""

    HEAD: Final = 0
    """First record of a segment: sequence before it, and the fingerprint of the identity key."""
    PROVISIONAL: Final = 1
    """If the process dies now, charge this; a later one for the same request replaces it."""
    FINAL: Final = 2
    """A charge, with its sequence."""
    FORGET: Final = 3
    """This request id is not to be charged."""
    DOCUMENT: Final = 4
    """A deployment document, before the charges that refer to it."""
    VOID: Final = -1
    """In no file: a charge that was read out of its order."""


class Frame(NamedTuple):
    """One record and where its bytes end."""

    kind: int
    seq: int
    payload: bytes
    end: int


class Position(NamedTuple):
    """A place between two records: segment number and offset. Compares in the order of writing."""

    segment: int
    offset: int


START: Final = Position(0, 0)


def encode(kind: int, seq: int, payload: bytes) -> bytes:
    """One record as bytes."""
    sealed = _SEALED.pack(len(payload), kind, seq) + payload
    return _SEAL.pack(MAGIC, zlib.crc32(sealed)) + sealed


def decode(data: bytes, at: int) -> Frame | None:
    """The record that starts exactly at an offset; None when there is no whole and sound one."""
    start = at + HEAD_BYTES
    if len(data) < start:
        return None
    magic, crc, length, kind, seq = _HEAD.unpack_from(data, at)
    end = start + length
    if magic != MAGIC or end > len(data):
        return None
    payload = data[start:end]
    if zlib.crc32(payload, zlib.crc32(_SEALED.pack(length, kind, seq))) != crc:
        return None
    return Frame(kind, seq, payload, end)


def resume(data: bytes, at: int) -> Frame | None:
    """The first sound record behind a damaged one at an offset; None when only a torn tail is left."""
    found = data.find(MAGIC, at + 1)
    while found >= 0:
        frame = decode(data, found)
        if frame is not None:
            return frame
        found = data.find(MAGIC, found + 1)
    return None
