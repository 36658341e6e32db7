"""The same request at noon and at night: equal energy, other water and carbon, and a receipt that derives them again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from headwater import Hour, catalog, config
from headwater.errors import ConfigError
from headwater.hours import moment_s
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.receipts import receipt
from headwater.records import Charge
from headwater.units import MICROGRAMS_PER_G, NANOLITRES_PER_UL
from tests.asgi import STREAM_WITH_USAGE, Seen, call, content, dictionary, json_app, reply, request, stream_app
from tests.conftest import MakeMeter
from tests.places import figure, shares, tower

NOON_S = moment_s("2026-07-01T12:30Z")
NIGHT_S = moment_s("2026-07-01T00:30Z")
SERIES = """time,grid_g_per_kwh,wet_bulb_c
2026-07-01T00:00Z,500,5
2026-07-01T12:00Z,100,25
2026-07-01T13:00Z,,26
2026-07-01T14:00Z,90,
"""
TOWER_SITE: dict[str, Any] = {"name": "desert", "like": "us-average", "wue_method": "tower", "tower": "test-tower"}


TOWER = tower(evaporated=shares((0.0, 0.6), (30.0, 0.9)), cycles_count=figure(4.0, 3.0, 6.0, unit="count"))


class Clock:
    """A wall clock that stands where a test puts it, and durations of one second each."""

    def __init__(self) -> None:
        self.now_s = NOON_S
        self._seconds: Iterator[int] = count()

    def wall_s(self) -> float:
        return self.now_s

    def clock_s(self) -> float:
        return float(next(self._seconds))


@pytest.fixture
def clock() -> Clock:
    """The time of day."""
    return Clock()


@pytest.fixture
def house(make_meter: MakeMeter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> MakeMeter:
    """A meter with one deployment at a site of its own, which has a tower."""
    monkeypatch.setattr(catalog, "tower", {"test-tower": TOWER}.__getitem__)
    (tmp_path / "hours.csv").write_text(SERIES, encoding="utf-8")

    def made(*, asked: Any = None, **site: Any) -> Meter:
        given = {"wall_s": clock.wall_s, "clock_s": clock.clock_s, "hours": asked}
        gpus = {"hardware": "hgx-h100", "engine": "vllm-0.11", "accelerators": 4, "precision": "fp8"}
        settings = {"deployment": [{**gpus, "site": "desert"}], "site": [{**TOWER_SITE, **site}]}
        return make_meter(**settings, **given)

    return made


@pytest.fixture
def series(tmp_path: Path) -> str:
    """The file of the series."""
    return str(tmp_path / "hours.csv")


async def _charge(meter: Meter, seen: Seen) -> Charge:
    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    found = meter.ledger.reader().receipt(seen.headers["headwater-id"])
    assert found is not None
    return found


async def _at(meter: Meter, clock: Clock, time_s: float, key: str) -> tuple[Charge, Seen]:
    clock.now_s = time_s
    seen = await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key)
    return await _charge(meter, seen), seen


def _hour(charge: Charge) -> tuple[float | None, float | None]:
    return charge.observation.grid_g_per_kwh, charge.observation.wet_bulb_c


async def test_the_same_request_at_noon_and_at_night_differs_in_water_and_carbon_and_not_in_energy(
    house: MakeMeter, series: str, clock: Clock, key: str
) -> None:
    meter = house(hours=series)

    noon, _ = await _at(meter, clock, NOON_S, key)
    night, _ = await _at(meter, clock, NIGHT_S, key)

    assert (_hour(noon), _hour(night)) == ((100.0, 25.0), (500.0, 5.0))
    assert noon.amounts is not None
    assert night.amounts is not None
    assert noon.amounts.it_microjoules == night.amounts.it_microjoules > 0
    assert noon.amounts.energy_microjoules == night.amounts.energy_microjoules
    assert noon.amounts.offsite_nanolitres == night.amounts.offsite_nanolitres
    assert night.amounts.carbon_micrograms == pytest.approx(5 * noon.amounts.carbon_micrograms, rel=1e-2)
    assert noon.amounts.onsite_nanolitres > 1.2 * night.amounts.onsite_nanolitres > 0
    assert noon.deployment_hash == night.deployment_hash


@pytest.mark.parametrize("time_s", [NOON_S, NIGHT_S])
async def test_header_body_charge_and_receipt_of_an_hour_are_equal(
    house: MakeMeter, series: str, clock: Clock, key: str, time_s: float
) -> None:
    meter = house(hours=series)

    charge, seen = await _at(meter, clock, time_s, key)

    header, folded = dictionary(seen.headers["headwater-footprint"]), seen.json["usage"]["footprint"]
    document = receipt(charge, meter.ledger.reader().document(charge.deployment_hash))
    charged, steps = document["charged"], {step["name"]: step for step in document["derivation"]}
    assert document["derivation_agrees"] is True
    assert (document["observed"]["grid_g_per_kwh"], document["observed"]["wet_bulb_c"]) == _hour(charge)
    assert steps["grid_g_per_kwh"]["value"] == charge.observation.grid_g_per_kwh
    assert steps["wet_bulb_c"]["value"] == charge.observation.wet_bulb_c
    assert "of the hour of the request" in steps["grid_g_per_kwh"]["source"]
    assert steps["carbon_g"]["value"] == pytest.approx(charged["carbon_g"], abs=1 / MICROGRAMS_PER_G)
    assert steps["onsite_l"]["value"] * 1e6 == pytest.approx(charged["water_onsite_ul"], abs=1 / NANOLITRES_PER_UL)
    assert header["water_ul"][0] == folded["water_ul"] == pytest.approx(charged["water_ul"], rel=5e-3)
    assert folded["own"] == ["wue", "hours"]


async def test_where_the_series_knows_nothing_the_annual_figures_hold_and_the_receipt_says_so(
    house: MakeMeter, series: str, clock: Clock, key: str
) -> None:
    meter = house(hours=series)
    plain = house()

    (behind, seen), (without, _) = await _at(meter, clock, NOON_S + 9e6, key), await _at(plain, clock, NOON_S, key)

    assert _hour(behind) == _hour(without) == (None, None)
    assert behind.amounts == without.amounts
    assert seen.json["usage"]["footprint"]["own"] == ["wue"]
    steps = receipt(behind, meter.ledger.reader().document(behind.deployment_hash))["derivation"]
    assert any("annual, whatever the hour was" in step["source"] for step in steps)


async def test_each_figure_is_known_or_not_by_itself(house: MakeMeter, series: str, clock: Clock, key: str) -> None:
    meter = house(hours=series)

    wet_only, _ = await _at(meter, clock, NOON_S + 3_600, key)
    grid_only, _ = await _at(meter, clock, NOON_S + 7_200, key)

    assert (_hour(wet_only), _hour(grid_only)) == ((None, 26.0), (90.0, None))


async def test_a_temperature_that_no_water_hangs_on_changes_nothing_and_is_not_named(
    house: MakeMeter, series: str, clock: Clock, key: str
) -> None:
    meter = house(hours=series, wue_method="reported", tower=None)

    _, noon = await _at(meter, clock, NOON_S + 3_600, key)
    _, night = await _at(meter, clock, NOON_S + 9e6, key)

    assert noon.json["usage"]["footprint"]["own"] == ["wue"]
    assert noon.json["usage"]["footprint"]["water_ul"] == night.json["usage"]["footprint"]["water_ul"]


async def test_a_repeated_series_stands_for_the_same_hour_of_another_year(
    house: MakeMeter, series: str, clock: Clock, key: str
) -> None:
    meter = house(hours=series, hours_repeat=True)

    charge, _ = await _at(meter, clock, moment_s("2028-07-01T12:59:59Z"), key)

    assert _hour(charge) == (100.0, 25.0)


async def test_a_stream_is_charged_by_the_hour_in_which_it_ended(
    house: MakeMeter, series: str, clock: Clock, key: str
) -> None:
    meter = house(hours=series)
    clock.now_s = moment_s("2026-07-01T00:59:59Z")

    def passes(number: int) -> None:
        if number == 1:
            clock.now_s = NOON_S

    app = FootprintMiddleware(stream_app([content("Hi"), *STREAM_WITH_USAGE], after=passes), meter=meter)
    charge = await _charge(meter, await call(app, request(stream=True), key=key))

    assert _hour(charge) == (100.0, 25.0)
    assert charge.ended_ms == NOON_S * 1000


async def test_what_is_noted_along_the_way_has_the_hour_of_the_note(
    house: MakeMeter, series: str, clock: Clock, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = house(hours=series)
    noted: list[Charge] = []
    monkeypatch.setattr(meter.ledger, "provisional", noted.append)
    app = FootprintMiddleware(stream_app(STREAM_WITH_USAGE), meter=meter)

    await call(app, request(stream=True), key=key)

    assert [_hour(charge) for charge in noted] == [(None, None), (100.0, 25.0)]


# --- the callable


async def test_a_callable_overrules_the_file_and_is_asked_once_per_site_and_hour(
    house: MakeMeter, series: str, clock: Clock, key: str
) -> None:
    asked: list[tuple[str, float]] = []

    def hours(site: str, time_s: float) -> Hour:
        asked.append((site, time_s))
        return Hour(grid_g_per_kwh=10 * len(asked))

    meter = house(asked=hours, hours=series)

    charges = [(await _at(meter, clock, NOON_S + later_s, key))[0] for later_s in (0, 60, 1_799, 1_800)]

    assert [_hour(charge) for charge in charges] == [(10.0, 25.0)] * 3 + [(20.0, 26.0)]
    assert asked == [("desert", NOON_S), ("desert", NOON_S + 1_800)]
    document = receipt(charges[0], meter.ledger.reader().document(charges[0].deployment_hash))
    assert document["derivation_agrees"] is True


async def test_a_callable_alone_is_enough_and_is_named_as_the_operators_own(
    house: MakeMeter, clock: Clock, key: str
) -> None:
    charge, seen = await _at(house(asked=lambda site, time_s: Hour(grid_g_per_kwh=42)), clock, NOON_S, key)

    assert _hour(charge) == (42.0, None)
    assert seen.json["usage"]["footprint"]["own"] == ["wue", "hours"]


def _fails(site: str, time_s: float) -> Hour:
    raise LookupError("a secret")


@pytest.mark.parametrize(
    ("hours", "kind", "words"),
    [
        (_fails, "LookupError", "details are left out"),
        (lambda site, time_s: 200.0, "ConfigError", "return a headwater.Hour"),
        (lambda site, time_s: Hour(wet_bulb_c=1e3), "ConfigError", "wet_bulb_c 1000.0, which is not between"),
    ],
)
async def test_a_callable_that_fails_is_counted_and_logged_and_the_reply_goes_on_with_annual_figures(
    house: MakeMeter, clock: Clock, key: str, caplog: pytest.LogCaptureFixture, hours: Any, kind: str, words: str
) -> None:
    meter, plain = house(asked=hours), house()

    with caplog.at_level(logging.ERROR, "headwater"):
        charge, seen = await _at(meter, clock, NOON_S, key)
        await _at(meter, clock, NOON_S + 1, key)

    assert seen.status == 200
    assert _hour(charge) == (None, None)
    assert charge.amounts == (await _at(plain, clock, NOON_S, key))[0].amounts
    assert meter.telemetry.failures_count == 1
    assert f"{kind}: " in caplog.text
    assert words in caplog.text
    assert "a secret" not in caplog.text


async def test_a_model_that_nobody_knows_has_no_site_to_ask_for(house: MakeMeter, clock: Clock, key: str) -> None:
    meter = house(asked=_fails)

    await call(FootprintMiddleware(json_app(reply()), meter=meter), request(model="who"), key=key)

    assert meter.telemetry.failures_count == 0


async def _waits(site: str, time_s: float) -> Hour:
    return Hour()


@pytest.mark.parametrize("hours", [_waits, "hours.csv"])
async def test_what_cannot_return_at_once_stops_the_start(hours: Any, data_dir: Path) -> None:
    app = FootprintMiddleware(json_app(reply()), {"ledger": {"data_dir": str(data_dir)}}, hours=hours)

    assert "hours must be a plain function" in (await _start(app))["message"]


# --- the start


async def _start(app: FootprintMiddleware) -> Message:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    return sent[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,grid_g_per_kwh\n2026-07-01T12:00,1\n", ["line 2: '2026-07-01T12:00' has no time zone", "add Z"]),
        (None, ["cannot read the series of hours", "No such file", "correct its name"]),
    ],
)
async def test_a_series_that_cannot_be_read_stops_the_start_with_file_line_and_remedy(
    tmp_path: Path, text: str | None, words: list[str]
) -> None:
    if text is not None:
        (tmp_path / "grid.csv").write_text(text, encoding="utf-8")
    path = tmp_path / "headwater.toml"
    path.write_text(
        f'[ledger]\ndata_dir = "{tmp_path}"\n[[site]]\nname = "us-average"\nhours = "grid.csv"\n', encoding="utf-8"
    )

    answer = await _start(FootprintMiddleware(json_app(reply()), path))

    assert answer["type"] == "lifespan.startup.failed"
    for word in [f"{path}: line 5, [[site]] number 1, hours: ", str(tmp_path / "grid.csv"), *words]:
        assert word in answer["message"]
    with pytest.raises(ConfigError, match=r"grid\.csv"):
        Meter(config.load(path, environment={}))


def test_a_series_that_has_ended_is_said_at_start(
    house: MakeMeter, series: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now_s = NOON_S + 9e6

    with caplog.at_level(logging.WARNING, "headwater"):
        house(hours=series)
        house(hours=series, hours_repeat=True)
        clock.now_s = NOON_S
        house(hours=series)

    (said,) = [record.message for record in caplog.records if "the hours of site" in record.message]
    assert "the hours of site desert end on 2026-07-01" in said
    assert "hours_repeat" in said
