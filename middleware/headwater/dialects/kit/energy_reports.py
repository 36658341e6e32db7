"""Read what an upstream reports of its energy, in whichever dialect it speaks. Pure; knows units, no hardware, no plausibility.

Schemes: Neuralwatt's `energy{energy_joules,...}` in a reply, or in a comment of a stream; `usage.energy{joules,...}` and
the header `X-Energy-Data` of the Energy Disclosure Standard, a draft; GreenPT's `impact{energy{total,unit}}`; `energy_mj`
as proposed for Hugging Face TGI (pull request 3315); the header `X-Energy-Joules` of GreenJoules. Where a report has
several figures they must agree: joules are believed, and `slip` says which other figure is off, and by what.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from headwater.dialects.kit.lenient import any_json, string, within
from headwater.records import EnergyReport, Scheme, Told
from headwater.units import J_PER_KWH, J_PER_MILLIJOULE, J_PER_WH, UNIT_SLIP_RATIO

_MOST_J: Final = 1e12  # a power station's quarter of an hour: what is beyond is garbage
_MOST_HEADER_BYTES: Final = 1 << 12
_MOST_COMMENT_BYTES: Final = 1 << 16
_SAME_RATIO: Final = 2.0  # figures that are rounded to a few places differ by less
_J_PER_UNIT: Final[Mapping[str, float]] = {
    "Wms": J_PER_MILLIJOULE,
    "mJ": J_PER_MILLIJOULE,
    "Ws": 1.0,
    "J": 1.0,
    "Wh": J_PER_WH,
    "kWh": J_PER_KWH,
}
# Inside of a JSON string a quote has a backslash before it, so text that talks about energy has none of these.
_MEMBER: Final = re.compile(rb'"(?:energy|impact|energy_mj)"\s*:')
_COMMENT: Final = re.compile(rb"(?:^|[\r\n]):[ \t]*energy[ \t]*(\{[^\r\n]*)")

_Figures = Iterator[tuple[str, float]]
"""Each figure's unit and its joules, the most trustworthy first."""


class _Read(Protocol):
    @property
    def told(self) -> Told: ...

    @property
    def report(self) -> EnergyReport | None: ...


def told(of: _Read) -> Told:
    """All that a reply or a stream has told, its energy report with it."""
    report = of.report
    return of.told if report is None else replace(of.told, report=report)


def of_json(data: bytes) -> EnergyReport | None:
    """The report in a JSON reply or in an event's data. Bytes that have none are not parsed."""
    return of_object(any_json(data)) if _MEMBER.search(data) else None


def of_event(raw: bytes, data: bytes | None) -> EnergyReport | None:
    """The report in an event of a stream or in a comment beside it."""
    found = _COMMENT.search(raw) if b"energy" in raw else None
    if found is not None and len(found[1]) <= _MOST_COMMENT_BYTES:
        report = _energy(any_json(found[1]))
        if report is not None:
            return report
    return None if data is None else of_json(data)


def of_headers(*, joules: bytes, data: bytes, method: bytes) -> EnergyReport | None:
    """The report in the headers `X-Energy-Joules` (with `X-Energy-Method`) and `X-Energy-Data`; empty where there is none."""
    if len(joules) > _MOST_HEADER_BYTES or len(data) > _MOST_HEADER_BYTES:
        return None
    try:
        energy_j = _figure(float(joules)) if joules else None
    except ValueError:
        energy_j = None
    if energy_j is not None:
        is_measured = b"estimat" not in method.lower()
        return EnergyReport(energy_j=energy_j, scheme="x-energy-joules", is_measured=is_measured)
    return _energy(any_json(data)) if data else None


def of_object(found: Any) -> EnergyReport | None:
    """The report in a JSON value, whatever it is; None where there is none."""
    return (
        _energy(within(found, "energy"))
        or _energy(within(found, "usage", "energy"))
        or _greenpt(within(found, "impact", "energy"))
        or _greenpt(within(found, "usage", "impact", "energy"))
        or _tgi(found)
    )


