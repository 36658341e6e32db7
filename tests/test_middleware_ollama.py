"""Ollama's API through the middleware: charged as it counts, disclosed on its last line; another app's `/api/chat` untouched."""

from __future__ import annotations

import asyncio
import json

import httpx
import ollama
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import AccountRow
from tests.asgi import call, json_app, unfolded
from tests.dialects.test_ollama import METRICS, line, said

LINES = [said("The"), said(" sky"), said(done=True, done_reason="stop", **METRICS)]
REQUEST = b'{"model":"llama-3.1-70b","messages":[{"role":"user","content":"Why is the sky blue?"}]}'


def _lines_app(lines: list[bytes]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        headers = [(b"content-type", b"application/x-ndjson")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for each in lines:
            await send({"type": "http.response.body", "body": each, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def _account(meter: Meter, key: str) -> AccountRow | None:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    return meter.ledger.reader().user_row(user, meter.month())


async def test_a_chat_streams_without_being_asked_to_and_ends_with_its_footprint(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(_lines_app(LINES), meter=meter)

    seen = await call(app, REQUEST, path="/api/chat", key=key)

    last = json.loads(seen.body.splitlines()[-1])
    assert last["footprint"]["tokens"] == {"input": 26, "cached": None, "output": 282, "source": "upstream"}
    assert last["eval_count"] == 282
    assert unfolded(seen.body) == b"".join(LINES)
    assert seen.chunks[:2] == LINES[:2]
    row = await _account(meter, key)
    assert row is not None
    assert (row.requests_count, row.input_tokens, row.output_tokens, row.incomplete_count) == (1, 26, 282, 0)


async def test_a_prompt_that_ollama_did_not_count_is_counted(meter: Meter, key: str) -> None:
    metrics = {name: each for name, each in METRICS.items() if not name.startswith("prompt")}
    app = FootprintMiddleware(_lines_app([said("The"), said(done=True, **metrics)]), meter=meter)

    seen = await call(app, REQUEST, path="/api/chat", key=key)

    tokens = json.loads(seen.body.splitlines()[-1])["footprint"]["tokens"]
    assert (tokens["output"], tokens["source"]) == (282, "estimated")
    assert 8 < tokens["input"] < 20


async def test_what_ollamas_cloud_did_has_no_footprint_of_ours(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(
        _lines_app([said("Hi", done=True, remote_host="https://ollama.com", **METRICS)]), meter=meter
    )

    seen = await call(app, REQUEST, path="/api/chat", key=key)

    assert json.loads(seen.body)["footprint"]["reason"] == "served-remotely"


async def test_a_request_that_loads_a_model_is_an_exchange_without_tokens(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(line(response="", done=True, done_reason="load")), meter=meter)

    seen = await call(app, b'{"model":"llama-3.1-70b"}', path="/api/generate", key=key)

    assert seen.json["footprint"]["tokens"] == {"input": 0, "cached": None, "output": 0, "source": "upstream"}
    row = await _account(meter, key)
    assert row is not None
    assert (row.requests_count, row.input_tokens, row.output_tokens) == (1, 0, 0)


@pytest.mark.parametrize("body", [b'{"messages":[{"role":"user","content":"Hi"}],"id":"c1"}', b'{"model":{"id":1}}'])
async def test_another_apps_path_of_the_same_name_passes_untouched(meter: Meter, key: str, body: bytes) -> None:
    app = FootprintMiddleware(json_app(b'{"message":{},"done":true}'), meter=meter)

    seen = await call(app, body, path="/api/chat", key=key)

    assert seen.body == b'{"message":{},"done":true}'
    assert not [name for name in seen.headers if name.startswith("headwater")]
    row = await _account(meter, key)
    assert row is None or row.requests_count == 0


async def test_ollamas_own_client_is_served_through_the_middleware(meter: Meter) -> None:
    vectors = b'{"model":"all-minilm","embeddings":[[0.5,-0.5]],"prompt_eval_count":8}'
    chat = ollama.AsyncClient(transport=httpx.ASGITransport(FootprintMiddleware(_lines_app(LINES), meter=meter)))
    embed = ollama.AsyncClient(transport=httpx.ASGITransport(FootprintMiddleware(json_app(vectors), meter=meter)))
    lines_app = _lines_app([said("The"), b'{"error":"unexpected EOF"}\n'])
    broken = ollama.AsyncClient(transport=httpx.ASGITransport(FootprintMiddleware(lines_app, meter=meter)))

    parts = [part async for part in await chat.chat("llama3.2", [{"role": "user", "content": "Why?"}], stream=True)]
    embedded = await embed.embed("all-minilm", ["a"])
    with pytest.raises(ollama.ResponseError, match="unexpected EOF"):
        [part async for part in await broken.chat("llama3.2", stream=True)]

    assert "".join(part.message.content or "" for part in parts) == "The sky"
    assert (parts[-1].done, parts[-1].prompt_eval_count, parts[-1].eval_count) == (True, 26, 282)
    assert (embedded.embeddings, embedded.prompt_eval_count) == ([[0.5, -0.5]], 8)
