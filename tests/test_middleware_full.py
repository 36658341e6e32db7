"""What clients see while the journal of their charges is full, and what becomes of the charges."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from headwater import config
from headwater.errors import ConfigError
from headwater.ledger import Reader
from headwater.ledger.losses import losses
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from tests.asgi import STREAM_WITH_USAGE, Seen, call, json_app, reply, request, stream_app
from tests.conftest import MakeMeter
from tests.ledger.support import Server, charge, eventually


@pytest.fixture
def server() -> Iterator[Server]:
    """A store that is away until it is started."""
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        server = Server(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def make_full(make_meter: MakeMeter, server: Server, tmp_path: Path) -> Iterator[Any]:
    """Makes a meter whose journal is full of other charges, and says how many there are."""

    def make(when_full: str, **sections: Any) -> tuple[Meter, int]:
        ledger = {
            "data_dir": str(tmp_path), "redis_url": server.url, "journal_bytes": 1 << 20, "when_full": when_full,
        }  # fmt: skip
        meter = make_meter(ledger=ledger, **sections)
        count = 0
        journal = meter.ledger._writable()
        while not journal.is_full:
            meter.ledger.charge(charge(count, model="m" * 250, site="s" * 250, reason="r" * 250))
            count += 1
        made.append(meter)
        return meter, count

    made: list[Meter] = []
    yield make
    for meter in made:
        meter.ledger.close(timeout_s=0.05)


def _charged(server: Server, meter: Meter, tmp_path: Path, count: int) -> None:
    """The store comes back and gets a number of charges."""
    server.start()
    eventually(lambda: not meter.ledger._writable().is_full)
    assert meter.ledger.flush(10)
    with Reader.open(data_dir=tmp_path, redis_url=server.url) as reader:
        assert len(list(reader.ledger_entries())) == count


async def test_by_default_replies_go_on_and_their_charges_are_lost_and_counted(
    make_full: Any, server: Server, tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = InMemoryMetricReader()
    provider = MeterProvider([metrics])
    meter, count = make_full("count", meter_provider=provider)

    one = await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key)
    two = await call(FootprintMiddleware(stream_app(STREAM_WITH_USAGE), meter=meter), request(stream=True), key=key)

    assert one.status == two.status == 200
    assert one.json["usage"]["footprint"]["energy_j"] > 0
    assert "energy" in one.headers["headwater-footprint"]
    assert b"footprint" in two.body
    stats = meter.ledger.stats
    assert (stats.lost, stats.refused, meter.telemetry.failures_count) == (2, 0, 0)
    (lost,) = losses(tmp_path)
    assert (lost.charges_count, lost.input_tokens, lost.energy_microjoules) == (2, 50, stats.lost_energy_microjoules)
    assert caplog.text.count("charges are lost") == 1
    collected = _collected(metrics)
    provider.shutdown()
    assert collected["headwater.lost_charges"] == 2
    assert collected["headwater.lost_energy"] == pytest.approx(stats.lost_energy_microjoules / 1e6)
    assert collected["headwater.refused_requests"] == 0
    assert collected["headwater.requests"] == 0  # charged ones

    _charged(server, meter, tmp_path, count)
    await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key)
    assert stats.lost == 2
    assert stats.journalled == count + 1


def _collected(reader: InMemoryMetricReader) -> dict[str, float]:
    data = reader.get_metrics_data()
    assert data is not None
    found: dict[str, float] = {"headwater.requests": 0}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            assert isinstance(point, NumberDataPoint)
            found[metric.name] = found.get(metric.name, 0) + point.value
    return found


async def test_where_it_is_wanted_new_requests_are_turned_away_and_admitted_ones_are_charged(
    make_full: Any, server: Server, tmp_path: Path, key: str
) -> None:
    meter, count = make_full("refuse")
    journal = meter.ledger._writable()
    app = FootprintMiddleware(json_app(reply()), meter=meter)
    journal._full_at += 1_000  # one is let in
    refusals: list[Seen] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        journal._set_bounds()
        refusals.append(await call(app, request(), key=key))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": reply()})

    admitted = await call(FootprintMiddleware(slow, meter=meter), request(), key=key)

    (refused,) = refusals
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["content-type"] == "application/json"
    assert refused.json["error"]["code"] == "ledger_full"
    assert "no room left" in refused.json["error"]["message"]
    assert admitted.status == 200
    assert admitted.json["usage"]["footprint"]["energy_j"] > 0
    assert meter.ledger.stats.refused == 1
    assert (meter.ledger.stats.lost, meter.ledger.stats.journalled) == (0, count + 1)

    _charged(server, meter, tmp_path, count + 1)
    assert (await call(app, request(), key=key)).status == 200


async def test_the_app_does_not_see_a_request_that_is_turned_away(make_full: Any, key: str) -> None:
    meter, _ = make_full("refuse")
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await json_app(b"{}")(scope, receive, send)

    wrapped = FootprintMiddleware(app, meter=meter)
    refused = await call(wrapped, request(), key=key)
    own = await call(wrapped, b"", path="/health", method="GET", key=key)
    earlier = await call(wrapped, b"", path="/v1/responses/resp_1", method="GET", key=key)

    assert [each.status for each in (refused, own, earlier)] == [503, 200, 200]
    assert seen == ["/health", "/v1/responses/resp_1"]


@pytest.mark.parametrize("ledger", [{"journal_bytes": 1_000}, {"when_full": "ignore"}])
def test_settings_without_sense_are_refused_with_their_name(ledger: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(ledger))):
        config.load({"ledger": ledger}, environment={})
