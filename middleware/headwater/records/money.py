"""The records of money: an operator's prices, and what one exchange or one account costs by them. No rounding, no float.

An amount is an exact rational number: a kilowatt-hour is 3.6e12 microjoules, and a ninth of a price has no finite decimal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal

PartName = Literal["electricity", "water", "server"]
"""What an operator pays for: electricity of the facility, water bought at the site, and the server as it is written off."""


def added(amounts: Iterable[Fraction | None]) -> Fraction | None:
    """The exact sum of the amounts that are known; None where none is."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Fraction()) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """An operator's prices from a day on, in one currency. None: the operator gave no such price."""

    valid_from: date | None
    """The first day (UTC); None: from the beginning."""
    currency: str
    """ISO 4217, like EUR."""
    electricity_per_kwh: Decimal | None
    water_per_m3: Decimal | None
    servers: Mapping[str, Decimal] = field(default_factory=dict, hash=False)
    """Price of a whole server, by the catalog's name of the hardware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPart:
    """One part of a cost: `amount = quantity * price`; where one of them is not known, the amount is None and has a reason.

    `unit`: kWh of the facility, m3 of water, or lives of a server (the share of one that the exchange had). `basis` says
    which water: `withdrawal`, or `consumption` where a withdrawal is not known.
    """

    amount: Fraction | None = None
    quantity: Fraction | None = None
    unit: str = ""
    price: Decimal | None = None
    basis: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one exchange costs its operator, by the tariff in force on the day (UTC) on which it ended."""

    currency: str
    valid_from: date | None = None
    electricity: CostPart
    water: CostPart
    server: CostPart

    @property
    def parts(self) -> tuple[tuple[PartName, CostPart], ...]:
        """All parts by name."""
        return ("electricity", self.electricity), ("water", self.water), ("server", self.server)

    @property
    def total(self) -> Fraction | None:
        """The sum of the parts that are known; None where none is."""
        return added(part.amount for _, part in self.parts)

    @property
    def lacks(self) -> tuple[PartName, ...]:
        """The parts that are not in the total."""
        return tuple(name for name, part in self.parts if part.amount is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What an account's exchanges cost together. None: not one of them has such a part."""

    electricity: Fraction | None = None
    water: Fraction | None = None
    server: Fraction | None = None

    @property
    def total(self) -> Fraction | None:
        """The sum of the parts that are known; None where none is."""
        return added((self.electricity, self.water, self.server))
