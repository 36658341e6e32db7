"""The openai client reads what Headwater sends as it read the original."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
from openai import DefaultHttpxClient, OpenAI
from openai._streaming import SSEDecoder
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from headwater.dialects.openai_chat import OpenAIChat
from tests.dialects.streams import ADDITION, ASKED_FOR, FOOTPRINT, STREAMS, bytewise, run
from tests.dialects.test_openai_chat import REPLY


def parsed(body: bytes) -> list[ChatCompletionChunk]:
    """The chunks as the client's own decoder and types see them."""
    found = [each.data for each in SSEDecoder().iter_bytes(iter(bytewise(body)))]
    assert found[-1] == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(data) for data in found[:-1]]


@pytest.mark.parametrize("name", ["asked", "mistral", "two_choices", "tools", "padded", "commented", "vllm"])
def test_the_client_finds_the_footprint_in_the_usage(name: str) -> None:
    before, after = parsed(STREAMS[name]), parsed(run([STREAMS[name]], asked=True).sent)

    assert [each.choices for each in after] == [each.choices for each in before]
    usage = after[-1].usage
    assert usage is not None
    assert usage.model_extra == {"footprint": json.loads(FOOTPRINT)}
    assert before[-1].usage is not None
    assert usage.total_tokens == before[-1].usage.total_tokens


@pytest.mark.parametrize("name", ["asked", "llamacpp", "vllm", "tools", "padded"])
def test_a_client_that_did_not_ask_sees_no_usage_but_the_footprint(name: str) -> None:
    after = parsed(run([STREAMS[name]], injected=True).sent)

    assert all(each.choices and each.usage is None for each in after)
    assert (after[-1].model_extra or {})["footprint"] == json.loads(FOOTPRINT)


def test_the_client_finds_the_footprint_in_a_whole_reply() -> None:
    folded = OpenAIChat().read_reply(json.dumps(REPLY).encode(), ASKED_FOR).fold(ADDITION)
    assert folded is not None

    found = ChatCompletion.model_validate_json(folded)

    assert found.usage is not None
    assert found.usage.model_extra == {"footprint": json.loads(FOOTPRINT)}


# The HTTP package that the installed openai builds upon: httpx or httpx2.
http: Any = importlib.import_module(DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])


def client_of(body: bytes) -> OpenAI:
    """A client whose server answers with this stream."""

    def answer(request: object) -> Any:
        return http.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    http_client = http.Client(transport=http.MockTransport(answer))
    return OpenAI(api_key="none", base_url="http://upstream/v1", http_client=http_client)


@pytest.mark.parametrize("name", ["asked", "tools", "padded", "commented"])
def test_the_clients_own_accumulator_keeps_text_and_usage_and_shows_the_footprint(name: str) -> None:
    seen = run([STREAMS[name]], asked=True)

    with (
        client_of(seen.sent) as client,
        client.chat.completions.stream(
            model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], stream_options={"include_usage": True}
        ) as stream,
    ):
        final = stream.get_final_completion()

    assert final.usage is not None
    assert final.usage.total_tokens == 29
    assert (final.usage.model_extra or {})["footprint"] == json.loads(FOOTPRINT)
    assert (final.choices[0].message.content or "") == ("" if name == "tools" else seen.text)


@pytest.mark.parametrize("name", ["asked", "llamacpp", "tools", "padded"])
def test_the_clients_own_accumulator_reads_a_stream_whose_usage_was_taken_out(name: str) -> None:
    seen = run([STREAMS[name]], injected=True)

    with (
        client_of(seen.sent) as client,
        client.chat.completions.stream(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}]) as stream,
    ):
        final = stream.get_final_completion()

    assert final.usage is None
    assert final.choices[0].finish_reason in ("stop", "tool_calls")
