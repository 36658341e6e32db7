"""What bars show, before any drawing: amounts with intervals, and the scale that they are drawn on. Knows no pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from headwater.drawing import value_ticks
from headwater.tables import SHORT_DIGITS, short, significant

_LINEAR_RATIO: Final = 100
"""Amounts further apart than this are drawn on a logarithmic scale: on a linear one the small ones would be nothing."""
_MOST_DECADES: Final = 8
_ROUNDING: Final = 1e-6
_NOTHING: Final = 1e-300
"""Amounts below it, where floating-point numbers end, choose no scale."""
_PLAIN_EXPONENTS: Final = range(-3, 7)
# An interval that spans less than half of its low deserves a third digit.
_NARROW_RATIO: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One amount in its panel's unit. An amount that is not known is None, and `reason` says why.

    `parts`: what it is made of, drawn one after the other; they add up to it. Without `low` and `high` it has no interval.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    parts: tuple[tuple[str, float], ...] = ()
    note: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        amounts = [one for one in (self.low, self.value, self.high) if one is not None]
        amounts += [amount for _, amount in self.parts]
        if not all(0 <= one < math.inf for one in amounts):
            raise ValueError(f"bar {self.label!r}: amounts must be finite and not below 0, not {amounts}")
        if (self.low is None) is not (self.high is None):
            raise ValueError(f"bar {self.label!r}: low ({self.low}) and high ({self.high}) come together or not at all")
        if self.value is None:
            if not self.reason:
                raise ValueError(f"bar {self.label!r}: a value that is not known needs a reason")
            if self.low is not None or self.parts:
                raise ValueError(f"bar {self.label!r}: a value that is not known has no interval and no parts")
            return
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError(f"bar {self.label!r}: {self.value} is not from {self.low} to {self.high}")
        whole = math.fsum(amount for _, amount in self.parts)
        if self.parts and abs(whole - self.value) > _ROUNDING * self.value:
            raise ValueError(f"bar {self.label!r}: its parts are {whole} together, not {self.value}")

    def words(self) -> str:
        """Its amount for people, with the interval: no more digits than that deserves."""
        if self.value is None:
            return f"unknown: {self.reason}"
        if self.low is None or self.high is None:
            return amount_words(self.value, SHORT_DIGITS)
        digits = SHORT_DIGITS if self.high <= self.low * _NARROW_RATIO else SHORT_DIGITS - 1
        value, low, high = (amount_words(one, digits) for one in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Bars over one axis."""

    unit: str
    bars: tuple[Bar, ...]
    title: str = ""

    def heading(self) -> str:
        """The title with the unit, and the kind of scale where it is not the usual one."""
        named = f"{self.title}, {self.unit}" if self.title else self.unit
        return f"{named} (logarithmic scale)" if self.scale().is_log else named

    def part_names(self) -> tuple[str, ...]:
        """The names of all parts, in the order in which they first come."""
        return tuple(dict.fromkeys(name for bar in self.bars for name, _ in bar.parts))

    def scale(self) -> Scale:
        """The axis that holds all its bars with their intervals."""
        values = [bar.value for bar in self.bars if bar.value and bar.value > _NOTHING]
        ends = [one for bar in self.bars for one in (bar.low, bar.value, bar.high) if one and one > _NOTHING]
        if values and max(values) > _LINEAR_RATIO * min(values):
            return _log_scale(min(values), ends)
        ticks = tuple(value_ticks(max(ends, default=0)))
        return Scale(is_log=False, least=0.0, most=ticks[-1][0], ticks=ticks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """All that is drawn."""

    title: str
    subtitle: str = ""
    panels: tuple[Panel, ...]

    def remarks(self) -> tuple[str, ...]:
        """What a reader must know of the scales, in sentences."""
        panels = [panel for panel in self.panels if panel.scale().is_log]
        if not panels:
            return ()
        parts = ", so its parts are not drawn" if any(panel.part_names() for panel in panels) else ""
        return (f"On a logarithmic scale the length of a bar is no measure of its amount{parts}.",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An axis from `least` to `most`; zero lies at the left end, also of a logarithmic one."""

    is_log: bool
    least: float
    most: float
    ticks: tuple[tuple[float, str], ...]

    def at(self, amount: float) -> float:
        """Where an amount lies: 0 at the left end, 1 at the right."""
        if not self.is_log:
            return amount / self.most
        if amount <= self.least:
            return 0.0
        bottom = math.log10(self.least)
        return (math.log10(amount) - bottom) / (math.log10(self.most) - bottom)


def _log_scale(smallest: float, ends: Sequence[float]) -> Scale:
    """Whole decades. A bar never begins at its own end, and a low far below all values does not squeeze them."""
    top = math.ceil(math.log10(max(ends)) - _ROUNDING)
    bottom = math.ceil(math.log10(smallest) - _ROUNDING) - 1
    lowest = math.floor(math.log10(min(ends)) + _ROUNDING)
    bottom = min(bottom, max(lowest, top - _MOST_DECADES))
    every = -(-(top - bottom) // _MOST_DECADES)
    exponents = range(top, bottom - 1, -every)
    ticks = tuple((10.0**exponent, _decade(exponent)) for exponent in reversed(exponents))
    return Scale(is_log=True, least=10.0**bottom, most=10.0**top, ticks=ticks)


def _decade(exponent: int) -> str:
    if exponent in _PLAIN_EXPONENTS:
        return f"{10.0**exponent:,.{max(0, -exponent)}f}"
    return f"1e{exponent}"


def amount_words(amount: float, digits: int = SHORT_DIGITS) -> str:
    """An amount with so many digits that say something."""
    return short(significant(Decimal(amount), digits), digits)
