"""What is known, from where, since when: models, hardware, engines, sites, grids and factor sets, as dated figures.

The figures stand in the TOML files of this folder. Reads them once, strictly; computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar

from headwater.catalog.decode import decode
from headwater.catalog.documents import deployment_document, deployment_from_document, deployment_hash
from headwater.catalog.doubts import doubts
from headwater.catalog.factor_hashes import factor_set_hash
from headwater.catalog.kinds import KINDS, Kind
from headwater.catalog.near import near
from headwater.catalog.placing import fewest_accelerators, holds, weights_bytes
from headwater.catalog.written import written
from headwater.errors import CatalogError
from headwater.records import (
    Claim,
    Deployment,
    EngineSpec,
    FactorSet,
    Grid,
    HardwareSpec,
    Hosting,
    Hydro,
    Media,
    ModelSpec,
    Precision,
    ReportScheme,
    Script,
    Site,
    Technology,
    Tokenizer,
    Tower,
    Training,
    TrainingShare,
    WetBulbCurve,
)

__all__ = [
    "CURRENT_FACTORS",
    "KINDS",
    "USUAL_ENGINES",
    "CatalogError",
    "Kind",
    "checked",
    "claim",
    "curve",
    "deployment",
    "deployment_document",
    "deployment_from_document",
    "deployment_hash",
    "doubts",
    "engine",
    "entry",
    "factor_set",
    "fewest_accelerators",
    "find",
    "grid",
    "hardware",
    "holds",
    "in_order",
    "media",
    "model",
    "model_name",
    "names",
    "near",
    "report_scheme",
    "report_schemes",
    "script",
    "site",
    "tables",
    "technology",
    "tokenizer",
    "tower",
    "training",
    "weights_bytes",
]

R = TypeVar("R")

CURRENT_FACTORS: Final = "current-2026.11"
"""The factor set that is used when none is named."""
USUAL_ENGINES: Final = {"gpu": "vllm-0.11", "cpu": "llama.cpp-cpu"}
"""The serving engine that is taken for a kind of hardware when none is named."""


@lru_cache(maxsize=256)
def model(name: str) -> ModelSpec:
    """The architecture of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("models", ModelSpec, name)


def model_name(served: str) -> str | None:
    """The entry that a served name means: itself, its part behind a vendor (`meta-llama/...`), or an alias; else None."""
    lowered = served.lower()
    known = _model_names()
    return next((known[name] for name in (lowered, lowered.rpartition("/")[2]) if name in known), None)


@lru_cache(maxsize=256)
def hardware(name: str) -> HardwareSpec:
    """The server of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("hardware", HardwareSpec, name)


@lru_cache(maxsize=256)
def engine(name: str) -> EngineSpec:
    """The serving engine of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("engines", EngineSpec, name)


@lru_cache(maxsize=512)
def site(name: str) -> Site:
    """The data centre or region of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("sites", Site, name)


@lru_cache(maxsize=512)
def grid(name: str) -> Grid:
    """The electricity of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("grids", Grid, name)


@lru_cache(maxsize=256)
def factor_set(name: str) -> FactorSet:
    """The factor set of that name, with its hash. Raises CatalogError with close matches when it is not known."""
    found = _entry("factor_sets", FactorSet, name)
    places = {kind: written(kind) for kind in ("sites", "grids")}
    return replace(found, document_hash=factor_set_hash(written("factor_sets")[name], places))


@lru_cache(maxsize=64)
def tower(name: str) -> Tower:
    """The cooling of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("towers", Tower, name)


@lru_cache(maxsize=64)
def curve(name: str) -> WetBulbCurve:
    """The published wet-bulb curve of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("curves", WetBulbCurve, name)


@lru_cache(maxsize=64)
def technology(name: str) -> Technology:
    """The way to generate electricity of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("technologies", Technology, name)


@lru_cache(maxsize=64)
def training(name: str) -> Training:
    """The training of the model of that name. Raises CatalogError with close matches when none is disclosed."""
    return _entry("trainings", Training, name)


@lru_cache(maxsize=64)
def claim(name: str) -> Claim:
    """The claim of the 2023 articles of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("claims", Claim, name)


@lru_cache(maxsize=64)
def report_scheme(name: str) -> ReportScheme:
    """The way of reporting energy of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("reports", ReportScheme, name)


def report_schemes() -> tuple[ReportScheme, ...]:
    """All known ways of reporting energy."""
    return tuple(map(report_scheme, names("reports")))


@lru_cache(maxsize=64)
def tokenizer(name: str) -> Tokenizer:
    """The tokenizer of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("tokenizers", Tokenizer, name)


@lru_cache(maxsize=64)
def script(name: str) -> Script:
    """The class of characters of that name. Raises CatalogError with close matches when it is not known."""
    return _entry("scripts", Script, name)


@lru_cache(maxsize=64)
def media(name: str) -> Media:
    """What pictures and sound cost under that name. Raises CatalogError with close matches when it is not known."""
    return _entry("media", Media, name)


