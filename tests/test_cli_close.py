"""`headwater close` and reports of closed months as a user meets them: real processes, on a store of the test's own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headwater.cli import app
from headwater.cli.report import HELD_CHARACTERS, held_back
from headwater.ledger import schema
from headwater.ledger.closer import Closer
from headwater.ledger.redis import Store
from tests.command import run_process as run
from tests.ledger.support import ADA, BOB, KEY, Server, charge, ship, unlink, write

NOW_S = 1_795_910_400.0  # 2026-11-29 00:00 UTC
OCTOBER_MS = 1_792_065_600_000  # 2026-10-15 12:00 UTC
Headwater = Callable[..., Result]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    server.command("FLUSHALL")
    store = Store(server.url)
    store.check(KEY)
    yield store
    store.close()


@pytest.fixture
def headwater(server: Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Headwater:
    """The command line in this process, on this store, at a fixed time."""
    some = [charge(n, user=user, ended_ms=OCTOBER_MS) for n, user in enumerate((ADA, BOB, BOB))]
    ship(write(tmp_path / "charged", some), store)
    monkeypatch.setenv("HEADWATER_REDIS_URL", server.url)
    monkeypatch.setenv("HEADWATER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("time.time", lambda: NOW_S)
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_a_month_is_closed_listed_verified_and_printed(headwater: Headwater, store: Store) -> None:
    assert headwater("close", "--list").stdout == "no month is closed\n"

    done = headwater("close", "2026-10")

    assert done.exit_code == 0, done.stderr
    assert "2026-10  closed on 2026-11-29 00:00 UTC: 2 statements, 3 requests\n" in done.stdout
    assert headwater("close", "2026-10").stdout == headwater("close", "--list").stdout == done.stdout
    (listed,) = json.loads(headwater("close", "--list", "--json").stdout)
    assert (listed["month"], listed["number"], listed["statements"], listed["corrects"]) == ("2026-10", 1, 2, [])
    assert f"sha256 {listed['sha256']}\n" in done.stdout
    assert "verified: 2 rows give this hash\n" in headwater("close", "--verify", "2026-10").stdout
    unlink(store, ADA)
    assert "give this hash; 1 links to users are erased" in headwater("close", "--verify").stdout
    assert json.loads(headwater("close", "--verify", "--json").stdout)[0]["erased_links"] == 1
    text = headwater("report", "--month", "2026-10").stdout
    assert "closed on 2026-11-29 00:00 UTC, statements 2026-10-000001 to 2026-10-000002" in text
    assert f"sha256 {listed['sha256']}" in text
    assert "(erased)" in text
    assert ADA in headwater("report", "--month", "2026-10", "--live").stdout


def test_a_closed_month_is_printed_to_the_byte_and_what_came_late_told_beside_it(
    headwater: Headwater, store: Store, tmp_path: Path
) -> None:
    headwater("close", "2026-10")
    before = [headwater("report", "--month", "2026-10", "--format", each) for each in ("csv", "json")]
    ship(write(tmp_path / "late", [charge(9, ended_ms=OCTOBER_MS)], journal_id="late"), store)

    after = [headwater("report", "--month", "2026-10", "--format", each) for each in ("csv", "json")]

    assert [done.stdout for done in after] == [done.stdout for done in before]
    assert [done.stderr for done in before] == ["", ""]
    for done in after:
        assert done.stderr.startswith("headwater: 1 requests of 2026-10 were charged after it was closed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a month to close, like 2026-10, or say --list"),
        (["2026-10", "--list"], "name a month to close, like 2026-10, or say --list"),
        (["--list", "--verify"], "--list and --verify are two things; say one of them"),
        (["2026-1"], "month '2026-1' is not of the form YYYY-MM, like 2026-11"),
        (["2026-11"], "2026-11 can be closed from 2026-12-04 00:00 UTC on: charges of the month may come for 72 hours"),
        (["--verify", "2026-09"], "2026-09 is not closed; headwater close --list names the months that are"),
    ],
)
def test_what_cannot_be_closed_is_refused_in_words(headwater: Headwater, arguments: list[str], words: str) -> None:
    done = headwater("close", *arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr


def test_the_help_shows_examples(headwater: Headwater) -> None:
    assert "headwater close --verify 2026-10" in headwater("close", "--help").stdout


def test_the_grace_is_a_setting(headwater: Headwater, tmp_path: Path) -> None:
    settings = tmp_path / "headwater.toml"
    settings.write_text("[ledger]\ngrace_hours = 744\n")

    done = headwater("close", "2026-10", "--config", str(settings))

    assert "can be closed from 2026-12-02 00:00 UTC on: charges of the month may come for 744 hours" in done.stderr


def test_a_closing_while_another_one_runs_fails_with_exit_code_1(headwater: Headwater, store: Store) -> None:
    Closer(store).begin()

    done = headwater("close", "2026-10")

    assert done.exit_code == 1
    assert "another process closes a month" in done.stderr


def test_the_table_is_of_the_biggest_unless_all_are_wanted(headwater: Headwater) -> None:
    assert "1 others" in headwater("report", "--month", "2026-10", "--top", "1").stdout
    assert "others" not in headwater("report", "--month", "2026-10", "--top", "1", "--all").stdout


def test_a_tariff_that_cannot_be_applied_is_told_beside_the_csv(
    headwater: Headwater, store: Store, tmp_path: Path
) -> None:
    settings = tmp_path / "headwater.toml"
    settings.write_text('[tariff]\ncurrency = "EUR"\nelectricity_per_kwh = "0.2"\n')
    store.client.delete(schema.stream_key(0))

    done = headwater("report", "--month", "2026-10", "--format", "csv", "--config", str(settings))

    assert done.exit_code == 0
    assert done.stderr.startswith("headwater: without costs: 2026-10: 3 of 3 requests are no longer kept one by one")
    assert "cost_total" in done.stdout
    without = headwater("report", "--month", "2026-10", "--no-cost", "--format", "csv", "--config", str(settings))
    assert "cost_total" not in without.stdout


def test_accounts_that_do_not_add_up_print_nothing(headwater: Headwater, store: Store) -> None:
    part = schema.part_of("llama-3.1-70b", "azure-westus3")
    store.client.delete(schema.user_key(0, BOB, "2026-10", part))

    for output_format in ("table", "csv", "json"):
        done = headwater("report", "--month", "2026-10", "--format", output_format)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "the ledger's own total is 3" in done.stderr


def test_long_output_goes_out_before_its_end_and_short_output_does_not() -> None:
    seen = 0

    def pieces(count: int) -> Iterator[str]:
        nonlocal seen
        for seen in range(1, count + 1):  # noqa: B007 - watched from outside
            yield "x" * (HELD_CHARACTERS // 4)

    next(iter(held_back(pieces(100))))
    assert seen == 5
    assert sum(map(len, held_back(pieces(100)))) == 25 * HELD_CHARACTERS
    next(iter(held_back(pieces(3))))
    assert seen == 3


def test_close_works_as_a_process(server: Server, store: Store, tmp_path: Path) -> None:
    where = {"HEADWATER_REDIS_URL": server.url, "HEADWATER_DATA_DIR": str(tmp_path)}

    done = run("close", "2020-02", **where)

    assert done.returncode == 0, done.stderr
    assert "2020-02  closed on" in done.stdout
