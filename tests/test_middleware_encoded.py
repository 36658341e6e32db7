"""Compressed replies through the middleware: their bytes go out as they came, their tokens are charged from a copy."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import brotli
import pytest
from backports import zstd
from starlette.middleware.gzip import GZipMiddleware

from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import Charge
from tests.asgi import DONE, STREAM, STREAM_WITH_USAGE, Seen, call, content, dictionary, json_app, reply, request, scope
from tests.conftest import MakeMeter

ASKING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
MIB = 1 << 20


def _gzip_chunks(chunks: Iterable[bytes]) -> list[bytes]:
    """As a server compresses a stream: flushed behind every chunk, its header in a message of its own."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return [b"", *(packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH) for chunk in chunks), packer.flush()]


def _br_chunks(chunks: Iterable[bytes]) -> list[bytes]:
    packer = brotli.Compressor()
    return [*(bytes(packer.process(chunk) + packer.flush()) for chunk in chunks), bytes(packer.finish())]


def _zstd_chunks(chunks: Iterable[bytes]) -> list[bytes]:
    packer = zstd.ZstdCompressor()
    return [*(packer.compress(chunk, packer.FLUSH_BLOCK) for chunk in chunks), packer.flush()]


PACKERS: dict[bytes, Callable[[Iterable[bytes]], list[bytes]]] = {
    b"gzip": _gzip_chunks,
    b"br": _br_chunks,
    b"zstd": _zstd_chunks,
}


def _stream_app(chunks: Iterable[bytes], coding: bytes, error: Exception | None = None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", coding)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if error is not None:
            raise error
        await send({"type": "http.response.body", "body": b""})

    return app


async def _charge(meter: Meter, seen: Seen) -> Charge:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    charge = meter.ledger.reader().receipt(seen.headers["headwater-id"])
    assert charge is not None
    return charge


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        (b"gzip", gzip.compress),
        (b"deflate", zlib.compress),
        (b"br", brotli.compress),
        (b"zstd", zstd.compress),
        (b"gzip, br", lambda body: brotli.compress(gzip.compress(body))),
        (b"identity, GZIP", gzip.compress),
    ],
)
@pytest.mark.parametrize("size", [10, 1 << 20])
async def test_a_compressed_json_reply_goes_out_untouched_with_its_footprint_in_the_header(
    meter: Meter, key: str, coding: bytes, encode: Any, size: int
) -> None:
    body = bytes(encode(reply()))
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    app = FootprintMiddleware(json_app(body, parts=parts, headers=[(b"content-encoding", coding)]), meter=meter)

    seen = await call(app, request(), key=key)

    assert seen.body == body
    assert int(seen.headers["content-length"]) == len(body)
    assert dictionary(seen.headers["headwater-footprint"])["tokens"][1]["out"] == 4
    assert (await _charge(meter, seen)).usage.output_tokens == 4


@pytest.mark.parametrize("coding", PACKERS)
async def test_a_compressed_stream_passes_chunk_by_chunk_and_is_charged(meter: Meter, key: str, coding: bytes) -> None:
    chunks = PACKERS[coding](STREAM_WITH_USAGE)
    app = FootprintMiddleware(_stream_app(chunks, coding), meter=meter)

    seen = await call(app, request(**ASKING), key=key)

    assert [chunk for chunk in seen.chunks if chunk] == [chunk for chunk in chunks if chunk]
    charge = await _charge(meter, seen)
    assert (charge.outcome, charge.usage.input_tokens, charge.usage.output_tokens) == ("completed", 25, 4)


