"""Cohere's first chat: lines or events, and a last one with the whole response in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects import find
from headwater.dialects.cohere_v1 import CohereV1Chat
from headwater.errors import DialectError, NotOurs
from headwater.records import ChatRequest, Target, Usage
from tests.dialects.streams import ADDITION, FOOTPRINT, Seen, bytewise, feed, unfolded

CHAT = CohereV1Chat()
TARGET = Target(method="POST", path="/v1/chat")
ASKED = ChatRequest(model="command-r", stream=True)
META = {
    "api_version": {"version": "1"},
    "billed_units": {"input_tokens": 3, "output_tokens": 2},
    "tokens": {"input_tokens": 69, "output_tokens": 4},
}
EXPECTED = Usage(input_tokens=69, output_tokens=4, source="upstream")


def line(kind: str, **members: Any) -> bytes:
    """One event, as a line."""
    document = {"is_finished": kind == "stream-end", "event_type": kind, **members}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def end(reason: str = "COMPLETE", **members: Any) -> bytes:
    response = {"text": "Hello", "generation_id": "g", "finish_reason": reason, **members}
    return line("stream-end", finish_reason=reason, response=response)


START = line("stream-start", generation_id="g")
WORDS = b"".join(line("text-generation", text=word) for word in ("Hel", "lo", ' "世界"', "\n", " you"))
WORDS += line("citation-generation", citations=[{"text": "lo", "start": 3, "end": 5}])
TOOLS = line("tool-calls-chunk", tool_call_delta={"text": "I will look. "}, text="I will look. ")
TOOLS += line("tool-calls-chunk", tool_call_delta={"index": 0, "name": "f"})
TOOLS += line("tool-calls-chunk", tool_call_delta={"index": 0, "parameters": '{"a"'})
TOOLS += line("tool-calls-chunk", tool_call_delta={"index": 0, "parameters": ":1}"})
TOOLS += line("tool-calls-generation", text="I will look. ", tool_calls=[{"name": "f", "parameters": {"a": 1}}])
QUERY = line("search-queries-generation", search_queries=[{"text": "cold Oslo", "generation_id": "g"}])
STREAMS = {
    "whole": START + QUERY + WORDS + end(meta=META),
    "tools": START + TOOLS + end(meta=META),
    "no_meta": START + WORDS + end(),
    "aborted": START + WORDS,
    "failed": START + WORDS + end("ERROR_TOXIC", meta=META),
    "long": START + b"".join(line("text-generation", text=f"w{n} ") for n in range(60)) + end(meta=META),
}


def as_events(body: bytes) -> bytes:
    """The same stream as server-sent events."""
    return b"".join(b"data: " + each + b"\n\n" for each in body.split(b"\n") if each)


def run(chunks: Iterable[bytes], *, content_type: bytes = b"application/x-ndjson", **options: Any) -> Seen:
    reader = CHAT.stream_reader(ASKED, content_type)
    assert reader is not None
    return feed(reader, chunks, **options)


@pytest.mark.parametrize("name", STREAMS)
def test_lines_and_events_are_read_alike_and_no_other_byte_changes(name: str) -> None:
    body, events = STREAMS[name], as_events(STREAMS[name])
    lines_seen, events_seen = run(bytewise(body)), run(bytewise(events), content_type=b"text/event-stream")

    assert (events_seen.usage, events_seen.text) == (lines_seen.usage, lines_seen.text)
    assert (unfolded(lines_seen.sent), unfolded(events_seen.sent)) == (body, events)


def test_the_footprint_goes_into_the_meta_of_the_response() -> None:
    seen = run([STREAMS["whole"]])

    usage = b'"tokens":{"input_tokens":69,"output_tokens":4}'
    assert seen.sent == STREAMS["whole"].replace(usage, usage + b',"footprint":' + FOOTPRINT)
    assert (seen.usage, seen.complete, seen.failed, seen.held_count) == (EXPECTED, True, False, 1)


def test_without_meta_it_goes_to_the_end_of_the_response() -> None:
    assert run([STREAMS["no_meta"]]).sent == STREAMS["no_meta"][:-3] + b',"footprint":' + FOOTPRINT + b"}}\n"


def test_queries_plans_and_calls_are_output_once() -> None:
    assert run([STREAMS["whole"]]).text == 'cold OsloHello "世界"\n you'
    assert run([STREAMS["tools"]]).text == 'I will look. f{"a":1}'


def test_only_the_end_completes_a_stream_and_it_may_say_that_it_failed() -> None:
    aborted, failed = run([STREAMS["aborted"]]), run([STREAMS["failed"]])

    assert (aborted.complete, aborted.failed, aborted.usage) == (False, False, None)
    assert (failed.failed, failed.usage) == (True, EXPECTED)


def test_a_whole_reply_is_folded_into_its_meta() -> None:
    reply_body = {
        "text": "Hi",
        "finish_reason": "COMPLETE",
        "tool_calls": [{"name": "f", "parameters": {"a": 1}}],
        "meta": META,
    }
    body = json.dumps(reply_body).encode()

    reply = CHAT.read_reply(body, ASKED)

    assert (reply.complete, reply.failed, reply.output_text(), reply.told.usage) == (
        True,
        False,
        'Hif{"a":1}',
        EXPECTED,
    )
    assert reply.fold(ADDITION) == body[:-2] + b',"footprint":' + FOOTPRINT + b"}}"


@pytest.mark.parametrize(
    "body", [b'{"message":"invalid api token"}', b"[]", b"nonsense", b'{"text":"","finish_reason":"ERROR"}']
)
def test_what_is_no_reply_has_failed(body: bytes) -> None:
    assert CHAT.read_reply(body, ASKED).failed


def test_a_request_and_its_prompt() -> None:
    body = json.dumps(
        {
            "model": "command-r",
            "stream": True,
            "message": "How cold is it?",
            "preamble": "Be brief.",
            "chat_history": [{"role": "USER", "message": "Hi", "tool_calls": [{"name": "f"}]}],
            "tools": [{"name": "f", "description": "d"}],
            "documents": [{"text": "Oslo"}],
        }
    ).encode()

    request = CHAT.read_request(body, TARGET)
    prompt = CHAT.prompt(request)

    assert (request.model, request.stream) == ("command-r", True)
    assert "".join(prompt.texts) == (
        'Be brief.How cold is it?USERHi{"name":"f"}{"name":"f","description":"d"}{"text":"Oslo"}'
    )
    assert prompt.messages_count == 3
    assert CHAT.prompt(CHAT.read_request(b'{"message":"Hi"}', TARGET)).messages_count == 1
    assert CHAT.ask_for_usage(body) == body


def test_what_is_none_of_its_requests() -> None:
    with pytest.raises(NotOurs):
        CHAT.read_request(b'{"messages":[]}', TARGET)
    with pytest.raises(DialectError) as error:
        CHAT.read_request(b"", TARGET)
    assert not isinstance(error.value, NotOurs)


@pytest.mark.parametrize(
    ("path", "is_ours"), [("/v1/chat", True), ("/v1/chat/completions", False), ("/v1/chats", False)]
)
def test_it_is_known_by_its_path(path: str, is_ours: bool) -> None:
    found = find("POST", path)

    assert (found is not None and found.name == "cohere-v1-chat") == is_ours


def test_what_was_not_asked_for_is_no_stream() -> None:
    assert CHAT.stream_reader(ChatRequest(model="command-r"), b"text/event-stream") is None


@given(st.binary(max_size=200) | st.sampled_from([STREAMS["tools"][:n] for n in range(0, 900, 7)]))
def test_no_bytes_make_a_reader_fail_or_change(data: bytes) -> None:
    assert unfolded(run(bytewise(data)).sent) == data
