"""When may a record leave the journal? When the store has it on disk. Answers without waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from redis.exceptions import MovedError, RedisError, ResponseError

from headwater.ledger import schema
from headwater.ledger.connection import SHIP_TIMEOUT_S, ClientFactory, StoreError, connect

# appendfsync everysec: "you may lose 1 second of data", and 2 when the disk is busy (redis.conf). Half a second on top.
SAFE_DELAY_S: Final = 2.5
# An fsync begins at most a second after the one before it began (redis.conf), and the server looks ten times a second.
FSYNC_S: Final = 1.5
_WAIT_MS: Final = 10_000
# Of INFO persistence.
_FSYNCS: Final = b"aof_pending_bio_fsync:"
_NO_FSYNC: Final = b"aof_pending_bio_fsync:0"
_WRITES: Final = b"aof_last_write_status:ok"


class Durability(Protocol):
    """Tells whether all that was applied before a mark is on the store's disk."""

    def begin(self) -> None:
        """Set the mark."""

    def done(self) -> bool:
        """Whether the mark is reached. Raises StoreError when the store may have restarted since: set a new one."""

    def cancel(self) -> None:
        """Forget the mark."""


class SafeDelay:
    """Durable after a delay that an `everysec` file needs at most."""

    def __init__(self, *, delay_s: float = SAFE_DELAY_S, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._delay_s = delay_s
        self._monotonic = monotonic
        self._due_s = float("inf")

    def begin(self) -> None:
        """Start the delay."""
        self._due_s = self._monotonic() + self._delay_s

    def done(self) -> bool:
        """Whether the delay is over."""
        return self._monotonic() >= self._due_s

    def cancel(self) -> None:
        """Forget the delay."""
        self._due_s = float("inf")


class WaitAof:
    """Durable when the server has fsynced its append-only file (WAITAOF: Redis 7.2, Valkey), and as many replicas as asked
    for theirs; a delay on servers without WAITAOF, or without such a file.

    WAITAOF speaks of the writes of its own connection. The mark is therefore a write on a connection of its own: once
    that is on disk, so is everything that the server had applied before it.

    The answer of WAITAOF alone is not enough. With `appendfsync everysec`, Redis before the fix of
    https://github.com/redis/redis/pull/13793 and Valkey (seen in 9.1.2 under strace: 12 confirmations, 3 fsyncs) confirm
    what is written to the file and not yet fsynced. So the server is then asked twice whether an fsync is under way: at a
    moment without one, the next begins within `fsync_s`, and at a later moment without one it is over.
    """

    def __init__(
        self,
        url: str,
        *,
        client_factory: ClientFactory = connect,
        delay: Durability | None = None,
        replicas_count: int = 0,
        fsync_s: float = FSYNC_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client: Any = client_factory(url, SHIP_TIMEOUT_S)
        self._delay: Durability = SafeDelay() if delay is None else delay
        self._replicas_count = replicas_count
        self._fsync_s = fsync_s
        self._monotonic = monotonic
        self._connection: Any = None
        self._supported = True
        self._is_written = False
        self._due_s: float | None = None
        """From when on an fsync of the mark has begun; None while that is not known."""

    def begin(self) -> None:
        """Write the mark and start waiting for it, without blocking."""
        self._delay.begin()
        if not self._supported:
            return
        self._drop()
        try:
            self._connection = self._client.connection_pool.get_connection()
            self._connection.send_command("HINCRBY", schema.META, "marks", "1")
            self._connection.read_response()
            self._connection.send_command("WAITAOF", "1", str(self._replicas_count), str(_WAIT_MS))
        except MovedError:
            self.cancel()
            self._supported = False  # a cluster has no one connection that speaks for all
        except RedisError as error:
            self.cancel()
            raise StoreError(f"the ledger's store does not answer as it should: {error}") from error

    def done(self) -> bool:
        """Whether the server has the mark on disk."""
        if not self._supported:
            return self._delay.done()
        try:
            return self._is_confirmed() and self._is_fsynced()
        except ResponseError:
            self._supported = False
            self._drop()
            return self._delay.done()
        except RedisError as error:
            self.cancel()
            raise StoreError(f"the ledger's store does not answer as it should: {error}") from error

    def _is_confirmed(self) -> bool:
        if self._is_written:
            return True
        if not self._connection.can_read(0):
            return False
        local, replicas = self._connection.read_response()
        if local < 1 or replicas < self._replicas_count:
            self.begin()
            return False
        self._is_written = True
        return True

    def _is_fsynced(self) -> bool:
        now_s = self._monotonic()
        if self._due_s is not None and now_s < self._due_s:
            return False
        self._connection.send_command("INFO", "persistence")
        facts = self._connection.read_response()
        if _NO_FSYNC not in facts or _WRITES not in facts:
            if _FSYNCS not in facts:
                raise ResponseError("the server does not tell of its fsyncs")
            return False
        if self._due_s is None:
            self._due_s = now_s + self._fsync_s
            return False
        self._release()
        return True

    def cancel(self) -> None:
        """Forget the mark, and close the connection; the next mark opens one."""
        self._drop()
        self._client.close()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._release()

    def _release(self) -> None:
        self._client.connection_pool.release(self._connection)
        self._connection = None
        self._is_written, self._due_s = False, None
