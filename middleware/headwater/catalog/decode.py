"""Untrusted tables (TOML, JSON) to frozen records, strictly: every key known, every figure sourced.

A figure's unit is checked against the suffix of its name, so that "700 kW" under `_w` is an error and not a number.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from datetime import date
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from headwater.errors import CatalogError
from headwater.records import Claim, Deployment, EngineSpec, EvaporatedShare, Factor, Method, ModelSpec, Site
from headwater.units import (
    BYTES_PER_GB,
    FLOP_PER_TFLOP,
    G_PER_KG,
    G_PER_T,
    J_PER_KJ,
    J_PER_WH,
    KWH_PER_GWH,
    KWH_PER_MWH,
    L_PER_ML,
    L_PER_US_GALLON,
    L_PER_US_GALLON_PER_MWH,
    MOST_WET_BULB_C,
    S_PER_MS,
)

R = TypeVar("R")

# Suffix of a figure's name -> unit it may be written in -> canonical units per written unit. The first is canonical.
# Longer suffixes come first.
UNITS: Final[tuple[tuple[str, Mapping[str, float]], ...]] = (
    ("_bytes_per_s", {"B/s": 1.0, "GB/s": BYTES_PER_GB}),
    ("_flop_per_s", {"FLOP/s": 1.0, "TFLOP/s": FLOP_PER_TFLOP}),
    ("_j_per_request", {"J": 1.0, "Wh": J_PER_WH}),
    ("_l_per_it_kwh", {"L/kWh": 1.0, "US gal/kWh": L_PER_US_GALLON}),
    ("_l_per_kwh", {"L/kWh": 1.0, "US gal/kWh": L_PER_US_GALLON, "US gal/MWh": L_PER_US_GALLON_PER_MWH}),
    ("_g_per_kwh", {"g/kWh": 1.0}),
    ("_tokens_per_s", {"token/s": 1.0}),
    ("_tokens", {"token": 1.0}),
    ("_px", {"px": 1.0}),
    ("_bytes", {"B": 1.0, "GB": BYTES_PER_GB}),
    ("_ratio", {"ratio": 1.0}),
    ("_exponent", {"exponent": 1.0}),
    ("pue", {"ratio": 1.0}),
    ("_count", {"count": 1.0}),
    ("_j_per_kg_k", {"J/(kg K)": 1.0, "kJ/(kg K)": J_PER_KJ}),
    ("_j_per_kg", {"J/kg": 1.0, "kJ/kg": J_PER_KJ}),
    ("_kwh", {"kWh": 1.0, "MWh": KWH_PER_MWH, "GWh": KWH_PER_GWH}),
    ("_usd", {"USD": 1.0}),
    ("_w", {"W": 1.0}),
    ("_l", {"L": 1.0, "ML": L_PER_ML, "US gal": L_PER_US_GALLON}),
    ("_c", {"degC": 1.0}),
    ("_k", {"K": 1.0}),
    ("_s", {"s": 1.0, "ms": S_PER_MS}),
    ("_g", {"g": 1.0, "kg": G_PER_KG, "t": G_PER_T}),
)
# Figures that are divided by, or mean nothing at zero.
_POSITIVE: Final = (
    "_bytes_per_s",
    "_flop_per_s",
    "_efficiency_ratio",
    "_overhead_ratio",
    "_tdp_w",
    "_bytes",
    "_j_per_kg",
    "range_k",
    "lifetime_s",
    "utilisation_ratio",
    "_px",
    "doubt_ratio",
    "_character_ratio",
)
# Figures that cannot be below, or above, one by definition.
_AT_LEAST_ONE: Final = (
    "pue",
    "uncertainty_ratio",
    "_count",
    "_exponent",
    "unseen_hardware_ratio",
    "small_batch_ratio",
    "image_ratio",
    "concurrency_spread_ratio",
    "pace_error_ratio",
)
_AT_MOST_ONE: Final = (
    "_efficiency_ratio",
    "expert_spread_ratio",
    "wet_ratio",
    "drift_ratio",
    "consumed_ratio",
    "utilisation_ratio",
)
# Temperatures in degrees Celsius go below zero.
_ANY_SIGN: Final = ("wet_bulb_c",)
# What they may be hangs on what the factor is of, and is checked with its name.
_OF_A_FACTOR: Final = ("value", "low", "high")
# Cycles of concentration: at one, all water would be blown down.
_ABOVE_ONE: Final = ("cycles_count",)
# Every engine must say how wide these are: each can be chosen for a request.
ESTIMATED_METHODS: Final[tuple[Method, ...]] = ("observed", "loaded", "paced", "assumed")


def decode(kind: type[R], table: Any, *, at: str) -> R:
    """The record of `kind` that a table describes. Raises CatalogError, naming where (`at`) and what."""
    if not isinstance(table, Mapping):
        raise CatalogError(f"{at} must be a table, not {table!r}")
    hints, required = _shape(cast("Hashable", kind))
    unknown = sorted(set(table) - set(hints))
    missing = sorted(required - set(table))
    if unknown or missing:
        raise CatalogError(f"{at}: unknown keys {unknown}, missing keys {missing}")
    nothing = {name: None for name in hints if name not in required and _may_be_none(hints[name])}
    given = {
        # A text that need not be there may be empty, and so may the date of an operator's own word.
        name: value
        if value == "" and hints[name] is str and (name not in required or _may_be_undated(name, table))
        # What unit a claim's figure has, its own name says.
        else _value(hints[name], value, at=f"{at}.{name}", name=str(table["name"]) if kind is Claim else name)
        for name, value in table.items()
    }
    record = kind(**(nothing | given))
    if isinstance(record, ModelSpec):
        _check_model(record, at=at)
    elif isinstance(record, EngineSpec):
        _check_band(record, at=at)
    elif isinstance(record, Deployment):
        _check_deployment(record)
    elif isinstance(record, Site):
        _check_site(record, at=at)
    elif isinstance(record, EvaporatedShare):
        _check_evaporated(record, at=at)
    return record


@lru_cache(maxsize=32)
def _shape(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a record's fields, and the names of those that must be there: no default, and None is no answer."""
    hints = get_type_hints(kind)
    required = frozenset(f.name for f in fields(kind) if f.default is MISSING and not _may_be_none(hints[f.name]))
    return hints, required


