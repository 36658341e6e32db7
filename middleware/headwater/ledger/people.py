"""What the ledger keeps of one person, found and erased. A person is an account: a pseudonym, or `anonymous`.

Erasing takes away who it was and keeps how much it was: every amount moves to the account `erased`, so that accounts still
add up to the totals. Each step is atomic and can be done again: a process that dies on the way leaves accounts that add
up, and the next run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, NamedTuple

from headwater.errors import LedgerError
from headwater.ledger import packing, schema
from headwater.ledger.books import Books, Entry
from headwater.ledger.connection import refusals
from headwater.ledger.glance import glance
from headwater.ledger.ids import pseudonym_bytes
from headwater.ledger.renaming import user_of
from headwater.ledger.rows import Sums

_ERASE_SCRIPT: Final = files("headwater.ledger").joinpath("erase.lua").read_text("utf-8")
_FIND_SCRIPT: Final = files("headwater.ledger").joinpath("find.lua").read_text("utf-8")
_CHUNK: Final = 500
_TRIES: Final = 10
_POLL_S: Final = 0.05
_BUCKETS: Final = 64
_DAY_MS: Final = 86_400_000
_AHEAD_MS: Final = 31 * _DAY_MS
"""By how much a charge's clock may be ahead of this one."""

Tick = Callable[[int, float], None]
"""Told now and then: how many single charges were looked at, and the share of all, from 0 to 1."""
Unlink = Callable[[str], object]
"""Makes other records, like frozen statements, forget a user; may be called again for the same one."""


