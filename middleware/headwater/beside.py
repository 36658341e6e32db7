"""Addenda -> what receipts and estimates show beside a footprint, as JSON values and as lines. Pure formatting.

Each is a line of its own, never added to another. What is not known has a reason in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headwater.records import Addenda, Bounds, Deployment, Footprint
from headwater.units import J_PER_KWH, UL_PER_L

_IN_FULL: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One line: the name of an amount in Addenda, its name and unit where it is shown, and a word for people."""

    name: str
    shown: str
    unit: str
    per: float
    words: str


_LINES: Final = (
    _Line(name="onsite_withdrawal_l", shown="water_onsite_withdrawal_ul", unit="uL", per=UL_PER_L, words="withdrawn at the site"),
    _Line(name="offsite_withdrawal_l", shown="water_offsite_withdrawal_ul", unit="uL", per=UL_PER_L, words="withdrawn at power stations"),
    _Line(name="embodied_water_l", shown="water_embodied_ul", unit="uL", per=UL_PER_L, words="share of the making of the server, in water"),
    _Line(name="market_g", shown="carbon_market_g", unit="g", per=1.0, words="operation by the operator's contracts (market-based)"),
    _Line(name="embodied_g", shown="carbon_embodied_g", unit="g", per=1.0, words="share of the making of the server"),
    _Line(name="training_it_kwh", shown="training_it_j", unit="J", per=J_PER_KWH, words="share of the training, in energy"),
    _Line(name="training_onsite_l", shown="training_water_onsite_ul", unit="uL", per=UL_PER_L, words="share of the training, water on-site"),
    _Line(name="training_water_l", shown="training_water_ul", unit="uL", per=UL_PER_L, words="share of the training, in water"),
    _Line(name="training_carbon_g", shown="training_carbon_g", unit="g", per=1.0, words="share of the training"),
    _Line(name="training_cost_usd", shown="training_cost_usd", unit="USD", per=1.0, words="share of the training, in money"),
)  # fmt: skip


def as_json(found: Addenda) -> dict[str, Any]:
    """Every line that is known, with low and high, and a reason for every one that is not. Training only where asked for."""
    reasons = dict(found.reasons)
    lines: dict[str, Any] = {}
    for line in _LINES:
        amount: Bounds | None = getattr(found, line.name)
        if amount is not None:
            lines[line.shown] = amount.value * line.per
            lines[f"{line.shown}_range"] = [amount.low * line.per, amount.high * line.per]
        elif line.name in reasons:
            lines[line.shown] = None
            lines[f"{line.shown}_reason"] = reasons[line.name]
    return lines


def energy_parts(footprint: Footprint) -> dict[str, Any]:
    """Where the facility's energy of a footprint went, in joules; parts that are not known apart are None.

    `host_j`: processors, memory, fans and supplies of the server. `idle_j`: None, as time without any request is no request's.
    """
    known = {step.name: step.value for step in footprint.steps}
    accelerator_j = known.get("accelerator_j")
    return {
        "accelerator_j": accelerator_j,
        "host_j": None if accelerator_j is None else footprint.it_j - accelerator_j,
        "overhead_j": footprint.facility_j - footprint.it_j,
        "idle_j": None,
    }


def sci(
    footprint: Footprint, found: Addenda, deployment: Deployment, *, grid_g_per_kwh: float | None = None
) -> dict[str, Any]:
    """The terms of ISO/IEC 21031 (Software Carbon Intensity) for one request: `(E * I + M) per R`.

    `grid_g_per_kwh`: carbon of the grid in the hour of the request, where it was known.
    """
    is_hourly = grid_g_per_kwh is not None and deployment.factors.carbon_g_per_kwh is None
    steps = {step.name: step.value for step in found.steps}
    e_kwh = footprint.facility_j / J_PER_KWH
    used = {step.name: step.value for step in footprint.steps}
    embodied = None if found.embodied_g is None else found.embodied_g.value
    return {
        "e_kwh": e_kwh,
        "i_g_per_kwh": used.get("grid_g_per_kwh"),
        "i_grid": deployment.grid.name,
        "i_year": None if is_hourly else deployment.grid.year or None,
        "i_method": "location-based, of the hour" if is_hourly else "location-based, average of the year",
        "m_g": embodied,
        "m_te_g": steps.get("server_embodied_g"),
        "m_tir_s": footprint.server_s,
        "m_el_s": steps.get("lifetime_s"),
        "m_utilisation": steps.get("utilisation_ratio"),
        "r": "request",
        "sci_g": None if embodied is None else steps["sci_g"],
    }


def as_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """The known lines of `as_json`, for people."""
    for line in _LINES:
        value = document.get(line.shown)
        if value is not None:
            low, high = document[f"{line.shown}_range"]
            around = "" if low == high else f" ({figure(low)} to {figure(high)})"
            yield f"  {figure(value)} {line.unit}{around}  {line.words}"


def sci_lines(terms: Mapping[str, Any]) -> Iterator[str]:
    """The sum of ISO/IEC 21031, for people; nothing where a term is not known."""
    if terms.get("sci_g") is not None:
        yield (
            f"  {figure(terms['sci_g'])} g  software carbon intensity (ISO/IEC 21031) per request: E {figure(terms['e_kwh'])} kWh"
            f" * I {figure(terms['i_g_per_kwh'])} g/kWh ({terms['i_method']}) + M {figure(terms['m_g'])} g"
        )


def figure(value: float) -> str:
    """A number for people: four significant digits, whole ones in full, no exponent above it."""
    return f"{value:,.0f}" if abs(value) >= _IN_FULL else f"{value:.4g}"
