"""A closed month's accounts against what was frozen of them: equal to the last unit, but for charges that came late."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import groupby

from headwater.audit.records import Audit, Difference
from headwater.errors import LedgerError
from headwater.ledger import rows, schema
from headwater.ledger.books import Books
from headwater.ledger.closing import Row, forgotten_rows, frozen_rows, live_rows
from headwater.ledger.connection import StoreError
from headwater.ledger.rows import FIELDS, NOTHING, Sums
from headwater.ledger.statements import Head, Statements


def compare_statements(books: Books, month: str, found: Audit, *, now_ms: int) -> None:
    """Recompute the hashes of the statements that speak of a month, and compare every account with what is frozen and
    corrected of it. Nothing where the month is open; and only the hashes, where its accounts may have expired."""
    statements = Statements(books)
    heads = statements.heads()
    if all(head.month != month for head in heads):
        return
    speaking = [head for head in heads if head.month == month or month in head.corrected]
    found.statements_count = sum(_is_verified(statements, head, found) for head in speaking)
    if found.statements_count < len(speaking):
        return  # what stands in a broken one says nothing
    if schema.period_start_ms(month) + books.store.retention.months_s * 1_000 < now_ms:
        return
    before = statements.waiting(month, heads)
    late = rows.total(
        more for shard in books.shards for more in _more(books, statements, speaking, shard, month, found)
    )
    after = statements.waiting(month, heads)
    found.waiting_count = late[0]
    for name, low, sum_, high in zip(FIELDS, before, late, after, strict=True):
        if not min(low, high) <= sum_ <= max(low, high):
            found.differs(Difference(what="statement", shard=0, period=month, field=name, account=sum_, stream=high))


def _is_verified(statements: Statements, head: Head, found: Audit) -> bool:
    try:
        statements.verify(head)
    except StoreError:
        raise
    except LedgerError as error:
        found.differs(
            Difference(what="hash", shard=0, period=head.month, field=str(error), account=None, stream=head.number)
        )
        return False
    return True


def _more(
    books: Books, statements: Statements, heads: list[Head], shard: int, month: str, found: Audit
) -> Iterator[Sums]:
    """What each account of a month has more than was frozen of it: what came late."""
    streams: list[Iterator[Row]] = [live_rows(books, shard, month)]
    for head in heads:
        streams.append(frozen_rows(statements, head, shard, {month}))
        streams.append(forgotten_rows(statements, head, shard, {month}))
    for (_, user), of_user in groupby(merge(*streams, key=lambda row: row[:2]), key=lambda row: row[:2]):
        now: dict[tuple[str, str], Sums] = {}
        frozen: dict[tuple[str, str], Sums] = {}
        for row in of_user:
            place = frozen if row.is_frozen else now
            place[row.kept.part] = rows.plus(place.get(row.kept.part, NOTHING), row.kept.sums)
        for part in sorted(now.keys() | frozen.keys()):
            has, was = now.get(part, NOTHING), frozen.get(part, NOTHING)
            more = rows.minus(has, was)
            if min(more) >= 0:
                found.equal["statement"] += part in frozen
                yield more
                continue
            for name, account, kept in zip(FIELDS, has, was, strict=True):
                if account < kept:
                    found.differs(
                        Difference(
                            what="statement",
                            shard=shard,
                            period=month,
                            user=user,
                            model=part[0],
                            site=part[1],
                            field=name,
                            account=None if part not in now else account,
                            stream=kept,
                        )
                    )
