"""Legacy completions: prompts of all kinds, several of them, drafts that are thrown away, and Mistral's variants."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import dialects
from headwater.dialects.openai_completions import OpenAICompletions
from headwater.errors import DialectError
from headwater.records import ChatRequest, Target, Usage
from tests.dialects.payloads import payload
from tests.dialects.streams import ADDITION, DONE, FOOTPRINT, USAGE, Seen, bytewise, cut, eventwise, feed, unfolded

COMPLETIONS = OpenAICompletions()
TARGET = Target(method="POST", path="/v1/completions")


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def asked(**members: Any) -> ChatRequest:
    return COMPLETIONS.read_request(encode({"model": "davinci-002", **members}), TARGET)


def chunk(text: str = "", *, index: int = 0, finish: str | None = None, **members: Any) -> bytes:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    made = {"id": "cmpl-1", "object": "text_completion", "created": 1, "choices": [choice], "model": "m", **members}
    return b"data: " + json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def run(chunks: Iterable[bytes], **members: Any) -> Seen:
    reader = COMPLETIONS.stream_reader(asked(stream=True, **members), b"text/event-stream")
    assert reader is not None
    return feed(reader, chunks)


USAGE_CHUNK = b'data: {"object":"text_completion","choices":[],"usage":' + encode(USAGE) + b"}\n\n"
WORDS = b"".join(chunk(f"w{n} ") for n in range(40))
STREAMS = {
    "plain": WORDS + chunk('"x"\n', finish="stop") + DONE,
    "usage": WORDS + chunk(finish="length", usage=None) + USAGE_CHUNK + DONE,
    "two prompts": chunk("A", index=0)
    + chunk("B", index=1)
    + chunk("b", index=1, finish="stop")
    + chunk("a", index=0, finish="stop")
    + DONE,
    "aborted": WORDS,
}
names = st.sampled_from(sorted(STREAMS))


@pytest.mark.parametrize(
    "path",
    ["/v1/completions", "/openai/deployments/d/completions", "/v1/fim/completions", "/v1/agents/completions/"],
)
def test_completions_are_known_under_any_prefix(path: str) -> None:
    found = dialects.find("POST", path)

    assert found is not None
    assert found.name == "openai-completions"


def test_completions_of_chat_are_not_text() -> None:
    assert not COMPLETIONS.matches("POST", "/v1/chat/completions")
    assert not COMPLETIONS.matches("GET", "/v1/completions")


@pytest.mark.parametrize(
    ("prompt", "texts", "tokens_count", "choices_count"),
    [
        ("Hello", ("Hello",), 0, 2),
        (["a", "b", "c"], ("a", "b", "c"), 0, 6),
        ([11, 12, 13], (), 3, 2),
        ([[11, 12], [13]], (), 3, 4),
        ([], (), 0, 2),
        (None, (), 0, 2),
        ({"a": 1}, (), 0, 2),
        ([True, 1.5, None, -1], (), 0, 2),
    ],
)
def test_a_prompt_is_text_or_token_ids_one_or_several(
    prompt: object, texts: tuple[str, ...], tokens_count: int, choices_count: int
) -> None:
    request = asked(prompt=prompt, n=2)

    found = COMPLETIONS.prompt(request)

    assert (found.texts, found.tokens_count, request.choices_count) == (texts, tokens_count, choices_count)


def test_the_suffix_is_part_of_the_prompt_and_so_are_the_messages_of_agents() -> None:
    fim = COMPLETIONS.prompt(asked(prompt="def f(", suffix="return a"))
    agent = COMPLETIONS.prompt(asked(messages=[{"role": "user", "content": "Hi"}], tools=[{"function": {"name": "f"}}]))

    assert fim.texts == ("def f(", "return a")
    assert agent.texts == ("user", "Hi")
    assert [tool.name for tool in agent.tools] == ["f"]


@pytest.mark.parametrize(
    ("members", "ratio"),
    [
        ({}, 1.0),
        ({"best_of": 4}, 4.0),
        ({"best_of": 4, "n": 2}, 2.0),
        ({"best_of": 1, "n": 2}, 1.0),
        ({"best_of": "4"}, 1.0),
    ],
)
def test_drafts_that_are_thrown_away_are_known(members: dict[str, object], ratio: float) -> None:
    assert asked(**members).drafts_ratio == ratio


def test_a_body_that_is_no_json_object_is_refused() -> None:
    with pytest.raises(DialectError, match="2 bytes is not a JSON object"):
        COMPLETIONS.read_request(b"[]", TARGET)
    with pytest.raises(DialectError, match="not a JSON object"):
        COMPLETIONS.ask_for_usage(b"")


def test_usage_is_asked_for_on_streams_alone() -> None:
    body = b'{"prompt":"x","stream":true}'

    assert COMPLETIONS.ask_for_usage(body) == b'{"stream_options":{"include_usage":true},"prompt":"x","stream":true}'
    assert COMPLETIONS.ask_for_usage(b'{"prompt":"x"}') == b'{"prompt":"x"}'


@given(names, st.lists(st.integers(0, 5000), max_size=12), st.sampled_from([["x"], ["x", "y"]]))
def test_any_chunking_gives_the_same_reading_and_the_same_bytes(name: str, at: list[int], prompt: list[str]) -> None:
    body = STREAMS[name]

    assert run(cut(body, at), prompt=prompt) == run([body], prompt=prompt)


@pytest.mark.parametrize("name", STREAMS)
def test_whole_and_bytewise_and_eventwise_are_the_same(name: str) -> None:
    whole = run([STREAMS[name]])

    assert run(bytewise(STREAMS[name])) == whole
    assert run(eventwise(STREAMS[name])) == whole
    assert unfolded(whole.sent) == STREAMS[name]


def test_text_is_read_and_the_footprint_folded() -> None:
    seen = run(eventwise(STREAMS["usage"]))

    assert seen.text == "".join(f"w{n} " for n in range(40))
    assert seen.usage == Usage(input_tokens=25, output_tokens=4, cached_tokens=0, reasoning_tokens=0, source="upstream")
    assert seen.sent.count(b',"footprint":' + FOOTPRINT + b"}}\n\n" + DONE) == 1
    assert seen.complete


def test_ordinary_chunks_of_text_are_known_by_their_bytes_alone() -> None:
    reader = COMPLETIONS.stream_reader(asked(stream=True), b"text/event-stream")
    assert reader is not None
    reader.feed(chunk("one"))

    assert reader._stencils is not None
    assert reader._stencils.latest is not None
    assert reader._stencils.find(chunk("two")) is not None
    assert reader._stencils.find(chunk("two", finish="stop")) is None


def test_of_several_prompts_the_last_answer_to_finish_completes_the_stream() -> None:
    *before, last, _done = [each for each in eventwise(STREAMS["two prompts"]) if each]
    reader = COMPLETIONS.stream_reader(asked(stream=True, prompt=["x", "y"]), b"text/event-stream")
    assert reader is not None
    for each in before:
        reader.feed(each)

    assert not reader.complete
    reader.feed(last)
    assert reader.complete


def test_a_footprint_is_folded_though_fewer_answers_came_than_were_asked_for() -> None:
    seen = run(eventwise(chunk("A") + chunk(finish="stop") + DONE), n=3)

    assert seen.sent.count(FOOTPRINT) == 1
    assert seen.complete


def test_a_stream_of_another_type_is_none_of_ours() -> None:
    assert COMPLETIONS.stream_reader(asked(), b"application/json") is None


def test_a_whole_reply_is_read_and_folded() -> None:
    body = encode({"object": "text_completion", "choices": [{"text": "Hi", "finish_reason": "stop"}], "usage": USAGE})

    reply = COMPLETIONS.read_reply(body, asked())

    assert (reply.complete, reply.failed, reply.output_text()) == (True, False, "Hi")
    assert reply.told.usage is not None
    folded = reply.fold(ADDITION)
    assert folded is not None
    assert json.loads(folded)["usage"]["footprint"] == json.loads(FOOTPRINT)


def test_a_completion_of_no_tokens_may_be_left_out_of_the_usage() -> None:
    """OpenAI says no `completion_tokens` where `max_tokens` is 0: the total says that there are none."""
    body = encode(
        {"choices": [{"text": "", "finish_reason": "length"}], "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    )

    found = COMPLETIONS.read_reply(body, asked()).told.usage

    assert found == Usage(input_tokens=5, output_tokens=0, source="upstream")


def test_mistrals_completions_are_messages() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a + b"}, "finish_reason": "stop"}
    streamed = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],"usage":' + encode(USAGE)

    reply = COMPLETIONS.read_reply(encode({"object": "chat.completion", "choices": [choice], "usage": USAGE}), asked())
    seen = run([streamed + b"}\n\n" + DONE])

    assert reply.output_text() == "a + b"
    assert (seen.text, seen.complete) == ("a", True)
    assert reply.told.usage == seen.usage


@pytest.mark.parametrize("name", ["openai_completions_response.json"])
def test_the_example_reply_is_read(name: str) -> None:
    body = payload(name)
    usage = json.loads(body)["usage"]

    found = COMPLETIONS.read_reply(body, asked()).told.usage

    assert found is not None
    assert (found.input_tokens, found.output_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])


def test_the_example_stream_is_read_and_folded() -> None:
    body = payload("openai_completions_stream.sse")

    seen = run(bytewise(body))

    assert seen.complete
    assert seen.sent.count(FOOTPRINT) == 1
    assert unfolded(seen.sent) == body
