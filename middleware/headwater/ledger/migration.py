"""Moves a ledger of layout 1 (a hash per row, keys `hw1:`) into the layout of today. Nothing is counted anew: the journals'
sequences move with it, so what is still in a journal is applied once.

First a fence: processes of an older version that still run are refused by the store from then on, and keep their charges in
their journals until they are upgraded. Then rows, index and receipts are made from what is there, which stays until all of
it has been compared. Killed anywhere, it goes on when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from headwater.endpoint import Endpoint
from headwater.errors import ConfigError, LedgerError
from headwater.ledger import rows, schema
from headwater.ledger.books import Books
from headwater.ledger.connection import refusals
from headwater.ledger.glance import Glance, glance
from headwater.ledger.reader import opened_store
from headwater.ledger.redis import Store
from headwater.ledger.rows import FIELDS, Sums
from headwater.ledger.schema import Retention

_OLD: Final = "hw1:"
_CODES: Final = ("n", "i", "o", "t", "e", "el", "eh", "wn", "wf", "wl", "wh", "g", "gl", "gh", "c", "r", "x", "u", "p")
"""What layout 1 called the fields of a row, in the order of FIELDS; a `+` behind one: what an int64 did not hold."""
_CHUNK: Final = 100
_NEVER: Final = -1
# Where the journals' sequences were, a word: the older version's script fails on it before it counts anything.
_FENCE: Final = """
if redis.call('EXISTS', KEYS[2]) == 0 and redis.call('TYPE', KEYS[1]).ok == 'hash' then
  redis.call('RENAME', KEYS[1], KEYS[2])
