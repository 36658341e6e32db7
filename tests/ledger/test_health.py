"""What a store says of itself, and what that means for the ledger: nothing guessed, nothing said twice, no crash."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from headwater.ledger import health, probes, schema
from headwater.ledger.health import Facts, Finding, ask, examine, judge
from headwater.ledger.redis import Store
from headwater.records import Charge
from tests.ledger.support import KEY, Server, charge

SOUND: dict[str, Any] = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.2",
    "maxmemory_policy": "noeviction",
    "maxmemory": 0,
    "evicted_keys": 0,
    "used_memory": 2**20,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "role": "master",
    "connected_slaves": 0,
    "cluster_enabled": 0,
}
OPTIONS = {"appendfsync": "everysec", "save": "", "stop-writes-on-bgsave-error": "yes", "min-replicas-to-write": "0"}
REPLICA = {"ip": "10.0.0.2", "port": 6379, "state": "online", "offset": 1, "lag": 0}


def facts(info: Mapping[str, Any] | None = None, **changes: Any) -> Facts:
    """A sound server's words, some of them changed."""
    given = {"info": {**SOUND, **(info or {})}, "options": OPTIONS, "ahead_s": 0.0, **changes}
    return Facts(**given)


def about(name: str, some: Facts) -> Finding:
    return next(finding for finding in judge(some) if finding.name == name)


def test_a_sound_server_has_nothing_to_warn_of() -> None:
    assert {finding.name: finding.level for finding in judge(facts())} == dict.fromkeys(
        ("version", "eviction", "memory", "persistence", "replication", "clock"), "ok"
    )


@pytest.mark.parametrize(
    ("name", "level", "info", "words"),
    [
        ("version", "error", {"redis_version": "5.0.7", "valkey_version": None}, ["Redis 5.0.7", "6.2 or later"]),
        ("version", "warning", {"redis_version": "7.0.15", "valkey_version": None}, ["WAITAOF", "7.2 or later"]),
        ("version", "ok", {"redis_version": "8.0.1", "valkey_version": None}, ["Redis 8.0.1"]),
        ("version", "ok", {}, ["Valkey 9.1.2"]),
        ("version", "unknown", {"redis_version": "next"}, ["not known"]),
        ("eviction", "warning", {"maxmemory_policy": "allkeys-lru"}, ["as soon as maxmemory is set", "to noeviction"]),
        ("eviction", "error", {"maxmemory_policy": "volatile-ttl", "maxmemory": 9**9}, ["memory runs short"]),
        (
            "eviction",
            "error",
            {"maxmemory_policy": "volatile-lru", "maxmemory": 9**9, "evicted_keys": 1200},
            ["1,200 keys are gone"],
        ),
        ("eviction", "error", {"evicted_keys": 3}, ["3 keys were deleted", "headwater audit"]),
        ("memory", "ok", {"maxmemory": 2**21}, ["1.0 MiB used of 2.0 MiB"]),
        ("memory", "warning", {"maxmemory": 2**20 + 1}, ["raise maxmemory"]),
        ("memory", "error", {"maxmemory": 2**20}, ["takes no more charges"]),
        ("persistence", "error", {"aof_enabled": 0}, ["append-only", "appendonly yes"]),
        ("persistence", "error", {"aof_last_write_status": "err"}, ["wait in the journals", "disk"]),
        ("persistence", "warning", {"aof_last_bgrewrite_status": "err"}, ["rewrite", "room"]),
        ("snapshots", "warning", {"rdb_last_bgsave_status": "err"}, ["last snapshot failed"]),
        (
            "replication",
            "error",
            {"role": "slave", "master_link_status": "down"},
            ["replica", "down", "HEADWATER_REDIS_URL"],
        ),
        ("replication", "warning", {"connected_slaves": 1, "slave0": REPLICA}, ["min-replicas-to-write"]),
        (
            "replication",
            "warning",
            {"connected_slaves": 2, "slave0": REPLICA, "slave1": {**REPLICA, "state": "wait_bgsave"}},
            ["2 replicas, 1 not in step"],
        ),
    ],
)
def test_each_fault_has_its_level_and_its_remedy(name: str, level: str, info: dict[str, Any], words: list[str]) -> None:
    finding = about(name, facts(info))

    assert finding.level == level
    for word in words:
        assert word in f"{finding.found}; {finding.remedy}"
    assert bool(finding.remedy) == (level in ("warning", "error"))


def test_what_only_the_options_say_is_judged_by_them() -> None:
    assert about("persistence", facts(options={"appendfsync": "no"})).level == "error"
    assert "fsync always" in about("persistence", facts(options={"appendfsync": "always"})).found
    assert about("snapshots", facts({"rdb_last_bgsave_status": "err"}, options={})).level == "error"
    with_replica = {"connected_slaves": 1, "slave0": REPLICA}
    assert about("replication", facts(with_replica, options={"min-replicas-to-write": "1"})).level == "ok"


