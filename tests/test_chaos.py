"""Whatever dies, the account equals what the clients saw: a worker in mid-stream, and the store with its last second."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headwater import config
from headwater.demo import server
from headwater.ledger import Reader, packing
from headwater.ledger.frames import Frame, Kind
from headwater.ledger.tail import Tail
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import AccountRow
from headwater.reports import month_now, statement
from tests.asgi import CHAT, STREAM_WITH_USAGE, USAGE, call, content, json_app, reply, request, scope, unfolded
from tests.ledger.support import Server

ASKING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
SEEN_CHUNKS = 7


async def _chat(request: Request) -> Response:
    body = await request.json()
    if body.get("hangs"):
        return StreamingResponse(_hanging(), media_type="text/event-stream")
    if body.get("stream"):
        return StreamingResponse(iter(STREAM_WITH_USAGE), media_type="text/event-stream")
    return Response(reply(), media_type="application/json")


async def _hanging() -> Any:
    for _ in range(SEEN_CHUNKS):
        yield content("word ")
    await asyncio.Event().wait()


@dataclass
class Gateway:
    """A `headwater serve` in a process of its own."""

    process: subprocess.Popen[bytes]
    url: str

    def ask(self, **members: Any) -> Any:
        answer = httpx.post(self.url + CHAT, content=request(**members), headers={"api-key": "sk-chaos"}, timeout=10)
        assert answer.status_code == 200
        return answer


@contextmanager
def serving(upstream: str, folder: Path, redis_url: str) -> Iterator[Gateway]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = folder / "headwater.toml"
    settings.write_text('[[deployment]]\nhardware = "hgx-h100"\nengine = "vllm-0.11"\naccelerators = 4\n')
    options = ["--upstream", upstream, "--port", str(port), "--config", str(settings)]
    environment = {**os.environ, "HEADWATER_DATA_DIR": str(folder / "data"), "HEADWATER_REDIS_URL": redis_url}
    process = subprocess.Popen([sys.executable, "-m", "headwater", "serve", *options], env=environment)
    gateway = Gateway(process, f"http://127.0.0.1:{port}")
    try:
        assert _until(lambda: _answers(gateway.url))
        yield gateway
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/.well-known/headwater/me", timeout=5).status_code == 401
    except httpx.TransportError:
        return False


def _until(holds: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(holds() or pause.wait(0.02) for _ in range(750))


@pytest.fixture
def upstream() -> Iterator[str]:
    with server.listening(0) as listener:
        app = Starlette(routes=[Route(CHAT, _chat, methods=["POST"])])
        with server.serving(app, listener):
            yield server.url(listener)


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A store that the test may kill."""
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        store = Server(Path(folder))
        store.start()
        yield store
        store.stop()


def _total(redis_url: str, folder: Path) -> AccountRow:
    with Reader.open(data_dir=folder / "data", redis_url=redis_url) as reader:
        charges = list(reader.ledger_entries())
        assert len(charges) == len({charge.request_id for charge in charges})
        made = statement(reader, month_now(charges[-1].ended_ms / 1000)) if charges else None
    return made.total if made is not None else AccountRow(user="", label=None, period="")


