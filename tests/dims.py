"""Dimensional analysis as a test: numbers that carry units and refuse to be added across them.

`it` and `facility` are base units of their own, so a litre per kWh *of IT energy* cannot meet facility energy unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Dim:
    """A number with powers of base units: `Dim(2.0, {"L": 1, "kWh": -1, "it": -1})`."""

    value: float
    units: Mapping[str, float] = field(default_factory=dict)

    def __mul__(self, other: Dim | float) -> Dim:
        right = as_dim(other)
        powers = {unit: self.units.get(unit, 0) + right.units.get(unit, 0) for unit in {*self.units, *right.units}}
        return Dim(self.value * right.value, {unit: power for unit, power in powers.items() if power})

    __rmul__ = __mul__

    def __truediv__(self, other: Dim | float) -> Dim:
        return self * as_dim(other) ** -1

    def __rtruediv__(self, other: float) -> Dim:
        return as_dim(other) / self

    def __pow__(self, exponent: float) -> Dim:
        return Dim(self.value**exponent, {unit: power * exponent for unit, power in self.units.items()})

    def __add__(self, other: Dim | float) -> Dim:
        return Dim(self.value + self._alike(other), self.units)

    __radd__ = __add__

    def __sub__(self, other: Dim | float) -> Dim:
        return Dim(self.value - self._alike(other), self.units)

    def __lt__(self, other: Dim | float) -> bool:
        return self.value < self._alike(other)

    def __gt__(self, other: Dim | float) -> bool:
        return self.value > self._alike(other)

    def _alike(self, other: Dim | float) -> float:
        right = as_dim(other)
        if right.value == 0 and not right.units:  # nothing is nothing in any unit
            return 0
        if dict(self.units) != dict(right.units):
            raise TypeError(f"{dict(self.units)} is not {dict(right.units)}")
        return right.value


def as_dim(number: Dim | float) -> Dim:
    """A plain number is dimensionless."""
    return number if isinstance(number, Dim) else Dim(number)
