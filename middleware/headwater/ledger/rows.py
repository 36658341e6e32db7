"""A row of an account, as it lies in Redis: all its sums in one string, in a fixed order. Pure; knows no key.

A sum is a whole number of 64 bits (two's complement, big-endian), and so is what a batch adds to it. 64 bits hold 2.56 GWh
in microjoules: a row that needs more has 80 bits for each sum and a `+` behind them, so that its length is odd. The script
adds in halves, as a Lua number is exact only to 2^53. Zeros at the end are left out, and new fields go to the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import add, attrgetter, sub
from struct import Struct, error
from typing import Final

from headwater.records import AccountRow, Charge

FIELDS: Final = (
    "requests_count",
    "input_tokens",
    "output_tokens",
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
    "cached_tokens",
    "reasoning_tokens",
    "not_upstream_count",
    "unknown_count",
    "incomplete_count",
)
"""The sums of a row in their stored order: append, never reorder. Those that are often 0 stand last, where they take no room."""

Sums = tuple[int, ...]
"""One whole number per field of FIELDS."""

NOTHING: Final[Sums] = (0,) * len(FIELDS)
_NARROW: Final = Struct(f">{len(FIELDS)}q")
_NARROW_BYTES: Final = 8
_WIDE_BYTES: Final = 10
_WIDE_MARK: Final = b"+"
_LOW_BITS: Final = 64
_MOST: Final = 2**63 - 1
AMOUNTS: Final = slice(FIELDS.index("it_microjoules"), FIELDS.index("carbon_high_micrograms") + 1)
"""Which of the sums are amounts of a footprint."""
_amounts = attrgetter(*FIELDS[AMOUNTS])
_NO_AMOUNTS: Final = (0,) * len(FIELDS[AMOUNTS])


def sums_of(charge: Charge) -> Sums:
    """What a charge adds to a row; what is unknown adds nothing, and is counted."""
    usage, amounts = charge.usage, charge.amounts
    return (
        1,
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        *(_NO_AMOUNTS if amounts is None else _amounts(amounts)),
        usage.cached_tokens or 0,
        usage.reasoning_tokens or 0,
        usage.source != "upstream",
        amounts is None,
        charge.outcome != "completed",
    )


def total(parts: Iterable[Sums]) -> Sums:
    """The sum of rows, field by field."""
    found = list(parts)
    if len(found) == 1:
        return found[0]
    return tuple(map(sum, zip(*found, strict=True))) or NOTHING


def plus(one: Sums, other: Sums) -> Sums:
    """Two rows added, field by field."""
    return tuple(map(add, one, other))


def minus(one: Sums, other: Sums) -> Sums:
    """What a row has more than another, field by field."""
    return tuple(map(sub, one, other))


def of_now(sums: Sequence[int]) -> Sums:
    """Sums of a version that knew fewer fields, or more."""
    return (*sums, *NOTHING)[: len(FIELDS)]


def increments(sums: Sums) -> tuple[bytes, ...]:
    """What to add to a stored row, as the script reads it: mostly one piece; more, where a sum has more than 64 bits."""
    try:
        return (_NARROW.pack(*sums),)
    except error:
        pieces = []
        while any(sums):
            piece = tuple(max(-_MOST, min(number, _MOST)) for number in sums)
            pieces.append(_NARROW.pack(*piece))
            sums = minus(sums, piece)
        return tuple(pieces)


def stored(sums: Sums) -> bytes:
    """A row as the store keeps it, without the zeros at its end."""
    count = len(sums)
    while count > 1 and not sums[count - 1]:
        count -= 1
    try:
        return _narrow(count).pack(*sums[:count])
    except error:
        halves = ((number >> _LOW_BITS, number & (2**_LOW_BITS - 1)) for number in sums[:count])
        return _wide(count).pack(*(half for pair in halves for half in pair)) + _WIDE_MARK


def read(row: bytes) -> Sums:
    """The sums of a stored row; fields of a newer version are left out.

    Raises:
        ValueError: it is no row.
    """
    is_wide = len(row) % 2 == 1
    count, rest = divmod(len(row), _WIDE_BYTES if is_wide else _NARROW_BYTES)
    if rest != is_wide or not count:
        raise ValueError(f"a row of {len(row)} bytes is none of ours")
    if is_wide:
        halves = _wide(count).unpack(row[:-1])
        found = tuple((high << _LOW_BITS) + low for high, low in zip(halves[::2], halves[1::2], strict=True))
    else:
        found = _narrow(count).unpack(row)
    return found + NOTHING[count:] if count <= len(NOTHING) else found[: len(NOTHING)]


@lru_cache(maxsize=64)
def _narrow(count: int) -> Struct:
    return Struct(f">{count}q")


@lru_cache(maxsize=64)
def _wide(count: int) -> Struct:
    return Struct(">" + "hQ" * count)


def account_row(sums: Sequence[int], *, user: str, period: str, label: str | None = None) -> AccountRow:
    """A row for people, with names."""
    return AccountRow(user=user, label=label, period=period, **dict(zip(FIELDS, sums, strict=True)))


def sums_in(row: AccountRow) -> Sums:
    """The sums of a row for people."""
    return tuple(map(row.__getattribute__, FIELDS))