def _energy(found: Any) -> EnergyReport | None:
    """Neuralwatt's object, or that of the draft: told apart by their members."""
    given = within(found)
    report = _agreed(_neuralwatt_figures(given), "neuralwatt")
    if report is not None:
        return _without_power(report, given)
    report = _agreed(_disclosure_figures(given), "energy-disclosure")
    # The draft asks for `source`; what does not say that it was measured may be anything.
    return None if report is None else replace(report, is_measured=given.get("source") == "measured")


def _greenpt(found: Any) -> EnergyReport | None:
    given = within(found)
    per_unit = _J_PER_UNIT.get(string(given.get("unit")))
    total = _figure(given.get("total"))
    energy_j = None if per_unit is None or total is None else _figure(total * per_unit)
    return None if energy_j is None else EnergyReport(energy_j=energy_j, scheme="greenpt")


def _tgi(found: Any) -> EnergyReport | None:
    for place in (within(found, "details"), within(found, "usage"), within(found)):
        total_mj = _figure(place.get("energy_mj"))
        energy_j = None if total_mj is None else _figure(total_mj * J_PER_MILLIJOULE)
        if energy_j is not None:
            return EnergyReport(energy_j=energy_j, scheme="tgi")
    return None


def _neuralwatt_figures(given: Mapping[str, Any]) -> _Figures:
    yield from _figures(given, ("energy_joules", "J", 1.0), ("energy_kwh", "kWh", J_PER_KWH))


def _disclosure_figures(given: Mapping[str, Any]) -> _Figures:
    yield from _figures(given, ("joules", "J", 1.0), ("wh", "Wh", J_PER_WH), ("kwh", "kWh", J_PER_KWH))


def _figures(given: Mapping[str, Any], *members: tuple[str, str, float]) -> _Figures:
    for name, unit, per_unit in members:
        figure = _figure(given.get(name))
        energy_j = None if figure is None else _figure(figure * per_unit)
        if energy_j is not None:
            yield unit, energy_j


def _agreed(figures: _Figures, scheme: Scheme) -> EnergyReport | None:
    """The first figure, and what is wrong with the others."""
    first = next(figures, None)
    if first is None:
        return None
    slips = [word for unit, energy_j in figures if (word := _slip(unit, energy_j / first[1]))]
    return EnergyReport(energy_j=first[1], scheme=scheme, slip=", ".join(slips))


def _without_power(report: EnergyReport, given: Mapping[str, Any]) -> EnergyReport:
    """The report, held against its own power and time: those of the whole server, or of the request's part of it."""
    power_w, time_s = _figure(given.get("avg_power_watts")), _figure(given.get("duration_seconds"))
    if power_w is None or time_s is None:
        return report
    part = _figure(given.get("attribution_ratio"))
    words = [_slip("W*s", power_w * time_s * each / report.energy_j) for each in (1.0, part) if each is not None]
    word = "" if "" in words else words[0]
    return replace(report, slip=", ".join(filter(None, (report.slip, word))))


def _slip(unit: str, ratio: float) -> str:
    """What is wrong with a figure that is so many times the one that is believed; "" where they agree."""
    if 1 / _SAME_RATIO <= ratio <= _SAME_RATIO:
        return ""
    if 1 / _SAME_RATIO <= ratio * UNIT_SLIP_RATIO <= _SAME_RATIO:
        return f"{unit} is 1000 times too small"
    if 1 / _SAME_RATIO <= ratio / UNIT_SLIP_RATIO <= _SAME_RATIO:
        return f"{unit} is 1000 times too large"
    return f"{unit} is another figure"


def _figure(value: Any) -> float | None:
    """A positive, finite number within reason; None for anything else. Nothing was ever served for nothing."""
    if type(value) not in (int, float) or not 0 < value <= _MOST_J:
        return None
    figure = float(value)
    return figure if math.isfinite(figure) and figure > 0 else None
