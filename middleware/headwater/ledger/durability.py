"""When may a record leave the journal? When the store has it on disk, and where there are replicas, when one of them has it,
too: a failover goes on with what the replica knows. Answers without waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol

from redis.exceptions import RedisClusterException, RedisError

from headwater.endpoint import Endpoint, endpoint_of
from headwater.errors import LedgerError
from headwater.ledger import schema
from headwater.ledger.connection import SHIP_TIMEOUT_S, ClientFactory, connect, connect_cluster, refusals
from headwater.ledger.marks import Mark
from headwater.ledger.redis import CLUSTER_SHARDS

# appendfsync everysec: "you may lose 1 second of data", and 2 when the disk is busy (redis.conf). Half a second on top.
SAFE_DELAY_S: Final = 2.5
# An fsync begins at most a second after the one before it began (redis.conf), and the server looks ten times a second.
FSYNC_S: Final = 1.5
_POLL_S: Final = 0.05


class Durability(Protocol):
    """Tells whether all that was applied before a mark is where the store cannot lose it."""

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
    """Durable when every master that keeps accounts has it in its file (`WAITAOF`: Redis 7.2, Valkey) and has fsynced that
    since, and says that a replica has it (`WAIT`). A delay stands in on servers without WAITAOF, or without such a file.

    Both speak of the writes of their own connection. The mark is therefore a write on a connection of its own: once that is
    on disk, so is everything that the server had applied before it. In a cluster each master gets one: whatever was applied
    before lay on one of them then.
    """

    def __init__(
        self,
        where: str | Endpoint,
        *,
        client_factory: ClientFactory = connect,
        delay: Durability | None = None,
        fsync_s: float = FSYNC_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fsync_s = fsync_s
        self._monotonic = monotonic
        self._endpoint = endpoint_of(where)
        self._client: Any = client_factory(self._endpoint, SHIP_TIMEOUT_S)
        self._is_clustered: bool | None = None
        self._cluster: Any = None
        self._delay: Durability = SafeDelay() if delay is None else delay
        self._marks: list[Mark] = []

    def begin(self) -> None:
        """Write the mark and start waiting for it, without blocking."""
        self._drop()
        self._delay.begin()
        with self._ending():
            for pool, key in self._masters():
                mark = Mark(pool, key, fsync_s=self._fsync_s, monotonic=self._monotonic)
                self._marks.append(mark)
                mark.send(replicas_count=self._endpoint.replicas_count)

    def done(self) -> bool:
        """Whether the servers have confirmed the mark."""
        with self._ending():
            answered = [mark.is_answered() for mark in self._marks]  # of all, so that no answer waits too long
        if not answered or not all(answered):
            return False
        if not all(mark.is_confirmed for mark in self._marks):
            self.begin()
            return False
        if not all(mark.is_on_disk for mark in self._marks) and not self._delay.done():
            return False
        self._drop()
        return True

    def cancel(self) -> None:
        """Forget the mark, and close the connections; the next mark opens new ones."""
        self._drop()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """An error ends the mark: what was applied before it is in doubt."""
        try:
            with refusals():
                yield
        except LedgerError:
            if self._cluster is not None:
                with suppress(RedisError, RedisClusterException):
                    self._cluster.nodes_manager.initialize()  # perhaps others keep the accounts now
            self.cancel()
            raise

    def _masters(self) -> Iterable[tuple[Any, str]]:
        """Connections to the servers that keep accounts, each with a key that may be written there."""
        if self._is_clustered is None:
            self._is_clustered = bool(self._client.info("cluster").get("cluster_enabled"))
        if not self._is_clustered:
            return [(self._client.connection_pool, schema.mark_key(0))]
        if self._cluster is None:
            self._cluster = connect_cluster(self._endpoint, SHIP_TIMEOUT_S)
        masters: dict[str, tuple[Any, str]] = {}
        for key in map(schema.mark_key, range(CLUSTER_SHARDS)):
            node = self._cluster.get_node_from_key(key)
            masters.setdefault(node.name, (self._cluster.get_redis_connection(node).connection_pool, key))
        return masters.values()

    def _drop(self) -> None:
        for mark in self._marks:
            mark.drop()
        self._marks = []


def wait_durable(where: str | Endpoint, *, client_factory: ClientFactory = connect) -> None:
    """Wait until what was written is where the store cannot lose it.

    Raises:
        StoreError: the store failed meanwhile; what was written is in doubt.
    """
    policy = WaitAof(where, client_factory=client_factory)
    try:
        policy.begin()
        while not policy.done():
            threading.Event().wait(_POLL_S)
    finally:
        policy.cancel()
