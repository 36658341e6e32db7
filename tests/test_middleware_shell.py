"""The shell around an exchange: what is ours and what is not, starting and stopping, and failures that stay inside."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from headwater import config
from headwater.dialects import find
from headwater.dialects.kit.whole import WholeReply
from headwater.disclosing import Disclosing
from headwater.errors import ConfigError, LedgerError
from headwater.identity import KEY_FILE
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from tests.asgi import (
    CHAT,
    DONE,
    STREAM_WITH_USAGE,
    Seen,
    call,
    content,
    json_app,
    reply,
    request,
    scope,
    stream_app,
    unfolded,
)
from tests.conftest import MakeMeter


def _settings(folder: Path) -> dict[str, Any]:
    return {
        "ledger": {"data_dir": str(folder)},
        "deployment": [{"hardware": "hgx-h100", "engine": "vllm-0.11", "accelerators": 4}],
    }


async def _answer(_request: Request) -> JSONResponse:
    import json

    return JSONResponse(json.loads(reply()))


async def test_anything_but_a_chat_request_passes_untouched(meter: Meter) -> None:
    seen_scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen_scopes.append((scope, receive, send))

    wrapped = FootprintMiddleware(app, meter=meter)
    for raw in (
        {**scope(), "type": "websocket"},
        scope(method="GET"),
        scope("/v1/models"),
        scope("/v1/chat/completions/x"),
    ):
        await wrapped(raw, "receive", "send")  # type: ignore[arg-type]

    assert [(receive, send) for _, receive, send in seen_scopes] == [("receive", "send")] * 4
    assert all("headwater" not in raw for raw, _, _ in seen_scopes)


async def test_installed_twice_it_charges_once(meter: Meter, key: str) -> None:
    inner = FootprintMiddleware(json_app(reply()), meter=meter)
    outer = FootprintMiddleware(inner, meter=meter)

    seen = await call(outer, request(), key=key)

    assert seen.body.count(b'"footprint"') == 1
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    user = meter.identity.user(scope(key=key))
    assert meter.ledger.reader().user_row(user, meter.month()).requests_count == 1


async def test_under_a_mount_point_the_path_is_the_apps_own(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=meter)
    mounted = {**scope("/llm/.well-known/headwater/me", method="GET", key=key), "root_path": "/llm"}

    seen = await call(app, raw_scope=mounted)

    assert seen.json["month"]["requests"] == 0


@pytest.mark.parametrize("make", [Starlette, FastAPI])
def test_it_wraps_starlette_and_fastapi_and_starts_with_them(make: Any, data_dir: Path) -> None:
    app = make(routes=[Route(CHAT, _answer, methods=["POST"])])
    app.add_middleware(FootprintMiddleware, settings=_settings(data_dir))

    with TestClient(app) as client:
        first = client.post(CHAT, content=request(), headers={"api-key": "sk-wrap"})
        link = first.headers["link"].partition(">")[0].lstrip("<")

        assert first.json()["usage"]["footprint"]["tokens"]["output"] == 4
        assert _until_200(client, link, {"api-key": "sk-wrap"})["outcome"] == "completed"


def _until_200(client: TestClient, link: str, headers: dict[str, str]) -> Any:
    for _ in range(1000):
        answer = client.get(link, headers=headers)
        if answer.status_code == 200:
            return answer.json()
        assert (answer.status_code, answer.headers["retry-after"]) == (404, "1")
    raise AssertionError("no receipt after 1000 tries")


def test_a_stream_that_a_base_http_middleware_wraps_is_read_as_well(data_dir: Path) -> None:
    async def stream(_request: Request) -> StreamingResponse:
        return StreamingResponse(iter(STREAM_WITH_USAGE), media_type="text/event-stream")

    async def dispatch(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    app = Starlette(
        routes=[Route(CHAT, stream, methods=["POST"])],
        middleware=[
            Middleware(FootprintMiddleware, settings=_settings(data_dir)),
            Middleware(BaseHTTPMiddleware, dispatch=dispatch),
        ],
    )

    with TestClient(app) as client:
        answer = client.post(CHAT, content=request(stream=True, stream_options={"include_usage": True}))

    assert answer.text.count('"footprint"') == 1


def test_without_lifespan_messages_the_first_request_starts_the_ledger(data_dir: Path) -> None:
    inner = Starlette(routes=[Route(CHAT, _answer, methods=["POST"])])
    middleware = FootprintMiddleware(inner, _settings(data_dir))

    with TestClient(Starlette(routes=[Mount("/llm", middleware)])) as client:
        answer = client.post("/llm" + CHAT, content=request())

    assert "headwater-footprint" in answer.headers
    middleware.meter.ledger.close()


def test_another_identity_key_refuses_to_start(data_dir: Path) -> None:
    before = (data_dir / KEY_FILE).read_bytes()
    (data_dir / KEY_FILE).write_bytes(bytes(32))
    try:
        said = _lifespan_of(FootprintMiddleware(json_app(b""), _settings(data_dir)))
    finally:
        (data_dir / KEY_FILE).write_bytes(before)

    assert said["type"] == "lifespan.startup.failed"
    assert "key" in said["message"]


def _lifespan_of(app: FootprintMiddleware) -> Any:
    """The first word of an app to a server that starts it."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send))
    return sent[0]


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"deployment": [{"engine": "vllm-0.11"}]}, "hardware"),
        ({"deployment": [{"hardware": "dgx-z9", "engine": "vllm-0.11"}]}, "dgx-z9"),
        ({"identity": {"from": ["cookie"]}}, "cookie"),
    ],
)
def test_settings_that_cannot_be_used_stop_the_server_at_its_start(document: Any, word: str, data_dir: Path) -> None:
    app = FootprintMiddleware(json_app(b""), {"ledger": {"data_dir": str(data_dir)}, **document})

    said = _lifespan_of(app)

    assert said["type"] == "lifespan.startup.failed"
    assert word in said["message"]
    with pytest.raises(ConfigError, match=word):
        _ = app.meter


