"""What the store has, read: rows, single charges, receipts, documents. In commands that each take the server a moment only,
and with memory for a few thousand rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from headwater.errors import LedgerError
from headwater.ledger import rows, schema
from headwater.ledger.connection import refusals
from headwater.ledger.glance import receipt_id
from headwater.ledger.redis import Store
from headwater.ledger.rows import Sums

_CHUNK: Final = 500
_ROWS: Final = 200
"""Rows in one command: 0.4 ms of the server's time where 500 take one, of which others have a turn in between."""
_TOGETHER: Final = 10
"""Commands on their way at once."""
_BUCKETS: Final = 64
_STANDING_TRIES: Final = 100


class Entry(NamedTuple):
    """A single charge in the stream: where it stands, and its packed form."""

    entry_id: str
    packed: bytes


class Books:
    """Everything that one store keeps. Every method raises LedgerError when the store does not answer."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def shards(self) -> range:
        """The numbers of the shards."""
        return range(self.store.shards_count)

    def shard_of(self, user: str) -> int:
        """The shard of a user."""
        return schema.shard_of(user, self.store.shards_count)

    def shards_of(self, user: str) -> range:
        """Where an account stands: on the user's shard; of what was erased there is one on each."""
        if user == schema.ERASED:
            return self.shards
        shard = self.shard_of(user)
        return range(shard, shard + 1)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def parts(self, shard: int) -> dict[str, tuple[str, str]]:
        """Short name of a part -> its model and site: all that a shard ever charged."""
        with refusals():
            found = self.store.client.hgetall(schema.parts_key(shard))
        return {part.decode(): schema.model_and_site(name.decode()) for part, name in found.items()}

    def read_rows(self, keys: Sequence[str]) -> list[Sums | None]:
        """The rows under some keys of one shard; None where there is none."""
        found: list[Sums | None] = []
        for begin in range(0, len(keys), _ROWS * _TOGETHER):
            with refusals():
                pipeline = self.store.client.pipeline(transaction=False)
                for at in range(begin, min(begin + _ROWS * _TOGETHER, len(keys)), _ROWS):
                    # As a command: the driver's pipeline for clusters refuses the method, which could meet many shards.
                    pipeline.execute_command("MGET", *keys[at : at + _ROWS])
                replies = pipeline.execute()
            found += [None if value is None else _row(value) for values in replies for value in values]
        return found

    def indexed(self, shard: int, month: str, within: range = schema.ALL_BUCKETS) -> Iterator[list[tuple[str, str]]]:
        """Who has rows in a month: (user, part), sorted by user within a bucket, many at a time; of some buckets."""
        for _, places in self._indexed(shard, month, within):
            yield places

    def _indexed(
        self, shard: int, month: str, within: range = schema.ALL_BUCKETS
    ) -> Iterator[tuple[float, list[tuple[str, str]]]]:
        """The same, and the share of all buckets that is done with them."""
        with refusals():
            bitmap = self.store.client.get(schema.buckets_key(shard, month))
        buckets = [bucket for bucket in schema.buckets_in(bitmap) if bucket in within]
        for at in range(0, len(buckets), _BUCKETS):
            some = buckets[at : at + _BUCKETS]
            with refusals():
                pipeline = self.store.client.pipeline(transaction=False)
                for bucket in some:
                    pipeline.smembers(schema.index_key(shard, month, bucket))
                found = pipeline.execute()
            yield (
                (at + len(some)) / len(buckets),
                [place for members in found for place in sorted(schema.user_and_part(m.decode()) for m in members)],
            )

    def user_parts(self, shard: int, month: str) -> Iterator[tuple[str, str, Sums]]:
        """Every row of a month: user, part, sums; a user's rows stand together."""
        for places in self.indexed(shard, month):
            found = self.read_rows(schema.month_keys(shard, month, places))
            for (user, part), sums in zip(places, found, strict=True):
                if sums is not None:
                    yield user, part, sums

    def user_batches(self, shard: int, month: str) -> Iterator[tuple[float, list[tuple[str, Sums]]]]:
        """Every user's month, all parts together, many at a time; and the share of all that is done with them."""
        for done_ratio, places in self._indexed(shard, month):
            found = self.read_rows(schema.month_keys(shard, month, places))
            by_user: dict[str, Sums] = {}
            for (user, _), sums in zip(places, found, strict=True):
                if sums is not None:
                    known = by_user.get(user)
                    by_user[user] = sums if known is None else rows.plus(known, sums)
            yield done_ratio, list(by_user.items())

    def user_months(self, shard: int, month: str) -> Iterator[tuple[str, Sums]]:
        """Every user's month, all parts together."""
        for _, found in self.user_batches(shard, month):
            yield from found

    def user_days(self, shard: int, day: str) -> Iterator[tuple[str, Sums]]:
        """Every user's day."""
        for places in self.indexed(shard, day[:7]):
            users = list(dict.fromkeys(user for user, _ in places))
            found = self.read_rows([schema.user_key(shard, user, day) for user in users])
            for user, sums in zip(users, found, strict=True):
                if sums is not None:
                    yield user, sums

    def user_month(self, user: str, month: str) -> dict[tuple[str, str], Sums]:
        """One user's month by (model, site)."""
        places: dict[tuple[str, str], Sums] = {}
        for shard in self.shards_of(user):
            parts = self.parts(shard)
            found = self.read_rows([schema.user_key(shard, user, month, part) for part in parts])
            for part, sums in zip(parts, found, strict=True):
                if sums is not None:
                    places[parts[part]] = rows.plus(places.get(parts[part], rows.NOTHING), sums)
        return places

    def user_day(self, user: str, day: str) -> Sums | None:
        """One user's day."""
        shards = self.shards_of(user)
        found = [sums for shard in shards for sums in self.read_rows([schema.user_key(shard, user, day)])]
        return _added(sums for sums in found if sums is not None)

    def months_of(self, users: Iterable[str], month: str) -> dict[str, Sums]:
        """Some users' months, all parts together."""
        totals: dict[str, Sums] = {}
        by_shard: dict[int, list[str]] = {}
        for user in users:
            by_shard.setdefault(self.shard_of(user), []).append(user)
        for shard, some in by_shard.items():
            parts = list(self.parts(shard))
            found = self.read_rows([schema.user_key(shard, user, month, part) for user in some for part in parts])
            for at, user in enumerate(some):
                mine = found[at * len(parts) : (at + 1) * len(parts)]
                totals[user] = rows.total(sums for sums in mine if sums is not None)
        return totals

    def erased_month(self, shard: int, month: str) -> Sums:
        """What was erased of a month, on a shard: it is in the total, and in no single charge."""
        keys = [schema.user_key(shard, schema.ERASED, month, part) for part in self.parts(shard)]
        return rows.total(sums for sums in self.read_rows(keys) if sums is not None)

    def total_parts(self, shard: int, month: str) -> dict[tuple[str, str], Sums]:
        """Everybody's month by (model, site), on a shard."""
        parts = self.parts(shard)
        found = self.read_rows([schema.total_key(shard, month, part) for part in parts])
        return {parts[part]: sums for part, sums in zip(parts, found, strict=True) if sums is not None}

    def total(self, shard: int, period: str) -> Sums:
        """Everybody's month or day, on a shard."""
        if schema.is_month(period):
            return rows.total(self.total_parts(shard, period).values())
        return self.read_rows([schema.total_key(shard, period)])[0] or rows.NOTHING

    def standing(self, shard: int, month: str) -> tuple[Sums, str] | None:
        """Everybody's month on a shard, and the stream id of the last charge in it; "" where there is none.

        None: charges came in between, again and again.
        """
        filler = schema.stream_key(shard)  # MGET of nothing is an error; what is no string reads as none
        for _ in range(_STANDING_TRIES):
            keys = [schema.total_key(shard, month, part) for part in self.parts(shard)]
            with refusals():
                pipeline = self.store.client.pipeline(transaction=False)
                pipeline.execute_command("MGET", *keys, filler)  # a cluster's pipeline has no method for it
                pipeline.xrevrange(schema.stream_key(shard), count=1)
                pipeline.execute_command("MGET", *keys, filler)
                pipeline.hlen(schema.parts_key(shard))
                before, last, after, parts_count = pipeline.execute()
            if before == after and parts_count == len(keys):  # sums only grow: no charge of the month in between
                found = [_row(value) for value in after if value is not None]
                return rows.total(found), last[0][0].decode() if last else ""
        return None

    # -- single charges -----------------------------------------------------------------------------------------------

    def stream(self, shard: int, first: str = "-", last: str = "+") -> Iterator[Entry]:
        """A shard's charges in the order in which they were applied, from one stream id to another."""
        field = schema.STREAM_FIELD.encode()
        while True:
            with refusals():
                entries = self.store.client.xrange(schema.stream_key(shard), min=first, max=last, count=_CHUNK)
            if not entries:
                return
            for entry_id, fields in entries:
                yield Entry(entry_id.decode(), fields[field])
            first = f"({entries[-1][0].decode()}"

    def receipt(self, request_id: str, user: str | None) -> bytes | None:
        """The packed charge of a request: on its user's shard, or on any where no user is given."""
        found_by = receipt_id(request_id)
        with refusals():
            for shard in self.shards if user is None else [self.shard_of(user)]:
                entry_id = self.store.client.hget(
                    schema.receipts_key(shard, schema.receipts_bucket(found_by)), found_by
                )
                if entry_id is not None:
                    found = self.store.client.xrange(schema.stream_key(shard), min=entry_id, max=entry_id)
                    for _, fields in found:  # none, where the charge was erased
                        packed: bytes = fields[schema.STREAM_FIELD.encode()]
                        return packed
        return None

    # -- beside -------------------------------------------------------------------------------------------------------

    def bases(self, month: str) -> dict[str, int]:
        """Hash of a deployment's document -> requests of a month, over all shards."""
        found: dict[str, int] = {}
        for shard in self.shards:
            with refusals():
                row = self.store.client.hgetall(schema.bases_key(shard, month))
            for name, count in row.items():
                found[name.decode()] = found.get(name.decode(), 0) + int(count)
        return found

    def document(self, document_hash: str) -> str | None:
        """A deployment document."""
        with refusals():
            value: Any = self.store.client.get(schema.basis_key(document_hash))
        return None if value is None else str(value.decode())

    def labels(self) -> dict[str, str]:
        """Pseudonym -> the operator's label."""
        with refusals():
            found = [self.store.client.hgetall(schema.labels_key(shard)) for shard in self.shards]
        return {user.decode(): label.decode() for row in found for user, label in row.items()}

    def labels_of(self, shard: int, users: Sequence[str]) -> dict[str, str]:
        """The operator's labels of some users of a shard."""
        key = schema.labels_key(shard)
        found: dict[str, str] = {}
        with refusals():
            if not users or not self.store.client.hlen(key):
                return found
            for at in range(0, len(users), _CHUNK):
                some = users[at : at + _CHUNK]
                values = self.store.client.hmget(key, some)
                found |= {user: label.decode() for user, label in zip(some, values, strict=True) if label is not None}
        return found


def _added(found: Iterable[Sums]) -> Sums | None:
    some = list(found)
    return rows.total(some) if some else None


def _row(value: bytes) -> Sums:
    try:
        return rows.read(value)
    except ValueError as error:
        raise LedgerError(f"{error}; the store was changed by another hand") from error
