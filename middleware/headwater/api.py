"""One call from tokens to a footprint, for callers without a server: the catalog and the physics, and no more."""

from __future__ import annotations

from typing import Literal

from headwater.cases import Case
from headwater.catalog import CURRENT_FACTORS
from headwater.records import (
    EngineSpec,
    FactorSet,
    Footprint,
    Grid,
    HardwareSpec,
    Hosting,
    Hydro,
    ModelSpec,
    Precision,
    Site,
    Unknown,
)

__all__ = ["estimate"]


def estimate(
    model: str | ModelSpec,
    *,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int | None = None,
    images: int = 0,
    observed_s: float | None = None,
    concurrency: float | None = None,
    itl_s: float | None = None,
    hosting: Hosting = "own",
    hardware: str | HardwareSpec = "hgx-h100",
    accelerators: int | None = None,
    replicas: int = 1,
    attention_accelerators: int | None = None,
    precision: Precision | None = None,
    cache_precision: Literal["bf16", "fp8"] = "bf16",
    engine: str | EngineSpec | None = None,
    site: str | Site = "us-average",
    grid: Grid | None = None,
    grid_g_per_kwh: float | None = None,
    wet_bulb_c: float | None = None,
    factors: str | FactorSet = CURRENT_FACTORS,
    hydro: Hydro | None = None,
) -> Footprint | Unknown:
    """The footprint of one request, with every step of its derivation.

    Say what you know: with `observed_s` and `concurrency` the interval is narrowest; with neither, the engine's usual
    concurrency is assumed and the interval is wide. The method of the footprint says which it was. `Unknown` comes back
    where nothing takes any time: all of the prompt is cached, nothing is put out, and the engine has no overhead.

    Args:
        model: a catalog name, an alias or the name under which it is served (`meta-llama/...`); or a record.

        input_tokens: tokens of the prompt, cached ones and those of pictures included.
        output_tokens: tokens of the answer, reasoning included. A million million tokens in all are the most; the catalog
            does not know contexts, so that what no context can hold is not refused below that.
        cached_tokens: input tokens that the server had in its cache; None counts all as fresh.
        images: pictures in the prompt.

        observed_s: seconds from admission to the last token, on a server of your own. A time in which the hardware
            cannot have done it is not believed: it is computed instead.
        concurrency: requests in flight meanwhile on all replicas together, this one included. On somebody else's
            server: what you presume; None takes the engine's usual concurrency.
        itl_s: seconds between two output tokens (median), on somebody else's server: its concurrency follows.
        hosting: whose server it is. `own`: what you see is all that it does; `hosted`: others use it too, unseen.

        hardware: the server, a catalog name or a record.
        accelerators: how many of it work on one copy of the model; whole GPU servers where they are more than one has. None:
            the smallest power of two whose memory holds the weights with a fifth to spare; all of a server's where none
            does, or where their memory is not known.
        replicas: such copies that share the requests.
        attention_accelerators: accelerators that share one copy of the attention; fewer than `accelerators` is attention
            data parallelism.
        precision: of the weights; None: the one in which the model was published.
        cache_precision: of the key-value cache.
        engine: None: the one that fits the hardware, vllm-0.11 or llama.cpp-cpu.

        site: data centre or region, a catalog name or a record.
        grid: the electricity behind it, a record; None: the catalog's entry that the site names.
        grid_g_per_kwh: carbon of the grid in the hour of the request; None: the annual figure.
        wet_bulb_c: wet-bulb temperature at the site in that hour, where its water is computed from one; None: the annual one.
        factors: the factor set; `hydro` overrides its convention on the water of hydropower.

    Raises:
        CatalogError: a name is not in the catalog, a record given instead of a name cannot be right, or the server does
            not have so many accelerators.
        ValueError: a count or a time cannot be right, or two values contradict each other; the message has both.
    """
    return Case(
        model=model,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        images=images,
        observed_s=observed_s,
        concurrency=concurrency,
        itl_s=itl_s,
        hosting=hosting,
        hardware=hardware,
        accelerators=accelerators,
        replicas=replicas,
        attention_accelerators=attention_accelerators,
        precision=precision,
        cache_precision=cache_precision,
        engine=engine,
        site=site,
        grid=grid,
        grid_g_per_kwh=grid_g_per_kwh,
        wet_bulb_c=wet_bulb_c,
        factors=factors,
        hydro=hydro,
    ).footprint()
