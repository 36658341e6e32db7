"""Watching a stream: every byte goes on, at once, and the footprint goes into the event that ends it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.dialects.kit.sse import Event
from headwater.records import Usage
from tests.dialects import streams
from tests.dialects.streams import (
    ADDITION,
    DONE,
    FOOTPRINT,
    STREAMS,
    TIMINGS,
    bytewise,
    cut,
    delta,
    event,
    eventwise,
    run,
    usage_event,
)

FOLDED = json.loads(FOOTPRINT)
places = st.lists(st.integers(0, 5000), max_size=12)
names = st.sampled_from(sorted(STREAMS))


def documents(sent: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a stream."""
    found = [Event(raw).data for raw in eventwise(sent)]
    return [json.loads(data) for data in found if data is not None and data.strip() not in (b"[DONE]", b"")]


def places_of_footprint(sent: bytes) -> list[tuple[int, str]]:
    """For each footprint: which object of the stream it is in, counted from the end, and where in it."""
    objects = documents(sent)
    found = []
    for index, each in enumerate(objects):
        if "footprint" in each:
            found.append((index - len(objects), "top"))
        if "footprint" in (each.get("usage") or {}):
            found.append((index - len(objects), "usage"))
    return found


@given(names, places, st.booleans(), st.sampled_from([1, 2]))
def test_any_chunking_gives_the_same_reading_and_the_same_bytes(name: str, at: list[int], asked: bool, n: int) -> None:
    body = STREAMS[name]

    assert run(cut(body, at), asked=asked, n=n) == run([body], asked=asked, n=n)


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("name", STREAMS)
def test_whole_and_bytewise_and_eventwise_are_the_same(name: str, asked: bool) -> None:
    body = STREAMS[name]

    whole = run([body], asked=asked)

    assert run(bytewise(body), asked=asked) == whole
    assert run(eventwise(body), asked=asked) == whole


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
@pytest.mark.parametrize("name", STREAMS)
def test_line_ends_of_any_kind_are_read_alike_and_kept(name: str, end: bytes) -> None:
    body = STREAMS[name].replace(b"\n", end)
    plain = run([STREAMS[name]], asked=True)

    for chunks in ([body], bytewise(body), eventwise(body)):
        seen = run(chunks, asked=True)

        assert seen.sent == plain.sent.replace(b"\n", end)
        assert (seen.usage, seen.text, seen.complete, seen.failed) == (
            plain.usage,
            plain.text,
            plain.complete,
            plain.failed,
        )


@given(st.binary(max_size=300), places, st.booleans())
def test_arbitrary_bytes_go_through_unchanged(body: bytes, at: list[int], asked: bool) -> None:
    assert run(cut(body, at), asked=asked, footprint=None).sent == body


@given(names, st.data(), st.booleans())
@settings(max_examples=200)
def test_damaged_streams_go_through_unchanged(name: str, data: st.DataObject, asked: bool) -> None:
    body = bytearray(STREAMS[name])
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=6))

    assert run(cut(bytes(body), data.draw(places)), asked=asked, footprint=None).sent == bytes(body)


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("name", STREAMS)
def test_only_the_footprint_is_added(name: str, asked: bool) -> None:
    sent = run(eventwise(STREAMS[name]), asked=asked).sent

    assert sent.replace(b',"footprint":' + FOOTPRINT, b"") == STREAMS[name]
    assert sent.count(FOOTPRINT) <= 1


@pytest.mark.parametrize(
    ("name", "asked", "place"),
    [
        ("asked", True, [(-1, "usage")]),
        ("commented", True, [(-1, "usage")]),
        ("azure", True, [(-1, "usage")]),
        ("spaced", True, [(-1, "usage")]),
        ("two_choices", True, [(-1, "usage")]),
        ("mistral", True, [(-1, "usage")]),
        ("mistral", False, [(-1, "usage")]),
        ("vllm", True, [(-1, "usage")]),
        ("not_asked", False, [(-1, "top")]),
        ("llamacpp_not_asked", False, [(-1, "top")]),
        ("groq", False, [(-1, "top")]),
        ("asked", False, [(-1, "usage")]),
        ("not_asked", True, []),
        ("error", False, []),
        ("aborted", False, []),
    ],
)
def test_the_footprint_goes_into_the_last_event_with_usage_else_into_the_finish(
    name: str, asked: bool, place: list[tuple[int, str]]
) -> None:
    assert places_of_footprint(run([STREAMS[name]], asked=asked).sent) == place


