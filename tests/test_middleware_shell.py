"""The shell around an exchange: what is ours and what is not, starting and stopping, and failures that stay inside."""

from __future__ import annotations

import asyncio
import logging
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
from headwater.errors import ConfigError, LedgerError
from headwater.identity import KEY_FILE
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from tests.asgi import CHAT, STREAM_WITH_USAGE, Seen, call, json_app, reply, request, scope, stream_app, unfolded
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
    app = Starlette(routes=[Mount("/llm", FootprintMiddleware(inner, _settings(data_dir)))])

    with TestClient(app) as client:
        answer = client.post("/llm" + CHAT, content=request())

    assert "headwater-footprint" in answer.headers


def test_another_identity_key_refuses_to_start(data_dir: Path, short_folder: Path) -> None:
    other = short_folder / "other"
    other.mkdir()
    (other / KEY_FILE).write_bytes(bytes(32))
    before = (data_dir / KEY_FILE).read_bytes()
    app = Starlette()
    app.add_middleware(FootprintMiddleware, settings=_settings(data_dir))
    (data_dir / KEY_FILE).write_bytes(bytes(32))
    try:
        with pytest.raises((ConfigError, LedgerError), match="key"), TestClient(app):
            pass
    finally:
        (data_dir / KEY_FILE).write_bytes(before)


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


def test_settings_that_cannot_be_used_fail_at_once() -> None:
    with pytest.raises(ConfigError, match="hardware"):
        FootprintMiddleware(json_app(b""), {"deployment": [{"engine": "vllm-0.11"}]})
    with pytest.raises(ConfigError, match="dgx-z9"):
        FootprintMiddleware(json_app(b""), {"deployment": [{"hardware": "dgx-z9", "engine": "vllm-0.11"}]})


async def test_a_failing_identity_rule_leaves_the_reply_alone(make_meter: MakeMeter) -> None:
    def identify(_scope: Any) -> str | None:
        raise KeyError("no such account")

    meter = make_meter(identify=identify)
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    seen = await call(app, request())

    assert seen.body == reply()
    assert meter.telemetry.failures_count == 1


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


async def test_a_reader_that_fails_leaves_the_stream_alone(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = FootprintMiddleware(stream_app(STREAM_WITH_USAGE), meter=meter)
    from headwater.dialects import find

    dialect = find("POST", CHAT)
    assert dialect is not None
    make = type(dialect).stream_reader

    def broken(self: Any, request: Any, *, usage_injected: bool) -> Any:
        reader = make(self, request, usage_injected=usage_injected)
        calls = iter(range(100))

        class Reader:
            def __getattr__(self, name: str) -> Any:
                return getattr(reader, name)

            def feed(self, data: bytes) -> tuple[bytes, bool]:
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
