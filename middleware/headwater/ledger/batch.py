"""What one script call carries: charges of one journal and one shard, summed per key and field. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from headwater.ledger import schema
from headwater.records import Charge

_LARGEST_INCREMENT: Final = 2**63 - 1


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


Sums = dict[str, tuple[int, dict[str, int]]]
"""Key -> lifetime in seconds, and field -> amount."""


def aggregate(batch: Batch) -> tuple[list[tuple[str, str]], Sums, dict[str, int]]:
    """Sum a batch per key and field: user months first, in the order of the list returned. And when users were seen."""
    month_sums: Sums = {}
    other_sums: Sums = {}
    months: dict[tuple[str, str], None] = {}
    users: dict[str, int] = {}
    shard = batch.shard
    for charge, _ in batch.charges:
        user = charge.user
        day, month = schema.periods(charge.ended_ms)
        users[user] = max(users.get(user, 0), charge.ended_ms)
        months[user, month] = None
        amounts = schema.increments(charge)
        part = f"{charge.model}|{charge.site}|"
        _add(month_sums, schema.user_key(shard, user, month), schema.MONTH_TTL_S, amounts)
        _add(other_sums, schema.user_key(shard, user, day), schema.DAY_TTL_S, amounts)
        _add(other_sums, schema.total_key(shard, month), schema.MONTH_TTL_S, amounts)
        _add(other_sums, schema.total_key(shard, day), schema.DAY_TTL_S, amounts)
        basis = [(charge.deployment_hash or schema.NO_DOCUMENT, 1)]
        _add(other_sums, schema.bases_key(shard, month), schema.MONTH_TTL_S, basis)
        parts = [(part + code, amount) for code, amount in amounts]
        _add(other_sums, schema.breakdown_key(shard, user, month), schema.MONTH_TTL_S, parts)
    return list(months), month_sums | other_sums, users


def _add(sums: Sums, key: str, ttl_s: int, amounts: list[tuple[str, int]]) -> None:
    row = sums.get(key)
    if row is None:
        sums[key] = ttl_s, dict(amounts)
        return
    fields = row[1]
    for field, amount in amounts:
        fields[field] = fields.get(field, 0) + amount


def flat(fields: Mapping[str, int]) -> Iterator[str]:
    for field, amount in fields.items():
        rest = amount
        while rest > _LARGEST_INCREMENT:  # a batch's own sum may exceed what one HINCRBY can take
            yield field
            yield str(_LARGEST_INCREMENT)
            rest -= _LARGEST_INCREMENT
        yield field
        yield str(rest)