async def test_without_lifespan_bad_settings_are_logged_once_and_replies_pass_unmetered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FootprintMiddleware(json_app(reply()), {"deployment": []} | {"ledgr": {}})

    with caplog.at_level(logging.ERROR, "headwater"):
        seen = [await call(app, request()) for _ in range(2)]

    assert [one.body for one in seen] == [reply(), reply()]
    assert len(caplog.records) == 1
    assert "ledgr" in caplog.records[0].message


def test_a_journal_that_cannot_be_written_lets_the_app_start_unmetered(
    meter: Meter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise LedgerError("Read-only file system")

    monkeypatch.setattr(meter, "start", refuse)
    started: list[str] = []

    async def lifespan(_app: Any) -> Any:
        started.append("app")
        yield

    app = Starlette(routes=[Route(CHAT, _answer, methods=["POST"])], lifespan=contextlib.asynccontextmanager(lifespan))
    with (
        caplog.at_level(logging.ERROR, "headwater"),
        TestClient(FootprintMiddleware(app, meter=meter)) as client,
    ):
        answer = client.post(CHAT, content=request())

    assert started == ["app"]
    assert answer.status_code == 200
    assert "headwater-id" not in answer.headers
    assert "Read-only file system" in caplog.text


async def test_a_ledger_that_refuses_leaves_the_app_as_it_is(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise LedgerError("another key")

    monkeypatch.setattr(meter, "start", refuse)
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    with caplog.at_level(logging.ERROR, "headwater"):
        seen = [await call(app, request(), key=key) for _ in range(2)]

    assert [one.body for one in seen] == [reply(), reply()]
    assert [record.message for record in caplog.records] == [
        "headwater is off, replies pass through unmetered: another key"
    ]


async def test_a_document_that_the_journal_refuses_costs_no_charge(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> None:
        raise LedgerError("No space left on device")

    monkeypatch.setattr(meter.ledger, "document", refuse)
    journalled = meter.ledger.stats.journalled
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    seen = await call(app, request(), key=key)

    assert seen.body == reply()
    assert meter.ledger.stats.journalled == journalled + 1


async def test_a_failing_identity_rule_is_charged_to_anonymous(make_meter: MakeMeter) -> None:
    def identify(_scope: Any) -> str | None:
        raise KeyError("no such account")

    meter = make_meter(identify=identify)
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    seen = await call(app, request())
    me = await call(app, path="/.well-known/headwater/me", method="GET")

    assert "headwater-footprint" in seen.headers
    assert me.status == 401
    assert meter.telemetry.failures_count == 2


@pytest.mark.parametrize("streaming", [False, True])
async def test_bodies_and_headers_of_any_kind_that_servers_take_are_taken(
    meter: Meter, key: str, streaming: bool
) -> None:
    """ASGI says bytes and an iterable; servers also take memoryviews, and a generator can be read once."""
    chunks = STREAM_WITH_USAGE if streaming else [reply()]
    kind = b"text/event-stream" if streaming else b"application/json"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.early_hint", "links": []})
        headers = (pair for pair in [(b"content-type", kind), (b"x-own", b"1")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, chunk in enumerate(chunks):
            more = number < len(chunks) - 1
            await send({"type": "http.response.body", "body": memoryview(chunk), "more_body": more})

    body = request(stream=streaming, stream_options={"include_usage": True}) if streaming else request()
    seen = await call(FootprintMiddleware(app, meter=meter), body, key=key)

    assert seen.messages.pop(0)["type"] == "http.response.early_hint"
    assert seen.headers["x-own"] == "1"
    assert seen.headers["content-type"] == kind.decode()
    assert unfolded(seen.body) == b"".join(chunks)
    assert b'"footprint"' in seen.body


async def test_headwater_behind_headwater_discloses_once(meter: Meter, key: str) -> None:
    disclosed = await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key)
    behind = json_app(disclosed.body, headers=[(b"headwater-id", disclosed.headers["headwater-id"].encode())])

    seen = await call(FootprintMiddleware(behind, meter=meter), request(), key=key)

    assert seen.body == disclosed.body
    assert [name for name, _ in seen.messages[0]["headers"]].count(b"headwater-id") == 1


async def test_two_tasks_that_send_at_the_end_of_a_stream_charge_once(meter: Meter, key: str) -> None:
    long = [content("word " * 9_000), content("", "stop")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": long[0], "more_body": True})
        ending = asyncio.ensure_future(send({"type": "http.response.body", "body": long[1], "more_body": True}))
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})
        await ending
        await send({"type": "http.response.body", "body": DONE})

    seen = await call(FootprintMiddleware(app, meter=meter), request(stream=True), key=key)

    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    entries = [charge.request_id for charge in meter.ledger.reader().ledger_entries()]
    assert entries.count(seen.headers["headwater-id"]) == 1
    assert meter.serving.of("llama-3.1-70b").load.in_flight_count == 0
    assert sorted(unfolded(seen.body)) == sorted(b"".join(long) + b": ping\n\n" + DONE)


async def test_a_json_reply_cancelled_while_it_is_counted_keeps_its_tokens(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = threading.Event()
    go_on = threading.Event()
    count_text = meter.counter.count_text

    def slow(text: str, model: str | None) -> Any:
        counting.set()
        go_on.wait(10)
        return count_text(text, model)

    monkeypatch.setattr(meter.counter, "count_text", slow)
    choice = {"index": 0, "message": {"role": "assistant", "content": "word " * 9_000}, "finish_reason": "stop"}
    app = FootprintMiddleware(json_app(reply(usage=None, choices=[choice])), meter=meter)

    task = asyncio.ensure_future(call(app, request(), key=key))
    await asyncio.to_thread(counting.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.gather(*meter._tasks)

    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    row = meter.ledger.reader().user_row(meter.identity.user(scope(key=key)), meter.month())
    assert (row.requests_count, row.incomplete_count) == (1, 1)
    assert 8_900 < row.output_tokens < 9_300


@pytest.mark.parametrize("number", ["1e308", "1" + "0" * 400, "1e15", "-1"])
async def test_an_absurd_number_harms_no_reply_no_charge_and_no_neighbour(meter: Meter, key: str, number: str) -> None:
    timings = b'"timings":{"prompt_ms":%s,"predicted_ms":%s},' % (number.encode(), number.encode())
    whole = reply().replace(b'"usage":', timings + b'"usage":')
    finish = content("", "stop").replace(b'"choices":', timings + b'"choices":')

    seen = await call(FootprintMiddleware(json_app(whole), meter=meter), request(), key=key)
    streamed = await call(
        FootprintMiddleware(stream_app([content("Hello"), finish, DONE]), meter=meter), request(stream=True), key=key
    )

    assert unfolded(seen.body) == whole
    assert unfolded(streamed.body) == content("Hello") + finish + DONE
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    row = meter.ledger.reader().user_row(meter.identity.user(scope(key=key)), meter.month())
    assert (row.requests_count, row.incomplete_count, row.unknown_count) == (2, 0, 0)
    assert meter.serving.of("llama-3.1-70b").load.in_flight_count == 0


async def test_absurd_token_counts_are_no_counts(meter: Meter, key: str) -> None:
    usage = {"prompt_tokens": 10**12, "completion_tokens": 10**12, "total_tokens": 2 * 10**12}

    seen = await call(FootprintMiddleware(json_app(reply(usage=usage)), meter=meter), request(), key=key)

    assert b"src=estimated" in seen.headers["headwater-footprint"].encode()


class _Broken:
    """A ledger part that fails whenever it is used."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __call__(self, meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_arguments: Any, **_named: Any) -> None:
            raise OSError(28, "No space left on device")

        for name in self.names:
            monkeypatch.setattr(meter.ledger, name, fail)


@pytest.mark.parametrize(
    "names", [("provisional",), ("charge",), ("document",), ("provisional", "charge", "period_total")]
)
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_journal_that_fails_never_harms_a_reply(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], streaming: bool
) -> None:
    _Broken(*names)(meter, monkeypatch)
    inner = stream_app(STREAM_WITH_USAGE) if streaming else json_app(reply())
    app = FootprintMiddleware(inner, meter=meter)
    body = request(stream=streaming, stream_options={"include_usage": True}) if streaming else request()

    seen = await call(app, body, key=key)

    assert meter.telemetry.failures_count > 0
    assert seen.status == 200
    assert seen.ended
    assert unfolded(seen.body) == (b"".join(STREAM_WITH_USAGE) if streaming else reply())


async def test_a_journal_that_fails_never_harms_a_reply_too_large_to_hold(
    make_meter: MakeMeter, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = make_meter(limits={"hold_bytes": 64})
    _Broken("charge")(meter, monkeypatch)
    for parts in ([reply()], [reply()[:40], reply()[40:50], reply()[50:]]):
        seen = await call(FootprintMiddleware(json_app(reply(), parts=parts), meter=meter), request(), key=key)

        assert (seen.status, seen.body) == (200, reply())
        assert seen.ended
    assert meter.telemetry.failures_count == 2


@pytest.mark.parametrize("part", ["read_reply", "stream_reader", "headed", "fold"])
@pytest.mark.parametrize("streaming", [False, True])
async def test_whatever_fails_between_two_messages_the_reply_goes_out_once_and_whole(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch, part: str, streaming: bool
) -> None:
    def fail(*_arguments: Any, **_named: Any) -> None:
        raise ValueError("broken part")

    dialect = find("POST", CHAT)
    assert dialect is not None
    owner: Any = {"headed": Disclosing, "fold": WholeReply}.get(part, type(dialect))
    monkeypatch.setattr(owner, part, fail)
    chunks = STREAM_WITH_USAGE if streaming else [reply()[:50], reply()[50:]]
    kind = b"text/event-stream" if streaming else b"application/json"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = (pair for pair in [(b"content-type", kind), (b"x-own", b"1")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, chunk in enumerate(chunks):
            more = number < len(chunks) - 1
            await send({"type": "http.response.body", "body": memoryview(chunk), "more_body": more})

    body = request(stream=streaming, stream_options={"include_usage": True}) if streaming else request()
    seen = await call(FootprintMiddleware(app, meter=meter), body, key=key)

    assert [message["type"] for message in seen.messages].count("http.response.start") == 1
    assert seen.headers["x-own"] == "1"
    assert unfolded(seen.body) == b"".join(chunks)
    assert seen.ended


async def test_a_reader_that_fails_leaves_the_stream_alone(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = FootprintMiddleware(stream_app(STREAM_WITH_USAGE), meter=meter)
    dialect = find("POST", CHAT)
    assert dialect is not None
    make = type(dialect).stream_reader

    def broken(self: Any, request: Any, content_type: bytes, *, usage_injected: bool) -> Any:
        reader: Any = make(self, request, content_type, usage_injected=usage_injected)
        calls = iter(range(100))

        class Reader:
            def __getattr__(self, name: str) -> Any:
                return getattr(reader, name)

            def feed(self, data: bytes) -> Any:
                if next(calls) == 1:
                    raise ValueError("secret prompt text")
                return reader.feed(data)

        return Reader()

    monkeypatch.setattr(type(dialect), "stream_reader", broken)

    seen = await call(app, request(stream=True, stream_options={"include_usage": True}), key=key)

    assert seen.body == b"".join(STREAM_WITH_USAGE)
    assert "secret prompt text" not in caplog.text
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    user = meter.identity.user(scope(key=key))
    assert meter.ledger.reader().user_row(user, meter.month()).requests_count == 1


async def test_an_app_that_breaks_off_a_json_reply_breaks_off_likewise_for_the_client(meter: Meter, key: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"id":', "more_body": True})
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError) as caught:
        await call(FootprintMiddleware(app, meter=meter), request(), key=key)

    seen: Seen = caught.value.seen  # type: ignore[attr-defined]
    assert seen.status == 200
    assert seen.body == b'{"id":'


async def test_a_client_that_leaves_before_the_first_byte_is_charged_for_the_time(meter: Meter, key: str) -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        gone.set()
        await receive()

    await call(FootprintMiddleware(app, meter=meter), request(), key=key, gone=gone)

    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    user = meter.identity.user(scope(key=key))
    row = meter.ledger.reader().user_row(user, meter.month())
    assert (row.requests_count, row.incomplete_count, row.unknown_count) == (1, 1, 0)


async def test_an_app_that_answers_without_reading_is_charged_without_a_model(meter: Meter, key: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await json_app(reply())(scope, lambda: _nothing(), send)

    async def _nothing() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    seen = await call(FootprintMiddleware(app, meter=meter), request(), key=key)

    assert "reason=model-not-named" in seen.headers["headwater-footprint"]


def test_loading_config_from_a_file_path(tmp_path: Path, data_dir: Path) -> None:
    path = tmp_path / "headwater.toml"
    path.write_text(f'[ledger]\ndata_dir = "{data_dir}"\n')

    made = FootprintMiddleware(json_app(b""), path)

    assert made.meter.settings == config.load(path)


async def test_two_middlewares_on_one_meter_share_one_journal(meter: Meter, key: str) -> None:
    ids = []
    for _ in range(3):
        seen = await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key)
        ids.append(seen.headers["headwater-id"])

    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    charges = [charge.request_id for charge in meter.ledger.reader().ledger_entries()]
    assert [request_id for request_id in charges if request_id in ids] == ids


async def test_a_fault_of_ours_at_the_start_leaves_the_app_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr("headwater.middleware.Meter", broken)
    app = FootprintMiddleware(json_app(reply()), {})

    assert (await call(app, request())).status == 200
    with pytest.raises(ConfigError, match="could not determine home directory"):
        _ = app.meter


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/surveys/completions", "/v1/messages", "/surveys/1/responses", "/api/chat"]
)
async def test_another_app_with_a_path_of_the_same_name_is_left_alone(path: str, meter: Meter, key: str) -> None:
    seen = await call(FootprintMiddleware(json_app(b'{"ok":true}'), meter=meter), b'{"text":"Hi"}', key=key, path=path)

    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    user = meter.identity.user(scope(key=key))
    assert seen.body == b'{"ok":true}'
    assert not any(name.startswith("headwater") for name in seen.headers)
    assert meter.ledger.reader().user_row(user, meter.month()).requests_count == 0
