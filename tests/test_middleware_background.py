"""Background responses through the middleware: charged once, by whichever exchange first shows them at their end."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import AccountRow, Charge
from tests.asgi import MODEL, Seen, call, dictionary, json_app, scope, stream_app, unfolded
from tests.conftest import MakeMeter

CREATE = "/v1/responses"
COUNTS = {"input_tokens": 75, "output_tokens": 40, "total_tokens": 115}
_ids = itertools.count()


@pytest.fixture
def response_id() -> str:
    """An id that no other test uses: what is charged once is remembered."""
    return f"resp_{next(_ids)}"


def asked(**members: Any) -> bytes:
    return json.dumps({"model": MODEL, "input": "Say hello.", **members}).encode()


def response(response_id: str, status: str = "completed", **members: Any) -> bytes:
    usage = None if status in ("queued", "in_progress") else COUNTS
    answer = (
        [] if usage is None else [{"type": "message", "content": [{"type": "output_text", "text": "Hello there."}]}]
    )
    whole = {"id": response_id, "object": "response", "status": status, "background": True, "model": MODEL}
    whole |= {"output": answer, "usage": usage}
    return json.dumps({**whole, **members}, separators=(",", ":")).encode()


def event(kind: str, number: int, **members: Any) -> bytes:
    text = json.dumps({"type": kind, "sequence_number": number, **members}, separators=(",", ":"))
    return f"event: {kind}\ndata: {text}\n\n".encode()


def events(response_id: str, end: str = "completed", **members: Any) -> list[bytes]:
    beginning = json.loads(response(response_id, "in_progress", **members))
    return [
        event("response.created", 0, response=beginning),
        event("response.output_text.delta", 1, output_index=0, delta="Hello "),
        event("response.output_text.delta", 2, output_index=0, delta="there."),
        event(f"response.{end}", 3, response=json.loads(response(response_id, end, **members))),
    ]


async def post(meter: Meter, key: str, reply: bytes, **members: Any) -> Seen:
    app = FootprintMiddleware(json_app(reply), meter=meter)
    return await call(app, asked(background=True, **members), path=CREATE, key=key)


async def get(meter: Meter, key: str, response_id: str, reply: bytes, status: int = 200) -> Seen:
    app = FootprintMiddleware(json_app(reply, status=status), meter=meter)
    return await call(app, path=f"{CREATE}/{response_id}", method="GET", key=key)


async def resume(meter: Meter, key: str, response_id: str, chunks: list[bytes]) -> Seen:
    app = FootprintMiddleware(stream_app(chunks), meter=meter)
    raw = {**scope(f"{CREATE}/{response_id}", method="GET", key=key), "query_string": b"stream=true&starting_after=1"}
    return await call(app, raw_scope=raw)


def account(meter: Meter, key: str) -> AccountRow:
    """The caller's month."""
    assert meter.ledger.flush(10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    return meter.ledger.reader().user_row(user, meter.month())


def charge_of(meter: Meter, seen: Seen) -> Charge:
    """The charge of a reply."""
    assert meter.ledger.flush(10.0)
    found = meter.ledger.reader().receipt(seen.headers["headwater-id"])
    assert found is not None
    return found


async def test_a_queued_response_costs_nothing_yet(meter: Meter, key: str, response_id: str) -> None:
    queued = response(response_id, "queued")

    seen = await post(meter, key, queued)

    assert seen.body == queued
    assert "headwater-footprint" not in seen.headers
    assert account(meter, key).requests_count == 0


async def test_polling_charges_the_response_when_it_is_first_seen_at_its_end(
    meter: Meter, key: str, response_id: str
) -> None:
    await post(meter, key, response(response_id, "queued"))
    polled = [await get(meter, key, response_id, response(response_id, status)) for status in ("queued", "in_progress")]

    done = await get(meter, key, response_id, response(response_id))

    charge = charge_of(meter, done)
    month = account(meter, key)
    assert [each.body for each in polled] == [response(response_id, "queued"), response(response_id, "in_progress")]
    assert (month.requests_count, month.input_tokens, month.output_tokens) == (1, 75, 40)
    assert (charge.model, charge.outcome, charge.usage.source) == (MODEL, "completed", "upstream")
    assert charge.amounts is not None
    assert unfolded(done.body) == response(response_id)
    assert done.json["usage"]["footprint"]["tokens"]["output"] == 40
    assert float(dictionary(done.headers["headwater-footprint"])["energy_j"][0]) > 0


async def test_time_is_not_observed_where_a_response_is_only_looked_up(
    meter: Meter, key: str, response_id: str
) -> None:
    charge = charge_of(meter, await get(meter, key, response_id, response(response_id)))

    assert charge.observation.elapsed_s is None
    assert charge.method not in (None, "observed")


async def test_who_keeps_asking_is_charged_once_and_writes_no_more(meter: Meter, key: str, response_id: str) -> None:
    await get(meter, key, response_id, response(response_id))
    journalled_count = meter.ledger.stats.journalled

    again = [await get(meter, key, response_id, response(response_id)) for _ in range(20)]

    assert all(each.body == response(response_id) for each in again)
    assert not any("headwater-footprint" in each.headers for each in again)
    assert meter.ledger.stats.journalled == journalled_count
    assert account(meter, key).requests_count == 1


async def test_two_processes_that_show_one_response_charge_it_once(
    make_meter: MakeMeter, key: str, response_id: str
) -> None:
    first, second = make_meter(), make_meter()

    one = await get(first, key, response_id, response(response_id))
    charged = charge_of(first, one)
    other = await get(second, key, response_id, response(response_id))

    assert charge_of(second, other) == charged
    assert account(second, key).requests_count == 1
    assert account(second, key).energy_microjoules == account(first, key).energy_microjoules


async def test_a_foreground_response_is_charged_where_it_is_made_and_never_again(
    meter: Meter, key: str, response_id: str
) -> None:
    reply = response(response_id, background=False)
    made = await post(meter, key, reply)

    looked_up = await get(meter, key, response_id, reply)

    assert "headwater-footprint" in made.headers
    assert looked_up.body == reply
    assert account(meter, key).requests_count == 1


async def test_a_background_stream_is_charged_by_its_own_end(meter: Meter, key: str, response_id: str) -> None:
    app = FootprintMiddleware(stream_app(events(response_id)), meter=meter)

    seen = await call(app, asked(background=True, stream=True), path=CREATE, key=key)
    again = await get(meter, key, response_id, response(response_id))

    charge = charge_of(meter, seen)
    assert unfolded(seen.body) == b"".join(events(response_id))
    assert b'"footprint"' in seen.body
    assert charge.observation.elapsed_s is not None
    assert again.body == response(response_id)
    assert account(meter, key).requests_count == 1


async def test_a_background_stream_that_breaks_off_is_charged_where_it_is_taken_up_again(
    meter: Meter, key: str, response_id: str
) -> None:
    chunks = events(response_id)
    app = FootprintMiddleware(stream_app(chunks[:2]), meter=meter)

    await call(app, asked(background=True, stream=True), path=CREATE, key=key)
    before = account(meter, key).requests_count
    resumed = await resume(meter, key, response_id, chunks[2:])

    month = account(meter, key)
    assert (before, month.requests_count, month.output_tokens) == (0, 1, 40)
    assert unfolded(resumed.body) == b"".join(chunks[2:])
    assert b'"footprint"' in resumed.body


async def test_a_foreground_stream_that_breaks_off_is_charged_for_what_it_made(
    meter: Meter, key: str, response_id: str
) -> None:
    chunks = events(response_id, background=False)
    app = FootprintMiddleware(stream_app(chunks[:3]), meter=meter)

    await call(app, asked(stream=True), path=CREATE, key=key)
    await resume(meter, key, response_id, chunks[2:])

    month = account(meter, key)
    assert (month.requests_count, month.incomplete_count) == (1, 1)
    assert 0 < month.output_tokens < 10


async def test_a_cancelled_response_is_charged_for_what_it_used(meter: Meter, key: str, response_id: str) -> None:
    app = FootprintMiddleware(json_app(response(response_id, "cancelled")), meter=meter)

    seen = await call(app, b"{}", path=f"{CREATE}/{response_id}/cancel", key=key)
    await get(meter, key, response_id, response(response_id, "cancelled"))

    month = account(meter, key)
    assert (month.requests_count, month.output_tokens, month.incomplete_count) == (1, 40, 1)
    assert charge_of(meter, seen).outcome == "upstream_error"


async def test_a_response_that_failed_without_usage_is_charged_by_nobody(
    meter: Meter, key: str, response_id: str
) -> None:
    failed = response(response_id, "failed", usage=None, output=[])

    seen = await get(meter, key, response_id, failed)

    assert seen.body == failed
    assert account(meter, key).requests_count == 0


@pytest.mark.parametrize(
    ("status", "reply"), [(404, b'{"error":{"message":"no such response"}}'), (200, b'{"answers":[1,2]}')]
)
async def test_what_shows_no_response_passes_and_opens_no_account(
    meter: Meter, key: str, response_id: str, status: int, reply: bytes
) -> None:
    seen = await get(meter, key, response_id, reply, status)

    assert (seen.status, seen.body) == (status, reply)
    assert account(meter, key).requests_count == 0


async def test_a_survey_with_responses_of_its_own_passes_untouched(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(b'{"saved":true}'), meter=meter)

    seen = await call(app, b'{"answers":[1,2]}', path="/surveys/7/responses", key=key)

    assert seen.body == b'{"saved":true}'
    assert not any(name.startswith("headwater") for name in seen.headers)
    assert account(meter, key).requests_count == 0


async def test_a_context_that_lies_with_the_server_leaves_the_input_unknown(
    meter: Meter, key: str, response_id: str
) -> None:
    reply = response(response_id, background=False, usage=None)
    app = FootprintMiddleware(json_app(reply), meter=meter)

    seen = await call(app, asked(previous_response_id="resp_0"), path=CREATE, key=key)

    charge = charge_of(meter, seen)
    assert (charge.usage.input_tokens, charge.usage.source) == (None, "unknown")
    assert charge.usage.output_tokens is not None
    assert charge.usage.output_tokens > 0


async def test_an_answer_without_usage_is_counted_where_the_whole_prompt_is_here(
    meter: Meter, key: str, response_id: str
) -> None:
    app = FootprintMiddleware(json_app(response(response_id, background=False, usage=None)), meter=meter)

    seen = await call(app, asked(), path=CREATE, key=key)

    charge = charge_of(meter, seen)
    assert charge.usage.input_tokens is not None
    assert charge.usage.source in ("counted", "estimated")
    assert charge.amounts is not None


@pytest.mark.parametrize(("background", "open_count"), [(True, 0), (False, 1)])
async def test_a_process_that_dies_leaves_nothing_to_charge_of_a_background_stream(
    meter: Meter, key: str, response_id: str, background: bool, open_count: int
) -> None:
    seen_counts: set[int] = set()

    def look(_: Seen) -> None:
        assert meter.ledger._journal is not None
        seen_counts.add(len(meter.ledger._journal._open))

    app = FootprintMiddleware(stream_app(events(response_id, background=background)[:2], ends=False), meter=meter)

    await call(app, asked(background=background, stream=True), path=CREATE, key=key, on_message=look)

    assert seen_counts == {open_count}
