"""Receipts and one's own account over HTTP: right for their user, not there for anybody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater import ulid
from headwater.errors import LedgerError
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.receipts import as_text, receipt
from tests.asgi import Seen, call, json_app, reply, request


async def _get(app: FootprintMiddleware, path: str, key: str | None, method: str = "GET") -> Seen:
    return await call(app, path=f"/.well-known/headwater/{path}", method=method, key=key)


async def _charged(meter: Meter, key: str, **members: Any) -> tuple[FootprintMiddleware, Seen]:
    app = FootprintMiddleware(json_app(reply()), meter=meter)
    seen = await call(app, request(**members), key=key)
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    return app, seen


async def test_the_receipt_repeats_the_disclosed_numbers_and_derives_them_anew(meter: Meter, key: str) -> None:
    app, seen = await _charged(meter, key)

    answer = await _get(app, f"requests/{seen.headers['headwater-id']}", key)

    receipt, folded = answer.json, seen.json["usage"]["footprint"]
    assert receipt["charged"]["energy_j"] == pytest.approx(folded["energy_j"], rel=5e-4)
    assert receipt["charged"]["water_ul"] == pytest.approx(folded["water_ul"], rel=5e-3)
    counts = {"input": 25, "cached": 5, "output": 4, "reasoning": None}
    assert receipt["tokens"] == {**counts, "source": "upstream", "off_by": 1.0}
    assert receipt["partial"] is False
    assert receipt["derivation_agrees"] is True
    assert len(receipt["derivation"]) > 5
    assert receipt["deployment"]["factors"] == "current-2026.11"
    assert answer.headers["cache-control"] == "no-store"
    text = as_text(receipt)
    assert receipt["id"] in text
    assert all(step["name"] in text for step in receipt["derivation"])


async def test_nobody_reads_anothers_receipt_and_nobody_learns_that_it_exists(meter: Meter, key: str) -> None:
    app, seen = await _charged(meter, key)
    own = seen.headers["headwater-id"]
    never = ulid.new(ulid.time_ms(own))

    answers = [
        await _get(app, f"requests/{own}", f"{key}-other"),
        await _get(app, f"requests/{own}", None),
        await _get(app, f"requests/{never}", key),
    ]

    assert [answer.status for answer in answers] == [404, 404, 404]
    assert len({answer.body for answer in answers}) == 1
    assert [answer.headers["retry-after"] for answer in answers] == ["1"] * 3


async def test_an_old_or_impossible_id_is_not_worth_a_second_look(meter: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    for name in (
        f"requests/{ulid.new(1)}",
        "requests/../me",
        "requests/",
        "else",
        "requests/01K9Z3M6V9R2W0Y8C4S1T7B5QH/x",
    ):
        answer = await _get(app, name, key)
        assert (answer.status, answer.headers.get("retry-after")) == (404, None)


async def test_ones_own_account_adds_up_over_requests(meter: Meter, key: str) -> None:
    app, first = await _charged(meter, key)
    _, second = await _charged(meter, key)

    me = (await _get(app, "me", key)).json

    assert me["month"]["requests"] == me["day"]["requests"] == 2
    assert me["month"]["tokens"]["output"] == 8
    told = sum(seen.json["usage"]["footprint"]["energy_j"] for seen in (first, second))
    assert me["month"]["energy_j"] == pytest.approx(told, rel=5e-4)
    assert (await _get(app, "me", f"{key}-other")).json["month"]["requests"] == 0


async def test_nobody_in_particular_has_no_account_to_see(meter: Meter) -> None:
    answer = await _get(FootprintMiddleware(json_app(reply()), meter=meter), "me", None)

    assert answer.status == 401
    assert "credentials" in answer.json["error"]["message"]


async def test_a_receipt_of_an_unknown_footprint_says_why(meter: Meter, key: str) -> None:
    app, seen = await _charged(meter, key, model="who-knows")

    receipt = (await _get(app, f"requests/{seen.headers['headwater-id']}", key)).json

    assert (receipt["charged"], receipt["reason"], receipt["derivation"]) == (None, "model-not-in-catalog", [])
    assert "unknown: model-not-in-catalog" in as_text(receipt)


async def test_only_get_is_answered(meter: Meter, key: str) -> None:
    answer = await _get(FootprintMiddleware(json_app(reply()), meter=meter), "me", key, method="DELETE")

    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_store_that_cannot_be_read_is_a_503_and_not_a_wrong_number(
    meter: Meter, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Any:
        raise LedgerError("gone")

    monkeypatch.setattr(meter.ledger, "reader", fail)

    answer = await _get(FootprintMiddleware(json_app(reply()), meter=meter), "me", key)

    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


async def test_a_receipt_whose_document_is_of_another_version_still_has_what_was_charged(
    meter: Meter, key: str
) -> None:
    _, seen = await _charged(meter, key)
    with meter.ledger.reader() as reader:
        charge = reader.receipt(seen.headers["headwater-id"])
    assert charge is not None

    made = receipt(charge, '{"of": "another version"}')

    assert made["charged"]["energy_j"] > 0
    assert (made["deployment"], made["derivation"], made["derivation_agrees"]) == (None, [], None)
    assert "another version of headwater" in made["derivation_lacks"]
    assert "No derivation: another version of headwater" in as_text(made)
