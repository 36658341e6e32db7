"""A month's accounts for statements: of an open month as they are, of a closed one as they were frozen. Read in passes, a
few thousand lines at a time: no pass needs memory for all of them, and each ends with a check of what it read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from headwater.ledger import Reader, rows
from headwater.ledger.chunks import Content
from headwater.ledger.closing import check_between
from headwater.ledger.rows import FIELDS, NOTHING, Sums
from headwater.ledger.statements import Head, Statements
from headwater.reports.entries import Tick, unwatched
from headwater.reports.lines import Line, line_of, total
from headwater.reports.statement import CountedBy, Statement, checked_month, counted_by

_REQUESTS: Final = FIELDS.index("requests_count")

Batch = Sequence[Line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What was charged to a closed month since: in requests, by the statement that corrects it, and not in one yet."""

    corrected: tuple[tuple[str, int], ...] = ()
    waiting_count: int = 0

    @property
    def requests_count(self) -> int:
        """All of them."""
        return sum(count for _, count in self.corrected) + self.waiting_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """One month's accounts. `read` makes a pass over them, the same order each time; `rules` says by which rules how many
    of so many requests were charged. A closed month has a head, and what came late since; among its lines are corrections
    of other months."""

    month: str
    read: Callable[[Tick], Iterator[Batch]]
    rules: Callable[[int], tuple[CountedBy, ...]]
    closed: Head | None = None
    since: Since = Since()

    def held(self, tick: Tick = unwatched) -> Accounts:
        """The same with all lines in memory, about 1 kB each: every pass reads the same, whatever is charged meanwhile."""
        batches = list(self.read(tick))
        return replace(self, read=lambda _tick: iter(batches))

    def statement(self) -> Statement:
        """The accounts whose user is known, as rows, without corrections."""
        lines = [line for batch in self.read(unwatched) for line in batch if line.month == self.month]
        return Statement(
            month=self.month,
            rows=tuple(line.row() for line in lines if line.user is not None),
            total=Line("", None, self.month, total(lines)).row(),
        )


def accounts(reader: Reader, month: str, *, live: bool = False) -> Accounts:
    """A month's accounts: as frozen where the month is closed, unless they are wanted `live`.

    A pass raises LedgerError when the lines are not those that the ledger's totals, or the statement's hash, are of.

    Raises:
        ConfigError: the month is not written as YYYY-MM.
        LedgerError: the store does not answer.
    """
    checked_month(month)
    statements = Statements(reader.books)
    heads = statements.heads()
    head = None if live else next((head for head in heads if head.month == month), None)
    if head is None:
        return Accounts(
            month=month,
            read=lambda tick: _live(reader, month, tick),
            rules=lambda count: counted_by(reader, reader.bases(month), count),
        )
    return Accounts(
        month=month,
        read=lambda tick: _frozen(reader, statements, head, tick),
        rules=lambda count: counted_by(reader, head.bases, count),
        closed=head,
        since=Since(
            corrected=tuple((each.month, sums[_REQUESTS]) for each, sums in statements.corrections(month, heads)),
            waiting_count=statements.waiting(month, heads)[_REQUESTS],
        ),
    )


def of_statement(made: Statement) -> Accounts:
    """A statement's rows as accounts."""
    lines = [line_of(row)._replace(month=made.month) for row in made.rows]
    return Accounts(month=made.month, read=lambda _tick: iter([lines]), rules=lambda _count: made.counted_by)


def _live(reader: Reader, month: str, tick: Tick) -> Iterator[Batch]:
    books = reader.books
    done_count = 0
    for place, shard in enumerate(books.shards):
        before, found = books.total(shard, month), NOTHING
        for done_ratio, users in books.user_batches(shard, month):
            labels = books.labels_of(shard, [user for user, _ in users])
            yield [Line(user, labels.get(user), month, sums) for user, sums in users]
            found = rows.plus(found, rows.total(sums for _, sums in users))
            done_count += len(users)
            tick(done_count, (place + done_ratio) / len(books.shards))
        check_between(month, before=before, found=found, after=books.total(shard, month))


def _frozen(reader: Reader, statements: Statements, head: Head, tick: Tick) -> Iterator[Batch]:
    done_count = 0
    for found in statements.contents(head):
        known = [user for user in found.users if user is not None]
        yield _lines(found, reader.books.labels_of(found.shard, known))
        done_count += len(found.users)
        tick(done_count, done_count / head.users_count)


def _lines(found: Content, labels: dict[str, str]) -> list[Line]:
    """The lines of a chunk: a user's parts of a month together, in the order of their numbers."""
    sums_of: dict[tuple[int, str], Sums] = {}
    for place, kept in found.rows:
        key = place, kept.month
        known = sums_of.get(key)
        sums_of[key] = kept.sums if known is None else rows.plus(known, kept.sums)
    users, first = found.users, found.first
    return [
        Line(user := users[place], labels.get(user) if user else None, month, sums, first + place)
        for (place, month), sums in sums_of.items()
    ]
