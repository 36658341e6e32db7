"""Members of JSON text are found where a parser finds them, and nothing but the edit changes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects.kit import splice

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1000, 1000)
    | st.sampled_from(['"usage":{', "x", '{"usage":1}', "\\", "é\u2028"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["usage", "a", 'b"']), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["usage", "a", "choices"]), json_values), st.sampled_from([None, 1]))
def test_a_member_is_found_exactly_where_the_parser_sees_it(document: dict[str, object], indent: int | None) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=False).encode()

    found = splice.find(text, "usage")

    if text.count(b'"usage"') <= splice.MOST_CANDIDATES:  # beyond, nothing may be found, but nothing wrong either
        assert (found is not None) == ("usage" in document)
    if found is not None:
        key_start, start, end = found
        assert json.loads(text[start:end]) == document["usage"]
        low, high = splice.span_with_comma(text, key_start, end)
        rest = {name: value for name, value in document.items() if name != "usage"}
        assert json.loads(text[:low] + text[high:]) == rest


@given(st.dictionaries(st.sampled_from(["a", "b"]), json_values), st.sampled_from([None, 2]))
def test_a_member_put_at_the_end_is_one_member_more(document: dict[str, object], indent: int | None) -> None:
    text = json.dumps(document, indent=indent).encode() + b" \n"

    place = splice.end_of_object(text)

    assert place is not None
    at, comma = place
    assert json.loads(text[:at] + comma + b'"new":1' + text[at:]) == {**document, "new": 1}


def test_the_last_of_two_equal_names_is_meant_as_parsers_mean_it() -> None:
    text = b'{"usage":1,"usage":2}'

    assert splice.find(text, "usage") == (11, 19, 20)


@pytest.mark.parametrize("text", [b"", b"[1]", b'{"a":', b"nonsense", b'{"usage":1', b"[" * 100_000])
def test_what_is_no_object_has_no_members_and_no_place(text: bytes) -> None:
    assert splice.members(text) is None
    assert splice.find(text, "usage") is None


def test_a_value_that_reads_like_the_name_is_not_the_member() -> None:
    assert splice.find(b'{"usage":1,"a":"usage"}', "usage") == (1, 9, 10)


def test_there_is_no_end_in_a_text_that_closes_no_object() -> None:
    assert splice.end_of_object(b"[1]") is None


def test_members_keep_the_exact_bytes_of_their_values() -> None:
    assert splice.members(b'{"a": 1.50 , "b":{ "c":"\\u0041" }}') == {"a": b"1.50", "b": b'{ "c":"\\u0041" }'}
