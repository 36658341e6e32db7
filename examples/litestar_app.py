"""A chat endpoint with Litestar, wrapped: uvicorn examples.litestar_app:app"""

import json
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, post
from litestar.response import ServerSentEvent

from headwater import FootprintMiddleware

SETTINGS = {"deployment": [{"model": "llama-3.1-8b", "hardware": "hgx-h100", "accelerators": 1, "engine": "vllm-0.11"}]}
WORDS = ["Hello", ", ", "world", "."]


@post("/v1/chat/completions", status_code=200)
async def chat(data: dict[str, Any]) -> ServerSentEvent | dict[str, Any]:
    """Stands for your model."""
    if data.get("stream"):
        return ServerSentEvent(events(data["model"]))
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": data["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    }


async def events(model: str) -> AsyncIterator[str]:
    """The same answer as the data of server-sent events."""
    head: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": model}
    for word in WORDS:
        yield json.dumps({**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
    yield json.dumps({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield "[DONE]"


app = FootprintMiddleware(Litestar([chat]), settings=SETTINGS)
