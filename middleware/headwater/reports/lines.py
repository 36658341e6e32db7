"""A line of a statement: whose, of which month, and its sums as cells. Exact decimals are made from whole numbers directly:
a statement may have millions of lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from headwater.ledger import rows
from headwater.ledger.rows import Sums
from headwater.records import AccountRow

_PLACES: Final = 6
"""All of the ledger's units are millionths: microjoules of J, nanolitres of mL, micrograms of g."""
_ONE: Final = 10**_PLACES
COLUMNS: Final = (
    "requests",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "energy_j",
    "energy_low_j",
    "energy_high_j",
    "it_j",
    "water_ml",
    "water_low_ml",
    "water_high_ml",
    "water_onsite_ml",
    "water_offsite_ml",
    "carbon_g",
    "carbon_low_g",
    "carbon_high_g",
    "requests_counted_here",
    "requests_without_footprint",
    "requests_not_completed",
)
"""What is said of every account: counts as they are, quantities as exact decimals."""
_UNKNOWN: Final = (None,) * 12

Cell = int | str | None


class Line(NamedTuple):
    """A user's sums of a month, in a statement. `user` is None where the link was erased; `number` is that of the user's
    statement in a closed month, and 0 in an open one."""

    user: str | None
    label: str | None
    month: str
    sums: Sums
    number: int = 0

    @property
    def name(self) -> str:
        """For people."""
        return "(erased)" if self.user is None else self.label or self.user

    def row(self) -> AccountRow:
        """As an account of the ledger's."""
        return rows.account_row(self.sums, user=self.user or "", period=self.month, label=self.label)


def line_of(row: AccountRow) -> Line:
    """An account of the ledger's as a line."""
    return Line(row.user, row.label, row.period, rows.sums_in(row))


def total(lines: Iterable[Line]) -> Sums:
    """The exact sum of lines."""
    return rows.total(line.sums for line in lines)


def exact(value: int) -> str:
    """A millionth part as a decimal, with all its digits and no zeros behind them."""
    text = str(value)
    if text[-1] != "0" and value >= _ONE:  # nearly all: the others take three times as long
        return f"{text[:-_PLACES]}.{text[-_PLACES:]}"
    sign = "-" if value < 0 else ""
    whole, part = divmod(abs(value), _ONE)
    return f"{sign}{whole}.{part:0{_PLACES}}".rstrip("0").rstrip(".")


def cells(sums: Sequence[int]) -> tuple[Cell, ...]:
    """The values of COLUMNS; None for what nobody knows."""
    (
        requests, input_, output, it, energy, energy_low, energy_high, onsite, offsite, water_low, water_high,
        carbon, carbon_low, carbon_high, cached, reasoning, not_upstream, unknown, incomplete,
    ) = sums  # fmt: skip  # in the order of rows.FIELDS
    if unknown == requests > 0:
        # No request of the account has a footprint: its sums of quantities are empty, which is not zero.
        return requests, input_, cached, output, reasoning, *_UNKNOWN, not_upstream, unknown, incomplete
    return (
        requests, input_, cached, output, reasoning,
        exact(energy), exact(energy_low), exact(energy_high), exact(it),
        exact(onsite + offsite), exact(water_low), exact(water_high), exact(onsite), exact(offsite),
        exact(carbon), exact(carbon_low), exact(carbon_high), not_upstream, unknown, incomplete,
    )  # fmt: skip
