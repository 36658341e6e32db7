"""Whether the energy that an upstream reports for a request can be true. Pure; knows no wire and no scheme by name.

Notes: a report is believed between two bounds, the closer of two on each side. It must lie near the deployment's own
estimate: near enough that a factor of 1000 always shows. And it must be possible: no more than all accelerators draw at
their most in the time that was seen, no less than being on takes while its output is computed at the peak. What would fit
if its unit were another is a slip, and still not charged: METHODOLOGY.md, "Reported energy".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from headwater.physics import energy
from headwater.physics.replica import Own, Replica
from headwater.records import EnergyReport, Observation, ReportScheme, Scheme, Verdict
from headwater.units import UNIT_SLIP_RATIO

_BELIEVED: Final[frozenset[Verdict]] = frozenset({"taken", "contradicted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plausible:
    """Between which joules a report can be true, at its own boundary."""

    least_j: float
    most_j: float

    def __contains__(self, energy_j: float) -> bool:
        return self.least_j <= energy_j <= self.most_j


def believed_scheme(observation: Observation) -> Scheme | None:
    """The scheme of the report that is charged; None where none is."""
    return observation.metered_scheme if observation.metered_verdict in _BELIEVED else None


def judged(
    observation: Observation, report: EnergyReport, scheme: ReportScheme, bounds: Plausible | None
) -> Observation:
    """The observation with a report in it, and what becomes of the report."""
    return replace(
        observation,
        metered_j=report.energy_j,
        metered_boundary=scheme.boundary,
        metered_scheme=scheme.name,
        metered_verdict=verdict(report, bounds),
    )


def verdict(report: EnergyReport, plausible: Plausible | None) -> Verdict:
    """What becomes of a report. `plausible`: None where nothing is known that it could be held against."""
    if not report.is_measured:
        return "estimated"
    if plausible is None:
        return "unchecked"
    if report.energy_j in plausible:
        return "contradicted" if report.slip else "taken"
    if report.energy_j * UNIT_SLIP_RATIO in plausible or report.energy_j / UNIT_SLIP_RATIO in plausible:
        return "slip"
    return "implausible"


def plausible(
    scheme: ReportScheme,
    replica: Replica,
    observation: Observation,
    *,
    it_j: float,
    present_s: float,
    output_tokens: int | None,
) -> Plausible:
    """The bounds of a report on a request whose own estimate is `it_j`, with `present_s` of its replica to itself."""
    known = replica.derivation.known
    overhead_ratio, limit_w = known["overhead_ratio"], known["limit_w"]
    near_j, most_w = it_j, replica.host_share_w + overhead_ratio * limit_w
    if scheme.boundary == "accelerators":
        most_w = limit_w
        near_j = energy.unmetered_accelerators_j(
            it_j=it_j, host_share_w=replica.host_share_w, present_s=present_s, overhead_ratio=overhead_ratio
        )
    # Of its prompt any part may have come out of a cache; its output was computed.
    work_s = replica.peak_s(Own(0, 0, output_tokens or 0, 0))
    seen_s = observation.elapsed_s
    possible_j = math.inf if seen_s is None or seen_s <= 0 else scheme.power_ratio.value * most_w * seen_s
    return Plausible(
        least_j=max(near_j * scheme.estimate_ratio.low, known["static_ratio"] * limit_w * work_s),
        most_j=min(near_j * scheme.estimate_ratio.high, possible_j),
    )
