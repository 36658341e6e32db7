"""The catalog -> one row per kind, or per entry of a kind with its main figures: for tables and for JSON. Pure formatting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from headwater import catalog
from headwater.cli.writing import number
from headwater.physics.onsite import onsite_water
from headwater.records import Claim, Factor, FactorSet, Grid, HardwareSpec, ModelSpec, Site
from headwater.units import BYTES_PER_GB

Row = dict[str, Any]
"""Column -> value; None where it is not known."""

_ABOUT: Final[Mapping[catalog.Kind, str]] = {
    "models": "architectures, and other names they are served under",
    "hardware": "servers and their accelerators",
    "engines": "serving engines: time model and its intervals",
    "sites": "data centres and regions: PUE and water",
    "grids": "electricity behind sites: water and carbon",
    "towers": "cooling by water",
    "curves": "published curves of WUE over the wet-bulb temperature",
    "technologies": "ways to generate electricity",
    "factor_sets": "rules and overrides that an estimate goes by",
    "trainings": "what is disclosed of models' training",
    "claims": "what the press articles of 2023 say, and the primary evidence",
    "reports": "ways in which upstreams report energy",
    "tokenizers": "how families of models make tokens of text",
    "scripts": "classes of characters, and the tokens that they make",
    "media": "what pictures and sound cost in tokens",
}
_DIGITS: Final = 4


def kinds_table() -> str:
    """The kinds with their counts and what they are about."""
    rows: list[Row] = [{"kind": kind, "entries": len(catalog.names(kind)), "about": _ABOUT[kind]} for kind in _ABOUT]
    return table(rows)


def listed(kind: catalog.Kind, *, operator: str | None = None) -> list[Row]:
    """A row per entry of a kind. `operator` leaves only sites whose operator or title contains it."""
    wanted = "" if operator is None else operator.lower()
    entries = (catalog.entry(kind, name) for name in catalog.names(kind))
    row = _ROWS.get(kind, _plain)
    return [row(entry) for entry in entries if kind != "sites" or wanted in f"{entry.operator} {entry.title}".lower()]


def table(rows: Sequence[Row]) -> str:
    """Rows under their columns: texts to the left, numbers to the right; columns that nobody fills are left out."""
    columns = [column for column in (rows[0] if rows else {}) if any(row[column] not in (None, "") for row in rows)]
    is_number = {column: all(isinstance(row[column], int | float | None) for row in rows) for column in columns}
    body = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    wide = [max(len(cells[place]) for cells in body) for place in range(len(columns))]
    body.insert(1, ["-" * width for width in wide])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_number[column] else cell.ljust(width)
            for column, cell, width in zip(columns, cells, wide, strict=True)
        ).rstrip()
        for cells in body
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return number(value, _DIGITS) if isinstance(value, int | float) else str(value)


def _plain(entry: Any) -> Row:
    return {"name": entry.name, "title": getattr(entry, "title", "")}


def _site(site: Site) -> Row:
    wue, basis = site.wue_l_per_it_kwh, str(site.wue_basis)
    if site.wue_method != "reported":
        rules = catalog.factor_set(catalog.CURRENT_FACTORS)
        wue, basis = onsite_water(site, rules).wue_l_per_it_kwh, f"computed: {site.wue_method}"
    return {
        "name": site.name,
        "operator": site.operator,
        "year": site.year,
        "grid": site.grid,
        "pue": site.pue.value,
        "wue_l_per_it_kwh": _value(wue),
        "wue_basis": basis,
        "title": site.title,
    }


def _grid(grid: Grid) -> Row:
    return {
        "name": grid.name,
        "year": grid.year,
        "carbon_g_per_kwh": grid.carbon_g_per_kwh.value,
        "ewif_hydro_include_l_per_kwh": grid.ewif_hydro_include_l_per_kwh.value,
        "ewif_hydro_exclude_l_per_kwh": grid.ewif_hydro_exclude_l_per_kwh.value,
        "title": grid.title,
    }


def _model(model: ModelSpec) -> Row:
    return {
        "name": model.name,
        "total_params_count": model.total_params_count,
        "active_params_count": model.active_params_count,
        "native_precision": model.native_precision,
        "uncertainty_ratio": model.uncertainty_ratio,
        "aliases_count": len(model.aliases),
    }


def _hardware(server: HardwareSpec) -> Row:
    memory = server.memory_bytes
    return {
        "name": server.name,
        "accelerators_count": server.accelerators_count,
        "memory_gb": None if memory is None else memory.value / BYTES_PER_GB,
        "accelerator_tdp_w": server.accelerator_tdp_w.value,
        "server_price_usd": _value(server.server_price_usd),
    }


def _factor_set(rules: FactorSet) -> Row:
    return {"name": rules.name, "hydro": rules.hydro, "hash": rules.document_hash, "title": rules.title}


def _claim(claim: Claim) -> Row:
    return {"name": claim.name, "value": claim.figure.value, "unit": claim.figure.unit, "says": claim.says}


def _value(factor: Factor | None) -> float | None:
    return None if factor is None else factor.value


_ROWS: Final[Mapping[catalog.Kind, Callable[[Any], Row]]] = {
    "sites": _site,
    "grids": _grid,
    "models": _model,
    "hardware": _hardware,
    "factor_sets": _factor_set,
    "claims": _claim,
}
