"""Servers of OpenAI's family, one by one: whose tokens are inside whose, where usage stands, and where the footprint goes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects.kit.lenient import count
from headwater.dialects.openai_chat import OpenAIChat
from headwater.records import Target, Usage
from tests.dialects import providers, streams
from tests.dialects.providers import CASES, Case, counts, usage
from tests.dialects.streams import (
    ADDITION,
    ASKED_FOR,
    DONE,
    FOOTPRINT,
    bytewise,
    cut,
    delta,
    event,
    eventwise,
    run,
    unfolded,
)

CHAT = OpenAIChat()
STREAMS: dict[str, tuple[bytes, Usage]] = {
    "openrouter, not asked": (providers.OPENROUTER_NOT_ASKED, usage(571, 59)),
    "openrouter, late": (providers.OPENROUTER_LATE, usage(13559, 122)),
    "moonshot": (providers.MOONSHOT, usage(13, 261, cached_tokens=8)),
    "fireworks": (providers.FIREWORKS, usage(10, 5)),
    "azure": (providers.AZURE_FILTERS_ASKED, usage(14, 20)),
    "gemini": (providers.GEMINI, usage(2000, 23, reasoning_tokens=20)),
    "perplexity": (providers.PERPLEXITY, usage(10, 300)),
    "cerebras": (providers.CEREBRAS, usage(43, 9)),
    "groq, asked": (providers.GROQ_ASKED, usage(18, 439)),
    "groq, apart": (providers.GROQ_APART, usage(18, 5)),
    "databricks": (providers.DATABRICKS, usage(10, 4, cached_tokens=0)),
    "moderated": (providers.MODERATED, usage(5, 6)),
}
names = st.sampled_from(sorted(STREAMS))


def parsed(sent: bytes) -> list[dict[str, Any]]:
    return [json.loads(each[6:]) for each in eventwise(sent) if each.startswith(b"data: {")]


# -- whole replies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_reply_counts_what_its_server_means(name: str) -> None:
    case = CASES[name]

    told = CHAT.read_reply(case.body(), ASKED_FOR).told

    assert told.usage == case.expected
    assert told.busy_s == (None if case.busy_s is None else pytest.approx(case.busy_s))


@pytest.mark.parametrize("name", CASES)
def test_cached_and_written_and_reasoning_tokens_are_inside_what_they_are_part_of(name: str) -> None:
    found = CASES[name].expected

    if found is not None and found.input_tokens is not None:
        assert (found.cached_tokens or 0) + (found.cache_write_tokens or 0) <= found.input_tokens
    if found is not None and found.output_tokens is not None:
        assert (found.reasoning_tokens or 0) <= found.output_tokens


COUNTS = [
    "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "prompt_cache_hit_tokens", "reasoning_tokens",
    "cache_creation_input_tokens", "citation_tokens", "num_search_queries", "prompt_audio_seconds",
]  # fmt: skip
DETAILS = ["cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens"]
count_or_not = st.one_of(
    st.integers(0, 40), st.none(), st.booleans(), st.floats(), st.integers(-3, -1), st.text(max_size=1)
)
said_counts = st.dictionaries(st.sampled_from(COUNTS), count_or_not)
said_details = st.dictionaries(st.sampled_from(DETAILS), count_or_not)


@given(said_counts, said_details, said_details)
def test_no_count_is_lost_and_no_part_is_greater_than_its_whole(
    said: dict[str, object], given_details: dict[str, object], made_details: dict[str, object]
) -> None:
    told = {**said, "prompt_tokens_details": given_details, "completion_tokens_details": made_details}
    body = Case(usage=told, expected=None).body()

    found = CHAT.read_reply(body, ASKED_FOR).told.usage

    if found is None:
        assert count(said.get("prompt_tokens")) is None
        assert count(said.get("completion_tokens")) is None
        return
    for whole, name, parts in (
        (found.input_tokens, "prompt_tokens", (found.cached_tokens, found.cache_write_tokens)),
        (found.output_tokens, "completion_tokens", (found.reasoning_tokens,)),
    ):
        least = count(said.get(name))
        assert least is None or (whole is not None and whole >= least)
        assert sum(part or 0 for part in parts) <= (whole or 0)


def test_blank_lines_that_kept_a_connection_alive_are_no_part_of_a_reply() -> None:
    """DeepSeek sends them while it works."""
    body = b"\n\n\n" + CASES["deepseek"].body()

    reply = CHAT.read_reply(body, ASKED_FOR)

    assert reply.told.usage == CASES["deepseek"].expected
    folded = reply.fold(ADDITION)
    assert folded is not None
    assert folded.startswith(b"\n\n\n{")
    assert json.loads(folded)["usage"]["footprint"] == json.loads(FOOTPRINT)


@pytest.mark.parametrize(
    "document",
    [
        {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None},
        {"object": "error", "message": "The model does not exist.", "type": "NotFoundError", "code": 404},
        {"error": {"message": "bad", "type": "BadRequestError", "param": None, "code": 400}},
    ],
)
def test_errors_that_come_as_replies_are_failed(document: object) -> None:
    assert CHAT.read_reply(json.dumps(document).encode(), ASKED_FOR).failed


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/openai/deployments/my-gpt/chat/completions", b"{}", "my-gpt"),
        ("/OpenAI/Deployments/My-GPT/chat/completions/", b"{}", "My-GPT"),
        ("/openai/deployments/my-gpt/chat/completions", b'{"model":"gpt-4o"}', "gpt-4o"),
        ("/openai/v1/chat/completions", b"{}", None),
    ],
)
def test_azures_model_is_the_deployment_where_the_body_names_none(path: str, body: bytes, model: str | None) -> None:
    assert CHAT.read_request(body, Target(method="POST", path=path)).model == model


# -- streams ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_counts_what_its_server_means_wherever_it_says_it(name: str, asked: bool) -> None:
    body, expected = STREAMS[name]

    seen = run(eventwise(body), asked=asked)

    assert seen.usage == expected
    assert (seen.complete, seen.failed) == (True, False)


@pytest.mark.parametrize("name", STREAMS)
def test_the_footprint_is_folded_when_all_is_known_and_once(name: str) -> None:
    body, expected = STREAMS[name]
    reader = streams.reader()
    known: list[Usage | None] = []
    sent = b""

    for each in eventwise(body):
        out, is_held = reader.feed(each)
        sent += out
        if is_held:
            known.append(reader.told.usage)
            sent += reader.release(ADDITION)
    sent += reader.close()

    assert known == [expected]
    assert sent.count(FOOTPRINT) == 1
    assert unfolded(sent) == body


@given(names, st.lists(st.integers(0, 3000), max_size=12), st.booleans(), st.booleans())
def test_any_chunking_gives_the_same_reading_and_the_same_bytes(
    name: str, at: list[int], asked: bool, injected: bool
) -> None:
    body, _ = STREAMS[name]

    assert run(cut(body, at), asked=asked, injected=injected) == run([body], asked=asked, injected=injected)


@pytest.mark.parametrize("name", STREAMS)
def test_whole_and_bytewise_are_the_same(name: str) -> None:
    body, _ = STREAMS[name]

    assert run(bytewise(body)) == run([body])


@pytest.mark.parametrize("name", STREAMS)
def test_a_client_in_whose_place_usage_was_asked_for_gets_a_footprint_and_no_usage_but_what_the_finish_has(
    name: str,
) -> None:
    body, expected = STREAMS[name]

    seen = run(eventwise(body), injected=True)

    assert seen.usage == expected
    documents = parsed(seen.sent)
    shown = [each["usage"] for each in documents if each.get("usage")]
    assert sum("footprint" in each for each in (*documents, *shown)) == 1
    assert all(each["choices"][0]["finish_reason"] for each in documents if each.get("usage"))
    assert all("footprint" in each for each in shown)


def test_what_filters_say_behind_the_finish_keeps_its_place_and_the_finish_its_footprint() -> None:
    seen = run(eventwise(providers.AZURE_FILTERS))

    documents = parsed(seen.sent)
    assert ["footprint" in each for each in documents] == [False, False, True, False]
    assert unfolded(seen.sent) == providers.AZURE_FILTERS
    assert seen.usage is None


def test_azures_first_event_is_no_usage() -> None:
    first, *_ = eventwise(providers.AZURE_FILTERS)
    reader = run([first])

    assert (reader.usage, reader.held_count, reader.sent) == (None, 0, first)


def test_endless_trailing_events_are_not_kept() -> None:
    trailing = event(choices=[], note="x" * 1000)
    body = delta("Hi") + delta(finish="stop") + trailing * 8 + DONE

    assert run(eventwise(body)).sent == body


def test_text_behind_a_finish_reason_lets_it_go() -> None:
    body = delta("Hi") + delta(finish="stop") + delta("more") + DONE

    seen = run(eventwise(body))

    assert (seen.sent, seen.text) == (body, "Himore")


def test_an_error_that_comes_with_usage_tells_it() -> None:
    """OpenRouter, which here also counts more reasoning than completion: the total says that it is inside."""
    told = counts(43, 10, 53, completion_tokens_details={"reasoning_tokens": 11})
    error = delta("", error={"code": 400, "message": "Token limit reached"}, usage=told)

    seen = run(eventwise(delta("Hi") + delta("", finish="length") + error + DONE), asked=True)

    assert seen.usage == usage(43, 10, reasoning_tokens=10)
    assert seen.failed


@pytest.mark.parametrize(("name", "busy_s"), [("cerebras", 0.75), ("groq, asked", 0.75), ("gemini", None)])
def test_streams_tell_how_long_the_server_was_busy(name: str, busy_s: float | None) -> None:
    assert run([STREAMS[name][0]]).busy_s == busy_s


def test_the_counts_of_a_stream_that_breaks_off_are_those_so_far() -> None:
    seen = run([delta("po", usage=counts(2000, 1, 2001)) + delta("ng", usage=counts(2000, 3, 2003))])

    assert seen.usage == usage(2000, 3)
    assert not seen.complete
