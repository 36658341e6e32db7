"""Where the fuzzers begin: for each API a request, whole replies and streams as its servers send them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from headwater.records import Target
from tests.dialects import streams
from tests.dialects.test_anthropic import STREAMS as ANTHROPIC_STREAMS

SSE = b"text/event-stream"


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

SEEDS: dict[str, Seed] = {
    "openai-chat": Seed(
        target=Target(method="POST", path="/v1/chat/completions"),
        request=_json(_CHAT),
        replies=(
            _json({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": streams.USAGE}),
            _json({"choices": [], "timings": streams.TIMINGS}),
            _json({"error": {"message": "no", "code": 1}}),
        ),
        streams=tuple(streams.STREAMS.values()),
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
}
"""By the name of the dialect; a test sees to it that none is missing."""
