"""Every charge reaches the files once, and other systems at least once, whatever is killed on the way."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from headwater.cli import app
from headwater.cli import export as command
from headwater.errors import ConfigError, LedgerError
from headwater.exports import COLUMNS, Exported, ExportError, Folder, Record, Summary, Unavailable, export, files, jsonl
from headwater.exports.columns import NAMES, record_of, time_ms, time_text, values
from headwater.ledger import rows, schema
from headwater.ledger.books import Books
from headwater.ledger.connection import READ_TIMEOUT_S
from headwater.ledger.exporting import Position, Subscription, checked_name, subscriptions
from headwater.ledger.glance import request_id
from headwater.ledger.redis import Store
from headwater.records import Charge
from tests.ledger.conftest import Add
from tests.ledger.strategies import charges
from tests.ledger.support import ADA, BOB, KEY, NOV_23_MS, Server, charge, eventually, opened

STREAM = schema.stream_key(0)
DAY_MS = 86_400_000


def some(count: int, first: int = 1) -> list[Charge]:
    """Charges of two users on two days."""
    return [
        charge(number, user=(ADA, BOB)[number % 2], ended_ms=NOV_23_MS + (number % 4 == 3) * DAY_MS + number)
        for number in range(first, first + count)
    ]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    """A store for reading: with time for long answers."""
    made = Store(server.url, timeout_s=READ_TIMEOUT_S)
    made.check(KEY)
    yield made
    made.close()


@pytest.fixture
def feed(store: Store) -> Subscription:
    made = Subscription(Books(store), "here")
    made.begin({"to": "here", "format": "jsonl"})
    return made


def into(folder: Path, feed: Subscription, kind: str = "jsonl") -> Summary:
    with Folder(folder, kind, ledger=KEY) as target:
        return export(feed, target)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("day=*/*.jsonl")) for line in path.read_text().splitlines()]


def ids(folder: Path) -> list[str]:
    return sorted(row["request_id"] for row in lines(folder))


# -- columns -----------------------------------------------------------------------------------------------------------


@given(charges(times_ms=st.integers(0, 2**42)))
def test_nothing_is_lost_or_rounded_in_a_row(made: Charge) -> None:
    record = Record(7, "1795435200000-3", made)

    row = json.loads(jsonl.line(values(record)))
    for name in ("started_at", "ended_at"):
        row[name] = time_ms(row[name])

    assert record_of(row) == record
    assert list(row) == [column.name for column in COLUMNS]


def test_what_is_unknown_is_null_and_never_zero() -> None:
    row = json.loads(jsonl.line(values(Record(0, "1-0", opened()))))

    known = {name for name, value in row.items() if value is not None}
    assert "energy_microjoules" not in known
    assert known == {
        *(
            "v",
            "request_id",
            "shard",
            "entry_id",
            "user",
            "started_at",
            "ended_at",
            "outcome",
            "reason",
            "model",
            "site",
        ),
        *("deployment_hash", "tokens_source", "images_count", "tokens_doubt_ratio"),
    }


def test_json_has_no_infinity() -> None:
    seen = replace(charge().observation, elapsed_s=math.inf)

    row = json.loads(jsonl.line(values(Record(0, "1-0", charge(observation=seen)))), parse_constant=pytest.fail)

    assert (row["elapsed_s"], row["ttft_s"]) == (None, 0.3)


@given(st.integers(0, 2**42))
def test_a_time_is_told_with_its_zone_and_read_again(moment_ms: int) -> None:
    assert time_ms(time_text(moment_ms)) == moment_ms


def test_a_time_reads_as_people_write_it() -> None:
    assert time_text(NOV_23_MS + 61_005) == "2026-11-23T12:01:01.005Z"


# -- files -------------------------------------------------------------------------------------------------------------


def test_files_lie_by_the_day_in_which_requests_ended(add: Add, feed: Subscription, tmp_path: Path) -> None:
    made = some(8)
    add(*made)

    summary = into(tmp_path / "out", feed)

    assert summary.as_dict() == {
        "exported_count": 8,
        "again_count": 0,
        "held_count": 0,
        "gone_count": 0,
        "missed_count": 0,
    }
    found = sorted(path.relative_to(tmp_path / "out").parts for path in (tmp_path / "out").glob("**/*.jsonl"))
    assert [day for day, _ in found] == ["day=2026-11-23", "day=2026-11-24"]
    assert all(name.startswith("part-s00-") for _, name in found)
    assert ids(tmp_path / "out") == sorted(each.request_id for each in made)
    assert not list(tmp_path.glob("out/day=*/.*"))


def test_the_next_export_brings_only_what_is_new(add: Add, feed: Subscription, tmp_path: Path) -> None:
    add(*some(3))
    into(tmp_path / "out", feed)
    add(*some(2, first=4))

    assert into(tmp_path / "out", feed).exported_count == 2
    assert into(tmp_path / "out", feed).exported_count == 0
    assert len(ids(tmp_path / "out")) == len(set(ids(tmp_path / "out"))) == 5


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_duckdb_reads_the_files_as_a_table_by_day(add: Add, feed: Subscription, tmp_path: Path, kind: str) -> None:
    made = [*some(8), opened(9)]
    add(*made)
    into(tmp_path / "out", feed, kind)
    reads = {
        "jsonl": f"read_json('{tmp_path}/out/*/*.jsonl', hive_partitioning = true)",
        "parquet": f"read_parquet('{tmp_path}/out/*/*.parquet', hive_partitioning = true)",
    }

    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        found = database.execute(
            f"""SELECT cast(day AS VARCHAR), count(*), sum(energy_microjoules), count(energy_microjoules), min(ended_at)::VARCHAR
            FROM {reads[kind]} GROUP BY day ORDER BY day"""  # noqa: S608
        ).fetchall()

    by_day: dict[str, list[Charge]] = {}
    for each in made:
        by_day.setdefault(schema.periods(each.ended_ms)[0], []).append(each)
    energies = {
        day: [each.amounts.energy_microjoules for each in group if each.amounts] for day, group in by_day.items()
    }
    assert [row[:4] for row in found] == [
        (day, len(by_day[day]), sum(energies[day]), len(energies[day])) for day in sorted(by_day)
    ]
    assert found[0][4].replace("T", " ").removesuffix("Z").startswith("2026-11-23 12:00:00.001")


def test_parquet_has_types_zones_and_row_groups(
    add: Add, feed: Subscription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.exports.parquet.ROWS_PER_GROUP", 4)
    made = [charge(number) for number in range(1, 10)]
    add(*made)

    into(tmp_path / "out", feed, "parquet")

    (path,) = (tmp_path / "out").glob("day=2026-11-23/*.parquet")
    with pq.ParquetFile(path) as file:
        assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [4, 4, 1]
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        assert file.schema_arrow.metadata[b"headwater.columns"] == b"1"
        types = dict(zip(file.schema_arrow.names, map(str, file.schema_arrow.types), strict=True))
    assert tuple(types) == NAMES
    assert (types["ended_at"], types["energy_microjoules"]) == ("timestamp[ms, tz=UTC]", "int64")
    assert [record_of(row).charge for row in files.FORMATS["parquet"].rows(path)] == made


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("point", ["add", "finish", "renamed", "committed", "half"])
def test_a_kill_at_any_point_neither_loses_nor_doubles_a_charge(
    add: Add, feed: Subscription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, kind: str
) -> None:
    made = some(1_203)  # more than two reads
    add(*made)
    folder = tmp_path / "out"
    monkeypatch.setattr(files, "RECORDS_PER_COMMIT", 700)
    calls = {"count": 0}

    def dying(name: str, at: int, *, after: bool) -> None:
        owner: Any = {"add": files._Part, "finish": files._Part, "ack": Subscription}[name]
        method = {"add": "write", "finish": "finish", "ack": "acknowledge"}[name]
        real = getattr(owner, method)

        def replaced(*arguments: Any) -> None:
            calls["count"] += 1
            if calls["count"] == at and not after:
                raise Killed
            real(*arguments)
            if calls["count"] == at:
                raise Killed

        monkeypatch.setattr(owner, method, replaced)

    dying(
        *{
            "add": ("add", 900),
            "finish": ("finish", 3),
            "renamed": ("finish", 3),
            "committed": ("ack", 1),
            "half": ("finish", 1),
        }[point],
        after=point in ("renamed", "half"),
    )
    # A killed process tidies nothing up; the system closes its files.
    monkeypatch.setattr(files._Part, "discard", lambda part: part._writer.close())
    with pytest.raises(Killed):
        into(folder, feed, kind)
    monkeypatch.undo()

    summary = into(folder, feed, kind)

    found = [
        record_of(row).charge
        for part in files.parts(folder, files.FORMATS[kind])
        for row in files.FORMATS[kind].rows(part.path)
    ]
    assert sorted(each.request_id for each in found) == sorted(each.request_id for each in made)
    assert summary.again_count + summary.held_count > 0
    assert not list(folder.glob("day=*/.*"))


def test_acknowledging_before_the_disk_would_lose_charges(
    add: Add, feed: Subscription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The protection switched off: this is what it protects from."""
    add(*some(4))
    real = Subscription.fresh

    def hasty(self: Subscription, shard: int, end: Position) -> Iterator[Any]:
        for entries in real(self, shard, end):
            self.acknowledge(shard, [entry.entry_id for entry in entries])
            yield entries

    monkeypatch.setattr(Subscription, "fresh", hasty)
    monkeypatch.setattr(Folder, "commit", lambda _self: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        into(tmp_path / "out", feed)
    monkeypatch.undo()

    into(tmp_path / "out", feed)

    assert ids(tmp_path / "out") == []


def test_what_was_erased_while_under_way_is_stepped_over(
    add: Add, feed: Subscription, store: Store, tmp_path: Path
) -> None:
    add(*some(4))
    (entries,) = feed.fresh(0, feed.end(0))
    store.client.xdel(STREAM, entries[1].entry_id)

    summary = into(tmp_path / "out", feed)

    assert (summary.exported_count, summary.again_count, summary.gone_count) == (3, 3, 1)
    assert feed.standings()[0].unacknowledged_count == 0


def test_an_export_that_is_once_ends_although_charges_come_in(add: Add, feed: Subscription, tmp_path: Path) -> None:
    add(*some(3))
    end = feed.end(0)
    add(*some(1_500, first=10))

    found = [len(entries) for entries in feed.fresh(0, end)]

    assert found == [500]


@pytest.mark.parametrize("count", [0, 3])
def test_charges_that_were_trimmed_before_they_were_exported_are_told(
    add: Add, feed: Subscription, store: Store, tmp_path: Path, count: int
) -> None:
    add(*some(3))
    into(tmp_path / "out", feed)
    add(*some(count + 2, first=10))
    kept = store.client.xrevrange(STREAM, count=2)[1][0]
    store.client.xtrim(STREAM, minid=kept, approximate=False)

    (standing,) = feed.standings()

    assert (standing.is_behind, standing.missed_count, standing.has_missed) == (True, count, count > 0)
    assert standing.waiting_count == 2
    assert into(tmp_path / "out", feed).missed_count == count


def test_charges_that_were_all_trimmed_are_told(add: Add, feed: Subscription, store: Store, tmp_path: Path) -> None:
    add(*some(3))
    into(tmp_path / "out", feed)
    assert not feed.standings()[0].has_missed
    add(*some(2, first=10))

    store.client.xtrim(STREAM, maxlen=0, approximate=False)

    assert feed.standings()[0].missed_count == 2


def test_a_server_that_does_not_count_says_that_some_may_be_missing(
    add: Add, feed: Subscription, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis 6.2 tells neither lag nor how many were read."""
    add(*some(3))
    into(tmp_path / "out", feed)
    real = store.client.xinfo_groups
    monkeypatch.setattr(
        store.client,
        "xinfo_groups",
        lambda key: [{name: group[name] for name in ("name", "pending", "last-delivered-id")} for group in real(key)],
    )
    assert feed.standings()[0].waiting_count is None
    assert into(tmp_path / "out", feed).missed_count == 0
    add(*some(2, first=10))
    store.client.xtrim(STREAM, maxlen=1, approximate=False)

    assert (feed.standings()[0].missed_count, feed.standings()[0].has_missed) == (None, True)
    assert into(tmp_path / "out", feed).missed_count is None


def test_all_shards_are_exported(server: Server, tmp_path: Path) -> None:
    server.command("HSET", schema.META, "shards", "4", "key", KEY, "schema", str(schema.SCHEMA_VERSION))
    store = Store(server.url)
    store.check(KEY)
    feed = Subscription(Books(store), "all")
    feed.begin({})
    feed.begin({})
    from headwater.ledger.packing import pack

    for shard in range(4):
        store.client.xadd(schema.stream_key(shard), {schema.STREAM_FIELD: pack(charge(shard + 1))})

    into(tmp_path / "out", feed)

    assert sorted((row["shard"], row["request_id"]) for row in lines(tmp_path / "out")) == [
        (shard, charge(shard + 1).request_id) for shard in range(4)
    ]
    store.close()


def test_a_charge_that_cannot_be_read_is_named_and_stays(feed: Subscription, store: Store, tmp_path: Path) -> None:
    entry_id = store.client.xadd(STREAM, {schema.STREAM_FIELD: b"\xff"}).decode()

    with pytest.raises(LedgerError, match=f"charge {entry_id} of shard 0 cannot be exported: .* upgrade"):
        into(tmp_path / "out", feed)

    assert feed.standings()[0].unacknowledged_count == 1


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_folder_takes_one_export_at_a_time(tmp_path: Path) -> None:
    with (
        Folder(tmp_path, "jsonl", ledger=KEY) as first,
        pytest.raises(ConfigError, match="another export writes into"),
    ):
        Folder(tmp_path, "jsonl", ledger=KEY)

    with Folder(tmp_path, "jsonl", ledger=KEY) as again:
        assert again.name == first.name


@pytest.mark.parametrize(
    ("kind", "ledger", "words"), [("parquet", KEY, "format jsonl, not parquet"), ("jsonl", "f0", "ledger")]
)
def test_a_folder_keeps_to_its_format_and_ledger(tmp_path: Path, kind: str, ledger: str, words: str) -> None:
    Folder(tmp_path, "jsonl", ledger=KEY).close()

    with pytest.raises(ConfigError, match=words):
        Folder(tmp_path, kind, ledger=ledger)


@pytest.mark.parametrize("mark", ["", "{", "[]", '{"v": 2}', '{"v": 1, "format": "jsonl"}'])
def test_what_is_no_export_is_refused_as_one(tmp_path: Path, mark: str) -> None:
    (tmp_path / files.MARK).write_text(mark)

    with pytest.raises(ConfigError, match="headwater"):
        Exported(tmp_path)


def test_a_foreign_file_between_ours_is_named(tmp_path: Path) -> None:
    Folder(tmp_path, "jsonl", ledger=KEY).close()
    (tmp_path / "day=2026-11-23").mkdir()
    (tmp_path / "day=2026-11-23" / "part-mine.jsonl").touch()

    with pytest.raises(ConfigError, match=r"part-mine\.jsonl has no name"):
        Exported(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"cannot be written: (File exists|Not a directory)"):
        Folder(tmp_path / "file", "jsonl", ledger=KEY)


def test_a_full_disk_loses_nothing(
    add: Add, feed: Subscription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(*some(4))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with Folder(tmp_path / "out", "jsonl", ledger=KEY) as target:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="No space left on device; nothing is lost"):
            export(feed, target)
        monkeypatch.undo()

        assert export(feed, target).exported_count == 4

    assert len(ids(tmp_path / "out")) == 4


def test_a_damaged_file_is_not_taken_for_what_it_should_hold(
    add: Add, feed: Subscription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(*some(2))
    monkeypatch.setattr(Subscription, "acknowledge", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        into(tmp_path / "out", feed)
    monkeypatch.undo()
    (path,) = (tmp_path / "out").glob("day=*/*.jsonl")
    path.write_text("{")

    with pytest.raises(ExportError, match="damaged"):
        into(tmp_path / "out", feed)


def test_parquet_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(ConfigError, match=r"pip install 'headwater\[parquet\]'"):
        Folder(tmp_path, "parquet", ledger=KEY)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_export_is_read_again_as_the_account_sees_it(
    add: Add, feed: Subscription, tmp_path: Path, kind: str
) -> None:
    made = [*some(6), opened(9)]
    add(*made)
    into(tmp_path / "out", feed, kind)

    found = Exported(tmp_path / "out")

    october = list(found.charges(0, "2026-10"))
    november = [each for _, each in found.charges(0, "2026-11")]
    assert october == []
    assert {request_id(each.receipt_id): each.sums for each in november} == {
        each.request_id: rows.sums_of(each) for each in made
    }
    assert {(each.user, each.model, each.site, each.deployment_hash, each.ended_ms) for each in november} == {
        (each.user, each.model, each.site, each.deployment_hash, each.ended_ms) for each in made
    }
    assert found.last(0) == feed.end(0)
    assert (found.last(1), found.ledger) == (None, KEY)
    path = next((tmp_path / "out").glob("day=2026-11-23/*"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ConfigError, match="cannot be read"):
        list(Exported(tmp_path / "out").charges(0, "2026-11"))


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_exports_tells_how_far_it_is_and_begins_anew(add: Add, server: Server, tmp_path: Path) -> None:
    add(*some(5))
    folder = str(tmp_path / "out")
    where = {"HEADWATER_REDIS_URL": server.url, "HEADWATER_DATA_DIR": str(tmp_path / "data")}

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["export", *arguments], env=where)

    none = run("--status")
    first = run("--to", folder, "--json")
    status = run("--status", "--json")
    told = run("--status", "--to", folder)
    reset = run("--to", folder, "--reset")
    never = run("--status", "--to", folder)
    reset_as_json = run("--to", folder, "--reset", "--json")
    again = run("--to", folder)

    assert none.stdout == "no export was ever begun\n"
    assert (first.exit_code, first.stderr, json.loads(first.stdout)["exported_count"]) == (0, "", 5)
    (only,) = json.loads(status.stdout)["exports"]
    assert (only["to"], only["format"], only["waiting_count"], only["unacknowledged_count"]) == (folder, "jsonl", 0, 0)
    assert only["name"] in told.stdout
    assert "0 waiting, 0 under way" in told.stdout
    assert "begins anew" in reset.stdout
    assert never.stdout == "this export was never begun\n"
    assert json.loads(reset_as_json.stdout)["reset"] == only["name"]
    assert again.stdout == f"exported 5 charges to {folder}\n"
    assert len(ids(tmp_path / "out")) == 5  # the same files again


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say where to export to"),
        (["--status", "--reset", "--to", "x"], "exclude each other"),
        (["--reset", "--to", "nowhere"], "is no folder that headwater export wrote into"),
        (["--to", "out", "--name", "x", "--status"], "--name is for addresses"),
        (["--to", "out", "--format", "cloudevents"], "goes to an address"),
        (["--to", "https://x.example", "--format", "jsonl"], "an address takes --format cloudevents"),
        (["--to", "https://x.example", "--name", "a b"], "the name of an export has"),
        (["--to", "https://x.example", "--source", ""], "the source of events must be"),
        (["--to", "ftp://x.example"], "must begin with https://"),
    ],
)
def test_what_cannot_be_done_is_said(server: Server, tmp_path: Path, arguments: list[str], words: str) -> None:
    environment = {"HEADWATER_REDIS_URL": server.url, "HEADWATER_DATA_DIR": str(tmp_path)}
    done = CliRunner().invoke(app, ["export", *arguments], env=environment)

    assert done.exit_code == 2, done.output
    assert words in done.output


def test_a_killed_export_goes_on_where_it_was(add: Add, server: Server, store: Store, tmp_path: Path) -> None:
    """A real process and a real SIGKILL, in the midst of it; then one that follows, until it is told to end."""
    made = some(3_000)
    add(*made)
    environment = {**os.environ, "HEADWATER_REDIS_URL": server.url, "HEADWATER_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "headwater", "export", "--to", str(tmp_path / "out"), "--follow", "--every", "0.1"]
    first = subprocess.Popen(command, env=environment)
    eventually(lambda: list((tmp_path / "out").glob("day=*/.*.writing")) or ids(tmp_path / "out"))
    first.kill()
    first.wait()

    second = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(lambda: len(ids(tmp_path / "out")) == 3_000)
    add(*some(2, first=5_000))
    eventually(lambda: len(ids(tmp_path / "out")) == 3_002)
    second.send_signal(signal.SIGTERM)
    said, errors = second.communicate(timeout=20)

    assert (second.returncode, errors) == (0, b"")
    assert b"charges to" in said
    assert ids(tmp_path / "out") == sorted(each.request_id for each in [*made, *some(2, first=5_000)])
    (name,) = subscriptions(Books(store))
    assert name.startswith("files-")


def test_the_command_says_what_was_under_way_erased_and_removed(
    add: Add, server: Server, store: Store, tmp_path: Path
) -> None:
    add(*some(4))
    folder = str(tmp_path / "out")
    where = {"HEADWATER_REDIS_URL": server.url, "HEADWATER_DATA_DIR": str(tmp_path / "data")}

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["export", *arguments], env=where)

    run("--to", folder)
    add(*some(4, first=10))
    (name,) = subscriptions(Books(store))
    feed = Subscription(Books(store), name)
    (entries,) = feed.fresh(0, feed.end(0))
    store.client.xdel(STREAM, entries[1].entry_id)
    resumed = run("--to", folder)
    add(*some(3, first=20))
    store.client.xtrim(STREAM, maxlen=1, approximate=False)
    status = run("--status")
    behind = run("--to", folder, "--json")

    assert resumed.stdout == (
        f"exported 3 charges to {folder}; 3 of them had been under way before; 1 were erased meanwhile\n"
    )
    assert "1 waiting, 0 under way, 2 removed before they were exported" in status.stdout
    assert "headwater: shard 0: 2 charges were removed before they were exported, after 20" in behind.stderr
    assert json.loads(behind.stdout)["missed_count"] == 2


def test_one_that_follows_goes_on_through_trouble_and_tells_of_it(
    add: Add, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    add(*some(3))

    class Troubled:
        """Has no room, then is told to end."""

        is_full = False
        commits_count = discards_count = 0

        def held(self, _shard: int, _entry_ids: object) -> set[str]:
            return set()

        def add(self, _record: Record) -> None:
            """Nothing."""

        def commit(self) -> None:
            self.commits_count += 1
            if self.commits_count == 1:
                raise Unavailable("no room")
            if self.commits_count == 3:
                raise KeyboardInterrupt

        def discard(self) -> None:
            self.discards_count += 1

    target = Troubled()
    before = signal.getsignal(signal.SIGTERM)
    real = Subscription.begin

    def begin(self: Subscription, about: dict[str, str]) -> None:
        real(self, about)
        if target.commits_count == 2:
            add(*some(1, first=9))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subscription, "begin", begin)
        summary = command._run(Books(store), target, "t", {"to": "t"}, 0.001)  # type: ignore[arg-type]

    assert (summary.exported_count, summary.again_count) == (3, 3)
    assert target.discards_count == 2
    assert capsys.readouterr().err == "headwater: no room; trying again in 0.001 s\n"
    assert signal.getsignal(signal.SIGTERM) == before
    target.commits_count = 0
    with pytest.raises(Unavailable):
        command._run(Books(store), target, "t", {"to": "t"}, None)  # type: ignore[arg-type]


def test_shards_that_never_had_an_export_have_no_standing(feed: Subscription, store: Store) -> None:
    other = Subscription(Books(store), "other")

    assert other.standings() == []
    other.forget()
    store.client.delete(STREAM)
    assert feed.standings() == []
    feed.forget()
    store.client.set(STREAM, "no stream")
    with pytest.raises(LedgerError, match="WRONGTYPE"):
        feed.begin({})


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ä"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ConfigError, match="the name of an export has"):
        checked_name(name)
