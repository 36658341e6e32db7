"""A trace and what it runs on -> what it took: lives, estimates, sums, series. No I/O, no printing, no rounding of its own."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headwater.errors import TraceError
from headwater.physics.rates import rates
from headwater.records import Deployment, Mix
from headwater.replay.accounts import NUMBERS, By, Line, idle_line, idle_w, line, total
from headwater.replay.charging import Charging, Series
from headwater.replay.series import Grid, Spreading, grid, in_flight
from headwater.replay.serving import Plan, Served, assign
from headwater.replay.simulate import Lives, Spans, recorded, simulate
from headwater.replay.trace import Tick, Trace, no_tick
from headwater.units import LONGEST_S

Progress = Callable[[str], Tick]
"""Called with the name of a stage; gives who is told of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployment of a replay: what it served, and how."""

    deployment: Deployment
    requests_count: int
    most_count: int
    mean: Mix


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a trace took."""

    trace: Trace
    by: By
    deployed: list[Deployed]
    lines: list[Line]
    idle: Line | None
    """None: the factor set counts a fixed energy per request, and idle time is none of it."""
    requests: Line
    total: Line
    series: Series
    methods: dict[str, int]
    """Requests by the method of their estimate."""
    unknown_models_count: int
    """Rows left out because nobody knows their model."""
    span_s: float
    mean_service_s: float
    mean_wait_s: float
    most_wait_s: float
    mean_in_flight: float
    most_in_flight: int

    @property
    def is_simulated(self) -> bool:
        """The durations were computed here, not recorded."""
        return self.trace.durations_s is None


def quiet(stage: str) -> Tick:
    """Progress that tells nobody."""
    return no_tick


def replay(trace: Trace, plan: Plan, *, by: By = "model", progress: Progress = quiet) -> Result:
    """What a trace took on the deployments of a plan.

    Raises:
        TraceError: a row has a model that is not in the catalog, or the trace would not end within decades.
        CatalogError: the plan names an entry that the catalog does not have.
    """
    served, unknown_count = assign(trace, plan)
    lives = Lives(len(trace))
    spans = [_live(one, trace, lives, progress) for one in served]
    rows = served[0].rows if len(served) == 1 else sorted(row for one in served for row in one.rows)
    begins_s, ends_s = _of(lives.begins_s, rows), _of(lives.ends_s, rows)
    span_s = max(max(ends_s), trace.times_s[rows[-1]])
    if span_s > LONGEST_S:
        raise TraceError(
            f"{trace.name} would take {span_s:g} s on this hardware, which is more than {LONGEST_S:g} s; "
            "correct its tokens, or replay it on more --replicas"
        )
    charging = Charging(trace, by, grid(span_s))
    for number, one in enumerate(served):
        charging.charge(one, lives, number, progress("estimating"))
    idles = [_idle(one, span, span_s) for one, span in zip(served, spans, strict=True)]
    idle = None if any(found is None for found in idles) else _merged([found for found in idles if found])
    lines = charging.lines([one.name for one in served])
    requests = total(lines)
    waits_s = [begin_s - trace.times_s[row] for row, begin_s in zip(rows, begins_s, strict=True)]
    means, peaks = in_flight(begins_s, ends_s, charging.at)
    service_s = math.fsum(ends_s) - math.fsum(begins_s)
    return Result(
        trace=trace,
        by=by,
        deployed=[
            Deployed(deployment=one.deployment, requests_count=len(one.rows), most_count=one.most_count, mean=one.mean)
            for one in served
        ],
        lines=lines,
        idle=idle,
        requests=requests,
        total=requests if idle is None else total([requests, idle]),
        series=charging.series(requests, idle, _idle_w(served, spans, charging.at), means, peaks),
        methods=dict(charging.methods),
        unknown_models_count=unknown_count,
        span_s=span_s,
        mean_service_s=service_s / len(rows),
        mean_wait_s=math.fsum(waits_s) / len(rows),
        most_wait_s=max(waits_s),
        mean_in_flight=service_s / span_s if span_s > 0 else 0.0,
        most_in_flight=max(peaks),
    )


def _of(column: array[float], rows: Sequence[int]) -> array[float]:
    return column if len(rows) == len(column) else array("d", map(column.__getitem__, rows))


def _live(one: Served, trace: Trace, lives: Lives, progress: Progress) -> Spans:
    count = one.deployment.replicas_count
    if trace.durations_s is not None:
        return recorded(one.profile.replica, trace, one.rows, lives, replicas_count=count, tick=progress("ordering"))
    return simulate(
        one.profile.replica,
        one.mean,
        trace,
        one.rows,
        lives,
        replicas_count=count,
        most_count=one.most_count,
        tick=progress("simulating"),
    )


def _idle(one: Served, spans: Spans, span_s: float) -> Line | None:
    if one.deployment.factors.flat_it_j_per_request is not None:
        return None
    return idle_line(one.deployment, max(one.deployment.replicas_count * span_s - spans.replica_s(), 0.0))


def _merged(idles: list[Line]) -> Line:
    merged = total(idles)
    return line("idle", [getattr(merged, name) for name in NUMBERS])


def _idle_w(served: list[Served], spans: list[Spans], at: Grid) -> list[float]:
    """Facility energy of idle replicas per bin, in joules, before rounding."""
    sums = [0.0] * at.bins_count
    for one, span in zip(served, spans, strict=True):
        busy = Spreading(at)
        for begin_s, end_s, count in zip(span.begins_s, span.ends_s, span.replicas, strict=True):
            busy.add(begin_s, end_s, (end_s - begin_s) * count)
        power_w = idle_w(one.deployment) * rates(one.deployment).pue.value
        replicas = one.deployment.replicas_count
        for place, (length_s, busy_s) in enumerate(zip(at.lengths_s(), busy.sums(), strict=True)):
            sums[place] += max(length_s * replicas - busy_s, 0.0) * power_w
    return sums
