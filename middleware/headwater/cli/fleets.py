"""A fleet's answer -> what `headwater fleet` prints and draws: a table, JSON, bars. Pure formatting."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any, Final

from headwater import catalog
from headwater.bars import Bar, Bars, Panel
from headwater.derivations import as_lines
from headwater.fleet import Answer, Each, answer
from headwater.printable import printable
from headwater.records import Bounds, Site
from headwater.tables import SHORT_DIGITS, aligned, rule, short, significant, widths
from headwater.units import KWH_PER_MWH, L_PER_M3

VERSION: Final = 1
_WIDTH: Final = 100
_HEAD: Final = ("", "central", "(low to high)")
# An interval that spans less than half of its low deserves a third digit; one of less than a hundredth, five.
_NARROW_RATIO: Final = 1.5
_THIN_RATIO: Final = 1.01
_SETS: Final = ("seed-2023", "li-2023", catalog.CURRENT_FACTORS)
"""The factor sets that are drawn side by side."""
_BY_PUBLISHED_WUE: Final = "li-2023"


def as_table(made: Answer) -> str:
    """What was asked, the amounts with low and high, what is not known and why, and the remarks."""
    body = [_row(label, amount) for label, amount in _amounts(made) if amount is not None]
    wide = widths([_HEAD, *body])
    by_reason: dict[str, list[str]] = {}
    for name, why in made.reasons.items():
        by_reason.setdefault(why, []).append(name)
    unknown = [f"unknown {', '.join(names)}: {why}" for why, names in by_reason.items()]
    said = [
        line
        for one in (*unknown, *made.notes)
        for line in textwrap.wrap(one, _WIDTH, initial_indent="- ", subsequent_indent="  ")
    ]
    table = [aligned(_HEAD, wide), rule(wide), *(aligned(row, wide) for row in body)]
    return "\n".join(map(printable, [*_asked(made), "", *table, *([""] if said else []), *said]))


def _asked(made: Answer) -> Iterator[str]:
    fleet, at = made.fleet, made.fleet.deployment
    load = made.load_ratio
    doubt = "" if load.low == load.high else f" ({load.low:g} to {load.high:g})"
    yield (
        f"fleet       {made.accelerators_count:,} accelerators in {made.servers_count:,} servers {at.hardware.name}, "
        f"{fleet.hours:g} h, load {load.value:g}{doubt}"
    )
    if fleet.model is not None:
        flight = "the engine's usual number" if fleet.concurrency is None else f"{fleet.concurrency:g}"
        yield (
            f"serves      {at.model.name} ({at.precision}), {at.replicas_count:,} copies on {at.accelerators_count:,} "
            f"accelerators each, {at.engine.name}, in flight on each: {flight}"
        )
        yield f"request     {fleet.input_tokens:,} tokens in, {fleet.output_tokens:,} out"
    yield f"site        {at.site.name} (grid {at.grid.name})"
    yield f"factors     {at.factors.name} ({at.factors.document_hash}), hydro={at.factors.hydro}, wue={made.wue_basis}"


def _amounts(made: Answer) -> Iterator[tuple[str, Bounds | None]]:
    yield "IT power, kW", made.power_kw
    yield "IT energy, kWh", made.it_energy_kwh
    yield "facility energy, kWh", made.facility_energy_kwh
    yield "water on-site, L", made.water_onsite_l
    yield "water off-site, L", made.water_offsite_l
    yield "water, L", made.water_l
    yield "CO2e, kg", made.carbon_kg
    yield f"servers, {made.currency}", made.capital_cost
    yield "CO2e of making them, kg", made.embodied_kg
    yield "  of it in these hours, kg", made.embodied_share_kg
    yield "requests", made.requests
    yield "input tokens", made.input_tokens
    yield "output tokens", made.output_tokens
    if made.capacity is not None and made.capacity.requests != made.requests:
        yield "capacity by throughput, requests", made.capacity.requests
        yield "capacity by throughput, output tokens", made.capacity.output_tokens
    for what, each in (
        ("request", made.per_request),
        ("visit", made.per_visit),
        ("asked request", made.per_asked_request),
    ):
        if each is not None:
            yield f"per {what}, Wh", each.energy_wh
            yield f"per {what}, mL", each.water_ml
            yield f"per {what}, g CO2e", each.carbon_g
    yield "asked requests over those served", made.asked_ratio


def _row(label: str, amount: Bounds) -> tuple[str, str, str]:
    if amount.low == amount.high:
        return label, short(Decimal(amount.value)), ""
    digits = SHORT_DIGITS if amount.high <= amount.low * _NARROW_RATIO else SHORT_DIGITS - 1
    if amount.high <= amount.low * _THIN_RATIO:
        digits = SHORT_DIGITS + 2
    value, low, high = (
        short(significant(Decimal(one), digits), digits) for one in (amount.value, amount.low, amount.high)
    )
    return label, value, f"({low} to {high})"


def as_steps(made: Answer) -> str:
    """The derivation, as receipts print it."""
    return "\n".join(["", "Derivation", *as_lines(_steps(made))])


def _steps(made: Answer) -> list[dict[str, Any]]:
    return [asdict(step) | {"inputs": dict(step.inputs)} for step in made.steps]


def as_json(made: Answer, *, steps: bool) -> dict[str, Any]:
    """All numbers as they are, unrounded; beside each its range. What is not known is null, and `reasons` says why."""
    fleet, at = made.fleet, made.fleet.deployment
    known = None if fleet.model is None else at
    return {
        "v": VERSION,
        "accelerators": made.accelerators_count,
        "accelerators_asked": fleet.accelerators,
        "servers": made.servers_count,
        "hardware": at.hardware.name,
        "hours": fleet.hours,
        **_ranged("load_ratio", made.load_ratio),
        **_ranged("power_kw", made.power_kw),
        **_ranged("it_energy_kwh", made.it_energy_kwh),
        **_ranged("facility_energy_kwh", made.facility_energy_kwh),
        **_ranged("capital_cost", made.capital_cost),
        "currency": made.currency,
        **_ranged("water_onsite_l", made.water_onsite_l),
        **_ranged("water_offsite_l", made.water_offsite_l),
        **_ranged("water_l", made.water_l),
        **_ranged("carbon_kg", made.carbon_kg),
        **_ranged("embodied_kg", made.embodied_kg),
        **_ranged("embodied_share_kg", made.embodied_share_kg),
        **_ranged("requests", made.requests),
        **_ranged("input_tokens", made.input_tokens),
        **_ranged("output_tokens", made.output_tokens),
        "capacity": None
        if made.capacity is None
        else {
            **_ranged("requests", made.capacity.requests),
            **_ranged("input_tokens", made.capacity.input_tokens),
            **_ranged("output_tokens", made.capacity.output_tokens),
        },
        "per_request": _each(made.per_request),
        "visits": fleet.visits,
        "per_visit": _each(made.per_visit),
        "asked_requests": made.asked_requests,
        "per_asked_request": _each(made.per_asked_request),
        **_ranged("asked_ratio", made.asked_ratio),
        "model": known and known.model.name,
        "precision": known and known.precision,
        "engine": known and known.engine.name,
        "replicas": known and known.replicas_count,
        "accelerators_per_replica": known and known.accelerators_count,
        "tokens": None if known is None else {"input": fleet.input_tokens, "output": fleet.output_tokens},
        "concurrency": fleet.concurrency,
        "method": made.method,
        "site": at.site.name,
        "grid": at.grid.name,
        "factors": at.factors.name,
        "factors_hash": at.factors.document_hash,
        "hydro": at.factors.hydro,
        "wue_basis": made.wue_basis,
        "reasons": dict(made.reasons),
        "notes": list(made.notes),
        **({"derivation": _steps(made)} if steps else {}),
    }


def _ranged(name: str, amount: Bounds | None) -> dict[str, Any]:
    if amount is None:
        return {name: None, f"{name}_range": None}
    return {name: amount.value, f"{name}_range": [amount.low, amount.high]}


def _each(each: Each | None) -> dict[str, Any] | None:
    if each is None:
        return None
    return {
        **_ranged("energy_wh", each.energy_wh),
        **_ranged("water_ml", each.water_ml),
        **_ranged("carbon_g", each.carbon_g),
    }


def as_bars(made: Answer) -> Bars:
    """Energy and water of this fleet under the factor sets side by side; the one asked for first, if it is none of them."""
    own = made.fleet.deployment.factors
    sets = _SETS if own.name in _SETS else (own.name, *_SETS)
    answers = [(name, made if name == own.name else _under(made, name)) for name in sets]
    at = made.fleet.deployment
    return Bars(
        title=f"{made.accelerators_count:,} accelerators in {made.servers_count:,} servers {at.hardware.name}",
        subtitle=f"{made.fleet.hours:g} hours at {at.site.name} (grid {at.grid.name}), under each factor set",
        panels=(
            Panel(title="Facility energy", unit="MWh", bars=tuple(_energy(name, one) for name, one in answers)),
            Panel(title="Water", unit="m³", bars=tuple(_water(name, one) for name, one in answers)),
        ),
    )


def _under(made: Answer, name: str) -> Answer | str:
    """The same fleet under another factor set; or why that cannot be."""
    if name == _BY_PUBLISHED_WUE and not _publishes(made.fleet.deployment.site):
        return "the site publishes no WUE"
    try:
        return answer(replace(made.fleet, factors=name))
    except ValueError as error:
        return str(error)


def _publishes(site: Site) -> bool:
    return site.wue_method == "reported"


def _energy(name: str, one: Answer | str) -> Bar:
    if isinstance(one, str):
        return Bar(label=name, value=None, reason=one)
    low, value, high = (part / KWH_PER_MWH for part in _ends(one.facility_energy_kwh))
    return Bar(label=_label(name, one), value=value, low=low, high=high)


def _water(name: str, one: Answer | str) -> Bar:
    if isinstance(one, str):
        return Bar(label=name, value=None, reason=one)
    low, value, high = (part / L_PER_M3 for part in _ends(one.water_l))
    parts = (("on-site", one.water_onsite_l.value / L_PER_M3), ("off-site", one.water_offsite_l.value / L_PER_M3))
    return Bar(label=_label(name, one), value=value, low=low, high=high, parts=parts)


def _ends(amount: Bounds) -> tuple[float, float, float]:
    return amount.low, amount.value, amount.high


def _label(name: str, one: Answer) -> str:
    return f"{name}, load {one.load_ratio.value:g}"
