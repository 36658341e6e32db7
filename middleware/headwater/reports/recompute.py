"""The charges of a month -> the same statement under another factor set, charge by charge. Reads the ledger, never writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from headwater import catalog
from headwater.amounts import OUT_OF_RANGE, amounts, storable
from headwater.errors import CatalogError
from headwater.ledger import Reader, rows
from headwater.ledger.rows import Sums
from headwater.ledger.schema import ERASED
from headwater.physics.estimate import TIME_UNKNOWN, TOKENS_UNBELIEVABLE, TOKENS_UNKNOWN, Profile
from headwater.records import AccountRow, Charge, Deployment, FactorSet, Unknown
from headwater.reports.entries import Tick, month_charges, unwatched
from headwater.reports.statement import Statement, add

OF_ESTIMATES: Final = frozenset(
    unknown.reason for unknown in (TOKENS_UNKNOWN, TOKENS_UNBELIEVABLE, TIME_UNKNOWN, OUT_OF_RANGE)
)
"""Reasons that an estimate gave: another set may find more. All others hold under any set: nothing was generated, say."""
_NO_DOCUMENT: Final = "no-deployment-document"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restatement:
    """A month as charged, and the same charges under another factor set. Rows stand in the same order.

    `charged_under`: the sets that it was charged under, with how many requests. `found_count`, `lost_count`: requests whose
    footprint was unknown and is known under the other set, and the other way round; the latter without those of
    `undocumented_count`, whose stored deployment is missing or of another version. `undeployed_count`: requests that no
    deployment served, so that there is no footprint under any set.
    """

    charged: Statement
    recomputed: Statement
    charged_under: tuple[tuple[FactorSet, int], ...]
    recomputed_under: FactorSet
    found_count: int
    lost_count: int
    undeployed_count: int
    undocumented_count: int
    erased_count: int = 0
    """Requests whose single charges were erased: they are in neither of the two."""


def under(deployment: Deployment, factors: FactorSet) -> Deployment:
    """A deployment as it would have been documented under another factor set; site and grid keep their stored figures.

    Raises CatalogError when the set breaks the rules that catalog entries obey.
    """
    return catalog.deployment_from_document(catalog.deployment_document(replace(deployment, factors=factors)))


def recharged(charge: Charge, profile: Profile) -> Charge:
    """A charge as it would have been made under the factor set of the profile's deployment."""
    if charge.amounts is None and charge.reason not in OF_ESTIMATES:
        return charge
    found = storable(profile.estimate(charge.usage, charge.observation))
    if isinstance(found, Unknown):
        return replace(charge, method=None, amounts=None, reason=found.reason)
    return replace(charge, method=found.method, amounts=amounts(found), reason="")


def restatement(reader: Reader, month: str, factors: FactorSet, tick: Tick = unwatched) -> Restatement:
    """A month under another factor set, from the charges that the ledger keeps one by one.

    Raises:
        ConfigError: the month is not written as YYYY-MM.
        LedgerError: the store does not answer, or no longer keeps every charge of the month.
    """
    basis = _Basis(reader, factors)
    charged, recomputed = _Accounts(), _Accounts()
    kinds: Counter[str] = Counter()
    for charge in month_charges(reader, month, tick):
        again = basis.recharged(charge)
        charged.add(charge)
        recomputed.add(again)
        if (kind := _kind(charge, again)) is not None:
            kinds[kind] += 1
    labels = reader.labels()
    before = sorted(charged.rows(month, labels), key=lambda row: (-row.energy_microjoules, row.user))
    after = {row.user: row for row in recomputed.rows(month, labels)}
    return Restatement(
        charged=_statement(month, before),
        recomputed=_statement(month, (after[row.user] for row in before)),
        charged_under=basis.charged_under(),
        recomputed_under=factors,
        found_count=kinds["found"],
        lost_count=kinds["lost"],
        undeployed_count=kinds["undeployed"],
        undocumented_count=kinds["undocumented"],
        erased_count=reader.user_row(ERASED, month).requests_count,
    )


def _kind(charge: Charge, again: Charge) -> str | None:
    """What is to be said of a request beside its amounts, if anything."""
    if again.reason == _NO_DOCUMENT:
        return "undocumented"
    if not charge.deployment_hash:
        return "undeployed"
    if (charge.amounts is None) == (again.amounts is None):
        return None
    return "found" if charge.amounts is None else "lost"


def _statement(month: str, rows: Iterable[AccountRow]) -> Statement:
    some = tuple(rows)
    return Statement(month=month, rows=some, total=add(some, month))


class _Basis:
    """The stored deployments of charges: read once each, and made ready to estimate under the other set."""

    def __init__(self, reader: Reader, factors: FactorSet) -> None:
        self._reader = reader
        self._factors = factors
        self._profiles: dict[str, Profile | None] = {}
        self._sets: dict[str, FactorSet] = {}
        self._charges: Counter[str] = Counter()

    def recharged(self, charge: Charge) -> Charge:
        document_hash = charge.deployment_hash
        if not document_hash:
            return charge
        if document_hash not in self._profiles:
            self._profiles[document_hash] = self._read(document_hash)
        self._charges[document_hash] += 1
        profile = self._profiles[document_hash]
        if profile is None:
            return replace(charge, method=None, amounts=None, reason=_NO_DOCUMENT)
        return recharged(charge, profile)

    def _read(self, document_hash: str) -> Profile | None:
        document = self._reader.document(document_hash)
        if document is None:
            return None
        try:
            deployment = catalog.deployment_from_document(document)
        except CatalogError:
            return None  # another version of headwater wrote it; the charge says what it said
        self._sets[document_hash] = deployment.factors
        return Profile(under(deployment, self._factors))

    def charged_under(self) -> tuple[tuple[FactorSet, int], ...]:
        """The factor sets of the charges so far, most charges first. A set is another one with another hash."""
        counts: Counter[tuple[str, str, str]] = Counter()
        sets: dict[tuple[str, str, str], FactorSet] = {}
        for document_hash, factors in self._sets.items():
            key = factors.name, factors.document_hash, factors.hydro
            sets[key] = factors
            counts[key] += self._charges[document_hash]
        return tuple((sets[key], count) for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class _Accounts:
    """Users' sums, made by the rule by which the ledger makes them."""

    def __init__(self) -> None:
        self._sums: dict[str, Sums] = {}

    def add(self, charge: Charge) -> None:
        self._sums[charge.user] = rows.plus(self._sums.get(charge.user, rows.NOTHING), rows.sums_of(charge))

    def rows(self, month: str, labels: dict[str, str]) -> list[AccountRow]:
        return [
            rows.account_row(sums, user=user, period=month, label=labels.get(user)) for user, sums in self._sums.items()
        ]
