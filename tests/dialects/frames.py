"""An encoder of AWS event streams, for tests: the counterpart of the framer, which only reads."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

_STRING = 7


def prelude(message_bytes: int, headers_bytes: int) -> bytes:
    """The lengths and their checksum."""
    lengths = struct.pack(">II", message_bytes, headers_bytes)
    return lengths + struct.pack(">I", zlib.crc32(lengths))


def header(name: str, kind: int, value: bytes = b"") -> bytes:
    """A header with an encoded value of any type."""
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def message(headers: Iterable[bytes], payload: bytes) -> bytes:
    """A message with encoded headers."""
    block = b"".join(headers)
    head = prelude(len(block) + len(payload) + 16, len(block)) + block + payload
    return head + struct.pack(">I", zlib.crc32(head))


def event(name: str, payload: bytes) -> bytes:
    """An event, as Bedrock sends it."""
    return _named("event", {":event-type": name, ":content-type": "application/json"}, payload)


def exception(name: str, payload: bytes) -> bytes:
    """An exception in a stream that has begun."""
    return _named("exception", {":exception-type": name, ":content-type": "application/json"}, payload)


def error(code: str, text: str) -> bytes:
    """An error that is not of the API's own; it has no payload."""
    return _named("error", {":error-code": code, ":error-message": text}, b"")


def _named(kind: str, texts: dict[str, str], payload: bytes) -> bytes:
    values = {**texts, ":message-type": kind}
    return message(
        (header(name, _STRING, struct.pack(">H", len(text.encode())) + text.encode()) for name, text in values.items()),
        payload,
    )
