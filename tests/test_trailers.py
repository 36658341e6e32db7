"""The footprint of a stream as a trailer: exactly one last trailers message in every outcome, and none where none was offered.

Over a real HTTP/2 connection too: hypercorn on one end, the state machine of `h2` on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any

import h2.config
import h2.connection
import h2.events
import hypercorn.asyncio
import pytest
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from starlette.types import Message, Scope

from headwater.dialects import find
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import Target
from tests.asgi import (
    CHAT,
    DONE,
    STREAM,
    STREAM_WITH_USAGE,
    Seen,
    call,
    dictionary,
    json_app,
    reply,
    request,
    scope,
    stream_app,
    unfolded,
)

ASKING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
TRAILERS = "http.response.trailers"
OWN = (b"x-own", b"1")


def _offered(*, te: str = "trailers", key: str | None = None, **more: str) -> Scope:
    return {**scope(key=key, te=te, **more), "extensions": {TRAILERS: {}}}


def _own_app(after: Iterable[Message], error: Exception | None = None) -> Any:
    """An app with trailers of its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"text/event-stream"), (b"trailer", b"x-own")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        for chunk in STREAM_WITH_USAGE:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        for message in after:
            await send(message)
        if error is not None:
            raise error

    return app


def _trailers(seen: Seen) -> list[Message]:
    return [message for message in seen.messages if message["type"] == TRAILERS]


def _last(seen: Seen) -> dict[bytes, bytes]:
    """The fields of the one last trailers message, which must be the last of all."""
    ends = [message for message in _trailers(seen) if not message.get("more_trailers", False)]
    assert ends == seen.messages[-1:]
    return dict(ends[0]["headers"])


@pytest.mark.parametrize("te", ["trailers", "gzip, Trailers;q=0.5"])
@pytest.mark.parametrize("coding", [None, b"gzip"])
async def test_a_stream_ends_with_its_footprint_as_a_trailer(
    meter: Meter, key: str, te: str, coding: bytes | None
) -> None:
    chunks = STREAM_WITH_USAGE if coding is None else [gzip.compress(b"".join(STREAM_WITH_USAGE))]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", coding or b"identity")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, chunk in enumerate(chunks):
            await send({"type": "http.response.body", "body": chunk, "more_body": number < len(chunks) - 1})

    seen = await call(FootprintMiddleware(app, meter=meter), request(**ASKING), raw_scope=_offered(key=key, te=te))

    assert seen.messages[0]["trailers"] is True
    assert (b"trailer", b"headwater-footprint") in seen.messages[0]["headers"]
    told = dictionary(_last(seen)[b"headwater-footprint"])
    assert told["tokens"][1]["out"] == 4
    assert float(told["energy_j"][0]) > 0
    assert len(_trailers(seen)) == 1