def test_of_two_choices_the_last_to_finish_carries_the_footprint() -> None:
    body = b"".join(each for each in eventwise(streams.TWO_CHOICES) if b'"usage"' not in each)

    seen = run(eventwise(body), n=2)

    assert places_of_footprint(seen.sent) == [(-1, "top")]
    assert seen.text == "ABb"
    assert seen.complete


def test_a_null_usage_said_out_of_habit_still_leaves_a_place_for_the_footprint() -> None:
    body = delta("Hi", usage=None) + delta(finish="stop", usage=None) + DONE

    assert places_of_footprint(run(eventwise(body)).sent) == [(-1, "top")]


def test_an_event_without_choices_and_with_an_empty_usage_ends_nothing() -> None:
    body = event(choices=[], usage={}) + streams.ASKED

    assert places_of_footprint(run(eventwise(body), asked=True).sent) == [(-1, "usage")]


def test_a_finish_event_that_waits_goes_on_unchanged_when_more_choices_follow() -> None:
    finish = delta(finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 1})
    body = finish + delta("more") + delta(finish="stop") + DONE

    seen = run(eventwise(body), asked=False)

    assert places_of_footprint(seen.sent) == [(-1, "top")]


def test_events_before_the_end_are_sent_the_moment_they_come() -> None:
    reader = streams.reader(asked=True)

    for chunk in eventwise(streams.ASKED)[:4]:
        assert reader.feed(chunk) == (chunk, False)
    usage, done = (reader.feed(chunk) for chunk in eventwise(streams.ASKED)[4:6])

    assert (usage, done) == ((b"", False), (b"", True))


def test_the_bytes_of_an_event_in_progress_are_sent_until_it_shows_that_it_is_the_last() -> None:
    reader = streams.reader(asked=True)
    reader.feed(delta(finish="stop") + delta("late"))
    last = usage_event()
    marker = last.index(b'"usage":{') + len(b'"usage":{')

    sent = [reader.feed(last[i : i + 1])[0] for i in range(len(last))]

    assert b"".join(sent[: marker - 1]) == last[: marker - 1]
    assert b"".join(sent[marker - 1 :]) == b""
    assert reader.release(None) == last[marker - 1 :]


def test_a_footprint_whose_place_has_gone_by_is_left_out() -> None:
    """The key is written with an escape, so that no probe can see it: only the parser does, when it is too late."""
    last = usage_event().replace(b'"usage"', b'"\\u0075sage"')
    reader = streams.reader(asked=True)
    reader.feed(delta(finish="stop") + delta("late"))

    sent = b"".join(reader.feed(byte)[0] for byte in bytewise(last))

    assert sent + reader.release(ADDITION) == last


def test_comments_behind_a_waiting_finish_event_keep_their_place() -> None:
    finish = delta(finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 1})

    sent = run(eventwise(finish + b": note\n\n" + DONE)).sent

    assert sent.endswith(b"}\n\n: note\n\n" + DONE)
    assert sent.count(FOOTPRINT) == 1


def test_a_finish_event_does_not_wait_behind_endless_comments() -> None:
    reader = streams.reader()
    finish = delta(finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 1})
    comment = b": " + b"x" * 1000 + b"\n\n"

    sent = b"".join(reader.feed(chunk)[0] for chunk in [finish, *[comment] * 6])

    assert sent == finish + comment * 6


def test_a_stream_that_ends_without_done_is_folded_at_its_end() -> None:
    body = delta("Hi") + delta(finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 1})

    seen = run(eventwise(body))

    assert seen.sent != body
    assert streams.unfolded(seen.sent) == body
    assert seen.complete
    assert seen.usage == Usage(input_tokens=1, output_tokens=1, source="upstream")


def test_a_last_event_without_its_blank_line_is_read_all_the_same() -> None:
    seen = run([streams.ASKED[: -len(DONE) - 2]], asked=True)

    assert seen.usage is not None
    assert seen.sent == streams.ASKED[: -len(DONE) - 2]


@pytest.mark.parametrize("blank", [b"", b"\n", b"\r\n"])
def test_done_without_its_blank_line_completes_a_stream(blank: bytes) -> None:
    assert run([delta("Hi") + b"data: [DONE]" + blank]).complete


def test_an_aborted_stream_is_not_complete() -> None:
    assert not run([streams.ABORTED]).complete


def test_trailing_bytes_go_through_and_change_nothing() -> None:
    tail = b"\n: bye\n\ndata: garbage\n\nnothing"

    seen, plain = run([streams.ASKED + tail], asked=True), run([streams.ASKED], asked=True)

    assert seen.sent == plain.sent + tail
    assert (seen.usage, seen.text, seen.complete) == (plain.usage, plain.text, plain.complete)


