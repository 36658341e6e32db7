"""What the store has, read: rows, single charges, receipts, documents. In commands that each take the server a moment only,
and with memory for a few thousand rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from headwater.errors import LedgerError
from headwater.ledger import rows, schema
from headwater.ledger.connection import refusals
from headwater.ledger.glance import receipt_id
from headwater.ledger.redis import Store
from headwater.ledger.rows import Sums

_CHUNK: Final = 500
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

    # -- rows ---------------------------------------------------------------------------------------------------------

    def parts(self, shard: int) -> dict[str, tuple[str, str]]:
        """Short name of a part -> its model and site: all that a shard ever charged."""
        with refusals():
            found = self.store.client.hgetall(schema.parts_key(shard))
        return {part.decode(): schema.model_and_site(name.decode()) for part, name in found.items()}

    def read_rows(self, keys: Sequence[str]) -> list[Sums | None]:
        """The rows under some keys of one shard; None where there is none."""
        found: list[Sums | None] = []
        for at in range(0, len(keys), _CHUNK):
            with refusals():
                values = self.store.client.mget(keys[at : at + _CHUNK])
            found += [None if value is None else _row(value) for value in values]
        return found

    def indexed(self, shard: int, month: str, within: range = schema.ALL_BUCKETS) -> Iterator[list[tuple[str, str]]]:
        """Who has rows in a month: (user, part), sorted by user within a bucket, many at a time; of some buckets."""
        with refusals():
            bitmap = self.store.client.get(schema.buckets_key(shard, month))
        buckets = [bucket for bucket in schema.buckets_in(bitmap) if bucket in within]
        for at in range(0, len(buckets), _BUCKETS):
            with refusals():
                pipeline = self.store.client.pipeline(transaction=False)
                for bucket in buckets[at : at + _BUCKETS]:
                    pipeline.smembers(schema.index_key(shard, month, bucket))
                found = pipeline.execute()
            yield [schema.user_and_part(member.decode()) for members in found for member in sorted(members)]

    def user_parts(self, shard: int, month: str) -> Iterator[tuple[str, str, Sums]]:
        """Every row of a month: user, part, sums; a user's rows stand together."""
        for places in self.indexed(shard, month):
            found = self.read_rows([schema.user_key(shard, user, month, part) for user, part in places])
            for (user, part), sums in zip(places, found, strict=True):
                if sums is not None:
                    yield user, part, sums

    def user_months(self, shard: int, month: str) -> Iterator[tuple[str, Sums]]:
        """Every user's month, all parts together."""
        for user, found in groupby(self.user_parts(shard, month), key=lambda each: each[0]):
            parts = [sums for _, _, sums in found]
            yield user, parts[0] if len(parts) == 1 else rows.total(parts)

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
        shard = self.shard_of(user)
        parts = self.parts(shard)
        found = self.read_rows([schema.user_key(shard, user, month, part) for part in parts])
        return {parts[part]: sums for part, sums in zip(parts, found, strict=True) if sums is not None}

    def user_day(self, user: str, day: str) -> Sums | None:
        """One user's day."""
        return self.read_rows([schema.user_key(self.shard_of(user), user, day)])[0]

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


def _row(value: bytes) -> Sums:
    try:
        return rows.read(value)
    except ValueError as error:
        raise LedgerError(f"{error}; the store was changed by another hand") from error
