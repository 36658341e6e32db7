"""Frame messages of `application/vnd.amazon.eventstream`. Knows lengths, checksums and headers; does not know any API.

A message is: its length and that of its headers (4 bytes each, big-endian), a CRC-32 of these eight bytes, the headers, the
payload, and a CRC-32 of all before it. A header is a name (1 byte of length), a type, and a value. A length or a checksum
that is wrong leaves no place from where to read on: the framer then hands out nothing more and keeps nothing. (AWS, "Event
stream encoding", https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html; the limits: botocore 1.44, eventstream.py.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from headwater.dialects.kit.pieces import Piece, PieceFramer

EVENT_STREAM: Final = b"application/vnd.amazon.eventstream"
MOST_MESSAGE_BYTES: Final = 1 << 24
MOST_HEADERS_BYTES: Final = 1 << 17
_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_CHECKED_PRELUDE_BYTES: Final = 8
_LEAST_MESSAGE_BYTES: Final = _PRELUDE.size + _CRC.size
_TRUE, _FALSE = 0, 1
_NUMBERS: Final = {2: struct.Struct(">b"), 3: struct.Struct(">h"), 4: struct.Struct(">i"), 5: struct.Struct(">q")}
_BYTES, _STRING, _TIMESTAMP, _UUID = 6, 7, 8, 9
_UUID_BYTES: Final = 16
_LENGTH: Final = struct.Struct(">H")
_MILLISECONDS: Final = struct.Struct(">q")

HeaderValue = bool | int | bytes | str
"""A number is an int, a moment its milliseconds since 1970, a UUID its bytes."""


class MessageFramer(PieceFramer):
    """Cuts a byte stream into messages."""

    __slots__ = ("is_broken",)

    def __init__(self) -> None:
        super().__init__()
        self.is_broken = False
        """A length or a checksum was wrong."""

    @staticmethod
    def event(raw: bytes) -> Message:
        """A message, read."""
        return Message(raw)

    def push(self, data: bytes) -> None:
        """Take bytes, cut anywhere; none any more once the stream is broken."""
        if not self.is_broken:
            super().push(data)

    def next(self) -> bytes | None:
        """The next whole message, or None while the one in progress is not complete."""
        if self.pending_count < _PRELUDE.size:
            return None
        message_bytes, headers_bytes, prelude_crc = _PRELUDE.unpack_from(self._buffer, self._at)
        if not (
            headers_bytes <= min(MOST_HEADERS_BYTES, message_bytes - _LEAST_MESSAGE_BYTES)
            and message_bytes <= MOST_MESSAGE_BYTES
            and zlib.crc32(self._buffer[self._at : self._at + _CHECKED_PRELUDE_BYTES]) == prelude_crc
        ):
            self._break()
            return None
        if self.pending_count < message_bytes:
            return None
        raw = self._take(self._at + message_bytes)
        if (zlib.crc32(raw[: -_CRC.size]),) != _CRC.unpack(raw[-_CRC.size :]):
            self._break()
            return None
        return raw

    def _break(self) -> None:
        self.is_broken = True
        self._buffer, self._at = b"", 0


class Message(Piece):
    """One message as it came: its headers, and its payload as the data. One that is cut off, or whose headers cannot be read,
    has neither."""

    __slots__ = ("headers",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.data = None
        self.headers: dict[str, HeaderValue] = {}
        self._start = _PRELUDE.size
        if len(raw) < _LEAST_MESSAGE_BYTES:
            return
        message_bytes, headers_bytes, _ = _PRELUDE.unpack_from(raw)
        self._start += headers_bytes
        if message_bytes != len(raw) or self._start > len(raw) - _CRC.size:
            return
        headers = read_headers(raw[_PRELUDE.size : self._start])
        if headers is not None:
            self.headers, self.data = headers, raw[self._start : -_CRC.size]

    @property
    def kind(self) -> str:
        """`event`, `exception` or `error`; "" where it does not say."""
        return self._text(":message-type")

    @property
    def name(self) -> str:
        """Which event it is, or which exception; "" where it does not say."""
        return self._text(":event-type") or self._text(":exception-type")

    def insert(self, edits: Sequence[tuple[int, bytes]]) -> bytes:
        """The message as it came: lengths and checksums leave no place to put anything in."""
        return self.raw

    def _text(self, name: str) -> str:
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


def read_headers(block: bytes) -> dict[str, HeaderValue] | None:
    """The headers of a message by name; None where they cannot be read."""
    headers: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(block):
            name_end = at + 1 + block[at]
            name = block[at + 1 : name_end].decode()
            headers[name], at = _value(block, name_end + 1, block[name_end])
    except (IndexError, struct.error, ValueError):
        return None
    return headers if at == len(block) else None


def _value(block: bytes, at: int, kind: int) -> tuple[HeaderValue, int]:
    """The value of a header, and where the next one begins."""
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in _NUMBERS:
        return _NUMBERS[kind].unpack_from(block, at)[0], at + _NUMBERS[kind].size
    if kind == _TIMESTAMP:
        return _MILLISECONDS.unpack_from(block, at)[0], at + _MILLISECONDS.size
    if kind == _UUID:
        return block[at : at + _UUID_BYTES], at + _UUID_BYTES
    if kind not in (_BYTES, _STRING):
        raise ValueError(f"header value of unknown type {kind}")
    start = at + _LENGTH.size
    end = start + _LENGTH.unpack_from(block, at)[0]
    return (block[start:end] if kind == _BYTES else block[start:end].decode()), end
