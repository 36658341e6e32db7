"""What is counted where an upstream says nothing: off the event loop where it is much, and said to be no more than it is."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headwater.errors import ConfigError
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.receipts import as_text, receipt
from headwater.records import Charge
from tests.asgi import MODEL, Seen, call, content, json_app, reply, request, stream_app
from tests.conftest import MakeMeter

MESSAGES = "/v1/messages"


async def charge_of(meter: Meter, seen: Seen) -> Charge:
    await asyncio.gather(*meter._tasks)
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    charge = meter.ledger.reader().receipt(seen.headers["headwater-id"])
    assert charge is not None
    return charge


def without_usage() -> bytes:
    body = json.loads(reply())
    del body["usage"]
    return json.dumps(body).encode()


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch, meter: Meter) -> list[str]:
    """The functions that were sent to a thread."""
    seen: list[str] = []
    to_thread = asyncio.to_thread

    async def noting(work: Callable[..., Any], *arguments: Any) -> Any:
        seen.append(work.__name__)
        return await to_thread(work, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", noting)
    return seen


def picture_part(size_bytes: int) -> dict[str, Any]:
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + struct.pack(">II", 512, 512)
    data = base64.b64encode(head.ljust(size_bytes, b"\x00")).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def asking(*parts: dict[str, Any], **members: Any) -> bytes:
    return request(messages=[{"role": "user", "content": list(parts)}], **members)


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


TOOL = {"type": "function", "function": {"name": "f", "description": "x" * 9_000}}


@pytest.mark.parametrize(
    ("body", "is_inline"),
    [
        (asking(said("short")), True),
        (asking(said("x" * 9_000)), False),
        (asking(said("世" * 3_000)), False),
        (asking(said("what is it?"), picture_part(60_000)), True),
        (asking(said("x" * 9_000), picture_part(60_000)), False),
        (asking(said("what is it?"), picture_part(60_000), picture_part(400_000)), False),
        (asking(said("what is it?"), picture_part(60_000), tools=[TOOL]), False),
    ],
)
async def test_what_is_encoded_decides_whether_a_thread_counts_it(
    meter: Meter, key: str, hops: list[str], body: bytes, is_inline: bool
) -> None:
    await call(FootprintMiddleware(json_app(without_usage()), meter=meter), body, key=key)

    assert hops.count("_count") == (not is_inline)


async def test_a_prompt_whose_tokens_are_told_is_not_counted_however_long(
    meter: Meter, key: str, hops: list[str]
) -> None:
    usage = {"input_tokens": 4_000, "output_tokens": 1}
    start = {"type": "message_start", "message": {"type": "message", "usage": usage}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello there, "}}
    chunks = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in (start, delta, delta)]
    body = json.dumps(
        {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "x " * 9_000}]}
    ).encode()

    seen = await call(FootprintMiddleware(stream_app(chunks), meter=meter), body, path=MESSAGES, key=key)

    charge = await charge_of(meter, seen)
    assert "_count" not in hops
    assert charge.outcome == "upstream_error"
    assert charge.usage.input_tokens == 4_000
    assert charge.usage.output_tokens == meter.counter.count_text("Hello there, Hello there, ", MODEL).tokens
    assert charge.usage.source == "estimated"
    told = receipt(charge, None)
    assert told["partial"] is True
    assert "what was generated until then" in as_text(told)


async def test_nothing_told_and_nothing_counted_is_nothing_partial(meter: Meter, key: str) -> None:
    seen = await call(FootprintMiddleware(stream_app([]), meter=meter), request(stream=True), key=key)

    charge = await charge_of(meter, seen)
    assert charge.usage.output_tokens is None
    assert receipt(charge, None)["partial"] is False


async def test_a_doubtful_count_widens_the_charge_and_its_receipt_derives_it_again(meter: Meter, key: str) -> None:
    told = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    app = FootprintMiddleware(json_app(without_usage()), meter=meter)
    sure = await call(FootprintMiddleware(json_app(reply(usage=told)), meter=meter), request(), key=key)

    seen = await call(app, request(), key=key)

    charge, certain = await charge_of(meter, seen), await charge_of(meter, sure)
    assert charge.usage.count_ratio > 1
    assert certain.usage.count_ratio == 1
    assert charge.amounts is not None
    assert certain.amounts is not None
    high, sure_high = (
        each.amounts.energy_high_microjoules / each.amounts.energy_microjoules  # type: ignore[union-attr]
        for each in (charge, certain)
    )
    assert high > sure_high
    answer = await call(
        app, path=f"/.well-known/headwater/requests/{seen.headers['headwater-id']}", method="GET", key=key
    )
    document = answer.json
    assert document["derivation_agrees"] is True
    assert document["tokens"]["off_by"] == charge.usage.count_ratio
    (step,) = (each for each in document["derivation"] if each["name"] == "count_ratio")
    assert step["value"] == charge.usage.count_ratio
    derived = {each["name"]: each["value"] for each in document["derivation"]}
    assert derived["facility_j_high"] == pytest.approx(charge.amounts.energy_high_microjoules / 1e6, rel=1e-5)
    assert "within a factor of" in as_text(document)


async def test_the_loop_goes_on_while_a_long_text_is_counted(make_meter: MakeMeter, key: str) -> None:
    counting, go_on = threading.Event(), threading.Event()

    def own(text: str, model: str | None, /) -> int | None:
        if len(text) > 9_000:
            counting.set()
            assert go_on.wait(10), "the loop stood still"
        return len(text)

    meter = make_meter(counter=own)
    app = FootprintMiddleware(json_app(without_usage()), meter=meter)

    going = asyncio.ensure_future(call(app, asking(said("x" * 100_000)), key=key))
    assert await asyncio.to_thread(counting.wait, 10)
    go_on.set()  # on the loop: were it blocked, nobody would
    seen = await going

    charge = await charge_of(meter, seen)
    assert charge.usage.input_tokens == 100_000 + len("user") + 3 + 3
    assert charge.usage.output_tokens == len("Hello there.")


@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, "世" * 100_000, " " * 100_000, "<|endoftext|>" * 8_000, "\ud83d" * 20_000, "ab1" * 1_700_000],
    ids=["one letter", "chinese", "spaces", "special", "surrogates", "5 MB without spaces"],
)
async def test_hostile_text_is_charged_and_its_reply_is_whole(meter: Meter, key: str, text: str) -> None:
    body = asking(said(text))

    seen = await call(FootprintMiddleware(json_app(without_usage()), meter=meter), body, key=key)

    charge = await charge_of(meter, seen)
    assert seen.json["choices"][0]["message"]["content"] == "Hello there."
    assert charge.usage.source == "estimated"
    assert charge.usage.input_tokens is not None
    assert 0 < charge.usage.input_tokens <= 4 * len(text) + 10


async def test_a_stream_broken_off_is_charged_for_the_text_so_far(meter: Meter, key: str) -> None:
    chunks = [content("word " * 10) for _ in range(5)]
    app = FootprintMiddleware(stream_app(chunks, error=RuntimeError("cut")), meter=meter)

    with pytest.raises(RuntimeError, match="cut") as caught:
        await call(app, request(stream=True), key=key)

    charge = await charge_of(meter, caught.value.seen)  # type: ignore[attr-defined]
    assert charge.usage.output_tokens == meter.counter.count_text("word " * 50, MODEL).tokens
    assert receipt(charge, None)["partial"] is True


@pytest.mark.parametrize("counter", [5, "count"])
def test_a_counter_that_cannot_be_called_is_refused(make_meter: MakeMeter, counter: Any) -> None:
    with pytest.raises(ConfigError, match="counter must be a plain function"):
        make_meter(counter=counter)


def test_a_counter_that_must_be_awaited_is_refused(make_meter: MakeMeter) -> None:
    async def later(text: str, model: str | None) -> int:
        return 1

    with pytest.raises(ConfigError, match="counter must be a plain function"):
        make_meter(counter=later)


async def test_the_shell_takes_a_counter(short_folder: Any) -> None:
    settings = {"ledger": {"data_dir": str(short_folder / "counter")}}

    app = FootprintMiddleware(json_app(reply()), settings, counter=lambda text, model: 42)

    assert app.meter.counter.count_text("anything", None).tokens == 42


async def test_an_estimate_for_want_of_the_models_tokenizer_is_said_once(
    meter: Meter, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = FootprintMiddleware(json_app(without_usage()), meter=meter)

    for _ in range(3):
        await call(app, request(), key=key)

    (told,) = [record.getMessage() for record in caplog.records if "tokens were estimated" in record.getMessage()]
    assert "counter=" in told
    assert "vocab install" not in told
