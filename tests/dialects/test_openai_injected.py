"""Where usage was asked for in the client's place, the client gets the stream that it would have got without it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

PAIRS = {
    "openai": (streams.ASKED, delta("", obfuscation="x1") + streams.NOT_ASKED[len(delta("")) :]),
    "llamacpp": (streams.LLAMACPP, streams.LLAMACPP_NOT_ASKED),
    "two choices": (
        streams.TWO_CHOICES,
        b"".join(each for each in eventwise(streams.TWO_CHOICES) if b'"usage"' not in each),
    ),
    "long": (
        streams.LONG,
        b"".join(
            each.replace(b',"usage":null', b"") for each in eventwise(streams.LONG) if b"prompt_tokens" not in each
        ),
    ),
    "padded": (
        streams.PADDED,
        b"".join(
            each.replace(b',"usage":null', b"") for each in eventwise(streams.PADDED) if b"prompt_tokens" not in each
        ),
    ),
    "comments": (
        streams.COMMENTED,
        b"".join(
            each.replace(b',"usage":null', b"") for each in eventwise(streams.COMMENTED) if b"prompt_tokens" not in each
        ),
    ),
    "spaced": (
        streams.SPACED,
        b"".join(
            each.replace(b', "usage": null', b"") for each in eventwise(streams.SPACED) if b"prompt_tokens" not in each
        ),
    ),
    "usage first": (
        b'data: {"usage": null , "choices":[{"delta":{"content":"a"}}]}\n\n' * 3 + usage_event() + DONE,
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' * 3 + DONE,
    ),
    "usage alone": (b'data: { "usage":null }\n\n' + DONE, b"data: {  }\n\n" + DONE),
    "running usage": (
        delta("a", usage=streams.USAGE) + delta(finish="stop", usage=streams.USAGE) + usage_event() + DONE,
        delta("a") + delta(finish="stop") + DONE,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_client_gets_the_stream_of_a_client_that_did_not_ask(name: str) -> None:
    with_usage, without = PAIRS[name]
    n = 2 if name == "two choices" else 1

    for chunks in ([with_usage], bytewise(with_usage), eventwise(with_usage)):
        seen = run(chunks, injected=True, n=n, footprint=None)

        assert seen.sent == without
        folded = run(chunks, injected=True, n=n).sent
        assert folded.replace(b',"footprint":' + FOOTPRINT, b"") == without


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
@pytest.mark.parametrize("name", PAIRS)
def test_so_it_does_with_line_ends_of_any_kind(name: str, end: bytes) -> None:
    with_usage, without = (body.replace(b"\n", end) for body in PAIRS[name])
    n = 2 if name == "two choices" else 1

    for chunks in ([with_usage], bytewise(with_usage), eventwise(with_usage)):
        assert run(chunks, injected=True, n=n, footprint=None).sent == without


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 5000), max_size=12), st.sampled_from([1, 2]))
def test_any_chunking_gives_the_same_reading_and_the_same_bytes(name: str, at: list[int], n: int) -> None:
    body = STREAMS[name]

    assert run(cut(body, at), injected=True, n=n) == run([body], injected=True, n=n)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_bytes_that_are_no_events_go_through(body: bytes, at: list[int]) -> None:
    assert run(cut(body, at), injected=True, footprint=None).sent == body


def test_usage_that_a_server_sends_unasked_in_its_last_finish_event_stays() -> None:
    body = delta("Hi") + delta(finish="stop", usage=streams.USAGE) + DONE

    for chunks in ([body], bytewise(body), eventwise(body)):
        assert run(chunks, injected=True, footprint=None).sent == body
        folded = run(chunks, injected=True)
        assert folded.sent == run(chunks, asked=True).sent
        assert folded.sent.count(b'"footprint":' + FOOTPRINT) == 1


def test_usage_of_a_finish_event_behind_which_more_comes_is_running_usage() -> None:
    first, last = (delta(finish="stop", index=index, usage=streams.USAGE) for index in (0, 1))
    plain = delta(finish="stop", index=0) + delta("b", index=1)

    seen = run(eventwise(first + delta("b", index=1) + last + DONE), injected=True, n=2, footprint=None)

    assert seen.sent == plain + last + DONE


def test_usage_in_one_of_two_finish_events_stays_in_the_last_one_only() -> None:
    with_usage = [delta(finish="stop", index=index, usage=streams.USAGE) for index in (0, 1)]
    without = [delta(finish="stop", index=index) for index in (0, 1)]

    for first, last, expected in (
        (with_usage[0], without[1], without[0] + without[1]),
        (without[0], with_usage[1], without[0] + with_usage[1]),
    ):
        assert run(eventwise(first + last + DONE), injected=True, n=2, footprint=None).sent == expected + DONE


@pytest.mark.parametrize("name", ["asked", "llamacpp", "groq", "vllm", "azure", "tools", "commented", "long"])
def test_the_footprint_goes_to_the_top_level_of_the_finish_event(name: str) -> None:
    seen = run(eventwise(STREAMS[name]), injected=True)

    objects = [json.loads(each[6:]) for each in eventwise(seen.sent) if each.startswith(b"data: {")]
    assert [index - len(objects) for index, each in enumerate(objects) if "footprint" in each] == [-1]
    assert objects[-1]["choices"][0]["finish_reason"]
    assert all("usage" not in each for each in objects)
    assert seen.usage is not None
    assert seen.held_count == 1


def test_members_that_came_with_the_usage_move_to_the_finish_event() -> None:
    sent = run(eventwise(streams.LLAMACPP), injected=True).sent

    finish = json.loads(sent.split(b"\n\n")[-3][6:])
    assert finish["timings"] == TIMINGS
    assert list(finish)[-2:] == ["timings", "footprint"]


def test_members_that_the_finish_event_has_are_not_said_twice() -> None:
    body = delta(finish="stop", timings={"own": 1}) + usage_event(timings=TIMINGS) + DONE

    assert run([body], injected=True, footprint=None).sent == delta(finish="stop", timings={"own": 1}) + DONE


def test_the_finish_event_waits_for_the_next_word_on_the_end_and_no_longer() -> None:
    reader = streams.reader(injected=True)
    finish = delta(finish="stop")

    assert reader.feed(finish) == (b"", False)
    assert reader.feed(event(choices=[], moderation={})) == (b"", False)
    assert reader.feed(delta("more")) == (finish + event(choices=[], moderation={}) + delta("more"), False)


def test_an_upstream_that_ignores_the_question_still_gets_its_footprint() -> None:
    reader = streams.reader(injected=True)
    reader.feed(delta("Hi") + delta(finish="stop"))

    assert reader.feed(DONE) == (b"", True)
    assert reader.release(ADDITION).endswith(b'"footprint":' + FOOTPRINT + b"}\n\n" + DONE)


def test_a_usage_event_without_a_finish_event_is_taken_out_all_the_same() -> None:
    seen = run(eventwise(delta("Hi") + usage_event() + DONE), injected=True)

    assert seen.sent == delta("Hi") + DONE
    assert seen.usage is not None


def test_a_finish_event_that_the_stream_ends_behind_is_let_go() -> None:
    assert streams.unfolded(run([delta(finish="stop")], injected=True).sent) == delta(finish="stop")
    assert run([delta(finish="stop")], injected=True, footprint=None).sent == delta(finish="stop")


def test_half_an_event_at_the_end_goes_through_as_it_is() -> None:
    half = delta("Hi", usage=None)[:-20]

    assert run([delta("a") + half], injected=True).sent == delta("a") + half


def test_an_error_event_goes_through_behind_the_finish_event() -> None:
    error = b'data: {"error":{"message":"x"}}\n\n'

    seen = run([delta(finish="stop") + error], injected=True)

    assert seen.sent == delta(finish="stop") + error
    assert seen.failed


def test_a_usage_inside_other_members_or_in_text_stays() -> None:
    body = delta('"usage":null', usage=None, other={"usage": None}) + DONE

    assert run([body], injected=True).sent == delta('"usage":null', other={"usage": None}) + DONE


def test_a_finish_event_in_data_lines_of_its_own_is_still_folded() -> None:
    body = (
        b'data: {"choices":[{"finish_reason":\ndata: "stop"}],\ndata: "usage":\ndata: null}\n\n' + usage_event() + DONE
    )

    sent = run([body], injected=True).sent

    found = json.loads(b"\n".join(line[6:] for line in sent.split(b"\n\n")[0].split(b"\n")))
    assert found["choices"] == [{"finish_reason": "stop"}]
    assert found["footprint"] == json.loads(FOOTPRINT)
    assert "usage" not in found


def test_a_finish_event_that_no_strict_parser_reads_is_let_go_unchanged() -> None:
    finish = b'data: {"choices":[{"finish_reason":"stop","logprobs":NaN}]}\n\n'

    assert run([finish + usage_event() + DONE], injected=True).sent == finish + DONE
