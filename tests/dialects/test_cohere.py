"""Cohere: two sets of counts, plans and calls of tools, thoughts, and an end that can say that it failed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects import find
from headwater.dialects.cohere import CohereChat, CohereEmbed, usage_of
from headwater.errors import DialectError, NotOurs
from headwater.records import ChatRequest, Target, Tool, Usage
from tests.dialects.payloads import payload
from tests.dialects.streams import ADDITION, FOOTPRINT, Seen, bytewise, feed, unfolded

CHAT, EMBED = CohereChat(), CohereEmbed()
TARGET = Target(method="POST", path="/v2/chat")
ASKED = ChatRequest(model="command-a-03-2025", stream=True)
USAGE = {
    "billed_units": {"input_tokens": 3, "output_tokens": 2},
    "tokens": {"input_tokens": 207, "output_tokens": 4},
    "cached_tokens": 32,
}


def event(kind: str, **members: Any) -> bytes:
    """One event, as Cohere sends it."""
    text = json.dumps({"type": kind, **members}, separators=(",", ":"), ensure_ascii=False)
    return f"event: {kind}\ndata: {text}\n\n".encode()


def content(**members: str) -> bytes:
    return event("content-delta", index=0, delta={"message": {"content": members}})


def end(reason: str = "COMPLETE", **members: Any) -> bytes:
    return event("message-end", id="m1", delta={"finish_reason": reason, **members})


START = event("message-start", id="m1", delta={"message": {"role": "assistant", "content": []}})
WORDS = event("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}})
WORDS += b"".join(content(text=word) for word in ("Hel", "lo", ' "世界"', "\n", " you"))
WORDS += event("citation-start", index=0, delta={"message": {"citations": {"text": "lo", "sources": []}}})
WORDS += event("content-end", index=0)
THOUGHTS = content(thinking="Let me") + content(thinking=" see. ")
CALL = {"id": "t", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
TOOL = event("tool-plan-delta", delta={"message": {"tool_plan": "I will look. "}})
TOOL += event("tool-call-start", index=0, delta={"message": {"tool_calls": CALL}})
TOOL += event("tool-call-delta", index=0, delta={"message": {"tool_calls": {"function": {"arguments": '{"ci'}}}})
TOOL += event("tool-call-delta", index=0, delta={"message": {"tool_calls": {"function": {"arguments": 'ty":"Oslo"}'}}}})
TOOL += event("tool-call-end", index=0)
DONE = b"data: [DONE]\n\n"
STREAMS = {
    "whole": START + THOUGHTS + WORDS + end(usage=USAGE) + DONE,
    "without_done": START + WORDS + end(usage=USAGE),
    "tools": START + TOOL + end("TOOL_CALL", usage=USAGE) + DONE,
    "no_usage": START + WORDS + end() + DONE,
    "aborted": START + WORDS,
    "failed": START + WORDS + end("ERROR", error="the model broke", usage=USAGE),
    "done_alone": START + WORDS + DONE,
    "long": START + b"".join(content(text=f"w{n} ") for n in range(60)) + end(usage=USAGE) + DONE,
}


def run(chunks: Iterable[bytes], *, footprint: bytes | None = FOOTPRINT) -> Seen:
    reader = CHAT.stream_reader(ASKED, b"text/event-stream")
    assert reader is not None
    return feed(reader, chunks, footprint=footprint)


@pytest.mark.parametrize("name", ["whole", "without_done", "tools", "long"])
def test_the_footprint_goes_into_the_usage_of_the_end(name: str) -> None:
    seen = run([STREAMS[name]])

    usage = b'"cached_tokens":32'
    assert seen.sent == STREAMS[name].replace(usage, usage + b',"footprint":' + FOOTPRINT)
    assert (seen.held_count, seen.complete, seen.failed) == (1, True, False)
    assert seen.usage == Usage(input_tokens=207, output_tokens=4, cached_tokens=32, source="upstream")


def test_without_usage_the_footprint_goes_to_the_end_of_the_delta() -> None:
    seen = run([STREAMS["no_usage"]])

    assert seen.sent == STREAMS["no_usage"].replace(b'"COMPLETE"', b'"COMPLETE","footprint":' + FOOTPRINT)
    assert (seen.complete, seen.usage) == (True, None)


def test_thoughts_plans_and_calls_are_output_and_citations_are_none() -> None:
    assert run([STREAMS["whole"]]).text == 'Let me see. Hello "世界"\n you'
    assert run([STREAMS["tools"]]).text == 'I will look. get_weather{"city":"Oslo"}'


@pytest.mark.parametrize("name", ["aborted", "done_alone"])
def test_only_message_end_completes_a_stream(name: str) -> None:
    seen = run([STREAMS[name]])

    assert (seen.complete, seen.failed, seen.usage) == (False, False, None)
    assert seen.sent == STREAMS[name]


def test_an_end_with_an_error_has_failed_and_its_tokens_are_known() -> None:
    seen = run([STREAMS["failed"]])

    assert seen.failed
    assert seen.usage == Usage(input_tokens=207, output_tokens=4, cached_tokens=32, source="upstream")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, (207, 4, 32)),
        ({"billed_units": {"input_tokens": 3, "output_tokens": 2}}, (3, 2, None)),
        ({"tokens": {"output_tokens": 4}, "billed_units": {"input_tokens": 3, "output_tokens": 2}}, (3, 4, None)),
        ({"tokens": {"input_tokens": 207.0, "output_tokens": 4.0}, "cached_tokens": 0.0}, (207, 4, 0)),
        ({"tokens": {"input_tokens": 9, "output_tokens": 4}, "cached_tokens": 10}, (9, 4, 9)),
        ({"tokens": {"output_tokens": 4}, "cached_tokens": 10}, (None, 4, None)),
        ({"tokens": {"input_tokens": 2.5, "output_tokens": True}}, None),
        ({"tokens": {"input_tokens": float("inf"), "output_tokens": float("nan")}}, None),
        ({"tokens": None, "billed_units": []}, None),
        ({}, None),
    ],
)
def test_what_the_model_worked_on_counts_before_what_is_billed(
    usage: dict[str, Any], expected: tuple[int | None, int | None, int | None] | None
) -> None:
    found = usage_of(usage)

    assert (found and (found.input_tokens, found.output_tokens, found.cached_tokens)) == expected


def test_the_example_stream() -> None:
    body = payload("cohere_v2_stream.sse")

    seen = run(bytewise(body))

    assert seen.usage == Usage(input_tokens=207, output_tokens=4, cached_tokens=0, source="upstream")
    assert (seen.text, seen.complete, unfolded(seen.sent)) == ("Hi", True, body)


MESSAGE = {
    "role": "assistant",
    "tool_plan": "I will look. ",
    "content": [{"type": "thinking", "thinking": "Hm. "}, {"type": "text", "text": "Hi"}],
    "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


def test_a_whole_reply_is_folded_into_its_usage() -> None:
    body = json.dumps({"id": "1", "finish_reason": "COMPLETE", "message": MESSAGE, "usage": USAGE}).encode()

    reply = CHAT.read_reply(body, ASKED)

    assert (reply.complete, reply.failed, reply.output_text()) == (True, False, "I will look. Hm. Hif{}")
    assert reply.told.usage == Usage(input_tokens=207, output_tokens=4, cached_tokens=32, source="upstream")
    assert reply.fold(ADDITION) == body[:-2] + b',"footprint":' + FOOTPRINT + b"}}"


@pytest.mark.parametrize(
    "body",
    [b'{"message":"invalid api token"}', b"[]", b"nonsense", b"{}", b'{"message":{},"finish_reason":"ERROR"}'],
)
def test_what_is_no_reply_has_failed(body: bytes) -> None:
    assert CHAT.read_reply(body, ASKED).failed
    assert EMBED.read_reply(body, ASKED).failed


def test_a_whole_reply_that_broke_is_charged_for_the_tokens_it_counted() -> None:
    body = json.dumps({"id": "1", "finish_reason": "ERROR", "message": MESSAGE, "usage": USAGE}).encode()

    reply = CHAT.read_reply(body, ASKED)

    assert not reply.failed
    assert reply.told.usage == Usage(input_tokens=207, output_tokens=4, cached_tokens=32, source="upstream")


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (b'{"embeddings":{"float":[[0.1]]},"meta":{"billed_units":{"input_tokens":8}}}', 8),
        (b'{"embeddings":[[0.1]],"meta":{"billed_units":{"input_tokens":8},"tokens":{"input_tokens":9}}}', 9),
        (b'{"embeddings":{"int8":[[1]]},"meta":{"billed_units":{"images":1}}}', None),
    ],
)
def test_embeddings_have_no_output_and_are_folded_into_their_meta(body: bytes, given: int | None) -> None:
    reply = EMBED.read_reply(body, ASKED)

    assert reply.told.usage == Usage(input_tokens=given, output_tokens=0, source="upstream")
    assert reply.fold(ADDITION) == body[:-2] + b',"footprint":' + FOOTPRINT + b"}}"


def test_a_request_and_its_prompt() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR", "detail": "low"}}
    body = json.dumps(
        {
            "model": "command-a-vision",
            "stream": True,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "What?"}, picture]},
                MESSAGE,
                {
                    "role": "tool",
                    "tool_call_id": "t",
                    "content": [{"type": "document", "document": {"data": {"c": 3}}}],
                },
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "documents": ["Oslo is cold.", {"id": "d", "data": {"text": "So is Bergen."}}],
        }
    ).encode()

    request = CHAT.read_request(body, TARGET)
    prompt = CHAT.prompt(request)

    assert (request.model, request.stream, request.images_count) == ("command-a-vision", True, 1)
    assert "".join(prompt.texts) == (
        'userWhat?assistantI will look. Hm. Hif{}tool{"c":3}Oslo is cold.{"text":"So is Bergen."}'
    )
    assert (prompt.messages_count, len(prompt.pictures), prompt.pictures[0].detail) == (3, 1, "low")
    assert prompt.tools == (Tool(name="f", schema={"type": "object"}),)
    assert (CHAT.ask_for_usage(body), EMBED.ask_for_usage(body)) == (body, body)


def test_what_is_to_be_embedded_in_any_shape() -> None:
    inputs = [{"content": [{"type": "text", "text": "c"}, {"type": "image_url", "image_url": {"url": "data:,"}}]}]
    body = json.dumps({"model": "embed-v4.0", "texts": ["a", "b"], "images": ["data:,"], "inputs": inputs}).encode()

    request = EMBED.read_request(body, TARGET)
    prompt = EMBED.prompt(request)

    assert (request.model, request.stream, request.images_count) == ("embed-v4.0", False, 2)
    assert (prompt.texts, len(prompt.pictures)) == (("a", "b", "c"), 2)


@pytest.mark.parametrize("body", [b"{}", b'{"model":7,"messages":"Hi","texts":"a"}', b'{"id":"c1"}'])
def test_a_request_of_another_shape_is_another_apps(body: bytes) -> None:
    for dialect in (CHAT, EMBED):
        with pytest.raises(NotOurs):
            dialect.read_request(body, TARGET)


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense"])
def test_what_is_no_request_is_said_to_be_none_but_is_metered(body: bytes) -> None:
    for dialect in (CHAT, EMBED):
        with pytest.raises(DialectError) as error:
            dialect.read_request(body, TARGET)
        assert not isinstance(error.value, NotOurs)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v2/chat", "cohere-chat"),
        ("POST", "/cohere/v2/chat/", "cohere-chat"),
        ("POST", "/v2/embed", "cohere-embed"),
        ("POST", "/v1/embed", "cohere-embed"),
        ("GET", "/v2/chat", None),
        ("POST", "/v2/chats", None),
        ("POST", "/v2/rerank", None),
        ("POST", "/v1/embed-jobs", None),
    ],
)
def test_operations_are_known_by_their_path(method: str, path: str, name: str | None) -> None:
    found = find(method, path)

    assert (found.name if found is not None else None) == name


def test_another_type_is_no_stream() -> None:
    assert CHAT.stream_reader(ASKED, b"application/json") is None
    assert EMBED.stream_reader(ASKED, b"text/event-stream") is None


@given(st.binary(max_size=200) | st.sampled_from([STREAMS["tools"][:n] for n in range(0, 1000, 7)]))
def test_no_bytes_make_a_reader_fail_or_change(data: bytes) -> None:
    folded = CHAT.read_reply(data, ASKED).fold(ADDITION)

    assert unfolded(run(bytewise(data)).sent) == data
    assert folded is None or unfolded(folded) == data
