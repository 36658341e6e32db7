"""What may not be done to a reply: which bodies stay as they came, what is said of them all the same, and what is charged."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import AccountRow
from tests.asgi import call, json_app, reply, request, scope
from tests.conftest import MakeMeter

Headers = tuple[tuple[bytes, bytes], ...]
RANGE = (b"content-range", b"bytes 0-10/20")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One reply. `has_header`: its header carries the footprint; `output_tokens`: what is charged; None: as unknown."""

    headers: Headers = ()
    status: int = 200
    content_type: bytes = b"application/json"
    body: bytes = field(default_factory=reply)
    parts: int = 1
    limits: dict[str, int] = field(default_factory=dict)
    is_folded: bool = False
    has_header: bool = True
    output_tokens: int | None = 4


CASES = {
    "plain": Case(is_folded=True),
    "content-digest": Case(headers=((b"content-digest", b"sha-256=:x:"),)),
    "repr-digest": Case(headers=((b"Repr-Digest", b"sha-256=:x:"),)),
    "digest": Case(headers=((b"digest", b"sha-256=x"),)),
    "content-md5": Case(headers=((b"content-md5", b"x"),)),
    "signature": Case(headers=((b"signature", b"sig=:x:"),)),
    "signature-input": Case(headers=((b"signature-input", b'sig=("@status")'),)),
    "strong etag": Case(headers=((b"etag", b'"x"'),)),
    "weak etag": Case(headers=((b"etag", b'W/"x"'),), is_folded=True),
    "weak etag and digest": Case(headers=((b"digest", b"x"), (b"etag", b'W/"x"'))),
    "no-transform": Case(headers=((b"cache-control", b"no-store, No-Transform"),)),
    "no-store": Case(headers=((b"cache-control", b"no-store"),), is_folded=True),
    "identity": Case(headers=((b"content-encoding", b"identity"),), is_folded=True),
    "unknown coding": Case(headers=((b"content-encoding", b"aws-chunked"),), has_header=False, output_tokens=None),
    "206": Case(status=206, has_header=False, output_tokens=None),
    "content-range": Case(headers=(RANGE,), has_header=False, output_tokens=None),
    "multipart": Case(
        content_type=b"multipart/byteranges; boundary=x", body=b"--x--", has_header=False, output_tokens=None
    ),
    "no json": Case(content_type=b"text/html", body=b"<p>", has_header=False, output_tokens=None),
    "array": Case(body=b"[1,2]", has_header=False, output_tokens=None),
    "over the limit": Case(limits={"hold_bytes": 64}, has_header=False),
    "over the limit in parts": Case(limits={"hold_bytes": 64}, parts=7, has_header=False),
    "over both limits": Case(
        limits={"hold_bytes": 64, "meter_bytes": 1024},
        body=reply(padding="x" * 2000),
        parts=7,
        has_header=False,
        output_tokens=None,
    ),
    "204": Case(status=204, body=b"", has_header=False, output_tokens=None),
    "205": Case(status=205, body=b"", has_header=False, output_tokens=None),
    "304": Case(status=304, body=b"", headers=((b"etag", b'W/"x"'),), has_header=False, output_tokens=None),
}


def _app(case: Case) -> Any:
    size = len(case.body) // case.parts + 1
    parts = [case.body[start : start + size] for start in range(0, len(case.body), size)] or [b""]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", case.content_type), (b"content-length", b"%d" % len(case.body)), *case.headers]
        await send({"type": "http.response.start", "status": case.status, "headers": headers})
        for number, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts) - 1})

    return app


async def _account(meter: Meter, key: str) -> AccountRow:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    return meter.ledger.reader().user_row(meter.identity.user(scope(key=key)), meter.month())


