"""The framing of a JSON array that comes piece by piece: no byte is lost, and no bracket in a string ends an element."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects.kit.json_array import ArrayFramer, Element
from tests.dialects.payloads import payload
from tests.dialects.streams import bytewise, cut

TRICKY = [{"a": '}"]{'}, {"b": [1, {"c": "\\"}], "d": '\\\\"'}, {}, {"e": "世界 \u2028"}]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(['"', "\\", '\\"', "[{", "}]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)
objects = st.lists(st.dictionaries(st.text(max_size=4), values, max_size=3), max_size=4)


def pieces(chunks: Iterable[bytes]) -> list[bytes]:
    framer = ArrayFramer()
    found = []
    for chunk in chunks:
        framer.push(chunk)
        while (piece := framer.next()) is not None:
            found.append(piece)
    return [*found, framer.rest()]


def elements(chunks: Iterable[bytes]) -> list[Any]:
    read = [framed.data for framed in map(ArrayFramer.event, pieces(chunks))]
    return [json.loads(data) for data in read if data is not None]


@given(objects, st.sampled_from([None, 1]), st.lists(st.integers(0, 400), max_size=12))
def test_the_elements_come_one_by_one_however_they_are_cut(
    sent: list[dict[str, Any]], indent: int | None, at: list[int]
) -> None:
    body = json.dumps(sent, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")

    assert elements(cut(body, at)) == sent
    assert pieces(cut(body, at)) == pieces([body])


@given(
    st.binary(max_size=200) | st.text(alphabet='[]{}",\\ \na', max_size=80).map(str.encode), st.lists(st.integers(0))
)
def test_the_pieces_of_any_bytes_joined_are_these_bytes(data: bytes, at: list[int]) -> None:
    whole = pieces([data])

    assert b"".join(whole) == data
    assert pieces(cut(data, at)) == whole
    assert pieces(bytewise(data)) == whole


def test_brackets_and_quotes_in_strings_are_text() -> None:
    body = json.dumps(TRICKY, indent=2).replace("\n", "\r\n").encode()

    assert elements(bytewise(body)) == TRICKY


def test_an_element_is_handed_out_before_the_array_ends() -> None:
    framer = ArrayFramer()

    framer.push(b'[{"a":1}\n,\r\n{"b":')

    assert framer.next() == b'[{"a":1}'
    assert framer.next() is None
    assert framer.pending() == b'\n,\r\n{"b":'
    assert framer.pending(5) == b'"b":'
    assert framer.pending_count == 9


def test_what_was_handed_out_is_not_kept() -> None:
    framer = ArrayFramer()
    most_pending_count = 0
    framer.push(b"[")

    for number in range(2000):
        framer.push(b'{"text":"%d"}\n,' % number)
        while framer.next() is not None:
            pass
        most_pending_count = max(most_pending_count, framer.pending_count, len(framer._buffer))

    assert most_pending_count < 100


def test_a_million_brackets_are_counted_in_runs() -> None:
    framer = ArrayFramer()

    framer.push(b"[" * 10**6 + b"]" * (10**6 - 2))

    assert framer.next() is None
    framer.push(b"]]")
    assert framer.next() == b"[" * 10**6 + b"]" * (10**6 - 1)
    assert framer.next() == b"]"


def test_a_long_string_is_read_once() -> None:
    framer = ArrayFramer()
    framer.push(b'[{"text":"')

    for _ in range(1000):
        framer.push(b"\\n" * 100)
        assert framer.next() is None
        assert framer._scanned == framer.pending_count
    framer.push(b'"}]')

    assert framer.next() == b'[{"text":"' + b"\\n" * 100_000 + b'"}'


@pytest.mark.parametrize("body", [b'{"error":{"code":429}}', b'  {\n "error": {\n "code": 429\n }\n}\n'])
def test_a_lone_object_is_an_element(body: bytes) -> None:
    assert elements(bytewise(body)) == [{"error": {"code": 429}}]


def test_an_object_behind_the_array_is_an_element_too() -> None:
    assert elements(bytewise(b'[{"a":1}]\n{"error":1}')) == [{"a": 1}, {"error": 1}]


def test_only_objects_have_data() -> None:
    assert elements([b'[1,"{",null,[{"a":1}],true]']) == []
    assert Element(b"\n]").data is None


def test_the_data_of_an_element_has_its_place_in_the_raw_one() -> None:
    element = Element(b'\n,\r\n{"a":1}\n')

    assert element.data == b'{"a":1}'
    assert element.raw_offset(6) == 10
    assert element.insert([(6, b',"b":2'), (7, b" ")]) == b'\n,\r\n{"a":1,"b":2} \n'


def test_the_example_array_has_its_two_elements() -> None:
    found = elements(bytewise(payload("gemini_stream_json_array.json")))

    assert [each["usageMetadata"]["candidatesTokenCount"] for each in found] == [1, 85]
