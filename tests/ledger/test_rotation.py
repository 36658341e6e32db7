"""Another identity key: the same accounts under other names, to the last unit, wherever it dies on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from headwater.cli import app
from headwater.errors import ConfigError, LedgerError
from headwater.identity import (
    KEY_FILE,
    NEXT_FILE,
    Pseudonymizer,
    adopt_next_key,
    key_fingerprint,
    load_key,
    next_key,
    renames,
)
from headwater.ledger import Ledger, packing, renaming, schema
from headwater.ledger.books import Books
from headwater.ledger.connection import connect
from headwater.ledger.journal import Journal
from headwater.ledger.people import People
from headwater.ledger.reader import Reader
from headwater.ledger.redis import CLUSTER_SHARDS, Store
from headwater.ledger.renaming import ended_ms_of, user_of
from headwater.ledger.rotation import Rotation
from headwater.records import Charge
from tests.ledger.dying import Died, Life, dying
from tests.ledger.support import (
    ADA,
    BOB,
    DAY,
    MONTH,
    NOV_23_MS,
    Server,
    charge,
    eventually,
    opened,
    outside,
    write,
)
from tests.ledger.test_people import CLOCK_S, SOME, check, fill, kept

with tempfile.TemporaryDirectory() as _folder:
    OLD_KEY = load_key(Path(_folder))
    NEW_KEY = next_key(Path(_folder))
OLD, NEW = key_fingerprint(OLD_KEY), key_fingerprint(NEW_KEY)
rename = renames(NEW_KEY)[OLD]
CEM = "c1" * 16


def begun(server: Server, *, shards_count: int = 1, life: Life | None = None) -> Store:
    """The store, as the command finds it."""
    store = (
        Store(server.url, clock=lambda: CLOCK_S)
        if life is None
        else Store(server.url, clock=lambda: CLOCK_S, client_factory=dying(life))
    )
    store.shards_count = shards_count
    store.check(None, is_rotating=True)
    return store


def filled(server: Server, some: list[Charge], *, shards_count: int = 1) -> Store:
    server.command("FLUSHALL")
    store = Store(server.url, clock=lambda: CLOCK_S)
    store.shards_count = shards_count
    store.check(OLD)
    store.set_labels({ADA: "ada"})
    fill(store, some)
    return store


def rotation(store: Store) -> Rotation:
    return Rotation(store, present=OLD, following=NEW, rename=rename)


def renamed(some: list[Charge]) -> list[Charge]:
    return [replace(each, user=rename(each.user)) for each in some]


def ends(store: Store) -> dict[str, int]:
    """When rows expire, by what they are of."""
    old = {rename(user): user for user in (ADA, BOB, CEM)}
    found = {}
    for key in store.client.keys("*:u:*"):
        name = key.decode()
        user = name.split(":")[3]
        found[name.replace(user, old.get(user, user))] = store.client.pexpiretime(key)
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=SOME, shards_count=st.sampled_from([1, 4]))
def test_every_account_and_charge_has_its_new_name_and_nothing_an_old_one(
    server: Server, tmp_path: Path, some: list[Charge], shards_count: int
) -> None:
    store = filled(server, some, shards_count=shards_count)
    ids = [entry.entry_id for shard in Books(store).shards for entry in Books(store).stream(shard)]
    lasts = ends(store)

    rotation(begun(server, shards_count=shards_count)).run(tmp_path)

    store.check(NEW)
    check(store, renamed(some), set())
    assert Books(store).labels() == {rename(ADA): "ada"}
    assert [entry.entry_id for shard in Books(store).shards for entry in Books(store).stream(shard)] == ids
    assert ends(store) == lasts
    names = store.client.keys("*")
    assert not [name for name in names if b":new:" in name or any(user.encode() in name for user in (ADA, BOB, CEM))]
    store.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=SOME, lives=st.lists(st.tuples(st.integers(0, 150), st.booleans()), min_size=1, max_size=4))
def test_wherever_a_rotation_dies_the_next_run_ends_it(
    server: Server, tmp_path: Path, some: list[Charge], lives: list[tuple[int, bool]]
) -> None:
    filled(server, some).close()
    for trips_count, is_heard in lives:
        life = Life(1_000, is_heard=is_heard)
        dying_store = begun(server, life=life)
        life.left_count = trips_count
        with suppress(Died):
            rotation(dying_store).run(tmp_path)

    store = begun(server)
    rotation(store).run(tmp_path)

    store.check(NEW)
    check(store, renamed(some), set())
    assert not store.client.keys("*:new:*")
    assert Books(store).labels() == {rename(ADA): "ada"}
    store.close()


def test_while_it_runs_nobody_charges_or_reads_and_it_says_why(server: Server, tmp_path: Path) -> None:
    store = filled(server, [charge(1)])
    life = Life(1_000, is_heard=True)
    dying_store = begun(server, life=life)
    life.left_count = 8
    with pytest.raises(Died):
        rotation(dying_store).run(tmp_path)

    for fingerprint in (OLD, NEW, None):
        with pytest.raises(ConfigError, match=r"is being replaced .* run it again"):
            Store(server.url).check(fingerprint)
    with pytest.raises(ConfigError, match=r"the identity key was replaced .* charges wait in the journal"):
        fill(store, [charge(2)], "late")  # a process that was connected before
    with pytest.raises(ConfigError, match="a rotation to another identity key was begun"):
        Rotation(begun(server), present=OLD, following="other", rename=rename).run(tmp_path)
    store.close()


def test_a_second_run_changes_nothing_and_a_foreign_store_is_refused(server: Server, tmp_path: Path) -> None:
    store = filled(server, [charge(1)])
    rotation(begun(server)).run(tmp_path)
    before = {name: store.client.dump(name) for name in store.client.keys("*")}

    rotation(begun(server)).run(tmp_path)

    assert {name: store.client.dump(name) for name in store.client.keys("*")} == before
    with pytest.raises(ConfigError, match="another identity key"):
        Rotation(begun(server), present="one", following="other", rename=rename).run(tmp_path)
    store.close()


def test_it_does_not_begin_while_a_process_of_the_folder_lives(server: Server, tmp_path: Path) -> None:
    filled(server, [charge(1)]).close()
    journal = write(tmp_path, [charge(2)], journal_id="alive")

    with pytest.raises(LedgerError, match=r"1 process\(es\) .* \(journals alive\); stop them first"):
        rotation(begun(server)).run(tmp_path)

    assert begun(server).rotating() is None
    journal.close()
    rotation(begun(server)).run(tmp_path)


def test_months_of_a_clock_that_was_far_off_and_what_was_erased_are_carried(server: Server, tmp_path: Path) -> None:
    odd = charge(1, ended_ms=5_000)
    store = filled(server, [odd, charge(2), charge(3, user=BOB), charge(4, user="anonymous")])
    People(Books(store)).erase(BOB)

    rotation(begun(server)).run(tmp_path)

    store.check(NEW)
    assert set(Books(store).user_month(rename(ADA), "1970-01")) == {(odd.model, odd.site)}
    everybody = renamed([charge(2), charge(3, user="erased"), charge(4, user="anonymous")])
    assert {place[0] for place in kept(store, everybody)} == {each.user for each in everybody}
    assert Books(store).user_day(rename(ADA), DAY) is not None
    store.close()


def test_consumers_of_the_stream_go_on_where_they_were(server: Server, tmp_path: Path) -> None:
    some = [charge(number) for number in range(4)]
    store = filled(server, some)
    key, client = schema.stream_key(0), store.client
    client.xgroup_create(key, "all", id="0")
    client.xgroup_create(key, "none", id="0")
    client.xgroup_create(key, "some", id="0")
    client.xack(key, "all", *(entry_id for entry_id, _ in client.xreadgroup("all", "me", {key: ">"})[0][1]))
    read = client.xreadgroup("some", "me", {key: ">"}, count=3)[0][1]
    client.xack(key, "some", read[0][0])
    last = client.xinfo_stream(key)["last-generated-id"]

    rotation(begun(server)).run(tmp_path)

    def next_of(group: str) -> list[Charge]:
        found = client.xreadgroup(group, "me", {key: ">"})
        return [packing.unpack(fields[b"c"]) for _, entries in found for _, fields in entries]

    assert (next_of("all"), next_of("none"), next_of("some")) == ([], renamed(some), renamed(some[1:]))
    assert client.xinfo_stream(key)["last-generated-id"] == last
    store.close()


def test_other_records_go_both_ways_too(server: Server, tmp_path: Path) -> None:
    """Once on the way and once back, on each shard; none, where it is back already."""
    told: list[tuple[object, ...]] = []

    class Statements:
        def move(self, shard: int, rename: Callable[[str], str]) -> None:
            told.append(("move", shard, rename(ADA)))

        def place(self, shard: int) -> None:
            told.append(("place", shard))

    filled(server, [charge(1)], shards_count=2).close()
    ticks: list[int] = []
    Rotation(begun(server, shards_count=2), present=OLD, following=NEW, rename=rename, links=[Statements()]).run(
        tmp_path, lambda count, _: ticks.append(count)
    )

    assert told == [("move", 0, rename(ADA)), ("move", 1, rename(ADA)), ("place", 0), ("place", 1)]
    assert ticks == [1]


def test_deleted_charges_leave_no_bytes_behind(server: Server, tmp_path: Path) -> None:
    store = filled(server, [charge(1), charge(2, user=BOB)])
    People(Books(store)).erase(ADA)
    server.command("CONFIG", "SET", "rdbcompression", "no")
    key = schema.stream_key(0)
    assert bytes.fromhex(ADA) in store.client.dump(key)  # deleted, and still there

    rotation(begun(server)).run(tmp_path)

    assert bytes.fromhex(ADA) not in store.client.dump(key)
    server.command("CONFIG", "SET", "rdbcompression", "yes")
    store.close()


def test_a_journal_of_the_old_key_is_charged_to_the_new_names(server: Server, tmp_path: Path) -> None:
    filled(server, [charge(1)]).close()
    journal = Journal(tmp_path, journal_id="left", fingerprint=OLD)
    journal.final(charge(2).request_id, packing.pack(charge(2)))
    journal.provisional(opened(3).request_id, packing.pack(opened(3)))
    journal.close()
    rotation(begun(server)).run(tmp_path)

    with Reader.open(data_dir=tmp_path, redis_url=server.url) as reader:  # without the keys it stays where it is
        assert reader.totals(MONTH).requests_count == 1
    ledger = Ledger(
        data_dir=tmp_path, redis_url=server.url, key_fingerprint=NEW, outside=outside(), renames=renames(NEW_KEY)
    )
    ledger.start()
    with ledger.reader() as reader:
        eventually(lambda: reader.totals(MONTH).requests_count == 3)
        assert [row.user for row in reader.month_rows(MONTH)] == [rename(ADA)]
        assert {each.user for each in reader.ledger_entries()} == {rename(ADA)}
    ledger.close()


def test_charges_of_the_old_key_wait_in_the_journal_until_the_process_has_the_new_one(
    server: Server, tmp_path: Path
) -> None:
    """A process elsewhere, that was not stopped."""
    filled(server, [charge(1)]).close()
    ledger = Ledger(data_dir=tmp_path / "there", redis_url=server.url, key_fingerprint=OLD, outside=outside())
    ledger.start()
    assert ledger.flush(10.0)
    (tmp_path / "here").mkdir()
    rotation(begun(server)).run(tmp_path / "here")

    ledger.charge(charge(2))
    eventually(lambda: ledger.stats.failures > 0)
    ledger.close(timeout_s=0.1)

    there = tmp_path / "there"
    with Reader.open(
        data_dir=there, redis_url=server.url, renames=renames(NEW_KEY), key_fingerprint="another"
    ) as reader:  # names of a key that the store does not have are none of its accounts
        assert reader.user_row(rename(ADA), MONTH).requests_count == 1
    with Reader.open(data_dir=there, redis_url=server.url, renames=renames(NEW_KEY), key_fingerprint=NEW) as reader:
        assert reader.user_row(rename(ADA), MONTH).requests_count == 2


def test_a_pseudonym_of_two_keys_is_made_of_that_of_one_and_stays_on_its_shard() -> None:
    for number in range(50):
        subject = f"sk-{number}"
        before, after = (Pseudonymizer(key).of("api-key", subject) for key in (OLD_KEY, NEW_KEY))
        assert after == rename(before) != before
        assert schema.shard_of(after, CLUSTER_SHARDS) == schema.shard_of(before, CLUSTER_SHARDS)
    assert rename("anonymous") == "anonymous"
    assert renames(OLD_KEY) == {}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    load_key(tmp_path)
    return tmp_path


def run(data_dir: Path, server: Server, *arguments: str, stdin: str | None = None) -> Result:
    environment = {"HEADWATER_DATA_DIR": str(data_dir), "HEADWATER_REDIS_URL": server.url}
    return CliRunner().invoke(app, ["user", *arguments], env=environment, input=stdin, catch_exceptions=False)


def charged(data_dir: Path, server: Server) -> str:
    """Somebody with an API key, and a charge."""
    key = load_key(data_dir)
    user = Pseudonymizer(key).of("api-key", "sk-ada")
    store = Store(server.url)
    store.check(key_fingerprint(key))
    fill(store, [charge(1, user=user)])
    store.close()
    return user


def test_the_command_replaces_key_and_names_and_people_are_found_as_before(server: Server, data_dir: Path) -> None:
    user = charged(data_dir, server)
    before = load_key(data_dir)

    refused, done = run(data_dir, server, "rotate-key"), run(data_dir, server, "rotate-key", "--yes")

    assert (refused.exit_code, "all processes must be stopped" in refused.stderr) == (2, True)
    assert done.exit_code == 0, done.stderr
    after = load_key(data_dir)
    assert f"is now {key_fingerprint(after)} (was {key_fingerprint(before)})" in done.stdout
    assert "copy this file into the data folder of every machine" in done.stdout
    assert not (data_dir / NEXT_FILE).exists()
    shown = run(data_dir, server, "show", "--api-key", stdin="sk-ada").stdout
    assert shown.startswith(f"{renames(after)[key_fingerprint(before)](user)}: 2 sums and 1 single charges")
    assert run(data_dir, server, "show", user).stdout == f"{user}: 0 sums and 0 single charges\n"

    again = run(data_dir, server, "rotate-key", "--yes")
    assert again.exit_code == 0, again.stderr
    assert "2 sums and 1 single charges" in run(data_dir, server, "show", "--api-key", stdin="sk-ada").stdout
    assert len(renames(load_key(data_dir))) == 2


def test_the_command_asks_on_a_terminal(server: Server, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    charged(data_dir, server)
    monkeypatch.setattr("headwater.cli.user.is_terminal", lambda: True)

    declined, agreed = (run(data_dir, server, "rotate-key", stdin=answer) for answer in ("n\n", "y\n"))

    assert (declined.exit_code, declined.stdout.endswith("nothing was changed\n")) == (1, True)
    assert agreed.exit_code == 0


def test_a_second_rotation_at_the_same_time_is_refused(server: Server, tmp_path: Path) -> None:
    """It would find new names in the place of old ones, and rename them once more."""
    some = [charge(1), charge(2, user=BOB)]
    first, store = rotation(filled(server, some)), begun(server)
    refused: list[str] = []

    def tick(_count: int, _ratio: float) -> None:
        with pytest.raises(LedgerError, match="another process replaces the identity key") as caught:
            rotation(store).run(tmp_path)
        refused.append(str(caught.value))

    first.run(tmp_path, tick)
    rotation(store).run(tmp_path)

    assert refused
    check(store, renamed(some), set())


def test_an_erasure_that_a_rotation_overtakes_says_that_it_is_not_done(server: Server, tmp_path: Path) -> None:
    some = [charge(1), charge(2, user=BOB)]
    store = filled(server, some)

    class Overtaken(People):
        def _move(self, shard: int, user: str, month: str) -> tuple[str, int]:
            moved = super()._move(shard, user, month)
            rotation(begun(server)).run(tmp_path)
            return moved

    with pytest.raises(LedgerError, match="the identity key was replaced meanwhile"):
        Overtaken(Books(store)).erase(ADA)
    People(Books(store)).erase(rename(ADA))

    check(store, renamed(some), {rename(ADA)})


def test_every_command_charges_what_was_left_under_a_key_before_this_one(server: Server, data_dir: Path) -> None:
    """As on another machine, whose data folder got the new file."""
    user = charged(data_dir, server)
    before = key_fingerprint(load_key(data_dir))
    assert run(data_dir, server, "rotate-key", "--yes").exit_code == 0
    left = Journal(data_dir, journal_id="left", fingerprint=before)
    left.final(charge(2).request_id, packing.pack(charge(2, user=user)))
    left.close()

    shown = run(data_dir, server, "show", "--api-key", stdin="sk-ada")

    assert "2 sums and 2 single charges" in shown.stdout
    assert shown.stderr == ""


def test_a_ledger_without_a_charge_has_no_name_to_replace(server: Server, data_dir: Path) -> None:
    done = run(data_dir, server, "rotate-key", "--yes")

    assert (done.exit_code, "nothing was charged to this ledger yet" in done.stderr) == (2, True)
    assert not (data_dir / NEXT_FILE).exists()


def test_cut_short_before_the_file_is_adopted_it_is_adopted_by_the_next_run(server: Server, data_dir: Path) -> None:
    charged(data_dir, server)
    present, following = load_key(data_dir), next_key(data_dir)
    fingerprints = key_fingerprint(present), key_fingerprint(following)
    Rotation(
        begun(server), present=fingerprints[0], following=fingerprints[1], rename=renames(following)[fingerprints[0]]
    ).run(data_dir)

    assert run(data_dir, server, "rotate-key", "--yes").exit_code == 0

    assert load_key(data_dir) == following


@pytest.mark.parametrize("lost", [{"rotating", "phase"}, {"key"}, {"all"}])
def test_a_store_that_fell_back_behind_the_key_file_is_brought_to_it(
    server: Server, data_dir: Path, lost: set[str]
) -> None:
    """It is killed when the file is in its place, and its own last second is not on disk: the last write or all of them."""
    user = charged(data_dir, server)
    before = load_key(data_dir)
    whole = {name: server_dump(server, name) for name in server.command("KEYS", "*")}
    assert run(data_dir, server, "rotate-key", "--yes").exit_code == 0
    after = load_key(data_dir)
    if lost == {"all"}:
        server.command("FLUSHALL")
        with connect(server.url, 5.0) as client:
            for name, dumped in whole.items():
                client.restore(name, 0, dumped)
    else:
        server.command("HSET", schema.META, "rotating", key_fingerprint(after), "phase", "placing")
        if lost == {"key"}:
            server.command("HSET", schema.META, "key", key_fingerprint(before))

    done = run(data_dir, server, "rotate-key", "--yes")

    assert done.exit_code == 0, done.stderr
    assert load_key(data_dir) == after
    assert server.command("HGET", schema.META, "key") == key_fingerprint(after)
    shown = run(data_dir, server, "show", "--api-key", stdin="sk-ada").stdout
    assert shown.startswith(f"{renames(after)[key_fingerprint(before)](user)}: 2 sums and 1 single charges")


def server_dump(server: Server, name: str) -> bytes:
    with connect(server.url, 5.0) as client:
        dumped = client.dump(name)
        assert isinstance(dumped, bytes)
        return dumped


def test_a_rotation_that_was_begun_elsewhere_is_gone_on_with_there(server: Server, data_dir: Path) -> None:
    charged(data_dir, server)
    server.command("HSET", schema.META, "rotating", NEW)

    done = run(data_dir, server, "rotate-key", "--yes")

    assert (done.exit_code, "go on where it was begun" in done.stderr) == (2, True)
    assert not (data_dir / NEXT_FILE).exists()


@pytest.mark.parametrize(
    "damaged",
    [
        b"headwater identity keys\n" + b"xyz" * 22,
        b"headwater identity keys\n00ff00ff00ff\n",
        b"headwater identity keys\n" + b"\n" * 9,
    ],
)
def test_damaged_keys_are_refused(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(damaged)

    with pytest.raises(ConfigError, match="are damaged; restore"):
        load_key(tmp_path)


def test_next_keys_that_cannot_be_written_are_an_error_that_says_so(tmp_path: Path) -> None:
    load_key(tmp_path)
    (tmp_path / NEXT_FILE).mkdir()

    with pytest.raises(ConfigError, match="cannot make the next identity key"):
        next_key(tmp_path)
    (tmp_path / KEY_FILE).unlink()
    (tmp_path / KEY_FILE).mkdir()
    (tmp_path / NEXT_FILE).rmdir()
    (tmp_path / NEXT_FILE).write_bytes(NEW_KEY)
    with pytest.raises(ConfigError, match=r"cannot put identity\.key\.next in the place of identity\.key"):
        adopt_next_key(tmp_path)


def test_charges_read_no_further_than_needed_are_those_that_were_packed() -> None:
    for number, user in enumerate((ADA, "anonymous", "a name")):
        data = packing.pack(charge(number, user=user, ended_ms=NOV_23_MS + number))
        assert user_of(data) == user
        assert ended_ms_of(data) == NOV_23_MS + number
        assert packing.unpack(renaming.renamed(data, lambda _: BOB)) == charge(
            number, user=BOB, ended_ms=NOV_23_MS + number
        )
        assert packing.unpack(renaming.renamed(data, lambda _: "nobody")).user == "nobody"
