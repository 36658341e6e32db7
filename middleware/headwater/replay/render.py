"""Result -> text: an aligned table for people, JSON for programs. Units stand in the column heads; no printing."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from headwater.printable import printable
from headwater.replay.accounts import Line
from headwater.replay.columns import moment
from headwater.replay.run import Deployed, Result
from headwater.replay.scales import PER_G, PER_J, PER_ML, Scale, carbon_scale, energy_scale, length, short, water_scale
from headwater.replay.words import pace, place, remarks, when

# -- the table ----------------------------------------------------------------------------------------------------------


def table(result: Result) -> list[list[str]]:
    """Head, lines, idle and total as cells."""
    total = result.total
    every = [*result.lines, *([] if result.idle is None else [result.idle]), total]
    energy = energy_scale(*(one.energy_microjoules for one in every))
    water = water_scale(*(one.water_nanolitres for one in every))
    carbon = carbon_scale(*(one.carbon_micrograms for one in every))
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
    return [head, *(cells(one, printable(one.key)) for one in result.lines), *idle, cells(total, "total")]


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
        "notes": remarks(result),
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
    return [_exact(energy, PER_J) for energy in bins]


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
        "energy_j": _exact(one.energy_microjoules, PER_J),
        "energy_low_j": _exact(one.energy_low_microjoules, PER_J),
        "energy_high_j": _exact(one.energy_high_microjoules, PER_J),
        "it_j": _exact(one.it_microjoules, PER_J),
        "water_ml": _exact(one.water_nanolitres, PER_ML),
        "water_low_ml": _exact(one.water_low_nanolitres, PER_ML),
        "water_high_ml": _exact(one.water_high_nanolitres, PER_ML),
        "water_onsite_ml": _exact(one.onsite_nanolitres, PER_ML),
        "water_offsite_ml": _exact(one.offsite_nanolitres, PER_ML),
        "carbon_g": _exact(one.carbon_micrograms, PER_G),
        "carbon_low_g": _exact(one.carbon_low_micrograms, PER_G),
        "carbon_high_g": _exact(one.carbon_high_micrograms, PER_G),
    }
