"""Result -> text: an aligned table for people, JSON for programs. Units stand in the column heads; no printing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from headwater.replay.accounts import Line
from headwater.replay.columns import moment
from headwater.replay.run import Deployed, Result
from headwater.units import MICROGRAMS_PER_G, MICROJOULES_PER_J, MICROJOULES_PER_KWH, NANOLITRES_PER_L

_THOUSAND: Final = Decimal(1_000)
_PER_J: Final = Decimal(MICROJOULES_PER_J)
_PER_ML: Final = Decimal(NANOLITRES_PER_L) / _THOUSAND
_PER_G: Final = Decimal(MICROGRAMS_PER_G)
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit, and how many of the ledger's integers it holds."""

    unit: str
    size: Decimal


def scale(largest: int, smallest_unit: Decimal, units: Sequence[str]) -> Scale:
    """The unit in which a sum is a number of people's size; each unit is a thousand of the one before."""
    place = 0
    while place + 1 < len(units) and largest >= smallest_unit * _THOUSAND ** (place + 1):
        place += 1
    return Scale(units[place], smallest_unit * _THOUSAND**place)


def energy_scale(microjoules: int) -> Scale:
    """Wh, kWh or MWh."""
    return scale(microjoules, Decimal(MICROJOULES_PER_KWH) / _THOUSAND, ("Wh", "kWh", "MWh"))


def water_scale(nanolitres: int) -> Scale:
    """mL, L or m³."""
    return scale(nanolitres, _PER_ML, ("mL", "L", "m³"))


def carbon_scale(micrograms: int) -> Scale:
    """g, kg or t."""
    return scale(micrograms, _PER_G, ("g", "kg", "t"))


def short(value: Decimal) -> str:
    """Three significant digits for people, and no exponent."""
    if value == 0:
        return "0"
    places = max(0, 2 - value.adjusted())
    return f"{value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):,f}"


