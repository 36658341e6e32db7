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
_WAIT_MS: Final = 10_000


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
    """Durable when `WAITAOF` says so (Redis 7.2, Valkey); a delay on servers without it, or without such a file.

    WAITAOF speaks of the writes of its own connection. The mark is therefore a write on a connection of its own: once
    that is on disk, so is everything that the server had applied before it.
    """

    def __init__(self, url: str, *, client_factory: ClientFactory = connect, delay: Durability | None = None) -> None:
        self._client: Any = client_factory(url, SHIP_TIMEOUT_S)
        self._delay: Durability = SafeDelay() if delay is None else delay
        self._connection: Any = None
        self._supported = True

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
            self._connection.send_command("WAITAOF", "1", "0", str(_WAIT_MS))
        except MovedError:
            self.cancel()
            self._supported = False  # a cluster has no one connection that speaks for all
        except RedisError as error:
            self.cancel()
            raise StoreError(f"the ledger's store does not answer as it should: {error}") from error

    def done(self) -> bool:
        """Whether the server has confirmed the mark."""
        if not self._supported:
            return self._delay.done()
        try:
            if not self._connection.can_read(0):
                return False
            local, _ = self._connection.read_response()
        except ResponseError:
            self._supported = False
            self._release()
            return self._delay.done()
        except RedisError as error:
            self.cancel()
            raise StoreError(f"the ledger's store does not answer as it should: {error}") from error
        if local >= 1:
            self._release()
            return True
        self.begin()
        return False

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
