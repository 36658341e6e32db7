"""A statement's charges -> what each account costs its operator, by the tariff of each charge's day. Reads, never writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from headwater.errors import LedgerError
from headwater.ledger import Reader
from headwater.ledger.schema import ERASED
from headwater.money import bill
from headwater.records import Bill, Charge, Cost, PartName, added
from headwater.reports.entries import Tick, month_charges, unwatched
from headwater.reports.statement import Statement
from headwater.tariffs import Pricing

NO_BILL: Final = Bill()
PARTS: Final[tuple[PartName, ...]] = ("electricity", "water", "server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Parts that are in no sum, of how many requests, and why."""

    parts: tuple[PartName, ...]
    requests_count: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What the accounts of a statement cost. Where that cannot be said there are no bills, but a reason.

    Each part of each bill is rounded once, to what is shown; `total` is the exact sum of the bills.
    """

    currency: str
    bills: Mapping[str, Bill] = field(default_factory=dict)
    """By user. Who has no request with a footprint has no bill."""
    total: Bill = NO_BILL
    missing: tuple[Missing, ...] = ()
    reason: str = ""


def costs(reader: Reader, made: Statement, pricing: Pricing, tick: Tick = unwatched) -> Costs:
    """The costs of a statement, charge by charge. A store that no longer has them all is no error, but the reason."""
    documents: dict[str, str | None] = {}

    def document_of(charge: Charge) -> str | None:
        name = charge.deployment_hash
        if name not in documents:
            documents[name] = reader.document(name) if name else None
        return documents[name]

    try:
        return summed(month_charges(reader, made.month, tick), made, pricing, document_of)
    except LedgerError as error:
        return Costs(currency=pricing.currency, reason=str(error))


def summed(
    charges: Iterable[Charge], made: Statement, pricing: Pricing, document_of: Callable[[Charge], str | None]
) -> Costs:
    """The costs of those charges that are in a statement: of every user the first ones, as many as it counts.

    Raises:
        LedgerError: they are not the charges of the statement; names the user and both figures.
    """
    erased_count = sum(row.requests_count for row in made.rows if row.user == ERASED)
    rows = [row for row in made.rows if row.user != ERASED]
    left = {row.user: row.requests_count for row in rows}
    accounts = {row.user: _Account() for row in rows}
    missing: Counter[tuple[tuple[PartName, ...], str]] = Counter()
    if erased_count:
        missing[PARTS, "their single charges were erased"] = erased_count
    for charge in charges:
        if not left.get(charge.user):
            continue  # charged since the statement was read
        left[charge.user] -= 1
        if charge.amounts is None:
            continue
        account = accounts[charge.user]
        account.energy_microjoules += charge.amounts.energy_microjoules
        cost = pricing.cost(charge, document_of(charge))
        if cost is not None:
            account.add(cost)
            missing.update(_lacking(cost))
    for row in rows:
        found = accounts[row.user].energy_microjoules
        if left[row.user] or found != row.energy_microjoules:
            raise LedgerError(
                f"{made.month}: the single charges of {row.user} have {found} energy_microjoules in "
                f"{row.requests_count - left[row.user]} requests, the account has {row.energy_microjoules} in "
                f"{row.requests_count}; if charges came in meanwhile, ask again"
            )
    bills = {user: account.bill() for user, account in accounts.items()}
    return Costs(
        currency=pricing.currency,
        bills=bills,
        total=_sum(list(bills.values())),
        missing=tuple(
            Missing(parts=parts, requests_count=count, reason=reason)
            for (parts, reason), count in sorted(missing.items(), key=lambda item: (-item[1], item[0]))
        ),
    )


def _sum(bills: Sequence[Bill]) -> Bill:
    """Of no account at all, nothing: that is known."""
    nothing = None if bills else Fraction()
    return Bill(
        electricity=added([nothing, *(each.electricity for each in bills)]),
        water=added([nothing, *(each.water for each in bills)]),
        server=added([nothing, *(each.server for each in bills)]),
    )


class _Account:
    """The exact sums of one user."""

    __slots__ = ("_sums", "energy_microjoules")

    def __init__(self) -> None:
        self.energy_microjoules = 0
        self._sums: dict[PartName, Fraction] = {}

    def add(self, cost: Cost) -> None:
        for name, part in cost.parts:
            if part.amount is not None:
                self._sums[name] = self._sums.get(name, Fraction()) + part.amount

    def bill(self) -> Bill:
        return bill(self._sums.get("electricity"), self._sums.get("water"), self._sums.get("server"))


def _lacking(cost: Cost) -> Iterable[tuple[tuple[PartName, ...], str]]:
    """What a cost lacks, by the reason for it."""
    reasons: dict[str, tuple[PartName, ...]] = {}
    for name, part in cost.parts:
        if part.amount is None:
            reasons[part.reason] = (*reasons.get(part.reason, ()), name)
    return [(parts, reason) for reason, parts in reasons.items()]
