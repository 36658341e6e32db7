"""Upstreams that report their energy, behind the middleware: what is charged, disclosed, counted and shown."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from starlette.types import ASGIApp

from headwater import catalog
from headwater.ledger.packing import pack, unpack
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.physics.estimate import Profile
from headwater.receipts import as_text, receipt
from headwater.records import Charge
from headwater.reports.recompute import recharged, under
from tests.asgi import (
    DONE,
    STREAM,
    USAGE,
    Seen,
    call,
    dictionary,
    event,
    json_app,
    reply,
    request,
    stream_app,
    unfolded,
)
from tests.conftest import MakeMeter

ASKING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
ENERGY_J = 60.0
"""Near enough to what the model says of the test's request at its clock."""


@pytest.fixture
def make(make_meter: MakeMeter) -> MakeMeter:
    """Meters whose clock gives every exchange a quarter of a second."""

    def made(**sections: Any) -> Meter:
        now_s = [1000.0]

        def clock_s() -> float:
            now_s[0] += 0.05
            return now_s[0]

        return make_meter(clock_s=clock_s, **sections)

    return made


def neuralwatt(energy_j: float, **members: Any) -> dict[str, Any]:
    return {"energy_joules": energy_j, "energy_kwh": energy_j / 3.6e6, **members}


def neuralwatt_stream(energy: dict[str, Any]) -> ASGIApp:
    comment = b": energy " + json.dumps(energy).encode() + b"\n\n"
    return stream_app([*STREAM, event(choices=[], usage=USAGE), comment, DONE])


def greenpt_stream(energy_j: float) -> ASGIApp:
    impact = {"version": "20250922", "energy": {"total": round(energy_j * 1000), "unit": "Wms"}}
    return stream_app([*STREAM, event(choices=[], usage=USAGE), event(choices=[], impact=impact), DONE])


def streamed_footprint(seen: Seen) -> dict[str, Any]:
    parts = [part for part in seen.body.split(b"\n\n") if b'"footprint"' in part]
    assert len(parts) == 1
    found: dict[str, Any] = json.loads(parts[0][6:])["usage"]["footprint"]
    return found


async def charge_of(meter: Meter, seen: Seen) -> tuple[Charge, str]:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    reader = meter.ledger.reader()
    charge = reader.receipt(seen.headers["headwater-id"])
    assert charge is not None
    document = reader.document(charge.deployment_hash)
    assert document is not None
    return charge, document


def it_j(charge: Charge) -> float:
    assert charge.amounts is not None
    return charge.amounts.it_microjoules / 1e6


async def test_a_whole_reply_with_energy_is_charged_as_metered(make: MakeMeter, key: str) -> None:
    meter = make()
    app = FootprintMiddleware(json_app(reply(energy=neuralwatt(ENERGY_J))), meter=meter)

    seen = await call(app, request(), key=key)

    assert str(dictionary(seen.headers["headwater-footprint"])["method"][0]) == "metered"
    assert seen.json["usage"]["footprint"]["method"] == "metered"
    charge, document = await charge_of(meter, seen)
    assert (charge.method, charge.observation.metered_verdict) == ("metered", "taken")
    assert charge.observation.metered_j == ENERGY_J
    assert it_j(charge) > ENERGY_J  # the host and its overhead are added
    assert unpack(pack(charge)) == charge
    shown = receipt(charge, document)
    assert shown["derivation_agrees"] is True
    assert "reported    60 J by neuralwatt, measured at: accelerators; charged" in as_text(shown)
    assert "metered_j = 60 J" in as_text(shown)


@pytest.mark.parametrize(
    "app", [neuralwatt_stream(neuralwatt(ENERGY_J)), greenpt_stream(ENERGY_J)], ids=["neuralwatt", "greenpt"]
)
async def test_a_stream_that_reports_energy_behind_its_usage_is_charged_as_metered(
    app: ASGIApp, make: MakeMeter, key: str
) -> None:
    meter = make()

    seen = await call(FootprintMiddleware(app, meter=meter), request(**ASKING), key=key)

    assert streamed_footprint(seen)["method"] == "metered"
    charge, document = await charge_of(meter, seen)
    assert (charge.method, charge.observation.metered_j) == ("metered", ENERGY_J)
    assert receipt(charge, document)["derivation_agrees"] is True


async def test_a_header_reports_energy_too_and_the_body_goes_before_it(make: MakeMeter, key: str) -> None:
    meter = make()
    headers = [(b"x-energy-joules", b"55.5"), (b"X-Energy-Method", b"nvml")]
    alone = FootprintMiddleware(json_app(reply(), headers=headers), meter=meter)
    both = FootprintMiddleware(json_app(reply(energy=neuralwatt(ENERGY_J)), headers=headers), meter=meter)

    first, second = await call(alone, request(), key=key), await call(both, request(), key=key)

    seen = [(await charge_of(meter, each))[0].observation for each in (first, second)]
    assert [(each.metered_scheme, each.metered_j) for each in seen] == [
        ("x-energy-joules", 55.5),
        ("neuralwatt", ENERGY_J),
    ]