def length(seconds: float) -> str:
    """A stretch of time in words: `2 d 3 h`, `58 min 26 s`, `4.55 s`."""
    if seconds < _MINUTE_S:
        return f"{short(Decimal(seconds))} s"
    whole = round(seconds)
    parts = [
        (whole // _DAY_S, "d"),
        (whole % _DAY_S // _HOUR_S, "h"),
        (whole % _HOUR_S // _MINUTE_S, "min"),
        (whole % _MINUTE_S, "s"),
    ]
    first = next(place for place, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


# -- the words above and below ------------------------------------------------------------------------------------------


def when(result: Result) -> str:
    """From when, as far as the trace says."""
    if not result.trace.is_epoch:
        return ""
    zone = "UTC, as no zone is given" if result.trace.zone_is_missing else "UTC"
    return f" from {moment(result.trace.origin_s):%Y-%m-%d %H:%M:%S} ({zone})"


def place(one: Deployed) -> str:
    """A deployment in words."""
    made, many = one.deployment, one.deployment.replicas_count
    copies = f", {many} replicas" if many > 1 else ""
    return (
        f"{made.model.name} ({made.precision}) on {made.accelerators_count} of the {made.hardware.accelerators_count} "
        f"accelerators of {made.hardware.name}{copies}, {made.engine.name}, at {made.site.name}; factors "
        f"{made.factors.name}, hydro {made.factors.hydro}"
    )


def pace(result: Result) -> str:
    """Where the times come from, and what they are."""
    methods = ", ".join(f"{method} {count:,}" for method, count in sorted(result.methods.items()))
    told = (
        f"Durations are simulated, at most {result.deployed[0].most_count:,} in flight on a replica"
        if result.is_simulated
        else "Durations are the recorded ones"
    )
    waited = f", after waiting {length(result.mean_wait_s)}" if result.most_wait_s > 0 else ""
    return (
        f"{told} (method: {methods or 'none'}). A request takes {length(result.mean_service_s)} on average{waited}; "
        f"{short(Decimal(result.mean_in_flight))} are in flight on average, {result.most_in_flight:,} at most."
    )


def remarks(result: Result) -> list[str]:
    """What is left out, and what to be careful about."""
    trace = result.trace
    said = []
    if trace.bad_count:
        said.append(f"Bad rows left out: {trace.bad_count:,}, like {trace.bad_examples[0]}.")
    if result.unknown_models_count:
        said.append(f"Rows left out because the catalog does not have their model: {result.unknown_models_count:,}.")
    if result.requests.unknown_count:
        said.append(f"Requests without a footprint, which are in no sum of energy: {result.requests.unknown_count:,}.")
    if result.is_simulated and result.most_wait_s > max(result.mean_service_s, 1.0):
        said.append(
            f"Some requests waited {length(result.most_wait_s)}: in rushes this is too little hardware; see --replicas."
        )
    if result.idle is None:
        said.append("Idle servers are not counted: the factor set has a fixed energy per request.")
    return said


# -- the table ----------------------------------------------------------------------------------------------------------


def table(result: Result) -> list[list[str]]:
    """Head, lines, idle and total as cells."""
    total = result.total
    energy, water = energy_scale(total.energy_microjoules), water_scale(total.water_nanolitres)
    carbon = carbon_scale(total.carbon_micrograms)
    has_cached = total.cached_tokens > 0

    def cells(one: Line, name: str) -> list[str]:
        counts = [
            f"{one.requests_count:,}",
            f"{one.input_tokens:,}",
            f"{one.cached_tokens:,}",
            f"{one.output_tokens:,}",
        ]
        kept = counts if has_cached else [*counts[:2], counts[3]]
        return [
            name,
            *(kept if one.requests_count else ["" for _ in kept]),
            short(one.energy_microjoules / energy.size),
            _range(one.energy_low_microjoules, one.energy_high_microjoules, energy),
            short(one.water_nanolitres / water.size),
            _range(one.water_low_nanolitres, one.water_high_nanolitres, water),
            short(one.carbon_micrograms / carbon.size),
        ]

    cached = ["cached"] if has_cached else []
    head = [result.by, "requests", "input", *cached, "output", f"energy {energy.unit}", "(low to high)"]
    head += [f"water {water.unit}", "(low to high)", f"CO2e {carbon.unit}"]
    idle = [] if result.idle is None else [cells(result.idle, "(idle)")]
    return [head, *(cells(one, one.key) for one in result.lines), *idle, cells(total, "total")]


def _range(low: int, high: int, at: Scale) -> str:
    return f"({short(low / at.size)} to {short(high / at.size)})"


def as_table(result: Result) -> str:
    """An aligned table with an idle and a total line, and the words around it; plain text."""
    rows = table(result)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = "  ".join("-" * width for width in widths)
    head, *body, total = (_aligned(row, widths) for row in rows)
    above = [
        f"Replay of {result.trace.name}: {result.requests.requests_count:,} requests in {length(result.span_s)}{when(result)}"
    ]
    above += [place(one) for one in result.deployed] + [pace(result)]
    below = remarks(result)
    lines = [*above, "", head, rule, *body, rule, total, *([""] if below else []), *below]
    return "\n".join(lines) + "\n"


def _aligned(cells: list[str], widths: list[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip()


# -- JSON ---------------------------------------------------------------------------------------------------------------


def as_json(result: Result) -> str:
    """One object. Counts as numbers, quantities as exact decimals in strings; lines and idle add up to the total."""
    trace, series = result.trace, result.series
    start = moment(trace.origin_s).isoformat().replace("+00:00", "Z") if trace.is_epoch else None
    document = {
        "v": 1,
        "trace": {
            "name": trace.name,
            "requests": len(trace),
            "start": start,
            "zone_is_missing": trace.zone_is_missing,
            "span_s": result.span_s,
            "bad_rows_left_out": trace.bad_count,
            "unknown_models_left_out": result.unknown_models_count,
        },
        "deployments": [_deployment(one) for one in result.deployed],
        "durations": "simulated" if result.is_simulated else "recorded",
        "methods": result.methods,
        "in_flight": {"mean": result.mean_in_flight, "most": result.most_in_flight},
        "service_mean_s": result.mean_service_s,
        "waiting_s": {"mean": result.mean_wait_s, "most": result.most_wait_s},
        "by": result.by,
        "rows": [{result.by: one.key, **_values(one)} for one in result.lines],
        "requests": _values(result.requests),
        "idle": None if result.idle is None else _quantities(result.idle),
        "total": _values(result.total),
        "series": {
            "bin_s": series.at.width_s,
            "energy_j": _joules(series.energy_microjoules),
            "energy_low_j": _joules(series.energy_low_microjoules),
            "energy_high_j": _joules(series.energy_high_microjoules),
            "idle_j": None if result.idle is None else _joules(series.idle_microjoules),
            "in_flight_mean": [round(count, 6) for count in series.mean_in_flight],
            "in_flight_most": series.most_in_flight,
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _joules(bins: list[int]) -> list[str]:
    return [_exact(energy, _PER_J) for energy in bins]


def _exact(integer: int, per: Decimal) -> str:
    return f"{integer / per:f}"


def _deployment(one: Deployed) -> dict[str, Any]:
    made, mean = one.deployment, one.mean
    return {
        "model": made.model.name,
        "requests": one.requests_count,
        "hardware": made.hardware.name,
        "accelerators": made.accelerators_count,
        "replicas": made.replicas_count,
        "precision": made.precision,
        "engine": made.engine.name,
        "site": made.site.name,
        "factors": made.factors.name,
        "hydro": made.factors.hydro,
        "max_concurrency": one.most_count,
        "mean_input_tokens": mean.input_tokens,
        "mean_cached_tokens": mean.cached_tokens,
        "mean_output_tokens": mean.output_tokens,
        "mean_context_tokens": mean.context_tokens,
    }


def _values(one: Line) -> dict[str, int | str]:
    return {
        "requests": one.requests_count,
        "requests_without_footprint": one.unknown_count,
        "input_tokens": one.input_tokens,
        "cached_tokens": one.cached_tokens,
        "output_tokens": one.output_tokens,
        **_quantities(one),
    }


def _quantities(one: Line) -> dict[str, str]:
    return {
        "energy_j": _exact(one.energy_microjoules, _PER_J),
        "energy_low_j": _exact(one.energy_low_microjoules, _PER_J),
        "energy_high_j": _exact(one.energy_high_microjoules, _PER_J),
        "it_j": _exact(one.it_microjoules, _PER_J),
        "water_ml": _exact(one.water_nanolitres, _PER_ML),
        "water_low_ml": _exact(one.water_low_nanolitres, _PER_ML),
        "water_high_ml": _exact(one.water_high_nanolitres, _PER_ML),
        "water_onsite_ml": _exact(one.onsite_nanolitres, _PER_ML),
        "water_offsite_ml": _exact(one.offsite_nanolitres, _PER_ML),
        "carbon_g": _exact(one.carbon_micrograms, _PER_G),
        "carbon_low_g": _exact(one.carbon_low_micrograms, _PER_G),
        "carbon_high_g": _exact(one.carbon_high_micrograms, _PER_G),
    }
