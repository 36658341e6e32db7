"""A chat endpoint with Starlette, whole and streamed: uvicorn examples.starlette_app:app

Compression, CORS and Headwater together: Headwater last in the list is the innermost, so it sees plain bytes and may fold
the footprint into them; as the outermost it would meter compressed replies as well, from a copy.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from headwater import FootprintMiddleware

SETTINGS = {"deployment": [{"model": "llama-3.1-8b", "hardware": "hgx-h100", "accelerators": 1, "engine": "vllm-0.11"}]}
WORDS = ["Hello", ", ", "world", "."]


async def chat(request: Request) -> Response:
    """Stands for your model."""
    body = await request.json()
    if body.get("stream"):
        return StreamingResponse(events(body["model"]), media_type="text/event-stream")
    return JSONResponse(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
        }
    )


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


app = Starlette(
    routes=[Route("/v1/chat/completions", chat, methods=["POST"])],
    middleware=[
        Middleware(CORSMiddleware, allow_origins=["*"]),
        Middleware(GZipMiddleware),
        Middleware(FootprintMiddleware, settings=SETTINGS),
    ],
)
