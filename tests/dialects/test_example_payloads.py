"""All example payloads, each read as its provider counts; where they are not there, the tests are skipped and say so.

The figures are those that stand in the payloads: input with what was read from a cache and written into one, output with
reasoning, cached, written, reasoning; then whether the reply is complete, and whether it failed.
"""

from __future__ import annotations

import pytest

from headwater.dialects import find
from headwater.records import ChatRequest, Usage
from tests.dialects.payloads import WIRE, payload
from tests.dialects.streams import cut, feed

Counts = tuple[int | None, ...] | None
TYPES = {
    ".sse": b"text/event-stream",
    ".ndjson": b"application/x-ndjson",
}
NO_REPLIES = {
    "anthropic_request.json",
    "azure_paths.txt",
    "bedrock_converse_stream_decoded.jsonl",  # its frames are made in test_bedrock.py
    "headwater_http_response.txt",
    "openai_chat_request.json",
    "wellknown_sustainability_data.json",
}
PAYLOADS: tuple[tuple[str, str, Counts, tuple[bool, bool]], ...] = (
    ("anthropic_beta_usage_iterations.json", "/v1/messages", (210000, 4400, 0, 0, None), (False, True)),
    ("anthropic_error_529.json", "/v1/messages", None, (False, True)),
    ("anthropic_response.json", "/v1/messages", (188107, 393, 0, 188086, 120), (True, False)),
    ("anthropic_stream.sse", "/v1/messages", (1025, 42, 1000, 0, 20), (True, False)),
    ("anthropic_stream_aborted.sse", "/v1/messages", (1025, None, 1000, 0, None), (False, False)),
    ("anthropic_stream_error_overloaded.sse", "/v1/messages", (1025, None, 1000, 0, None), (False, True)),
    ("anthropic_stream_old_delta.sse", "/v1/messages", (1025, 15, 1000, 0, None), (True, False)),
    ("anthropic_stream_tool_use.sse", "/v1/messages", (1025, 30, 1000, 0, None), (True, False)),
    ("azure_chat_stream.sse", "/v1/chat/completions", (25, 4, 0, None, 0), (True, False)),
    ("bedrock_converse_response.json", "/model/x/converse", (30, 628, 0, 0, None), (True, False)),
    ("cohere_v2_stream.sse", "/v2/chat", (207, 4, 0, None, None), (True, False)),
    ("gemini_error.json", "/v1beta/models/m:streamGenerateContent", None, (False, True)),
    ("gemini_prompt_blocked.json", "/v1beta/models/m:streamGenerateContent", (12, 0, None, None, None), (True, False)),
    ("gemini_response.json", "/v1beta/models/m:streamGenerateContent", (1250, 495, 1000, None, 410), (True, False)),
    (
        "gemini_stream_alt_sse.sse",
        "/v1beta/models/m:streamGenerateContent",
        (1250, 495, 1000, None, 410),
        (True, False),
    ),
    (
        "gemini_stream_json_array.json",
        "/v1beta/models/m:streamGenerateContent",
        (1250, 495, 1000, None, 410),
        (True, False),
    ),
    ("groq_stream_tail.sse", "/v1/chat/completions", (18, 5, None, None, None), (True, False)),
    ("headwater_anthropic_stream.sse", "/v1/messages", (1025, 42, 1000, 0, None), (True, False)),
    (
        "headwater_gemini_stream.sse",
        "/v1beta/models/m:streamGenerateContent",
        (1250, 495, 1000, None, 410),
        (True, False),
    ),
    ("headwater_ollama_stream.ndjson", "/api/chat", (26, 282, None, None, None), (True, False)),
    ("headwater_openai_stream_usage_not_requested.sse", "/v1/chat/completions", None, (True, False)),
    ("headwater_openai_stream_usage_requested.sse", "/v1/chat/completions", (25, 4, 0, None, 0), (True, False)),
    ("headwater_responses_stream.sse", "/v1/responses", (75, 1186, 32, 0, 1024), (True, False)),
    ("llamacpp_stream.sse", "/v1/chat/completions", (237, 35, 236, None, None), (True, False)),
    ("mistral_stream.sse", "/v1/chat/completions", (6, 2, None, None, None), (True, False)),
    ("ollama_chat_response.json", "/api/chat", (26, 282, None, None, None), (True, False)),
    ("ollama_chat_stream.ndjson", "/api/chat", (26, 282, None, None, None), (True, False)),
    ("ollama_chat_stream_error.ndjson", "/api/chat", None, (False, True)),
    ("ollama_chat_stream_no_prompt_count.ndjson", "/api/chat", (None, 282, None, None, None), (True, False)),
    ("ollama_chat_stream_thinking_tools.ndjson", "/api/chat", (26, 282, None, None, None), (True, False)),
    ("ollama_embed_response.json", "/api/embed", (8, 0, None, None, None), (True, False)),
    ("ollama_generate_stream.ndjson", "/api/generate", (26, 282, None, None, None), (True, False)),
    ("openai_chat_response.json", "/v1/chat/completions", (2048, 300, 1920, None, 128), (True, False)),
    ("openai_chat_response_n2_tools.json", "/v1/chat/completions", (80, 40, 0, None, 0), (True, False)),
    ("openai_chat_stream_aborted.sse", "/v1/chat/completions", None, (False, False)),
    ("openai_chat_stream_crlf_comments.sse", "/v1/chat/completions", (25, 4, 0, None, 0), (True, False)),
    ("openai_chat_stream_error_midway.sse", "/v1/chat/completions", None, (False, True)),
    ("openai_chat_stream_include_usage.sse", "/v1/chat/completions", (25, 4, 0, None, 0), (True, False)),
    ("openai_chat_stream_n2.sse", "/v1/chat/completions", (10, 2, 0, None, 0), (True, False)),
    ("openai_chat_stream_no_usage.sse", "/v1/chat/completions", None, (True, False)),
    ("openai_chat_stream_tools.sse", "/v1/chat/completions", (70, 15, 0, None, 0), (True, False)),
    ("openai_completions_response.json", "/v1/completions", (5, 1, None, None, None), (True, False)),
    ("openai_completions_stream.sse", "/v1/completions", (5, 1, None, None, None), (True, False)),
    ("openai_embeddings_response.json", "/v1/embeddings", (8, 0, None, None, None), (True, False)),
    ("openai_error_429.json", "/v1/chat/completions", None, (False, True)),
    ("openai_responses_response.json", "/v1/responses", (75, 1186, 32, 0, 1024), (True, False)),
    ("openai_responses_response_incomplete.json", "/v1/responses", (75, 64, 32, 0, 64), (True, False)),
    ("openai_responses_stream.sse", "/v1/responses", (75, 1186, 32, 0, 1024), (True, False)),
    ("openai_responses_stream_error_event.sse", "/v1/responses", None, (False, True)),
    ("openai_responses_stream_failed.sse", "/v1/responses", None, (False, True)),
    ("prior_art_greenpt_stream_tail.sse", "/v1/chat/completions", None, (True, False)),
    ("prior_art_neuralwatt_stream_tail.sse", "/v1/chat/completions", (25, 4, 0, None, 0), (True, False)),
    ("vllm_error.json", "/v1/chat/completions", None, (False, True)),
    ("vllm_stream_continuous_usage.sse", "/v1/chat/completions", (12, 2, 8, None, None), (True, False)),
    ("xai_usage_reasoning_excluded.json", "/v1/chat/completions", (32, 103, 6, None, 94), (False, True)),
)


