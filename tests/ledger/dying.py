"""A client of the store that dies at its n-th round trip: with the command unsent, or done and unheard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
from redis.connection import ConnectionPool, UnixDomainSocketConnection

from headwater.endpoint import Endpoint
from headwater.ledger.connection import ClientFactory


class Died(BaseException):
    """The end of a process: nothing of ours may catch it."""


class Life:
    """How many round trips are left, over all connections of a process."""

    def __init__(self, trips_count: int, *, is_heard: bool) -> None:
        self.left_count = trips_count
        self._is_heard = is_heard

    def send(self, send: Callable[[], None]) -> None:
        """One round trip."""
        self.left_count -= 1
        if self.left_count >= 0:
            send()
            return
        if self._is_heard:
            send()
        raise Died


def dying(life: Life) -> ClientFactory:
    """Clients that share a life."""

    class Connection(UnixDomainSocketConnection):
        def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            life.send(lambda: super(Connection, self).send_packed_command(command, check_health=check_health))  # type: ignore[no-untyped-call]

    def connect(endpoint: Endpoint, timeout_s: float) -> redis.Redis:
        path = endpoint.url.removeprefix("unix://")
        pool = ConnectionPool(
            connection_class=Connection, path=path, socket_timeout=5.0, decode_responses=False, protocol=2
        )
        return redis.Redis(connection_pool=pool)

    return connect
