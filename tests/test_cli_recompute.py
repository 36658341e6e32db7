"""`headwater recompute` as a user meets it: one account in three formats, exit codes, and a ledger that stays as it is."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest

from headwater import catalog
from headwater.ledger.connection import connect
from headwater.ledger.embedded import Embedded
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from tests.asgi import call, json_app, reply, request
from tests.command import run

SEED_REQUEST_J = 4 * 3_600
SEED = ("recompute", "--factors", "seed-2023")


async def _charged(meter: Meter, key: str) -> str:
    """The user that two requests were charged to."""
    for _ in range(2):
        await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key)
    assert meter.ledger.flush(10.0)
    return meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})


async def test_a_month_is_printed_as_table_csv_and_json_of_the_same_account(
    meter: Meter, key: str, data_dir: Path
) -> None:
    user = await _charged(meter, key)
    where = {"HEADWATER_DATA_DIR": str(data_dir)}

    table = run(*SEED, **where)
    as_csv = run(*SEED, "--month", meter.month(), "--format", "csv", **where)
    as_json = run(*SEED, "--format", "json", **where)

    assert (table.returncode, as_csv.returncode, as_json.returncode) == (0, 0, 0), table.stderr + as_json.stderr
    assert table.stderr == as_csv.stderr == as_json.stderr == ""
    assert f"Usage statement {meter.month()} (UTC), recomputed under another factor set" in table.stdout
    assert f"seed-2023 ({catalog.factor_set('seed-2023').document_hash}), hydro=exclude" in table.stdout
    assert user in table.stdout
    row = next(row for row in csv.DictReader(io.StringIO(as_csv.stdout)) if row["user"] == user)
    other = next(row for row in json.loads(as_json.stdout)["rows"] if row["user"] == user)
    assert (row["requests"], other["charged"]["requests"]) == ("2", 2)
    assert Decimal(row["recomputed_energy_j"]) == Decimal(other["recomputed"]["energy_j"]) == 2 * SEED_REQUEST_J
    assert row["charged_energy_j"] == other["charged"]["energy_j"]
    assert Decimal(row["charged_energy_j"]) not in (0, 2 * SEED_REQUEST_J)


async def test_what_was_charged_is_what_the_report_says(meter: Meter, key: str, data_dir: Path) -> None:
    await _charged(meter, key)
    where = {"HEADWATER_DATA_DIR": str(data_dir)}

    report = json.loads(run("report", "--format", "json", **where).stdout)
    same = json.loads(run("recompute", "--factors", "current-2026.11", "--format", "json", **where).stdout)

    assert same["total"]["charged"] == report["total"]
    assert {row["user"] for row in same["rows"]} == {row["user"] for row in report["rows"]}


async def test_the_ledger_stays_as_it_is(meter: Meter, key: str, data_dir: Path) -> None:
    await _charged(meter, key)
    with connect(Embedded(data_dir).endpoint, 5.0) as client:
        # What workers say of each other comes and goes by itself, whoever looks.
        names = {name for name in client.keys("*") if not name.startswith(b"hw2:load:")}
        before = {name: client.dump(name) for name in names}

        done = run(*SEED, HEADWATER_DATA_DIR=str(data_dir))

        assert done.returncode == 0, done.stderr
        assert {name for name in client.keys("*") if not name.startswith(b"hw2:load:")} == names
        assert {name: client.dump(name) for name in names} == before


async def test_reservoirs_are_left_out_where_that_is_asked_for(meter: Meter, key: str, data_dir: Path) -> None:
    await _charged(meter, key)

    done = run(
        *("recompute", "--factors", "current-2026.11", "--hydro", "exclude", "--format", "json"),
        HEADWATER_DATA_DIR=str(data_dir),
    )

    document = json.loads(done.stdout)
    assert document["recomputed_under"]["hydro"] == "exclude"
    total = document["total"]
    assert Decimal(total["recomputed"]["water_offsite_ml"]) < Decimal(total["charged"]["water_offsite_ml"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--factors", "seed"], "'seed' is not in the catalog of factor_sets; close or known: seed-2023"),
        (["--factors", "seed-2023", "--month", "november"], "month 'november' is not of the form YYYY-MM"),
        (["--factors", "seed-2023", "--hydro", "maybe"], "'maybe' is not one of 'include', 'exclude'"),
        (["--month", "2026-11"], "--factors"),
    ],
)
def test_a_command_that_cannot_be_run_as_given_says_why(
    meter: Meter, data_dir: Path, arguments: list[str], words: str
) -> None:
    done = run("recompute", *arguments, HEADWATER_DATA_DIR=str(data_dir))

    assert meter.ledger is not None
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_a_ledger_is_the_stores_fault(tmp_path: Path) -> None:
    done = run(*SEED, HEADWATER_DATA_DIR=str(tmp_path))

    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no ledger" in done.stderr
