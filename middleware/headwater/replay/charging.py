"""Lives -> estimates, added up as integers, by line and over time. The arithmetic of an estimate is physics'.

Notes: each request is estimated with the time of its life and the concurrency over it, under the trace's mean mix without
that mix's own time: its speed at each concurrency is computed, because a mean time over calm and rush is that of neither. A
time that was simulated is no observation: the method is then `loaded`, with its wider interval. The concurrency alone
would do for steady traffic; in bursts it loses the time in which prompts wait for one another (METHODOLOGY.md, "Replaying a trace").
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from headwater.amounts import integers
from headwater.physics.intervals import Doubts, energy_ratios, spreads
from headwater.physics.rates import rates
from headwater.records import Deployment, Footprint, Observation, Spread, Usage
from headwater.replay.accounts import Accounts, By, Line, line
from headwater.replay.columns import moment
from headwater.replay.series import Grid, Spreading, whole
from headwater.replay.serving import Served
from headwater.replay.simulate import Lives
from headwater.replay.trace import TICK_ROWS, Tick, Trace

HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Energy and concurrency over time. Energies are integers that add up to those of the lines."""

    at: Grid
    energy_microjoules: list[int]
    energy_low_microjoules: list[int]
    energy_high_microjoules: list[int]
    idle_microjoules: list[int]
    mean_in_flight: list[float]
    most_in_flight: list[int]


class _Within:
    """The interval of a time that was computed: it is that of `loaded`, whatever the estimate was given as seen."""

    def __init__(self, deployment: Deployment) -> None:
        fitted = deployment.engine.fitted_concurrency_count
        self._fewest_count = 0.0 if fitted is None else fitted.low
        known = spreads(energy_ratios(deployment), rates(deployment))
        self._small, self._usual = (
            known["loaded", *Doubts(tokens=True, concurrency=True, small_batch=small, images=False)]
            for small in (True, False)
        )

    def of(self, concurrency_count: float) -> Spread:
        """The interval with so many in flight on a replica."""
        return self._small if concurrency_count < self._fewest_count else self._usual


def _prefill_w(one: Served, lives: Lives) -> float:
    """Facility energy of a mean prompt per second of taking it in: tells when in a life its energy is drawn, not how much
    it is. Otherwise a rush, in which all wait for all prompts, would seem to draw more than its servers can."""
    replica, mean = one.profile.replica, one.mean
    taking_in_s = replica.prefill_s(input_tokens=mean.input_tokens, cached_tokens=mean.cached_tokens)
    shared_s = math.fsum(map(lives.shared_s.__getitem__, one.rows))
    lived_s = math.fsum(lives.ends_s[row] - lives.begins_s[row] for row in one.rows)
    if not (taking_in_s > 0 and shared_s > 0):
        return 0.0
    running = replica.running(mean, max(lived_s / shared_s, 1.0))
    prefill_it_j = replica.share_j(running, dataclasses.replace(mean, output_tokens=0), 0.0)[1]
    return prefill_it_j / taking_in_s * rates(one.deployment).pue.value


class OverTime(NamedTuple):
    """Energy over time of all requests with the same interval."""

    within: Spread
    sums: Spreading


