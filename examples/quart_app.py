"""A chat endpoint with Quart, wrapped: hypercorn examples.quart_app:app"""

import json
from collections.abc import AsyncIterator
from typing import Any

from quart import Quart, Response, request

from headwater import FootprintMiddleware

SETTINGS = {"deployment": [{"model": "llama-3.1-8b", "hardware": "hgx-h100", "accelerators": 1, "engine": "vllm-0.11"}]}
WORDS = ["Hello", ", ", "world", "."]
quart = Quart(__name__)


@quart.post("/v1/chat/completions")
async def chat() -> Any:
    """Stands for your model."""
    body = await request.get_json()
    if body.get("stream"):
        return Response(events(body["model"]), content_type="text/event-stream")
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    }


async def events(model: str) -> AsyncIterator[str]:
    """The same answer as server-sent events."""
    head: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": model}
    for word in WORDS:
        yield event({**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
    yield event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield "data: [DONE]\n\n"


def event(document: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(document)}\n\n"


app = FootprintMiddleware(quart, settings=SETTINGS)
