"""The size of a picture from its first bytes: PNG, JPEG, GIF and WebP. Knows headers; decodes no picture and opens no address.

Takes what a client sent, so it may be anything: whatever does not tell a size is of unknown size.
"""

from __future__ import annotations

import binascii
import re
from typing import Any, Final

Size = tuple[int, int]
"""Width and height in pixels."""

_DATA_URL: Final = re.compile(r"data:[^,]{0,200}?;base64,", re.IGNORECASE)
_MOST_BASE64_CHARS: Final = 48 * 1024
"""So much of a picture is looked at; what EXIF and colour profiles put before the size of a JPEG fits in."""
_FOREIGN: Final = re.compile(rb"[^A-Za-z0-9+/]")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_QUANTUM_CHARS: Final = 4
_MOST_PX: Final = 1 << 16

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_GIFS: Final = (b"GIF87a", b"GIF89a")
_JPEG: Final = b"\xff\xd8"
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a segment: TEM, the restarts, and another start."""
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start of frame of every kind, progressive ones too; the three others are tables and an extension."""
_JPEG_LAST: Final = frozenset({0xD9, 0xDA})
"""The end, and the scan that comes after the frame was told."""
_VP8_START: Final = b"\x9d\x01\x2a"
_VP8L_START: Final = 0x2F
_VP8_MASK: Final = 0x3FFF


def picture_size(given: Any) -> Size | None:
    """The size of a picture in a data URL or as bare base64; None where it is not told, or where the picture is elsewhere."""
    if not isinstance(given, str):
        return None
    start = 0
    if ":" in given[:64]:
        found = _DATA_URL.match(given)
        if found is None:
            return None
        start = found.end()
    return size_of(base64_bytes(given[start : start + _MOST_BASE64_CHARS]))


def base64_bytes(text: str) -> bytes:
    """What a piece of base64 holds, as far as it is base64 of either alphabet."""
    data = "".join(text.split()).encode("ascii", "replace").translate(_URL_SAFE)
    if (foreign := _FOREIGN.search(data)) is not None:
        data = data[: foreign.start()]
    whole_chars = len(data) - len(data) % _QUANTUM_CHARS
    tail = data[whole_chars:]
    padded = data[:whole_chars] + (tail + b"=" * (_QUANTUM_CHARS - len(tail)) if len(tail) > 1 else b"")
    return binascii.a2b_base64(padded)


def size_of(data: bytes) -> Size | None:
    """The size that a picture's header tells."""
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 24:
        return _believable(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    if data.startswith(_GIFS) and len(data) >= 10:
        return _believable(int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little"))
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    return None


def _believable(width_px: int, height_px: int) -> Size | None:
    return (width_px, height_px) if 0 < width_px <= _MOST_PX and 0 < height_px <= _MOST_PX else None


def _jpeg_size(data: bytes) -> Size | None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        elif marker in _JPEG_LAST:
            return None
        elif marker in _JPEG_FRAMES:
            if at + 9 > len(data):
                return None
            return _believable(
                int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
            )
        else:
            at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
    return None


def _webp_size(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return _believable(int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    if kind == b"VP8L" and len(data) >= 25 and data[20] == _VP8L_START:
        bits = int.from_bytes(data[21:25], "little")
        return _believable((bits & _VP8_MASK) + 1, (bits >> 14 & _VP8_MASK) + 1)
    if kind == b"VP8 " and len(data) >= 30 and data[23:26] == _VP8_START:
        width_px = int.from_bytes(data[26:28], "little") & _VP8_MASK
        return _believable(width_px, int.from_bytes(data[28:30], "little") & _VP8_MASK)
    return None
