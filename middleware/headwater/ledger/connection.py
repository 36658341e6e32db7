"""Connections to the store that fail fast and never repeat a command by themselves, and the one error for all they raise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from headwater.errors import LedgerError

SHIP_TIMEOUT_S: Final = 0.25
READ_TIMEOUT_S: Final = 5.0

ClientFactory = Callable[[str, float], "redis.Redis"]
"""From a URL and a socket timeout in seconds, a client that does not retry."""


class StoreError(LedgerError):
    """The store cannot be reached or refused a command for now; nothing is known to be lost."""


def connect(url: str, timeout_s: float) -> redis.Redis:
    """A client that fails fast and never repeats a command by itself."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=False,
        client_name="headwater",
    )


def connect_cluster(url: str, timeout_s: float) -> redis.RedisCluster:
    """The same for a cluster that the server at an address belongs to."""
    return redis.RedisCluster.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=False,
        client_name="headwater",
    )


@contextmanager
def refusals() -> Iterator[None]:
    """Tell the driver's errors as one of the ledger's."""
    try:
        yield
    except RedisError as error:
        raise StoreError(f"the ledger's store does not answer as it should: {error}") from error
