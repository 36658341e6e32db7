"""Prices are the operator's secret: commands show costs, replies and receipts over HTTP only where the settings say so."""

from __future__ import annotations

import csv
import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.units import MICROJOULES_PER_KWH
from tests.asgi import Seen, call, json_app, reply, request
from tests.command import run
from tests.conftest import MakeMeter

TARIFF: dict[str, Any] = {
    "currency": "EUR",
    "electricity_per_kwh": "0.21",
    "water_per_m3": 3.2,
    "servers": {"hgx-h100": 250_000},
}


async def _charged(meter: Meter, key: str) -> tuple[FootprintMiddleware, Seen]:
    app = FootprintMiddleware(json_app(reply()), meter=meter)
    seen = await call(app, request(), key=key)
    assert meter.ledger.flush(10.0)
    return app, seen


async def _receipt(app: FootprintMiddleware, seen: Seen, key: str) -> Any:
    return (
        await call(app, path=f"/.well-known/headwater/requests/{seen.headers['headwater-id']}", method="GET", key=key)
    ).json


async def test_a_receipt_over_http_keeps_the_prices_to_itself(make_meter: MakeMeter, key: str) -> None:
    app, seen = await _charged(make_meter(tariff=[TARIFF]), key)

    receipt = await _receipt(app, seen, key)

    assert receipt["cost"] is None
    assert "EUR" not in json.dumps(receipt) + seen.body.decode() + str(seen.headers)


async def test_it_shows_them_where_the_operator_says_so(make_meter: MakeMeter, key: str) -> None:
    app, seen = await _charged(make_meter(tariff=[TARIFF], disclosure={"cost": True}), key)

    receipt = await _receipt(app, seen, key)

    shown = receipt["cost"]
    assert (shown["currency"], shown["valid_from"]) == ("EUR", None)
    microjoules = round(receipt["charged"]["energy_j"] * 1e6)
    assert Fraction(shown["electricity"]) == pytest.approx(
        Fraction("0.21") * microjoules / MICROJOULES_PER_KWH, abs=1e-18
    )
    assert "EUR" not in seen.body.decode() + str(seen.headers)


async def test_without_a_tariff_there_is_no_cost_to_show(make_meter: MakeMeter, key: str) -> None:
    app, seen = await _charged(make_meter(disclosure={"cost": True}), key)

    assert (await _receipt(app, seen, key))["cost"] is None


async def test_the_commands_show_the_operator_what_a_request_and_an_account_cost(
    make_meter: MakeMeter, key: str, data_dir: Path, tmp_path: Path
) -> None:
    meter = make_meter()
    _, seen = await _charged(meter, key)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})
    path = tmp_path / "headwater.toml"
    path.write_text(
        f'[ledger]\ndata_dir = "{data_dir}"\n'
        '[[tariff]]\nvalid_from = 2026-01-01\ncurrency = "EUR"\nelectricity_per_kwh = 0.21\nwater_per_m3 = 3.2\n'
        "servers = { hgx-h100 = 250000 }\n"
    )
    settings = ("--config", str(path))

    explained = run("explain", seen.headers["headwater-id"], *settings)
    as_json = run("explain", seen.headers["headwater-id"], "--json", *settings)
    table = run("report", *settings)
    as_csv = run("report", "--format", "csv", *settings)
    plain = run("report", "--no-cost", *settings)

    assert {each.returncode for each in (explained, as_json, table, as_csv, plain)} == {0}, (
        explained.stderr + table.stderr
    )
    assert "EUR; by the tariff from 2026-01-01 on" in explained.stdout
    assert "    server      " in explained.stdout
    cost = json.loads(as_json.stdout)["cost"]
    row = next(row for row in csv.DictReader(io.StringIO(as_csv.stdout)) if row["user"] == user)
    for part in ("electricity", "water", "server", "total"):
        assert row[f"cost_{part}"] == cost[part]
    assert Fraction(cost["total"]) > 0
    assert "cost EUR" in table.stdout
    assert "EUR" not in plain.stdout


def test_a_tariff_that_cannot_be_used_stops_the_commands_too(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "headwater.toml"
    path.write_text('[[tariff]]\ncurrency = "EUR"\nservers = { hgx-h1000 = 1 }\n')

    for command in (
        ("report",),
        ("explain", "01K9Z3M6V9R2W0Y8C4S1T7B5QH"),
        ("serve", "--upstream", "http://127.0.0.1:9"),
    ):
        done = run(*command, "--config", str(path), HEADWATER_DATA_DIR=str(data_dir))

        assert done.returncode == 2
        assert "line 3, [[tariff]] number 1, servers, hgx-h1000" in done.stderr
        assert "hgx-h100" in done.stderr