def _may_be_undated(name: str, table: Mapping[str, Any]) -> bool:
    return name == "checked" and table.get("confidence") == "own"


def _may_be_none(hint: Any) -> bool:
    return get_origin(hint) is UnionType and NoneType in get_args(hint)


def _value(hint: Any, value: Any, *, at: str, name: str) -> Any:
    if _may_be_none(hint):
        if value is None:
            return None
        hint = next(option for option in get_args(hint) if option is not NoneType)
    if hint is Factor:
        return decode_factor(value, at=at, name=name)
    if is_dataclass(hint):
        return decode(hint, value, at=at)  # type: ignore[arg-type]  # is_dataclass narrows to an instance as well
    if get_origin(hint) is Literal:
        return _word(value, get_args(hint), at=at)
    if hint is str:
        return _text(value, at=at, name=name)
    if hint is int:
        return _whole(value, at=at)
    if hint is float:
        return _number(value, at=at, name=name)
    if hint == tuple[str, ...]:
        return _texts(value, at=at)
    if hint == tuple[float, ...]:
        return _numbers(value, at=at)
    if get_origin(hint) is tuple:
        return _records(get_args(hint)[0], value, at=at)
    return _band(value, at=at)


def _records(kind: type[R], value: Any, *, at: str) -> tuple[R, ...]:
    if not isinstance(value, list | tuple):
        raise CatalogError(f"{at} must be a list of tables, not {value!r}")
    return tuple(decode(kind, table, at=f"{at}[{number}]") for number, table in enumerate(value))


def decode_factor(value: Any, *, at: str, name: str) -> Factor:
    """The figure of that `name` that a table describes, in the canonical unit. Raises CatalogError as `decode` does."""
    raw = decode(Factor, value, at=at)
    units = next((allowed for suffix, allowed in UNITS if name.endswith(suffix)), {})
    if raw.unit not in units:
        raise CatalogError(f"{at}: unit {raw.unit!r} is not one of {list(units)}")
    if not raw.low <= raw.value <= raw.high:
        raise CatalogError(f"{at}: low {raw.low}, value {raw.value}, high {raw.high} are out of order")
    _check_bounds(raw.low, raw.high, at=at, name=name)
    scale = units[raw.unit]
    return replace(raw, value=raw.value * scale, low=raw.low * scale, high=raw.high * scale, unit=next(iter(units)))


def _number(value: Any, *, at: str, name: str) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not -sys.float_info.max <= value <= sys.float_info.max
    ):
        raise CatalogError(f"{at} must be a finite number, not {value!r}")
    number = float(value)
    _check_bounds(number, number, at=at, name=name)
    return number


def _check_bounds(low: float, high: float, *, at: str, name: str) -> None:
    if name in _OF_A_FACTOR:
        return
    if name.endswith(_ANY_SIGN):
        if not -MOST_WET_BULB_C <= low <= high <= MOST_WET_BULB_C:
            raise CatalogError(f"{at} must lie between {-MOST_WET_BULB_C:g} and {MOST_WET_BULB_C:g} degrees Celsius")
        return
    if low <= 1 and name.endswith(_ABOVE_ONE):
        raise CatalogError(f"{at} must be above one, not {low}")
    if low < 0 or (low == 0 and name.endswith(_POSITIVE)) or (low < 1 and name.endswith(_AT_LEAST_ONE)):
        raise CatalogError(f"{at} is too low: {low}")
    if high > 1 and name.endswith(_AT_MOST_ONE):
        raise CatalogError(f"{at} is above one: {high}")


