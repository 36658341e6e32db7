"""Anthropic Messages: cumulative usage, caches beside the input, thinking, tools, compaction, and streams that break off."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects import find
from headwater.dialects.anthropic import Anthropic, usage_of
from headwater.errors import DialectError
from headwater.records import ChatRequest, Picture, Target, Tool, Usage
from tests.dialects.payloads import payload
from tests.dialects.streams import ADDITION, FOOTPRINT, Seen, bytewise, feed, unfolded

ANTHROPIC = Anthropic()
TARGET = Target(method="POST", path="/v1/messages")
ASKED = ChatRequest(model="claude", stream=True)


def event(kind: str, **members: Any) -> bytes:
    """One event, as Anthropic sends it."""
    text = json.dumps({"type": kind, **members}, separators=(",", ":"), ensure_ascii=False)
    return f"event: {kind}\ndata: {text}\n\n".encode()


def delta(index: int = 0, **members: str) -> bytes:
    return event("content_block_delta", index=index, delta=members)


START = event(
    "message_start",
    message={"id": "m", "usage": {"input_tokens": 25, "cache_read_input_tokens": 1000, "output_tokens": 1}},
)
WORDS = [delta(type="text_delta", text=word) for word in ("Hel", "lo", ' "世界"', "\n", " you")]
THOUGHTS = [delta(type="thinking_delta", thinking="Let me see"), delta(type="signature_delta", signature="EqQB")]
TOOL = event("content_block_start", index=1, content_block={"type": "tool_use", "id": "t", "name": "get_weather"})
TOOL += delta(1, type="input_json_delta", partial_json='{"city":"Oslo"}')
END = event(
    "message_delta",
    delta={"stop_reason": "end_turn"},
    usage={"output_tokens": 42, "input_tokens": None, "output_tokens_details": {"thinking_tokens": 20}},
)
STOP = event("message_stop")
STREAM = START + b"".join(THOUGHTS + WORDS) + TOOL + event("ping") + END + STOP
STREAMS = {
    "whole": STREAM,
    "two_deltas": START + WORDS[0] + event("message_delta", delta={}, usage={"output_tokens": 3}) + END + STOP,
    "no_usage": START + WORDS[0] + event("message_delta", delta={"stop_reason": "end_turn"}) + STOP,
    "aborted": START + b"".join(WORDS),
    "error": START + WORDS[0] + event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
    "cut_before_stop": START + WORDS[0] + END,
    "long": START + b"".join(delta(type="text_delta", text=f"w{n} ") for n in range(60)) + END + STOP,
}


def run(chunks: Iterable[bytes], *, footprint: bytes | None = FOOTPRINT) -> Seen:
    reader = ANTHROPIC.stream_reader(ASKED, b"text/event-stream")
    assert reader is not None
    return feed(reader, chunks, footprint=footprint)


def test_the_footprint_goes_into_the_usage_of_the_last_delta() -> None:
    seen = run([STREAM])

    assert seen.sent == STREAM.replace(
        b'"thinking_tokens":20}}', b'"thinking_tokens":20},"footprint":' + FOOTPRINT + b"}"
    )
    assert (seen.held_count, seen.complete, seen.failed) == (1, True, False)
    assert seen.text == 'Let me seeHello "世界"\n youget_weather{"city":"Oslo"}'


def test_usage_is_cumulative_and_caches_are_inside_the_input() -> None:
    assert run([STREAM]).usage == Usage(
        input_tokens=1025, output_tokens=42, cached_tokens=1000, reasoning_tokens=20, source="upstream"
    )


@pytest.mark.parametrize(
    ("start", "deltas", "expected"),
    [
        ({"input_tokens": 3602}, [{"cache_read_input_tokens": 3604}], (3604, 3604)),  # Qwen
        ({"input_tokens": 3602}, [{"cache_read_input_tokens": 3000}] * 2, (3602, 3000)),
        ({"input_tokens": 8834}, [{"input_tokens": 18, "cache_read_input_tokens": 8831}], (8849, 8831)),  # Qwen
        ({"input_tokens": 8834}, [{"input_tokens": 0, "cache_read_input_tokens": 8831}], (8831, 8831)),
        (
            {"input_tokens": 173306, "cache_read_input_tokens": 0},
            [{"input_tokens": 250, "cache_read_input_tokens": 173056, "prompt_tokens": 173306}],
            (173306, 173056),
        ),  # Kimi
        ({"input_tokens": 30, "cache_read_input_tokens": 0}, [{"cache_read_input_tokens": 20}], (50, 20)),
        ({"input_tokens": 15}, [{"input_tokens": 0}], (15, None)),  # a gateway of Envoy's
        ({"input_tokens": 0}, [{"input_tokens": 14}], (14, None)),  # Zhipu, SGLang
        ({"input_tokens": 10}, [{"input_tokens": 900}], (900, None)),  # a search of the web adds to the input
        ({}, [{"input_tokens": 0}], (0, None)),
    ],
)
def test_the_end_may_tell_the_prompts_split_anew(
    start: dict[str, int], deltas: list[dict[str, int]], expected: tuple[int, int | None]
) -> None:
    ends = [event("message_delta", delta={}, usage={**said, "output_tokens": 9}) for said in deltas]

    seen = run([event("message_start", message={"usage": start}), WORDS[0], *ends, STOP])

    assert seen.usage is not None
    assert (seen.usage.input_tokens, seen.usage.cached_tokens) == expected


def test_an_aborted_stream_knows_its_input_and_leaves_its_output_to_be_counted() -> None:
    seen = run([STREAMS["aborted"]])

    assert seen.usage == Usage(input_tokens=1025, output_tokens=None, cached_tokens=1000, source="upstream")
    assert (seen.complete, seen.failed) == (False, False)


def test_only_message_stop_completes_a_stream() -> None:
    cut_off = run([STREAMS["cut_before_stop"]])

    assert not cut_off.complete
    assert cut_off.sent == STREAMS["cut_before_stop"]
    assert cut_off.usage is not None
    assert cut_off.usage.output_tokens == 42


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 3, "output_tokens": 2}, Usage(input_tokens=3, output_tokens=2, source="upstream")),
        (
            {
                "input_tokens": 3,
                "cache_creation_input_tokens": 10,
                "cache_read_input_tokens": 0,
                "output_tokens": 2,
            },
            Usage(input_tokens=13, output_tokens=2, cached_tokens=0, cache_write_tokens=10, source="upstream"),
        ),
        (
            {
                "input_tokens": 30000,
                "output_tokens": 900,
                "iterations": [
                    {"type": "compaction", "input_tokens": 180000, "output_tokens": 3500},
                    {"type": "message", "input_tokens": 30000, "output_tokens": 900},
                ],
            },
            Usage(input_tokens=210000, output_tokens=4400, source="upstream"),
        ),
        (  # an advisor: another model, whose tokens the top level leaves out
            {
                "input_tokens": 2390,
                "output_tokens": 121,
                "output_tokens_details": {"thinking_tokens": 28},
                "iterations": [
                    {"type": "message", "input_tokens": 1128, "output_tokens": 110},
                    {"type": "advisor_message", "model": "m", "input_tokens": 2518, "output_tokens": 22},
                    {"type": "message", "input_tokens": 1262, "output_tokens": 11},
                ],
            },
            Usage(input_tokens=4908, output_tokens=143, reasoning_tokens=28, source="upstream"),
        ),
        (  # a fallback: the top level has the attempt that served, and no other
            {
                "input_tokens": 412,
                "output_tokens": 264,
                "cache_read_input_tokens": 96,
                "cache_creation_input_tokens": 31,
                "iterations": [
                    {"type": "message", "input_tokens": 535, "output_tokens": 0},
                    {
                        "type": "fallback_message",
                        "input_tokens": 412,
                        "output_tokens": 264,
                        "cache_read_input_tokens": 96,
                        "cache_creation_input_tokens": 31,
                    },
                ],
            },
            Usage(input_tokens=1074, output_tokens=264, cached_tokens=96, cache_write_tokens=31, source="upstream"),
        ),
        (  # iterations that say nothing
            {"input_tokens": 34, "output_tokens": 3, "iterations": [{"type": "message", "model": "m"}]},
            Usage(input_tokens=34, output_tokens=3, source="upstream"),
        ),
        (
            {"input_tokens": 3, "iterations": [{"type": ["compaction"], "input_tokens": 9}]},
            Usage(input_tokens=9, output_tokens=None, source="upstream"),
        ),
        ({"input_tokens": True, "output_tokens": "7"}, None),
        ({}, None),
    ],
)
def test_the_counts_of_a_reply(usage: dict[str, Any], expected: Usage | None) -> None:
    assert usage_of(usage) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("anthropic_stream.sse", (1025, 42, 1000, 20)),
        ("anthropic_stream_old_delta.sse", (1025, 15, 1000, None)),
        ("anthropic_stream_aborted.sse", (1025, None, 1000, None)),
    ],
)
def test_the_example_streams_are_read_as_their_provider_counts(name: str, expected: tuple[int | None, ...]) -> None:
    usage = run(bytewise(payload(name))).usage

    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens) == expected


def test_an_overloaded_stream_has_failed() -> None:
    assert run([payload("anthropic_stream_error_overloaded.sse")]).failed
    assert run([STREAMS["error"]]).failed


def test_a_whole_reply_is_folded_into_its_usage() -> None:
    body = b'{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3}}'

    reply = ANTHROPIC.read_reply(body, ASKED)

    assert (reply.complete, reply.failed, reply.output_text()) == (True, False, "Hi")
    assert reply.fold(ADDITION) == body[:-2] + b',"footprint":' + FOOTPRINT + b"}}"


@pytest.mark.parametrize("body", [b'{"type":"error","error":{"type":"overloaded_error"}}', b"[]", b"nonsense", b"{}"])
def test_what_is_no_message_has_failed(body: bytes) -> None:
    assert ANTHROPIC.read_reply(body, ASKED).failed


def test_a_request_and_its_prompt() -> None:
    body = json.dumps(
        {
            "model": "claude-opus-4-8",
            "stream": True,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBOR"}},
                        {"type": "tool_result", "content": [{"type": "text", "text": "3 degrees"}]},
                        {"type": "document", "source": {}},
                    ],
                },
            ],
            "tools": [{"name": "get_weather", "description": "Weather.", "input_schema": {"type": "object"}}],
        }
    ).encode()

    request = ANTHROPIC.read_request(body, TARGET)
    prompt = ANTHROPIC.prompt(request)

    assert (request.model, request.stream, request.images_count) == ("claude-opus-4-8", True, 1)
    assert prompt.texts == ("Be brief.", "user", "Hi", "user", "3 degrees")
    assert (prompt.messages_count, prompt.uncounted_parts_count) == (2, 1)
    assert prompt.tools == (Tool(name="get_weather", description="Weather.", schema={"type": "object"}),)
    assert len(prompt.pictures) == 1
    assert isinstance(prompt.pictures[0], Picture)
    assert ANTHROPIC.ask_for_usage(body) == body


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense"])
def test_what_is_no_request_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(DialectError):
        ANTHROPIC.read_request(body, TARGET)


@pytest.mark.parametrize(
    ("method", "path", "is_ours"),
    [
        ("POST", "/v1/messages", True),
        ("POST", "/anthropic/v1/messages/", True),
        ("GET", "/v1/messages", False),
        ("POST", "/v1/messages/count_tokens", False),
        ("POST", "/v1/messages/batches", False),
        ("POST", "/v1/threads/t1/messages", False),
    ],
)
def test_messages_are_known_by_their_path(method: str, path: str, is_ours: bool) -> None:
    found = find(method, path)

    assert (found is not None and found.name == "anthropic") == is_ours


def test_another_type_is_no_stream() -> None:
    assert ANTHROPIC.stream_reader(ASKED, b"application/json") is None


@given(st.binary(max_size=200) | st.sampled_from([STREAM[:n] for n in range(0, len(STREAM), 7)]))
def test_no_bytes_make_a_reader_fail_or_change(data: bytes) -> None:
    assert unfolded(run(bytewise(data)).sent) == unfolded(data)


def test_a_stream_that_compacts_counts_the_compaction_and_keeps_its_text() -> None:
    start = event(
        "message_start",
        message={"usage": {"input_tokens": 100, "cache_read_input_tokens": 55096, "output_tokens": 7}},
    )
    summary = delta(type="compaction_delta", content="The user said hello.")
    iterations = [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 83, "cache_read_input_tokens": 55096},
        {"type": "message", "input_tokens": 181, "output_tokens": 8, "cache_read_input_tokens": 0},
    ]
    end = event(
        "message_delta",
        delta={"stop_reason": "end_turn"},
        usage={"input_tokens": 181, "cache_read_input_tokens": 0, "output_tokens": 8, "iterations": iterations},
    )

    seen = run([start + summary + WORDS[0] + end + STOP])
    aborted = run([start + summary])

    assert seen.usage == Usage(input_tokens=55377, output_tokens=91, cached_tokens=55096, source="upstream")
    assert seen.text == "The user said hello.Hel"
    assert aborted.usage == Usage(input_tokens=55196, output_tokens=None, cached_tokens=55096, source="upstream")
