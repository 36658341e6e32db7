"""Requests and whole replies of the OpenAI chat API: what is read, what is folded, and what is left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import dialects
from headwater.dialects.openai_chat import OpenAIChat
from headwater.errors import DialectError
from headwater.records import ChatRequest, Picture, Tool, Usage
from tests.dialects.streams import ADDITION, ASKED_FOR, FOOTPRINT, TARGET, TIMINGS, USAGE

CHAT = OpenAIChat()
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}
REPLY = {
    "id": "chatcmpl-Bx1",
    "object": "chat.completion",
    "created": 1764000000,
    "model": "gpt-4o",
    "choices": [CHOICE],
    "usage": USAGE,
}


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def usage_of(usage: object, **members: object) -> Usage | None:
    return CHAT.read_reply(encode({"choices": [CHOICE], "usage": usage, **members}), ASKED_FOR).told.usage


# -- the table ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/chat/completions",
        "/openai/deployments/x/chat/completions",
        "/api/v1/chat/completions",
        "/v1/chat/completions/",
        "/v1/Chat/Completions",
    ],
)
def test_a_chat_completion_is_known_under_any_prefix_and_spelling_that_servers_forgive(path: str) -> None:
    found = dialects.find("POST", path)

    assert found is not None
    assert found.name == "openai-chat"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/chat/completions"), ("POST", "/v1/chat/completions/x"), ("POST", "/x")],
)
def test_other_requests_are_not_ours(method: str, path: str) -> None:
    assert not CHAT.matches(method, path)
    assert dialects.find(method, path) is None


# -- requests -----------------------------------------------------------------------------------------------------------


def test_a_request_says_what_was_asked() -> None:
    body = encode(
        {"model": "gpt-4o", "stream": True, "n": 2, "stream_options": {"include_usage": True}, "messages": []}
    )

    assert CHAT.read_request(body, TARGET) == ChatRequest(
        model="gpt-4o", stream=True, usage_asked=True, choices_count=2, raw=body
    )


@pytest.mark.parametrize("n", [None, 0, -1, True, False, 2.0, "2", 10**30, [2]])
def test_a_count_of_choices_that_is_no_count_is_one(n: object) -> None:
    assert CHAT.read_request(encode({"n": n}), TARGET).choices_count == 1


@pytest.mark.parametrize(
    "odd",
    [
        {"model": 7, "stream": "yes", "stream_options": [], "messages": "hello", "tools": 4},
        {"model": None, "stream": 1, "stream_options": {"include_usage": 1}},
        {},
    ],
)
def test_wrong_types_are_absent_and_never_an_error(odd: dict[str, object]) -> None:
    found = CHAT.read_request(encode(odd), TARGET)

    assert (found.model, found.stream, found.usage_asked) == (None, False, False)
    assert CHAT.prompt(found).uncounted_parts_count == 0


@pytest.mark.parametrize("body", [b"", b"[]", b'"text"', b"null", b"{", b"\xff\xfe", b'{"a":1}x', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused_with_its_size(body: bytes) -> None:
    with pytest.raises(DialectError, match=f"{len(body)} bytes is not a JSON object"):
        CHAT.read_request(body, TARGET)
    with pytest.raises(DialectError, match="not a JSON object"):
        CHAT.ask_for_usage(body)


# -- asking for usage -----------------------------------------------------------------------------------------------------


def test_usage_is_asked_for_by_an_insertion_where_no_options_were_given() -> None:
    body = b' { "model":"m", "stream":true , "messages":[{"content":"\\u00e9 \\"stream_options\\":1"}]}'

    assert CHAT.ask_for_usage(body) == body.replace(b"{", b'{"stream_options":{"include_usage":true},', 1)


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_obfuscation": False}])
def test_options_that_were_given_are_kept_beside_the_question(options: dict[str, object] | None) -> None:
    body = encode({"temperature": 1.50, "stream": True, "stream_options": options, "x": [1, {"stream_options": None}]})

    asked = json.loads(CHAT.ask_for_usage(body))

    assert asked == {**json.loads(body), "stream_options": {**(options or {}), "include_usage": True}}


@pytest.mark.parametrize(
    "document",
    [
        {"stream": False},
        {"messages": []},
        {"stream": "true"},
        {"stream": True, "stream_options": "all"},
        {"stream": True, "stream_options": [1]},
        {"stream": True, "stream_options": {"include_usage": True}},
    ],
)
def test_a_request_that_needs_no_question_stays_as_it_is(document: object) -> None:
    assert CHAT.ask_for_usage(encode(document)) == encode(document)


def test_a_request_that_only_a_lenient_parser_reads_is_not_rewritten() -> None:
    with pytest.raises(DialectError, match="lenient"):
        CHAT.ask_for_usage(b'{"stream":true,"temperature":NaN}')


# -- the prompt -----------------------------------------------------------------------------------------------------------


def prompt_of(**body: Any) -> Any:
    return CHAT.prompt(CHAT.read_request(encode(body), TARGET))


def test_a_prompt_is_the_text_of_messages_and_tools() -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "name": "ann",
            "content": [{"type": "text", "text": "What is this?"}, image, {"type": "input_audio"}],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"c":3}'},
    ]

    prompt = prompt_of(messages=messages, tools=[tool])

    assert prompt.texts == (
        "developer",
        "Be brief.",
        "user",
        "ann",
        "What is this?",
        "assistant",
        "get_weather",
        '{"city":"Oslo"}',
        "tool",
        '{"c":3}',
    )
    assert prompt.tools == (Tool(name="get_weather", schema={"type": "object"}),)
    assert prompt.pictures == (Picture(width_px=None, height_px=None),)
    assert (prompt.messages_count, prompt.names_count, prompt.uncounted_parts_count) == (4, 1, 1)


def test_older_and_rarer_shapes_of_messages_are_counted_too() -> None:
    messages = [
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "assistant", "tool_calls": [{"custom": {"name": "g", "input": "x"}}, 7]},
        {"role": "assistant", "content": ["plain", {"type": "refusal", "refusal": "no"}]},
        "not a message",
    ]

    prompt = prompt_of(messages=messages, functions=[{"name": "f"}])

    assert prompt.texts == ("assistant", "f", "{}", "assistant", "g", "x", "assistant", "plain", "no")
    assert prompt.tools == (Tool(name="f"),)
    assert prompt.messages_count == 3


def test_a_request_whose_body_was_not_kept_has_no_prompt() -> None:
    assert CHAT.prompt(ChatRequest(model="m")).texts == ()


def test_the_text_of_a_prompt_is_in_no_repr() -> None:
    request = CHAT.read_request(encode({"messages": [{"role": "user", "content": "secret"}]}), TARGET)

    assert "secret" not in repr(request)
    assert "secret" not in repr(CHAT.prompt(request))


# -- usage ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, (5, 7, None, None)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": None}, (5, 7, None, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (0, 0, None, None)),
        ({"prompt_tokens": 5}, (5, None, None, None)),
        ({"completion_tokens": 7}, (None, 7, None, None)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 0}}, (5, 7, 0, None)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 9}}, (5, 7, 5, None)),
        ({"completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 9}}, (None, 7, None, None)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_cache_hit_tokens": 2}, (5, 7, 2, None)),
        ({"prompt_tokens": 5, "completion_tokens": -1}, (5, None, None, None)),
        ({"prompt_tokens": 5, "completion_tokens": True}, (5, None, None, None)),
        ({"prompt_tokens": 5, "completion_tokens": 7.0}, (5, None, None, None)),
        ({"prompt_tokens": 5, "completion_tokens": "7"}, (5, None, None, None)),
        ({"prompt_tokens": 5, "completion_tokens": 10**40}, (5, None, None, None)),
        ({"prompt_tokens": 5, "completion_tokens": float("nan")}, (5, None, None, None)),
        ({"prompt_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}}, (5, None, None, None)),
    ],
)
def test_counts_are_counts_or_unknown(usage: object, expected: tuple[int | None, ...]) -> None:
    found = usage_of(usage)

    assert found is not None
    assert (found.input_tokens, found.output_tokens, found.cached_tokens, found.reasoning_tokens) == expected
    assert found.source == "upstream"


@pytest.mark.parametrize("usage", [None, {}, [], 3, "x", {"total_tokens": 9}, {"prompt_tokens": None}])
def test_a_usage_that_tells_neither_side_is_none(usage: object) -> None:
    assert usage_of(usage) is None


@pytest.mark.parametrize(
    ("completion", "total", "reasoning", "output", "known_reasoning"),
    [
        (300, 2348, 128, 300, 128),  # OpenAI: inside
        (9, 2048 + 9 + 94, 94, 103, 94),  # xAI: outside, as the total tells
        (9, None, 94, 103, 94),  # more than there are completion tokens: outside, without a total
        (9, 2057, 94, 9, 9),  # a total that says inside against all reason: clamped
        (9, 5000, 94, 103, 94),  # a total that says nothing
        (9, 2057, 0, 9, 0),
    ],
)
def test_reasoning_is_part_of_the_output_once(
    completion: int, total: int | None, reasoning: int, output: int, known_reasoning: int
) -> None:
    usage = {
        "prompt_tokens": 2048,
        "completion_tokens": completion,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }

    found = usage_of(usage)

    assert found is not None
    assert (found.output_tokens, found.reasoning_tokens) == (output, known_reasoning)


def test_llamacpp_timings_stand_in_for_a_usage_that_is_absent() -> None:
    assert usage_of(None, timings=TIMINGS) == Usage(
        input_tokens=237, output_tokens=35, cached_tokens=236, source="upstream"
    )
    assert usage_of({}, timings={"predicted_n": 0}) == Usage(input_tokens=None, output_tokens=0, source="upstream")
    assert usage_of(None, timings={"prompt_n": 3}) == Usage(input_tokens=3, output_tokens=None, source="upstream")
    assert usage_of(None, timings={"cache_n": 3}) is None


def test_llamacpp_timings_tell_the_cached_tokens_where_the_usage_does_not() -> None:
    found = usage_of({"prompt_tokens": 237, "completion_tokens": 35}, timings=TIMINGS)

    assert found is not None
    assert found.cached_tokens == 236


def test_groq_puts_its_usage_into_a_member_of_its_own() -> None:
    found = usage_of(None, x_groq={"usage": {"prompt_tokens": 18, "completion_tokens": 5}})

    assert found == Usage(input_tokens=18, output_tokens=5, source="upstream")
    assert usage_of(None, x_groq="x") is None


@pytest.mark.parametrize(
    ("timings", "busy_s"),
    [
        (TIMINGS, 0.692),
        ({"prompt_ms": 0, "predicted_ms": 0}, 0.0),
        ({"prompt_ms": 10}, None),
        ({"prompt_ms": -1, "predicted_ms": 5}, None),
        ({"prompt_ms": True, "predicted_ms": 5}, None),
        ({"prompt_ms": float("inf"), "predicted_ms": 5}, None),
        ({"prompt_ms": float("nan"), "predicted_ms": 5}, None),
        ("fast", None),
    ],
)
def test_busy_time_is_prefill_and_decode_or_unknown(timings: object, busy_s: float | None) -> None:
    found = CHAT.read_reply(encode({"choices": [CHOICE], "timings": timings}), ASKED_FOR).told.busy_s

    assert found == (None if busy_s is None else pytest.approx(busy_s))


# -- replies ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize(
    "usage",
    [USAGE, {}, {"prompt_tokens": 1, "x": {"usage": {"y": {}}}}],
)
def test_the_footprint_goes_into_the_usage_and_nothing_else_changes(usage: object, indent: int | None) -> None:
    message = {"content": 'a "usage":{} decoy, {"usage": {"a":1}}', "usage": {"nested": {}}}
    document = {"usage": usage, "choices": [{"message": message, "usage": usage}], "more": {"usage": usage}}
    body = json.dumps(document, indent=indent).encode() + b"\n"

    folded = CHAT.read_reply(body, ASKED_FOR).fold(ADDITION)

    assert folded is not None
    assert json.loads(folded) == {
        **document,
        "usage": {**json.loads(encode(usage)), "footprint": json.loads(FOOTPRINT)},
    }
    assert folded.replace(b"," * bool(usage) + b'"footprint":' + FOOTPRINT, b"") == body


@pytest.mark.parametrize("document", [{}, {"choices": []}, {"usage": None, "x": {"usage": {}}}, {"usage": 3}])
def test_without_a_usage_object_the_footprint_goes_to_the_top_level(document: dict[str, object]) -> None:
    folded = CHAT.read_reply(encode(document), ASKED_FOR).fold(ADDITION)

    assert folded is not None
    assert json.loads(folded) == {**document, "footprint": json.loads(FOOTPRINT)}


@pytest.mark.parametrize("body", [b"", b"[]", b"oops", b'{"usage":{', b"\xff", b'{"x":\xff}', b'{"a":1}}', b"null"])
def test_a_broken_reply_is_failed_and_cannot_be_folded(body: bytes) -> None:
    reply = CHAT.read_reply(body, ASKED_FOR)

    assert reply.failed
    assert not reply.complete
    assert reply.told.usage is None
    assert reply.told.busy_s is None
    assert reply.output_text() == ""
    assert reply.fold(ADDITION) is None


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"message": "rate limit", "type": "requests", "code": None}},
        {"object": "error", "message": "no such model", "code": 404},
        {"detail": "Not Found"},
        {"choices": [CHOICE], "error": {"message": "x"}},
    ],
)
def test_an_error_body_is_failed(document: object) -> None:
    assert CHAT.read_reply(encode(document), ASKED_FOR).failed


def test_a_good_reply_is_complete_and_read() -> None:
    reply = CHAT.read_reply(encode(REPLY), ASKED_FOR)

    assert (reply.complete, reply.failed) == (True, False)
    assert reply.told.usage == Usage(
        input_tokens=25, output_tokens=4, cached_tokens=0, reasoning_tokens=0, source="upstream"
    )
    assert reply.output_text() == "Hello there."


@pytest.mark.parametrize(
    "choices", [[], None, [{"finish_reason": None}], [CHOICE, {"finish_reason": ""}], [CHOICE, {}]]
)
def test_a_reply_with_an_unfinished_choice_is_not_complete(choices: object) -> None:
    reply = CHAT.read_reply(encode({"choices": choices}), ASKED_FOR)

    assert not reply.complete
    assert not reply.failed


def test_the_text_of_a_reply_is_that_of_all_choices_and_their_tool_calls() -> None:
    calls = [{"function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}]
    choices = [{"message": {"content": None, "tool_calls": calls}}, {"message": {"content": "Hi"}}, {"message": 3}, 4]

    assert CHAT.read_reply(encode({"choices": choices}), ASKED_FOR).output_text() == 'get_weather{"city":"Oslo"}Hi'


@given(st.binary(max_size=200))
def test_no_bytes_make_a_reply_raise(body: bytes) -> None:
    reply = CHAT.read_reply(body, ASKED_FOR)

    assert reply.output_text() is not None
    assert reply.fold(ADDITION) is None or not reply.failed or body.strip().startswith(b"{")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = [
    "choices",
    "usage",
    "error",
    "timings",
    "x_groq",
    "object",
    "model",
    "stream",
    "stream_options",
    "n",
    "messages",
]


@given(st.dictionaries(st.sampled_from(MEMBERS), json_values))
def test_no_json_makes_a_reader_raise(document: dict[str, object]) -> None:
    body = encode(document)

    reply = CHAT.read_reply(body, ASKED_FOR)
    assert reply.output_text() is not None
    assert (reply.told.usage, reply.told.busy_s) is not None
    assert CHAT.prompt(CHAT.read_request(body, TARGET)) is not None
