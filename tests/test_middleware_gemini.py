"""Gemini and Bedrock through the middleware: the model in the path, the key beside it, arrays and binary streams untouched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import AccountRow
from tests.asgi import MODEL, call, scope, unfolded
from tests.dialects.frames import event as frame
from tests.dialects.frames import exception

ASKED = json.dumps({"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}).encode()
COUNTS = {"promptTokenCount": 25, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "totalTokenCount": 32}
PARTS: list[dict[str, Any]] = [
    {"candidates": [{"content": {"parts": [{"text": "Hel"}]}}], "usageMetadata": {"promptTokenCount": 25}},
    {"candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}], "usageMetadata": COUNTS},
]
EVENTS = [b"data: " + json.dumps(part).encode() + b"\r\n\r\n" for part in PARTS]
ARRAY = [b"[" + json.dumps(PARTS[0], indent=2).encode(), b"\n,\r\n" + json.dumps(PARTS[1], indent=2).encode(), b"\n]\n"]
GEMINI = f"/v1beta/models/{MODEL}:streamGenerateContent"
BEDROCK = f"/model/{MODEL}/converse-stream"
FRAMES = [
    frame("messageStart", b'{"role":"assistant"}'),
    frame("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"Hello"}}'),
    frame("messageStop", b'{"stopReason":"end_turn"}'),
]
METADATA = frame(
    "metadata", b'{"usage":{"inputTokens":25,"outputTokens":7,"totalTokens":32},"metrics":{"latencyMs":9}}'
)


def streaming(chunks: Sequence[bytes], content_type: bytes) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        headers = [(b"content-type", content_type)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def asking(path: str, key: str, query: bytes = b"") -> Scope:
    return {**scope(path, x_goog_api_key=key), "query_string": query}


async def account(meter: Meter, key: str) -> AccountRow:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    user = meter.identity.user({"headers": [(b"x-goog-api-key", key.encode())]})
    return meter.ledger.reader().user_row(user, meter.month())


async def test_a_stream_of_events_carries_the_footprint_in_its_last_usage(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(streaming(EVENTS, b"text/event-stream"), meter=meter)

    seen = await call(app, ASKED, raw_scope=asking(GEMINI, key, b"alt=sse"))

    footprint = json.loads(seen.body.rpartition(b"data: ")[2])["usageMetadata"]["footprint"]
    assert footprint["tokens"] == {"input": 25, "cached": None, "output": 7, "source": "upstream"}
    assert footprint["model"] == MODEL
    assert seen.chunks[0] == EVENTS[0]
    assert unfolded(seen.body) == b"".join(EVENTS)
    row = await account(meter, key)
    assert (row.requests_count, row.input_tokens, row.output_tokens, row.incomplete_count) == (1, 25, 7, 0)


async def test_a_stream_that_breaks_off_is_charged_with_the_input_that_it_told(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(streaming(EVENTS[:1], b"text/event-stream"), meter=meter)

    await call(app, ASKED, raw_scope=asking(GEMINI, key, b"alt=sse"))

    row = await account(meter, key)
    assert (row.input_tokens, row.output_tokens, row.incomplete_count, row.not_upstream_count) == (25, 1, 1, 1)


async def test_the_query_knows_the_caller_where_no_header_does(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(streaming(EVENTS, b"text/event-stream"), meter=meter)

    await call(app, ASKED, raw_scope={**scope(GEMINI), "query_string": b"alt=sse&key=" + key.encode()})

    row = await account(meter, key)
    # The key in the header and the key in the query are one and the same user.
    assert row.output_tokens == 7


@pytest.mark.parametrize(
    ("path", "chunks", "content_type"),
    [
        (GEMINI, ARRAY, b"application/json; charset=UTF-8"),
        (BEDROCK, [*FRAMES, METADATA], b"application/vnd.amazon.eventstream"),
    ],
)
async def test_what_cannot_be_folded_passes_at_once_and_is_charged(
    meter: Meter, key: str, path: str, chunks: list[bytes], content_type: bytes
) -> None:
    app = FootprintMiddleware(streaming(chunks, content_type), meter=meter)

    seen = await call(app, b"", raw_scope=asking(path, key))

    assert seen.chunks == [*chunks, b""]
    assert "headwater-id" in seen.headers
    row = await account(meter, key)
    assert (row.requests_count, row.input_tokens, row.output_tokens, row.incomplete_count) == (1, 25, 7, 0)


async def test_a_binary_stream_with_an_exception_is_charged_for_what_came(meter: Meter, key: str) -> None:
    chunks = [*FRAMES[:2], exception("throttlingException", b'{"message":"slow down"}')]
    app = FootprintMiddleware(streaming(chunks, b"application/vnd.amazon.eventstream"), meter=meter)

    seen = await call(app, ASKED, raw_scope=asking(BEDROCK, key))

    assert seen.body == b"".join(chunks)
    row = await account(meter, key)
    assert (row.output_tokens, row.incomplete_count, row.not_upstream_count) == (1, 1, 1)
