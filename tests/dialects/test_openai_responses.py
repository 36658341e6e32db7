"""OpenAI Responses: typed events, numbers in each of them, ends of every kind, background, and context that nobody sees."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects import find, openai_responses
from headwater.dialects.kit.lenient import json_object
from headwater.dialects.openai_responses import OpenAIResponses, usage_of
from headwater.errors import DialectError, NotOurs
from headwater.records import ChatRequest, Target, Told, Tool, Usage
from tests.dialects.payloads import payload
from tests.dialects.streams import ADDITION, FOOTPRINT, Seen, bytewise, eventwise, feed, unfolded

RESPONSES = OpenAIResponses()
TARGET = Target(method="POST", path="/v1/responses")
LOOKUP = Target(method="GET", path="/v1/responses/resp_1")
ASKED = ChatRequest(model="gpt-5", stream=True)
LOOKED_UP = ChatRequest(model=None, is_lookup=True)
IN_BACKGROUND = ChatRequest(model="gpt-5", is_background=True)
COUNTS: dict[str, Any] = {
    "input_tokens": 75,
    "input_tokens_details": {"cached_tokens": 32, "cache_write_tokens": 7},
    "output_tokens": 1186,
    "output_tokens_details": {"reasoning_tokens": 1024},
    "total_tokens": 1261,
}
USAGE = Usage(
    input_tokens=75,
    output_tokens=1186,
    cached_tokens=32,
    cache_write_tokens=7,
    reasoning_tokens=1024,
    source="upstream",
)


def response(status: str = "completed", **members: Any) -> dict[str, Any]:
    """A response object."""
    usage = None if status in ("queued", "in_progress") else COUNTS
    whole = {
        "id": "resp_1",
        "object": "response",
        "status": status,
        "background": False,
        "error": None,
        "model": "gpt-5-2025-08-07",
        "output": [],
        "usage": usage,
        "metadata": {},
    }
    return {**whole, **members}


def event(kind: str, number: int, **members: Any) -> bytes:
    """One event, in the order of members that OpenAI sends."""
    text = json.dumps({"type": kind, "sequence_number": number, **members}, separators=(",", ":"), ensure_ascii=False)
    return f"event: {kind}\ndata: {text}\n\n".encode()


def delta(text: str, number: int, kind: str = "output_text", index: int = 1, **members: Any) -> bytes:
    place = {"item_id": f"msg_{index}", "output_index": index, "content_index": 0}
    return event(f"response.{kind}.delta", number, **place, delta=text, **members)


def sorted_delta(text: str, number: int) -> bytes:
    """The same as vLLM sends it: by the alphabet, so that the number comes behind the text."""
    members = {"content_index": 0, "delta": text, "item_id": "m", "logprobs": [], "output_index": 0}
    members |= {"sequence_number": number, "type": "response.output_text.delta"}
    return f"event: response.output_text.delta\ndata: {json.dumps(members)}\n\n".encode()


def stream(*middle: bytes, end: str = "completed", **members: Any) -> bytes:
    start = event("response.created", 0, response=response("in_progress", **{**members, "usage": None}))
    return start + b"".join(middle) + event(f"response.{end}", 99, response=response(end, **members))


CALL = event("response.output_item.added", 3, output_index=2, item={"type": "function_call", "name": "get_weather"})
CALL += delta('{"city":"Oslo"}', 4, "function_call_arguments", 2)
WORDS = [delta(word, 10 + n, logprobs=[]) for n, word in enumerate(["Hel", "lo", ' "世界"', "\n", " you"])]
LONG = [delta(f"w{n} ", 5 + n, obfuscation="x" * (n % 6)) for n in range(60)]
STREAM = stream(*WORDS)
STREAMS = {
    "whole": stream(delta("Let me see", 1, "reasoning_summary_text", 0), CALL, *WORDS),
    "incomplete": stream(*WORDS, end="incomplete"),
    "failed": stream(*WORDS, end="failed"),
    "failed_unknown": stream(WORDS[0], end="failed", usage=None),
    "cancelled": stream(*WORDS, end="cancelled"),
    "error": WORDS[0] + event("error", 3, code="server_error", message="boom", param=None),
    "aborted": STREAM[: STREAM.rindex(b"event: ")],
    "background": stream(*WORDS, background=True),
    "long": stream(*LONG),
    "sorted": stream(*(sorted_delta(f"w{n} ", 5 + n) for n in range(40))),
    "done_behind": stream(*WORDS) + b"data: [DONE]\n\n",
    "sound": stream(delta("UklGRg==", 1, "audio"), delta("Hello", 2, "audio.transcript")),
}


def run(chunks: Iterable[bytes], *, footprint: bytes | None = FOOTPRINT, request: ChatRequest = ASKED) -> Seen:
    reader = RESPONSES.stream_reader(request, b"text/event-stream")
    assert reader is not None
    return feed(reader, chunks, footprint=footprint)


def told_of(chunks: Iterable[bytes], request: ChatRequest = ASKED) -> Told:
    reader = RESPONSES.stream_reader(request, b"text/event-stream")
    assert reader is not None
    feed(reader, chunks)
    return reader.told


# -- streams ---------------------------------------------------------------------------------------------------------


def test_the_footprint_goes_into_the_usage_of_the_last_event() -> None:
    seen = run(bytewise(STREAMS["whole"]))

    assert seen.sent == STREAMS["whole"].replace(
        b'"total_tokens":1261}', b'"total_tokens":1261,"footprint":' + FOOTPRINT + b"}"
    )
    assert (seen.held_count, seen.complete, seen.failed, seen.usage) == (1, True, False, USAGE)
    assert seen.text == 'Let me seeHello "世界"\n youget_weather{"city":"Oslo"}'


def test_the_footprint_stands_where_the_example_has_it() -> None:
    folded = payload("headwater_responses_stream.sse")
    start = folded.index(b'{"v":1')
    footprint = folded[start : start + json.JSONDecoder().raw_decode(folded[start:].decode())[1]]

    seen = run(bytewise(folded.replace(b',"footprint":' + footprint, b"")), footprint=footprint)

    assert seen.sent == folded
    assert footprint.endswith(b'"}')


@pytest.mark.parametrize(
    ("name", "complete", "failed", "usage"),
    [
        ("whole", True, False, USAGE),
        ("incomplete", True, False, USAGE),
        ("failed", False, True, USAGE),
        ("failed_unknown", False, True, None),
        ("cancelled", False, True, USAGE),
        ("error", False, True, None),
        ("aborted", False, False, None),
    ],
)
def test_how_a_stream_ends(name: str, complete: bool, failed: bool, usage: Usage | None) -> None:
    seen = run(eventwise(STREAMS[name]))

    assert (seen.complete, seen.failed, seen.usage) == (complete, failed, usage)


def test_without_usage_the_footprint_stands_beside_it_in_the_response() -> None:
    seen = run([STREAMS["failed_unknown"]])

    last = json.loads(seen.sent[seen.sent.rindex(b"data: ") + 6 :])
    assert last["response"]["footprint"] == json.loads(FOOTPRINT)
    assert "footprint" not in last


def test_sound_is_no_text_and_what_is_said_is() -> None:
    assert run([STREAMS["sound"]]).text == "Hello"


def test_an_answer_without_deltas_is_read_from_the_end() -> None:
    answer = [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}]

    assert run([stream(output=answer, usage=None)]).text == "Hello"
    assert run([stream(*WORDS, output=answer, usage=None)]).text == 'Hello "世界"\n you'


@pytest.mark.parametrize(
    ("name", "complete", "failed", "counts", "text"),
    [
        ("openai_responses_stream.sse", True, False, (75, 1186, 32, 0, 1024), "Hello"),
        ("openai_responses_stream_failed.sse", False, True, None, "Hello"),
        ("openai_responses_stream_error_event.sse", False, True, None, "Hello"),
    ],
)
def test_the_example_streams(
    name: str, complete: bool, failed: bool, counts: tuple[int, ...] | None, text: str
) -> None:
    seen = run(bytewise(payload(name)))

    found = seen.usage
    assert (seen.complete, seen.failed, seen.text) == (complete, failed, text)
    assert (found and _counts(found)) == counts
    assert unfolded(seen.sent) == payload(name)


def _counts(usage: Usage) -> tuple[int | None, ...]:
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )


@pytest.mark.parametrize(
    "make",
    [delta, sorted_delta, lambda text, n: delta(text, n, obfuscation="x" * (n % 5))],
    ids=["openai", "sorted", "padded"],
)
def test_numbered_deltas_are_not_decoded_one_by_one(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def counting(data: bytes) -> dict[str, Any] | None:
        decoded.append(data)
        return json_object(data)

    monkeypatch.setattr(openai_responses, "json_object", counting)
    body = b"".join(make(f'w{n} "', n) for n in range(300))

    seen = run(eventwise(body))

    assert seen.text == "".join(f'w{n} "' for n in range(300))
    assert len(decoded) <= 8


@given(st.binary(max_size=200) | st.sampled_from([STREAM[:n] for n in range(0, len(STREAM), 7)]))
def test_no_bytes_make_a_reader_fail_or_change(data: bytes) -> None:
    assert unfolded(run(bytewise(data)).sent) == unfolded(data)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "response", "usage", "output", "content", "item", "delta", "output_index", "status", "input"]
            ),
            inner,
            max_size=4,
        )
    ),
)
kinds = st.sampled_from(sorted(openai_responses._DELTAS | openai_responses._ENDS.keys())) | st.sampled_from(
    ["response.created", "response.output_item.added", "error", ""]
)


@given(kinds, json_values, json_values)
def test_no_value_in_any_place_makes_reading_fail(kind: str, first: Any, second: Any) -> None:
    members = {"type": kind, "response": first, "delta": second, "item": first, "output_index": second}
    body = json.dumps({**members, "usage": first, "output": [first, second], "input": [first, second]}).encode()

    assert unfolded(run([b"data: " + body + b"\n\n"]).sent) == b"data: " + body + b"\n\n"
    RESPONSES.read_reply(body, LOOKED_UP).output_text()
    RESPONSES.prompt(RESPONSES.read_request(body, TARGET))


# -- background ------------------------------------------------------------------------------------------------------


def test_a_background_stream_is_pending_until_its_end() -> None:
    cut_off = STREAMS["background"][: STREAMS["background"].rindex(b"event: ")]

    assert told_of([cut_off]).is_pending
    assert told_of([b""], IN_BACKGROUND).is_pending
    assert told_of([STREAMS["background"]]) == Told(usage=USAGE, once="resp_1", model="gpt-5-2025-08-07")


def test_a_stream_that_is_taken_up_again_knows_at_its_end_what_it_is() -> None:
    resumed = STREAMS["background"][STREAMS["background"].rindex(b"event: ") :]

    assert told_of([resumed], LOOKED_UP) == Told(usage=USAGE, once="resp_1", model="gpt-5-2025-08-07")


def test_a_foreground_stream_is_charged_where_it_is_made_and_never_where_it_is_looked_up() -> None:
    assert told_of([STREAMS["whole"]]) == Told(usage=USAGE, model="gpt-5-2025-08-07")
    assert told_of([STREAMS["aborted"]]).is_pending is False


@pytest.mark.parametrize(
    ("status", "pending", "complete", "failed"),
    [
        ("queued", True, False, False),
        ("in_progress", True, False, False),
        ("completed", False, True, False),
        ("incomplete", False, True, False),
        ("failed", False, False, True),
        ("cancelled", False, False, True),
    ],
)
def test_every_status_of_a_background_response(status: str, pending: bool, complete: bool, failed: bool) -> None:
    reply = RESPONSES.read_reply(json.dumps(response(status, background=True)).encode(), LOOKED_UP)

    assert (reply.told.is_pending, reply.complete, reply.failed) == (pending, complete, failed)
    assert (reply.told.once, reply.told.model) == ("resp_1", "gpt-5-2025-08-07")
    assert reply.told.usage == (None if pending else USAGE)


@pytest.mark.parametrize(
    ("background", "request_", "once"),
    [
        (True, LOOKED_UP, "resp_1"),
        (False, LOOKED_UP, ""),
        (None, LOOKED_UP, ""),
        (None, IN_BACKGROUND, "resp_1"),
        (False, IN_BACKGROUND, ""),
    ],
)
def test_only_a_background_response_can_be_charged_by_others(
    background: bool | None, request_: ChatRequest, once: str
) -> None:
    body = json.dumps(response(background=background)).encode()

    assert RESPONSES.read_reply(body, request_).told.once == once


# -- whole replies ---------------------------------------------------------------------------------------------------


def test_a_whole_reply_is_folded_into_its_usage() -> None:
    body = json.dumps(response()).encode()

    reply = RESPONSES.read_reply(body, ASKED)

    assert (reply.complete, reply.failed, reply.told.usage) == (True, False, USAGE)
    assert reply.fold(ADDITION) == body.replace(
        b'"total_tokens": 1261}', b'"total_tokens": 1261,"footprint":' + FOOTPRINT + b"}"
    )


def test_all_that_the_model_wrote_is_its_text() -> None:
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm. "}], "content": [{"text": "So. "}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "name": "g", "input": "x"},
        {"type": "code_interpreter_call", "code": "1+1", "outputs": [{"logs": "2"}]},
        {"type": "web_search_call", "action": {"query": "q"}},
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "No"}]},
        {"type": "image_generation_call", "result": "iVBOR"},
        "nonsense",
    ]

    reply = RESPONSES.read_reply(json.dumps(response(output=output)).encode(), ASKED)

    assert reply.output_text() == 'Hm. So. f{}gx1+1{"query":"q"}HiNo'


@pytest.mark.parametrize(
    ("name", "output_tokens", "text"),
    [("openai_responses_response.json", 1186, "Hello"), ("openai_responses_response_incomplete.json", 64, "")],
)
def test_the_example_replies(name: str, output_tokens: int, text: str) -> None:
    reply = RESPONSES.read_reply(payload(name), ASKED)

    assert (reply.complete, reply.failed, reply.output_text()) == (True, False, text)
    assert reply.told.usage is not None
    assert reply.told.usage.output_tokens == output_tokens


@pytest.mark.parametrize("body", [b'{"error":{"message":"x"}}', b"[]", b"nonsense", b"{}", b'{"output":7}'])
def test_what_is_no_response_has_failed(body: bytes) -> None:
    reply = RESPONSES.read_reply(body, ASKED)

    assert (reply.failed, reply.told, reply.output_text()) == (True, Told(), "")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (COUNTS, USAGE),
        ({"input_tokens": 3, "output_tokens": 2}, Usage(input_tokens=3, output_tokens=2, source="upstream")),
        (
            {
                "input_tokens": 3,
                "output_tokens": 2,
                "total_tokens": 9,
                "output_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(input_tokens=3, output_tokens=6, reasoning_tokens=4, source="upstream"),
        ),
        (
            {"output_tokens": 2, "input_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 9}},
            Usage(input_tokens=None, output_tokens=2, source="upstream"),
        ),
        (
            {"input_tokens": 3, "output_tokens_details": {"reasoning_tokens": 4}, "input_tokens_details": None},
            Usage(input_tokens=3, output_tokens=None, source="upstream"),
        ),
        ({"input_tokens": True, "output_tokens": "7"}, None),
        ({}, None),
    ],
)
def test_the_counts_of_a_response(usage: dict[str, Any], expected: Usage | None) -> None:
    assert usage_of(usage) == expected


# -- requests --------------------------------------------------------------------------------------------------------


def test_a_request_and_its_prompt() -> None:
    body = json.dumps(
        {
            "model": "gpt-5",
            "stream": True,
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": "Hi"},
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "See:"},
                        {"type": "input_image", "image_url": "https://a/b.png", "detail": "low"},
                        {"type": "input_file", "file_id": "f"},
                        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                    ],
                },
                {"type": "reasoning", "summary": [{"text": "Hm."}], "encrypted_content": "gAAAA"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "3 degrees"},
                {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "data:,"}},
                "nonsense",
            ],
            "tools": [{"type": "function", "name": "f", "description": "F.", "parameters": {"type": "object"}}],
            "text": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        }
    ).encode()

    request = RESPONSES.read_request(body, TARGET)
    prompt = RESPONSES.prompt(request)

    assert (request.model, request.stream, request.images_count) == ("gpt-5", True, 2)
    assert (request.is_background, request.is_lookup) == (False, False)
    assert prompt.texts == (
        "Be brief.", "user", "Hi", "user", "See:", "Hm.", "f", "{}", "3 degrees", '{"type":"object"}',
    )  # fmt: skip
    assert prompt.tools == (Tool(name="f", description="F.", schema={"type": "object"}),)
    assert [picture.detail for picture in prompt.pictures] == ["low", "auto"]
    assert (prompt.messages_count, prompt.is_whole) == (2, True)
    assert prompt.uncounted_parts_count >= 2
    assert RESPONSES.ask_for_usage(body) == body


def test_a_plain_input_is_one_message() -> None:
    request = RESPONSES.read_request(b'{"model":"gpt-5","input":"Hi","background":true}', TARGET)
    prompt = RESPONSES.prompt(request)

    assert (request.is_background, request.stream, request.images_count) == (True, False, 0)
    assert (prompt.texts, prompt.messages_count, prompt.is_whole) == (("user", "Hi"), 1, True)


@pytest.mark.parametrize(
    "members",
    [
        {"previous_response_id": "resp_0"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"type": "compaction", "encrypted_content": "gAAAA"}]},
    ],
)
def test_a_context_that_lies_with_the_server_makes_the_prompt_uncountable(members: dict[str, Any]) -> None:
    request = RESPONSES.read_request(json.dumps({"model": "gpt-5", "input": "Hi", **members}).encode(), TARGET)

    assert not RESPONSES.prompt(request).is_whole


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense"])
def test_what_is_no_request_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(DialectError):
        RESPONSES.read_request(body, TARGET)


def test_the_responses_of_a_survey_are_not_ours() -> None:
    with pytest.raises(NotOurs):
        RESPONSES.read_request(b'{"answers":[1,2,3]}', Target(method="POST", path="/surveys/7/responses"))


@pytest.mark.parametrize(
    ("target", "is_lookup", "streams"),
    [
        (LOOKUP, True, False),
        (Target(method="GET", path="/v1/responses/resp_1", query=b"stream=true&starting_after=7"), True, True),
        (Target(method="POST", path="/v1/responses/resp_1/Cancel/"), True, False),
        (Target(method="POST", path="/v1/responses", query=b"stream=true"), False, False),
    ],
)
def test_looking_up_and_cancelling_are_lookups(target: Target, is_lookup: bool, streams: bool) -> None:
    request = RESPONSES.read_request(b'{"input":"Hi"}', target)

    assert (request.is_lookup, request.stream) == (is_lookup, streams)


@pytest.mark.parametrize(
    ("method", "path", "is_ours"),
    [
        ("POST", "/v1/responses", True),
        ("POST", "/openai/responses/", True),
        ("POST", "/openai/v1/Responses", True),
        ("GET", "/v1/responses/resp_1", True),
        ("GET", "/openai/v1/responses/resp_1/", True),
        ("POST", "/v1/responses/resp_1/cancel", True),
        ("GET", "/v1/responses", False),
        ("POST", "/v1/responses/input_tokens", False),
        ("POST", "/v1/responses/compact", False),
        ("GET", "/v1/responses/resp_1/input_items", False),
        ("GET", "/v1/responses/resp_1/cancel", False),
        ("DELETE", "/v1/responses/resp_1", False),
        ("POST", "/v1/jobs/7/cancel", False),
    ],
)
def test_responses_are_known_by_method_and_path(method: str, path: str, is_ours: bool) -> None:
    found = find(method, path)

    assert (found is not None and found.name == "openai-responses") == is_ours


def test_another_type_is_no_stream() -> None:
    assert RESPONSES.stream_reader(ASKED, b"application/json") is None
