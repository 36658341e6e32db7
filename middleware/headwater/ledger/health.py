"""What is right and what is wrong with the ledger's store, in words. Reads what servers say of themselves; changes nothing.

`ask` talks to one server, `judge` is pure. What a server will not say, as managed ones often do, is `unknown`: never
guessed, and never an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from logging import getLogger
from typing import Any, Final, Literal

from redis.exceptions import RedisError

log: Final = getLogger("headwater.ledger")

Level = Literal["ok", "unknown", "warning", "error"]

# XTRIM MINID, and ranges of a stream that leave out their first id: Redis 6.2. WAITAOF: Redis 7.2.
LEAST_VERSION: Final = (6, 2)
WAITAOF_VERSION: Final = (7, 2)
CLOCK_WARNING_S: Final = 2.0
CLOCK_ERROR_S: Final = 60.0
MEMORY_WARNING_RATIO: Final = 0.9
SLOTS_COUNT: Final = 16_384
WATCH_S: Final = 600.0
"""A store that comes and goes is not examined each time: that takes as long as some batches."""
_OPTIONS: Final = ("appendfsync", "save", "stop-writes-on-bgsave-error", "min-replicas-to-write", "port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    name: str
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one server says of itself. What it refuses to say is not there; `refused` has its words, by command."""

    info: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    cluster: Mapping[str, str] = field(default_factory=dict)
    ahead_s: float | None = None
    """By how much its clock is ahead of this machine's."""
    ahead_doubt_s: float = 0.0
    """Half the round trip: the clock was read somewhere in it."""
    refused: Mapping[str, str] = field(default_factory=dict)

    def why_not(self, command: str) -> str:
        """Why something is not known."""
        said = self.refused.get(command)
        return f"not known: {command} says nothing of it" if said is None else f"not known, because {command}: {said}"


def servers(client: Any) -> list[tuple[str, Any]]:
    """The servers that take charges: every primary of a cluster with its address, or the one server, without a name."""
    if not hasattr(client, "get_primaries"):
        return [("", client)]
    return [(str(node.name), client.get_redis_connection(node)) for node in client.get_primaries()]


def ask(client: Any, *, clock: Callable[[], float] = time.time) -> Facts:
    """What a server says of itself: a few short commands, none of which changes anything."""
    refused: dict[str, str] = {}

    def answer(command: str, *words: str) -> Any:
        try:
            return client.execute_command(command, *words)
        except RedisError as error:
            refused[command] = str(error) or type(error).__name__
            return None

    info = answer("INFO") or {}
    options = answer("CONFIG GET", *_OPTIONS) or {}
    if "wrong number" in refused.get("CONFIG GET", ""):  # before Redis 7: one by one
        del refused["CONFIG GET"]
        for name in _OPTIONS:
            options |= answer("CONFIG GET", name) or {}
    cluster = (answer("CLUSTER INFO") if info.get("cluster_enabled") else None) or {}
    before_s = clock()
    told = answer("TIME")
    after_s = clock()
    ahead_s = None if told is None else told[0] + told[1] / 1e6 - (before_s + after_s) / 2
    return Facts(
        info=info,
        options={text(name): text(value) for name, value in options.items()},
        cluster={text(name): text(value) for name, value in cluster.items()},
        ahead_s=ahead_s,
        ahead_doubt_s=(after_s - before_s) / 2,
        refused=refused,
    )


def text(value: Any) -> str:
    """Bytes from the driver as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def judge(facts: Facts) -> list[Finding]:
    """What a server's own words mean for the ledger."""
    return [finding for look in _LOOKS for finding in look(facts)]


def examine(client: Any, *, clock: Callable[[], float] = time.time) -> list[Finding]:
    """Findings about every server behind a client; those of a cluster carry its address in their name."""
    return [
        replace(finding, name=f"{finding.name} {address}".rstrip())
        for address, server in servers(client)
        for finding in judge(ask(server, clock=clock))
    ]


