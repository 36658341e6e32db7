"""Metrics as an operator's OpenTelemetry SDK collects them."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from headwater.middleware import FootprintMiddleware
from headwater.telemetry import Telemetry
from tests.asgi import call, json_app, reply, request
from tests.conftest import MakeMeter


def _collected(reader: InMemoryMetricReader) -> dict[str, Any]:
    data = reader.get_metrics_data()
    assert data is not None
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    return {metric.name: (metric.unit, list(metric.data.data_points)) for metric in metrics}


async def test_the_sdk_collects_what_was_charged_without_users_or_made_up_models(
    make_meter: MakeMeter, key: str
) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    meter = make_meter(meter_provider=provider)
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    known = await call(app, request(), key=key)
    await call(app, request(model="made-up-by-a-client"), key=key)
    collected = _collected(reader)
    provider.shutdown()

    unit, points = collected["headwater.requests"]
    assert unit == "{request}"
    assert {(point.attributes["model"], point.value) for point in points} == {("llama-3.1-70b", 1), ("other", 1)}
    unit, points = collected["headwater.energy"]
    assert (unit, len(points)) == ("J", 1)
    assert points[0].value == pytest.approx(known.json["usage"]["footprint"]["energy_j"], rel=5e-4)
    unit, points = collected["headwater.water"]
    assert unit == "L"
    assert {point.attributes["headwater.water.kind"] for point in points} == {"onsite", "offsite"}
    assert collected["headwater.emissions"][0] == "g"
    text = str(collected)
    assert key not in text
    assert "made-up" not in text


def test_failures_are_counted_by_kind_and_kinds_are_bounded() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    telemetry = Telemetry("0", provider)

    for number in range(150):
        telemetry.failed(f"Kind{number}")
    again = telemetry.failed("Kind1")
    points = _collected(reader)["headwater.failures"][1]
    provider.shutdown()

    assert again == 2
    assert telemetry.failures_count == 151
    assert len(points) == 101
    assert {point.attributes["error.type"]: point.value for point in points}["other"] == 50
