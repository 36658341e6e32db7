"""A stream through the middleware: bytes at once, the footprint folded into the event that ends it, every end charged."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater.dialects import find
from headwater.dialects.openai_chat import OpenAIChat
from headwater.dialects.openai_stream import OpenAIStream
from headwater.disclosing import Disclosing
from headwater.ledger import Reader
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import AccountRow, Charge
from headwater.settlement import Settlement
from tests.asgi import (
    CHAT,
    DONE,
    STREAM,
    STREAM_WITH_USAGE,
    USAGE,
    Seen,
    call,
    content,
    event,
    json_app,
    reply,
    request,
    scope,
    stream_app,
    unfolded,
)
from tests.conftest import MakeMeter
from tests.ledger.support import eventually

ASKING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def _events(body: bytes) -> list[Any]:
    return [json.loads(part[6:]) for part in body.split(b"\n\n") if part.startswith(b"data: {")]


async def _account(meter: Meter, key: str) -> AccountRow:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    return meter.ledger.reader().user_row(user, meter.month())


async def test_usage_asked_for_carries_the_footprint_and_nothing_else_changes(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(stream_app(STREAM_WITH_USAGE), meter=meter)

    seen = await call(app, request(**ASKING), key=key)

    usage = _events(seen.body)[-1]["usage"]
    footprint = usage.pop("footprint")
    assert footprint["tokens"] == {"input": 25, "cached": 5, "output": 4, "source": "upstream"}
    assert footprint["id"] == seen.headers["headwater-id"]
    assert seen.chunks[:3] == STREAM
    assert seen.chunks[3].endswith(b"\n\n" + DONE)
    assert "headwater-footprint" not in seen.headers
    assert seen.headers["link"].startswith("</.well-known/headwater/requests/")
    row = await _account(meter, key)
    assert (row.requests_count, row.input_tokens, row.output_tokens, row.incomplete_count) == (1, 25, 4, 0)


async def test_usage_not_asked_for_folds_an_estimated_footprint_into_the_finish_event(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(stream_app([*STREAM, DONE]), meter=meter)

    seen = await call(app, request(stream=True), key=key)

    finish = _events(seen.body)[-1]
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert finish["footprint"]["tokens"]["source"] == "estimated"
    assert finish["footprint"]["tokens"]["output"] == 1  # "Hello"
    assert (await _account(meter, key)).not_upstream_count == 1


async def test_every_chunk_goes_out_before_the_next_one_is_made(meter: Meter, key: str) -> None:
    arrived: list[int] = []
    seen_so_far: list[Seen] = []

    def after(_number: int) -> None:
        arrived.append(len(seen_so_far[-1].chunks))

    app = FootprintMiddleware(stream_app(STREAM_WITH_USAGE, after=after), meter=meter)

    await call(app, request(**ASKING), key=key, on_message=seen_so_far.append)

    assert arrived == [1, 2, 3, 3, 4]  # usage, which has no text, waits for [DONE]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 1200), max_size=12))
async def test_any_chunking_gives_the_same_reply_and_the_same_charge(meter: Meter, cuts: list[int]) -> None:
    whole = b"".join(STREAM_WITH_USAGE)
    places = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    chunks = [whole[start:end] for start, end in itertools.pairwise(places)]
    app = FootprintMiddleware(stream_app(chunks), meter=meter)

    seen = await call(app, request(**ASKING), key="sk-chunks")

    usage = _events(seen.body)[-1]["usage"]
    footprint = usage.pop("footprint")
    assert (footprint["tokens"]["input"], footprint["tokens"]["output"]) == (25, 4)
    assert unfolded(seen.body) == whole


async def test_a_client_that_leaves_is_charged_for_what_was_generated(meter: Meter, key: str) -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for chunk in (content("Hel"), content("lo there")):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        gone.set()
        assert (await receive())["type"] == "http.disconnect"

    seen = await call(FootprintMiddleware(app, meter=meter), request(**ASKING), key=key, gone=gone)

    row = await _account(meter, key)
    assert (row.requests_count, row.incomplete_count, row.output_tokens) == (1, 1, 2)
    assert row.energy_microjoules > 0
    charge = meter.ledger.reader().receipt(seen.headers["headwater-id"])
    assert charge is not None
    assert (charge.outcome, charge.usage.source) == ("client_gone", "estimated")


async def test_a_false_last_message_is_not_taken_for_an_end(meter: Meter, key: str) -> None:
    """BaseHTTPMiddleware sends an empty last body when a client leaves; only the protocol's own end counts."""
    app = FootprintMiddleware(stream_app([content("Hel"), content("lo")]), meter=meter)

    seen = await call(app, request(**ASKING), key=key)

    charge = await _charge(meter, seen)
    assert charge.outcome == "upstream_error"
    assert charge.usage.output_tokens == 1


