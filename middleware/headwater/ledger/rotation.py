"""Another identity key: every account, label and single charge gets the name that its person has under the new key.

From a name alone nobody can tell whether it is an old or a new one. So each shard is gone through twice: first all that has
an old name moves to keys set apart, under its new name; when nothing is left, all that was set apart moves back. Each step is
atomic or can be done again, and the store knows the phase: a rotation that was cut short goes on where it was. Meanwhile
nobody charges or reads: whoever has the old key is refused by the store itself, and keeps charges in the journal.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from headwater.errors import ConfigError, LedgerError
from headwater.ledger import schema
from headwater.ledger.books import Books, Entry
from headwater.ledger.connection import refusals
from headwater.ledger.journal import living_journals
from headwater.ledger.people import People, Tick, unwatched
from headwater.ledger.redis import ROTATING, Store
from headwater.ledger.renaming import ended_ms_of, renamed

_MOVE_SCRIPT: Final = files("headwater.ledger").joinpath("move.lua").read_text("utf-8")
_LOCK: Final = "identity.key.lock"
_PHASE: Final = "phase"
_MOVING, _PLACING = "moving", "placing"
_CHUNK: Final = 500
_ROWS: Final = 200
_MEMBERS: Final = 50
_BUCKETS: Final = 64

_Each = TypeVar("_Each")
Rename = Callable[[str], str]
"""From the name of an account to the one under the new key; the same one, where it is no pseudonym."""


class Links(Protocol):
    """Other records that name accounts, like frozen statements. Both methods may be called again after they were cut short."""

    def move(self, shard: int, rename: Rename) -> None:
        """Set everything apart under its new name; nothing is left under an old one."""

    def place(self, shard: int) -> None:
        """Move back what was set apart."""


class _Member(NamedTuple):
    """A row of a month in the index: where it is and where it goes."""

    rows: tuple[str, str]
    sets: tuple[str, str, str]
    names: tuple[str, str, int]


def check_nobody_charges(data_dir: Path) -> None:
    """Raises LedgerError where a process of this folder is running."""
    running = living_journals(data_dir)
    if running:
        raise LedgerError(
            f"{len(running)} process(es) charge with the present identity key (journals {', '.join(running)}); stop them first"
        )


class Rotation:
    """From one key to the next, on one store that was opened with `check(None, is_rotating=True)`."""

    def __init__(
        self, store: Store, *, present: str, following: str, rename: Rename, links: Sequence[Links] = ()
    ) -> None:
        """`present`, `following`: the fingerprints of the keys."""
        self._store = store
        self._books = Books(store)
        self._present, self._following = present, following
        self._rename = rename
        self._links = links
        self._script: Any = store.client.register_script(_MOVE_SCRIPT)

    def run(self, data_dir: Path, tick: Tick = unwatched) -> None:
        """Rename everything; a rotation that was begun goes on. Nothing where the store has the next key already.

        Raises:
            ConfigError: the store has neither of the two keys, or another rotation was begun.
            LedgerError: a process of this folder is running, or another rotation of it.
        """
        with _alone(data_dir):
            self._run(data_dir, tick)

    def _run(self, data_dir: Path, tick: Tick) -> None:
        meta = self._meta()
        if not self._is_wanted(meta):
            return
        check_nobody_charges(data_dir)
        if meta.get(_PHASE) != _PLACING:
            self._close()
            for shard in self._books.shards:
                self._move(shard, tick)
            self._set(**{_PHASE: _PLACING})
        for shard in self._books.shards:
            self._place(shard)
        self._set(key=self._following)
        with refusals():
            self._store.client.hdel(schema.META, ROTATING, _PHASE)

    def _is_wanted(self, meta: dict[str, str]) -> bool:
        begun = meta.get(ROTATING)
        if begun is not None and begun != self._following:
            raise ConfigError(
                f"a rotation to another identity key was begun ({begun}, here {self._following}); go on with it where it was "
                "begun: its keys are in identity.key.next"
            )
        if begun is None and meta.get("key") == self._following:
            return False
        if meta.get("key") not in (self._present, self._following):
            raise ConfigError(
                f"the ledger's store was written with another identity key ({meta.get('key')}, here {self._present}); "
                "restore the key file of this installation"
            )
        return True

    def _meta(self) -> dict[str, str]:
        with refusals():
            found = self._store.client.hgetall(schema.META)
        return {name.decode(): value.decode() for name, value in found.items()}

    def _set(self, **fields: str) -> None:
        with refusals():
            self._store.client.hset(schema.META, mapping=fields)

    def _close(self) -> None:
        """From here on the store takes no charge that was made with the present key."""
        self._set(**{ROTATING: self._following, _PHASE: _MOVING})
        for shard in self._books.shards:
            with refusals():
                self._store.client.hset(schema.journal_key(shard), schema.KEY_FIELD, self._following)

    # -- from old names, set apart --------------------------------------------------------------------------------------

    def _move(self, shard: int, tick: Tick) -> None:
        moved: set[str] = set()
        for month in People(self._books).months():
            self._move_month(shard, month, moved)
        self._move_stream(shard, moved, tick)
        self._move_labels(shard)
        for links in self._links:
            links.move(shard, self._rename)

    def _move_month(self, shard: int, month: str, moved: set[str]) -> None:
        """The rows of a month and its days; the members of the index last, as they lead to the days."""
        moved.add(month)
        for places in self._books.indexed(shard, month):
            renamed = {
                user: new for user in dict.fromkeys(user for user, _ in places) if (new := self._rename(user)) != user
            }
            if not renamed:
                continue
            with refusals():
                self._store.client.sadd(schema.set_apart(schema.months_key(shard)), month)
            self._rows(
                (schema.user_key(shard, user, day), schema.set_apart(schema.user_key(shard, new, day)))
                for user, new in renamed.items()
                for day in schema.days_of(month)
            )
            self._members(
                _Member(
                    (
                        schema.user_key(shard, user, month, part),
                        schema.set_apart(schema.user_key(shard, renamed[user], month, part)),
                    ),
                    (
                        schema.index_key(shard, month, schema.bucket_of(user)),
                        schema.set_apart(schema.index_key(shard, month, schema.bucket_of(renamed[user]))),
                        schema.set_apart(schema.buckets_key(shard, month)),
                    ),
                    (
                        schema.index_member(user, part),
                        schema.index_member(renamed[user], part),
                        schema.bucket_of(renamed[user]),
                    ),
                )
                for user, part in places
                if user in renamed
            )

    def _move_stream(self, shard: int, moved: set[str], tick: Tick) -> None:
        """Single charges cannot be changed where they are: they are written anew with their ids, and cut off behind that."""
        key, client = schema.stream_key(shard), self._store.client
        with refusals():
            all_count = client.xlen(key)
        done_count = 0
        while True:
            with refusals():
                copied = client.xrevrange(schema.set_apart(key), count=1)
            if copied:
                self._cut(key, copied[0][0].decode())
            with refusals():
                found = client.xrange(key, count=_CHUNK)
            if not found:
                return
            entries = [Entry(entry_id.decode(), fields[schema.STREAM_FIELD.encode()]) for entry_id, fields in found]
            for month in sorted({schema.periods(ended_ms_of(entry.packed))[1] for entry in entries} - moved):
                self._move_month(shard, month, moved)  # of a clock that was far off
            with refusals():
                pipeline = client.pipeline(transaction=False)
                for entry in entries:
                    packed = renamed(entry.packed, self._rename)
                    pipeline.xadd(schema.set_apart(key), {schema.STREAM_FIELD: packed}, id=entry.entry_id)
                pipeline.execute()
            done_count += len(entries)
            tick(done_count, min(1.0, done_count / all_count))

    def _cut(self, key: str, last: str) -> None:
        time_ms, _, number = last.partition("-")
        with refusals():
            self._store.client.xtrim(key, minid=f"{time_ms}-{int(number) + 1}", approximate=False)

    def _move_labels(self, shard: int) -> None:
        key, client = schema.labels_key(shard), self._store.client
        with refusals():
            for user, label in client.hgetall(key).items():
                client.hset(schema.set_apart(key), self._rename(user.decode()), label)
                client.hdel(key, user)

    # -- back -------------------------------------------------------------------------------------------------------------

    def _place(self, shard: int) -> None:
        months_key = schema.set_apart(schema.months_key(shard))
        with refusals():
            months = sorted(month.decode() for month in self._store.client.smembers(months_key))
        for month in months:
            self._place_month(shard, month)
            with refusals():
                self._store.client.srem(months_key, month)
        self._place_stream(shard)
        self._place_whole(schema.labels_key(shard))
        for links in self._links:
            links.place(shard)

    def _place_month(self, shard: int, month: str) -> None:
        self._clear_buckets(shard, month)
        apart = schema.set_apart(schema.buckets_key(shard, month))
        with refusals():
            bitmap = self._store.client.get(apart)
        for buckets in _batches(schema.buckets_in(bitmap), _BUCKETS):
            indexes = [schema.index_key(shard, month, bucket) for bucket in buckets]
            with refusals():
                pipeline = self._store.client.pipeline(transaction=False)
                for index in indexes:
                    pipeline.smembers(schema.set_apart(index))
                found = pipeline.execute()
            places = [
                (bucket, index, member.decode(), *schema.user_and_part(member.decode()))
                for bucket, index, members in zip(buckets, indexes, found, strict=True)
                for member in sorted(members)
            ]
            self._rows(
                (schema.set_apart(key), key)
                for user in dict.fromkeys(user for _, _, _, user, _ in places)
                for key in (schema.user_key(shard, user, day) for day in schema.days_of(month))
            )
            self._members(
                _Member(
                    (
                        schema.set_apart(schema.user_key(shard, user, month, part)),
                        schema.user_key(shard, user, month, part),
                    ),
                    (schema.set_apart(index), index, schema.buckets_key(shard, month)),
                    (member, member, bucket),
                )
                for bucket, index, member, user, part in places
            )
        with refusals():
            self._store.client.delete(apart)

    def _clear_buckets(self, shard: int, month: str) -> None:
        """Buckets that nobody is in any more are none."""
        key, client = schema.buckets_key(shard, month), self._store.client
        with refusals():
            buckets = list(schema.buckets_in(client.get(key)))
        for some in _batches(buckets, _CHUNK):
            with refusals():
                pipeline = client.pipeline(transaction=False)
                for bucket in some:
                    pipeline.exists(schema.index_key(shard, month, bucket))
                there = pipeline.execute()
                pipeline = client.pipeline(transaction=False)
                for bucket, is_there in zip(some, there, strict=True):
                    if not is_there:
                        pipeline.setbit(key, bucket, 0)
                pipeline.execute()

    def _place_stream(self, shard: int) -> None:
        """With the consumers' groups: what one was given and did not confirm, it is given again."""
        key, client = schema.stream_key(shard), self._store.client
        apart = schema.set_apart(key)
        with refusals():
            if not client.exists(apart):
                return
            if client.exists(key):
                client.execute_command("XSETID", apart, client.xinfo_stream(key)["last-generated-id"])
                held = {group["name"] for group in client.xinfo_groups(apart)}
                for group in client.xinfo_groups(key):
                    if group["name"] not in held:
                        client.xgroup_create(apart, group["name"], id=_before(client, key, group))
        self._place_whole(key)

    def _place_whole(self, key: str) -> None:
        with refusals():
            if self._store.client.exists(schema.set_apart(key)):
                self._store.client.rename(schema.set_apart(key), key)

    # -- both -------------------------------------------------------------------------------------------------------------

    def _rows(self, pairs: Iterable[tuple[str, str]]) -> None:
        for some in _batches(pairs, _ROWS):
            with refusals():
                self._script(keys=[key for pair in some for key in pair], args=[len(some)])

    def _members(self, members: Iterator[_Member]) -> None:
        for some in _batches(members, _MEMBERS):
            keys = [key for member in some for key in member.rows] + [key for member in some for key in member.sets]
            names = [name for member in some for name in member.names]
            with refusals():
                self._script(keys=keys, args=[len(some), *names])


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """One rotation of a folder at a time: a second one would take new names for old ones, and rename them once more. The lock
    goes with the process."""
    descriptor = os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LedgerError(
            f"another process replaces the identity key in {data_dir}; wait until it has ended, then look with headwater doctor"
        ) from None
    finally:
        os.close(descriptor)


def _batches(every: Iterable[_Each], count: int) -> Iterator[list[_Each]]:
    left = iter(every)
    while some := list(islice(left, count)):
        yield some


def _before(client: Any, key: str, group: dict[str, Any]) -> str:
    """Where a group stands, or before the first that it did not confirm."""
    if group["pending"]:
        time_ms, _, number = client.xpending(key, group["name"])["min"].decode().partition("-")
        return f"{time_ms}-{int(number) - 1}" if int(number) else f"{int(time_ms) - 1}-{2**64 - 1}"
    last: bytes = group["last-delivered-id"]
    return last.decode()
