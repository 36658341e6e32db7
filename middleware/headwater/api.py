"""One call from tokens to a footprint, for callers without a server: the catalog and the physics, and no more."""

from __future__ import annotations

import math
from typing import Final

from headwater import catalog
from headwater.catalog import CURRENT_FACTORS
from headwater.physics.estimate import Profile
from headwater.records import (
    FactorSet,
    Footprint,
    HardwareSpec,
    Hydro,
    ModelSpec,
    Observation,
    Precision,
    Site,
    Unknown,
    Usage,
)

__all__ = ["estimate"]

DEFAULT_ENGINE: Final = {"gpu": "vllm-0.11", "cpu": "llama.cpp-cpu"}
"""The serving engine that is taken for a kind of hardware when none is named."""


def estimate(
    model: str | ModelSpec,
    *,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int | None = None,
    observed_s: float | None = None,
    concurrency: float | None = None,
    hardware: str | HardwareSpec = "hgx-h100",
    accelerators: int | None = None,
    precision: Precision | None = None,
    engine: str | None = None,
    site: str | Site = "us-average",
    factors: str | FactorSet = CURRENT_FACTORS,
    hydro: Hydro | None = None,
) -> Footprint | Unknown:
    """The footprint of one request, with every step of its derivation.

    Say what you know: with `observed_s` (seconds from admission to the last token) and `concurrency` (requests in flight
    meanwhile, this one included) the interval is narrowest; with neither, the engine's usual concurrency is assumed and
    the interval is wide. Defaults: a whole 8x H100 server (`accelerators` of it serve the model), the engine that fits
    the hardware, an average site of the USA, and the factor set's own convention on hydropower.

    Raises:
        CatalogError: a name is not in the catalog, or a record given instead of a name cannot be right.
        ValueError: a count or a time cannot be right.
    """
    _check_count("input_tokens", input_tokens)
    _check_count("output_tokens", output_tokens)
    _check_count("cached_tokens", 0 if cached_tokens is None else cached_tokens)
    if cached_tokens is not None and cached_tokens > input_tokens:
        raise ValueError(f"cached_tokens ({cached_tokens}) exceed input_tokens ({input_tokens})")
    _check_seen("observed_s", observed_s, above=0)
    _check_seen("concurrency", concurrency, above=1)
    server = catalog.hardware(hardware) if isinstance(hardware, str) else hardware
    deployment = catalog.deployment(
        model=model,
        hardware=server,
        engine=engine if engine is not None else DEFAULT_ENGINE[server.kind],
        site=site,
        accelerators=accelerators,
        precision=precision,
        factors=factors,
        hydro=hydro,
    )
    usage = Usage(
        input_tokens=input_tokens, output_tokens=output_tokens, cached_tokens=cached_tokens, source="upstream"
    )
    observation = Observation(elapsed_s=observed_s, concurrency_count=concurrency)
    return Profile(deployment).estimate(usage, observation, steps=True)


def _check_count(name: str, count: object) -> None:
    """Refuse what is not a whole number of things: bool included, which Python takes for 0 and 1."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"{name} must be a whole number of at least 0, not {count!r}")


def _check_seen(name: str, seen: object, *, above: float) -> None:
    """Refuse a measurement that nobody can have made."""
    if seen is None:
        return
    if isinstance(seen, bool) or not isinstance(seen, int | float) or not math.isfinite(seen):
        raise ValueError(f"{name} must be a finite number, not {seen!r}")
    if seen < above or seen == 0:
        raise ValueError(f"{name} must be {'at least 1' if above else 'above 0'}, not {seen!r}")
