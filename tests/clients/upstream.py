"""An LLM server that says the same thing over every API: a plain ASGI app. Knows routes and HTTP; the bodies are in `canned`.

A request with tools is answered with a tool call, one that asks for a stream with a stream, cut in the middle of its events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.clients import canned

_SSE: Final = "text/event-stream"
_NDJSON: Final = "application/x-ndjson"
_PIECE_BYTES: Final = 97
_FINISH_USAGE: Final = "mistral"
"""Models of this name tell their usage in the chunk that ends the answer, asked or not."""


async def _cut(events: Iterable[bytes]) -> AsyncIterator[bytes]:
    for event in events:
        for start in range(0, len(event), _PIECE_BYTES):
            yield event[start : start + _PIECE_BYTES]


def _stream(events: Iterable[bytes], media_type: str = _SSE) -> Response:
    return StreamingResponse(_cut(events), media_type=media_type)


async def _asked(request: Request) -> tuple[dict[str, Any], str, bool, bool]:
    """Body, model, whether tools may be called, whether as a stream."""
    body = await request.json()
    return body, body.get("model", ""), bool(body.get("tools")), body.get("stream") is True


async def _chat(request: Request) -> Response:
    body, model, tool, stream = await _asked(request)
    model = model or request.path_params.get("deployment", "")
    if not stream:
        return JSONResponse(canned.chat(model, tool=tool))
    asked = (body.get("stream_options") or {}).get("include_usage") is True
    usage = "finish" if model.startswith(_FINISH_USAGE) else "chunk" if asked else "none"
    return _stream(canned.sse(canned.chat_chunks(model, tool=tool, usage=usage)))


async def _completions(request: Request) -> Response:
    body, model, _, stream = await _asked(request)
    if not stream:
        return JSONResponse(canned.completion(model))
    asked = (body.get("stream_options") or {}).get("include_usage") is True
    return _stream(canned.sse(canned.completion_chunks(model, usage=asked)))


async def _embeddings(request: Request) -> Response:
    _, model, _, _ = await _asked(request)
    return JSONResponse(canned.embeddings(model))


async def _responses(request: Request) -> Response:
    _, model, tool, stream = await _asked(request)
    if not stream:
        return JSONResponse(canned.response(model, tool=tool))
    return _stream(canned.sse(canned.response_events(model, tool=tool), named=True))


async def _messages(request: Request) -> Response:
    _, model, tool, stream = await _asked(request)
    if not stream:
        return JSONResponse(canned.message(model, tool=tool))
    return _stream(canned.sse(canned.message_events(model, tool=tool), named=True))


async def _gemini(request: Request) -> Response:
    body = await request.json()
    model, _, verb = request.path_params["call"].partition(":")
    tool = bool(body.get("tools"))
    if verb == "generateContent":
        return JSONResponse(canned.generated(model, tool=tool))
    assert verb == "streamGenerateContent"
    assert request.query_params.get("alt") == "sse"
    return _stream(canned.sse(canned.generated_parts(model, tool=tool), end="\r\n"))


async def _ollama(request: Request) -> Response:
    body, model, tool, _ = await _asked(request)
    stream = body.get("stream", True)
    api = request.path_params["api"]
    if api == "embed":
        return JSONResponse(canned.ollama_embedding(model))
    lines = canned.ollama_lines(model, api=api, tool=tool, stream=stream)
    return _stream(canned.ndjson(lines), _NDJSON) if stream else JSONResponse(next(lines))


async def _cohere(request: Request) -> Response:
    _, _, tool, stream = await _asked(request)
    if not stream:
        return JSONResponse(canned.cohere(tool=tool))
    return _stream(canned.sse(canned.cohere_events(tool=tool), named=True))


def app() -> Starlette:
    """The app, with the routes of all APIs."""
    routes = {
        "/v1/chat/completions": _chat,
        "/openai/deployments/{deployment}/chat/completions": _chat,
        "/v1/completions": _completions,
        "/v1/embeddings": _embeddings,
        "/v1/responses": _responses,
        "/v1/messages": _messages,
        "/{version}/models/{call}": _gemini,
        "/api/{api:str}": _ollama,
        "/v2/chat": _cohere,
    }
    return Starlette(routes=[Route(path, endpoint, methods=["POST"]) for path, endpoint in routes.items()])
