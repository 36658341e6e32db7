"""What genai-prices, an independent reader, makes of the same usage: equal counts, or a difference with its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from genai_prices.data import providers

from headwater.dialects import find
from headwater.dialects.anthropic import usage_of
from headwater.dialects.base import StreamReader
from headwater.dialects.openai_chat import OpenAIChat
from headwater.records import Target, Usage
from tests.dialects.payloads import payload
from tests.dialects.providers import CASES
from tests.dialects.streams import ASKED_FOR, eventwise, feed

PROVIDERS = {each.id: each for each in providers}
Counts = tuple[int, int, int, int, int]
KNOWN = [name for name, case in CASES.items() if case.provider]
# An embedding makes no output, so genai-prices has no extractor for it that says 0.
REPLIES = [
    ("openai_chat_response.json", "/v1/chat/completions", "openai", "chat"),
    ("openai_chat_response_n2_tools.json", "/v1/chat/completions", "openai", "chat"),
    ("openai_completions_response.json", "/v1/completions", "openai", "chat"),
    ("openai_embeddings_response.json", "/v1/embeddings", "openai", "embeddings"),
    ("xai_usage_reasoning_excluded.json", "/v1/chat/completions", "x-ai", "chat"),
    ("anthropic_response.json", "/v1/messages", "anthropic", "default"),
]
STREAMS = [
    ("openai_chat_stream_include_usage.sse", "/v1/chat/completions", "openai", "chat"),
    ("openai_chat_stream_crlf_comments.sse", "/v1/chat/completions", "openrouter", "chat"),
    ("openai_chat_stream_n2.sse", "/v1/chat/completions", "openai", "chat"),
    ("openai_chat_stream_tools.sse", "/v1/chat/completions", "openai", "chat"),
    ("openai_completions_stream.sse", "/v1/completions", "openai", "chat"),
    ("azure_chat_stream.sse", "/openai/deployments/d/chat/completions", "azure", "chat"),
    ("mistral_stream.sse", "/v1/chat/completions", "mistral", "default"),
    ("vllm_stream_continuous_usage.sse", "/v1/chat/completions", "openai", "chat"),
]


def theirs(document: Any, provider: str, flavor: str) -> Counts:
    """What genai-prices extracts; what it leaves out is 0."""
    _model, found = PROVIDERS[provider].extract_usage(document, api_flavor=flavor)
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "output_reasoning_tokens")
    first, second, third, fourth, fifth = (int(getattr(found, name, None) or 0) for name in names)
    return first, second, third, fourth, fifth


def ours(usage: Usage | None) -> Counts:
    """The same of ours."""
    assert usage is not None
    return (
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        usage.cached_tokens or 0,
        usage.cache_write_tokens or 0,
        usage.reasoning_tokens or 0,
    )


@pytest.mark.parametrize("name", KNOWN)
def test_every_server_that_both_know_is_read_alike_or_else_for_a_reason(name: str) -> None:
    case = CASES[name]

    read = ours(OpenAIChat().read_reply(case.body(), ASKED_FOR).told.usage)

    assert (read == theirs(json.loads(case.body()), case.provider, case.flavor)) == (not case.difference)


@pytest.mark.parametrize(("name", "path", "provider", "flavor"), REPLIES)
def test_example_replies_are_read_alike(name: str, path: str, provider: str, flavor: str) -> None:
    body = payload(name)
    document = json.loads(body)
    dialect = find("POST", path)
    assert dialect is not None
    request = dialect.read_request(b'{"model":"m"}', Target(method="POST", path=path))
    if "choices" not in document and provider == "x-ai":  # the example is a usage object alone
        document.setdefault("choices", [])

    found = dialect.read_reply(json.dumps(document).encode(), request).told.usage

    assert ours(found) == theirs(document, provider, flavor)


@pytest.mark.parametrize(("name", "path", "provider", "flavor"), STREAMS)
def test_example_streams_are_read_alike(name: str, path: str, provider: str, flavor: str) -> None:
    body = payload(name)
    dialect = find("POST", path)
    assert dialect is not None
    request = dialect.read_request(b'{"model":"m","stream":true}', Target(method="POST", path=path))
    reader: StreamReader | None = dialect.stream_reader(request, b"text/event-stream")
    assert reader is not None

    seen = feed(reader, eventwise(body))

    last = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {") and b'"usage":{' in line][
        -1
    ]
    assert ours(seen.usage) == theirs({"model": "m", **last}, provider, flavor)


ANTHROPIC: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({"input_tokens": 14, "output_tokens": 65}, ""),
    "caches": (
        {
            "input_tokens": 3,
            "output_tokens": 22,
            "cache_creation_input_tokens": 1111,
            "cache_read_input_tokens": 2222,
            "cache_creation": {"ephemeral_5m_input_tokens": 1111, "ephemeral_1h_input_tokens": 0},
            "output_tokens_details": {"thinking_tokens": 9},
        },
        "",
    ),
    "compaction": (
        {
            "input_tokens": 181,
            "output_tokens": 8,
            "cache_read_input_tokens": 0,
            "iterations": [
                {"type": "compaction", "input_tokens": 100, "output_tokens": 83, "cache_read_input_tokens": 55096},
                {"type": "message", "input_tokens": 181, "output_tokens": 8, "cache_read_input_tokens": 0},
            ],
        },
        "a compaction is work that the top level leaves out",
    ),
}


@pytest.mark.parametrize("name", ANTHROPIC)
def test_anthropics_usage_is_read_alike_or_else_for_a_reason(name: str) -> None:
    usage, difference = ANTHROPIC[name]

    read = ours(usage_of(usage))

    assert (read == theirs({"model": "claude", "usage": usage}, "anthropic", "default")) == (not difference)


NATIVE: dict[str, tuple[str, dict[str, Any], str, str, str]] = {
    "gemini": (
        "/v1beta/models/m:generateContent",
        {
            "usageMetadata": {
                "promptTokenCount": 32,
                "candidatesTokenCount": 66,
                "thoughtsTokenCount": 45,
                "toolUsePromptTokenCount": 4665,
                "cachedContentTokenCount": 20,
                "totalTokenCount": 4808,
            }
        },
        "google",
        "default",
        "",
    ),
    "gemini, thoughts alone": (
        "/v1beta/models/m:generateContent",
        {"usageMetadata": {"promptTokenCount": 21, "thoughtsTokenCount": 60, "totalTokenCount": 81}},
        "google",
        "default",
        "",
    ),
    "vertex, its cache left out": (
        "/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
        {
            "usageMetadata": {
                "promptTokenCount": 41,
                "candidatesTokenCount": 9,
                "cachedContentTokenCount": 5012,
                "totalTokenCount": 50,
            }
        },
        "google",
        "default",
        "a cache larger than the prompt is beside it",
    ),
    "gemini's proxy that counts thoughts among the candidates": (
        "/v1beta/models/m:generateContent",
        {
            "usageMetadata": {
                "promptTokenCount": 100,
                "candidatesTokenCount": 40,
                "thoughtsTokenCount": 30,
                "totalTokenCount": 140,
            }
        },
        "google",
        "default",
        "it adds the thoughts to candidates that have them, as the total tells",
    ),
    "bedrock": (
        "/model/m/converse",
        {
            "usage": {
                "inputTokens": 562,
                "outputTokens": 10,
                "totalTokens": 3631,
                "cacheReadInputTokens": 3059,
                "cacheReadInputTokenCount": 3059,
                "cacheWriteInputTokens": 0,
                "cacheWriteInputTokenCount": 0,
            }
        },
        "aws",
        "default",
        "",
    ),
    "bedrock, no room for the cache": (
        "/model/m/converse",
        {"usage": {"inputTokens": 10, "outputTokens": 2, "totalTokens": 12, "cacheWriteInputTokens": 9}},
        "aws",
        "default",
        "the total has no room for a cache beside the input",
    ),
    "cohere": (
        "/v2/chat",
        {
            "usage": {
                "billed_units": {"input_tokens": 5, "output_tokens": 418},
                "tokens": {"input_tokens": 71, "output_tokens": 418},
                "cached_tokens": 64,
            }
        },
        "cohere",
        "tokens",
        "",
    ),
    "cohere, what is billed": (
        "/v2/chat",
        {
            "usage": {
                "billed_units": {"input_tokens": 5, "output_tokens": 418},
                "tokens": {"input_tokens": 71, "output_tokens": 418},
            }
        },
        "cohere",
        "default",
        "it prices what is billed; energy goes by what was worked on",
    ),
    "responses": (
        "/v1/responses",
        {
            "usage": {
                "input_tokens": 2006,
                "output_tokens": 300,
                "total_tokens": 2306,
                "input_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 64},
                "output_tokens_details": {"reasoning_tokens": 128},
            }
        },
        "openai",
        "responses",
        "",
    ),
    "responses of a proxy that leaves the thoughts out": (
        "/v1/responses",
        {
            "usage": {
                "input_tokens": 21,
                "output_tokens": 0,
                "total_tokens": 81,
                "output_tokens_details": {"reasoning_tokens": 60},
            }
        },
        "openai",
        "responses",
        "the total has the thoughts beside the output",
    ),
}
SHELLS: dict[str, dict[str, Any]] = {
    "google": {"candidates": [{"finishReason": "STOP"}]},
    "aws": {"output": {"message": {"content": []}}, "stopReason": "end_turn"},
    "cohere": {"message": {}, "finish_reason": "COMPLETE"},
    "openai": {"output": []},
}
"""What makes a whole reply of each."""


@pytest.mark.parametrize("name", NATIVE)
def test_other_apis_usage_is_read_alike_or_else_for_a_reason(name: str) -> None:
    path, said, provider, flavor, difference = NATIVE[name]
    dialect = find("POST", path)
    assert dialect is not None
    request = dialect.read_request(b'{"model":"m","messages":[]}', Target(method="POST", path=path))
    body = json.dumps({**SHELLS[provider], **said}).encode()

    read = ours(dialect.read_reply(body, request).told.usage)

    assert (read == theirs({"model": "m", "modelVersion": "m", **said}, provider, flavor)) == (not difference)
