"""The manners of an ASGI layer: one start, nothing hurried or delayed, what is asked and what is left reaches the app."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Message

from headwater.demo import server
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from tests.asgi import CHAT, STREAM_WITH_USAGE, call, content, json_app, reply, request, scope, stream_app, unfolded
from tests.conftest import MakeMeter

ASKING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
MIB = 1 << 20


class _Turns:
    """Counts the turns of the running loop."""

    def __init__(self) -> None:
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self.count += 1
        self._handle = self._loop.call_soon(self._turn)

    def stop(self) -> None:
        self._handle.cancel()


async def test_no_byte_of_a_stream_waits_for_a_turn_of_the_loop(meter: Meter, key: str) -> None:
    turns = _Turns()
    sent: list[int] = []
    arrived: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        sent.append(turns.count)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for chunk in STREAM_WITH_USAGE:
            await asyncio.sleep(0)
            sent.append(turns.count)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    await call(
        FootprintMiddleware(app, meter=meter),
        request(**ASKING),
        key=key,
        on_message=lambda _: arrived.append(turns.count),
    )
    turns.stop()

    assert len(arrived) == len(STREAM_WITH_USAGE) + 1
    assert arrived == sent
    assert arrived[-1] > arrived[0]


@pytest.mark.parametrize("asking", [{}, ASKING])
@pytest.mark.parametrize("hold_bytes", [10, MIB])
@pytest.mark.parametrize("placement", ["usage", "top", "off"])
async def test_there_is_one_start_and_one_end(
    make_meter: MakeMeter, key: str, asking: dict[str, Any], hold_bytes: int, placement: str
) -> None:
    meter = make_meter(limits={"hold_bytes": hold_bytes}, disclosure={"placement": placement})
    inner = stream_app(STREAM_WITH_USAGE) if asking else json_app(reply(), parts=[reply()[:30], reply()[30:]])

    seen = await call(FootprintMiddleware(inner, meter=meter), request(**asking), key=key)

    kinds = [message["type"] for message in seen.messages]
    assert kinds[0] == "http.response.start"
    assert kinds.count("http.response.start") == 1
    assert [message["more_body"] for message in seen.messages[1:]].count(False) == 1
    assert seen.ended


@pytest.mark.parametrize("asking", [{}, ASKING])
async def test_what_a_server_does_beside_a_reply_passes_at_once_and_disturbs_nothing(
    meter: Meter, key: str, asking: dict[str, Any]
) -> None:
    hint: Message = {"type": "http.response.early_hint", "links": [b"</x>; rel=preload"]}
    push: Message = {"type": "http.response.push", "path": "/x", "headers": []}
    chunks = STREAM_WITH_USAGE if asking else [reply()]
    kind = b"text/event-stream" if asking else b"application/json"
    seen_at_push: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(hint)
        await send(push)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for number, chunk in enumerate(chunks):
            await send(push)
            await send({"type": "http.response.body", "body": chunk, "more_body": number < len(chunks) - 1})

    def note(seen: Any) -> None:
        if seen.messages[-1] is push:
            seen_at_push.append(len(seen.messages))

    seen = await call(FootprintMiddleware(app, meter=meter), request(**asking), key=key, on_message=note)

    assert [message["type"] for message in seen.messages[:2]] == [hint["type"], push["type"]]
    assert len(seen_at_push) == 1 + len(chunks)
    assert seen.body.count(b'"footprint"') == 1
    assert unfolded(seen.body) == b"".join(chunks)


@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.pathsend", "path": "somewhere"},
        {"type": "http.response.zerocopysend", "file": 3, "more_body": False},
    ],
)
async def test_files_that_the_server_sends_itself_pass(
    meter: Meter, key: str, kind: bytes, message: dict[str, Any]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send(message)

    seen = await call(FootprintMiddleware(app, meter=meter), request(**ASKING), key=key)

    assert [each["type"] for each in seen.messages] == ["http.response.start", message["type"]]
    assert seen.messages[-1] == message
    assert meter.telemetry.failures_count == 0


@pytest.mark.parametrize("meter_bytes", [1024, MIB])
async def test_the_request_reaches_the_app_in_the_same_messages_and_so_does_the_leaving(
    make_meter: MakeMeter, key: str, meter_bytes: int
) -> None:
    body = request(messages=[{"role": "user", "content": "x" * 2000}])
    parts = [body[:700], body[700:1400], body[1400:]]
    sent: list[Message] = [
        *({"type": "http.request", "body": part, "more_body": True} for part in parts),
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
        {"type": "http.disconnect"},
    ]
    pending = iter(sent)
    got: list[Message] = []

    async def receive() -> Message:
        return next(pending)

    async def send(_message: Message) -> None:
        return None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.extend([await receive() for _ in sent])

    meter = make_meter(limits={"meter_bytes": meter_bytes})

    await FootprintMiddleware(app, meter=meter)(scope(key=key), receive, send)

    assert [id(message) for message in got] == [id(message) for message in sent]
    assert meter.telemetry.failures_count == 0


@contextlib.contextmanager
def _served(app: ASGIApp) -> Iterator[int]:
    with server.listening(0) as listener, server.serving(app, listener):
        yield int(listener.getsockname()[1])


def test_a_slow_reader_slows_the_app_and_nothing_is_hoarded(make_meter: MakeMeter, key: str) -> None:
    """On a real server: the app's `send` returns when the bytes are taken, so an app with a reader that stands still does
    too. The client reads only after the app has stood still for a while."""
    meter = make_meter()
    chunk, chunks_count = content("x" * MIB), 64
    made = 0
    went_on = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal made
        while (await receive()).get("more_body", False):
            pass
        headers = [(b"content-type", b"text/event-stream"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(chunks_count):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            made = number + 1
            went_on.set()
        for last in STREAM_WITH_USAGE[2:]:
            await send({"type": "http.response.body", "body": last, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with _served(_with_lifespan(FootprintMiddleware(app, meter=meter))) as port, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        raw.connect(("127.0.0.1", port))
        body = request(**ASKING)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nAuthorization: Bearer {key}\r\n\r\n"
        raw.sendall(head.encode() + body)
        while went_on.wait(1.0):
            went_on.clear()
        made_before_reading = made
        answer = http.client.HTTPResponse(raw, method="POST")
        answer.begin()
        read = answer.read()

    assert 0 < made_before_reading < chunks_count / 2
    assert made == chunks_count
    assert unfolded(read) == chunk * chunks_count + b"".join(STREAM_WITH_USAGE[2:])


def _with_lifespan(middleware: FootprintMiddleware) -> ASGIApp:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await middleware(scope, receive, send)
            return
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})

    return app
