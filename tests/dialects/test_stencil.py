"""An ordinary chunk known by its bytes is one that the decoder would have called ordinary, and means the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.dialects import anthropic, find, openai_stream
from headwater.dialects.kit import stencil as stencils_module
from headwater.dialects.kit.sse import Event
from headwater.dialects.kit.stencil import Stencil, Stencils
from headwater.dialects.kit.texts import Texts
from headwater.dialects.openai_shapes import Chunk, Shape, StreamChoice
from headwater.records import ChatRequest
from tests.dialects import streams
from tests.dialects.streams import DONE, bytewise, delta, event, eventwise, feed, run, tool_delta, usage_event

ORDERS = [
    lambda text: delta(text, usage=None),
    lambda text: delta(text, obfuscation="abc"),
    lambda text: delta(text, index=1),
    lambda text: tool_delta(arguments=text),
    lambda text: event(choices=[{"index": 0, "delta": {"reasoning_content": text, "content": None}}]),
    lambda text: (
        b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":' + escaped(text) + b'}}],"id":"x"}\n\n'
    ),
    lambda text: (
        b'data:{"choices": [{"delta": {"role": "assistant", "content": ' + escaped(text) + b'}, "index": 0}]}\r\n\r\n'
    ),
]
HARD_TEXTS = [
    '"finish_reason":"stop"',
    '"usage":{',
    'x","finish_reason":"stop","y":"',
    "\\",
    '\\"',
    "\n\ndata: [DONE]\n\n",
    "\r",
    "世界",
    "headwater-hole",
    "",
    "a" * 300,
]
texts = st.sampled_from(HARD_TEXTS) | st.text(max_size=12)


def escaped(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()


def learned(raw: bytes) -> Stencil | None:
    return stencils_module.cut(raw, Event(raw).data or b"", openai_stream._TEXT_START, openai_stream._lesson)


@pytest.mark.parametrize("make", ORDERS)
def test_every_usual_order_of_members_has_a_stencil(make: Any) -> None:
    stencil = learned(make("one"))

    assert stencil is not None
    assert stencil.text(make("two")) == b"two"
    assert stencil.text(make('a "quoted" \\ word\n')) == escaped('a "quoted" \\ word\n')[1:-1]


@pytest.mark.parametrize("make", ORDERS)
@given(texts)
def test_what_fits_a_stencil_is_the_same_event_with_another_text(make: Any, text: str) -> None:
    stencil = learned(make("one"))
    assert stencil is not None

    found = stencil.text(make(text))

    assert found == (escaped(text)[1:-1] or None)


@given(st.binary(max_size=30), st.integers(0, 400), st.integers(0, 20))
@settings(max_examples=400)
def test_damaged_events_that_fit_are_still_the_same_event(junk: bytes, at: int, width: int) -> None:
    raw = delta("one", usage=None)
    stencil = learned(raw)
    assert stencil is not None
    damaged = raw[:at] + junk + raw[at + width :]

    text = stencil.text(damaged)

    if text is not None:
        assert damaged == stencil.head + text + stencil.tail
        assert b"\n" not in text
        assert b"\r" not in text


@pytest.mark.parametrize(
    "other",
    [
        delta("two", finish="stop"),
        delta("two", usage={"prompt_tokens": 1}),
        delta("two", index=1),
        delta("two") + delta("three"),
        delta("two", error={"message": "x"}),
        delta("two")[:-1],
        delta("two")[:-8],
        b"\n" + delta("two"),
        delta("two\x00").replace(b"\\u0000", b"\n\ndata: [DONE]\n\n"),
        delta("two\x00").replace(b"\\u0000", b"\r\rdata: [DONE]\r\r"),
        delta("two\x00").replace(b"\\u0000", b'","finish_reason":"stop","x":"'),
        delta("two\x00").replace(b"\\u0000", b"\\"),
        delta(None),
        DONE,
        b"",
    ],
)
def test_whatever_is_not_that_event_does_not_fit(other: bytes) -> None:
    stencil = learned(delta("one"))
    assert stencil is not None

    assert stencil.text(other) is None


@pytest.mark.parametrize(
    "body",
    [
        delta("Hi").replace(b'"Hi"', b'"Hi\n\ndata: [DONE]\n\n"'),
        delta("Hi").replace(b'"Hi"', b'"Hi\r\rdata: [DONE]\r\r"'),
        delta("two\x00").replace(b"\\u0000", b"\\"),
        delta("two\x00").replace(b"\\u0000", b'","x":"'),
    ],
)
def test_the_shortcut_misjudges_no_more_than_the_stencil(body: bytes) -> None:
    lead = delta("one") + delta("two")

    seen = run([delta("one"), delta("two"), body])

    assert seen.complete == run(bytewise(lead + body)).complete
    assert seen.sent == lead + body


@given(st.lists(texts, max_size=30), st.booleans(), st.booleans())
def test_a_stream_of_any_texts_is_read_alike_with_and_without_stencils(
    words: list[str], injected: bool, padded: bool
) -> None:
    extra: dict[str, Any] = {"obfuscation": "ab"} if padded else {}
    body = b"".join(delta(word, usage=None, **extra) for word in words)
    body += delta(finish="stop", usage=None) + usage_event() + DONE

    fast = run(eventwise(body), asked=not injected, injected=injected)

    assert fast == run(bytewise(body), asked=not injected, injected=injected)
    assert fast.text == "".join(words)
    assert fast.events_count == sum(map(bool, words))


@pytest.mark.parametrize(
    "raw",
    [
        b": comment\n\n",
        delta("headwater-hole"),
        delta(None),
        event(choices=[{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]),
        event(choices=[{"index": 0, "delta": {"content": "a", "refusal": "b"}}]),
        event(choices=[{"index": "x", "delta": {"content": "a"}}]),
        event(content="decoy"),
        b"data: not json\n\n",
        b'data: {"content":"\n\n',
        b'data: {"choices":[{"delta":{"content":"a"}}],\ndata: "id":1}\n\n',
        delta("a", nested={"obfuscation": "x"}),
    ],
)
def test_an_event_without_one_simple_hole_has_no_stencil(raw: bytes) -> None:
    assert learned(raw) is None


def test_a_decoy_before_the_text_is_passed_over() -> None:
    raw = event(note={"content": "decoy"}, choices=[{"index": 0, "delta": {"content": "a"}}])

    stencil = learned(raw)

    assert stencil is not None
    assert stencil.text(raw.replace(b'"a"', b'"b"')) == b"b"
    assert stencil.text(raw.replace(b"decoy", b"other")) is None


def test_padding_may_have_any_length_but_no_escapes() -> None:
    stencil = learned(delta("a", obfuscation="abc"))

    assert stencil is not None
    assert stencil.text(delta("b", obfuscation="")) == b"b"
    assert stencil.text(delta("b", obfuscation="x" * 40)) == b"b"
    assert stencil.text(delta("b", obfuscation='x"y')) is None
    assert stencil.text(delta("b", obfuscation="x\\")) is None
    assert stencil.text(delta("b", obfuscation="x")[:-4]) is None


def test_lessons_become_rare_where_they_do_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    lessons: list[bytes] = []

    def no_hole(raw: bytes, *_others: object) -> None:
        lessons.append(raw)

    monkeypatch.setattr(stencils_module, "cut", no_hole)
    stencils = Stencils(openai_stream._TEXT_START, openai_stream._lesson)

    for _ in range(1000):
        stencils.learn(delta("a"), Event(delta("a")).data or b"")

    assert 16 < len(lessons) < 60
    assert stencils.latest is None


@pytest.mark.parametrize("injected", [False, True])
def test_ordinary_chunks_are_not_decoded_one_by_one(injected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    class Counting(Shape[Chunk]):
        def read(self, text: bytes) -> Chunk | None:
            decoded.append(text)
            return super().read(text)

    monkeypatch.setattr("headwater.dialects.openai_stream._chunks", Counting(Chunk, StreamChoice))
    body = b"".join(delta(f'w{i} "', usage=None, obfuscation="x" * (i % 5)) for i in range(500))

    seen = run(eventwise(body), asked=not injected, injected=injected)

    assert seen.events_count == 500
    assert len(decoded) <= 3


def test_two_choices_in_turn_are_both_known() -> None:
    body = b"".join(delta(f"w{i}", index=i % 2) for i in range(20))

    seen = run(eventwise(body), n=2)

    assert seen.text == "".join(f"w{i}" for i in range(0, 20, 2)) + "".join(f"w{i}" for i in range(1, 20, 2))


def test_kept_text_is_joined_before_it_takes_much_more_memory_than_itself() -> None:
    reader = streams.reader(asked=True)
    words = [f"w{i} " for i in range(10_000)]

    for word in words:
        assert (reader.skim is not None and reader.skim(delta(word))) or reader.feed(delta(word)) == (
            delta(word),
            False,
        )

    assert reader.output_text() == "".join(words)
    assert reader.events_count == len(words)
    assert len(reader._texts._of(0)) < 5000


def test_raw_text_that_is_no_valid_json_string_is_read_as_far_as_it_is_utf8() -> None:
    kept = Texts()
    for part in (b"a\\u00e9", b"\\ud83d", b"\\x", "b"):
        kept.keep(0, part)

    assert kept.joined() == "a\\u00e9\\ud83d\\xb"


def test_an_escape_pair_that_came_in_two_chunks_is_one_character() -> None:
    kept = Texts()
    kept.keep(0, b"\\ud83d")
    kept.keep(0, b"\\ude00")

    assert kept.joined() == "😀"


def padded(text: str, blanks_count: int) -> bytes:
    """An event of Anthropic's own servers."""
    raw = json.dumps({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
    return b"event: content_block_delta\ndata: " + raw[:-1].encode() + b" " * blanks_count + b"}\n\n"


@given(st.lists(st.tuples(texts, st.integers(0, 30)), min_size=3, max_size=20))
def test_blanks_before_the_last_brace_are_known_and_kept(words: list[tuple[str, int]]) -> None:
    dialect = find("POST", "/v1/messages")
    assert dialect is not None
    chunks = [padded(*word) for word in words]
    readers = [dialect.stream_reader(ChatRequest(model="m"), b"text/event-stream") for _ in range(2)]
    assert readers[0] is not None
    assert readers[1] is not None

    eventwise_seen, bytewise_seen = feed(readers[0], chunks), feed(readers[1], bytewise(b"".join(chunks)))

    assert eventwise_seen == bytewise_seen
    assert eventwise_seen.sent == b"".join(chunks)
    assert eventwise_seen.text == "".join(text for text, _ in words)


def test_padded_events_are_not_decoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stencil = Stencils(anthropic._TEXT_START, anthropic._lesson, padded=True)
    event = Event(padded("one", 3))
    stencil.learn(event.raw, event.data or b"")
    known = stencil.latest

    assert known is not None
    assert [known.text(padded("two", count)) for count in (0, 1, 17)] == [b"two"] * 3
    assert known.text(padded("two", 1).replace(b" }", b"\t}")) is None
    assert known.text(padded("two", 1)[:-1]) is None
