"""Bedrock Converse: caches beside the input unless the total says otherwise, and a binary stream that passes untouched."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects import find
from headwater.dialects.bedrock import BedrockConverse, usage_of
from headwater.records import ChatRequest, Target, Tool, Usage
from tests.dialects.frames import error, event, exception, header, message
from tests.dialects.payloads import payload
from tests.dialects.streams import ADDITION, FOOTPRINT, Seen, bytewise, cut, feed, unfolded

BEDROCK = BedrockConverse()
EVENT_STREAM = b"application/vnd.amazon.eventstream"
ASKED = ChatRequest(model="anthropic.claude", stream=True)
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0"


def said(name: str, **members: Any) -> bytes:
    """An event, padded as Bedrock pads it."""
    return event(name, json.dumps({**members, "p": "abcdefgh"}, ensure_ascii=False).encode())


def delta(index: int = 0, **members: Any) -> bytes:
    return said("contentBlockDelta", contentBlockIndex=index, delta=members)


START = said("messageStart", role="assistant")
TEXT = delta(text="Hel") + delta(text='lo "世界"\n') + said("contentBlockStop", contentBlockIndex=0)
REASONING = delta(reasoningContent={"text": "Let me see"}) + delta(reasoningContent={"signature": "EqQB"})
TOOL = said("contentBlockStart", contentBlockIndex=1, start={"toolUse": {"toolUseId": "t", "name": "get_weather"}})
TOOL += delta(1, toolUse={"input": '{"city":'}) + delta(1, toolUse={"input": '"Oslo"}'})
STOP = said("messageStop", stopReason="end_turn")
USAGE = {"inputTokens": 10, "outputTokens": 42, "totalTokens": 1052, "cacheReadInputTokens": 1000}
METADATA = said("metadata", usage=USAGE, metrics={"latencyMs": 300})
STREAM = START + REASONING + TEXT + TOOL + STOP + METADATA
STREAMS = {
    "whole": STREAM,
    "aborted": START + TEXT,
    "cut_before_metadata": START + TEXT + STOP,
    "without_stop": START + TEXT + METADATA,
    "exception": START + TEXT + exception("modelStreamErrorException", b'{"message":"sorry"}'),
    "error": START + TEXT + error("InternalFailure", "sorry"),
    "corrupt": START + TEXT[:-1] + b"x" + STOP + METADATA,
    "no_kind": message([header("x", 0)], b"{}") + STREAM,
    "no_json": event("contentBlockDelta", b"nonsense") + event("initial-response", b"") + STREAM,
}
COUNTED = Usage(input_tokens=1010, output_tokens=42, cached_tokens=1000, source="upstream")


def run(chunks: Iterable[bytes]) -> Seen:
    reader = BEDROCK.stream_reader(ASKED, EVENT_STREAM)
    assert reader is not None
    return feed(reader, chunks)


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 5000), max_size=12))
def test_any_chunking_gives_the_same_reading_and_no_byte_is_changed(name: str, at: list[int]) -> None:
    whole = run([STREAMS[name]])

    assert run(cut(STREAMS[name], at)) == whole
    assert run(bytewise(STREAMS[name])) == whole
    assert (whole.sent, whole.held_count) == (STREAMS[name], 0)


@pytest.mark.parametrize("name", ["whole", "no_kind", "no_json"])
def test_a_whole_stream_has_its_counts_and_its_text(name: str) -> None:
    seen = run([STREAMS[name]])

    assert (seen.complete, seen.failed, seen.usage, seen.busy_s) == (True, False, COUNTED, None)
    assert seen.text == 'Let me seeHello "世界"\nget_weather{"city":"Oslo"}'
    assert seen.events_count == 6


@pytest.mark.parametrize("name", ["aborted", "cut_before_metadata", "corrupt"])
def test_only_the_metadata_behind_the_stop_complete_a_stream(name: str) -> None:
    seen = run([STREAMS[name]])

    assert (seen.complete, seen.failed, seen.usage) == (False, False, None)
    assert seen.text == 'Hello "世界"\n'


def test_metadata_without_a_stop_have_counts_and_complete_nothing() -> None:
    seen = run([STREAMS["without_stop"]])

    assert (seen.complete, seen.usage) == (False, COUNTED)


@pytest.mark.parametrize("name", ["exception", "error"])
def test_a_stream_with_an_exception_has_failed(name: str) -> None:
    seen = run([STREAMS[name]])

    assert (seen.complete, seen.failed, seen.text) == (False, True, 'Hello "世界"\n')


def test_a_block_of_any_index_keeps_its_text() -> None:
    assert run([delta(-1, text="a"), delta(10**7, text="c"), delta(10**9, text="b")]).text == "abc"


def test_the_example_stream_is_read() -> None:
    found = [json.loads(line) for line in payload("bedrock_converse_stream_decoded.jsonl").splitlines()]

    seen = run([said(name, **members) for each in found for name, members in each.items()])

    assert seen.usage == Usage(input_tokens=10, output_tokens=2, source="upstream")
    assert (seen.text, seen.complete) == ("Hi", True)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"inputTokens": 10, "outputTokens": 2, "totalTokens": 12}, (10, 2, None, None)),
        ({"inputTokens": 10, "outputTokens": 2, "totalTokens": 112, "cacheReadInputTokens": 100}, (110, 2, 100, None)),
        ({"inputTokens": 10, "outputTokens": 2, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 3}, (17, 2, 4, 3)),
        ({"inputTokens": 10, "outputTokens": 2, "totalTokens": 12, "cacheWriteInputTokens": 9}, (10, 2, None, 9)),
        ({"inputTokens": 10, "outputTokens": 2, "totalTokens": 12, "cacheReadInputTokens": 100}, (110, 2, 100, None)),
        ({"inputTokens": 10, "cacheReadInputTokens": 0}, (10, None, 0, None)),
        ({"outputTokens": 2, "cacheReadInputTokens": 5}, (None, 2, None, None)),
        ({"inputTokens": True, "outputTokens": 2.0}, None),
        ({}, None),
    ],
)
def test_caches_are_beside_the_input_unless_the_total_has_no_room(
    counts: dict[str, Any], expected: tuple[int | None, ...] | None
) -> None:
    usage = usage_of(counts)

    found = usage and (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cache_write_tokens)
    assert found == expected


def test_a_whole_reply_is_folded_into_its_usage() -> None:
    body = payload("bedrock_converse_response.json")

    reply = BEDROCK.read_reply(body, ASKED)
    folded = reply.fold(ADDITION)

    assert (reply.complete, reply.failed, reply.output_text()) == (True, False, "Hi")
    assert reply.told.usage == Usage(
        input_tokens=30, output_tokens=628, cached_tokens=0, cache_write_tokens=0, source="upstream"
    )
    assert folded is not None
    assert json.loads(folded)["usage"]["footprint"] == json.loads(FOOTPRINT)
    assert unfolded(folded) == body


def test_the_text_of_a_reply_has_all_that_was_generated() -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "Let me see. "}}},
        {"citationsContent": {"content": [{"text": "It says so."}]}},
        {"toolUse": {"name": "get_weather", "input": {"city": "Ålesund"}}},
    ]
    body = json.dumps({"output": {"message": {"content": content}}, "stopReason": "tool_use"}).encode()

    assert BEDROCK.read_reply(body, ASKED).output_text() == 'Let me see. It says so.get_weather{"city":"Ålesund"}'


@pytest.mark.parametrize("body", [b'{"message":"Too many requests"}', b"[]", b"nonsense", b"{}"])
def test_what_is_no_reply_has_failed(body: bytes) -> None:
    assert BEDROCK.read_reply(body, ASKED).failed


def test_a_request_and_its_prompt() -> None:
    body = {
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}, {"image": {"format": "png", "source": {"bytes": "iVBOR"}}}]},
            {"role": "assistant", "content": [{"toolUse": {"name": "get_weather", "input": {"city": "Oslo"}}}]},
            {
                "role": "user",
                "content": [
                    {
                        "toolResult": {
                            "content": [
                                {"json": {"c": 3}},
                                {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/o"}}}},
                            ]
                        }
                    },
                    {"document": {"format": "pdf", "name": "a", "source": {"bytes": "JVBER"}}},
                    {"audio": {"format": "mp3", "source": {"bytes": "SUQz"}}},
                    {"guardContent": {"text": {"text": "guarded"}}},
                ],
            },
        ],
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "get_weather",
                        "description": "Weather.",
                        "inputSchema": {"json": {"type": "object"}},
                    }
                },
                {"cachePoint": {"type": "default"}},
            ]
        },
        "promptVariables": {"x": {"text": "y"}},
    }

    request = BEDROCK.read_request(
        json.dumps(body).encode(), Target(method="POST", path="/model/anthropic.claude-v1%3A0/converse")
    )
    prompt = BEDROCK.prompt(request)

    assert (request.model, request.stream, request.images_count) == ("anthropic.claude-v1:0", False, 2)
    assert prompt.texts == (
        *("Be brief.", "user", "Hi", "assistant", "get_weather", '{"city":"Oslo"}'),
        *("user", '{"c":3}', "guarded"),
    )
    assert prompt.tools == (Tool(name="get_weather", description="Weather.", schema={"type": "object"}),)
    assert (prompt.messages_count, len(prompt.pictures)) == (3, 2)
    assert prompt.uncounted_parts_count + (prompt.audio_s > 0) == 3
    assert BEDROCK.ask_for_usage(request.raw) == request.raw


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense"])
def test_a_body_that_is_not_there_leaves_the_model_known_and_the_prompt_unknown(body: bytes) -> None:
    request = BEDROCK.read_request(body, Target(method="POST", path=f"/model/{ARN}/converse-stream/"))

    assert (request.model, request.stream, request.raw) == (ARN, True, b"")
    assert BEDROCK.read_request(body, Target(method="POST", path="/elsewhere")) == ChatRequest(model=None)


@pytest.mark.parametrize(
    ("method", "path", "is_ours"),
    [
        ("POST", "/model/amazon.nova-pro-v1:0/converse", True),
        ("POST", "/bedrock/model/amazon.nova-pro-v1:0/converse-stream/", True),
        ("POST", f"/model/{ARN}/Converse", True),
        ("POST", "/model/arn%3Aaws%3Abedrock%2Fx/converse", True),
        ("GET", "/model/amazon.nova-pro-v1:0/converse", False),
        ("POST", "/model/amazon.nova-pro-v1:0/invoke", False),
        ("POST", "/model/amazon.nova-pro-v1:0/invoke-with-response-stream", False),
        ("POST", "/model/amazon.nova-pro-v1:0/count-tokens", False),
        ("POST", "/model//converse", False),
        ("POST", "/converse", False),
    ],
)
def test_conversations_are_known_by_their_path(method: str, path: str, is_ours: bool) -> None:
    found = find(method, path)

    assert (found is not None and found.name == "bedrock-converse") == is_ours


def test_another_type_is_no_stream() -> None:
    assert BEDROCK.stream_reader(ASKED, b"application/json") is None


@given(st.binary(max_size=200) | st.sampled_from([STREAM[:n] for n in range(0, len(STREAM), 7)]))
def test_no_bytes_make_a_reader_fail_or_change(data: bytes) -> None:
    assert run(bytewise(data)).sent == data
    assert BEDROCK.read_reply(data, ASKED).failed


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("output", "message", "content", "text", "toolUse", "input", "usage", "inputTokens", "stopReason"),
                    *(
                        "delta",
                        "start",
                        "contentBlockIndex",
                        "messages",
                        "system",
                        "toolResult",
                        "image",
                        "reasoningContent",
                    ),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(["contentBlockDelta", "contentBlockStart", "messageStop", "metadata"]), junk)
def test_json_of_any_shape_is_read_without_an_exception(name: str, value: Any) -> None:
    body = json.dumps(value).encode()

    assert run([event(name, body)]).sent == event(name, body)
    BEDROCK.prompt(BEDROCK.read_request(body, Target(method="POST", path="/model/m/converse")))
    assert isinstance(BEDROCK.read_reply(body, ASKED).output_text(), str)
