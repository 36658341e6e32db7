"""Cases side by side: sorted by what they take, with what makes the order doubtful. Pure; knows no words for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from headwater.cases import Case
from headwater.records import Bounds, Footprint, Unknown

Amount = Literal["water", "energy", "carbon"]
"""What rows are sorted by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case with its answer. `multiple_of_least`: None where it has no footprint, or where the least is zero."""

    case: Case
    answer: Footprint | Unknown
    multiple_of_least: float | None


def compared(cases: Iterable[Case], *, by: Amount) -> list[Row]:
    """A row per case, the least first; those without a footprint last. The order of the cases does not matter, and one that
    comes twice has one row."""
    answers = {_identity(case): case for case in cases}
    found = [(case, case.footprint(), identity) for identity, case in answers.items()]
    found.sort(key=lambda one: (_central(one[1], by), one[2]))
    least = _central(found[0][1], by) if found else math.inf
    return [
        Row(
            case=case,
            answer=answer,
            multiple_of_least=_central(answer, by) / least if isinstance(answer, Footprint) and least > 0 else None,
        )
        for case, answer, _ in found
    ]


def _identity(case: Case) -> tuple[str, ...]:
    at = case.deployment
    return at.model.name, at.hardware.name, at.site.name, at.factors.name, at.factors.hydro


def _central(answer: Footprint | Unknown, by: Amount) -> float:
    return bounds(answer, by).value if isinstance(answer, Footprint) else math.inf


def bounds(answer: Footprint, by: Amount) -> Bounds:
    """One amount of a footprint with its interval, in L, J or g."""
    within = answer.spread
    value, low_ratio, high_ratio = {
        "water": (answer.water_l, within.water_low, within.water_high),
        "energy": (answer.facility_j, within.energy_low, within.energy_high),
        "carbon": (answer.carbon_g, within.carbon_low, within.carbon_high),
    }[by]
    return Bounds(low=value * low_ratio, value=value, high=value * high_ratio)


def doubtful_runs(rows: Sequence[Row], *, by: Amount) -> list[tuple[int, int]]:
    """Runs of sorted rows, first and last counted from 0, each of whose intervals holds the central amounts of all the
    others: their order means nothing. No run lies in another."""
    within = [bounds(row.answer, by) for row in rows if isinstance(row.answer, Footprint)]
    runs: list[tuple[int, int]] = []
    for first in range(len(within)):
        highest, last = within[first].high, first
        for place in range(first + 1, len(within)):
            highest = min(highest, within[place].high)
            if within[place].low > within[first].value or highest < within[place].value:
                break
            last = place
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs


def share_doubts(rows: Sequence[Row], first: int, last: int) -> bool:
    """Whether some rows of a run are of one model on one server, so that what is doubtful of its energy is so in all alike."""
    served = [(row.case.deployment.model.name, row.case.deployment.hardware.name) for row in rows[first : last + 1]]
    return len(set(served)) < len(served)


Basis = Literal["consumption", "withdrawal", "unstated", "computed", "set"]
BASES: Final[Mapping[Basis, str]] = {
    "consumption": "consumption",
    "withdrawal": "withdrawal",
    "unstated": "unstated",
    "computed": "computed",
    "set": "the set's own",
}


def basis(case: Case) -> Basis:
    """What the figure for the site's water counts: the factor set's own, a model of the cooling, or what the site says."""
    at = case.deployment
    if at.factors.wue_l_per_it_kwh is not None:
        return "set"
    return at.site.wue_basis if at.site.wue_method == "reported" else "computed"


def common(rows: Sequence[Row], told: Callable[[Case], str]) -> str | None:
    """What is told of all cases of which something is; None where they differ, "" where nothing is told of any."""
    found = {words for row in rows if (words := told(row.case))} or {""}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Factoring:
    """Why one footprint has `water_ratio` times the water of another: energy per request, and water per IT energy. Exact
    fractions of the numbers as they are, so their product is the whole."""

    water_ratio: Fraction
    energy_ratio: Fraction
    water_per_energy_ratio: Fraction


def factored(one: Footprint, other: Footprint) -> Factoring | None:
    """The ratios of one footprint over another. None where one has no water or no energy, so that there is no ratio."""
    energies = Fraction(one.it_j), Fraction(other.it_j)
    waters = tuple(Fraction(each.onsite_l) + Fraction(each.offsite_l) for each in (one, other))
    if not all((*energies, *waters)):
        return None
    return Factoring(
        water_ratio=waters[0] / waters[1],
        energy_ratio=energies[0] / energies[1],
        water_per_energy_ratio=(waters[0] / energies[0]) / (waters[1] / energies[1]),
    )
