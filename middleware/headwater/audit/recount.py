"""Single charges -> sums by user, day and part, in whole numbers. Knows no store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import reduce
from struct import Struct, error
from typing import Final, NamedTuple

from headwater.ledger import rows, schema
from headwater.ledger.glance import Glance, request_id
from headwater.ledger.rows import FIELDS, Sums

MOST_ROWS: Final = 600_000
"""Rows that are held at once: about 250 MB."""
MOST_REQUESTS: Final = 2_000_000
"""Request ids that are held at once, to know one that comes again: about 200 MB."""
FEW_ROWS: Final = 10_000
"""So few rows are of so few users that dividing them would not help: what they have is held."""
LOOK_EVERY: Final = 16_384
"""Charges between two looks at what is held."""
LANE_BITS: Final = 80
_LANES: Final = Struct(">" + "2xQ" * len(FIELDS))
_LANE: Final = (1 << LANE_BITS) - 1
_MOST: Final = _LANE >> 1


class TooMany(Exception):
    """More would be held than may be: fewer users have to be counted at once."""


class Doubled(NamedTuple):
    """A request that stands twice in the stream."""

    request_id: str
    user: str


class Recount:
    """The sums of a period, of those users whose bucket is among some."""

    def __init__(self, period: str, buckets: range = schema.ALL_BUCKETS) -> None:
        self.documents: Counter[str] = Counter()
        self.doubled: list[Doubled] = []
        self.charges_count = self.repeated_count = 0
        self._buckets = buckets
        self._is_part = buckets != schema.ALL_BUCKETS
        self._begin_ms = schema.period_start_ms(period)
        self._end_ms = end_ms(period)
        self._seen: dict[bytes, str] = {}
        self._month = period if schema.is_month(period) else ""
        self._days: dict[tuple[str, int], int] = {}
        self._months: dict[tuple[str, str, str], int] = {}

    def count(self, charges: Iterable[tuple[str, Glance]], *, can_repeat: bool = False) -> Iterator[int]:
        """Add charges, each with its place; tells now and then how many were looked at. `can_repeat`: one and the same charge
        may come more than once, with the same place.

        Raises:
            TooMany: for those users.
        """
        begin_ms, end, seen, documents = self._begin_ms, self._end_ms, self._seen, self.documents
        days, months, is_month = self._days, self._months, bool(self._month)
        looked_count, look_every = 0, LOOK_EVERY
        for entry_id, (request, user, ended_ms, model, site, document, _, sums, _) in charges:
            looked_count += 1
            if looked_count % look_every == 0:
                rows_count = len(days) + len(months)
                if rows_count > MOST_ROWS or (len(seen) > MOST_REQUESTS and rows_count > FEW_ROWS):
                    raise TooMany
                yield looked_count
            if not begin_ms <= ended_ms < end or (self._is_part and schema.bucket_of(user) not in self._buckets):
                continue
            mark = entry_id if can_repeat else ""
            known = seen.get(request)
            if known is None:
                seen[request] = mark
            elif can_repeat and known == mark:
                self.repeated_count += 1
                continue
            else:
                self.doubled.append(Doubled(request_id(request), user))
            self.charges_count += 1
            documents[document] += 1
            added = lanes(sums)
            day = user, ended_ms // schema.DAY_MS
            days[day] = days.get(day, 0) + added
            if is_month:
                part = user, model, site
                months[part] = months.get(part, 0) + added
        yield looked_count

    def by_user(self) -> dict[str, dict[tuple[str, str], Sums]]:
        """User -> (day, "") or (month, part) -> sums."""
        found: dict[str, dict[tuple[str, str], Sums]] = {}
        for (user, day_number), added in self._days.items():
            found.setdefault(user, {})[schema.period_of_day(day_number)[0], ""] = sums_in(added)
        for (user, model, site), added in self._months.items():
            found[user][self._month, schema.part_of(model, site)] = sums_in(added)
        return found

    def parts(self) -> dict[str, tuple[str, str]]:
        """Short name of a part -> its model and site."""
        return {schema.part_of(*names): names for names in {(model, site) for _, model, site in self._months}}


def lanes(sums: Sums) -> int:
    """A row as one number, in which each sum has 80 bits: adding such numbers adds rows, in a tenth of the time."""
    try:
        return int.from_bytes(_LANES.pack(*sums), "big")
    except error:  # a number below zero
        return reduce(lambda all_of_it, number: (all_of_it << LANE_BITS) + number, sums, 0)


def sums_in(number: int) -> Sums:
    """The sums that were added up in one number; each has less than 80 bits."""
    found = []
    for _ in FIELDS:
        low = number & _LANE
        if low > _MOST:
            low -= _LANE + 1
        found.append(low)
        number = (number - low) >> LANE_BITS
    return tuple(reversed(found))


class Totals:
    """Rows added up over users: everybody's, by day and by part."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], Sums] = {}

    def add(self, period: str, part: str, sums: Sums) -> None:
        """Add a row."""
        before = self.found.get((period, part))
        self.found[period, part] = sums if before is None else rows.plus(before, sums)


def end_ms(period: str) -> int:
    """The first millisecond behind a month or a day."""
    if schema.is_month(period):
        return schema.month_end_ms(period)
    return schema.period_start_ms(period) + schema.DAY_MS


def days_of(period: str) -> list[str]:
    """The days of a month, or the day itself."""
    first, last = schema.period_start_ms(period) // schema.DAY_MS, end_ms(period) // schema.DAY_MS
    return [schema.period_of_day(number)[0] for number in range(first, last)]