def in_order(kind: Kind) -> tuple[str, ...]:
    """All names of one kind, in the order in which they are written."""
    return tuple(written(kind))


def names(kind: Kind) -> tuple[str, ...]:
    """All names of one kind, sorted."""
    if kind not in KINDS:
        raise CatalogError(f"there is no catalog of {kind!r}; there are {', '.join(KINDS)}")
    return tuple(sorted(written(kind)))


def entry(kind: Kind, name: str) -> Any:
    """The record of that kind and name. Raises CatalogError with close matches when it is not known."""
    readers: Mapping[Kind, Callable[[str], Any]] = {
        "models": model,
        "hardware": hardware,
        "engines": engine,
        "sites": site,
        "grids": grid,
        "towers": tower,
        "curves": curve,
        "technologies": technology,
        "factor_sets": factor_set,
        "trainings": training,
        "claims": claim,
        "reports": report_scheme,
        "tokenizers": tokenizer,
        "scripts": script,
        "media": media,
    }
    return readers[kind](name)


def find(name: str, kind: Kind | None = None) -> tuple[tuple[Kind, str], ...]:
    """Every kind that has an entry of that name, with the entry's own name in it: a model goes by its aliases too.

    Raises CatalogError, with close matches over all kinds (or the one given), when there is none.
    """
    kinds = KINDS if kind is None else (kind,)
    found = [(each, name) for each in kinds if name in names(each)]
    if "models" in kinds and ("models", name) not in found and (known := model_name(name)) is not None:
        found.insert(0, ("models", known))
    if not found:
        aliases = _model_names() if "models" in kinds else {}
        known_names = {each for of in kinds for each in names(of)}
        where = "the catalog" if kind is None else f"the catalog of {kind}"
        raise CatalogError(f"{name!r} is not in {where}; close or known: {near(name, known_names, aliases)}")
    return tuple(found)


def tables() -> dict[Kind, dict[str, dict[str, Any]]]:
    """All entries of all kinds as they are written: what `check` reads and a factor set's hash covers."""
    return {kind: written(kind) for kind in KINDS}


def deployment(
    *,
    model: str | ModelSpec,
    hardware: str | HardwareSpec,
    engine: str | EngineSpec,
    site: str | Site,
    accelerators: int | None = None,
    replicas: int = 1,
    attention_accelerators: int | None = None,
    precision: Precision | None = None,
    cache_precision: Literal["bf16", "fp8"] = "bf16",
    factors: str | FactorSet = CURRENT_FACTORS,
    hydro: Hydro | None = None,
    hosting: Hosting = "own",
    concurrency: float | None = None,
    grid: Grid | None = None,
    training: TrainingShare | None = None,
    reports: tuple[ReportScheme, ...] = (),
) -> Deployment:
    """All that an estimate depends on besides the request. Names are looked up; records are validated.

    `accelerators` is how many of the server's accelerators hold one copy of the model: all of them when None.
    `precision` is the one that the model was published in when None. `hydro` overrides the factor set's convention.
    `grid` is the site's own when None. `reports`: whose reports of energy are heard.
    """
    server = _named("hardware", HardwareSpec, hardware)
    place = _named("sites", Site, site)
    rules = factor_set(factors) if isinstance(factors, str) else factors
    count = server.accelerators_count if accelerators is None else accelerators
    spec = _named("models", ModelSpec, model)
    made = Deployment(
        model=spec,
        hardware=server,
        accelerators_count=count,
        replicas_count=replicas,
        attention_accelerators_count=attention_accelerators,
        precision=spec.native_precision if precision is None else precision,
        cache_precision=cache_precision,
        engine=_named("engines", EngineSpec, engine),
        site=place,
        grid=_entry("grids", Grid, place.grid) if grid is None else grid,
        factors=rules if hydro is None else replace(rules, hydro=hydro),
        hosting=hosting,
        concurrency_count=concurrency,
        training=training,
        reports=reports,
    )
    return deployment_from_document(deployment_document(made))


def checked(record: R, *, at: str) -> R:
    """A record that somebody made, if it obeys the rules of catalog entries. Raises CatalogError, naming where (`at`)."""
    return decode(type(record), asdict(record), at=at)  # type: ignore[call-overload]


def _named(kind: Kind, record: type[R], given: str | R) -> R:
    return _entry(kind, record, given) if isinstance(given, str) else given


def _entry(kind: Kind, record: type[R], name: str) -> R:
    tables = written(kind)
    if name not in tables:
        aliases = _model_names() if kind == "models" else {}
        raise CatalogError(f"{name!r} is not in the catalog of {kind}; close or known: {near(name, tables, aliases)}")
    return decode(record, {"name": name, **tables[name]}, at=f"{kind}.{name}")


@lru_cache(maxsize=1)
def _model_names() -> dict[str, str]:
    own = written("models")
    return {alias: name for name, table in own.items() for alias in table.get("aliases", ())} | {
        name: name for name in own
    }
