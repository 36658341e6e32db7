"""How many tokens, from how many to how many. Pure arithmetic; knows no text."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from headwater.records import Factor, TokenCount

_HALF: Final = 0.5
_SAME: Final = 1e-9
_LEAST_TOKENS: Final = 1.0
"""What a low counts at least as when a factor is made of it: none at all is as good as one."""


class Amount(NamedTuple):
    """Tokens with their range. `is_counted`: by the model's own encoding or by its maker's rule."""

    value: float
    low: float
    high: float
    is_counted: bool = True

    def plus(self, other: Amount) -> Amount:
        """Both together; whatever is wrong with the one may be wrong with the other too."""
        return Amount(
            self.value + other.value,
            self.low + other.low,
            self.high + other.high,
            self.is_counted and other.is_counted,
        )

    def times(self, factor: Factor, *, is_counted: bool) -> Amount:
        """As many times as many as a figure says."""
        return Amount(
            self.value * factor.value, self.low * factor.low, self.high * factor.high, self.is_counted and is_counted
        )

    def as_count(self) -> TokenCount:
        """Whole tokens, at least one where there are any, and the one factor that covers the range on both sides."""
        tokens = max(math.floor(self.value + _HALF), int(self.value > 0))
        middle = max(tokens, _LEAST_TOKENS)
        ratio = max(max(self.high, middle) / middle, middle / max(min(self.low, middle), _LEAST_TOKENS))
        return TokenCount(
            tokens=tokens,
            source="counted" if self.is_counted else "estimated",
            ratio=ratio if ratio > 1 + _SAME else 1.0,
        )


NOTHING: Final = Amount(0, 0, 0)


def exactly(tokens: float) -> Amount:
    """So many, no more and no fewer."""
    return Amount(tokens, tokens, tokens)


def of(factor: Factor, count: float = 1) -> Amount:
    """A figure so many times over; counted where it is read in a document and not judged."""
    return Amount(
        factor.value * count, factor.low * count, factor.high * count, not count or factor.confidence != "estimated"
    )


def total(*amounts: Amount) -> Amount:
    """All of them together."""
    found = NOTHING
    for amount in amounts:
        found = found.plus(amount)
    return found
