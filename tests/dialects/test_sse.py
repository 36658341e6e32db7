"""Framing loses nothing and adds nothing, wherever the bytes are cut and however lines end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects.kit.sse import Event, Framer

pieces_of_sse = st.lists(
    st.sampled_from([b"data: x", b"data:", b":c", b"\n", b"\r", b"\r\n", b"\xe2\x80\xa8", b"a", b"\xef\xbb\xbf"]),
    max_size=30,
)


def _pieces(chunks: list[bytes]) -> list[bytes]:
    framer = Framer()
    found: list[bytes] = []
    for chunk in chunks:
        framer.push(chunk)
        while (piece := framer.next()) is not None:
            found.append(piece)
    found.append(framer.rest())
    return found


def _values(pieces: list[bytes]) -> list[bytes]:
    return [data for piece in pieces if (data := Event(piece).data) is not None]


@given(pieces_of_sse, st.lists(st.integers(0, 200), max_size=8))
def test_pieces_joined_are_the_bytes_pushed(parts: list[bytes], places: list[int]) -> None:
    body = b"".join(parts)
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]

    pieces = _pieces([body[a:b] for a, b in itertools.pairwise(edges)])

    assert b"".join(pieces) == body


@given(pieces_of_sse)
def test_the_data_found_does_not_depend_on_the_chunking(parts: list[bytes]) -> None:
    body = b"".join(parts)

    bytewise = _pieces([body[i : i + 1] for i in range(len(body))])

    assert _values(bytewise) == _values(_pieces([body]))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_end_at_blank_lines_of_any_kind(end: bytes) -> None:
    body = b"data: one" + end + end + b": note" + end + b"data:two" + end + b"data:  three" + end + end + b"data: four"

    assert _values(_pieces([body])) == [b"one", b"two\n three", b"four"]


def test_a_line_separator_of_unicode_ends_no_line() -> None:
    body = b'data: "a\xe2\x80\xa8b\xc2\x85c"\n\n'

    assert _values(_pieces([body])) == [b'"a\xe2\x80\xa8b\xc2\x85c"']


def test_a_byte_order_mark_at_the_start_is_skipped() -> None:
    assert _values(_pieces([b"\xef\xbb", b"\xbfdata: x\n\n"])) == [b"x"]


def test_an_event_without_data_lines_has_no_data() -> None:
    assert Event(b"event: ping\nid: 3\n\n").data is None
    assert Event(b": data: x\n\n").data is None
    assert Event(b"datax: y\n\n").data is None


def test_a_data_line_without_a_colon_is_an_empty_one() -> None:
    assert Event(b"data\n\n").data == b""


def test_the_line_end_half_that_comes_late_is_no_line_of_its_own() -> None:
    assert _pieces([b"data: x\r\n\r", b"\ndata: y\r\n\r\n"])[:2] == [b"data: x\r\n\r", b"\n"]


def test_a_place_in_the_data_is_found_among_the_raw_bytes() -> None:
    event = Event(b": note\ndata: {\ndata:  1}\n\n")
    assert event.data == b"{\n 1}"

    assert event.insert([(4, b"2")]) == b": note\ndata: {\ndata:  12}\n\n"


@given(st.integers(0, 12), st.integers(0, 12))
def test_a_cut_takes_the_data_bytes_and_leaves_the_lines(a: int, b: int) -> None:
    event = Event(b"id: 1\ndata: abcd\ndata:efg\n: note\ndata: hi\n\n")
    data = event.data or b""
    start, end = min(a, b), max(a, b)

    left = Event(event.cut(start, end)).data or b""

    assert left.replace(b"\n", b"") == (data[:start] + data[end:]).replace(b"\n", b"")
    assert left.count(b"\n") == 2


def test_the_event_in_progress_can_be_looked_at_without_being_taken() -> None:
    framer = Framer()
    framer.push(b"data: x\n\ndata: abc")
    assert framer.next() == b"data: x\n\n"
    assert framer.next() is None

    assert framer.pending(6) == b"abc"
    assert framer.pending_count == 9
    assert framer.rest() == b"data: abc"
    assert framer.next() is None