def test_after_sigkill_of_worker_and_store_and_an_aof_set_back_the_account_is_what_the_clients_saw(
    upstream: str, own_server: Server, short_folder: Path
) -> None:
    folder = short_folder / "chaos"
    folder.mkdir()
    url = own_server.url
    energy_j: list[float] = []

    def ask(gateway: Gateway, count: int) -> None:
        for number in range(count):
            if number % 2:
                footprint = gateway.ask().json()["usage"]["footprint"]
            else:
                footprint = json.loads(gateway.ask(**ASKING).text.split("data: ")[-2])["usage"]["footprint"]
            assert footprint["tokens"]["output"] == USAGE["completion_tokens"]
            energy_j.append(footprint["energy_j"])

    with serving(upstream, folder, url) as gateway:
        ask(gateway, 10)
        assert _until(lambda: _total(url, folder).requests_count == 10)
        own_server.command("WAITAOF", "1", "0", "5000")
        kept = own_server.store.with_name("aof-of-last-fsync")
        shutil.copytree(own_server.store, kept)
        ask(gateway, 11)
        assert _until(lambda: _total(url, folder).requests_count == 21)
        with httpx.stream(
            "POST", gateway.url + CHAT, content=request(hangs=True, **ASKING), headers={"api-key": "sk-chaos"}
        ) as response:
            lines = response.iter_lines()
            seen = [line for line in (next(lines) for _ in range(2 * SEEN_CHUNKS)) if line]
            assert len(seen) == SEEN_CHUNKS
            assert _until(lambda: _noted(folder) == SEEN_CHUNKS)
            gateway.process.kill()
            gateway.process.wait()
        own_server.kill()
    shutil.rmtree(own_server.store)
    shutil.copytree(kept, own_server.store)
    own_server.start()

    with serving(upstream, folder, url) as gateway:
        ask(gateway, 3)
        assert _until(lambda: _total(url, folder).requests_count == 25)

    total = _total(url, folder)
    assert total.requests_count == 24 + 1
    assert total.incomplete_count == 1
    assert total.output_tokens == 24 * USAGE["completion_tokens"] + SEEN_CHUNKS
    assert total.input_tokens == 24 * USAGE["prompt_tokens"]
    partial = [charge for charge in _charges(url, folder) if charge.outcome == "partial"]
    assert [charge.usage.output_tokens for charge in partial] == [SEEN_CHUNKS]
    assert partial[0].amounts is not None
    told_j = sum(energy_j) + partial[0].amounts.energy_microjoules / 1e6
    assert total.energy_microjoules / 1e6 == pytest.approx(told_j, rel=1e-3)


def _charges(redis_url: str, folder: Path) -> list[Any]:
    with Reader.open(data_dir=folder / "data", redis_url=redis_url) as reader:
        return list(reader.ledger_entries())


def _noted(folder: Path) -> int | None:
    """The output tokens of the last provisional record in the journals."""
    notes = [
        packing.unpack(frame.payload).usage.output_tokens
        for journal in sorted((folder / "data" / "journals").iterdir())
        for frame in iter_frames(journal)
        if frame.kind == Kind.PROVISIONAL
    ]
    return notes[-1] if notes else None


def iter_frames(journal: Path) -> Iterator[Frame]:
    tail = Tail(journal)
    tail.sync()
    while frames := tail.read():
        yield from frames


async def test_replies_never_wait_for_a_store_that_is_absent_stopped_or_killed(short_folder: Path) -> None:
    """Each reply is the same; the clients' time is bounded by the app; every charge arrives once the store is back."""
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        store = Server(Path(folder))
        document = {
            "ledger": {"data_dir": str(short_folder / "away"), "redis_url": store.url},
            "deployment": [{"hardware": "hgx-h100", "engine": "vllm-0.11", "accelerators": 4}],
        }
        meter = Meter(config.load(document, environment={}))
        meter.start()
        whole = FootprintMiddleware(json_app(reply()), meter=meter)

        async def halfway(number: int) -> None:
            if number == 2:
                await asyncio.to_thread(store.kill)

        absent = await call(whole, request(), key="sk-away")
        store.start()
        assert await asyncio.to_thread(meter.ledger.flush, 20.0)
        store.pause()
        stopped = await asyncio.wait_for(call(whole, request(), key="sk-away"), 2.0)
        store.resume()
        assert await asyncio.to_thread(meter.ledger.flush, 20.0)
        streaming = FootprintMiddleware(_stream_with(halfway), meter=meter)
        killed = await asyncio.wait_for(call(streaming, request(**ASKING), key="sk-away"), 5.0)
        store.start()
        assert await asyncio.to_thread(meter.ledger.flush, 20.0)

        with meter.ledger.reader() as reader:
            row = reader.user_row(meter.identity.user(scope(key="sk-away")), meter.month())
        meter.ledger.close()
        store.stop()
    assert [unfolded(seen.body) for seen in (absent, stopped)] == [reply(), reply()]
    assert unfolded(killed.body) == b"".join(STREAM_WITH_USAGE)
    assert (row.requests_count, row.output_tokens) == (3, 3 * USAGE["completion_tokens"])
    assert meter.telemetry.failures_count == 0


def _stream_with(between: Callable[[int], Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number, chunk in enumerate(STREAM_WITH_USAGE):
            await between(number)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app
