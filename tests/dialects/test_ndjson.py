"""Lines come out as they went in, wherever the bytes are cut and however the lines end."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects.kit.ndjson import Line, LineFramer
from tests.dialects.streams import bytewise, cut

lines = st.lists(
    st.sampled_from([b'{"a":1}', b"\n", b"\r\n", b"\r", b" ", b"\xe2\x80\xa8", b"\x00", b"x\ny"]), max_size=30
)


def _pieces(chunks: list[bytes]) -> list[bytes]:
    framer = LineFramer()
    found: list[bytes] = []
    for chunk in chunks:
        framer.push(chunk)
        while (piece := framer.next()) is not None:
            found.append(piece)
    found.append(framer.rest())
    return found


@given(lines, st.lists(st.integers(0, 300), max_size=8))
def test_pieces_joined_are_the_bytes_pushed_and_the_same_for_any_chunking(parts: list[bytes], at: list[int]) -> None:
    body = b"".join(parts)

    pieces = _pieces(cut(body, at))

    assert b"".join(pieces) == body
    assert pieces == _pieces([body]) == _pieces(bytewise(body))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_line_end_is_no_data(end: bytes) -> None:
    pieces = _pieces([b'{"a":1}' + end + end + b' {"b":2}' + end + b'{"c":3}'])

    assert [Line(piece).data for piece in pieces] == [b'{"a":1}', None, b'{"b":2}', b'{"c":3}']


def test_what_has_no_line_end_is_the_rest() -> None:
    framer = LineFramer()
    framer.push(b'{"a":1}\n{"b"')

    first, second, count, begun = framer.next(), framer.next(), framer.pending_count, framer.pending(1)

    assert (first, second, count, begun) == (b'{"a":1}\n', None, 4, b'"b"')
    assert framer.rest() == b'{"b"'
    assert framer.rest() == b""


def test_a_separator_of_unicode_ends_no_line() -> None:
    body = '{"a":"\u2028\u2029\u0085"}\n'.encode()

    assert _pieces([body]) == [body, b""]


def test_texts_go_in_at_the_places_of_the_data() -> None:
    line = Line(b'  {"a":{}}\r\n')

    assert line.raw_offset(5) == 7
    assert line.insert([(6, b'"b":1'), (8, b',"c":2')]) == b'  {"a":{"b":1}},"c":2\r\n'


def test_a_giant_line_in_many_chunks_is_not_searched_anew_with_each() -> None:
    chunk = b"x" * 1024
    framer = LineFramer()
    started_s = time.process_time()

    for _ in range(1 << 14):  # 16 MiB: searched from its start each time, 128 GiB
        framer.push(chunk)
        assert framer.next() is None
    framer.push(b"\n")

    assert framer.next() == chunk * (1 << 14) + b"\n"
    assert time.process_time() - started_s < 10
