"""Closing a month: its accounts become a numbered, hashed statement that nobody edits. Can be killed anywhere and repeated.

What is read is frozen. Whatever the accounts have more later, the next statement that is closed lists as corrections: the
account now, less all that was frozen of it. Nothing is lost between the two, and nothing counts twice, whenever a charge
comes.

Rows are written under a token of this closing; nobody sees them until the statement's head is published, in one script, and
only if no other closing took over meanwhile. Two that run at once, or one that was taken for dead: one of them is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import merge
from importlib.resources import files
from itertools import chain, groupby
from typing import Final, NamedTuple

from headwater.errors import ConfigError, LedgerError
from headwater.ledger import chunks, rows, schema
from headwater.ledger.books import Books
from headwater.ledger.chunks import MOST_ROWS, Chunk, Kept, Part
from headwater.ledger.closer import Closer
from headwater.ledger.connection import refusals
from headwater.ledger.durability import SAFE_DELAY_S
from headwater.ledger.rows import NOTHING, Sums
from headwater.ledger.statements import Head, Statements, Tick, rows_digest, totals_of, unwatched

_PUBLISH: Final = files("headwater.ledger").joinpath("publish.lua").read_text("utf-8")
_S_PER_HOUR: Final = 3_600
_LAST_S: Final = int(datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp())
"""The end of the year 9999: no date is later."""


class Row(NamedTuple):
    """A row on its way into a statement: what an account has, or what was frozen of it already. Sorted by bucket and user."""

    bucket: int
    user: str
    is_frozen: bool
    kept: Kept


def close(
    books: Books,
    month: str,
    *,
    grace_hours: float,
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
    tick: Tick = unwatched,
) -> Head:
    """Close a month: freeze its accounts, and what came late to those closed before. One that is closed stays as it is.

    Raises:
        ConfigError: the month is not over for as long as the grace.
        LedgerError: another closing runs, accounts and totals disagree, or the store does not answer; nothing is closed.
    """
    _check_time(month, grace_hours=grace_hours, now_s=clock())
    statements, closer = Statements(books), Closer(books.store)
    with refusals():
        closer.begin()
        try:
            heads = statements.heads()
            known = next((head for head in heads if head.month == month), None)
            if known is not None:
                return known
            closing = _Closing(books, statements, heads, month, closer=closer, now_s=int(clock()), tick=tick)
            head = closing.freeze()
            if books.store.shards_count > 1:
                pause(SAFE_DELAY_S)  # rows and head may lie on different nodes: the head must not outlive rows
            statements.verify(head, lambda *_: closer.live())
            closing.publish(head)
        finally:
            closer.end()
    return head


def closable_s(month: str, grace_hours: float) -> float:
    """The moment from which a month can be closed, in seconds since the epoch."""
    return schema.month_end_ms(month) / 1_000 + grace_hours * _S_PER_HOUR


def moment(time_s: float) -> str:
    """A moment for people, in UTC."""
    return f"{datetime.fromtimestamp(min(time_s, _LAST_S), UTC):%Y-%m-%d %H:%M} UTC"


def _check_time(month: str, *, grace_hours: float, now_s: float) -> None:
    from_s = closable_s(month, grace_hours)
    if now_s < from_s:
        raise ConfigError(
            f"{month} can be closed from {moment(from_s)} on: charges of the month may come for {grace_hours:g} hours after "
            "it ([ledger] grace_hours)"
        )


class _Closing:
    """One attempt at closing a month."""

    def __init__(
        self,
        books: Books,
        statements: Statements,
        heads: Sequence[Head],
        month: str,
        *,
        closer: Closer,
        now_s: int,
        tick: Tick,
    ) -> None:
        self._books = books
        self._client = books.store.client
        self._statements = statements
        self._heads = heads
        self._month = month
        self._closer = closer
        self._now_s = now_s
        self._tick = tick
        self._number = len(heads) + 1
        closer.attempt(self._number, month)

    def publish(self, head: Head) -> None:
        """The moment from which the month is closed. Raises LedgerError where another closing took over."""
        keys = schema.HEADS, schema.ATTEMPT
        if not self._client.eval(_PUBLISH, len(keys), *keys, self._closer.token, self._number, head.to_json()):
            self._closer.remove(self._number, self._closer.token)
            raise LedgerError(
                f"another process took over while {self._month} was being closed; nothing was closed, try again"
            )

    # -- rows ---------------------------------------------------------------------------------------------------------

    def freeze(self) -> Head:
        """Write all rows; returns what the statement is to say."""
        writer = _Writer(self._write)
        all_count = rows.total(self._books.total(shard, self._month) for shard in self._books.shards)[0]
        for shard in self._books.shards:
            before = self._books.total(shard, self._month)
            batch: list[tuple[str, list[Kept]]] = []
            held_count = 0
            for user, kept in changes(self._merged(shard), self._month):
                batch.append((user, kept))
                held_count += len(kept)
                if held_count >= MOST_ROWS:
                    self._pack(writer, shard, batch)
                    batch, held_count = [], 0
                    self._closer.live()
                    done_count = writer.requests_count(self._month)
                    self._tick(writer.rows_count, done_count / all_count if all_count else 0.0)
            if batch:
                self._pack(writer, shard, batch)
            check_between(
                self._month,
                before=before,
                found=writer.totals.get(self._month, {}).get(shard, NOTHING),
                after=self._books.total(shard, self._month),
            )
        return Head(
            number=self._number,
            month=self._month,
            closed_s=self._now_s,
            users_count=writer.users_count,
            rows_count=writer.rows_count,
            rows_sha256=writer.digest.hex(),
            totals=writer.totals,
            bases=self._books.bases(self._month),
            previous_sha256=self._heads[-1].sha256 if self._heads else "",
            token=self._closer.token,
            chunks={shard: tuple(firsts) for shard, firsts in writer.firsts.items()},
        ).sealed()

    def _pack(self, writer: _Writer, shard: int, batch: Sequence[tuple[str, Sequence[Kept]]]) -> None:
        made = chunks.chunk(
            batch, month=self._month, shard=shard, first=writer.users_count + 1, secret=self._closer.secret
        )
        writer.add(shard, batch, made)

    def _write(self, shard: int, number: int, chunk: Chunk) -> None:
        """Links first: where they are missing, there is nothing to remove."""
        life_s = self._books.store.retention.months_s
        self._client.set(schema.links_key(shard, self._number, self._closer.token, number), chunk.links, ex=life_s)
        self._client.set(schema.frozen_key(shard, self._number, self._closer.token, number), chunk.packed, ex=life_s)

    def _merged(self, shard: int) -> Iterator[Row]:
        """All rows that have a say in this statement, a user's together: the month's, and of every month with late charges
        what its accounts have and what was frozen of them."""
        changed = self._changed(shard)
        streams = [live_rows(self._books, shard, month) for month in (self._month, *changed)]
        for head in self._heads:
            if any(shard in head.totals.get(month, {}) for month in changed):
                streams.append(frozen_rows(self._statements, head, shard, changed))
                streams.append(forgotten_rows(self._statements, head, shard, changed))
        return merge(*streams, key=lambda row: row[:2])

    def _changed(self, shard: int) -> list[str]:
        """The closed months to which something was charged since. Of months whose accounts may have begun to expire nothing
        can be said any more."""
        months_s = self._books.store.retention.months_s
        return [
            head.month
            for head in self._heads
            if self._now_s < schema.period_start_ms(head.month) // 1_000 + months_s
            and self._books.total(shard, head.month) != self._statements.frozen_total(head.month, shard, self._heads)
        ]


@dataclass(slots=True)
class _Writer:
    """What was written so far."""

    write: Callable[[int, int, Chunk], None]
    users_count: int = 0
    rows_count: int = 0
    digest: bytes = field(default_factory=rows_digest)
    totals: dict[str, dict[int, Sums]] = field(default_factory=dict)
    firsts: dict[int, list[int]] = field(default_factory=dict)

    def add(self, shard: int, batch: Sequence[tuple[str, Sequence[Kept]]], made: Chunk) -> None:
        """Write a chunk of these users."""
        firsts = self.firsts.setdefault(shard, [])
        self.write(shard, len(firsts), made)
        firsts.append(schema.bucket_of(batch[0][0]))
        self.digest = rows_digest(self.digest, made.canonical)
        placed = [(0, row) for _, kept in batch for row in kept]
        for month, sums in totals_of(placed).items():
            by_shard = self.totals.setdefault(month, {})
            by_shard[shard] = rows.plus(by_shard.get(shard, NOTHING), sums)
        self.users_count += len(batch)
        self.rows_count += len(placed)

    def requests_count(self, month: str) -> int:
        """How many requests of a month were written."""
        return sum(sums[0] for sums in self.totals.get(month, {}).values())


def live_rows(books: Books, shard: int, month: str) -> Iterator[Row]:
    """What the accounts of a month have now."""
    parts = books.parts(shard)
    for user, short_name, sums in books.user_parts(shard, month):
        if short_name not in parts:  # charged for the first time since
            parts = books.parts(shard)
        yield Row(schema.bucket_of(user), user, False, Kept(month, parts[short_name], sums))


def frozen_rows(statements: Statements, head: Head, shard: int, months: Collection[str]) -> Iterator[Row]:
    """What was frozen of some months in a statement, of users that are linked to it still."""
    in_chunks = (
        [
            Row(schema.bucket_of(user), user, True, kept)
            for place, kept in found.rows
            if kept.month in months and (user := found.users[place]) is not None
        ]
        for found in statements.contents(head, {shard})
    )
    if statements.is_renamed():  # in the order of names that nobody has any more
        yield from sorted(chain.from_iterable(in_chunks))
        return
    for found in in_chunks:
        yield from sorted(found)


def forgotten_rows(statements: Statements, head: Head, shard: int, months: Collection[str]) -> Iterator[Row]:
    """What was frozen of some months of users who were erased since: their accounts are in that of what was erased."""
    bucket = schema.bucket_of(schema.ERASED)
    for found in statements.contents(head, {shard}):
        for place, kept in found.rows:
            if kept.month in months and found.users[place] is None:
                yield Row(bucket, schema.ERASED, True, kept)


def changes(merged: Iterable[Row], month: str) -> Iterator[tuple[str, list[Kept]]]:
    """Per user, the rows of a month as they are, and of other months what their accounts have more than was frozen.

    An account that is not there was erased, or has expired: that is no correction.
    """
    for (_, user), of_user in groupby(merged, key=lambda row: row[:2]):
        now: dict[tuple[str, Part], Sums] = {}
        frozen: dict[tuple[str, Part], Sums] = {}
        for row in of_user:
            place = row.kept.month, row.kept.part
            if row.is_frozen:
                frozen[place] = rows.plus(frozen.get(place, NOTHING), row.kept.sums)
            else:
                now[place] = row.kept.sums
        kept = [
            Kept(*place, sums) if place not in frozen else Kept(*place, rows.minus(sums, frozen[place]))
            for place, sums in sorted(now.items())
        ]
        if found := [row for row in kept if row.month == month or row.sums != NOTHING]:
            yield user, found


def check_between(month: str, *, before: Sums, found: Sums, after: Sums) -> None:
    """Check what accounts add up to against the totals kept beside them, read before and after. They are the same unless
    charges came in meanwhile.

    Raises:
        LedgerError: the accounts disagree with both; names the first difference.
    """
    for name, low, sum_, high in zip(rows.FIELDS, before, found, after, strict=True):
        if not min(low, high) <= sum_ <= max(low, high):
            raise LedgerError(
                f"{month}: the accounts' {name} add up to {sum_}, the ledger's own total is {high}; "
                "the store was changed by another hand"
            )
