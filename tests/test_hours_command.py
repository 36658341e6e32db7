"""Series of hours on the command line: an estimate at a moment, and a gateway that does not start with a bad one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headwater import catalog
from headwater.cases import Case
from headwater.cli import app
from headwater.records import Footprint

ASKED = ("estimate", "llama-3.1-70b", "--input", "800", "--output", "300")
SERIES = "time,grid_g_per_kwh,wet_bulb_c\n2026-07-01T00:00Z,500,\n2026-07-01T12:00Z,100,25\n2026-07-01T13:00Z,,\n"


@pytest.fixture
def series(tmp_path: Path) -> str:
    """A series in a file."""
    path = tmp_path / "hours.csv"
    path.write_text(SERIES, encoding="utf-8")
    return str(path)


def run(*arguments: str) -> Any:
    """Run `headwater` in this process."""
    return CliRunner().invoke(app, arguments)


def _estimated(*arguments: str) -> dict[str, Any]:
    done = run(*ASKED, "--json", *arguments)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)["estimates"][0]
    return found


def test_the_same_request_at_noon_and_at_night_differs_in_carbon_and_not_in_energy(series: str) -> None:
    night = _estimated("--hours", series, "--at", "2026-07-01T00:59:59Z")
    noon = _estimated("--hours", series, "--at", "2026-07-01T14:30+02:00")
    annual = _estimated()

    assert (night["grid_g_per_kwh"], noon["grid_g_per_kwh"], annual["grid_g_per_kwh"]) == (500, 100, None)
    assert (night["wet_bulb_c"], noon["wet_bulb_c"]) == (None, 25)
    assert night["energy_j"] == noon["energy_j"] == annual["energy_j"]
    assert night["carbon_g"] == pytest.approx(5 * noon["carbon_g"])


def test_the_table_and_the_steps_name_the_hour(series: str) -> None:
    done = run(*ASKED, "--hours", series, "--at", "2026-07-01T12:00Z", "--steps")

    assert (
        "site        us-average (grid usa); in that hour 100 g CO2e per kWh and wet bulb 25 degrees Celsius"
        in done.output
    )
    assert "of the hour of the request, from the operator's series" in done.output
    assert "PUE * grid (of the hour)" in done.output


def test_a_figure_of_the_hour_that_has_no_part_in_the_answer_is_told(series: str) -> None:
    hour = ("--hours", series, "--at", "2026-07-01T12:00Z")

    assert "us-average: the wet bulb of the hour has no part" in _estimated(*hour)["warnings"][0]
    assert _estimated("--hours", series, "--at", "2026-07-01T00:00Z")["warnings"] == []
    assert "the wet bulb of the hour has no part" in _estimated(*hour, "--factors", "seed-2023")["warnings"][0]


def test_a_factor_set_with_carbon_of_its_own_keeps_it_and_that_is_told() -> None:
    usual = catalog.factor_set(catalog.CURRENT_FACTORS)
    own = replace(usual, carbon_g_per_kwh=catalog.grid("world").carbon_g_per_kwh)
    annual, hourly = (
        Case(model="llama-3.1-70b", input_tokens=800, output_tokens=300, factors=own, grid_g_per_kwh=grid_g_per_kwh)
        for grid_g_per_kwh in (None, 100.0)
    )

    assert annual.warnings() == ()
    assert hourly.warnings() == (
        f"{own.name}: the carbon of the hour has no part in the answer: the factor set has its own",
    )
    assert hourly.footprint() == annual.footprint()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--at", "2026-07-01T12:00Z"), ["--at (2026-07-01T12:00Z)", "--hours FILE"]),
        (("--hours", "SERIES"), ["--hours (", "--at 2026-07-01T12:00Z"]),
        (("--hours", "SERIES", "--at", "2026-07-01T12:00"), ["--at '2026-07-01T12:00' has no time zone", "add Z"]),
        (("--hours", "SERIES", "--at", "noon"), ["--at 'noon' is no time"]),
        (
            ("--hours", "SERIES", "--at", "2027-07-01T12:00Z"),
            ["says nothing of that hour", "from 2026-07-01T00:00Z to 2026-07-01T14:00Z", "annual"],
        ),
        (("--hours", "SERIES", "--at", "2026-07-01T13:00Z"), ["says nothing of that hour"]),
        (("--hours", "nowhere.csv", "--at", "2026-07-01T13:00Z"), ["cannot read the series of hours nowhere.csv"]),
    ],
)
def test_what_cannot_be_looked_up_is_explained(series: str, options: tuple[str, ...], words: list[str]) -> None:
    done = run(*ASKED, *(series if option == "SERIES" else option for option in options))

    assert done.exit_code == 2
    for word in words:
        assert word in done.stderr


def test_a_gateway_does_not_start_with_a_series_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "hours.csv").write_text("time,wet_bulb_c\n2026-07-01T12:00Z,99\n", encoding="utf-8")
    path = tmp_path / "headwater.toml"
    path.write_text(f'[ledger]\ndata_dir = "{tmp_path}"\n[[site]]\nname = "us-average"\nhours = "hours.csv"\n')

    done = run("serve", "--upstream", "http://127.0.0.1:1", "--config", str(path))

    assert done.exit_code == 2
    assert (
        f"{path}: line 5, [[site]] number 1, hours: {tmp_path / 'hours.csv'}, line 2, wet_bulb_c: '99'" in done.stderr
    )


def test_no_carbon_at_all_is_a_figure_too() -> None:
    found = Case(model="llama-3.1-70b", input_tokens=800, output_tokens=300, grid_g_per_kwh=0).footprint()

    assert isinstance(found, Footprint)
    assert found.carbon_g == 0
    assert found.own == ("hours",)
    assert found.facility_j > 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"grid_g_per_kwh": -1}, "grid_g_per_kwh must be at least 0, not -1"),
        ({"grid_g_per_kwh": 385_000}, "grid_g_per_kwh must be at most 10000"),
        ({"wet_bulb_c": -61}, "wet_bulb_c must be at least -60 degrees Celsius, not -61"),
        ({"wet_bulb_c": 61}, "wet_bulb_c must be at most 60"),
        ({"wet_bulb_c": float("nan")}, "wet_bulb_c must be a finite number"),
    ],
)
def test_an_hour_that_cannot_have_been_is_refused(given: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Case(model="llama-3.1-70b", input_tokens=800, output_tokens=300, **given)  # type: ignore[arg-type]