class Watch:
    """Logs what is wrong with a store: each thing once, and looks again only after a while, however often it is asked to."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: set[str] = set()
        self._next_s = float("-inf")

    def look(self, client: Any) -> None:
        """Never raises: charges are shipped all the same."""
        if self._clock() < self._next_s:
            return
        self._next_s = self._clock() + WATCH_S
        try:
            findings = examine(client, clock=self._clock)
        except Exception:  # a store that talks nonsense about itself may still keep accounts
            log.exception("the ledger's store cannot be examined")
            return
        for finding in findings:
            if finding.level in ("warning", "error") and finding.name not in self._said:
                self._said.add(finding.name)
                log.warning("the ledger's store, %s: %s; %s", finding.name, finding.found, finding.remedy)


# -- what is looked at ------------------------------------------------------------------------------------------------


def _version(facts: Facts) -> Iterator[Finding]:
    said = str(facts.info.get("redis_version", ""))
    version = tuple(int(part) for part in said.split(".")[:2] if part.isdigit())
    if len(version) < 2:
        yield Finding(level="unknown", name="version", found=facts.why_not("INFO"))
        return
    valkey = facts.info.get("valkey_version")
    shown = f"Redis {said}" if valkey is None else f"Valkey {valkey}"
    if version < LEAST_VERSION:
        yield Finding(
            level="error",
            name="version",
            found=f"{shown} lacks commands of Redis {_dotted(LEAST_VERSION)}, and cannot take charges",
            remedy=f"install Redis {_dotted(LEAST_VERSION)} or later, better {_dotted(WAITAOF_VERSION)}, or any Valkey",
        )
    elif version < WAITAOF_VERSION:
        yield Finding(
            level="warning",
            name="version",
            found=f"{shown} has no WAITAOF: charges leave the journal after a delay, not when the disk has them",
            remedy=f"install Redis {_dotted(WAITAOF_VERSION)} or later, or any Valkey",
        )
    else:
        yield Finding(level="ok", name="version", found=shown)


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _eviction(facts: Facts) -> Iterator[Finding]:
    policy = facts.info.get("maxmemory_policy")
    if policy is None:
        yield Finding(level="unknown", name="eviction", found=facts.why_not("INFO"))
        return
    remedy = "set it to noeviction: CONFIG SET maxmemory-policy noeviction, and in the server's configuration"
    evicted_count = int(facts.info.get("evicted_keys", 0))
    limit_bytes = int(facts.info.get("maxmemory", 0))
    if policy != "noeviction":
        # Volatile policies, too: all accounts have a time to live.
        when = "as soon as memory runs short" if limit_bytes else "as soon as maxmemory is set"
        yield Finding(
            level="error" if limit_bytes else "warning",
            name="eviction",
            found=f"maxmemory-policy is {policy}: the server deletes accounts {when}"
            + (f"; {evicted_count:,} keys are gone already" if evicted_count else ""),
            remedy=remedy,
        )
    elif evicted_count:
        yield Finding(
            level="error",
            name="eviction",
            found=f"{evicted_count:,} keys were deleted under another policy since the server's start; accounts may be missing",
            remedy="recount the accounts from the single charges: headwater audit",
        )
    else:
        yield Finding(level="ok", name="eviction", found="noeviction")


def _memory(facts: Facts) -> Iterator[Finding]:
    used_bytes, limit_bytes = facts.info.get("used_memory"), int(facts.info.get("maxmemory", 0))
    if used_bytes is None:
        yield Finding(level="unknown", name="memory", found=facts.why_not("INFO"))
        return
    if not limit_bytes:
        yield Finding(level="ok", name="memory", found=f"{mib(used_bytes)} used, no limit set")
        return
    found = f"{mib(used_bytes)} used of {mib(limit_bytes)} (maxmemory)"
    remedy = "raise maxmemory, or move the ledger to a larger server"
    if used_bytes >= limit_bytes:
        found += ": the server takes no more charges, they wait in the journals"
        yield Finding(level="error", name="memory", found=found, remedy=remedy)
    elif used_bytes >= MEMORY_WARNING_RATIO * limit_bytes:
        yield Finding(level="warning", name="memory", found=found, remedy=remedy)
    else:
        yield Finding(level="ok", name="memory", found=found)


def mib(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**20:,.1f} MiB"


def _persistence(facts: Facts) -> Iterator[Finding]:
    name, info = "persistence", facts.info
    if "aof_enabled" not in info:
        yield Finding(level="unknown", name=name, found=facts.why_not("INFO"))
        return
    fsync = facts.options.get("appendfsync")
    if not int(info["aof_enabled"]):
        yield Finding(
            level="error",
            name=name,
            found="there is no append-only file: a server that dies loses the charges since its last snapshot, or all",
            remedy="CONFIG SET appendonly yes, and in the server's configuration",
        )
    elif info.get("aof_last_write_status", "ok") != "ok":
        yield Finding(
            level="error",
            name=name,
            found="the server cannot write its append-only file and takes no charges; they wait in the journals",
            remedy="make room on the server's disk, and see its log",
        )
    elif fsync == "no":
        yield Finding(
            level="error",
            name=name,
            found="appendfsync is no: nobody knows when a charge is on disk, so that journals are kept and grow",
            remedy="CONFIG SET appendfsync everysec, and in the server's configuration",
        )
    elif info.get("aof_last_bgrewrite_status", "ok") != "ok":
        yield Finding(
            level="warning",
            name=name,
            found="the last rewrite of the append-only file failed: the file grows without end",
            remedy="see the server's log; there must be room on its disk for two such files, and memory to fork",
        )
    else:
        fsync = fsync or "how is " + facts.why_not("CONFIG GET")
        yield Finding(level="ok", name=name, found=f"append-only file, fsync {fsync}")
    yield from _snapshots(facts)


def _snapshots(facts: Facts) -> Iterator[Finding]:
    if facts.info.get("rdb_last_bgsave_status", "ok") == "ok":
        return
    halts = facts.options.get("stop-writes-on-bgsave-error") != "no" and facts.options.get("save") != ""
    yield Finding(
        level="error" if halts else "warning",
        name="snapshots",
        found="the last snapshot failed" + (", and until one succeeds the server may refuse charges" if halts else ""),
        remedy="see the server's log; there must be room on its disk, and memory to fork",
    )


def _role(facts: Facts) -> Iterator[Finding]:
    role = facts.info.get("role")
    if role is None:
        yield Finding(level="unknown", name="replication", found=facts.why_not("INFO"))
    elif role != "master":
        link = facts.info.get("master_link_status", "unknown")
        yield Finding(
            level="error",
            name="replication",
            found=f"this server is a replica (link to its primary: {link}) and takes no charges",
            remedy="name the primary in HEADWATER_REDIS_URL",
        )
    else:
        yield _replicas(facts)


def _replicas(facts: Facts) -> Finding:
    count = int(facts.info.get("connected_slaves", 0))
    lines = [facts.info.get(f"slave{number}") for number in range(count)]
    away = sum(isinstance(line, Mapping) and line.get("state") != "online" for line in lines)
    least = facts.options.get("min-replicas-to-write")
    if not count:
        return Finding(level="ok", name="replication", found="a primary without replicas")
    found = f"a primary with {count} replicas" if count > 1 else "a primary with a replica"
    if away:
        remedy = "wait for them, or see their logs"
        return Finding(level="warning", name="replication", found=f"{found}, {away} not in step", remedy=remedy)
    if least == "0":
        return Finding(
            level="warning",
            name="replication",
            found=f"{found}, but min-replicas-to-write is 0: cut off from them it takes charges that a failover loses",
            remedy="CONFIG SET min-replicas-to-write 1, and in the servers' configuration",
        )
    return Finding(level="ok", name="replication", found=found)


def _clock(facts: Facts) -> Iterator[Finding]:
    if facts.ahead_s is None:
        yield Finding(level="unknown", name="clock", found=facts.why_not("TIME"))
        return
    # No more than is certain: the store's clock was read at some moment of the round trip.
    least_s = max(0.0, abs(facts.ahead_s) - facts.ahead_doubt_s)
    if least_s <= CLOCK_WARNING_S:
        found = f"within {abs(facts.ahead_s) + facts.ahead_doubt_s:.3f} s of this machine's"
        yield Finding(level="ok", name="clock", found=found)
        return
    way = "ahead of" if facts.ahead_s > 0 else "behind"
    yield Finding(
        level="error" if least_s > CLOCK_ERROR_S else "warning",
        name="clock",
        found=f"the store's clock is {least_s:,.1f} s {way} this machine's: days and months begin apart",
        remedy="let both machines follow a time server (NTP)",
    )


def _cluster(facts: Facts) -> Iterator[Finding]:
    if not facts.info.get("cluster_enabled"):
        return
    state, covered = facts.cluster.get("cluster_state"), int(facts.cluster.get("cluster_slots_ok", 0))
    if state is None:
        yield Finding(level="unknown", name="cluster", found=facts.why_not("CLUSTER INFO"))
    elif state != "ok" or covered < SLOTS_COUNT:
        yield Finding(
            level="error",
            name="cluster",
            found=f"cluster_state is {state}, {covered:,} of {SLOTS_COUNT:,} slots are served: some users' charges wait",
            remedy="bring the missing primaries back, or assign their slots: CLUSTER NODES shows which",
        )
    else:
        yield Finding(level="ok", name="cluster", found=f"all {SLOTS_COUNT:,} slots are served")


_LOOKS: Final = (_version, _eviction, _memory, _persistence, _role, _clock, _cluster)
