"""Aligned tables of plain text, and numbers for people in them. Knows no statement and no footprint."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

SHORT_DIGITS: Final = 3


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The width that each column needs."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def rule(widths: Sequence[int]) -> str:
    """The line between head and body."""
    return "  ".join("-" * width for width in widths)


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One row: the first column to the left, all others to the right."""
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip()


def short(value: Decimal, digits: int = SHORT_DIGITS, *, least_places: int = 0) -> str:
    """So many significant digits for people, all digits of a whole number, and no exponent."""
    if value == 0:
        return "0"
    places = max(least_places, digits - 1 - significant(value, digits).adjusted())
    return f"{value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):,f}"


def significant(value: Decimal, digits: int) -> Decimal:
    """A value with only so many digits that say something; the others are zeros."""
    return value if value == 0 else value.quantize(Decimal(1).scaleb(value.adjusted() - digits + 1), ROUND_HALF_EVEN)
