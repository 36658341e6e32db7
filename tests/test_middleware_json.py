"""A JSON reply through the middleware: header, body, receipt and account carry the same numbers; the rest is untouched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import http_sf
import pytest

from headwater import disclosure
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import Charge
from headwater.tokens import TokenCounter
from headwater.units import MICROJOULES_PER_J, NANOLITRES_PER_UL
from headwater.vocab import Vocabulary
from tests.asgi import USAGE, Seen, call, dictionary, json_app, reply, request, unfolded
from tests.conftest import MakeMeter
from tests.ledger.support import eventually


def charge_of(meter: Meter, seen: Seen) -> Charge:
    """The charge of a reply, as the ledger keeps it."""
    assert meter.ledger.flush(10.0)
    charge = meter.ledger.reader().receipt(seen.headers["headwater-id"])
    assert charge is not None
    return charge


async def test_header_body_and_ledger_carry_the_same_numbers(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    seen = await call(app, request(), key=key)

    header = dictionary(seen.headers["headwater-footprint"])
    folded = seen.json["usage"]["footprint"]
    charge = charge_of(meter, seen)
    amounts = charge.amounts
    assert amounts is not None
    energy = disclosure.digits(amounts.energy_microjoules / MICROJOULES_PER_J)
    water = disclosure.digits(amounts.water_nanolitres / NANOLITRES_PER_UL)
    assert float(header["energy_j"][0]) == folded["energy_j"] == float(energy) > 0
    assert float(header["water_ul"][0]) == folded["water_ul"] == pytest.approx(float(water), rel=1e-3)
    assert folded["energy_j_range"][0] < folded["energy_j"] < folded["energy_j_range"][1]
    assert folded["tokens"] == {"input": 25, "cached": 5, "output": 4, "source": "upstream"}
    assert header["tokens"][1] == {"in": 25, "out": 4, "src": http_sf.types.Token("upstream")}
    assert folded["id"] == charge.request_id == seen.headers["headwater-id"]
    assert charge.outcome == "completed"
    assert str(header["method"][0]) == folded["method"] == charge.method


async def test_all_but_the_footprint_is_byte_for_byte_the_apps_reply(meter: Meter, key: str) -> None:
    body = reply(extra="Grüße, 世界 \u2028")
    app = FootprintMiddleware(json_app(body, headers=[(b"x-own", b"1"), (b"link", b"<a>")]), meter=meter)

    seen = await call(app, request(), key=key)

    assert unfolded(seen.body) == body
    assert int(seen.headers["content-length"]) == len(seen.body)
    assert seen.json["usage"]["footprint"]["v"] == 1
    assert (b"x-own", b"1") in seen.messages[0]["headers"]
    assert (b"link", b"<a>") in seen.messages[0]["headers"]


async def test_a_client_that_opts_out_gets_the_apps_reply_and_is_charged(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    seen = await call(app, request(), key=key, headwater_disclose="?0")

    assert seen.body == reply()
    assert not any(name.startswith("headwater") for name in seen.headers)
    assert meter.ledger.flush(10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    month = meter.ledger.reader().user_row(user, meter.month())
    assert (month.requests_count, month.output_tokens) == (1, 4)


async def test_the_period_header_tells_the_account_before_this_request(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    first = await call(app, request(), key=key)
    assert meter.ledger.flush(10.0)
    user = charge_of(meter, first).user
    eventually(lambda: meter.ledger.period_total(user) is not None)
    second = await call(app, request(), key=key)

    assert "headwater-period" not in first.headers
    period = dictionary(second.headers["headwater-period"])
    assert period["requests"][0] == 1
    assert float(period["energy_j"][0]) == first.json["usage"]["footprint"]["energy_j"]


async def test_the_anonymous_account_is_charged_but_shown_to_nobody(meter: Meter) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    await call(app, request())
    assert meter.ledger.flush(10.0)
    second = await call(app, request())

    assert "headwater-period" not in second.headers
    assert charge_of(meter, second).user == "anonymous"


async def test_an_unknown_model_gets_a_reason_and_never_a_zero(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    seen = await call(app, request(model="secret-model-9"), key=key)

    header = dictionary(seen.headers["headwater-footprint"])
    assert str(header["reason"][0]) == "model-not-in-catalog"
    assert "energy_j" not in header
    charge = charge_of(meter, seen)
    assert (charge.amounts, charge.reason, charge.model) == (None, "model-not-in-catalog", "other")
    assert charge.usage.output_tokens == 4


async def test_the_fallback_stands_in_for_unknown_models_with_a_wide_interval(make_meter: MakeMeter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=make_meter(fallback={"model": "generic-wide"}))

    seen = await call(app, request(model="secret-model-9"), key=key)

    folded = seen.json["usage"]["footprint"]
    assert folded["model"] == "generic-wide"
    assert folded["energy_j_range"][1] / folded["energy_j_range"][0] > 10


async def test_without_usage_tokens_are_estimated_and_said_to_be(meter: Meter, key: str) -> None:
    body = json.loads(reply())
    del body["usage"]
    app = FootprintMiddleware(json_app(json.dumps(body).encode()), meter=meter)

    seen = await call(app, request(), key=key)

    tokens = seen.json["footprint"]["tokens"]
    assert tokens["source"] == "estimated"
    assert tokens["output"] == 3  # "Hello", " there", "."
    assert tokens["input"] > 4


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_request_opens_no_account(meter: Meter, key: str, status: int) -> None:
    body = b'{"error":{"message":"no"}}'
    app = FootprintMiddleware(json_app(body, status=status), meter=meter)

    seen = await call(app, request(), key=key)

    assert (seen.status, seen.body) == (status, body)
    assert not any(name.startswith("headwater") for name in seen.headers)
    assert meter.ledger.flush(10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    assert meter.ledger.reader().user_row(user, meter.month()).requests_count == 0
    assert user not in {row.user for row in meter.ledger.reader().month_rows(meter.month())}


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_an_error_reply_is_untouched_and_its_outcome_recorded(meter: Meter, key: str, status: int) -> None:
    body = b'{"error":{"message":"broken","code":null}}'
    app = FootprintMiddleware(json_app(body, status=status), meter=meter)

    seen = await call(app, request(), key=key)

    assert (seen.status, seen.body) == (status, body)
    assert meter.ledger.flush(10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    row = meter.ledger.reader().user_row(user, meter.month())
    assert (row.requests_count, row.incomplete_count, row.unknown_count, row.energy_microjoules) == (1, 1, 1, 0)


async def test_broken_json_passes_through_and_is_an_upstream_error(meter: Meter, key: str) -> None:
    broken = b'{"id":"c1","choices":[{"index":0,'
    app = FootprintMiddleware(json_app(broken), meter=meter)

    seen = await call(app, request(), key=key)

    assert seen.body == broken
    assert meter.ledger.flush(10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    assert meter.ledger.reader().user_row(user, meter.month()).incomplete_count == 1


async def test_a_reply_in_parts_is_one_reply(meter: Meter, key: str) -> None:
    body = reply()
    parts = [body[start : start + 7] for start in range(0, len(body), 7)]
    app = FootprintMiddleware(json_app(body, parts=parts), meter=meter)

    seen = await call(app, [request()[:10], request()[10:]], key=key)

    assert seen.json["usage"]["footprint"]["tokens"]["output"] == 4
    assert len(seen.chunks) == 1


async def test_a_reply_over_the_limit_passes_at_once_and_is_metered_without_a_header(
    make_meter: MakeMeter, key: str
) -> None:
    meter = make_meter(limits={"hold_bytes": 64})
    body = reply()
    whole = FootprintMiddleware(json_app(body), meter=meter)
    in_parts = FootprintMiddleware(json_app(body, parts=[body[:50], body[50:90], body[90:]]), meter=meter)

    for app in (whole, in_parts):
        seen = await call(app, request(), key=key)

        assert seen.body == body
        assert "headwater-footprint" not in seen.headers
        assert charge_of(meter, seen).usage.output_tokens == 4


async def test_whitespace_that_keeps_the_connection_alive_is_not_held(meter: Meter, key: str) -> None:
    body = reply()
    sent: list[int] = []
    app = FootprintMiddleware(json_app(body, parts=[b"\n", b"\n", body]), meter=meter)

    seen = await call(app, request(), key=key, on_message=lambda so_far: sent.append(len(so_far.messages)))

    assert seen.chunks == [b"\n", b"\n", body]
    assert "headwater-footprint" not in seen.headers
    assert charge_of(meter, seen).usage.output_tokens == 4


@pytest.mark.parametrize(
    "header",
    [
        (b"content-digest", b"sha-256=:x:"),
        (b"etag", b'"x"'),
        (b"signature", b"x"),
        (b"cache-control", b"no-store, no-transform"),
    ],
)
async def test_a_sealed_body_is_not_touched_but_its_header_discloses(
    meter: Meter, key: str, header: tuple[bytes, bytes]
) -> None:
    app = FootprintMiddleware(json_app(reply(), headers=[header]), meter=meter)

    seen = await call(app, request(), key=key)

    assert seen.body == reply()
    assert "headwater-footprint" in seen.headers


async def test_placement_off_leaves_the_body_alone(make_meter: MakeMeter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=make_meter(disclosure={"placement": "off"}))

    seen = await call(app, request(), key=key)

    assert seen.body == reply()
    assert "headwater-footprint" in seen.headers


async def test_an_encoded_reply_passes_and_is_charged_as_unknown(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(b"\x1f\x8b...", headers=[(b"content-encoding", b"gzip")]), meter=meter)

    seen = await call(app, request(), key=key)

    assert seen.body == b"\x1f\x8b..."
    assert meter.ledger.flush(10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    assert meter.ledger.reader().user_row(user, meter.month()).unknown_count == 1


async def test_a_cross_origin_page_may_read_the_headers(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply(), headers=[(b"access-control-allow-origin", b"*")]), meter=meter)

    seen = await call(app, request(), key=key)

    assert "headwater-footprint" in seen.headers["access-control-expose-headers"]


async def test_a_request_that_is_no_chat_request_is_the_apps_business(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(b'{"error":{"message":"bad"}}', status=422), meter=meter)

    seen = await call(app, b"[1,2", key=key)

    assert (seen.status, seen.body) == (422, b'{"error":{"message":"bad"}}')
    assert meter.telemetry.failures_count == 0


async def test_a_request_over_the_limit_is_charged_without_a_model(make_meter: MakeMeter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=(meter := make_meter(limits={"meter_bytes": 1024})))

    seen = await call(app, [request(messages=[{"role": "user", "content": "x" * 900}]), b" " * 600], key=key)

    assert charge_of(meter, seen).reason == "model-not-named"
    assert seen.json["usage"]["footprint"]["tokens"]["output"] == USAGE["completion_tokens"]


async def test_a_reply_too_large_to_read_passes_and_is_charged_as_unknown(make_meter: MakeMeter, key: str) -> None:
    meter = make_meter(limits={"hold_bytes": 64, "meter_bytes": 1024})
    body = reply(padding="x" * 2000)
    app = FootprintMiddleware(
        json_app(body, parts=[body[:100], body[100:1500], body[1500:2000], body[2000:]]), meter=meter
    )

    seen = await call(app, request(), key=key)

    assert seen.body == body
    assert charge_of(meter, seen).reason == "reply-too-large"


async def test_a_reply_that_is_neither_json_nor_a_stream_passes_and_is_charged_as_unknown(
    meter: Meter, key: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"hello"})

    seen = await call(FootprintMiddleware(app, meter=meter), request(), key=key)

    assert seen.body == b"hello"
    assert meter.ledger.flush(10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    assert meter.ledger.reader().user_row(user, meter.month()).unknown_count == 1


async def test_a_client_may_opt_out_of_a_reply_that_is_too_large_to_hold(make_meter: MakeMeter, key: str) -> None:
    meter = make_meter(limits={"hold_bytes": 64})
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    seen = await call(app, request(), key=key, headwater_disclose="?0")

    assert "headwater-id" not in seen.headers
    assert seen.body == reply()


async def test_without_a_vocabulary_the_count_says_that_it_is_estimated(
    make_meter: MakeMeter, key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counter = TokenCounter(vocab=Vocabulary(folders=(tmp_path,)))
    body = json.loads(reply())
    del body["usage"]
    app = FootprintMiddleware(json_app(json.dumps(body).encode()), meter=make_meter(counter=counter))

    for _ in range(2):
        seen = await call(app, request(), key=key)

    assert [record.getMessage().count("headwater vocab install") for record in caplog.records] == [1]
    assert seen.json["footprint"]["tokens"]["source"] == "estimated"
    assert "src=estimated" in seen.headers["headwater-footprint"]
