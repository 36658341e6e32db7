"""No bytes that an upstream or a client can send make a reader fail, grow or change what passes."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects import DIALECTS
from tests.fuzz.cases import check_reply, check_request, check_stream, dialect_of, reader_of
from tests.fuzz.mutate import cut, mutated
from tests.fuzz.seeds import SEEDS

names = st.sampled_from(sorted(SEEDS))
rounds = st.integers(0, 2**32)
_MIB = 1 << 20


def test_every_dialect_has_its_seeds() -> None:
    assert {dialect.name for dialect in DIALECTS} == {name.partition(":")[0] for name in SEEDS}
    assert all(dialect_of(seed).name == name.partition(":")[0] for name, seed in SEEDS.items())


@given(names, st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    check_request(name, data)
    check_reply(name, data)
    check_stream(name, [data])


@given(names, rounds)
def test_damaged_replies_and_streams_pass_as_they_are(name: str, number: int) -> None:
    random, seed = Random(number), SEEDS[name]
    check_request(name, mutated(seed.request, random))
    check_reply(name, mutated(random.choice(seed.replies), random))
    if seed.streams:
        body = mutated(random.choice(seed.streams), random)
        check_stream(name, cut(body, random))
        check_stream(name, cut(body, random), injected=True)


@given(
    names, st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=20)
)
def test_any_json_in_place_of_any_member_is_read(name: str, value: object) -> None:
    for body in SEEDS[name].replies:
        document = json.loads(body)
        for member in document:
            check_reply(name, json.dumps({**document, member: value}).encode())
            for inner in document[member] if isinstance(document[member], dict) else ():
                nested = {**document[member], inner: value}
                check_reply(name, json.dumps({**document, member: nested}).encode())


def _made() -> Iterator[tuple[str, bytes]]:
    yield "a string of 10 MB", b'{"choices":[{"delta":{"content":"' + b"x" * (10 * _MIB) + b'"}}]}'
    yield "depth 10,000", b'{"usage":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}"
    yield "lists 10,000 deep", b'{"usage":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    yield "never closed", b'{"usage":{' * 10_000
    yield "one key many times", b"{" + b'"usage":{"prompt_tokens":1},' * 20_000 + b'"usage":{"prompt_tokens":2}}'
    yield "a number of 100,000 digits", b'{"usage":{"prompt_tokens":' + b"9" * 100_000 + b',"completion_tokens":1}}'
    yield "a million escapes", b'{"usage":"' + b'\\"usage\\":{' * 100_000 + b'"}'
    yield (
        "half surrogates",
        b'{"choices":[{"message":{"content":"\\ud800\\udc00\\udfff"}}],"usage":{"prompt_tokens":NaN}}',
    )
    yield "only white space", b" \t\n" * 100_000


_MONSTERS = dict(_made())


@pytest.mark.parametrize("name", sorted(SEEDS))
@pytest.mark.parametrize("what", _MONSTERS)
def test_monsters_are_passed_on(name: str, what: str) -> None:
    body = _MONSTERS[what]

    check_request(name, body)
    check_reply(name, body)
    check_stream(name, [b"data: " + body + b"\n\n"])
    check_stream(name, [b"data: ", body[: len(body) // 2], body[len(body) // 2 :], b"\n\n"])


@pytest.mark.parametrize("name", sorted(name for name, seed in SEEDS.items() if seed.streams))
def test_an_event_that_never_ends_does_not_grow_without_bound(name: str) -> None:
    reader = reader_of(name, SEEDS[name].content_type)
    assert reader is not None
    piece = b"x" * _MIB
    reader.feed(b'data: {"a":"')
    tracemalloc.start()

    for _ in range(64):
        assert reader.feed(piece) == (piece, False)
    kept_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert kept_bytes < 40 * _MIB
    assert reader.close() == b""
