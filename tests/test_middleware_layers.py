"""Headwater among other layers, under each and over each: GZip, CORS, BaseHTTPMiddleware, OpenTelemetry; mounted; websockets."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import AccountRow
from tests.asgi import CHAT, STREAM_WITH_USAGE, Seen, call, reply, request, unfolded

ASKING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
LONG_REPLY = reply(choices=[{"index": 0, "message": {"content": "Hello. " * 200}, "finish_reason": "stop"}])


class Plain(BaseHTTPMiddleware):
    """What many apps write: it reads the request and passes it on."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


LAYERS: dict[str, Callable[[ASGIApp], ASGIApp]] = {
    "gzip": lambda app: GZipMiddleware(app, minimum_size=100),
    "cors": lambda app: CORSMiddleware(app, allow_origins=["*"], allow_methods=["*"]),
    "base": Plain,
    "otel": lambda app: OpenTelemetryMiddleware(app, tracer_provider=TracerProvider()),
}


async def chat(asked: Request) -> Response:
    if (await asked.json()).get("stream"):
        return StreamingResponse(events(), media_type="text/event-stream")
    return Response(LONG_REPLY, media_type="application/json")


async def events() -> AsyncIterator[bytes]:
    for chunk in STREAM_WITH_USAGE:
        yield chunk


def app() -> Starlette:
    return Starlette(routes=[Route(CHAT, chat, methods=["POST"])])


def layered(layer: str, *, over: bool, meter: Meter) -> ASGIApp:
    """The layer over Headwater (it sees what Headwater made), or under it."""
    wrap = LAYERS[layer]
    return wrap(FootprintMiddleware(app(), meter=meter)) if over else FootprintMiddleware(wrap(app()), meter=meter)


async def account(meter: Meter, key: str) -> AccountRow:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    return meter.ledger.reader().user_row(user, meter.month())


def plain(seen: Seen) -> bytes:
    """The body as a client reads it."""
    return gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
async def test_among_layers_the_reply_is_the_apps_and_is_charged_once(
    layer: str, over: bool, streaming: bool, meter: Meter, key: str
) -> None:
    asked = request(**ASKING) if streaming else request()

    seen = await call(
        layered(layer, over=over, meter=meter), asked, key=key, accept_encoding="gzip", origin="http://x.example"
    )

    sent = b"".join(STREAM_WITH_USAGE) if streaming else LONG_REPLY
    row = await account(meter, key)
    kinds = [message["type"] for message in seen.messages]
    is_sealed = layer == "gzip" and not over and seen.headers.get("content-encoding") == "gzip"
    assert kinds.count("http.response.start") == 1
    assert seen.ended
    assert unfolded(plain(seen)) == sent
    assert (b'"footprint"' in plain(seen)) == (not is_sealed)
    assert "headwater-id" in seen.headers
    assert (row.requests_count, row.input_tokens, row.output_tokens) == (1, 25, 4)
    assert (row.incomplete_count, row.not_upstream_count, row.unknown_count) == (0, 0, 0)
    if not streaming:
        assert seen.headers["headwater-footprint"].startswith("energy_j=")
        assert int(seen.headers["content-length"]) == len(seen.body)


def test_a_preflight_and_other_paths_are_none_of_its_business(meter: Meter) -> None:
    wrapped = layered("cors", over=False, meter=meter)
    with TestClient(wrapped) as client:
        asked = client.options(CHAT, headers={"origin": "http://x.example", "access-control-request-method": "POST"})
        missing = client.get("/nothing")

    assert (asked.status_code, missing.status_code) == (200, 404)
    assert not any(name.startswith("headwater") for name in (*asked.headers, *missing.headers))


def test_a_cross_origin_page_may_read_the_headers_under_cors(meter: Meter) -> None:
    with TestClient(layered("cors", over=False, meter=meter)) as client:
        answer = client.post(CHAT, content=request(), headers={"origin": "http://x.example"})

    assert "headwater-footprint" in answer.headers["access-control-expose-headers"]


def test_mounted_below_a_path_and_around_a_mounted_app_it_charges_once(meter: Meter) -> None:
    inner = FootprintMiddleware(app(), meter=meter)
    outer = FootprintMiddleware(Starlette(routes=[Mount("/llm", app=inner)]), meter=meter)
    with TestClient(outer) as client:
        answer = client.post(f"/llm{CHAT}", content=request())

    assert answer.json()["usage"]["footprint"]["id"] == answer.headers["headwater-id"]
    assert answer.content.count(b'"footprint"') == 1


def test_websockets_pass_both_ways(meter: Meter) -> None:
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    wrapped = FootprintMiddleware(Starlette(routes=[WebSocketRoute("/v1/responses", echo)]), meter=meter)
    with TestClient(wrapped) as client, client.websocket_connect("/v1/responses") as socket:
        socket.send_text("Hi")

        assert socket.receive_text() == "Hi"
