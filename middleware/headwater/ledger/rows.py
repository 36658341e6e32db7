"""A row of an account, as it lies in Redis: all its sums in one string, in a fixed order. Pure; knows no key.

Stored, each sum is a whole number of 80 bits (two's complement, big-endian: 16 and 64), which no fleet overflows. What a
batch adds to a row is written as numbers of 64 bits. The script adds both in halves, as a Lua number is exact only to
2^53. New fields go to the end: a shorter row has zeros there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import add, attrgetter, sub
from struct import Struct, error
from typing import Final

from headwater.records import AccountRow, Charge

FIELDS: Final = (
    "requests_count",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "it_microjoules",
    "energy_microjoules",
    "energy_low_microjoules",
    "energy_high_microjoules",
    "onsite_nanolitres",
    "offsite_nanolitres",
    "water_low_nanolitres",
    "water_high_nanolitres",
    "carbon_micrograms",
    "carbon_low_micrograms",
    "carbon_high_micrograms",
    "not_upstream_count",
    "unknown_count",
    "incomplete_count",
)
"""The sums of a row in their stored order: append, never reorder."""

Sums = tuple[int, ...]
"""One whole number per field of FIELDS."""

NOTHING: Final[Sums] = (0,) * len(FIELDS)
_NUMBER_BYTES: Final = 10
_STORED: Final = Struct(">" + "hQ" * len(FIELDS))
_ADDED: Final = Struct(f">{len(FIELDS)}q")
_LOW_BITS: Final = 64
_MOST_ADDED: Final = 2**63 - 1
_counts = attrgetter("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_amounts = attrgetter(*FIELDS[5:16])
_NO_AMOUNTS: Final = (0,) * 11


def sums_of(charge: Charge) -> Sums:
    """What a charge adds to a row; what is unknown adds nothing, and is counted."""
    usage, amounts = charge.usage, charge.amounts
    return (
        1,
        usage.input_tokens or 0,
        usage.cached_tokens or 0,
        usage.output_tokens or 0,
        usage.reasoning_tokens or 0,
        *(_NO_AMOUNTS if amounts is None else _amounts(amounts)),
        usage.source != "upstream",
        amounts is None,
        charge.outcome != "completed",
    )


def total(parts: Iterable[Sums]) -> Sums:
    """The sum of rows, field by field."""
    found = tuple(map(sum, zip(*parts, strict=True)))
    return found or NOTHING


def plus(one: Sums, other: Sums) -> Sums:
    """Two rows added, field by field."""
    return tuple(map(add, one, other))


def minus(one: Sums, other: Sums) -> Sums:
    """One row less another, field by field."""
    return tuple(map(sub, one, other))


def increments(sums: Sums) -> Iterator[bytes]:
    """What to add to a stored row, as the script reads it: mostly one piece; more, where a sum has more than 64 bits."""
    try:
        yield _ADDED.pack(*sums)
    except error:
        first = tuple(max(-_MOST_ADDED, min(number, _MOST_ADDED)) for number in sums)
        yield _ADDED.pack(*first)
        yield from increments(tuple(number - part for number, part in zip(sums, first, strict=True)))


def stored(sums: Sums) -> bytes:
    """A row as the store keeps it."""
    halves = ((number >> _LOW_BITS, number & (2**_LOW_BITS - 1)) for number in sums)
    return _STORED.pack(*(half for pair in halves for half in pair))


def read(row: bytes | None) -> Sums:
    """The sums of a stored row; zeros where there is none, and for fields that an older version did not know.

    Raises:
        ValueError: it is no row.
    """
    if row is None:
        return NOTHING
    if len(row) != _STORED.size:
        if len(row) % _NUMBER_BYTES:
            raise ValueError(f"a row of {len(row)} bytes is none of ours")
        row = row[: _STORED.size].ljust(_STORED.size, b"\0")  # of a version that knew fewer fields, or more
    halves = _STORED.unpack(row)
    high, low = halves[::2], halves[1::2]
    return tuple((h << _LOW_BITS) + part for h, part in zip(high, low, strict=True)) if any(high) else low


def account_row(sums: Sequence[int], *, user: str, period: str, label: str | None = None) -> AccountRow:
    """A row for people, with names."""
    return AccountRow(user=user, label=label, period=period, **dict(zip(FIELDS, sums, strict=True)))


def sums_in(row: AccountRow) -> Sums:
    """The sums of a row for people."""
    return tuple(map(row.__getattribute__, FIELDS))
