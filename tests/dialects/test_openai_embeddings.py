"""Embeddings: input of all kinds, replies whose vectors nobody looks at, and usage without output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import dialects
from headwater.dialects.openai_embeddings import OpenAIEmbeddings
from headwater.errors import DialectError
from headwater.records import ChatRequest, Target, Usage
from tests.dialects.payloads import payload
from tests.dialects.streams import ADDITION, FOOTPRINT

EMBEDDINGS = OpenAIEmbeddings()
TARGET = Target(method="POST", path="/v1/embeddings")
VECTOR = {"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def asked(**members: Any) -> ChatRequest:
    return EMBEDDINGS.read_request(encode({"model": "text-embedding-3-small", **members}), TARGET)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/openai/deployments/d/embeddings", "/api/v1/embeddings/"])
def test_embeddings_are_known_under_any_prefix(path: str) -> None:
    found = dialects.find("POST", path)

    assert found is not None
    assert found.name == "openai-embeddings"


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/embeddings"), ("POST", "/api/embeddings")])
def test_other_requests_are_not_ours(method: str, path: str) -> None:
    assert not EMBEDDINGS.matches(method, path)


@pytest.mark.parametrize(
    ("given", "texts", "tokens_count", "pictures_count"),
    [
        ("Hello", ("Hello",), 0, 0),
        (["a", "b"], ("a", "b"), 0, 0),
        ([1, 2, 3], (), 3, 0),
        ([[1, 2], [3]], (), 3, 0),
        ([{"text": "a"}, {"image": "https://example.com/x.png"}], ("a",), 0, 1),
        (None, (), 0, 0),
    ],
)
def test_input_is_text_or_token_ids(
    given: object, texts: tuple[str, ...], tokens_count: int, pictures_count: int
) -> None:
    found = EMBEDDINGS.prompt(asked(input=given))

    assert (found.texts, found.tokens_count, len(found.pictures)) == (texts, tokens_count, pictures_count)


def test_a_request_says_its_model_and_is_never_a_stream() -> None:
    request = asked(stream=True)

    assert (request.model, request.stream) == ("text-embedding-3-small", False)
    assert EMBEDDINGS.stream_reader(request, b"text/event-stream") is None
    assert EMBEDDINGS.ask_for_usage(b'{"stream":true}') == b'{"stream":true}'
    with pytest.raises(DialectError, match="not a JSON object"):
        EMBEDDINGS.read_request(b"", TARGET)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8}, 8),
        ({"prompt_tokens": 8, "total_tokens": 8, "completion_tokens": 0, "prompt_tokens_details": None}, 8),
        ({"total_tokens": 8}, 8),
        ({"prompt_tokens": None}, None),
        ({"prompt_tokens": 8.0}, None),
        ({}, None),
        (None, None),
        ("8", None),
    ],
)
def test_all_tokens_of_a_reply_are_input(usage: object, tokens: int | None) -> None:
    reply = EMBEDDINGS.read_reply(encode({"object": "list", "data": [VECTOR], "usage": usage}), asked())

    expected = None if tokens is None else Usage(input_tokens=tokens, output_tokens=0, source="upstream")
    assert reply.told.usage == expected
    assert (reply.complete, reply.failed, reply.output_text()) == (True, False, "")


@pytest.mark.parametrize("vector", [[0.1, -2e-5], "AACAPwAAAEA="])
def test_the_footprint_goes_into_the_usage_and_nothing_else_changes(vector: object) -> None:
    body = encode(
        {
            "data": [{"embedding": vector, "usage": {}}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
            "x": {"usage": 1},
        }
    )

    folded = EMBEDDINGS.read_reply(body, asked()).fold(ADDITION)

    assert folded is not None
    assert json.loads(folded)["usage"]["footprint"] == json.loads(FOOTPRINT)
    assert folded.replace(b',"footprint":' + FOOTPRINT, b"") == body


@pytest.mark.parametrize(
    "document",
    [{}, {"error": {"message": "x"}, "data": []}, {"object": "error", "data": []}, {"embedding": [1]}, [], 7],
)
def test_a_reply_without_vectors_or_with_an_error_is_failed(document: object) -> None:
    reply = EMBEDDINGS.read_reply(encode(document), asked())

    assert (reply.failed, reply.complete) == (True, False)


@given(st.binary(max_size=200))
def test_no_bytes_make_a_reply_raise(body: bytes) -> None:
    assert EMBEDDINGS.read_reply(body, asked()).output_text() == ""


def test_the_example_reply_is_read() -> None:
    body = payload("openai_embeddings_response.json")

    found = EMBEDDINGS.read_reply(body, asked()).told.usage

    assert found is not None
    assert found.input_tokens == json.loads(body)["usage"]["prompt_tokens"]
