"""Cases and their answers -> what `headwater estimate` prints: a table for people, JSON for programs. Pure formatting."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from headwater import beside, catalog
from headwater.cases import Case
from headwater.derivations import as_lines, steps_of
from headwater.physics.rates import rates
from headwater.receipts import deployment_facts
from headwater.records import Footprint, Unknown
from headwater.tables import SHORT_DIGITS, aligned, rule, short, significant, widths
from headwater.units import J_PER_WH, ML_PER_L, S_PER_MS

Answers = Sequence[tuple[Case, Footprint | Unknown]]
VERSION: Final = 1
_HEAD: Final = (
    "model",
    "runs as",
    "in flight",
    "energy Wh",
    "(low to high)",
    "water mL",
    "(low to high)",
    "CO2e g",
    "(low to high)",
    "method",
)
# An interval that spans less than half of its low deserves a third digit.
_NARROW_RATIO: Final = 1.5


def as_table(answers: Answers) -> str:
    """What was assumed, then a row per model in the order given. No more digits than the interval deserves."""
    body = [_cells(*answer) for answer in answers]
    wide = widths([_HEAD, *body])
    lines = [*_assumed(answers), "", aligned(_HEAD, wide), rule(wide), *(aligned(row, wide) for row in body)]
    return "\n".join(lines)


def _assumed(answers: Answers) -> list[str]:
    case, _ = answers[0]
    at = case.deployment
    is_believed = any(case.disbelieved() is None for case, _ in answers)
    others = "; others use it too, unseen" if at.hosting == "hosted" else ""
    copies = "" if at.replicas_count == 1 else f", {at.replicas_count} replicas"
    lines = [f"request     {request_words(case, is_believed=is_believed)}"]
    if at.factors.flat_it_j_per_request is None:
        lines += [
            f"served by   {at.hardware.name}, {at.engine.name}{copies}{others}",
            f"in flight   {in_flight(case, is_believed=is_believed)}",
        ]
    return [
        *lines,
        f"site        {at.site.name} (grid {at.grid.name}){_hour(case)}",
        f"factors     {at.factors.name}, hydro={at.factors.hydro}, wue={rates(at).onsite.word}",
    ]


def request_words(case: Case, *, is_believed: bool = True) -> str:
    """The request itself, in words."""
    cached = "" if case.cached_tokens is None else f" ({case.cached_tokens:,} cached)"
    request = [f"{case.input_tokens:,} tokens in{cached}", f"{case.output_tokens:,} out"]
    request += [f"{case.images:,} pictures in the prompt"] if case.images else []
    unused = "" if is_believed else ", which is not believed"
    request += [f"{case.observed_s:g} s seen{unused}"] if case.observed_s is not None else []
    return ", ".join(request)


def _hour(case: Case) -> str:
    """The figures of the hour, where they were given."""
    grid, wet_bulb = case.grid_g_per_kwh, case.wet_bulb_c
    told = [] if grid is None else [f"{grid:g} g CO2e per kWh"]
    told += [] if wet_bulb is None else [f"wet bulb {wet_bulb:g} degrees Celsius"]
    return f"; in that hour {' and '.join(told)}" if told else ""


def in_flight(case: Case, *, is_believed: bool = True) -> str:
    """How many requests were in flight at once, and how that is known."""
    if case.itl_s is not None and is_believed:
        return f"inferred from the pace of the tokens, {case.itl_s / S_PER_MS:g} ms each"
    pace = "" if case.itl_s is None else f"; the pace of the tokens, {case.itl_s / S_PER_MS:g} ms each, is not believed"
    if case.concurrency is not None:
        return f"{case.concurrency:g}, as given{pace}"
    is_own = case.observed_s is not None and is_believed
    taken = "the whole time counts as this request's own" if is_own else "the engine's usual number"
    return f"not given: {taken}{pace}"


def _cells(case: Case, answer: Footprint | Unknown) -> list[str]:
    at = case.deployment
    runs_as = f"{at.accelerators_count}x {at.precision}"
    if isinstance(answer, Unknown):
        return [at.model.name, runs_as, "", "unknown", "", "unknown", "", "unknown", "", answer.reason]
    if answer.method == "flat":
        runs_as = ""
    within, count = answer.spread, _known(answer, "concurrency_count")
    return [
        at.model.name,
        runs_as,
        "" if count is None else f"{count:.3g}",
        *with_range(answer.facility_j / J_PER_WH, within.energy_low, within.energy_high),
        *with_range(answer.water_l * ML_PER_L, within.water_low, within.water_high),
        *with_range(answer.carbon_g, within.carbon_low, within.carbon_high),
        answer.method,
    ]


def with_range(value: float, low_ratio: float, high_ratio: float) -> tuple[str, str]:
    """An amount and its interval, with no more digits than that deserves."""
    digits = SHORT_DIGITS if high_ratio <= low_ratio * _NARROW_RATIO else SHORT_DIGITS - 1
    shown, low, high = (
        short(significant(Decimal(amount), digits), digits) for amount in (value, value * low_ratio, value * high_ratio)
    )
    return shown, f"({low} to {high})"


def _known(answer: Footprint, name: str) -> float | None:
    return next((step.value for step in answer.steps if step.name == name), None)


def as_steps(case: Case, answer: Footprint | Unknown) -> str:
    """The derivation of one answer and of what stands beside it, as receipts print them."""
    found = case.addenda()
    if isinstance(answer, Unknown) or found is None:
        return ""
    lines = ["", f"Derivation of {answer.model}", *as_lines(steps_of(answer))]
    terms = beside.sci(answer, found, case.deployment, grid_g_per_kwh=case.grid_g_per_kwh)
    aside = [*beside.as_lines(beside.as_json(found)), *beside.sci_lines(terms)]
    if aside:
        lines += ["", f"Beside {answer.model}, no part of it, and not to be added up", *aside]
        lines += as_lines(steps_of(found))
    return "\n".join(lines)


def as_json(answers: Answers, *, steps: bool) -> dict[str, Any]:
    """All numbers as they are, unrounded, in J, L and g; an estimate per model in the order given."""
    return {"v": VERSION, "estimates": [document(*answer, steps=steps) for answer in answers]}


def document(case: Case, answer: Footprint | Unknown, *, steps: bool) -> dict[str, Any]:
    """One estimate of `as_json`."""
    at = case.deployment
    asked = {
        "model": at.model.name,
        "tokens": {"input": case.input_tokens, "cached": case.cached_tokens, "output": case.output_tokens},
        "images": case.images,
        "observed_s": case.observed_s,
        "itl_s": case.itl_s,
        "grid_g_per_kwh": case.grid_g_per_kwh,
        "wet_bulb_c": case.wet_bulb_c,
    }
    known = answer if isinstance(answer, Footprint) else None
    rest = {"deployment": deployment_facts(at, catalog.deployment_hash(at), known), "warnings": list(case.warnings())}
    if isinstance(answer, Unknown):
        return {**asked, "reason": answer.reason, **rest}
    within = answer.spread
    return {
        **asked,
        "concurrency": _known(answer, "concurrency_count"),
        "method": answer.method,
        "it_j": answer.it_j,
        **_amount("energy_j", answer.facility_j, within.energy_low, within.energy_high),
        **_amount("water_l", answer.water_l, within.water_low, within.water_high),
        "water_onsite_l": answer.onsite_l,
        "water_offsite_l": answer.offsite_l,
        **_amount("carbon_g", answer.carbon_g, within.carbon_low, within.carbon_high),
        **_aside(case, answer),
        **rest,
        **({"derivation": steps_of(answer)} if steps else {}),
    }


def _aside(case: Case, answer: Footprint) -> dict[str, Any]:
    found = case.addenda()
    if found is None:
        return {}
    return {
        "energy_parts": beside.energy_parts(answer),
        "beside": beside.as_json(found),
        "sci": beside.sci(answer, found, case.deployment, grid_g_per_kwh=case.grid_g_per_kwh),
    }


def _amount(name: str, value: float, low_ratio: float, high_ratio: float) -> dict[str, Any]:
    return {name: value, f"{name}_range": [value * low_ratio, value * high_ratio]}