@pytest.mark.parametrize("ratio", [1e-3, 1e3])
async def test_a_slip_of_a_factor_of_1000_is_told_and_not_charged(
    ratio: float, make: MakeMeter, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    meter = make(meter_provider=provider)
    app = FootprintMiddleware(json_app(reply(energy={"energy_joules": ENERGY_J * ratio})), meter=meter)

    with caplog.at_level(logging.WARNING, logger="headwater"):
        seen = await call(app, request(), key=key)
        await call(app, request(), key=key)
    charge, document = await charge_of(meter, seen)
    data = reader.get_metrics_data()
    provider.shutdown()

    assert (charge.method, charge.observation.metered_verdict) == ("observed", "slip")
    shown = receipt(charge, document)
    assert shown["derivation_agrees"] is True
    assert "NOT charged" in as_text(shown)
    assert len([record for record in caplog.records if "neuralwatt" in record.getMessage()]) == 1
    assert data is not None
    metrics: list[Any] = list(data.resource_metrics[0].scope_metrics[0].metrics)
    points = {
        (point.attributes["headwater.report.scheme"], point.attributes["headwater.report.outcome"]): point.value
        for metric in metrics
        if metric.name == "headwater.energy_reports"
        for point in metric.data.data_points
    }
    assert points == {("neuralwatt", "slip"): 2}


@pytest.mark.parametrize("energy_j", [1e11, 1e-9])
async def test_an_absurd_report_is_not_charged(energy_j: float, make: MakeMeter, key: str) -> None:
    meter = make()
    app = FootprintMiddleware(json_app(reply(energy={"energy_joules": energy_j})), meter=meter)

    seen = await call(app, request(), key=key)

    charge, _ = await charge_of(meter, seen)
    assert (charge.method, charge.observation.metered_verdict) == ("observed", "implausible")


async def test_a_kwh_figure_that_is_1000_times_too_small_does_not_keep_its_joules_from_being_charged(
    make: MakeMeter, key: str
) -> None:
    meter = make()
    app = FootprintMiddleware(json_app(reply(energy=neuralwatt(ENERGY_J, energy_kwh=ENERGY_J / 3.6e9))), meter=meter)

    seen = await call(app, request(), key=key)

    charge, document = await charge_of(meter, seen)
    assert (charge.method, charge.observation.metered_verdict) == ("metered", "contradicted")
    assert "does not agree with its joules" in as_text(receipt(charge, document))


@pytest.mark.parametrize(
    "sections",
    [
        {"metering": {"reports": "ignore"}},
        {"deployment": [{"hardware": "hgx-h100", "engine": "vllm-0.11", "accelerators": 4, "reports": "ignore"}]},
    ],
)
async def test_an_operator_turns_reports_off(sections: dict[str, Any], make: MakeMeter, key: str) -> None:
    meter = make(**sections)
    app = FootprintMiddleware(json_app(reply(energy=neuralwatt(ENERGY_J))), meter=meter)

    seen = await call(app, request(), key=key)

    charge, _ = await charge_of(meter, seen)
    assert (charge.method, charge.observation.metered_j) == ("observed", None)


async def test_a_deployment_may_be_listened_to_where_others_are_not(make: MakeMeter, key: str) -> None:
    deployment = {
        "hardware": "hgx-h100",
        "engine": "vllm-0.11",
        "accelerators": 4,
        "precision": "fp8",
        "reports": "use",
    }
    meter = make(metering={"reports": "ignore"}, deployment=[deployment])
    app = FootprintMiddleware(json_app(reply(energy=neuralwatt(ENERGY_J))), meter=meter)

    seen = await call(app, request(), key=key)

    assert (await charge_of(meter, seen))[0].method == "metered"


async def test_what_another_headwater_lets_through_counts_as_an_estimate(make: MakeMeter, key: str) -> None:
    meter = make()
    inner = json_app(reply(energy=neuralwatt(ENERGY_J)), headers=[(b"headwater-id", b"01K9Z3M6V9R2W0Y8C4S1T7B5QH")])

    await call(FootprintMiddleware(inner, meter=meter), request(), key=key)

    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    charges = [charge for charge in meter.ledger.reader().ledger_entries() if charge.user == user]
    assert [(charge.method, charge.observation.metered_j) for charge in charges] == [("observed", None)]


async def test_a_model_that_is_not_in_the_catalog_stays_unknown(make: MakeMeter, key: str) -> None:
    meter = make()
    app = FootprintMiddleware(json_app(reply(energy=neuralwatt(ENERGY_J))), meter=meter)

    seen = await call(app, request(model="nobody-knows-it"), key=key)

    assert "model-not-in-catalog" in seen.headers["headwater-footprint"]


async def test_a_metered_charge_recomputed_under_another_set_stays_metered_unless_the_set_has_its_own_rule(
    make: MakeMeter, key: str
) -> None:
    meter = make()
    app = FootprintMiddleware(json_app(reply(energy=neuralwatt(ENERGY_J))), meter=meter)
    charge, document = await charge_of(meter, await call(app, request(), key=key))

    deployment = catalog.deployment_from_document(document)
    methods = {
        name: recharged(charge, Profile(under(deployment, catalog.factor_set(name)))).method
        for name in ("current-2026.11", "li-2023", "seed-2023")
    }

    assert methods == {"current-2026.11": "metered", "li-2023": "flat", "seed-2023": "flat"}


@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream_that_ends_without_done_carries_its_footprint_all_the_same(
    asked: bool, make: MakeMeter, key: str
) -> None:
    meter = make()
    usage = event(choices=[], usage=USAGE)
    comment = b": energy " + json.dumps(neuralwatt(ENERGY_J)).encode() + b"\n\n"
    parts = [*STREAM, usage, comment] if asked else [*STREAM, comment]
    app = FootprintMiddleware(stream_app(parts), meter=meter)

    seen = await call(app, request(**(ASKING if asked else {"stream": True})), key=key)

    assert seen.body.count(b'"footprint"') == 1
    assert unfolded(seen.body) == b"".join(parts)
    assert (await charge_of(meter, seen))[0].observation.metered_j == ENERGY_J