end
redis.call('SET', KEYS[1], ARGV[1])
"""
assert len(_CODES) == len(FIELDS), "every field has its code"  # noqa: S101

Tick = Callable[[int, float], None]
"""Told now and then: users done, and the share of all."""


def migrate(store: Store, *, now_ms: int, tick: Tick = lambda _count, _ratio: None) -> int | None:
    """Move everything. Returns how many users' rows were moved; None where there is no ledger of layout 1.

    Raises:
        ConfigError: the old ledger is of a layout that nobody knows.
        LedgerError: what was moved does not add up to the old totals; the old ledger is still there.
    """
    with refusals():
        store.join_cluster()
        meta = {name.decode(): value.decode() for name, value in store.client.hgetall(schema.OLD_META).items()}
        is_moved = store.client.hexists(schema.META, "schema")  # killed while the old one was removed
    if not meta:
        return None
    if meta.get("schema", "1") not in {"1", "moved"}:
        raise ConfigError(f"the ledger's store has schema {meta['schema']}, which this version cannot move")
    store.shards_count = int(meta.get("shards", "1"))
    old = _Old(store, now_ms=now_ms, created_ms=int(meta.get("created", "0")) * 1_000)
    with refusals():
        old.fence()
        moved_count = 0
        for shard in range(store.shards_count):
            moved_count += len(old.users(shard)) if is_moved else _Shard(store, old, shard).move(tick)
        if not is_moved:
            # The schema last: it says that the rest is there.
            del meta["schema"]
            for name, value in {**meta, "schema": str(schema.SCHEMA_VERSION)}.items():
                store.client.hsetnx(schema.META, name, value)
        for shard in range(store.shards_count):
            old.remove(shard)
        store.client.unlink(schema.OLD_META)
    return moved_count


class _Old:
    """A ledger of layout 1, and when its rows were."""

    def __init__(self, store: Store, *, now_ms: int, created_ms: int) -> None:
        self.store = store
        self.now_ms = now_ms
        self.days = list(_days(max(created_ms, now_ms - store.retention.days_s * 1_000), now_ms))
        self.months = list(dict.fromkeys(day[:7] for day in _days(created_ms or now_ms, now_ms)))
        self._fence = store.client.register_script(_FENCE)

    def key(self, shard: int, name: str) -> str:
        return f"{_OLD}{{s{shard:02d}}}:{name}"

    def fence(self) -> None:
        """Let nobody of an older version write any more."""
        self.store.client.hset(schema.OLD_META, "schema", "moved")
        for shard in range(self.store.shards_count):
            self._fence(
                keys=[self.key(shard, "j"), schema.journal_key(shard)], args=["this ledger was moved to another layout"]
            )

    def users(self, shard: int) -> list[str]:
        return [user.decode() for user in self.store.client.zrange(self.key(shard, "users"), 0, -1)]

    def hashes(self, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, int], int]]:
        """Hashes that are there: key, fields, and lifetime in s."""
        for at in range(0, len(keys), _CHUNK):
            pipeline = self.store.client.pipeline(transaction=False)
            for key in keys[at : at + _CHUNK]:
                pipeline.hgetall(key)
                pipeline.ttl(key)
            found = pipeline.execute()
            for key, fields, ttl_s in zip(keys[at : at + _CHUNK], found[::2], found[1::2], strict=True):
                if fields:
                    yield key, {name.decode(): int(value) for name, value in fields.items()}, ttl_s

    def remove(self, shard: int) -> None:
        """Delete what was moved."""
        keys = [self.key(shard, f"t:d:{_compact(day)}") for day in self.days]
        keys += [self.key(shard, f"t:m:{_compact(month)}") for month in self.months]
        for user in self.users(shard):
            keys += self.day_keys(shard, user)
            for month in self.months:
                keys += [self.key(shard, f"u:{user}:{letter}:{_compact(month)}") for letter in "mb"]
        for at in range(0, len(keys), _CHUNK):
            self.store.client.unlink(*keys[at : at + _CHUNK])
        self.store.client.unlink(self.key(shard, "users"), self.key(shard, "j"))

    def day_keys(self, shard: int, user: str) -> list[str]:
        return [self.key(shard, f"u:{user}:d:{_compact(day)}") for day in self.days]


class _Shard:
    """One shard on its way."""

    def __init__(self, store: Store, old: _Old, shard: int) -> None:
        self._store = store
        self._old = old
        self._shard = shard
        self._parts: dict[str, str] = {}
        self._totals: dict[tuple[str, str], Sums] = {}
        self._day_totals: dict[str, Sums] = {}

    def move(self, tick: Tick) -> int:
        self._rename()
        users = self._old.users(self._shard)
        for number, user in enumerate(users, 1):
            self._move_user(user)
            tick(number, number / len(users))
        self._write_totals()
        self._compare()
        self._find_receipts()
        return len(users)

    def _rename(self) -> None:
        pairs = [("led", schema.stream_key(self._shard)), ("labels", schema.labels_key(self._shard))]
        pairs += [(f"b:{_compact(month)}", schema.bases_key(self._shard, month)) for month in self._old.months]
        client = self._store.client
        for name, new in pairs:
            if client.exists(self._old.key(self._shard, name)):
                client.rename(self._old.key(self._shard, name), new)
        documents = {name for month in self._old.months for name in client.hkeys(schema.bases_key(self._shard, month))}
        for name in documents:
            document = client.get(f"{_OLD}basis:{name.decode()}")
            if document is not None:
                client.set(schema.basis_key(name.decode()), document, nx=True)
                client.unlink(f"{_OLD}basis:{name.decode()}")

    def _move_user(self, user: str) -> None:
        shard, pipeline = self._shard, self._store.client.pipeline(transaction=False)
        months = {self._old.key(shard, f"u:{user}:b:{_compact(month)}"): month for month in self._old.months}
        for key, fields, ttl_s in self._old.hashes(list(months)):
            month = months[key]
            for (model, site), sums in _by_part(fields).items():
                part = schema.part_of(model, site)
                self._parts[part] = schema.part_name(model, site)
                _set(pipeline, schema.user_key(shard, user, month, part), sums, ttl_s)
                bucket = schema.bucket_of(user)
                index, buckets = schema.index_key(shard, month, bucket), schema.buckets_key(shard, month)
                pipeline.sadd(index, schema.index_member(user, part))
                pipeline.setbit(buckets, bucket, 1)
                for name in (index, buckets):
                    pipeline.expire(name, self._store.retention.months_s)
                self._totals[month, part] = rows.plus(self._totals.get((month, part), rows.NOTHING), sums)
        days = dict(zip(self._old.day_keys(shard, user), self._old.days, strict=True))
        for key, fields, ttl_s in self._old.hashes(list(days)):
            sums = _sums(fields)
            _set(pipeline, schema.user_key(shard, user, days[key]), sums, ttl_s)
            self._day_totals[days[key]] = rows.plus(self._day_totals.get(days[key], rows.NOTHING), sums)
        pipeline.execute()

    def _write_totals(self) -> None:
        kept, pipeline = self._store.retention, self._store.client.pipeline(transaction=False)
        for (month, part), sums in self._totals.items():
            _set(pipeline, schema.total_key(self._shard, month, part), sums, kept.months_s)
        for day, sums in self._day_totals.items():
            _set(pipeline, schema.total_key(self._shard, day), sums, kept.days_s)
        for part, name in self._parts.items():
            pipeline.hset(schema.parts_key(self._shard), part, name)
        pipeline.execute()

    def _compare(self) -> None:
        books, old, shard = Books(self._store), self._old, self._shard
        keys = {old.key(shard, f"t:m:{_compact(month)}"): month for month in old.months}
        keys |= {old.key(shard, f"t:d:{_compact(day)}"): day for day in old.days}
        for key, fields, _ in old.hashes(list(keys)):
            before, now = _sums(fields), books.total(shard, keys[key])
            if before != now:
                name, one, other = next(
                    found for found in zip(FIELDS, before, now, strict=True) if found[1] != found[2]
                )
                raise LedgerError(
                    f"{keys[key]}: {name} was {one} in the old ledger's totals, its accounts add up to {other}; "
                    "the old ledger stays as it is"
                )

    def _find_receipts(self) -> None:
        """Single charges are where they were; what leads to them is made anew."""
        kept, now_ms = self._store.retention, self._old.now_ms
        chunk: list[tuple[str, int, Glance]] = []
        for entry_id, packed in Books(self._store).stream(self._shard):
            chunk.append((entry_id, now_ms - int(entry_id.partition("-")[0]), glance(packed)))
            if len(chunk) == _CHUNK:
                self._lead(chunk, receipts_s=kept.receipts_s, once_s=kept.days_s)
                chunk = []
        self._lead(chunk, receipts_s=kept.receipts_s, once_s=kept.days_s)

    def _lead(self, chunk: list[tuple[str, int, Glance]], *, receipts_s: int, once_s: int) -> None:
        pipeline = self._store.client.pipeline(transaction=False)
        for entry_id, age_ms, charge in chunk:
            left_s = once_s - age_ms // 1_000
            if charge.once and left_s > 0:
                pipeline.set(schema.once_key(self._shard, charge.once), entry_id, nx=True, ex=left_s)
            if age_ms < receipts_s * 1_000:
                key = schema.receipts_key(self._shard, schema.receipts_bucket(charge.receipt_id))
                pipeline.hset(key, charge.receipt_id, entry_id)
                pipeline.expire(key, receipts_s)
        pipeline.execute()


def _days(first_ms: int, last_ms: int) -> Iterator[str]:
    """All UTC days from the one before a moment to the one after another: charges may be a little early or late."""
    day = datetime.fromtimestamp(first_ms / 1_000, UTC).date() - timedelta(days=1)
    last = datetime.fromtimestamp(last_ms / 1_000, UTC).date() + timedelta(days=1)
    while day <= last:
        yield day.isoformat()
        day += timedelta(days=1)


def _compact(period: str) -> str:
    return period.replace("-", "")


def _sums(fields: Mapping[str, int]) -> Sums:
    found = dict.fromkeys(_CODES, 0)
    for name, amount in fields.items():
        found[name.rstrip("+")] += amount
    return tuple(found.values())


def _by_part(fields: Mapping[str, int]) -> dict[tuple[str, str], Sums]:
    parts: dict[tuple[str, str], dict[str, int]] = {}
    for field, amount in fields.items():
        model, site, code = field.rsplit("|", 2)
        parts.setdefault((model, site), {})[code] = amount
    return {part: _sums(found) for part, found in parts.items()}


def _set(pipeline: Any, key: str, sums: Sums, ttl_s: int) -> None:
    """The first one stays: behind a migration that ended while this one was under way, more is charged to the row."""
    pipeline.set(key, rows.stored(sums), ex=None if ttl_s == _NEVER else max(ttl_s, 1), nx=True)


def migrated(
    *,
    data_dir: Path,
    redis_url: str | Endpoint | None,
    now_ms: int,
    retention: Retention,
    tick: Tick = lambda _count, _ratio: None,
) -> int | None:
    """Move the ledger of an installation; see `migrate`."""
    with opened_store(data_dir, redis_url, retention=retention) as store:
        return migrate(store, now_ms=now_ms, tick=tick)
