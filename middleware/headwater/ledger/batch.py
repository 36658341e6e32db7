"""What one script call carries: charges of one journal and one shard, summed per row. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Final, NamedTuple, TypeVar

from headwater.ledger import rows, schema
from headwater.ledger.glance import Glance
from headwater.ledger.rows import Sums
from headwater.ledger.schema import Retention

_Place = TypeVar("_Place")
_ID: Final = Struct(">HB")
"""Its bucket, and how long it is."""
_Row = tuple[str, bytes]
"""A row's key, and what is added to it."""


class Batch(NamedTuple):
    """Charges of one journal and one shard, in sequence. One that others may show too (`once`) is a batch of its own."""

    journal_id: str
    shard: int
    previous: int
    last: int
    charges: Sequence[Glance]

    @property
    def once(self) -> str:
        """What all sightings of its only charge share; "" where all its charges count."""
        return self.charges[0].once if len(self.charges) == 1 else ""


Numbered = tuple[int, Glance]
"""A charge and its sequence number in its journal."""


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


def call(batch: Batch, retention: Retention, *, key: str = "") -> Call:
    """Lay a batch out for charge.lua. `key`: the fingerprint of the identity key."""
    shard = batch.shard
    by_day: dict[tuple[str, int, str, str], list[Sums]] = {}
    bases: dict[tuple[int, str], int] = {}
    receipts: dict[int, int] = {}
    ids = bytearray()
    for charge in batch.charges:
        day = charge.ended_ms // schema.DAY_MS
        by_day.setdefault((charge.user, day, charge.model, charge.site), []).append(charge.sums)
        basis = day, charge.deployment_hash
        bases[basis] = bases.get(basis, 0) + 1
        receipt_id = charge.receipt_id
        bucket = receipts.setdefault(schema.receipts_bucket(receipt_id), len(receipts) + 1)
        ids += _ID.pack(bucket, len(receipt_id))
        ids += receipt_id

    made = _sheet(shard, by_day)
    months = {month: _bases_of(month, bases) for month in made.months}
    all_rows = [*made.user_months, *made.total_months, *made.user_days, *made.total_days]
    users_count = len(made.user_months)
    keys = [schema.journal_key(shard), schema.stream_key(shard), schema.parts_key(shard)]
    keys += (key for key, _ in all_rows)
    keys += made.buckets
    keys += (schema.bases_key(shard, month) for month in months)
    keys += (schema.receipts_key(shard, bucket) for bucket in receipts)
    keys += (schema.buckets_key(shard, month) for month in months)
    keys += [schema.once_key(shard, batch.once)] if batch.once else []
    arguments: list[str | int | bytes] = [
        batch.journal_id,
        batch.previous,
        batch.last,
        users_count,
        users_count + len(made.total_months),
        len(all_rows),
        retention.months_s,
        retention.days_s,
        retention.receipts_s,
        retention.days_s if batch.once else 0,
        retention.days_s * 1_000,
        schema.STREAM_FIELD,
        json.dumps(made.parts),
        json.dumps(list(months.values())),
        b"".join(added for _, added in all_rows),
        bytes(ids),
        *(charge.packed for charge in batch.charges),
        key,
    ]
    return Call(keys, arguments, made.added)


class _Sheet(NamedTuple):
    """The rows of a batch: keys, and what is added under them."""

    user_months: list[_Row]
    buckets: list[str]
    """Per user's month, the bucket of the index that it stands in."""
    total_months: list[_Row]
    user_days: list[_Row]
    total_days: list[_Row]
    months: list[str]
    parts: list[str]
    """Short name, name, short name, name ..."""
    added: dict[tuple[str, str], Sums]


def _sheet(shard: int, by_day: dict[tuple[str, int, str, str], list[Sums]]) -> _Sheet:
    days: dict[tuple[str, str], list[Sums]] = {}
    months: dict[tuple[str, str, str], list[Sums]] = {}
    parts: dict[str, str] = {}
    for (user, day_number, model, site), found in by_day.items():
        day, month = schema.period_of_day(day_number)
        part = schema.part_of(model, site)
        parts[part] = schema.part_name(model, site)
        sums = found[0] if len(found) == 1 else rows.total(found)
        days.setdefault((user, day), []).append(sums)
        months.setdefault((user, month, part), []).append(sums)
    user_days, user_months = _summed(days), _summed(months)
    all_days: dict[str, list[Sums]] = {}
    for (_, day), sums in user_days.items():
        all_days.setdefault(day, []).append(sums)
    all_months: dict[tuple[str, str], list[Sums]] = {}
    added: dict[tuple[str, str], list[Sums]] = {}
    user_rows: list[_Row] = []
    buckets: list[str] = []
    for (user, month, part), sums in user_months.items():
        all_months.setdefault((month, part), []).append(sums)
        added.setdefault((user, month), []).append(sums)
        for increment in rows.increments(sums):
            user_rows.append((schema.user_key(shard, user, month, part), increment))
            buckets.append(schema.index_key(shard, month, schema.bucket_of(user)))
    return _Sheet(
        user_months=user_rows,
        buckets=buckets,
        total_months=list(
            _rows((schema.total_key(shard, *place), rows.total(each)) for place, each in all_months.items())
        ),
        user_days=list(_rows((schema.user_key(shard, *place), sums) for place, sums in user_days.items())),
        total_days=list(_rows((schema.total_key(shard, day), rows.total(each)) for day, each in all_days.items())),
        months=list(dict.fromkeys(month for month, _ in all_months)),
        parts=[text for pair in parts.items() for text in pair],
        added=_summed(added),
    )


def _bases_of(month: str, bases: dict[tuple[int, str], int]) -> list[str]:
    """Document, count, document, count ... of one month."""
    counts: dict[str, int] = {}
    for (day, document), count in bases.items():
        if schema.period_of_day(day)[1] == month:
            name = document or schema.NO_DOCUMENT
            counts[name] = counts.get(name, 0) + count
    return [part for name, count in counts.items() for part in (name, str(count))]


def _summed(found: dict[_Place, list[Sums]]) -> dict[_Place, Sums]:
    return {place: each[0] if len(each) == 1 else rows.total(each) for place, each in found.items()}


def _rows(found: Iterable[tuple[str, Sums]]) -> Iterator[_Row]:
    for key, sums in found:
        for added in rows.increments(sums):
            yield key, added