async def test_trailer_and_fold_carry_the_same_digits(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(stream_app(STREAM_WITH_USAGE), meter=meter)

    seen = await call(app, request(**ASKING), raw_scope=_offered(key=key))

    told = dictionary(_last(seen)[b"headwater-footprint"])
    usage = json.loads(seen.chunks[3][6:])["usage"]["footprint"]
    assert [usage["energy_j"], usage["water_ul"]] == [float(told[name][0]) for name in ("energy_j", "water_ul")]


@pytest.mark.parametrize(
    ("raw", "inner"),
    [
        (scope(te="trailers"), stream_app(STREAM_WITH_USAGE)),
        ({**scope(te="trailers"), "extensions": None}, stream_app(STREAM_WITH_USAGE)),
        ({**scope(), "extensions": {TRAILERS: {}}}, stream_app(STREAM_WITH_USAGE)),
        (_offered(te="deflate"), stream_app(STREAM_WITH_USAGE)),
        (_offered(headwater_disclose="?0"), stream_app(STREAM_WITH_USAGE)),
        (_offered(), json_app(reply())),
        (_offered(), json_app(b'{"error":{}}', status=500)),
    ],
)
async def test_without_the_offer_and_on_other_replies_there_are_no_trailers(
    meter: Meter, raw: Scope, inner: Any
) -> None:
    seen = await call(FootprintMiddleware(inner, meter=meter), request(**ASKING), raw_scope=raw)

    assert not seen.messages[0].get("trailers", False)
    assert "trailer" not in seen.headers
    assert _trailers(seen) == []


async def test_the_apps_own_trailers_are_kept_and_ours_added(meter: Meter, key: str) -> None:
    after: list[Message] = [
        {"type": TRAILERS, "headers": [(b"x-first", b"0")], "more_trailers": True},
        {"type": TRAILERS, "headers": [OWN], "more_trailers": False},
    ]

    seen = await call(FootprintMiddleware(_own_app(after), meter=meter), request(**ASKING), raw_scope=_offered(key=key))

    assert _trailers(seen)[0] == after[0]
    assert list(_last(seen)) == [b"x-own", b"headwater-footprint"]
    assert [value for name, value in seen.messages[0]["headers"] if name == b"trailer"] == [
        b"x-own",
        b"headwater-footprint",
    ]


@pytest.mark.parametrize("error", [None, RuntimeError("forgot them")])
async def test_an_app_that_never_sends_the_trailers_it_announced_gets_ours(
    meter: Meter, key: str, error: Exception | None
) -> None:
    seen_so_far: list[Seen] = []

    with contextlib.suppress(RuntimeError):
        await call(
            FootprintMiddleware(_own_app([], error), meter=meter),
            request(**ASKING),
            raw_scope=_offered(key=key),
            on_message=seen_so_far.append,
        )

    assert list(_last(seen_so_far[-1])) == [b"headwater-footprint"]


@pytest.mark.parametrize(("fault", "failures_count"), [(OSError("gone"), 0), (RuntimeError("unexpected"), 1)])
async def test_a_server_that_takes_no_late_trailers_hides_no_exception_of_the_app(
    meter: Meter, key: str, fault: Exception, failures_count: int
) -> None:
    async def send(message: Message) -> None:
        if message["type"] == TRAILERS:
            raise fault

    async def receive() -> Message:
        return {"type": "http.request", "body": request(**ASKING), "more_body": False}

    app = FootprintMiddleware(_own_app([], ValueError("the app's own")), meter=meter)

    with pytest.raises(ValueError, match="the app's own"):
        await app(_offered(key=key), receive, send)

    assert meter.telemetry.failures_count == failures_count


async def test_a_stream_that_breaks_off_has_no_trailers_as_it_has_no_end(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(stream_app(STREAM[:2], error=RuntimeError("cut")), meter=meter)

    with pytest.raises(RuntimeError) as caught:
        await call(app, request(**ASKING), raw_scope=_offered(key=key))

    seen: Seen = caught.value.seen  # type: ignore[attr-defined]
    assert seen.messages[0]["trailers"] is True
    assert _trailers(seen) == []
    assert seen.messages[-1]["more_body"] is True


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        STREAM[:2],
        [*STREAM[:1], b'data: {"error":{"message":"overloaded"}}\n\n'],
        [b"\xff\xfe"],
    ],
)
async def test_whatever_the_body_says_its_end_has_one_trailers_message(
    meter: Meter, key: str, chunks: list[bytes]
) -> None:
    app = FootprintMiddleware(stream_app(chunks), meter=meter)

    seen = await call(app, request(**ASKING), raw_scope=_offered(key=key))

    assert set(_last(seen)) <= {b"headwater-footprint"}
    assert len(_trailers(seen)) == 1