def counts_of(usage: Usage | None) -> Counts:
    if usage is None:
        return None
    cached, written = usage.cached_tokens, usage.cache_write_tokens
    return usage.input_tokens, usage.output_tokens, cached, written, usage.reasoning_tokens


@pytest.mark.parametrize(("name", "path", "counts", "state"), PAYLOADS)
def test_an_example_is_read_as_its_provider_counts(
    name: str, path: str, counts: Counts, state: tuple[bool, bool]
) -> None:
    body, dialect = payload(name), find("POST", path)
    assert dialect is not None
    request = ChatRequest(
        model="m", stream=True, usage_asked="include_usage" in name, choices_count=2 if "n2" in name else 1
    )
    content_type = TYPES.get(name[name.rindex(".") :], b"application/json")
    reader = None
    if content_type != b"application/json" or "stream" in name:
        reader = dialect.stream_reader(request, content_type)

    if reader is None:
        reply = dialect.read_reply(body, request)

        assert (counts_of(reply.told.usage), (reply.complete, reply.failed)) == (counts, state)
    else:
        seen = feed(reader, cut(body, range(0, len(body), 50)), footprint=None)

        assert seen.sent == body
        assert (counts_of(seen.usage), (seen.complete, seen.failed)) == (counts, state)


def test_no_example_is_left_out() -> None:
    if not WIRE.exists():
        pytest.skip("the shared example payloads are not here")

    assert {path.name for path in WIRE.iterdir()} == {name for name, *_ in PAYLOADS} | NO_REPLIES
