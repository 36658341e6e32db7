"""Ollama's own API: lines of JSON, figures that Go leaves out, its cloud, and apps that only have a path of the same name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects import find
from headwater.dialects.base import Addition
from headwater.dialects.ollama import OllamaChat, OllamaEmbed, OllamaGenerate, usage_of
from headwater.errors import DialectError, NotOurs
from headwater.records import ChatRequest, Target, Tool, Usage
from tests.dialects.payloads import payload
from tests.dialects.streams import ADDITION, FOOTPRINT, Seen, bytewise, feed, unfolded

CHAT, GENERATE, EMBED = OllamaChat(), OllamaGenerate(), OllamaEmbed()
TARGET = Target(method="POST", path="/api/chat")
ASKED = ChatRequest(model="llama3.2", stream=True)
NDJSON = b"application/x-ndjson"
METRICS: dict[str, Any] = {
    "total_duration": 4883583458,
    "load_duration": 1334875,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 342546000,
    "eval_count": 282,
    "eval_duration": 4535599000,
}


def line(**members: Any) -> bytes:
    """One line, as Ollama writes it: each with its own time."""
    head = {"model": "llama3.2", "created_at": "2026-11-23T16:00:00.123456Z"}
    return json.dumps({**head, **members}, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def said(content: str = "", *, done: bool = False, **members: Any) -> bytes:
    """A line of a chat. `thinking` and `tool_calls` go into the message."""
    inner = {name: members.pop(name) for name in ("thinking", "tool_calls") if name in members}
    return line(message={"role": "assistant", "content": content, **inner}, done=done, **members)


WORDS = b"".join(said(word) for word in ("The", " sky", ' is "blue"', "\n", " 世界"))
END = said(done=True, done_reason="stop", **METRICS)
TOOL = {"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
STREAMS = {
    "chat": WORDS + END,
    "thinking": said(thinking="Okay") + said(thinking=", so") + said("Yes") + said(tool_calls=[TOOL]) + END,
    "generate": line(response="The", done=False)
    + line(response=" sky", done=False)
    + line(response="", done=True, done_reason="stop", context=[1, 2, 3], **METRICS),
    "aborted": WORDS,
    "error": WORDS + b'{"error":"unexpected EOF"}\n',
    "no_final_newline": WORDS + END[:-1],
    "crlf": (WORDS + END).replace(b"\n", b"\r\n"),
    "blank_lines": b"\n" + WORDS + b"\n\r\n" + END + b"\n",
    "text_that_looks_like_the_end": said('{"done":true}') + said('"done": true') + END,
    "after_the_end": WORDS + END + said("more") + END,
    "long": b"".join(said(f"w{n} ") for n in range(60)) + END,
}


def run(chunks: Iterable[bytes], *, footprint: bytes | None = FOOTPRINT, model: str = "llama3.2") -> Seen:
    reader = CHAT.stream_reader(ChatRequest(model=model, stream=True), NDJSON)
    assert reader is not None
    return feed(reader, chunks, footprint=footprint)


@pytest.mark.parametrize("name", ["chat", "thinking", "generate", "crlf", "blank_lines"])
def test_the_footprint_goes_to_the_top_level_of_the_last_line(name: str) -> None:
    body = STREAMS[name]
    end = body.rindex(b"}")

    seen = run([body])

    assert seen.sent == body[:end] + b',"footprint":' + FOOTPRINT + body[end:]
    assert (seen.complete, seen.failed) == (True, False)


def test_a_last_line_without_its_end_counts_but_is_not_folded() -> None:
    seen = run(bytewise(STREAMS["no_final_newline"]))

    assert (seen.complete, seen.sent) == (True, STREAMS["no_final_newline"])
    assert seen.usage == Usage(input_tokens=26, output_tokens=282, source="upstream")


def test_a_line_goes_out_at_once_and_only_the_last_is_held() -> None:
    seen = run((WORDS + END).splitlines(keepends=True))

    assert seen.held_count == 1
    assert seen.text == 'The sky is "blue"\n 世界'


def test_counts_and_the_servers_own_time() -> None:
    seen = run([STREAMS["chat"]])

    assert seen.usage == Usage(input_tokens=26, output_tokens=282, source="upstream")
    assert seen.busy_s == pytest.approx(4.878145)


def test_thoughts_and_calls_of_tools_are_output() -> None:
    assert run([STREAMS["thinking"]]).text == 'Okay, soYesget_weather{"city":"Oslo"}'


def test_only_a_line_that_is_done_completes_a_stream() -> None:
    seen = run([STREAMS["aborted"]])

    assert (seen.complete, seen.failed, seen.usage, seen.busy_s) == (False, False, None, None)
    assert seen.events_count == 5


def test_an_error_in_the_middle_has_failed() -> None:
    seen = run([STREAMS["error"]])

    assert (seen.complete, seen.failed) == (False, True)
    assert seen.sent == STREAMS["error"]


@pytest.mark.parametrize(
    ("figures", "has_text", "expected"),
    [
        ({"done": True, "prompt_eval_count": 26, "eval_count": 7}, True, (26, 7, None)),
        ({"done": True, "prompt_eval_count": 26}, False, (26, 0, None)),
        ({"done": True, "prompt_eval_count": 26}, True, (26, None, None)),
        ({"done": True, "prompt_eval_count": 26, "eval_count": None}, False, (26, None, None)),
        ({"done": False, "prompt_eval_count": 26}, False, (26, None, None)),
        ({"done": True, "eval_count": 7}, True, (None, 7, None)),
        ({"done": True, "eval_count": 7, "prompt_eval_cached_count": 3}, True, (None, 7, None)),
        (
            {"done": True, "prompt_eval_count": 900, "prompt_eval_cached_count": 850, "eval_count": 7},
            True,
            (900, 7, 850),
        ),
        ({"done": True, "prompt_eval_count": 9, "prompt_eval_cached_count": 10, "eval_count": 7}, True, (9, 7, 9)),
        ({"done": True, "done_reason": "load"}, False, (0, 0, None)),
        ({"done": True, "done_reason": "unload"}, False, (0, 0, None)),
        ({"done": True, "done_reason": "load"}, True, None),
        ({"done": False, "done_reason": "load"}, False, None),
        ({"done": True, "done_reason": ["load"]}, False, None),
        ({"done": True, "done_reason": "stop"}, False, None),
        ({"done": True, "prompt_eval_count": True, "eval_count": -1}, False, None),
    ],
)
def test_an_absent_figure_is_zero_only_where_go_leaves_out_a_zero(
    figures: dict[str, Any], has_text: bool, expected: tuple[int | None, int | None, int | None] | None
) -> None:
    usage = usage_of(figures, has_text=has_text)

    assert (usage and (usage.input_tokens, usage.output_tokens, usage.cached_tokens)) == expected


@pytest.mark.parametrize(
    ("figures", "busy_s"),
    [
        ({"prompt_eval_duration": 10**9, "eval_duration": 2 * 10**9}, 3.0),
        ({"eval_duration": 2 * 10**9}, 2.0),
        ({"prompt_eval_duration": 0, "eval_duration": 0}, None),
        ({"eval_duration": "2s", "prompt_eval_duration": -1}, None),
    ],
)
def test_no_time_told_is_unknown(figures: dict[str, Any], busy_s: float | None) -> None:
    assert run([said("Hi", done=True, **figures)]).busy_s == busy_s


@pytest.mark.parametrize(
    ("model", "members", "remote"),
    [
        (
            "gpt-oss:120b",
            {"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"},
            "https://ollama.com:443",
        ),
        ("gpt-oss:120b", {"remote_model": "gpt-oss:120b"}, "gpt-oss:120b"),
        ("gpt-oss:120b-cloud", {}, "ollama.com"),
        ("kimi-k2: Cloud", {}, "ollama.com"),
        ("localhost:5000/my-cloud", {}, ""),
        ("my-cloud", {}, ""),
        ("llama3.2", {"remote_host": ""}, ""),
    ],
)
def test_what_ollamas_cloud_did_is_said_to_be_remote(model: str, members: dict[str, Any], remote: str) -> None:
    request = ChatRequest(model=model, stream=True)
    reader = CHAT.stream_reader(request, NDJSON)
    assert reader is not None

    feed(reader, [said("Hi", done=True, **members, **METRICS)])

    assert reader.told.remote == remote
    assert CHAT.read_reply(said("Hi", done=True, **members), request).told.remote == remote


def test_a_stream_that_breaks_off_has_still_said_who_does_the_work() -> None:
    reader = CHAT.stream_reader(ASKED, NDJSON)
    assert reader is not None

    feed(reader, [said("Hi", remote_host="https://ollama.com:443")])

    assert reader.told.remote == "https://ollama.com:443"


def test_a_whole_reply_of_a_chat_is_folded_at_its_top_level() -> None:
    body = said("Hi", done=True, done_reason="stop", **METRICS)

    reply = CHAT.read_reply(body, ASKED)

    assert (reply.complete, reply.failed, reply.output_text()) == (True, False, "Hi")
    assert reply.told.usage == Usage(input_tokens=26, output_tokens=282, source="upstream")
    assert reply.fold(ADDITION) == body[:-2] + b',"footprint":' + FOOTPRINT + b"}\n"


def test_what_goes_beside_the_footprint_follows_it() -> None:
    addition = Addition(footprint=FOOTPRINT, beside=b'"energy":{}', placement="top")

    folded = CHAT.read_reply(b'{"message":{},"done":true}', ASKED).fold(addition)

    assert folded == b'{"message":{},"done":true,"footprint":' + FOOTPRINT + b',"energy":{}}'


@pytest.mark.parametrize(
    "body", [b'{"error":"model not found"}', b"[]", b"nonsense", b"{}", b'{"message":"Hi","done":true}']
)
def test_what_is_no_reply_has_failed(body: bytes) -> None:
    assert CHAT.read_reply(body, ASKED).failed
    assert EMBED.read_reply(body, ASKED).failed


def test_a_request_that_only_loads_a_model_generates_nothing() -> None:
    reply = GENERATE.read_reply(line(response="", done=True, done_reason="load"), ASKED)

    assert (reply.complete, reply.failed) == (True, False)
    assert reply.told.usage == Usage(input_tokens=0, output_tokens=0, source="upstream")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"embeddings":[[0.1]],"prompt_eval_count":8}', Usage(input_tokens=8, output_tokens=0, source="upstream")),
        (b'{"embeddings":[[0.1]]}', Usage(input_tokens=None, output_tokens=0, source="upstream")),
        (b'{"embedding":[0.1]}', Usage(input_tokens=None, output_tokens=0, source="upstream")),
        (b'{"embeddings":[]}', Usage(input_tokens=0, output_tokens=0, source="upstream")),
    ],
)
def test_embeddings_have_no_output(body: bytes, expected: Usage) -> None:
    reply = EMBED.read_reply(body, ASKED)

    assert (reply.told.usage, reply.complete, reply.output_text()) == (expected, True, "")
    assert reply.fold(ADDITION) == body[:-1] + b',"footprint":' + FOOTPRINT + b"}"


@pytest.mark.parametrize(
    ("name", "usage", "busy_s"),
    [
        ("ollama_chat_stream.ndjson", (26, 282), 4.878145),
        ("ollama_chat_stream_no_prompt_count.ndjson", (None, 282), 4.535599),
        ("ollama_chat_stream_thinking_tools.ndjson", (26, 282), 4.878145),
        ("ollama_generate_stream.ndjson", (26, 282), 4.878145),
    ],
)
def test_the_example_streams_are_read_as_ollama_counts(
    name: str, usage: tuple[int | None, int | None], busy_s: float
) -> None:
    body = payload(name)
    seen = run(bytewise(body))

    assert seen.usage is not None
    assert (seen.usage.input_tokens, seen.usage.output_tokens) == usage
    assert seen.busy_s == pytest.approx(busy_s)
    assert unfolded(seen.sent) == body
    assert json.loads(seen.sent.splitlines()[-1])["footprint"]["v"] == 1


def test_the_example_replies_and_the_example_error() -> None:
    chat, embed = payload("ollama_chat_response.json"), payload("ollama_embed_response.json")

    assert CHAT.read_reply(chat, ASKED).told.usage == Usage(input_tokens=26, output_tokens=282, source="upstream")
    assert EMBED.read_reply(embed, ASKED).told.usage == Usage(input_tokens=8, output_tokens=0, source="upstream")
    assert run([payload("ollama_chat_stream_error.ndjson")]).failed


def test_ollamas_own_client_reads_what_was_folded() -> None:
    chat = [ollama.ChatResponse(**json.loads(each)) for each in run([STREAMS["thinking"]]).sent.splitlines()]
    made = [ollama.GenerateResponse(**json.loads(each)) for each in run([STREAMS["generate"]]).sent.splitlines()]
    folded = EMBED.read_reply(b'{"embeddings":[[0.1]],"prompt_eval_count":8}', ASKED).fold(ADDITION)
    embedded = ollama.EmbedResponse(**json.loads(folded or b""))

    assert (chat[-1].done, chat[-1].prompt_eval_count, chat[-1].eval_count) == (True, 26, 282)
    assert (chat[0].message.thinking, chat[2].message.content) == ("Okay", "Yes")
    assert (made[-1].done, made[-1].context, made[0].response) == (True, [1, 2, 3], "The")
    assert (embedded.prompt_eval_count, embedded.embeddings) == (8, [[0.1]])


def test_a_request_and_its_prompt() -> None:
    body = json.dumps(
        {
            "model": "llava",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What is this?", "images": ["iVBOR", "iVBOR"]},
                {"role": "assistant", "content": "", "thinking": "Hm", "tool_calls": [TOOL]},
                {"role": "tool", "content": "3 degrees", "tool_name": "get_weather"},
            ],
            "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}],
            "format": {"type": "object"},
        }
    ).encode()

    request = CHAT.read_request(body, TARGET)
    prompt = CHAT.prompt(request)

    assert (request.model, request.stream, request.images_count) == ("llava", True, 2)
    assert "".join(prompt.texts) == (
        'systemBe brief.userWhat is this?assistantHmget_weather{"city":"Oslo"}tool3 degreesget_weather'
    )
    assert (prompt.messages_count, len(prompt.pictures)) == (4, 2)
    assert prompt.tools == (Tool(name="get_weather", schema={"type": "object"}),)
    assert CHAT.ask_for_usage(body) == body


def test_a_prompt_with_the_tokens_of_an_earlier_context() -> None:
    given = {
        "model": "m",
        "system": "Be brief.",
        "prompt": "Hi",
        "suffix": "!",
        "context": [1, 2, 3],
        "images": ["iVBOR"],
    }

    chat = GENERATE.prompt(GENERATE.read_request(json.dumps(given).encode(), TARGET))
    raw = GENERATE.prompt(GENERATE.read_request(json.dumps({**given, "raw": True}).encode(), TARGET))

    assert (chat.texts, chat.messages_count, chat.tokens_count, len(chat.pictures)) == (
        ("Be brief.", "Hi", "!"),
        2,
        3,
        1,
    )
    assert (raw.texts, raw.messages_count) == (chat.texts, 0)


def test_the_texts_to_embed_in_either_shape() -> None:
    many = EMBED.read_request(b'{"model":"m","input":["a","b"]}', TARGET)
    one = EMBED.read_request(b'{"model":"m","prompt":"a"}', TARGET)

    assert (EMBED.prompt(many).texts, EMBED.prompt(one).texts) == (("a", "b"), ("a",))
    assert (many.stream, one.stream) == (False, False)


@pytest.mark.parametrize(("value", "streams"), [(b"true", True), (b"false", False), (b"null", True)])
def test_a_stream_is_what_is_not_refused(value: bytes, streams: bool) -> None:
    assert CHAT.read_request(b'{"model":"m","stream":' + value + b"}", TARGET).stream == streams


def test_names_of_members_know_no_case_as_in_go() -> None:
    request = CHAT.read_request(
        b'{"Model":"m","\xc5\xbftream":false,"MESSAGES":[{"role":"user","content":"Hi"}]}', TARGET
    )

    assert (request.model, request.stream) == ("m", False)
    assert CHAT.prompt(request).texts == ("user", "Hi")


@pytest.mark.parametrize("body", [b"{}", b'{"messages":[]}', b'{"model":7}', b'{"model":""}', b'{"model":null}'])
def test_a_request_without_a_model_is_another_apps(body: bytes) -> None:
    for dialect in (CHAT, GENERATE, EMBED):
        with pytest.raises(NotOurs):
            dialect.read_request(body, TARGET)


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense"])
def test_what_is_no_request_is_said_to_be_none_but_is_metered(body: bytes) -> None:
    with pytest.raises(DialectError) as error:
        CHAT.read_request(body, TARGET)

    assert not isinstance(error.value, NotOurs)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/api/chat", "ollama-chat"),
        ("POST", "/ollama/api/chat/", "ollama-chat"),
        ("POST", "/api/generate", "ollama-generate"),
        ("POST", "/api/embed", "ollama-embed"),
        ("POST", "/API/embeddings", "ollama-embed"),
        ("GET", "/api/chat", None),
        ("POST", "/api/chats", None),
        ("POST", "/api/pull", None),
        ("POST", "/api/chat/1", None),
        ("POST", "/myapi/chat", None),
    ],
)
def test_operations_are_known_by_their_path(method: str, path: str, name: str | None) -> None:
    found = find(method, path)

    assert (found.name if found is not None else None) == name


def test_another_type_is_no_stream() -> None:
    assert CHAT.stream_reader(ASKED, b"text/event-stream") is None
    assert GENERATE.stream_reader(ASKED, b"application/json") is None
    assert EMBED.stream_reader(ASKED, NDJSON) is None


@given(st.binary(max_size=200) | st.sampled_from([STREAMS["thinking"][:n] for n in range(0, 900, 7)]))
def test_no_bytes_make_a_reader_fail_or_change(data: bytes) -> None:
    folded = CHAT.read_reply(data, ASKED).fold(ADDITION)

    assert unfolded(run(bytewise(data)).sent) == data
    assert folded is None or unfolded(folded) == data
