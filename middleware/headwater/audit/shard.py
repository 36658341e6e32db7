"""One shard, recounted and compared: every row of a month or a day, everybody's rows, the counts of documents, the index.

As of one moment, while charges come in: charges are recounted up to the last one when the audit began. Each row is read
together with the last charge in it; where it has more than was recounted, the charges in between are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from headwater.audit.records import Audit, Difference, What
from headwater.audit.recount import Recount, TooMany, Totals, days_of, end_ms
from headwater.errors import LedgerError
from headwater.exports import Exported
from headwater.ledger import rows, schema
from headwater.ledger.books import Books, Entry
from headwater.ledger.exact import Exact
from headwater.ledger.exporting import Position
from headwater.ledger.glance import Glance, glance
from headwater.ledger.rows import FIELDS, Sums

_USERS_COUNT: Final = 2_000
"""Users who are compared at once."""
_SUSPECTS_COUNT: Final = 20_000


class _Row(NamedTuple):
    """A row to be compared: whose (everybody's: ""), of which month and part or of which day, and what is expected."""

    user: str
    period: str
    part: str
    expected: Sums | None


class _Suspect(NamedTuple):
    """A row that is not as expected, and up to which charge it goes."""

    row: _Row
    sums: Sums | None
    end: Position


class Shard:
    """The audit of one shard."""

    def __init__(
        self,
        books: Books,
        shard: int,
        found: Audit,
        exported: Exported | None,
        *,
        first_ms: int,
        now_ms: int,
        tell: Callable[[int], None],
    ) -> None:
        self._books = books
        self._shard = shard
        self._exact = Exact(books, shard)
        self._found = found
        self._exported = exported
        self._first_ms = first_ms
        self._now_ms = now_ms
        self._tell = tell
        self._period = found.period
        self._month = found.period[:7]
        self._is_month = schema.is_month(found.period)
        self._days = [day for day in days_of(found.period) if schema.period_start_ms(day) <= now_ms + schema.DAY_MS]
        self._parts: dict[str, tuple[str, str]] = {}
        self._totals = Totals()
        self._erased_count = 0
        self._documents: dict[str, int] = {}
        self._suspects: list[_Suspect] = []
        self._end = Position(0, 0)

    def audit(self) -> None:
        """Compare everything of this shard."""
        self._end = self._exact.end()
        self._found.last_ms = max(self._found.last_ms, self._end.time_ms)
        self._parts = self._books.parts(self._shard)
        first, step = 0, len(schema.ALL_BUCKETS)
        while first < len(schema.ALL_BUCKETS):
            buckets = schema.ALL_BUCKETS[first : first + step]
            try:
                counted = self._recount(buckets)
            except TooMany:
                step = max(1, step // 2)
                continue
            self._note(counted)
            self._compare_users(counted, buckets)
            first += step
        self._compare_totals()
        if self._is_month:
            self._compare_bases()

    # -- single charges -----------------------------------------------------------------------------------------------

    def _recount(self, buckets: range) -> Recount:
        counted = Recount(self._period, buckets)
        after = None
        for _ in () if self._exported is None else self._from_export(counted, self._exported):
            self._tell(counted.charges_count)
        if self._exported is not None:
            after = self._exported.last(self._shard)
        stream = _glances(self._exact.charges(after, self._first_ms, self._end))
        for _ in counted.count(stream):
            self._tell(counted.charges_count)
        return counted

    def _from_export(self, counted: Recount, exported: Exported) -> Iterator[int]:
        return counted.count(exported.charges(self._shard, self._period), can_repeat=True)

    def _note(self, counted: Recount) -> None:
        self._parts |= counted.parts()
        self._found.charges_count += counted.charges_count
        self._found.repeated_count += counted.repeated_count
        for request_id, user in counted.doubled:
            self._differs("stream", user, self._period, field=request_id, account=1, stream=2)
        for document, count in counted.documents.items():
            name = document or schema.NO_DOCUMENT
            self._documents[name] = self._documents.get(name, 0) + count

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _compare_users(self, counted: Recount, buckets: range) -> None:
        by_user = counted.by_user()
        self._found.users_count += len(by_user)
        for places in self._books.indexed(self._shard, self._month, buckets):
            users: dict[str, set[str]] = {}
            for user, part in places:
                users.setdefault(user, set()).add(part)
            for some in _some(users):
                self._compare({user: users[user] for user in some}, by_user)
        for some in _some(list(by_user)):  # whom the index does not know
            self._compare({user: set() for user in some}, by_user)
        self._resolve()

    def _compare(self, indexed: dict[str, set[str]], by_user: dict[str, dict[tuple[str, str], Sums]]) -> None:
        wanted: list[_Row] = []
        for user, parts in indexed.items():
            own = by_user.pop(user, {})
            if user == schema.ERASED:
                self._take_erased(parts)
                continue
            for (period, part), sums in own.items():
                self._totals.add(period, part, sums)
                if part and part not in parts:
                    model, site = self._parts[part]
                    self._differs("index", user, period, model=model, site=site, account=None, stream=sums[0])
            places = dict.fromkeys((day, "") for day in self._days)
            places |= dict.fromkeys((self._month, part) for part in parts if self._is_month)
            places |= dict.fromkeys(own)
            wanted += (_Row(user, *place, own.get(place)) for place in places)
        for row in self._check(wanted):
            if row.part in indexed[row.user] and not self._may_be_gone(row.period):
                self._differs_at(row, "index", "", account=None, stream=0)

    def _take_erased(self, parts: Iterable[str]) -> None:
        """The sums of people who were erased are what the store says: their charges are gone."""
        places = [(day, "") for day in self._days]
        places += ((self._month, part) for part in parts if self._is_month)
        keys = [schema.user_key(self._shard, schema.ERASED, *place) for place in places]
        read = (sums for some, _ in self._exact.rows(keys) for sums in some)
        for (period, part), sums in zip(places, read, strict=True):
            if sums is not None:
                self._totals.add(period, part, sums)
                if period == self._period:
                    self._erased_count += sums[0]
                    self._found.erased_count += sums[0]

    def _compare_totals(self) -> None:
        places = dict.fromkeys((day, "") for day in self._days)
        places |= dict.fromkeys((self._month, part) for part in self._parts if self._is_month)
        places |= dict.fromkeys(self._totals.found)
        self._check([_Row("", *place, self._totals.found.get(place)) for place in places])
        self._resolve()

    def _check(self, wanted: list[_Row]) -> list[_Row]:
        """Compare rows; returns those of which neither the store nor the stream knows anything."""
        unknown = []
        found = self._exact.rows([self._key(row) for row in wanted])
        read = ((sums, end) for some, end in found for sums in some)
        for row, (sums, end) in zip(wanted, read, strict=True):
            if sums == row.expected:
                if sums is None:
                    unknown.append(row)
                else:
                    self._is_equal(row)
            elif sums is None and self._may_be_gone(row.period):
                self._found.gone_count += 1
            else:
                self._suspects.append(_Suspect(row, sums, end))
        if len(self._suspects) >= _SUSPECTS_COUNT:
            self._resolve()
        return unknown

    def _resolve(self) -> None:
        """Compare again with what was charged between the recount and the reading of each row."""
        suspects, self._suspects = self._suspects, []
        more: dict[tuple[str, str, str], list[tuple[Position, Sums]]] = {
            (row.user, row.period, row.part): [] for row, _, _ in suspects
        }
        for position, each in self._since(max((end for _, _, end in suspects), default=self._end)):
            day, month = schema.periods(each.ended_ms)
            part = schema.part_of(each.model, each.site)
            for user in ("", each.user):
                for place in ((user, day, ""), (user, month, part)):
                    if place in more:
                        more[place].append((position, each.sums))
        for row, sums, end in suspects:
            later = [added for position, added in more[row.user, row.period, row.part] if position <= end]
            expected = rows.total([row.expected, *later] if row.expected is not None else later)
            if sums == expected:
                self._is_equal(row)
            elif sums is None:
                self._differs_at(row, "user" if row.user else "total", FIELDS[0], account=None, stream=expected[0])
            else:
                for field, account, stream in zip(FIELDS, sums, expected, strict=True):
                    if account != stream:
                        self._differs_at(row, "user" if row.user else "total", field, account=account, stream=stream)

    def _since(self, end: Position) -> Iterator[tuple[Position, Glance]]:
        """The period's charges behind those that were recounted, up to a place."""
        if end > self._end:
            begin_ms, behind_ms = schema.period_start_ms(self._period), end_ms(self._period)
            for entry_id, each in _glances(self._exact.charges(self._end, 0, end)):
                if begin_ms <= each.ended_ms < behind_ms:
                    yield Position.read(entry_id), each

    # -- documents ----------------------------------------------------------------------------------------------------

    def _compare_bases(self) -> None:
        """Counts of documents are not told apart by user: those of people who were erased are left in them."""
        found, end = self._exact.bases(self._month)
        for _, each in self._since(end):
            name = each.deployment_hash or schema.NO_DOCUMENT
            self._documents[name] = self._documents.get(name, 0) + 1
        names = sorted(found.keys() | self._documents.keys())
        more = {name: found.get(name, 0) - self._documents.get(name, 0) for name in names}
        is_of_erased = min(more.values(), default=0) >= 0 and sum(more.values()) == self._erased_count
        for name in names:
            if more[name] and not is_of_erased:
                account = found.get(name)
                self._differs(
                    "basis", "", self._month, field=name, account=account, stream=self._documents.get(name, 0)
                )
            else:
                self._found.equal["basis"] += 1

    # -- words --------------------------------------------------------------------------------------------------------

    def _key(self, row: _Row) -> str:
        if row.user:
            return schema.user_key(self._shard, row.user, row.period, row.part)
        return schema.total_key(self._shard, row.period, row.part)

    def _may_be_gone(self, period: str) -> bool:
        """Each row lives from when it was last written: who was there on a period's first day only is gone first."""
        retention = self._books.store.retention
        kept_s = retention.months_s if schema.is_month(period) else retention.days_s
        return schema.period_start_ms(period) + kept_s * 1_000 < self._now_ms

    def _is_equal(self, row: _Row) -> None:
        self._found.equal[f"{'user' if row.user else 'total'} {'month' if row.part else 'day'}"] += 1

    def _differs_at(self, row: _Row, what: What, field: str, *, account: int | None, stream: int) -> None:
        model, site = self._parts.get(row.part, ("", ""))
        self._differs(what, row.user, row.period, model=model, site=site, field=field, account=account, stream=stream)

    def _differs(
        self,
        what: What,
        user: str,
        period: str,
        *,
        model: str = "",
        site: str = "",
        field: str = "",
        account: int | None,
        stream: int,
    ) -> None:
        self._found.differs(
            Difference(
                what=what,
                shard=self._shard,
                period=period,
                user=user,
                model=model,
                site=site,
                field=field,
                account=account,
                stream=stream,
            )
        )


def _glances(entries: Iterable[Entry]) -> Iterator[tuple[str, Glance]]:
    for entry_id, packed in entries:
        try:
            yield entry_id, glance(packed)
        except LedgerError as error:
            raise LedgerError(f"charge {entry_id} of the ledger stream: {error}") from error


def _some(users: Iterable[str]) -> Iterator[list[str]]:
    each = iter(users)
    while found := list(islice(each, _USERS_COUNT)):
        yield found