@pytest.mark.parametrize(
    ("ahead_s", "doubt_s", "level"),
    [
        (1.9, 0.0, "ok"),
        (-2.1, 0.0, "warning"),
        (2.1, 0.2, "ok"),  # no more is certain than 1.9 s
        (61.0, 0.0, "error"),
        (-61.0, 2.0, "warning"),
    ],
)
def test_a_clock_is_off_by_what_is_certain(ahead_s: float, doubt_s: float, level: str) -> None:
    finding = about("clock", facts(ahead_s=ahead_s, ahead_doubt_s=doubt_s))

    assert finding.level == level
    if level != "ok":
        assert ("ahead of" if ahead_s > 0 else "behind") in finding.found


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ({"cluster_state": "ok", "cluster_slots_ok": "16384"}, "ok"),
        ({"cluster_state": "fail", "cluster_slots_ok": "16384"}, "error"),
        ({"cluster_state": "ok", "cluster_slots_ok": "16000"}, "error"),
        ({}, "unknown"),
    ],
)
def test_a_cluster_serves_all_slots_or_says_which_wait(said: dict[str, str], level: str) -> None:
    assert about("cluster", facts({"cluster_enabled": 1}, cluster=said)).level == level


@given(st.sets(st.sampled_from(sorted(SOUND))))
def test_what_a_server_does_not_say_is_unknown_and_never_an_error(silent: set[str]) -> None:
    said = {name: value for name, value in SOUND.items() if name not in silent}

    levels = {finding.name: finding.level for finding in judge(Facts(info=said))}

    assert set(levels.values()) <= {"ok", "unknown"}
    assert levels["clock"] == "unknown"


def test_a_real_server_is_examined_and_its_port_is_shut(server: Server) -> None:
    client = redis.Redis.from_url(server.url, protocol=2)
    with client:
        found = ask(client)
        assert found.refused == {}
        assert found.options["appendfsync"] == "everysec"
        assert found.options["port"] == "0"
        assert found.ahead_s is not None
        assert abs(found.ahead_s) <= found.ahead_doubt_s + 1.0
        assert {finding.level for finding in examine(client)} == {"ok"}
        assert probes.refusal(client) == ""
        assert probes.is_cluster(client) is False
        assert probes.shut(client).level == "ok"


def test_the_servers_socket_is_all_that_listens(own_server: Server) -> None:
    own_server.start()
    pid = int(own_server.client().info("server")["process_id"])

    inodes = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir()}
    held = {name.removeprefix("socket:[").removesuffix("]") for name in inodes if name.startswith("socket:[")}
    listening = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            listening.add(line.split()[9])

    assert held
    assert held & listening == set()


