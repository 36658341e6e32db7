"""Accounts -> an aligned table for people: the biggest accounts, a line for all others, a total, and what is to be said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from heapq import nsmallest
from typing import Final

from headwater import money
from headwater.ledger import rows
from headwater.ledger.closing import moment
from headwater.ledger.rows import NOTHING, Sums
from headwater.printable import printable
from headwater.records import AccountRow, Bill, added
from headwater.reports.accounts import Accounts, Since
from headwater.reports.costs import NO_BILL, Costs
from headwater.reports.entries import Tick, unwatched
from headwater.reports.lines import Line, total
from headwater.reports.statement import CountedBy
from headwater.tables import aligned, rule, short, widths
from headwater.units import MICROGRAMS_PER_G, MICROJOULES_PER_KWH, NANOLITRES_PER_L

WH: Final = Decimal(MICROJOULES_PER_KWH) / 1000
ML: Final = Decimal(NANOLITRES_PER_L) / 1000
G: Final = Decimal(MICROGRAMS_PER_G)
_CENTS: Final = 2
_ENERGY: Final = rows.FIELDS.index("energy_microjoules")
_HEAD: Final = (
    "user",
    "requests",
    "input",
    "cached",
    "output",
    "energy Wh",
    "(low to high)",
    "water mL",
    "(low to high)",
    "CO2e g",
)


@dataclass(slots=True)
class _Section:
    """The accounts of a month, or its corrections: the biggest ones, and how many and how much all are."""

    top: int | None
    lines: list[Line] = field(default_factory=list)
    sums: Sums = NOTHING
    count: int = 0

    def add(self, some: Sequence[Line]) -> None:
        self.sums = rows.plus(self.sums, total(some))
        self.count += len(some)
        self.lines += some
        if self.top is not None:
            self.lines = nsmallest(self.top, self.lines, key=_by_size)


def _by_size(line: Line) -> tuple[int, str, int]:
    return -line.sums[_ENERGY], line.user or "", line.number


def table(accounts: Accounts, costs: Costs | None = None, *, top: int | None = None, tick: Tick = unwatched) -> str:
    """An aligned table with a total line and the interval of each quantity; plain text. Most energy first; where only the
    `top` ones are wanted, the others have a line together: the total is that of all."""
    own, corrected = _Section(top), dict[str, _Section]()
    for batch in accounts.read(tick):
        own.add([line for line in batch if line.month == accounts.month])
        for month in {line.month for line in batch} - {accounts.month}:
            section = corrected.setdefault(month, _Section(top))
            section.add([line for line in batch if line.month == month])

    bills = costs if costs is not None and not costs.reason else None
    body = _section(own, "total", bills)
    sections = [body]
    for month, section in sorted(corrected.items()):
        sections.append(_section(section, f"total of {month}", bills, is_correction=True))
    head = [*_HEAD, *([f"cost {bills.currency}"] if bills is not None else [])]
    wide = widths([head, *(cells for section in sections for cells in section)])
    lines = [f"Usage statement {accounts.month} (UTC)", *_sealed(accounts), "", aligned(head, wide), rule(wide)]
    for number, (month, cells) in enumerate(zip(["", *sorted(corrected)], sections, strict=True)):
        if number:
            lines += ["", f"Corrections of {month}, charged after it was closed:", rule(wide)]
        *some, last = [aligned(each, wide) for each in cells]
        lines += [*some, rule(wide), last]
    whole = rows.account_row(own.sums, user="", period=accounts.month)
    remarks = [*_remarks(whole, costs), *_rules(accounts.month, accounts.rules(whole.requests_count))]
    if corrected and bills is not None:
        remarks.append("Corrections have no cost here.")
    remarks += since_words(accounts.month, accounts.since)
    return "\n".join([*lines, *([""] if remarks else []), *remarks]) + "\n"


def _sealed(accounts: Accounts) -> list[str]:
    head = accounts.closed
    if head is None:
        return []
    numbers = f"{head.statement_number(1)} to {head.statement_number(head.users_count)}" if head.users_count else "none"
    return [f"closed on {moment(head.closed_s)}, statements {numbers}", f"sha256 {head.sha256}"]


def since_words(month: str, since: Since) -> list[str]:
    """What came late to a closed month, in words."""
    if not since.requests_count:
        return []
    said = [f"{count:,} in the statement of {by}" for by, count in since.corrected]
    if since.waiting_count:
        said.append(f"{since.waiting_count:,} in the one that is closed next")
    told = (
        f"{since.requests_count:,} requests of {month} were charged after it was closed, and are not above: they are "
        f"corrections, {', '.join(said)}. With them: headwater report --month {month} --live"
    )
    return [told]


def _section(section: _Section, name: str, costs: Costs | None, *, is_correction: bool = False) -> list[list[str]]:
    """The cells of its lines, and of their total."""
    shown = sorted(section.lines, key=_by_size)
    made = [_cells(printable(line.name), line.row()) for line in shown]
    rest_count = section.count - len(shown)
    rest = rows.account_row(rows.minus(section.sums, total(shown)), user="", period="")
    if rest_count:
        made.append(_cells(f"{rest_count:,} others", rest))
    made.append(_cells(name, rows.account_row(section.sums, user="", period="")))
    if costs is not None:
        bills = [
            NO_BILL if is_correction or line.user is None else costs.bills.get(line.user, NO_BILL) for line in shown
        ]
        whole = NO_BILL if is_correction else costs.total
        others = [_less(whole, bills)] if rest_count else []
        for cells, bill in zip(made, [*bills, *others, whole], strict=True):
            cells.append(_money(bill))
    return made


def _less(whole: Bill, some: Iterable[Bill]) -> Bill:
    """What is left of a bill."""
    taken = list(some)

    def left(all_: Fraction | None, parts: Iterable[Fraction | None]) -> Fraction | None:
        return None if all_ is None else all_ - (added(parts) or 0)

    return Bill(
        electricity=left(whole.electricity, (bill.electricity for bill in taken)),
        water=left(whole.water, (bill.water for bill in taken)),
        server=left(whole.server, (bill.server for bill in taken)),
    )


def _rules(month: str, found: Sequence[CountedBy]) -> list[str]:
    """By which rules the month was charged: a statement without them could not be checked."""
    lines = []
    for by in found:
        if not by.factors:
            lines.append(f"{by.requests_count:,} requests were charged by rules that are not known any more.")
            continue
        own = f", own figures: {', '.join(by.own)}" if by.own else ""
        lines.append(
            f"{by.requests_count:,} requests were charged under {by.factors} ({by.factors_hash}), hydro={by.hydro}, "
            f"wue={by.wue_basis}{own}."
        )
    if len({(by.factors, by.hydro) for by in found}) > 1:
        lines.append(
            f"Sums over different factor sets say little: headwater recompute --month {month} counts all by one."
        )
    return lines


def _remarks(whole: AccountRow, costs: Costs | None) -> list[str]:
    no_sum = "energy, water and carbon" if costs is None or costs.reason else "energy, water, carbon and cost"
    remarks = [
        f"{count:,} of {whole.requests_count:,} requests {words}"
        for count, words in (
            (
                whole.not_upstream_count,
                "came without token counts: those were counted or estimated here, or are unknown.",
            ),
            (whole.unknown_count, f"have no footprint: they are in no sum of {no_sum}."),
            (whole.incomplete_count, "did not complete: charged for what was generated, if anything."),
        )
        if count
    ]
    for lack in costs.missing if costs is not None else ():
        *firsts, last = lack.parts
        parts = f"{', '.join(firsts)} and {last}" if firsts else last
        remarks.append(
            f"{lack.requests_count:,} of {whole.requests_count:,} requests have no cost of {parts}: {lack.reason}."
        )
    if costs is not None and costs.reason:
        remarks.append(f"Without costs: {costs.reason}.")
    return remarks


def _money(bill: Bill) -> str:
    return "unknown" if bill.total is None else short(money.decimal(bill.total), least_places=_CENTS)


def _cells(name: str, row: AccountRow) -> list[str]:
    counts = [f"{row.requests_count:,}", f"{row.input_tokens:,}", f"{row.cached_tokens:,}", f"{row.output_tokens:,}"]
    if is_unknown(row):
        return [name, *counts, "unknown", "", "unknown", "", "unknown"]
    energy = row.energy_microjoules, row.energy_low_microjoules, row.energy_high_microjoules
    water = row.water_nanolitres, row.water_low_nanolitres, row.water_high_nanolitres
    return [name, *counts, *with_range(energy, WH), *with_range(water, ML), short(row.carbon_micrograms / G)]


def with_range(amounts: tuple[int, int, int], per: Decimal) -> tuple[str, str]:
    """An amount and its range for people, in the unit that has so many of the ledger's."""
    value, low, high = (short(amount / per) for amount in amounts)
    return value, f"({low} to {high})"


def is_unknown(row: AccountRow) -> bool:
    """No request of the account has a footprint: its sums of quantities are empty, which is not zero."""
    return row.requests_count > 0 and row.unknown_count == row.requests_count