@pytest.mark.parametrize("method", ["feed", "release", "close", "told", "output_text"])
async def test_a_failure_of_ours_takes_the_field_and_never_the_end(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def broken(*_arguments: Any, **_named: Any) -> Any:
        raise ValueError("broken")

    dialect = find("POST", CHAT)
    assert dialect is not None
    reader = dialect.stream_reader(
        dialect.read_request(request(), Target(method="POST", path=CHAT)), b"text/event-stream"
    )
    monkeypatch.setattr(type(reader), method, property(broken) if method == "told" else broken)
    app = FootprintMiddleware(stream_app([*STREAM, DONE]), meter=meter)

    seen = await call(app, request(stream=True), raw_scope=_offered(key=key))

    assert _last(seen) is not None
    assert len(_trailers(seen)) == 1
    assert meter.telemetry.failures_count > 0


async def test_files_sent_by_path_end_a_body_too(meter: Meter, key: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.zerocopysend", "file": 3, "more_body": True})
        await send({"type": "http.response.pathsend", "path": "somewhere"})

    seen = await call(FootprintMiddleware(app, meter=meter), request(**ASKING), raw_scope=_offered(key=key))

    assert [message["type"] for message in seen.messages[1:]] == [
        "http.response.zerocopysend",
        "http.response.pathsend",
        TRAILERS,
    ]


# -- over HTTP/2 ----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _hypercorn(app: Any) -> AsyncIterator[int]:
    """A real server on a free port, with HTTP/2 by prior knowledge."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    settings = Config()
    settings.bind = [f"127.0.0.1:{port}"]
    settings.errorlog = None
    settings.keep_alive_timeout = 0.5  # when it gives up a stream that has no end
    stop = asyncio.Event()
    started = asyncio.Event()

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        started.set()
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    shipped: ASGIFramework = noting
    serving = asyncio.ensure_future(hypercorn.asyncio.serve(shipped, settings, shutdown_trigger=stop.wait))
    await started.wait()
    try:
        yield port
    finally:
        stop.set()
        await serving


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:  # the lifespan has started, the socket listens in a moment
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0)


async def _ask(port: int, body: bytes, headers: list[tuple[str, str]]) -> tuple[list[Any], bytes]:
    """One request over h2c: the events of its stream until it ends or is reset, and the body."""
    reader, writer = await _connect(port)
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", CHAT)]
    client.send_headers(1, [*pseudo, ("content-type", "application/json"), *headers])
    client.send_data(1, body, end_stream=True)
    events: list[Any] = []
    received = b""
    is_over = False
    while not is_over:
        writer.write(client.data_to_send())
        data = await asyncio.wait_for(reader.read(65536), 10)
        if not data:
            break
        for event in client.receive_data(data):
            events.append(event)
            if isinstance(event, h2.events.DataReceived):
                received += event.data
                client.acknowledge_received_data(event.flow_controlled_length, 1)
            is_over = is_over or isinstance(event, h2.events.StreamEnded | h2.events.StreamReset)
    writer.close()
    await writer.wait_closed()
    return events, received


async def test_over_http_2_the_trailer_reaches_the_client(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(stream_app(STREAM_WITH_USAGE), meter=meter)
    caller = ("authorization", f"Bearer {key}")

    async with _hypercorn(app) as port:
        events, body = await _ask(port, request(**ASKING), [caller, ("te", "trailers")])
        plain_events, plain_body = await _ask(port, request(**ASKING), [caller])

    (trailers,) = [event for event in events if isinstance(event, h2.events.TrailersReceived)]
    fields = dict(trailers.headers)
    assert dictionary(fields[b"headwater-footprint"])["tokens"][1]["out"] == 4
    assert any(isinstance(event, h2.events.StreamEnded) for event in events)
    assert unfolded(body) == unfolded(plain_body) == b"".join(STREAM_WITH_USAGE)
    assert not any(isinstance(event, h2.events.TrailersReceived) for event in plain_events)
    assert any(isinstance(event, h2.events.StreamEnded) for event in plain_events)


async def test_over_http_2_a_stream_ends_also_where_nothing_was_metered(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(stream_app([b": nothing\n\n"]), meter=meter)

    async with _hypercorn(app) as port:
        events, body = await _ask(port, request(**ASKING), [("te", "trailers")])

    assert body == b": nothing\n\n"
    assert any(isinstance(event, h2.events.StreamEnded) for event in events)


async def test_over_http_2_the_apps_own_trailers_arrive_with_ours(meter: Meter, key: str) -> None:
    own: list[Message] = [{"type": TRAILERS, "headers": [OWN], "more_trailers": False}]

    async with _hypercorn(FootprintMiddleware(_own_app(own), meter=meter)) as port:
        events, _ = await _ask(port, request(**ASKING), [("te", "trailers")])

    (trailers,) = [event for event in events if isinstance(event, h2.events.TrailersReceived)]
    assert [name for name, _ in trailers.headers] == [b"x-own", b"headwater-footprint"]


async def test_over_http_2_a_stream_that_breaks_off_is_not_seen_to_end(meter: Meter) -> None:
    app = FootprintMiddleware(stream_app(STREAM[:2], ends=False), meter=meter)

    async with _hypercorn(app) as port:
        events, body = await _ask(port, request(**ASKING), [("te", "trailers")])

    assert body == b"".join(STREAM[:2])
    assert not any(isinstance(event, h2.events.StreamEnded | h2.events.TrailersReceived) for event in events)