async def _charge(meter: Meter, seen: Seen) -> Any:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    return meter.ledger.reader().receipt(seen.headers["headwater-id"])


async def test_an_upstream_that_breaks_off_breaks_off_for_the_client_and_is_charged(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(stream_app(STREAM[:2], error=RuntimeError("upstream died")), meter=meter)

    with pytest.raises(RuntimeError, match="upstream died") as caught:
        await call(app, request(**ASKING), key=key)

    seen: Seen = caught.value.seen  # type: ignore[attr-defined]
    assert seen.body == b"".join(STREAM[:2])
    charge = await _charge(meter, seen)
    assert (charge.outcome, charge.usage.output_tokens) == ("upstream_error", 1)


async def test_an_error_event_in_the_middle_is_an_upstream_error(meter: Meter, key: str) -> None:
    error = b'data: {"error":{"message":"overloaded","code":null}}\n\n'
    app = FootprintMiddleware(stream_app([STREAM[0], error]), meter=meter)

    seen = await call(app, request(**ASKING), key=key)

    assert seen.body == STREAM[0] + error
    assert (await _charge(meter, seen)).outcome == "upstream_error"


async def test_a_stream_without_a_word_is_charged_as_a_request_without_a_footprint(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(stream_app([]), meter=meter)

    seen = await call(app, request(**ASKING), key=key)

    charge = await _charge(meter, seen)
    assert (charge.outcome, charge.amounts, charge.reason) == ("upstream_error", None, "nothing-generated")


async def test_a_long_answer_cut_off_is_counted_off_the_loop_and_charged(meter: Meter, key: str) -> None:
    chunks = [content("word " * 50) for _ in range(200)]
    app = FootprintMiddleware(stream_app(chunks, error=RuntimeError("cut")), meter=meter)

    with pytest.raises(RuntimeError):
        await call(app, request(**ASKING), key=key)
    await asyncio.gather(*meter._tasks)

    row = await _account(meter, key)
    assert (row.requests_count, row.incomplete_count) == (1, 1)
    assert 9_900 < row.output_tokens < 10_300


async def test_a_long_counted_answer_is_counted_off_the_loop(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(stream_app([content("word " * 9_000), content("", "stop"), DONE]), meter=meter)

    seen = await call(app, request(stream=True), key=key)

    assert 8_900 < _events(seen.body)[-1]["footprint"]["tokens"]["output"] < 9_300


async def test_the_time_a_slow_reader_takes_is_not_charged(make_meter: MakeMeter, key: str) -> None:
    now_s = 1000.0

    def clock_s() -> float:
        return now_s

    meter = make_meter(clock_s=clock_s)

    def read(seen: Seen) -> None:
        nonlocal now_s
        if seen.chunks:
            now_s += 60.0

    def generate(_number: int) -> None:
        nonlocal now_s
        now_s += 0.5

    app = FootprintMiddleware(stream_app(STREAM_WITH_USAGE, after=generate), meter=meter)

    seen = await call(app, request(**ASKING), key=key, on_message=read)

    observation = (await _charge(meter, seen)).observation
    assert observation.elapsed_s == pytest.approx(2.0)
    assert observation.ttft_s == pytest.approx(0.0)


async def test_progress_is_written_down_so_that_a_killed_process_owes_no_more_than_a_moment(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[Charge] = []
    noted = asyncio.Event()
    provisional = meter.ledger.provisional

    def note(charge: Charge) -> None:
        notes.append(charge)
        noted.set()
        provisional(charge)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for count in (1, 3):
            noted.clear()
            for _ in range(count):
                await send({"type": "http.response.body", "body": content("a"), "more_body": True})
            await noted.wait()
        await stream_app(STREAM_WITH_USAGE)(scope, _whole_request, _without_start(send))

    monkeypatch.setattr(meter.ledger, "provisional", note)

    await call(FootprintMiddleware(app, meter=meter), request(**ASKING), key=key)

    assert [note.usage.output_tokens for note in notes] == [None, 1, 4]
    assert {note.outcome for note in notes} == {"partial"}
    first, last = notes[1].amounts, notes[2].amounts
    assert first is not None
    assert last is not None
    assert last.energy_microjoules > first.energy_microjoules > 0


async def _whole_request() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


def _without_start(send: Any) -> Any:
    async def rest(message: Message) -> None:
        if message["type"] != "http.response.start":
            await send(message)

    return rest


async def test_concurrent_streams_share_the_server(make_meter: MakeMeter, key: str) -> None:
    now_s = 0.0
    meter = make_meter(clock_s=lambda: now_s)
    both = asyncio.Barrier(2)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal now_s
        await receive()
        await both.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": STREAM_WITH_USAGE[0], "more_body": True})
        await both.wait()
        now_s = 10.0
        for chunk in STREAM_WITH_USAGE[1:]:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    wrapped = FootprintMiddleware(app, meter=meter)

    seen = await asyncio.gather(*(call(wrapped, request(**ASKING), key=key) for _ in range(2)))

    for one in seen:
        assert (await _charge(meter, one)).observation.concurrency_count == pytest.approx(2.0)


async def test_a_stream_that_waits_for_its_first_token_shares_nothing_yet(make_meter: MakeMeter, key: str) -> None:
    now_s = 0.0
    meter = make_meter(clock_s=lambda: now_s)
    load = meter.serving.of("llama-3.1-70b").load
    in_flight: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal now_s
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        in_flight.append(load.in_flight_count)
        now_s = 100.0
        await send({"type": "http.response.body", "body": STREAM_WITH_USAGE[0], "more_body": True})
        in_flight.append(load.in_flight_count)
        now_s = 102.0
        for chunk in STREAM_WITH_USAGE[1:]:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    charge = await _charge(meter, await call(FootprintMiddleware(app, meter=meter), request(**ASKING), key=key))

    assert (in_flight, load.in_flight_count) == ([0, 1], 0)
    assert (charge.observation.elapsed_s, charge.observation.ttft_s) == pytest.approx((102.0, 100.0))
    # Two seconds and a prefill, not a hundred: at most the whole server's 8 kW shared by nobody.
    assert charge.amounts is not None
    assert charge.amounts.it_microjoules < 3 * 8_000e6


async def test_a_stream_that_never_begins_leaves_nothing_in_flight(meter: Meter, key: str) -> None:
    load = meter.serving.of("llama-3.1-70b").load

    charge = await _charge(
        meter, await call(FootprintMiddleware(json_app(reply()), meter=meter), request(stream=True), key=key)
    )

    assert load.in_flight_count == 0
    assert charge.observation.concurrency_count == 1.0


async def test_two_processes_on_one_store_share_the_server_that_both_name(make_meter: MakeMeter, key: str) -> None:
    now_s = 0.0
    deployment = {"name": "east-1", "hardware": "hgx-h100", "engine": "vllm-0.11", "accelerators": 4}
    meters = [make_meter(clock_s=lambda: now_s, deployment=[deployment]) for _ in range(2)]
    loads = [meter.serving.of("llama-3.1-70b").load for meter in meters]
    both = asyncio.Barrier(3)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await both.wait()
        await both.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": reply()})

    calls = [asyncio.ensure_future(call(FootprintMiddleware(app, meter=meter), request(), key=key)) for meter in meters]
    await both.wait()
    # The clock stands still: what an exchange without length sees is the deployment's figure of now.
    eventually(lambda: [load.concurrency(0.0, 0.0, 0.0) for load in loads] == [2.0, 2.0])
    now_s = 10.0
    await both.wait()
    seen = await asyncio.gather(*calls)

    for meter, one in zip(meters, seen, strict=True):
        assert (await _charge(meter, one)).observation.concurrency_count == pytest.approx(2.0)


async def test_trailing_bytes_and_keep_alives_pass(meter: Meter, key: str) -> None:
    chunks = [b": keep-alive\n\n", *STREAM_WITH_USAGE, b": bye\n\n", b"\n"]
    app = FootprintMiddleware(stream_app(chunks), meter=meter)

    seen = await call(app, request(**ASKING), key=key)

    assert seen.body.startswith(b": keep-alive\n\n")
    assert seen.body.endswith(DONE + b": bye\n\n\n")


async def test_n_answers_fold_once_into_the_last_finish(meter: Meter, key: str) -> None:
    def choice(index: int, finish: str | None) -> bytes:
        return event(choices=[{"index": index, "delta": {}, "finish_reason": finish}])

    app = FootprintMiddleware(stream_app([content("a"), choice(0, "stop"), choice(1, "length"), DONE]), meter=meter)

    seen = await call(app, request(stream=True, n=2), key=key)

    events = _events(seen.body)
    assert ["footprint" in each for each in events] == [False, False, True]


async def test_messages_that_are_no_body_pass_untouched(meter: Meter, key: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.pathsend", "path": "somewhere"})

    seen = await call(FootprintMiddleware(app, meter=meter), request(), key=key)

    expected: list[Message] = [
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]},
        {"type": "http.response.pathsend", "path": "somewhere"},
    ]
    assert seen.messages == expected


class _Failing:
    """A reader whose one method fails."""

    def __init__(self, reader: Any, method: str) -> None:
        self._reader = reader
        self._method = method

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            raise ValueError("broken reader")
        return getattr(self._reader, name)


@pytest.mark.parametrize("method", ["release", "close", "told", "output_text", "complete", "events_count"])
async def test_whatever_fails_in_a_reader_the_client_gets_the_stream(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    dialect = find("POST", CHAT)
    assert dialect is not None
    make = type(dialect).stream_reader

    def failing(self: Any, request: Any, content_type: bytes, *, usage_injected: bool) -> Any:
        return _Failing(make(self, request, content_type, usage_injected=usage_injected), method)

    monkeypatch.setattr(type(dialect), "stream_reader", failing)
    chunks = [*STREAM, DONE]  # ends without usage, so that every method is asked

    seen = await call(FootprintMiddleware(stream_app(chunks), meter=meter), request(stream=True), key=key)

    assert seen.ended
    assert unfolded(seen.body) == b"".join(chunks)


async def test_a_count_that_fails_after_the_end_is_a_failure_that_is_counted(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> None:
        raise ValueError("no count")

    monkeypatch.setattr(meter.counter, "count_text", fail)
    chunks = [content("word " * 50) for _ in range(200)]

    with pytest.raises(RuntimeError):
        await call(
            FootprintMiddleware(stream_app(chunks, error=RuntimeError("cut")), meter=meter), request(**ASKING), key=key
        )
    await asyncio.gather(*meter._tasks)

    assert meter.telemetry.failures_count == 1


async def test_an_upstream_that_dies_after_usage_is_charged_by_that_usage(meter: Meter, key: str) -> None:
    running = [content("a", usage={"prompt_tokens": 9, "completion_tokens": count}) for count in (1, 2, 3)]
    app = FootprintMiddleware(stream_app(running, error=RuntimeError("cut")), meter=meter)

    with pytest.raises(RuntimeError) as caught:
        await call(app, request(**ASKING), key=key)

    charge = await _charge(meter, caught.value.seen)  # type: ignore[attr-defined]
    assert (charge.outcome, charge.usage.input_tokens, charge.usage.output_tokens) == ("upstream_error", 9, 3)


async def test_stopping_waits_for_what_is_still_being_counted(make_meter: MakeMeter, key: str, data_dir: Path) -> None:
    meter = make_meter()
    chunks = [content("word " * 50) for _ in range(200)]

    with pytest.raises(RuntimeError):
        await call(
            FootprintMiddleware(stream_app(chunks, error=RuntimeError("cut")), meter=meter), request(**ASKING), key=key
        )
    await meter.stop()

    with Reader.open(data_dir=data_dir, redis_url=None) as reader:
        user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
        assert reader.user_row(user, meter.month()).requests_count == 1


@pytest.mark.parametrize("first", [b"", b": ping\n\n", b"\n"])
async def test_what_keeps_a_connection_alive_is_no_first_token(make_meter: MakeMeter, key: str, first: bytes) -> None:
    now_s = 0.0
    meter = make_meter(clock_s=lambda: now_s)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal now_s
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        now_s = 10.0
        for chunk in STREAM_WITH_USAGE:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    charge = await _charge(meter, await call(FootprintMiddleware(app, meter=meter), request(**ASKING), key=key))

    assert charge.observation.ttft_s == pytest.approx(10.0)


@pytest.mark.parametrize("asking", [{"stream": True}, ASKING])
@pytest.mark.parametrize("raises", [True, False])
async def test_what_is_held_of_a_stream_goes_out_when_the_app_breaks_off(
    meter: Meter, key: str, asking: dict[str, Any], raises: bool
) -> None:
    chunks = STREAM_WITH_USAGE[:4] if "stream_options" in asking else [*STREAM[:2], STREAM[2][:40]]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if raises:
            raise ValueError("the app's own")

    seen_so_far: list[Seen] = []
    with contextlib.suppress(ValueError):
        await call(FootprintMiddleware(app, meter=meter), request(**asking), key=key, on_message=seen_so_far.append)

    assert unfolded(seen_so_far[-1].body) == b"".join(chunks)
    assert meter.serving.of("llama-3.1-70b").load.in_flight_count == 0


async def test_a_stream_counted_after_its_end_keeps_the_company_that_it_had(make_meter: MakeMeter, key: str) -> None:
    """The client leaves a long stream without usage; while its text is counted, everybody else leaves too."""
    now_s = 0.0
    meter = make_meter(clock_s=lambda: now_s)
    load = meter.serving.of("llama-3.1-70b").load
    counting, counted = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    count_text = meter.counter.count_text

    def slow(text: str, model: str | None) -> Any:
        loop.call_soon_threadsafe(counting.set)
        counted.wait(10)
        return count_text(text, model)

    meter.counter.count_text = slow  # type: ignore[method-assign]  # a slow machine

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal now_s
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": content("word " * 6_000), "more_body": True})
        now_s = 2.0
        raise ConnectionResetError

    for _ in range(9):
        load.enter(0.0)
    seen_so_far: list[Seen] = []
    with contextlib.suppress(ConnectionResetError):
        await call(FootprintMiddleware(app, meter=meter), request(stream=True), key=key, on_message=seen_so_far.append)
    await counting.wait()
    for _ in range(9):
        load.leave(2.0)
    now_s = 3.0
    counted.set()

    def found() -> Charge | None:
        meter.ledger.flush(10.0)
        charge = meter.ledger.reader().receipt(seen_so_far[-1].headers["headwater-id"])
        return charge if charge is not None and charge.usage.output_tokens else None

    await asyncio.to_thread(eventually, found)
    charge = found()
    assert charge is not None
    assert charge.observation.concurrency_count == pytest.approx(10.0)
    assert charge.observation.elapsed_s == pytest.approx(2.0)
    assert load.in_flight_count == 0


async def test_a_stream_request_answered_whole_counts_the_company_of_other_workers(meter: Meter, key: str) -> None:
    load = meter.serving.of("llama-3.1-70b").load
    load.heard(50, meter.clock_s())

    charge = await _charge(
        meter, await call(FootprintMiddleware(json_app(reply()), meter=meter), request(stream=True), key=key)
    )

    assert charge.observation.concurrency_count == pytest.approx(51.0)
    assert load.in_flight_count == 0


async def test_a_stream_that_ends_without_done_carries_its_footprint_all_the_same(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(stream_app([content("Hi"), content("", "stop", usage=USAGE)]), meter=meter)

    seen = await call(app, request(stream=True), key=key)

    assert _events(seen.body)[-1]["usage"]["footprint"]["tokens"]["source"] == "upstream"
    assert (await _account(meter, key)).incomplete_count == 0


async def test_usage_behind_the_finish_is_counted_though_nobody_asked(meter: Meter, key: str) -> None:
    late = event(choices=[{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}], usage=USAGE)
    app = FootprintMiddleware(stream_app([*STREAM, late, DONE]), meter=meter)

    seen = await call(app, request(stream=True), key=key)

    tokens = _events(seen.body)[-1]["usage"]["footprint"]["tokens"]
    assert tokens == {"input": 25, "cached": 5, "output": 4, "source": "upstream"}
    assert unfolded(seen.body) == b"".join([*STREAM, late, DONE])


@pytest.mark.parametrize(("best_of", "source"), [(1, "counted"), (3, "estimated")])
async def test_drafts_that_were_thrown_away_count_too_where_tokens_are_counted_here(
    best_of: int, source: str, meter: Meter, key: str
) -> None:
    body = json.dumps({"choices": [{"text": "Hello there.", "index": 0, "finish_reason": "stop"}]}).encode()
    app = FootprintMiddleware(json_app(body), meter=meter)
    asked = json.dumps({"model": "gpt-4o", "prompt": "Say hello.", "best_of": best_of}).encode()

    seen = await call(app, asked, key=key, path="/v1/completions")

    tokens = seen.json["footprint"]["tokens"]
    assert (tokens["output"], tokens["source"]) == (3 * best_of, source)


def _calls_itself_json(chunks: list[bytes], after: Callable[[int], None] = lambda _number: None) -> ASGIApp:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        for number, chunk in enumerate(chunks):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            after(number)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


@pytest.mark.parametrize("first", [[], [b""], [b": keep-alive\n\n"]])
async def test_a_stream_that_calls_itself_json_is_not_held(meter: Meter, key: str, first: list[bytes]) -> None:
    chunks = [*first, *STREAM_WITH_USAGE]
    seen_at_once: list[bytes] = []

    def sent(number: int) -> None:
        assert len(seen_at_once) >= number, "held back"

    seen = await call(
        FootprintMiddleware(_calls_itself_json(chunks, sent), meter=meter),
        request(**ASKING),
        key=key,
        on_message=lambda each: seen_at_once.append(each.messages[-1].get("body", b"")),
    )

    assert [message["type"] for message in seen.messages].count("http.response.start") == 1
    assert seen.messages[0]["status"] == 200
    assert unfolded(seen.body) == b"".join(chunks)
    assert b'"footprint"' in seen.body
    assert meter.telemetry.failures_count == 0


@pytest.mark.parametrize("first", [[], [b""]])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (OpenAIChat, "stream_reader"),
        (OpenAIStream, "feed"),
        (Disclosing, "headed_stream"),
        (Settlement, "arrivals"),
        (Settlement, "saw_first_byte"),
    ],
)
async def test_whatever_fails_in_a_stream_that_calls_itself_json_it_goes_out_as_it_came(
    make_meter: MakeMeter, key: str, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, first: list[bytes]
) -> None:
    def fail(*_arguments: Any, **_named: Any) -> None:
        raise ValueError("broken part")

    monkeypatch.setattr(owner, name, fail)
    chunks, meter = [*first, *STREAM_WITH_USAGE], make_meter()
    asked = {**scope(key=key, te="trailers"), "extensions": {"http.response.trailers": {}}}

    seen = await call(FootprintMiddleware(_calls_itself_json(chunks), meter=meter), request(**ASKING), raw_scope=asked)

    start, *bodies = seen.messages
    assert (start["type"], start["status"], start["headers"][0]) == (
        "http.response.start",
        200,
        (b"content-type", b"application/json"),
    )
    assert seen.body == b"".join(chunks)
    assert [message["type"] for message in bodies].count("http.response.trailers") == start.get("trailers", False)
    assert [message.get("more_body") for message in bodies if message["type"] == "http.response.body"][-1] is False
    assert meter.telemetry.failures_count > 0
    assert (await _account(meter, key)).requests_count == 1
