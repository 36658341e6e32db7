"""Where the fuzzers begin: for each API a request, whole replies and streams as its servers send them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from headwater.records import Target
from tests.dialects import streams
from tests.dialects import test_bedrock as bedrock
from tests.dialects import test_gemini as gemini
from tests.dialects import test_openai_responses as responses
from tests.dialects.test_anthropic import STREAMS as ANTHROPIC_STREAMS
from tests.dialects.test_cohere import MESSAGE as COHERE_MESSAGE
from tests.dialects.test_cohere import STREAMS as COHERE_STREAMS
from tests.dialects.test_cohere import USAGE as COHERE_USAGE
from tests.dialects.test_cohere_v1 import META as COHERE_V1_META
from tests.dialects.test_cohere_v1 import STREAMS as COHERE_V1_STREAMS
from tests.dialects.test_ollama import STREAMS as OLLAMA_STREAMS

SSE = b"text/event-stream"
NDJSON = b"application/x-ndjson"


@dataclass(frozen=True, kw_only=True)
class Seed:
    """One API: `target` and `request` lead to its dialect; `replies` are whole, `streams` are of `content_type`."""

    target: Target
    request: bytes
    replies: tuple[bytes, ...]
    streams: tuple[bytes, ...] = ()
    content_type: bytes = SSE


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


_MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {}}]}]
_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"enum": ["x"]}}}}}
_CHAT = {"model": "m", "messages": _MESSAGES, "tools": [_TOOL], "n": 2, "stream": True}

_STREAMS = tuple(streams.STREAMS.values())
_GEMINI = Seed(
    target=Target(method="POST", path="/v1beta/models/gemini-2.5-pro:streamGenerateContent", query=b"alt=sse"),
    request=_json(
        {"contents": [{"parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}]}]}
    ),
    replies=(
        _json(
            {
                "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
                "usageMetadata": gemini.COUNTS,
            }
        ),
        _json({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": gemini.EARLY}),
        _json({"error": {"code": 400, "message": "no"}}),
    ),
    streams=tuple(gemini.STREAMS.values()),
)

SEEDS: dict[str, Seed] = {
    "openai-chat": Seed(
        target=Target(method="POST", path="/v1/chat/completions"),
        request=_json(_CHAT),
        replies=(
            _json({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": streams.USAGE}),
            _json({"choices": [], "timings": streams.TIMINGS}),
            _json({"error": {"message": "no", "code": 1}}),
        ),
        streams=_STREAMS,
    ),
    "openai-completions": Seed(
        target=Target(method="POST", path="/v1/completions"),
        request=_json({"model": "m", "prompt": ["Hi", [1, 2]], "n": 2, "best_of": 3, "stream": True}),
        replies=(_json({"choices": [{"text": "Hi", "finish_reason": "stop"}], "usage": streams.USAGE}),),
        streams=tuple(body.replace(b'"delta":{"content":', b'"text":').replace(b'"}', b'"') for body in _STREAMS),
    ),
    "openai-embeddings": Seed(
        target=Target(method="POST", path="/v1/embeddings"),
        request=_json({"model": "m", "input": ["Hi", "you"]}),
        replies=(_json({"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 2, "total_tokens": 2}}),),
    ),
    "openai-responses": Seed(
        target=Target(method="POST", path="/v1/responses"),
        request=_json({"model": "m", "input": _MESSAGES, "background": True, "stream": True, "tools": [{"name": "f"}]}),
        replies=(
            _json(responses.response()),
            _json({"object": "response", "id": "r", "status": "queued", "background": True}),
        ),
        streams=tuple(responses.STREAMS.values()),
    ),
    "anthropic": Seed(
        target=Target(method="POST", path="/v1/messages"),
        request=_json({"model": "m", "system": "s", "messages": _MESSAGES, "tools": [{"name": "f"}], "stream": True}),
        replies=(
            _json(
                {
                    "type": "message",
                    "content": [{"type": "text", "text": "Hi"}, {"type": "tool_use", "name": "f", "input": {"a": 1}}],
                    "stop_reason": "end_turn",
                    "usage": {"input_tokens": 3, "output_tokens": 2, "iterations": [{"type": "compaction"}]},
                }
            ),
            _json({"type": "error", "error": {"type": "overloaded_error"}}),
        ),
        streams=tuple(ANTHROPIC_STREAMS.values()),
    ),
    "ollama-chat": Seed(
        target=Target(method="POST", path="/api/chat"),
        request=_json(
            {"model": "m", "messages": [{"role": "user", "content": "Hi", "images": ["iVBOR"]}], "tools": [_TOOL]}
        ),
        replies=(
            _json({"message": {"content": "Hi", "tool_calls": [_TOOL]}, "done": True, "eval_count": 2}),
            _json({"error": "no such model"}),
        ),
        streams=tuple(OLLAMA_STREAMS.values()),
        content_type=NDJSON,
    ),
    "ollama-generate": Seed(
        target=Target(method="POST", path="/api/generate"),
        request=_json({"model": "m", "prompt": "Hi", "context": [1, 2], "raw": True}),
        replies=(_json({"response": "Hi", "done": True, "prompt_eval_count": 9, "prompt_eval_cached_count": 4}),),
        streams=(OLLAMA_STREAMS["generate"],),
        content_type=NDJSON,
    ),
    "ollama-embed": Seed(
        target=Target(method="POST", path="/api/embed"),
        request=_json({"model": "m", "input": ["a", "b"]}),
        replies=(_json({"embeddings": [[0.1]], "prompt_eval_count": 8}), _json({"embedding": []})),
    ),
    "cohere-chat": Seed(
        target=Target(method="POST", path="/v2/chat"),
        request=_json(
            {"model": "m", "messages": [*_MESSAGES, COHERE_MESSAGE], "tools": [_TOOL], "documents": ["a", {"data": {}}]}
        ),
        replies=(
            _json({"finish_reason": "COMPLETE", "message": COHERE_MESSAGE, "usage": COHERE_USAGE}),
            _json({"message": "invalid api token"}),
        ),
        streams=tuple(COHERE_STREAMS.values()),
    ),
    "cohere-embed": Seed(
        target=Target(method="POST", path="/v2/embed"),
        request=_json({"model": "m", "texts": ["a"], "images": ["data:,"], "inputs": [{"content": [{"text": "b"}]}]}),
        replies=(_json({"embeddings": {"float": [[0.1]]}, "meta": {"billed_units": {"input_tokens": 8}}}),),
    ),
    "cohere-v1-chat": Seed(
        target=Target(method="POST", path="/v1/chat"),
        request=_json(
            {"message": "Hi", "preamble": "s", "chat_history": [{"role": "USER", "message": "a"}], "stream": True}
        ),
        replies=(_json({"text": "Hi", "finish_reason": "COMPLETE", "tool_calls": [_TOOL], "meta": COHERE_V1_META}),),
        streams=tuple(COHERE_V1_STREAMS.values()),
        content_type=NDJSON,
    ),
    "gemini": _GEMINI,
    "gemini:array": replace(_GEMINI, streams=tuple(gemini.ARRAYS.values()), content_type=b"application/json"),
    "gemini-embed": Seed(
        target=Target(method="POST", path="/v1beta/models/gemini-embedding-001:batchEmbedContents"),
        request=_json({"requests": [{"content": {"parts": [{"text": "Hi"}]}}]}),
        replies=(_json({"embeddings": [{"values": [0.1]}], "usageMetadata": {"promptTokenCount": 2}}),),
    ),
    "bedrock-converse": Seed(
        target=Target(method="POST", path="/model/anthropic.claude/converse-stream"),
        request=_json({"messages": [{"role": "user", "content": [{"text": "Hi"}, {"image": {"format": "png"}}]}]}),
        replies=(
            _json(
                {
                    "output": {"message": {"content": [{"text": "Hi"}, {"toolUse": {"name": "f", "input": {}}}]}},
                    "stopReason": "end_turn",
                    "usage": bedrock.USAGE,
                }
            ),
            _json({"message": "no"}),
        ),
        streams=tuple(bedrock.STREAMS.values()),
        content_type=bedrock.EVENT_STREAM,
    ),
}
"""By the name of the dialect, with a word behind a colon where it has several kinds of streams; a test sees to it that none is missing."""
