"""What is known, from where, since when: models, hardware, engines, sites, grids and factor sets, as dated figures.

The figures stand in the TOML files of this folder. Reads them once, strictly; computes nothing.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, Literal, TypeVar, get_args

from headwater.catalog.decode import decode
from headwater.catalog.documents import deployment_document, deployment_from_document, deployment_hash
from headwater.errors import CatalogError
from headwater.records import Deployment, EngineSpec, FactorSet, Grid, HardwareSpec, Hydro, ModelSpec, Site

__all__ = [
    "CURRENT_FACTORS",
    "deployment",
    "deployment_document",
    "deployment_from_document",
    "deployment_hash",
    "engine",
    "factor_set",
    "grid",
    "hardware",
    "model",
    "names",
    "site",
]

Kind = Literal["models", "hardware", "engines", "sites", "grids", "factor_sets"]
Precision = Literal["bf16", "fp8", "int8", "int4"]
R = TypeVar("R")

CURRENT_FACTORS: Final = "current-2026.11"
"""The factor set that is used when none is named."""


@lru_cache(maxsize=256)
def model(name: str) -> ModelSpec:
    """The architecture of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("models", ModelSpec, name)


@lru_cache(maxsize=256)
def hardware(name: str) -> HardwareSpec:
    """The server of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("hardware", HardwareSpec, name)


@lru_cache(maxsize=256)
def engine(name: str) -> EngineSpec:
    """The serving engine of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("engines", EngineSpec, name)


@lru_cache(maxsize=256)
def site(name: str) -> Site:
    """The data centre or region of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("sites", Site, name)


@lru_cache(maxsize=256)
def grid(name: str) -> Grid:
    """The electricity of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("grids", Grid, name)


@lru_cache(maxsize=256)
def factor_set(name: str) -> FactorSet:
    """The factor set of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("factor_sets", FactorSet, name)


def names(kind: Kind) -> tuple[str, ...]:
    """All names of one kind, sorted."""
    if kind not in get_args(Kind):
        raise CatalogError(f"there is no catalog of {kind!r}; there are {', '.join(get_args(Kind))}")
    return tuple(sorted(_tables(kind)))


def deployment(
    *,
    model: str | ModelSpec,
    hardware: str | HardwareSpec,
    engine: str | EngineSpec,
    site: str | Site,
    accelerators: int | None = None,
    precision: Precision = "bf16",
    factors: str | FactorSet = CURRENT_FACTORS,
    hydro: Hydro | None = None,
    concurrency: float | None = None,
) -> Deployment:
    """All that an estimate depends on besides the request. Names are looked up; records are validated.

    `accelerators` is how many of the server's accelerators serve the model: all of them when None. `hydro` overrides
    the factor set's convention.
    """
    server = _named("hardware", HardwareSpec, hardware)
    place = _named("sites", Site, site)
    rules = _named("factor_sets", FactorSet, factors)
    count = server.accelerators_count if accelerators is None else accelerators
    made = Deployment(
        model=_named("models", ModelSpec, model),
        hardware=server,
        accelerators_count=count,
        precision=precision,
        engine=_named("engines", EngineSpec, engine),
        site=place,
        grid=grid(place.grid),
        factors=rules if hydro is None else replace(rules, hydro=hydro),
        concurrency_count=concurrency,
    )
    return deployment_from_document(deployment_document(made))


def _named(kind: Kind, record: type[R], given: str | R) -> R:
    return _entry(kind, record, given) if isinstance(given, str) else given


def _entry(kind: Kind, record: type[R], name: str) -> R:
    tables = _tables(kind)
    if name not in tables:
        close = get_close_matches(name, tables, n=3) or sorted(tables)
        raise CatalogError(f"{name!r} is not in the catalog of {kind}; close or known: {', '.join(close)}")
    return decode(record, {"name": name, **tables[name]}, at=f"{kind}.{name}")


@lru_cache(maxsize=8)
def _tables(kind: Kind) -> dict[str, dict[str, Any]]:
    return tomllib.loads(files(__name__).joinpath(f"{kind}.toml").read_text(encoding="utf-8"))
