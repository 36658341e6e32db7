"""What takes a moment, or looks into the ledger's own keys, to find out about a store. For `headwater doctor`; changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

from redis.exceptions import NoPermissionError, RedisError

from headwater.ledger import schema
from headwater.ledger.health import Finding, ask, mib, servers, text

LATENCY_WARNING_S: Final = 0.05
"""A fifth of the time-out of the ledger's commands."""
_PINGS_COUNT: Final = 20
_SLOW_COUNT: Final = 128
_TELLING_COUNT: Final = 1_000
_SCRIPTS: Final = (b"EVAL", b"EVALSHA", b"FCALL")


def refusal(client: Any) -> str:
    """Why a store does not answer; empty where it does. To be forbidden to PING is an answer."""
    try:
        client.ping()
    except NoPermissionError:
        return ""
    except RedisError as error:
        return str(error) or type(error).__name__
    return ""


def is_cluster(client: Any) -> bool:
    """Whether a server belongs to a cluster, as far as it says."""
    try:
        return bool(client.info("cluster").get("cluster_enabled"))
    except RedisError:
        return False


def shut(client: Any) -> Finding:
    """Whether a server of our own can be reached over the network, which it must not be."""
    ports = {facts.options.get("port") for facts in (ask(server) for _, server in servers(client))}
    if ports == {"0"}:
        return Finding(level="ok", name="network", found="it listens on its Unix socket alone")
    return Finding(
        level="error",
        name="network",
        found=f"the embedded server listens on port {', '.join(map(str, ports))}",
        remedy="somebody changed it: end it, and the next start shuts the port; see who can reach its socket",
    )


def latency(client: Any, *, monotonic: Callable[[], float] = time.perf_counter) -> Finding:
    """How long the store takes for the least of commands."""
    taken_s = []
    try:
        for _ in range(_PINGS_COUNT):
            begun_s = monotonic()
            client.ping()
            taken_s.append(monotonic() - begun_s)
    except RedisError as error:
        return Finding(level="unknown", name="latency", found=f"not known, because PING: {error}")
    found = (
        f"{median(taken_s) * 1000:.2f} ms to answer PING (median of {_PINGS_COUNT}, at most {max(taken_s) * 1000:.2f})"
    )
    if median(taken_s) <= LATENCY_WARNING_S:
        return Finding(level="ok", name="latency", found=found)
    return Finding(
        level="warning",
        name="latency",
        found=f"{found}: one command takes much of the 250 ms that the ledger waits for",
        remedy="put the store nearer, or see what keeps it busy: SLOWLOG GET",
    )


def slow_scripts(client: Any) -> Finding:
    """The scripts among the commands that the server noted as slow. Their arguments are left out: they name users."""
    try:
        noted = client.slowlog_get(_SLOW_COUNT)
    except RedisError as error:
        return Finding(level="unknown", name="slow scripts", found=f"not known, because SLOWLOG GET: {error}")
    taken_ms = [each["duration"] / 1000 for each in noted if bytes(each["command"]).upper().startswith(_SCRIPTS)]
    if not taken_ms:
        return Finding(level="ok", name="slow scripts", found="none noted")
    return Finding(
        level="ok",
        name="slow scripts",
        found=f"{len(taken_ms)} of the last {len(noted)} slow commands, the slowest {max(taken_ms):,.1f} ms",
    )


def contents(client: Any, shards_count: int) -> Finding:
    """How much lies in the store, and how much memory it takes."""
    try:
        charges_count = sum(client.xlen(schema.stream_key(shard)) for shard in range(shards_count))
        told = [(server.dbsize(), server.info("memory")) for _, server in servers(client)]
    except RedisError as error:
        return Finding(level="unknown", name="contents", found=f"not known, because {error}")
    used_bytes = sum(int(memory.get("used_memory_dataset", 0)) for _, memory in told)
    keys_count = sum(count for count, _ in told)
    # With fewer, most of it is not theirs.
    each = f", {used_bytes / keys_count:,.0f} bytes a key" if keys_count >= _TELLING_COUNT else ""
    found = f"{charges_count:,} charges kept one by one; {keys_count:,} keys, {mib(used_bytes)}{each}"
    return Finding(level="ok", name="contents", found=found)


def installation(client: Any, fingerprint: str | None) -> tuple[list[Finding], int]:
    """Findings on the schema, the key and the shards that stand in the store, and how many shards there are."""
    try:
        meta = {text(name): text(value) for name, value in client.hgetall(schema.META).items()}
        is_old = "schema" not in meta and bool(client.exists(schema.OLD_META))
    except RedisError as error:
        remedy = "let the ledger's user read and write the keys hw*"
        return [Finding(level="error", name="installation", found=str(error), remedy=remedy)], 1
    if is_old:
        found = "written by an older version of headwater"
        return [Finding(level="error", name="schema", found=found, remedy="headwater migrate")], 1
    if "key" not in meta:
        return [Finding(level="ok", name="installation", found="nothing was charged here yet")], 1
    shards_count = int(meta.get("shards", 1))
    version = meta.get("schema", str(schema.SCHEMA_VERSION))
    findings = [Finding(level="ok", name="schema", found=f"version {version}, {shards_count} shards")]
    if version != str(schema.SCHEMA_VERSION):
        found = f"version {version}, this version of headwater needs {schema.SCHEMA_VERSION}"
        remedy = "use the matching version of headwater, or another Redis database"
        findings = [Finding(level="error", name="schema", found=found, remedy=remedy)]
    if fingerprint is None:
        return [*findings, Finding(level="unknown", name="key", found="not known: there is no key here")], shards_count
    if meta["key"] == fingerprint:
        return [
            *findings,
            Finding(level="ok", name="key", found=f"the store's is this one ({fingerprint})"),
        ], shards_count
    key = Finding(
        level="error",
        name="key",
        found=f"the store was written with another identity key ({meta['key']}, here {fingerprint})",
        remedy="restore the key file of this installation, or use another Redis database",
    )
    return [*findings, key], shards_count