async def test_a_compressed_stream_without_usage_is_counted(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(_stream_app(_gzip_chunks([*STREAM, DONE]), b"gzip"), meter=meter)

    charge = await _charge(meter, await call(app, request(stream=True), key=key))

    assert (charge.outcome, charge.usage.source, charge.usage.output_tokens) == ("completed", "estimated", 1)


async def test_a_compressed_stream_cut_off_by_its_upstream_is_charged_for_what_was_seen(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(_stream_app(_gzip_chunks(STREAM[:2])[:-1], b"gzip", RuntimeError("cut")), meter=meter)

    with pytest.raises(RuntimeError) as caught:
        await call(app, request(**ASKING), key=key)

    charge = await _charge(meter, caught.value.seen)  # type: ignore[attr-defined]
    assert (charge.outcome, charge.usage.output_tokens) == ("upstream_error", 1)


@pytest.mark.parametrize("error", [None, RuntimeError("cut")])
async def test_a_broken_compressed_stream_passes_and_is_charged_as_unknown(
    meter: Meter, key: str, error: Exception | None
) -> None:
    chunks = [*_gzip_chunks(STREAM)[:2], b"\xff" * 50, b"more"]
    seen_so_far: list[Seen] = []
    app = FootprintMiddleware(_stream_app(chunks, b"gzip", error), meter=meter)

    try:
        await call(app, request(**ASKING), key=key, on_message=seen_so_far.append)
    except RuntimeError:
        assert error is not None

    assert seen_so_far[-1].body == b"".join(chunks)
    charge = await _charge(meter, seen_so_far[-1])
    assert (charge.outcome, charge.reason, charge.usage.output_tokens) == ("completed", "reply-encoded", None)
    assert meter.telemetry.failures_count == 0


@pytest.mark.parametrize("body", [b"\x1f\x8b...", gzip.compress(reply())[:-12], b"x" * 2000])
@pytest.mark.parametrize("hold_bytes", [8, MIB])
async def test_a_broken_compressed_reply_passes_and_is_charged_as_unknown(
    make_meter: MakeMeter, key: str, body: bytes, hold_bytes: int
) -> None:
    meter = make_meter(limits={"hold_bytes": hold_bytes})
    app = FootprintMiddleware(json_app(body, headers=[(b"content-encoding", b"gzip")]), meter=meter)

    seen = await call(app, request(), key=key)

    assert seen.body == body
    assert seen.headers.get("headwater-footprint", "") in ("", "src=unknown, reason=reply-encoded")
    charge = await _charge(meter, seen)
    assert (charge.outcome, charge.reason) == ("completed", "reply-encoded")
    assert meter.telemetry.failures_count == 0


async def test_starlettes_own_compression_inside_is_read_and_outside_it_compresses_the_fold(
    meter: Meter, key: str
) -> None:
    inside = FootprintMiddleware(GZipMiddleware(json_app(reply()), minimum_size=1), meter=meter)
    outside = GZipMiddleware(FootprintMiddleware(json_app(reply()), meter=meter), minimum_size=1)

    within = await call(inside, request(), key=key, accept_encoding="gzip")
    around = await call(outside, request(), key=key, accept_encoding="gzip")

    assert gzip.decompress(within.body) == reply()
    assert b'"footprint"' in gzip.decompress(around.body)
    for seen in (within, around):
        assert seen.headers["content-encoding"] == "gzip"
        assert int(seen.headers["content-length"]) == len(seen.body)
        assert dictionary(seen.headers["headwater-footprint"])["tokens"][1]["out"] == 4


async def test_an_empty_compressed_body_is_no_reply(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(b"", headers=[(b"content-encoding", b"gzip")]), meter=meter)

    seen = await call(app, request(), key=key)

    assert seen.body == b""
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    row = meter.ledger.reader().user_row(meter.identity.user(scope(key=key)), meter.month())
    assert (row.requests_count, row.incomplete_count) == (1, 1)


@pytest.mark.parametrize("asking", [{}, ASKING])
async def test_a_bomb_passes_and_is_charged_as_unknown(make_meter: MakeMeter, key: str, asking: dict[str, Any]) -> None:
    meter = make_meter(limits={"meter_bytes": 1024})
    bomb = gzip.compress(b" " * 4 * MIB)
    headers = [(b"content-encoding", b"gzip")]
    inner = _stream_app([bomb], b"gzip") if asking else json_app(bomb, headers=headers)

    seen = await call(FootprintMiddleware(inner, meter=meter), request(**asking), key=key)

    assert seen.body == bomb
    assert (await _charge(meter, seen)).reason == "reply-too-large"


async def test_compressed_whitespace_that_keeps_the_connection_alive_is_not_held(meter: Meter, key: str) -> None:
    parts = _gzip_chunks([b"\n", reply()])[1:]
    body = b"".join(parts)
    app = FootprintMiddleware(json_app(body, parts=parts, headers=[(b"content-encoding", b"gzip")]), meter=meter)

    seen = await call(app, request(), key=key)

    assert seen.chunks == parts
    assert (await _charge(meter, seen)).usage.output_tokens == 4


async def test_what_keeps_a_compressed_connection_alive_is_no_first_token(make_meter: MakeMeter, key: str) -> None:
    now_s = 0.0
    meter = make_meter(clock_s=lambda: now_s)
    chunks = _gzip_chunks([b": ping\n\n", *STREAM_WITH_USAGE])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal now_s
        await receive()
        headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, chunk in enumerate(chunks):
            now_s = 10.0 if number > 1 else 0.0
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    charge = await _charge(meter, await call(FootprintMiddleware(app, meter=meter), request(**ASKING), key=key))

    assert charge.observation.ttft_s == pytest.approx(10.0)


async def test_a_compressed_stream_is_charged_before_its_end_goes_out(meter: Meter, key: str) -> None:
    charged: list[bool] = []
    user = meter.identity.user(scope(key=key))
    entered: list[str] = []
    enter = meter.enter

    def note(charge: Charge, served: Any) -> None:
        entered.append(charge.user)
        enter(charge, served)

    meter.enter = note  # type: ignore[method-assign]
    chunks = _gzip_chunks([content("Hello"), *STREAM_WITH_USAGE])
    app = FootprintMiddleware(_stream_app(chunks, b"gzip"), meter=meter)

    await call(app, request(**ASKING), key=key, on_message=lambda _: charged.append(user in entered))

    assert charged == [False] * 6 + [True] * 3