def unwatched(_done_count: int, _done_ratio: float) -> None:
    """A tick that tells nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """How much is kept of a person, or was erased."""

    rows_count: int = 0
    """Sums: a month by model and site, or a day."""
    charges_count: int = 0
    """Single charges."""
    has_label: bool = False


class Row(NamedTuple):
    """Sums of a month by model and site, or of a day, which has neither."""

    period: str
    model: str
    site: str
    sums: Sums


class People:
    """What one store keeps of each person. Every method raises LedgerError when the store does not answer."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._store = books.store
        self._erase_script: Any = self._store.client.register_script(_ERASE_SCRIPT)
        self._find_script: Any = self._store.client.register_script(_FIND_SCRIPT)

    # -- reading ------------------------------------------------------------------------------------------------------

    def months(self) -> list[str]:
        """The months of which there can be rows, unless a clock was far off: then single charges tell."""
        now_ms = self._store.now_ms()
        oldest_ms = now_ms - self._store.retention.months_s * 1_000 - 31 * _DAY_MS
        return list(schema.months_between(oldest_ms, now_ms + _AHEAD_MS))

    def rows(self, user: str) -> Iterator[Row]:
        """A person's rows, month by month: by model and site, then the days."""
        for shard in self._books.shards_of(user):
            yield from self._rows(shard, user)

    def _rows(self, shard: int, user: str) -> Iterator[Row]:
        parts = self._books.parts(shard)
        places = [
            *((month, part) for month in self.months() for part in sorted(parts, key=parts.__getitem__)),
            *((day, "") for month in self.months() for day in schema.days_of(month)),
        ]
        found = self._books.read_rows([schema.user_key(shard, user, *place) for place in places])
        for (period, part), sums in sorted(zip(places, found, strict=True), key=lambda each: each[0][0][:7]):
            if sums is not None:
                model, site = parts[part] if part else ("", "")
                yield Row(period, model, site, sums)

    def charges(self, user: str, tick: Tick = unwatched) -> Iterator[Entry]:
        """A person's single charges, in the order in which they were applied. Looks at everybody's, some at a time."""
        for found in self._found(user, tick):
            yield from found

    def _found(self, user: str, tick: Tick) -> Iterator[list[Entry]]:
        shard = self._books.shard_of(user)
        key, needle = schema.stream_key(shard), _needle(user)
        with refusals():
            all_count = self._store.client.xlen(key)
        seen_count, at = 0, "-"
        while True:
            with refusals():
                count, last, found = self._find_script(keys=[key], args=[at, _CHUNK, needle])
            entries = (Entry(entry.decode(), packed) for entry, packed in zip(found[::2], found[1::2], strict=True))
            yield [entry for entry in entries if user_of(entry.packed) == user]
            if count < _CHUNK:
                return
            seen_count, at = seen_count + count, f"({last.decode()}"
            tick(seen_count, min(1.0, seen_count / all_count) if all_count else 0.0)

    def holdings(self, user: str, tick: Tick = unwatched) -> Holdings:
        """How much is kept of a person."""
        return Holdings(
            rows_count=sum(1 for _ in self.rows(user)),
            charges_count=sum(1 for _ in self.charges(user, tick)),
            has_label=user in self._books.labels(),
        )

    def fingerprint(self) -> str | None:
        """The fingerprint of the identity key that pseudonyms are made with."""
        return self._store.fingerprint()

    def users(self) -> Iterator[tuple[str, str, str]]:
        """Every account with the first and the last month that it has rows in; a few thousand at a time are held."""
        erased: list[tuple[str, str]] = []
        for shard in self._books.shards:
            for user, first, last in self._users(shard):
                if user == schema.ERASED:
                    erased.append((first, last))
                else:
                    yield user, first, last
        if erased:
            yield schema.ERASED, min(first for first, _ in erased), max(last for _, last in erased)

    def _users(self, shard: int) -> Iterator[tuple[str, str, str]]:
        months = self.months()
        with refusals():
            bitmaps = self._store.client.mget([schema.buckets_key(shard, month) for month in months])
        places: dict[int, list[str]] = {}
        for month, bitmap in zip(months, bitmaps, strict=True):
            for bucket in schema.buckets_in(bitmap):
                places.setdefault(bucket, []).append(month)
        buckets = sorted(places)
        for at in range(0, len(buckets), _BUCKETS):
            some = [(bucket, month) for bucket in buckets[at : at + _BUCKETS] for month in places[bucket]]
            with refusals():
                pipeline = self._store.client.pipeline(transaction=False)
                for bucket, month in some:
                    pipeline.smembers(schema.index_key(shard, month, bucket))
                found = pipeline.execute()
            known: dict[str, list[str]] = {}
            for (_, month), members in zip(some, found, strict=True):
                for user in {schema.user_and_part(member.decode())[0] for member in members}:
                    known.setdefault(user, []).append(month)
            yield from ((user, known[user][0], known[user][-1]) for user in sorted(known))

    # -- erasing ------------------------------------------------------------------------------------------------------

    def erase(self, user: str, *, unlink: Unlink | None = None, tick: Tick = unwatched) -> Holdings:
        """Move all amounts of a person to the account `erased`; delete accounts, single charges, receipts and the label.

        Returns what this call has found. What is charged to the person from now on opens a new account.
        """
        if user == schema.ERASED:
            raise LedgerError(f"the account {schema.ERASED!r} is nobody's; there is nothing to erase in it")
        shard, key = self._books.shard_of(user), self.fingerprint()
        # A month's rows first: what was applied by then is in them, and its single charges may go.
        months = {row.period[:7] for row in self.rows(user)} | self._indexed(shard, user)
        moved = {month: self._move(shard, user, month) for month in sorted(months)}
        charges_count = 0
        for found in self._found(user, tick):
            going = []
            for entry in found:
                month = schema.periods(packing.unpack(entry.packed).ended_ms)[1]
                if month not in moved:
                    moved[month] = self._move(shard, user, month)
                if _place(entry.entry_id) <= _place(moved[month][0]):
                    going.append(entry)
            self._delete(shard, going)
            charges_count += len(going)
        if unlink is not None:
            unlink(user)
        if self._store.rotating() or self.fingerprint() != key:
            raise LedgerError(
                "the identity key was replaced meanwhile, and the account has another name: erase it again when that has ended, by "
                "--api-key, --subject or its label"
            )
        has_label = self._forget_label(shard, user)  # last: by it they are found again when this was cut short
        return Holdings(
            rows_count=sum(count for _, count in moved.values()), charges_count=charges_count, has_label=has_label
        )

    def rewrite_file(self, pause: Callable[[float], object] = time.sleep) -> None:
        """Have the server write its append-only file anew, without what was deleted, and wait for it."""
        is_asked = False
        with refusals():
            while True:
                found = self._store.client.info("persistence")
                if not found.get("aof_enabled"):
                    return
                if not found["aof_rewrite_in_progress"] and not found["aof_rewrite_scheduled"]:
                    if is_asked:
                        return
                    self._store.client.bgrewriteaof()
                    is_asked = True
                pause(_POLL_S)

    def _indexed(self, shard: int, user: str) -> set[str]:
        """The months whose index names a person, be it that the rows have expired."""
        bucket, months = schema.bucket_of(user), self.months()
        with refusals():
            pipeline = self._store.client.pipeline(transaction=False)
            for month in months:
                pipeline.smembers(schema.index_key(shard, month, bucket))
            found = pipeline.execute()
        return {
            month
            for month, members in zip(months, found, strict=True)
            if any(schema.user_and_part(member.decode())[0] == user for member in members)
        }

    def _move(self, shard: int, user: str, month: str) -> tuple[str, int]:
        """Move a month and its days. Returns the id of the last single charge that is in them, and how many rows it were."""
        bucket, erased_bucket = map(schema.bucket_of, (user, schema.ERASED))
        for _ in range(_TRIES):
            parts = list(self._books.parts(shard))
            periods = [*((month, part) for part in parts), *((day, "") for day in schema.days_of(month))]
            keys = [schema.stream_key(shard), schema.parts_key(shard)]
            keys += [schema.index_key(shard, month, bucket), schema.index_key(shard, month, erased_bucket)]
            keys += [schema.buckets_key(shard, month)]
            keys += [schema.user_key(shard, each, *period) for period in periods for each in (user, schema.ERASED)]
            members = [schema.index_member(each, part) for part in parts for each in (user, schema.ERASED)]
            with refusals():
                answer = self._erase_script(keys=keys, args=[len(parts), erased_bucket, *members])
            if answer:
                return answer[0].decode(), int(answer[1])
        raise LedgerError("models come in faster than an account can be erased; run it again")

    def _delete(self, shard: int, entries: Iterable[Entry]) -> None:
        """Delete single charges with what leads to them; themselves last, so that they are found again until all is gone.

        That a generation was charged (`once`) stays known: it names nobody, and another sighting must not be charged again.
        """
        some = list(entries)
        if not some:
            return
        with refusals():
            pipeline = self._store.client.pipeline(transaction=False)
            for entry in some:
                charge = glance(entry.packed)
                bucket = schema.receipts_bucket(charge.receipt_id)
                pipeline.hdel(schema.receipts_key(shard, bucket), charge.receipt_id)
            pipeline.xdel(schema.stream_key(shard), *(entry.entry_id for entry in some))
            pipeline.execute()

    def _forget_label(self, shard: int, user: str) -> bool:
        with refusals():
            return bool(self._store.client.hdel(schema.labels_key(shard), user))


def _needle(user: str) -> bytes:
    """Bytes that each single charge of a person has."""
    if user == packing.ANONYMOUS:
        return b""  # a bit in the charge
    return pseudonym_bytes(user) or user.encode()


def _place(entry_id: str) -> tuple[int, ...]:
    """A stream id, to be compared."""
    return tuple(map(int, entry_id.split("-"))) if entry_id else (0, 0)