class Charging:
    """Estimates every request once and adds it to its line and to the series."""

    def __init__(self, trace: Trace, by: By, at: Grid) -> None:
        self.at = at
        self.methods: Counter[str] = Counter()
        self._trace, self._by = trace, by
        self._accounts = Accounts()
        self._over_time: dict[int, OverTime] = {}
        """By the identity of the spread: a profile has one for each case."""
        self._is_simulated = trace.durations_s is None

    def charge(self, one: Served, lives: Lives, number: int, tick: Tick) -> None:
        """Estimate the rows of one deployment, with the time and the concurrency of their lives."""
        trace, keys, charge = self._trace, self._keys(number), self._accounts.charge
        estimate, over_time, methods = one.profile.estimate, self._over_time, self.methods
        replicas = one.deployment.replicas_count if self._is_simulated else 1
        within = _Within(one.deployment)
        begins_s, ends_s, shared_s = lives.begins_s, lives.ends_s, lives.shared_s
        prefills_s, prefills_end_s, prefill_w = lives.prefills_s, lives.prefills_end_s, _prefill_w(one, lives)
        # Prompts without any answer have no mean answer to be like; each is then its own mean.
        mean = one.mean if one.mean.output_tokens else None
        for done, row in enumerate(one.rows, 1):
            fresh, cached, made = trace.input_tokens[row], trace.cached_tokens[row], trace.output_tokens[row]
            begin_s, end_s = begins_s[row], ends_s[row]
            count = (end_s - begin_s) / shared_s[row] if shared_s[row] > 0 else 1.0
            footprint = estimate(
                Usage(input_tokens=fresh, output_tokens=made, cached_tokens=cached, source="upstream"),
                Observation(elapsed_s=end_s - begin_s, concurrency_count=count * replicas, mix=mean),
            )
            if isinstance(footprint, Footprint):
                method, spread = footprint.method, footprint.spread
                if method == "observed" and self._is_simulated:
                    method, spread = "loaded", within.of(count)
                methods[method] += 1
                charge(
                    keys(row),
                    fresh,
                    cached,
                    made,
                    integers(
                        footprint.it_j,
                        footprint.facility_j,
                        footprint.onsite_l,
                        footprint.offsite_l,
                        footprint.carbon_g,
                        spread,
                    ),
                )
                spreading = over_time.get(id(spread))
                if spreading is None:
                    spreading = over_time[id(spread)] = OverTime(spread, Spreading(self.at))
                prefill_s, energy_j = prefills_s[row], footprint.facility_j
                prefill_j = min(prefill_w * prefill_s, energy_j)
                spreading.sums.add(prefills_end_s[row] - prefill_s, prefills_end_s[row], prefill_j)
                spreading.sums.add(begin_s, end_s, energy_j - prefill_j)
            else:
                charge(keys(row), fresh, cached, made, None)
            if done % TICK_ROWS == 0:
                tick(done, done / len(one.rows))

    def _keys(self, number: int) -> Callable[[int], int]:
        """The line of a row."""
        trace = self._trace
        if self._by == "user":
            return trace.users.__getitem__
        if self._by == "hour":
            times_s, origin_s = trace.times_s, trace.origin_s
            return lambda row: int((origin_s + times_s[row]) // HOUR_S)
        return lambda row: number

    def lines(self, models: list[str]) -> list[Line]:
        """The lines: hours in their order, others by their energy, largest first."""
        found = [line(self._name(key, models), sums) for key, sums in sorted(self._accounts.lines().items())]
        return found if self._by == "hour" else sorted(found, key=lambda one: (-one.energy_microjoules, one.key))

    def _name(self, number: int, models: list[str]) -> str:
        if self._by != "hour":
            return self._trace.user_names[number] if self._by == "user" else models[number]
        if self._trace.is_epoch:
            return f"{moment(number * HOUR_S):%Y-%m-%d %H:00}"
        return f"hour {number}"

    def series(
        self, requests: Line, idle: Line | None, idle_j: list[float], means: list[float], peaks: list[int]
    ) -> Series:
        """Energy over time, as integers that add up to the lines."""
        parts = [(each.within, each.sums.sums()) for each in self._over_time.values()]
        empty = [0.0] * self.at.bins_count

        def summed(multiplier: Callable[[Spread], float]) -> list[float]:
            columns = [[joules * multiplier(within) for joules in sums] for within, sums in parts] or [empty]
            return [math.fsum(bins) for bins in zip(*columns, strict=True)]

        return Series(
            at=self.at,
            energy_microjoules=whole(summed(lambda within: 1.0), requests.energy_microjoules),
            energy_low_microjoules=whole(summed(lambda within: within.energy_low), requests.energy_low_microjoules),
            energy_high_microjoules=whole(summed(lambda within: within.energy_high), requests.energy_high_microjoules),
            idle_microjoules=whole(empty if idle is None else idle_j, 0 if idle is None else idle.energy_microjoules),
            mean_in_flight=means,
            most_in_flight=peaks,
        )
