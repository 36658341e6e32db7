"""The ledger stream as one receiver reads it: a consumer group on every shard, which remembers what was delivered and what
the receiver has for good. At least once: what was delivered and never acknowledged comes again."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from redis.exceptions import ResponseError

from headwater.errors import ConfigError
from headwater.ledger import schema
from headwater.ledger.books import Books, Entry
from headwater.ledger.connection import refusals
from headwater.ledger.durability import SAFE_DELAY_S

CHUNK: Final = 500
DURABLE_S = SAFE_DELAY_S
"""How old a charge must be before it is handed out."""
_CONSUMER: Final = "headwater"
"""One name for all: who comes after a dead exporter takes up what that one had under way."""
_BEGINNING: Final = "0-0"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Position(NamedTuple):
    """A place in a stream: milliseconds since the epoch, and a number within them."""

    time_ms: int
    number: int

    @classmethod
    def read(cls, entry_id: str) -> Position:
        """The place that a stream id names."""
        time_ms, _, number = entry_id.partition("-")
        return cls(int(time_ms), int(number or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a receiver is on one shard. None: the server does not tell.

    `delivered`: stream id of the last entry handed out. `waiting_count`: entries not handed out yet. `unacknowledged_count`:
    handed out, and not acknowledged. `is_behind`: the last one handed out is older than the oldest that is kept.
    `missed_count`: entries that were removed before they were handed out.
    """

    shard: int
    delivered: str
    waiting_count: int | None
    unacknowledged_count: int
    is_behind: bool
    missed_count: int | None

    @property
    def has_missed(self) -> bool:
        """Whether entries were removed before they were handed out, as far as that is known."""
        return self.is_behind and self.missed_count != 0


class Subscription:
    """One receiver's view of all shards' charges. Every method raises StoreError when the store does not answer."""

    def __init__(self, books: Books, name: str, *, pause: Callable[[float], object] = time.sleep) -> None:
        self.name = name
        self._pause = pause
        self._books = books
        self._client: Any = books.store.client

    @property
    def shards(self) -> range:
        """The numbers of the shards."""
        return self._books.shards

    def begin(self, about: Mapping[str, str]) -> None:
        """Make the groups that are missing, from the oldest charge that is kept; keep what the receiver is, for `names`."""
        with refusals():
            self._client.hset(schema.EXPORTS, self.name, json.dumps(about))
            for shard in self.shards:
                try:
                    self._client.xgroup_create(schema.stream_key(shard), self.name, id="0", mkstream=True)
                except ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise

    def end(self, shard: int) -> Position:
        """The last charge of a shard, now."""
        with refusals():
            last = self._client.xrevrange(schema.stream_key(shard), count=1)
        return Position.read(last[0][0].decode() if last else _BEGINNING)

    def unacknowledged(self, shard: int) -> Iterator[tuple[list[Entry], list[str]]]:
        """What was handed out before and never acknowledged, some at a time; and the ids of those that are gone by now."""
        after = _BEGINNING
        while found := self._read(shard, after):
            after = found[-1][0].decode()
            yield _entries(found), [entry_id.decode() for entry_id, fields in found if not fields]

    def fresh(self, shard: int, end: Position) -> Iterator[list[Entry]]:
        """What was not handed out yet, some at a time, until the end is reached. Nothing that the store may not have on disk
        yet: what it loses is charged again, under another id."""
        while found := self._read(shard, ">"):
            age_s = time.time() - int(found[-1][0].partition(b"-")[0]) / 1_000
            self._pause(min(max(0.0, DURABLE_S - age_s), DURABLE_S))
            yield _entries(found)
            if Position.read(found[-1][0].decode()) >= end:
                return

    def _read(self, shard: int, after: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        with refusals():
            found = self._client.xreadgroup(self.name, _CONSUMER, {schema.stream_key(shard): after}, count=CHUNK)
        return list(found[0][1]) if found else []

    def acknowledge(self, shard: int, entry_ids: Iterable[str]) -> None:
        """The receiver has these for good: never again."""
        ids = list(entry_ids)
        for at in range(0, len(ids), CHUNK):
            with refusals():
                self._client.xack(schema.stream_key(shard), self.name, *ids[at : at + CHUNK])

    def standings(self) -> list[Standing]:
        """How far the receiver is, on every shard where it ever was."""
        found = []
        for shard in self.shards:
            key = schema.stream_key(shard)
            with refusals():
                if not self._client.exists(key):
                    continue
                groups = [group for group in self._client.xinfo_groups(key) if group["name"].decode() == self.name]
                if groups:
                    stream = self._client.xinfo_stream(key)
                    found.append(_standing(shard, groups[0], stream))
        return found

    def forget(self) -> None:
        """Begin anew the next time."""
        with refusals():
            for shard in self.shards:
                if self._client.exists(schema.stream_key(shard)):
                    self._client.xgroup_destroy(schema.stream_key(shard), self.name)
            self._client.hdel(schema.EXPORTS, self.name)


def subscriptions(books: Books) -> dict[str, dict[str, str]]:
    """The name of every receiver that was ever begun, and what it is."""
    with refusals():
        found = books.store.client.hgetall(schema.EXPORTS)
    return {name.decode(): json.loads(about) for name, about in sorted(found.items())}


def checked_name(name: str) -> str:
    """A receiver's name.

    Raises:
        ConfigError: it is empty, very long, or has other characters than letters, digits and `._-`.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"the name of an export has up to 64 letters, digits and ._- in it, not {name!r}")
    return name


def _entries(found: list[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
    field = schema.STREAM_FIELD.encode()
    return [Entry(entry_id.decode(), fields[field]) for entry_id, fields in found if fields]


def _standing(shard: int, group: dict[str, Any], stream: dict[str, Any]) -> Standing:
    delivered = group["last-delivered-id"].decode()
    oldest, length = stream["first-entry"], stream["length"]
    newest = stream["last-generated-id"].decode()
    is_behind = delivered != _BEGINNING and (
        Position.read(delivered) < Position.read(newest)
        if oldest is None
        else Position.read(delivered) < Position.read(oldest[0].decode())
    )
    missed_count = None
    read_count, added_count = group.get("entries-read"), stream.get("entries-added")  # from version 7.0 on
    if is_behind and read_count is not None and added_count is not None:
        missed_count = added_count - read_count - length
    return Standing(
        shard=shard,
        delivered=delivered,
        waiting_count=length if is_behind else group.get("lag"),
        unacknowledged_count=group["pending"],
        is_behind=is_behind,
        missed_count=missed_count,
    )