def test_bytes_fed_while_the_end_is_held_wait_behind_it() -> None:
    reader = streams.reader(asked=True)
    reader.feed(usage_event())

    assert reader.feed(DONE) == (b"", True)
    assert reader.release(None) == usage_event() + DONE
    assert reader.complete


@pytest.mark.parametrize("name", ["error"])
def test_an_error_event_makes_the_stream_failed(name: str) -> None:
    seen = run([STREAMS[name]])

    assert seen.failed
    assert not seen.complete
    assert seen.text == "Hello"


def test_an_error_that_is_null_is_no_error() -> None:
    assert not run([delta("Hi", error=None)]).failed


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("asked", Usage(input_tokens=25, output_tokens=4, cached_tokens=0, reasoning_tokens=0, source="upstream")),
        ("llamacpp_not_asked", Usage(input_tokens=237, output_tokens=35, cached_tokens=236, source="upstream")),
        ("mistral", Usage(input_tokens=6, output_tokens=2, source="upstream")),
        ("groq", Usage(input_tokens=18, output_tokens=5, source="upstream")),
        ("vllm", Usage(input_tokens=12, output_tokens=2, cached_tokens=8, source="upstream")),
        ("not_asked", None),
    ],
)
def test_usage_is_the_last_that_the_upstream_gave(name: str, usage: Usage | None) -> None:
    assert run([STREAMS[name]]).usage == usage


def test_timings_tell_how_long_the_upstream_was_busy() -> None:
    assert run([streams.LLAMACPP]).busy_s == pytest.approx((TIMINGS["prompt_ms"] + TIMINGS["predicted_ms"]) / 1000)


def test_timings_do_not_replace_a_usage_that_was_given() -> None:
    body = usage_event() + event(choices=[], timings={"prompt_n": 1, "predicted_n": 1})

    usage = run([body]).usage

    assert usage is not None
    assert usage.input_tokens == 25


@pytest.mark.parametrize("chunking", [eventwise, bytewise, lambda body: [body]])
def test_the_text_is_that_of_all_deltas(chunking: Any) -> None:
    assert run(chunking(streams.TOOLS)).text == 'get_weather{"city":"Oslo"}'
    assert run(chunking(streams.TWO_CHOICES), n=2).text == "ABb"
    assert run(chunking(streams.ASKED)).text == "Hello 世界"


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ({"reasoning_content": "why", "content": "so"}, "whyso"),
        ({"reasoning": "why", "reasoning_content": "why"}, "why"),
        ({"refusal": "no"}, "no"),
        ({"function_call": {"name": "f", "arguments": "{}"}}, "f{}"),
        ({"tool_calls": [{"custom": {"name": "g", "input": "x"}}]}, "gx"),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "ok"},
                ]
            },
            "hmok",
        ),
        ({"content": [4, {"type": "text", "text": "ok"}], "tool_calls": [5, {"function": 6}]}, "ok"),
        ({"content": 3, "tool_calls": "x", "refusal": {}}, ""),
        (["content"], ""),
        (None, ""),
    ],
)
def test_text_is_found_wherever_servers_put_it(made: Any, text: str) -> None:
    seen = run([event(choices=[{"index": 0, "delta": made}])])

    assert seen.text == text
    assert seen.events_count == (1 if text else 0)


@pytest.mark.parametrize("choices", [None, {}, "x", [1, None], [[]], 5])
def test_choices_of_a_wrong_type_are_no_choices(choices: Any) -> None:
    seen = run([event(choices=choices) + usage_event() + DONE], asked=True)

    assert seen.text == ""
    assert places_of_footprint(seen.sent) == [(-1, "usage")]


def test_an_empty_finish_reason_finishes_nothing() -> None:
    body = delta("Hi", finish="") + delta("!", finish="") + delta(finish="stop") + DONE

    assert places_of_footprint(run(eventwise(body)).sent) == [(-1, "top")]


def test_a_chunk_that_only_a_lenient_parser_reads_is_read() -> None:
    body = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"},"logprobs":NaN,"finish_reason":null}]}\n\n'

    assert run([body]).events_count == 1


def test_an_event_without_end_is_passed_on_and_no_longer_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.dialects.kit.stream._MOST_EVENT_BYTES", 1000)
    body = delta("Hi") + b"data: " + b"x" * 2000 + b"\n\n" + streams.ASKED

    for injected in (False, True):
        seen = run(cut(body, range(0, len(body), 100)), injected=injected)

        assert seen.sent == body
        assert seen.text == "Hi"


def test_release_and_close_of_a_stream_that_holds_nothing_send_nothing() -> None:
    reader = streams.reader()

    assert reader.release(ADDITION) == b""
    assert reader.close() == b""
    assert reader.close() == b""