@pytest.mark.parametrize("name", CASES)
async def test_a_body_is_touched_only_where_nothing_speaks_against_it(
    make_meter: MakeMeter, key: str, name: str
) -> None:
    case = CASES[name]
    meter = make_meter(limits=case.limits)

    seen = await call(FootprintMiddleware(_app(case), meter=meter), request(), key=key)

    assert (seen.body != case.body) == case.is_folded
    assert int(seen.headers["content-length"]) == len(seen.body)
    assert ("headwater-footprint" in seen.headers) == case.has_header
    assert [pair for pair in seen.messages[0]["headers"] if pair in case.headers] == list(case.headers)
    row = await _account(meter, key)
    assert (row.requests_count, row.output_tokens) == (1, case.output_tokens or 0)
    assert (row.unknown_count == 1) == (case.output_tokens is None)
    assert meter.telemetry.failures_count == 0


async def test_what_asks_for_headers_only_passes_untouched_and_unmetered(meter: Meter, key: str) -> None:
    seen = await call(FootprintMiddleware(json_app(b""), meter=meter), method="HEAD", key=key)

    assert [name for name, _ in seen.messages[0]["headers"]] == [b"content-type", b"content-length"]
    assert (await _account(meter, key)).requests_count == 0


async def test_at_the_top_the_footprint_stands_behind_the_usage(make_meter: MakeMeter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=make_meter(disclosure={"placement": "top"}))

    seen = await call(app, request(), key=key)

    assert list(seen.json)[-1] == "footprint"
    assert "footprint" not in seen.json["usage"]
    assert seen.json["footprint"]["tokens"]["output"] == 4


FORM = b"name=Ada&answer=42"
HTML = (b"content-type", b"text/html; charset=utf-8")
JSON = (b"content-type", b"application/json")
# What an app of one's own answers to a form: a page, somewhere else to go, nothing, a refusal, its own JSON and its own events.
OTHERS: dict[str, tuple[int, list[tuple[bytes, bytes]], bytes]] = {
    "page": (200, [HTML], b"<p>Thanks</p>"),
    "redirect": (303, [(b"location", b"/thanks")], b""),
    "no content": (204, [], b""),
    "refusal": (422, [JSON], b'{"detail":"no"}'),
    "json": (200, [JSON], b'{"ok":true}'),
    "events": (200, [(b"content-type", b"text/event-stream")], b"data: saved\n\n"),
}


def _answering(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return app


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("path", ["/surveys/completions", "/surveys/1/responses", "/api/chat"])
async def test_a_form_for_another_app_under_a_path_of_the_same_name_is_not_charged(
    meter: Meter, key: str, path: str, name: str
) -> None:
    app = FootprintMiddleware(_answering(*OTHERS[name]), meter=meter)

    seen = await call(app, FORM, key=key, path=path)

    status, headers, body = OTHERS[name]
    assert (seen.status, seen.body) == (status, body)
    assert seen.messages[0]["headers"][: len(headers)] == headers
    assert "headwater-footprint" not in seen.headers
    row = await _account(meter, key)
    assert (row.requests_count, row.unknown_count) == (0, 0)
    assert meter.telemetry.failures_count == 0


async def test_a_form_whose_sender_leaves_before_another_app_answers_is_not_charged(meter: Meter, key: str) -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        gone.set()
        assert (await receive())["type"] == "http.disconnect"

    await call(FootprintMiddleware(app, meter=meter), FORM, key=key, path="/surveys/completions", gone=gone)

    assert (await _account(meter, key)).requests_count == 0


@pytest.mark.parametrize(
    ("asked", "answer", "output_tokens"),
    [
        # The reply is this API's, so the request was too, however it was packed.
        (b"\x1f\x8b packed", (200, [JSON], reply()), 4),
        # An app that reads no body, or a body too large to be kept: nothing speaks for another app.
        (b"", OTHERS["page"], 0),
        (request(), OTHERS["page"], 0),
    ],
)
async def test_a_request_that_may_be_this_apis_is_charged(
    meter: Meter, key: str, asked: bytes, answer: Any, output_tokens: int
) -> None:
    await call(FootprintMiddleware(_answering(*answer), meter=meter), asked, key=key)

    row = await _account(meter, key)
    assert (row.requests_count, row.output_tokens, row.unknown_count) == (1, output_tokens, 1)
