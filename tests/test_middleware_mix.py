"""What an exchange learns of its neighbours and of its own pace: mean requests, inter-token latency, pictures."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.mixes import FEWEST_COUNT
from headwater.physics import energy, formulas
from headwater.receipts import receipt
from headwater.records import Charge
from headwater.watch import FEWEST_GAPS, inter_token_s
from tests.asgi import DONE, MODEL, Seen, call, content, event, json_app, reply, request, stream_app
from tests.conftest import MakeMeter

HOSTED: dict[str, Any] = {
    "hardware": "hosted-h100",
    "engine": "vllm-0.11",
    "accelerators": 4,
    "precision": "fp8",
    "hosting": "hosted",
}
CHUNKS, TOKENS_PER_CHUNK = 20, 3
USAGE = {"prompt_tokens": 25, "completion_tokens": CHUNKS * TOKENS_PER_CHUNK, "total_tokens": 85}


async def _charge(meter: Meter, seen: Seen) -> Charge:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    charge = meter.ledger.reader().receipt(seen.headers["headwater-id"])
    assert charge is not None
    return charge


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def tick(self, _number: int) -> None:
        self.now_s += 0.06


async def _streamed(meter: Meter, key: str, clock: Clock) -> Charge:
    chunks = [content("word ") for _ in range(CHUNKS)]
    app = FootprintMiddleware(
        stream_app([*chunks, content("", "stop"), event(choices=[], usage=USAGE), DONE], after=clock.tick), meter=meter
    )
    return await _charge(meter, await call(app, request(stream=True, stream_options={"include_usage": True}), key=key))


async def test_the_pace_of_somebody_elses_server_is_seen_on_the_stream_and_charged(
    make_meter: MakeMeter, key: str
) -> None:
    clock = Clock()
    meter = make_meter(clock_s=clock, deployment=[HOSTED])

    charge = await _streamed(meter, key, clock)

    # A chunk each 60 ms with three tokens: 20 ms a token. Finish, usage and end count as chunks too.
    assert charge.method == "paced"
    assert charge.observation.itl_s == pytest.approx(0.06 / TOKENS_PER_CHUNK, rel=0.2)


async def test_on_a_server_of_ones_own_nobody_asks_for_the_pace(make_meter: MakeMeter, key: str) -> None:
    clock = Clock()
    meter = make_meter(clock_s=clock)

    charge = await _streamed(meter, key, clock)

    assert (charge.method, charge.observation.itl_s) == ("observed", None)


async def test_a_json_reply_of_somebody_elses_server_is_assumed(make_meter: MakeMeter, key: str) -> None:
    meter = make_meter(deployment=[HOSTED])

    charge = await _charge(meter, await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key))

    assert (charge.method, charge.observation.itl_s) == ("assumed", None)


@pytest.mark.parametrize(
    ("arrivals_s", "tokens_count", "itl_s"),
    [
        ([0.1 * number for number in range(11)], 11, 0.1),
        ([0.1 * number for number in range(11)], 22, 0.05),
        # A pause does not move the median.
        ([0.1 * number + (5.0 if number > 5 else 0.0) for number in range(11)], 11, 0.1),
        # More chunks than tokens: a role, a finish.
        ([0.1 * number for number in range(11)], 5, 0.1),
        ([0.1 * number for number in range(FEWEST_GAPS)], 8, None),
        ([0.1 * number for number in range(11)], 0, None),
        # All at once: no pace.
        ([1.0] * 11, 11, None),
    ],
)
def test_inter_token_latency_is_the_median_gap_over_the_tokens_of_a_chunk(
    arrivals_s: list[float], tokens_count: int, itl_s: float | None
) -> None:
    found = inter_token_s(arrivals_s, tokens_count)

    assert found == (None if itl_s is None else pytest.approx(itl_s))


async def test_requests_are_charged_among_the_mean_of_those_before_them(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=meter)
    for _ in range(FEWEST_COUNT):
        first = await call(app, request(), key=key)

    after = await _charge(meter, await call(app, request(), key=key))

    assert (await _charge(meter, first)).observation.mix is None
    mix = after.observation.mix
    assert mix is not None
    assert (mix.input_tokens, mix.output_tokens) == pytest.approx((25, 4))
    document = receipt(after, meter.ledger.reader().document(after.deployment_hash))
    assert document["derivation_agrees"] is True
    assert document["observed"]["mix"]["input_tokens"] == pytest.approx(25)


async def test_a_receipt_says_so_when_its_lines_do_not_give_the_charge(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge = await _charge(meter, await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key))
    document = meter.ledger.reader().document(charge.deployment_hash)
    assert receipt(charge, document)["derivation_agrees"] is True
    rules = formulas.ENERGY_RULES
    wrong = replace(rules[-1], function=lambda **inputs: 1.001 * energy.it_j(**inputs))

    monkeypatch.setattr(formulas, "ENERGY_RULES", (*rules[:-1], wrong))

    assert receipt(charge, document)["derivation_agrees"] is False


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("parts", "count"),
    [
        ([{"type": "text", "text": "image_url"}], 0),
        ([{"type": "text", "text": "What is this?"}, PICTURE, PICTURE], 2),
        ("what is an image_url?", 0),
    ],
)
async def test_pictures_of_the_prompt_are_counted_and_widen_the_interval(
    make_meter: MakeMeter, key: str, parts: Any, count: int
) -> None:
    clock = Clock()
    meter = make_meter(clock_s=clock)
    answer = json_app(reply())

    async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            clock.now_s += 0.5  # what takes less than its arithmetic is not believed, and has another interval
            await send(message)

        await answer(scope, receive, sent)

    app = FootprintMiddleware(slowly, meter=meter)
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": parts}, "odd"]}).encode()

    charge = await _charge(meter, await call(app, body, key=key))
    plain = await _charge(meter, await call(app, request(), key=key))

    assert (charge.method, plain.method) == ("observed", "observed")
    assert charge.usage.images_count == count
    assert charge.amounts is not None
    assert plain.amounts is not None
    widths = [
        amounts.energy_high_microjoules / amounts.energy_microjoules for amounts in (charge.amounts, plain.amounts)
    ]
    assert (widths[0] > widths[1] * 1.001) == (count > 0)
