"""Closed months as they were frozen: their statements, read and verified, and the one thing that may change in them: that
nobody can tell any more whose a row is.

A statement is numbered in the order of closing. It holds the rows of its month, and corrections of months closed before:
what was charged to them since. Its SHA-256 covers every row, and the SHA-256 of the statement before it.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, NamedTuple

from headwater.errors import LedgerError
from headwater.ledger import chunks, rows, schema
from headwater.ledger.books import Books
from headwater.ledger.chunks import Content, Kept
from headwater.ledger.closer import Closer
from headwater.ledger.connection import refusals
from headwater.ledger.people import Holdings, People
from headwater.ledger.redis import Store
from headwater.ledger.rows import Sums

VERSION: Final = 1
_AT_ONCE: Final = 8

Tick = Callable[[int, float], None]
"""Told now and then: rows done, and the share of all, from 0 to 1; 0 where it is not known."""


def unwatched(_done_count: int, _done_ratio: float) -> None:
    """A tick that tells nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a statement says as a whole.

    `number`: the how-manieth statement it is. `users_count`: users have the numbers from 1 to that. `chunks`: per shard, the
    first bucket of each chunk. `totals`: month -> shard -> sums of its rows here; all but its own month are corrections.
    `bases`: hash of a deployment's document -> requests of the month charged by it. `previous_sha256`: of the statement
    before it; "" for the first. `token` and `chunks` say where the rows lie and are in no hash.
    """

    number: int
    month: str
    closed_s: int
    users_count: int
    rows_count: int
    rows_sha256: str
    totals: Mapping[str, Mapping[int, Sums]]
    bases: Mapping[str, int]
    previous_sha256: str
    token: str
    chunks: Mapping[int, Sequence[int]]
    fields: Sequence[str] = rows.FIELDS
    sha256: str = ""

    @property
    def corrected(self) -> tuple[str, ...]:
        """The earlier months of which it has corrections."""
        return tuple(sorted(set(self.totals) - {self.month}))

    def total(self, month: str) -> Sums:
        """Everybody's sums of a month in this statement."""
        return rows.total(self.on_shard(month, shard) for shard in self.totals.get(month, ()))

    def on_shard(self, month: str, shard: int) -> Sums:
        """The same of one shard."""
        return rows.of_now(self.totals.get(month, {}).get(shard, rows.NOTHING))

    def statement_number(self, user_number: int) -> str:
        """A user's statement, as `2026-10-000001`."""
        return f"{self.month}-{user_number:06}" if user_number else ""

    def sealed(self) -> Head:
        """With its hash."""
        return replace(self, sha256=hashlib.sha256(chunks.canonical_json(self._hashed())).hexdigest())

    def _hashed(self) -> dict[str, Any]:
        """What the hash covers."""
        said = asdict(self)
        said["totals"] = {
            month: {str(shard): list(sums) for shard, sums in by_shard.items()}
            for month, by_shard in self.totals.items()
        }
        return {"v": VERSION} | {name: said[name] for name in said if name not in {"token", "chunks", "sha256"}}

    def to_json(self) -> bytes:
        """As it is stored."""
        kept = {str(shard): list(firsts) for shard, firsts in self.chunks.items()}
        return chunks.canonical_json(self._hashed() | {"token": self.token, "chunks": kept, "sha256": self.sha256})

    @classmethod
    def from_json(cls, text: bytes) -> Head:
        """Raises LedgerError when it is of another version, or none."""
        try:
            said = json.loads(text)
            if said["v"] != VERSION:
                raise LedgerError(
                    f"a closed month has format {said['v']}, this version reads {VERSION}; upgrade headwater"
                )
            names = set(cls.__dataclass_fields__) - {"totals", "chunks", "fields"}
            return cls(
                **{name: said[name] for name in names},
                totals={
                    month: {int(shard): tuple(sums) for shard, sums in by_shard.items()}
                    for month, by_shard in said["totals"].items()
                },
                fields=tuple(said["fields"]),
                chunks={int(shard): tuple(firsts) for shard, firsts in said["chunks"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LedgerError(
                f"a closed month's statement cannot be read: {error!r}; the store was changed by another hand"
            ) from error


class _Place(NamedTuple):
    """Where a chunk lies."""

    shard: int
    chunk: int


class Statements:
    """All closed months of a store. Every method raises LedgerError when the store does not answer."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._client = books.store.client

    def heads(self) -> list[Head]:
        """Every statement, in the order of closing."""
        with refusals():
            found = self._client.hgetall(schema.HEADS)
        return sorted(map(Head.from_json, found.values()), key=lambda head: head.number)

    def of(self, month: str) -> Head | None:
        """The statement of a month; None while it is open."""
        return next((head for head in self.heads() if head.month == month), None)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def contents(self, head: Head, shards: Collection[int] | None = None) -> Iterator[Content]:
        """The chunks of a statement in the order of its numbers, a few at a time; of some shards, or of all.

        Raises:
            LedgerError: rows are missing; or, at the end of all, they are not those that were frozen.
        """
        digest = rows_digest()
        for canonical, links in self._chunks(head, shards):
            digest = rows_digest(digest, canonical)
            yield chunks.content(canonical, links)
        if shards is None and (digest.hex() != head.rows_sha256 or head.sealed() != head):
            raise LedgerError(
                f"{head.month}: the rows are not those that were frozen; the store was changed by another hand: "
                f"headwater close --verify {head.month}"
            )

    def _chunks(self, head: Head, shards: Collection[int] | None = None) -> Iterator[tuple[bytes, bytes]]:
        places = [
            _Place(shard, number)
            for shard, firsts in sorted(head.chunks.items())
            if shards is None or shard in shards
            for number in range(len(firsts))
        ]
        for at in range(0, len(places), _AT_ONCE):
            some = places[at : at + _AT_ONCE]
            with refusals():
                pipeline = self._client.pipeline(transaction=False)
                for place in some:
                    pipeline.get(schema.frozen_key(place.shard, head.number, head.token, place.chunk))
                    pipeline.get(schema.links_key(place.shard, head.number, head.token, place.chunk))
                found = pipeline.execute()
            for packed, links in zip(found[::2], found[1::2], strict=True):
                if packed is None or links is None:
                    raise LedgerError(
                        f"the rows of the statement of {head.month} are no longer kept; its sums are: headwater close --list"
                    )
                yield chunks.unpacked(packed), links

    def of_user(self, head: Head, user: str) -> tuple[int, list[Kept]]:
        """A user's number and rows in a statement; 0 and none where there are none, or where the link is erased."""
        for place, links in self._candidates(head, user):
            at = chunks.place_of(links, chunks.users_count(links), user)
            if at is not None:
                with refusals():
                    packed = self._client.get(schema.frozen_key(place.shard, head.number, head.token, place.chunk))
                found = chunks.content(chunks.unpacked(packed), links)
                return found.first + at, [row for owner, row in found.rows if owner == at]
        return 0, []

    def is_renamed(self) -> bool:
        """Whether accounts were given other names since some month was closed."""
        with refusals():
            return bool(self._client.hexists(schema.journal_key(0), schema.KEY_FIELD))

    def _candidates(self, head: Head, user: str) -> Iterator[tuple[_Place, bytes]]:
        """The chunks in which a user can stand, and their links."""
        shard, bucket = self._books.shard_of(user), schema.bucket_of(user)
        firsts = head.chunks.get(shard, ())
        # A chunk that begins with a later bucket has it not; the one before the first that begins with it may end with it.
        numbers = range(max(0, bisect_left(firsts, bucket) - 1), bisect_right(firsts, bucket))
        for number in range(len(firsts)) if self.is_renamed() else numbers:
            with refusals():
                links = self._client.get(schema.links_key(shard, head.number, head.token, number))
            if links is not None:
                yield _Place(shard, number), links

    # -- what came later ----------------------------------------------------------------------------------------------

    def frozen_total(self, month: str, shard: int, heads: Sequence[Head]) -> Sums:
        """Everybody's sums of a month on a shard in all statements: as frozen, and corrected since."""
        return rows.total(head.on_shard(month, shard) for head in heads)

    def corrections(self, month: str, heads: Sequence[Head]) -> list[tuple[Head, Sums]]:
        """The later statements that correct a month, and by how much."""
        return [(head, head.total(month)) for head in heads if month in head.corrected]

    def waiting(self, month: str, heads: Sequence[Head]) -> Sums:
        """What was charged to a closed month and stands in no statement yet."""
        kept = rows.total(self._books.total(shard, month) for shard in self._books.shards)
        frozen = rows.total(head.total(month) for head in heads)
        return tuple(now - before for now, before in zip(kept, frozen, strict=True))

    # -- verifying ----------------------------------------------------------------------------------------------------

    def verify(self, head: Head, tick: Tick = unwatched) -> int:
        """Recompute the hash of a statement from its rows, and add them up. Returns how many links were erased.

        Raises:
            LedgerError: something differs; the message names it.
        """
        digest = rows_digest()
        totals: dict[str, dict[int, Sums]] = {}
        done_count = erased_count = users_count = 0
        for canonical, links in self._chunks(head):
            digest = rows_digest(digest, canonical)
            found = chunks.content(canonical, links)
            if found.first != users_count + 1:
                raise LedgerError(f"{head.month}: statement numbers jump from {users_count} to {found.first}")
            for place in chunks.false_links(canonical, links):
                raise LedgerError(
                    f"{head.month}: statement {head.statement_number(found.first + place)} is linked to another user than "
                    "when it was closed; the store was changed by another hand"
                )
            by_month = totals_of(found.rows)
            for month, sums in by_month.items():
                of_month = totals.setdefault(month, {})
                of_month[found.shard] = rows.plus(of_month.get(found.shard, rows.NOTHING), sums)
            users_count += len(found.users)
            erased_count += found.users.count(None)
            done_count += len(found.rows)
            tick(done_count, done_count / head.rows_count)
        known = len(head.fields)
        seen = replace(
            head,
            rows_sha256=digest.hex(),
            rows_count=done_count,
            users_count=users_count,
            totals={m: {shard: sums[:known] for shard, sums in of.items()} for m, of in totals.items()},
        ).sealed()
        if seen.sha256 != head.sha256:
            raise LedgerError(
                f"{head.month}: the statement has sha256 {head.sha256}, its rows give {seen.sha256}; "
                "the store was changed by another hand"
            )
        return erased_count

    def verify_chain(self, heads: Sequence[Head]) -> None:
        """Check that each statement names the one before it. Raises LedgerError at the first that does not."""
        before = ""
        for number, head in enumerate(heads, 1):
            if (head.number, head.previous_sha256) != (number, before):
                raise LedgerError(
                    f"{head.month}: statement {head.number} follows {head.previous_sha256 or 'none'}, "
                    f"statement {number - 1} is {before or 'none'}; the store was changed by another hand"
                )
            before = head.sha256

    # -- erasing ------------------------------------------------------------------------------------------------------

    def unlink(self, user: str) -> int:
        """Forget which rows are a user's, in all statements; amounts, numbers and hashes stay. Returns in how many."""
        found_count = 0
        for head in self.heads():
            for place, links in self._candidates(head, user):
                at = chunks.place_of(links, chunks.users_count(links), user)
                if at is not None:
                    begin, nothing = chunks.erasure(links, at)
                    with refusals():
                        self._client.setrange(
                            schema.links_key(place.shard, head.number, head.token, place.chunk), begin, nothing
                        )
                    found_count += 1
        return found_count


def erase(store: Store, user: str, tick: Tick = unwatched) -> Holdings:
    """Erase a person: accounts, single charges, and who stands behind rows of closed months. While it lasts no month is
    closed, which would see the amounts in two accounts. Can be killed and repeated.

    Raises:
        LedgerError: a month is being closed, or somebody else erased, right now; nothing was erased.
    """
    closer, books = Closer(store), Books(store)

    def lively(done_count: int, done_ratio: float) -> None:
        closer.live()
        tick(done_count, done_ratio)

    with refusals():
        closer.begin()
    try:
        return People(books).erase(user, unlink=Statements(books).unlink, tick=lively)
    finally:
        with refusals():
            closer.end()


def rows_digest(before: bytes = b"", canonical: bytes | None = None) -> bytes:
    """The hash of the chunks so far, or of one more; without any, that of none."""
    return hashlib.sha256(before + (canonical or b"")).digest()


def totals_of(placed: Sequence[tuple[int, Kept]]) -> dict[str, Sums]:
    """The sums of rows by month."""
    by_month: dict[str, list[Sums]] = {}
    for _, row in placed:
        by_month.setdefault(row.month, []).append(row.sums)
    return {month: rows.total(found) for month, found in by_month.items()}
