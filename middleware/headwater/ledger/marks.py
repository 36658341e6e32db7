"""One server's mark: a write on a connection of its own, and the server's word on where that is. Waits for nothing.

The answer of WAITAOF alone is not enough. With `appendfsync everysec`, Redis before the fix of
https://github.com/redis/redis/pull/13793 and Valkey (seen in 9.1.2 under strace: 12 confirmations, 3 fsyncs) confirm what is
written to the file and not yet fsynced. So the server is then asked twice whether an fsync is under way: at a moment
without one, the next begins within a known time, and at a later moment without one it is over.
"""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any, Final

from redis.exceptions import ResponseError

log: Final = getLogger("headwater.ledger")

_WAIT_MS: Final = 10_000
_PENDING: Final = "aof_pending_bio_fsync"


class Mark:
    """Set once; a new one takes its place."""

    def __init__(self, pool: Any, key: str, *, fsync_s: float, monotonic: Callable[[], float]) -> None:
        self._pool = pool
        self._key = key
        self._fsync_s = fsync_s
        self._monotonic = monotonic
        self._due_s: float | None = None
        """From when on an fsync of the mark has begun; None while that is not known."""
        self._is_fsynced = False
        self._connection: Any = None
        self._wanted_count = 0
        self._questions: list[str] = []
        self._counts: dict[str, int] = {}
        self.is_on_disk = True
        """False where the server keeps no file that it could speak of."""

    def send(self, *, replicas_count: int | None) -> None:
        """Write, and ask: is it on disk, and with how many replicas.

        `replicas_count`: how many must have it; None: one, where the server has any.

        Raises:
            RedisError: the server does not answer, or is no master of this key any more.
        """
        self._connection = self._pool.get_connection()
        self._ask("INCR", self._key)
        self._wanted_count = min(1, self._replicas_count()) if replicas_count is None else replicas_count
        self._later("WAITAOF", "1", "0")
        if self._wanted_count:
            self._later("WAIT", str(self._wanted_count))

    def _replicas_count(self) -> int:
        """How many replicas might take over. A cluster elects one whose link is down; other servers tell of links only."""
        replication = self._info("replication")
        if self._info("cluster").get("cluster_enabled") != "1":
            return int(replication.get("connected_slaves", 0))
        nodes = [line.split() for line in self._ask("CLUSTER", "NODES").decode().splitlines()]
        myself = next(node[0] for node in nodes if "myself" in node[2])
        return sum(node[3] == myself and "fail" not in node[2].split(",") for node in nodes)

    def _info(self, section: str) -> dict[str, str]:
        lines = self._ask("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _ask(self, *words: str) -> Any:
        self._connection.send_command(*words)
        return self._connection.read_response()

    def _later(self, *words: str) -> None:
        self._connection.send_command(*words, str(_WAIT_MS))
        self._questions.append(words[0])

    def is_answered(self) -> bool:
        """Whether the server has answered everything by now.

        Raises:
            RedisError: the connection is gone, or the server is no master any more.
        """
        while self._questions and self._connection.can_read(0):
            question = self._questions.pop(0)
            try:
                reply = self._connection.read_response()
            except ResponseError as error:
                if question != "WAITAOF" or str(error).startswith("UNBLOCKED"):
                    raise
                self.is_on_disk = False
            else:
                self._counts[question] = int(reply[0] if question == "WAITAOF" else reply)
        if self._questions:
            return False
        return not self.is_on_disk or self._counts["WAITAOF"] < 1 or self._has_fsynced()

    def _has_fsynced(self) -> bool:
        """Whether an fsync has begun and ended since WAITAOF answered."""
        now_s = self._monotonic()
        if self._is_fsynced or (self._due_s is not None and now_s < self._due_s):
            return self._is_fsynced
        facts = self._info("persistence")
        if _PENDING not in facts:
            self.is_on_disk = False  # it does not tell of its fsyncs
            return True
        if facts[_PENDING] == "0" and facts.get("aof_last_write_status") == "ok":
            self._is_fsynced = self._due_s is not None
            self._due_s = now_s + self._fsync_s if self._due_s is None else self._due_s
        return self._is_fsynced

    @property
    def is_confirmed(self) -> bool:
        """Whether the answers were yes, as far as the server can say."""
        has_replicas = self._counts.get("WAIT", 0) >= self._wanted_count
        if not has_replicas:
            log.warning(
                "charges stay in the journal for now: %d of %d replicas of a server of the ledger's store have them after %g s",
                self._counts["WAIT"],
                self._wanted_count,
                _WAIT_MS / 1000,
            )
        return has_replicas and (not self.is_on_disk or self._counts["WAITAOF"] >= 1)

    def drop(self) -> None:
        """Give the connection back: closed, where answers are still to come."""
        if self._connection is not None:
            if self._questions:
                self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None
