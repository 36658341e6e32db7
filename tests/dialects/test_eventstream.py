"""The framing of AWS event streams: lengths, checksums, headers of all types, and what is broken."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects.kit.eventstream import (
    MOST_HEADERS_BYTES,
    MOST_MESSAGE_BYTES,
    Message,
    MessageFramer,
    read_headers,
)
from tests.dialects.frames import event, header, message, prelude
from tests.dialects.streams import bytewise, cut

FIRST = event("messageStart", b'{"role":"assistant"}')
SECOND = event("contentBlockDelta", b'{"delta":{"text":"Hi"}}')
EMPTY = message([], b"")
BODY = FIRST + EMPTY + SECOND
ALL_TYPES = b"".join(
    (
        header("yes", 0),
        header("no", 1),
        header("byte", 2, struct.pack(">b", -3)),
        header("short", 3, struct.pack(">h", -300)),
        header("int", 4, struct.pack(">i", -70_000)),
        header("long", 5, struct.pack(">q", -(1 << 40))),
        header("bytes", 6, struct.pack(">H", 3) + b"\x00\x01\xff"),
        header("string", 7, struct.pack(">H", 6) + "世界".encode()),
        header("moment", 8, struct.pack(">q", 1_764_000_000_123)),
        header("uuid", 9, bytes(range(16))),
    )
)


def framed(chunks: Iterable[bytes]) -> tuple[list[bytes], bool]:
    framer = MessageFramer()
    found = []
    for chunk in chunks:
        framer.push(chunk)
        while (piece := framer.next()) is not None:
            found.append(piece)
    return [*found, framer.rest()], framer.is_broken


@given(st.lists(st.integers(0, 1000), max_size=12))
def test_messages_come_one_by_one_however_they_are_cut(at: list[int]) -> None:
    assert framed(cut(BODY, at)) == ([FIRST, EMPTY, SECOND, b""], False)


def test_a_message_that_is_not_whole_waits() -> None:
    framer = MessageFramer()

    framer.push(FIRST + SECOND[:-1])

    assert framer.next() == FIRST
    assert framer.next() is None
    assert framer.pending() == SECOND[:-1]
    assert framer.pending(8) == SECOND[8:-1]
    assert framer.pending_count == len(SECOND) - 1
    assert framer.rest() == SECOND[:-1]


def test_a_message_has_its_headers_and_its_payload() -> None:
    read = MessageFramer.event(SECOND)

    assert (read.kind, read.name, read.data) == ("event", "contentBlockDelta", b'{"delta":{"text":"Hi"}}')
    assert read.headers[":content-type"] == "application/json"
    assert read.raw[read.raw_offset(0) :].startswith(b'{"delta"')
    assert read.insert([(0, b"x")]) == SECOND


def test_values_of_all_types_are_read() -> None:
    assert read_headers(ALL_TYPES) == {
        "yes": True,
        "no": False,
        "byte": -3,
        "short": -300,
        "int": -70_000,
        "long": -(1 << 40),
        "bytes": b"\x00\x01\xff",
        "string": "世界",
        "moment": 1_764_000_000_123,
        "uuid": bytes(range(16)),
    }


@pytest.mark.parametrize(
    "block",
    [
        header("x", 10),
        header("x", 7, struct.pack(">H", 2) + b"\xff\xfe"),
        header("x", 7, struct.pack(">H", 9) + b"short"),
        header("x", 4, b"\x00"),
        b"\x05ab",
        b"\x01x",
        b"\x02\xff\xfe\x00",
    ],
)
def test_headers_that_cannot_be_read_leave_a_message_without_any(block: bytes) -> None:
    read = Message(message([block], b"{}"))

    assert read_headers(block) is None
    assert (read.headers, read.data, read.kind, read.name) == ({}, None, "", "")
    assert framed([message([block], b"{}") + SECOND]) == ([message([block], b"{}"), SECOND, b""], False)


def test_a_kind_that_is_no_text_is_none() -> None:
    assert Message(message([header(":message-type", 0)], b"{}")).kind == ""


@pytest.mark.parametrize("at", range(len(SECOND)))
def test_a_byte_that_was_changed_breaks_the_stream(at: int) -> None:
    changed = bytearray(SECOND)
    changed[at] ^= 0x20

    pieces, is_broken = framed([FIRST + bytes(changed) + FIRST])

    assert (pieces, is_broken) == ([FIRST, b""], True)


@pytest.mark.parametrize(
    ("message_bytes", "headers_bytes"),
    [(15, 0), (0, 0), (20, 5), (MOST_MESSAGE_BYTES + 1, 0), (1 << 20, MOST_HEADERS_BYTES + 1), (0xFFFFFFFF, 0)],
)
def test_a_length_that_cannot_be_breaks_the_stream(message_bytes: int, headers_bytes: int) -> None:
    assert framed([prelude(message_bytes, headers_bytes) + bytes(40)]) == ([b""], True)


def test_the_longest_lengths_are_waited_for() -> None:
    framer = MessageFramer()

    framer.push(prelude(MOST_MESSAGE_BYTES, MOST_HEADERS_BYTES))

    assert (framer.next(), framer.is_broken) == (None, False)


def test_a_broken_stream_keeps_nothing() -> None:
    framer = MessageFramer()
    framer.push(prelude(15, 0))
    framer.next()

    framer.push(bytes(1000))

    assert (framer.pending_count, framer.next(), framer.rest()) == (0, None, b"")


@given(st.binary(max_size=64))
def test_a_message_of_any_bytes_is_read_without_an_exception(data: bytes) -> None:
    read = Message(data)

    assert read.raw == data
    assert read_headers(data) is None or isinstance(read_headers(data), dict)


@given(st.binary(max_size=40))
def test_any_headers_in_a_sound_frame_leave_it_whole(block: bytes) -> None:
    raw = message([block], b"payload")

    assert framed(bytewise(raw)) == ([raw, b""], False)
    assert Message(raw).data in (None, b"payload")
