"""What a plot shows, before any drawing: curves in people's units, ticks, words. Two panels over one axis of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headwater.drawing import value_ticks
from headwater.replay.columns import moment
from headwater.replay.run import Result
from headwater.replay.scales import carbon_scale, energy_scale, length, short, water_scale
from headwater.units import MICROJOULES_PER_J

_TICK_STEPS_S: Final = (
    *(mantissa * scale for scale in (0.001, 0.01, 0.1, 1.0) for mantissa in (1, 2, 5)),
    *(10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800),
)
_MOST_TIME_TICKS: Final = 9
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel: an axis, its middle curve, and what lies around it, per bin."""

    title: str
    middle_name: str
    around_name: str
    middle: list[float]
    low: list[float]
    high: list[float]
    under: list[float] | None
    """A second quantity in the same unit, drawn as an area from zero."""
    under_name: str
    top: float
    ticks: list[tuple[float, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """All that is drawn. Times are seconds since the first arrival."""

    title: str
    subtitle: str
    edges_s: list[float]
    """Bins' edges; one more than there are bins."""
    time_ticks: list[tuple[float, str]]
    time_title: str
    power: Panel
    flight: Panel


def chart(result: Result) -> Chart:
    """The plot of a result: power of the requests with its interval, idle power beside it; and requests in flight."""
    series, at = result.series, result.series.at
    lengths_s = at.lengths_s()
    edges_s = [place * at.width_s for place in range(at.bins_count)]
    edges_s.append(edges_s[-1] + lengths_s[-1])
    bin_words = f"{at.width_s:g} s" if at.width_s < _MINUTE_S else length(at.width_s)
    time_title, time_ticks = _time_axis(result, edges_s[-1])
    return Chart(
        title=result.trace.name,
        subtitle=_subtitle(result),
        edges_s=edges_s,
        time_ticks=time_ticks,
        time_title=f"{time_title}; bins of {bin_words}",
        power=_power(result, lengths_s),
        flight=_panel(
            title="requests in flight",
            middle_name="mean",
            around_name="up to the most in a bin",
            middle=series.mean_in_flight,
            low=series.mean_in_flight,
            high=[max(most, mean) for most, mean in zip(series.most_in_flight, series.mean_in_flight, strict=True)],
        ),
    )


def _power(result: Result, lengths_s: Sequence[float]) -> Panel:
    series = result.series
    columns = [series.energy_microjoules, series.energy_low_microjoules, series.energy_high_microjoules]
    columns += [series.idle_microjoules]
    watts = [
        [energy / MICROJOULES_PER_J / length_s for energy, length_s in zip(column, lengths_s, strict=True)]
        for column in columns
    ]
    most_w = max(map(max, watts))
    place = min(max(int(math.log10(most_w) // 3), 0), 2) if most_w > 0 else 0
    size = 1000.0**place
    middle, low, high, idle = ([value / size for value in column] for column in watts)
    return _panel(
        title=f"facility power, {('W', 'kW', 'MW')[place]}",
        middle_name="requests",
        around_name="low to high",
        middle=middle,
        low=low,
        high=high,
        under=None if result.idle is None else idle,
        under_name="idle",
    )


def _panel(
    *,
    title: str,
    middle_name: str,
    around_name: str,
    middle: list[float],
    low: list[float],
    high: list[float],
    under: list[float] | None = None,
    under_name: str = "",
) -> Panel:
    ticks = value_ticks(max(max(high), max(under or [0.0])))
    return Panel(
        title=title,
        middle_name=middle_name,
        around_name=around_name,
        middle=middle,
        low=low,
        high=high,
        under=under,
        under_name=under_name,
        top=ticks[-1][0],
        ticks=ticks,
    )


def _time_axis(result: Result, span_s: float) -> tuple[str, list[tuple[float, str]]]:
    """Ticks at round times: of the day in UTC where the trace has dates, else since its start."""
    step_s = next((step for step in _TICK_STEPS_S if span_s / step <= _MOST_TIME_TICKS), None)
    if step_s is None:
        step_s = _DAY_S * math.ceil(span_s / _DAY_S / _MOST_TIME_TICKS)
    origin_s = result.trace.origin_s if result.trace.is_epoch else 0.0
    first = math.ceil(origin_s / step_s)
    at_s = [(first + number) * step_s for number in range(math.floor((origin_s + span_s) / step_s) - first + 1)]
    if not result.trace.is_epoch:
        unit, size = ("h", _HOUR_S) if span_s > 2 * _HOUR_S else ("min", 60) if span_s > 120 else ("s", 1)
        return f"{unit} since the first arrival", [(tick_s, f"{tick_s / size:g}") for tick_s in at_s]
    pattern = "%d %b" if step_s >= _DAY_S else "%H:%M" if step_s >= 60 else "%H:%M:%S"
    days = f"{moment(origin_s):%d %b %Y}"
    if moment(origin_s).date() != moment(origin_s + span_s).date():
        days += f" to {moment(origin_s + span_s):%d %b %Y}"
        pattern = pattern if step_s >= _DAY_S else f"%d %b, {pattern}" if step_s >= _DAY_S / 4 else pattern
    return f"UTC, {days}", [(tick_s - origin_s, f"{moment(tick_s):{pattern}}") for tick_s in at_s]


def _subtitle(result: Result) -> str:
    total = result.total
    energy, water = energy_scale(total.energy_microjoules), water_scale(total.water_nanolitres)
    carbon = carbon_scale(total.carbon_micrograms)
    low, high = total.energy_low_microjoules / energy.size, total.energy_high_microjoules / energy.size
    return (
        f"{result.requests.requests_count:,} requests: {short(total.energy_microjoules / energy.size)} {energy.unit} "
        f"({short(low)} to {short(high)}; {_idle_words(result)}), "
        f"{short(total.water_nanolitres / water.size)} {water.unit} of water, "
        f"{short(total.carbon_micrograms / carbon.size)} {carbon.unit} CO2e; "
        f"durations {'simulated' if result.is_simulated else 'recorded'}"
    )


def _idle_words(result: Result) -> str:
    whole = result.total.energy_microjoules
    if result.idle is None or not whole:
        return "idle time not counted"
    return f"{100 * result.idle.energy_microjoules / whole:.1f} % idle"