def _whole(value: Any, *, at: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CatalogError(f"{at} must be a whole number of at least 1, not {value!r}")
    return value


def _word(value: Any, words: tuple[Any, ...], *, at: str) -> Any:
    if value not in words:
        raise CatalogError(f"{at}: {value!r} is not one of {list(words)}")
    return value


def _text(value: Any, *, at: str, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise CatalogError(f"{at} must be a text that says something, not {value!r}")
    if name == "checked":
        try:
            well_formed = date.fromisoformat(value).isoformat() == value
        except ValueError:
            well_formed = False
        if not well_formed:
            raise CatalogError(f"{at} must be a date like 2026-11-23, not {value!r}")
    return value


def _texts(value: Any, *, at: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise CatalogError(f"{at} must be a list of texts, not {value!r}")
    return tuple(_text(text, at=f"{at}[{number}]", name="") for number, text in enumerate(value))


def _numbers(value: Any, *, at: str) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise CatalogError(f"{at} must be a list of numbers, not {value!r}")
    return tuple(_number(number, at=f"{at}[{place}]", name="value") for place, number in enumerate(value))


def _band(value: Any, *, at: str) -> dict[str, tuple[float, float]]:
    if not isinstance(value, Mapping):
        raise CatalogError(f"{at} must be a table of methods, not {value!r}")
    band: dict[str, tuple[float, float]] = {}
    for method, pair in value.items():
        _word(method, get_args(Method), at=at)
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise CatalogError(f"{at}.{method} must be a pair of low and high, not {pair!r}")
        low, high = (_number(number, at=f"{at}.{method}", name="") for number in pair)
        if not 0 < low <= 1 <= high:
            raise CatalogError(f"{at}.{method} must be a low in (0, 1] and a high of at least 1, not {pair!r}")
        band[method] = (low, high)
    return band


def _check_band(engine: EngineSpec, *, at: str) -> None:
    missing = [method for method in ESTIMATED_METHODS if method not in engine.band]
    if missing:
        raise CatalogError(f"{at}.band lacks {missing}")


def _check_model(model: ModelSpec, *, at: str) -> None:
    if model.q_heads_count % model.kv_heads_count:
        raise CatalogError(
            f"{at}: q_heads_count {model.q_heads_count} is no multiple of kv_heads_count {model.kv_heads_count}"
        )
    if model.active_params_count > model.total_params_count:
        raise CatalogError(
            f"{at}: active_params_count {model.active_params_count} exceeds "
            f"total_params_count {model.total_params_count}"
        )
    attention_count = model.layers_count if model.attention_layers_count is None else model.attention_layers_count
    windowed_count = 0 if model.window is None else model.window.layers_count
    if not windowed_count <= attention_count <= model.layers_count:
        raise CatalogError(
            f"{at}: {windowed_count} windowed of {attention_count} attention layers of {model.layers_count} layers"
        )
    if model.experts is not None:
        _check_experts(model, at=at)
    elif model.active_params_count < model.total_params_count / 2:
        # A mixture of experts whose experts were forgotten would be charged far too little.
        raise CatalogError(
            f"{at}: active_params_count {model.active_params_count} is less than half of total_params_count "
            f"{model.total_params_count}, but there is no table of experts"
        )


def _check_experts(model: ModelSpec, *, at: str) -> None:
    experts = model.experts
    assert experts is not None  # noqa: S101 - seen by the caller
    if experts.chosen_count > experts.experts_count or experts.layers_count > model.layers_count:
        raise CatalogError(f"{at}.experts: more are chosen than there are, or in more layers")
    chosen_params_count = experts.params_count * experts.chosen_count / experts.experts_count
    if chosen_params_count >= model.active_params_count or experts.params_count >= model.total_params_count:
        raise CatalogError(
            f"{at}: experts hold {experts.params_count} weights, {chosen_params_count} of them chosen: too many for "
            f"{model.active_params_count} active of {model.total_params_count}"
        )


def _check_site(site: Site, *, at: str) -> None:
    needed = {"reported": "wue_l_per_it_kwh", "tower": "tower", "li2023": "curve"}[site.wue_method]
    if getattr(site, needed) is None:
        raise CatalogError(f"{at}: wue_method {site.wue_method!r} needs {needed}")


def _check_evaporated(share: EvaporatedShare, *, at: str) -> None:
    if len(share.wet_bulb_c) != len(share.ratio) or sorted(set(share.wet_bulb_c)) != list(share.wet_bulb_c):
        raise CatalogError(f"{at}: wet_bulb_c must rise and have one ratio each")
    if not all(0 <= ratio <= 1 for ratio in share.ratio):
        raise CatalogError(f"{at}.ratio must lie between 0 and 1: {list(share.ratio)}")


def _check_deployment(deployment: Deployment) -> None:
    server = deployment.hardware
    count = deployment.accelerators_count
    if count > server.accelerators_count and (server.kind == "cpu" or count % server.accelerators_count):
        raise CatalogError(
            f"accelerators_count ({count}) exceeds the {server.accelerators_count} of {server.name}, "
            "and is no number of whole GPU servers"
        )
    attention_count = deployment.attention_accelerators_count
    if attention_count is not None and deployment.accelerators_count % attention_count:
        raise CatalogError(
            f"accelerators_count ({deployment.accelerators_count}) is no multiple of "
            f"attention_accelerators_count ({attention_count})"
        )
