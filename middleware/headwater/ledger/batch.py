"""What one script call carries: charges of one journal and one shard, summed per row. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from headwater.ledger import rows, schema
from headwater.ledger.rows import Sums
from headwater.ledger.schema import Retention
from headwater.records import Charge

_Place = TypeVar("_Place")


class Batch(NamedTuple):
    """Charges of one journal and one shard, in sequence. One that others may show too (`once`) is a batch of its own."""

    journal_id: str
    shard: int
    previous: int
    last: int
    charges: Sequence[tuple[Charge, bytes]]

    @property
    def once(self) -> str:
        """What all sightings of its only charge share; "" where all its charges count."""
        return self.charges[0][0].once if len(self.charges) == 1 else ""


Numbered = tuple[int, Charge, bytes]
"""A charge, its sequence number in its journal, and its packed form."""


def runs(numbered: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    """Charges in their order, divided into those that make one batch."""
    run: list[Numbered] = []
    for each in numbered:
        if each[1].once:
            if run:
                yield run
            yield [each]
            run = []
        else:
            run.append(each)
    if run:
        yield run


class Call(NamedTuple):
    """A batch as charge.lua takes it, and what it adds to users' months."""

    keys: list[str]
    arguments: list[str | int | bytes]
    months: dict[tuple[str, str], Sums]
    """(user, month) -> sums."""


Row = tuple[str, bytes]
"""A row's key and what is added to it."""


def call(batch: Batch, retention: Retention, *, oldest_ms: int, key: str = "") -> Call:
    """Lay a batch out for charge.lua. `oldest_ms`: single charges applied before this moment may go.
    `key`: the fingerprint of the identity key."""
    shard = batch.shard
    of_users: dict[tuple[str, str, str, str], list[Sums]] = {}
    of_days: dict[tuple[str, str], list[Sums]] = {}
    bases: dict[str, dict[str, int]] = {}
    parts: dict[str, str] = {}
    receipts: dict[str, int] = {}
    packed: list[str | int | bytes] = []
    for charge, data in batch.charges:
        user, model, site = charge.user, charge.model, charge.site
        day, month = schema.periods(charge.ended_ms)
        part = schema.part_of(model, site)
        parts[part] = schema.part_name(model, site)
        sums = rows.sums_of(charge)
        of_users.setdefault((user, month, day, part), []).append(sums)
        of_days.setdefault((user, day), []).append(sums)
        basis, document = bases.setdefault(month, {}), charge.deployment_hash or schema.NO_DOCUMENT
        basis[document] = basis.get(document, 0) + 1
        bucket = receipts.setdefault(schema.receipts_key(shard, charge.request_id), len(receipts) + 1)
        packed += (bucket, charge.request_id, data)

    by_day = {place: _one(found) for place, found in of_users.items()}
    user_months = _gather(((user, month, part), sums) for (user, month, _, part), sums in by_day.items())
    total_months = _gather(((month, part), sums) for (_, month, part), sums in user_months.items())
    total_days = _gather((day, sums) for (_, _, day, _), sums in by_day.items())
    months = [
        (index, row)
        for (user, month, part), sums in user_months.items()
        for index, row in _indexed(shard, user, month, part, sums)
    ]
    totals = list(_rows((schema.total_key(shard, month, part), sums) for (month, part), sums in total_months.items()))
    days = list(_rows((schema.user_key(shard, user, day), _one(found)) for (user, day), found in of_days.items()))
    days += _rows((schema.total_key(shard, day), sums) for day, sums in total_days.items())
    all_rows = [*(row for _, row in months), *totals, *days]

    keys = [schema.journal_key(shard), schema.stream_key(shard), schema.parts_key(shard)]
    keys += (key for key, _ in all_rows)
    keys += (key for index, _ in months for key in index[:2])
    keys += (schema.bases_key(shard, month) for month in bases)
    keys += receipts
    keys += [schema.once_key(shard, batch.once)] if batch.once else []
    arguments: list[str | int | bytes] = [
        batch.journal_id,
        batch.previous,
        batch.last,
        len(months),
        len(months) + len(totals),
        len(all_rows),
        retention.months_s,
        retention.days_s,
        retention.receipts_s,
        retention.days_s if batch.once else 0,
        oldest_ms,
        schema.STREAM_FIELD,
        json.dumps([text for pair in parts.items() for text in pair]),
        json.dumps([[part for name, count in each.items() for part in (name, str(count))] for each in bases.values()]),
        len(receipts),
    ]
    arguments += (added for _, added in all_rows)
    arguments += (part for index, _ in months for part in index[2:])
    arguments += packed
    arguments.append(key)
    return Call(keys, arguments, _gather(((user, month), sums) for (user, month, _), sums in user_months.items()))


def _one(found: list[Sums]) -> Sums:
    return found[0] if len(found) == 1 else rows.total(found)


def _gather(parts: Iterable[tuple[_Place, Sums]]) -> dict[_Place, Sums]:
    found: dict[_Place, list[Sums]] = {}
    for place, sums in parts:
        found.setdefault(place, []).append(sums)
    return {place: _one(each) for place, each in found.items()}


def _rows(found: Iterable[tuple[str, Sums]]) -> Iterator[Row]:
    for key, sums in found:
        for added in rows.increments(sums):
            yield key, added


Indexed = tuple[str, str, int, str]
"""Where a user's month stands in the index: the bucket's key, the bitmap's key, the bucket and the member."""


def _indexed(shard: int, user: str, month: str, part: str, sums: Sums) -> Iterator[tuple[Indexed, Row]]:
    bucket = schema.bucket_of(user)
    index = (
        schema.index_key(shard, month, bucket),
        schema.buckets_key(shard, month),
        bucket,
        schema.index_member(user, part),
    )
    for row in _rows([(schema.user_key(shard, user, month, part), sums)]):
        yield index, row