def test_a_server_of_our_own_with_an_open_port_is_an_error(own_server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own_server.start("--port", str(port), "--bind", "127.0.0.1")

    with redis.Redis.from_url(own_server.url, protocol=2) as client:
        finding = probes.shut(client)

    assert finding.level == "error"
    assert str(port) in finding.found


@pytest.fixture
def modest(server: Server) -> Iterator[redis.Redis]:
    """A client whose user may do what a ledger needs, and nothing that an administrator does."""
    server.command("ACL", "SETUSER", "modest", "on", ">secret", "~*", "&*", "+@all", "-@admin", "-@dangerous", "-ping")
    with redis.Redis.from_url(server.url.replace("unix://", "unix://modest:secret@"), protocol=2) as client:
        yield client
    server.command("ACL", "DELUSER", "modest")


def test_a_server_that_says_nothing_is_used_all_the_same(modest: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    findings = examine(modest)

    assert {finding.name: finding.level for finding in findings}["eviction"] == "unknown"
    assert all("no permissions" in finding.found for finding in findings if finding.level == "unknown")
    assert {finding.level for finding in findings} == {"ok", "unknown"}
    assert probes.refusal(modest) == ""
    assert probes.latency(modest).level == "unknown"
    assert probes.slow_scripts(modest).level == "unknown"
    assert probes.contents(modest, 1).level == "unknown"
    health.Watch(time.time).look(modest)
    assert caplog.text == ""


def test_a_store_that_does_not_answer_does_not_break_the_examination(own_server: Server) -> None:
    with redis.Redis.from_url(own_server.url, retry=None) as client:
        assert {finding.level for finding in examine(client)} == {"unknown"}
        assert "No such file" in probes.refusal(client)
        assert probes.is_cluster(client) is False
        findings, _ = probes.installation(client, KEY)
        assert [finding.level for finding in findings] == ["error"]


@pytest.fixture
def evicting(server: Server) -> Iterator[Server]:
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    yield server
    server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_what_is_wrong_is_logged_once_by_whoever_charges(evicting: Server, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(evicting.url)
    store.check(None)
    assert caplog.text == ""

    for _ in range(3):
        store.check(KEY)
        store.close()  # as after a failure

    assert caplog.text.count("set it to noeviction") == 1
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_store_is_examined_again_after_a_while_and_not_before(
    evicting: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    looked: list[float] = []

    def note(_: Any, *, clock: Callable[[], float]) -> list[Finding]:
        looked.append(clock())
        return []

    watch = health.Watch(lambda: now_s)
    monkeypatch.setattr(health, "examine", note)
    for at_s in (0.0, 1.0, health.WATCH_S - 1, health.WATCH_S, health.WATCH_S + 1):
        now_s = at_s
        watch.look(None)
    assert looked == [0.0, health.WATCH_S]

    monkeypatch.undo()
    now_s = 2 * health.WATCH_S
    with redis.Redis.from_url(evicting.url, protocol=2) as client:
        watch.look(client)
    assert "set it to noeviction" in caplog.text


class Old:
    """A server of before Redis 7, which gives one option at a time."""

    def execute_command(self, command: str, *words: str) -> Any:
        if command == "CONFIG GET" and len(words) > 1:
            raise redis.ResponseError("Unknown subcommand or wrong number of arguments for 'GET'. Try CONFIG HELP.")
        return {"CONFIG GET": dict.fromkeys(words, "no"), "INFO": dict(SOUND), "TIME": (1, 0)}[command]


def test_an_old_server_is_asked_for_one_option_at_a_time() -> None:
    found = ask(Old(), clock=lambda: 1.0)

    assert found.refused == {}
    assert found.options["appendfsync"] == found.options["port"] == "no"
    assert found.ahead_s == 0.0


def test_a_clock_that_is_off_is_said_at_start(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(server.url, clock=lambda: 0.0)

    store.check(KEY)
    store.close()

    assert "clock is" in caplog.text
    assert "NTP" in caplog.text


def test_a_store_that_talks_nonsense_is_still_used(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health, "ask", lambda *_, **__: facts({"aof_enabled": "perhaps"}))
    store = Store(server.url)

    store.check(KEY)
    store.close()

    assert "cannot be examined" in caplog.text


def test_every_primary_of_a_cluster_is_examined_by_its_address(server: Server) -> None:
    class Node:
        def __init__(self, name: str) -> None:
            self.name = name

    class Cluster:
        def get_primaries(self) -> list[Node]:
            return [Node("10.0.0.1:6379"), Node("10.0.0.2:6379")]

        def get_redis_connection(self, node: Node) -> Any:
            return client

    with redis.Redis.from_url(server.url, protocol=2) as client:
        names = {finding.name for finding in examine(Cluster())}

    assert {"version 10.0.0.1:6379", "version 10.0.0.2:6379"} <= names


def test_the_installation_is_read_and_not_made(server: Server) -> None:
    with redis.Redis.from_url(server.url) as client:
        findings, shards_count = probes.installation(client, KEY)

    assert [finding.level for finding in findings] == ["ok"]
    assert shards_count == 1
    assert server.command("KEYS", "*") == []


def test_another_key_and_another_schema_are_errors_with_a_remedy(server: Server) -> None:
    store = Store(server.url)
    store.check(KEY)
    store.close()
    with redis.Redis.from_url(server.url) as client:

        def levels(fingerprint: str | None) -> dict[str, str]:
            return {each.name: each.level for each in probes.installation(client, fingerprint)[0]}

        assert levels(KEY) == {"schema": "ok", "key": "ok"}
        assert levels(None) == {"schema": "ok", "key": "unknown"}
        assert levels("fedcba9876543210") == {"schema": "ok", "key": "error"}
        server.command("HSET", schema.META, "schema", "999")
        assert levels(KEY) == {"schema": "error", "key": "ok"}


def test_what_lies_in_the_store_is_counted_with_its_memory(
    server: Server, add: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    one: Charge = charge(1)
    add(one, charge(2, user="b0" * 16))

    with redis.Redis.from_url(server.url) as client:
        before = probes.contents(client, 1).found
        monkeypatch.setattr(probes, "_TELLING_COUNT", 1)
        after = probes.contents(client, 1).found

    assert before.startswith(f"2 charges kept one by one; {server.command('DBSIZE')} keys, ")
    assert "bytes a key" not in before
    assert "bytes a key" in after


def test_a_slow_answer_is_a_warning(server: Server) -> None:
    ticks = iter(range(1000))

    with redis.Redis.from_url(server.url) as client:
        assert probes.latency(client).level == "ok"
        slow = probes.latency(client, monotonic=lambda: float(next(ticks)))

    assert slow.level == "warning"
    assert "1000.00 ms" in slow.found


def test_slow_scripts_are_counted_without_their_arguments(server: Server) -> None:
    server.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
    server.command("SLOWLOG", "RESET")
    try:
        with redis.Redis.from_url(server.url) as client:
            assert probes.slow_scripts(client).found == "none noted"
            client.eval("return ARGV[1]", 0, "secret")
            found = probes.slow_scripts(client).found
    finally:
        server.command("CONFIG", "SET", "slowlog-log-slower-than", "10000")

    assert found.startswith("1 of the last")
    assert "secret" not in found
