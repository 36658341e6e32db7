"""How an exchange ended, by its protocol's own terminator and never by the last body message; one table over the APIs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from headwater.dialects.openai_chat import OpenAIChat
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import Charge, ChatRequest, Target
from tests.asgi import CHAT, DONE, USAGE, call, content, event, reply, request, scope

ERROR: Final = RuntimeError("the app's own")


@dataclass(frozen=True, kw_only=True)
class Api:
    """One API: a stream in events, the last of them its terminator; an error event; a whole reply, and one that failed."""

    path: str
    events: list[bytes]
    error: bytes
    whole: bytes
    failed: bytes

    @property
    def begun(self) -> list[bytes]:
        return self.events[:3]


def _named(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members}, separators=(',', ':'))}\n\n".encode()


def _delta(text: str) -> bytes:
    return _named("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


APIS = {
    "openai": Api(
        path=CHAT,
        events=[content(""), content("Hel"), content("lo"), content("", "stop"), event(choices=[], usage=USAGE), DONE],
        error=b'data: {"error":{"message":"overloaded","code":null}}\n\n',
        whole=reply(),
        failed=b'{"error":{"message":"overloaded","code":null}}',
    ),
    "anthropic": Api(
        path="/v1/messages",
        events=[
            _named("message_start", message={"usage": {"input_tokens": 25, "output_tokens": 1}}),
            _delta("Hel"),
            _delta("lo"),
            _named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4}),
            _named("message_stop"),
        ],
        error=_named("error", error={"type": "overloaded_error", "message": "Overloaded"}),
        whole=b'{"type":"message","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn",'
        b'"usage":{"input_tokens":25,"output_tokens":4}}',
        failed=b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
    ),
}


class Act:
    """What an app does in a case, step by step, and what its client does."""

    def __init__(self, api: Api, *, is_stream: bool) -> None:
        self.api = api
        self.gone = asyncio.Event()
        self.is_send_broken = False
        self._kind = b"text/event-stream" if is_stream else b"application/json"

    async def start(self, send: Any, status: int = 200) -> None:
        kind = self._kind if status == 200 else b"application/json"
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})

    async def bodies(self, send: Any, chunks: list[bytes]) -> None:
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, send: Any, body: bytes = b"") -> None:
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def leave(self, receive: Any) -> None:
        self.gone.set()
        assert (await receive())["type"] == "http.disconnect"


async def _completed(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, act.api.events)
    await act.end(send)


async def _raises_behind_its_end(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, act.api.events)
    raise ERROR


async def _gone_behind_its_end(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, act.api.events)
    await act.leave(receive)


async def _gone_before_the_start(act: Act, receive: Any, send: Any) -> None:
    await act.leave(receive)


async def _gone_before_the_first_byte(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.leave(receive)


async def _gone_in_the_middle(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, act.api.begun)
    await act.leave(receive)


async def _gone_before_the_terminator(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, act.api.begun)
    await act.leave(receive)
    await act.end(send)  # what a BaseHTTPMiddleware says then


async def _server_says_that_nobody_is_there(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, act.api.begun[:2])
    act.is_send_broken = True
    await act.bodies(send, act.api.begun[2:])


async def _server_says_so_before_the_start(act: Act, receive: Any, send: Any) -> None:
    act.is_send_broken = True
    await act.start(send)


async def _error_in_the_middle(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, [*act.api.begun, act.api.error])
    await act.end(send)


async def _error_at_once(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, [act.api.error])
    await act.end(send)


async def _raises_in_the_middle(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, act.api.begun)
    raise ERROR


async def _returns_in_the_middle(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, act.api.begun)


async def _ends_in_the_middle(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, act.api.begun)
    await act.end(send)


async def _ends_in_the_middle_of_an_event(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, act.api.begun)
    await act.end(send, act.api.events[3][:20])


async def _status_500(act: Act, receive: Any, send: Any) -> None:
    await act.start(send, 500)
    await act.end(send, act.api.failed)


async def _raises_before_the_start(act: Act, receive: Any, send: Any) -> None:
    raise ERROR


async def _refused(act: Act, receive: Any, send: Any) -> None:
    await act.start(send, 401)
    await act.end(send, act.api.failed)


async def _whole(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.end(send, act.api.whole)


async def _whole_for_nobody(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.leave(receive)
    await act.end(send, act.api.whole)


async def _failed(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.end(send, act.api.failed)


async def _half(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.end(send, act.api.whole[:40])


async def _half_and_raises(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, [act.api.whole[:40]])
    raise ERROR


async def _half_for_nobody(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.bodies(send, [act.api.whole[:40]])
    await act.leave(receive)
    await act.end(send)


# What the app does; the outcome, or None where no account is opened; the output tokens; whether energy is charged.
Row = tuple[Any, str | None, int | None, bool]
STREAMED: list[Row] = [
    (_completed, "completed", 4, True),
    (_raises_behind_its_end, "completed", 4, True),
    (_gone_behind_its_end, "completed", 4, True),
    (_gone_before_the_start, "client_gone", None, True),
    (_gone_before_the_first_byte, "client_gone", None, True),
    (_gone_in_the_middle, "client_gone", 1, True),
    (_gone_before_the_terminator, "client_gone", 1, True),
    (_server_says_that_nobody_is_there, "client_gone", 1, True),
    (_server_says_so_before_the_start, "client_gone", None, True),
    (_error_in_the_middle, "upstream_error", 1, True),
    (_error_at_once, "upstream_error", None, False),
    (_raises_in_the_middle, "upstream_error", 1, True),
    (_returns_in_the_middle, "upstream_error", 1, True),
    (_ends_in_the_middle, "upstream_error", 1, True),
    (_ends_in_the_middle_of_an_event, "upstream_error", 1, True),
    (_status_500, "upstream_error", None, False),
    (_raises_before_the_start, "upstream_error", None, False),
    (_refused, None, None, False),
]
WHOLE: list[Row] = [
    (_whole, "completed", 4, True),
    (_whole_for_nobody, "completed", 4, True),
    (_gone_before_the_start, "client_gone", None, True),
    (_half_for_nobody, "client_gone", None, True),
    (_failed, "upstream_error", None, False),
    (_half, "upstream_error", None, False),
    (_half_and_raises, "upstream_error", None, False),
    (_status_500, "upstream_error", None, False),
    (_raises_before_the_start, "upstream_error", None, False),
    (_refused, None, None, False),
]


async def _charges(meter: Meter, key: str) -> list[Charge]:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    user = meter.identity.user(scope(key=key))
    return [charge for charge in meter.ledger.reader().ledger_entries() if charge.user == user]


def _app(act: Act, does: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await does(act, receive, send)

    return app


def _broken_when_told(act: Act, app: Any) -> Any:
    """The server's `send` says that the connection is gone (ASGI HTTP 2.4), from when the act says so."""

    async def server(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if act.is_send_broken:
                raise OSError("the client has gone")
            await send(message)

        await app(scope, receive, sending)

    return server


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize(
    ("is_stream", "row"),
    [pytest.param(True, row, id=f"stream {row[0].__name__}") for row in STREAMED]
    + [pytest.param(False, row, id=f"json {row[0].__name__}") for row in WHOLE],
)
async def test_every_end_has_its_outcome(meter: Meter, key: str, name: str, is_stream: bool, row: Row) -> None:
    does, outcome, output_tokens, is_charged = row
    act = Act(APIS[name], is_stream=is_stream)
    app = _broken_when_told(act, FootprintMiddleware(_app(act, does), meter=meter))
    asking = {"stream": True, "stream_options": {"include_usage": True}} if is_stream else {}

    with contextlib.suppress(RuntimeError, OSError):
        await call(app, request(**asking), key=key, path=act.api.path, gone=act.gone)

    charges = await _charges(meter, key)
    assert [charge.outcome for charge in charges] == ([] if outcome is None else [outcome])
    assert [charge.usage.output_tokens for charge in charges] == ([] if outcome is None else [output_tokens])
    assert [charge.amounts is not None for charge in charges] == ([] if outcome is None else [is_charged])
    assert meter.serving.of("llama-3.1-70b").load.in_flight_count == 0
    assert meter.telemetry.failures_count == 0


@pytest.mark.parametrize("name", APIS)
async def test_a_client_that_leaves_through_a_base_http_middleware_has_left(meter: Meter, key: str, name: str) -> None:
    """That layer ends the body of the reply as if all were well."""
    api, gone = APIS[name], asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in api.begun:
            yield chunk
        gone.set()
        await asyncio.Event().wait()

    async def answer(_request: Request) -> StreamingResponse:
        return StreamingResponse(chunks(), media_type="text/event-stream")

    async def dispatch(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    inner = Starlette(
        routes=[Route(api.path, answer, methods=["POST"])],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    )

    seen = await call(FootprintMiddleware(inner, meter=meter), request(stream=True), key=key, path=api.path, gone=gone)

    assert seen.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert [charge.outcome for charge in await _charges(meter, key)] == ["client_gone"]


async def _reading(act: Act, receive: Any, send: Any) -> None:
    await act.start(send)
    await act.end(send, b"\x1f\x8b broken")


@pytest.mark.parametrize("header", [(b"content-encoding", b"gzip"), (b"content-range", b"bytes 0-1/2")])
@pytest.mark.parametrize("is_stream", [True, False])
async def test_what_only_looks_up_an_answer_and_cannot_be_read_charges_nothing(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch, header: tuple[bytes, bytes], is_stream: bool
) -> None:
    read = OpenAIChat.read_request

    def looking_up(self: OpenAIChat, body: bytes, target: Target) -> ChatRequest:
        return replace(read(self, body, target), is_lookup=True)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def headed(message: Any) -> None:
            await send({**message, "headers": [*message["headers"], header]} if "headers" in message else message)

        await receive()
        await _reading(Act(APIS["openai"], is_stream=is_stream), receive, headed)

    monkeypatch.setattr(OpenAIChat, "read_request", looking_up)

    seen = await call(FootprintMiddleware(app, meter=meter), request(), key=key)

    assert seen.body == b"\x1f\x8b broken"
    assert "headwater-footprint" not in seen.headers
    assert await _charges(meter, key) == []
    assert meter.telemetry.failures_count == 0


async def test_a_json_reply_through_a_base_http_middleware_is_completed(meter: Meter, key: str) -> None:
    async def answer(_request: Request) -> JSONResponse:
        return JSONResponse(json.loads(reply()))

    async def dispatch(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    inner = Starlette(
        routes=[Route(CHAT, answer, methods=["POST"])], middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)]
    )

    await call(FootprintMiddleware(inner, meter=meter), request(), key=key)

    assert [charge.outcome for charge in await _charges(meter, key)] == ["completed"]
