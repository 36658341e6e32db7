"""What is known of models, servers and engines, and a deployment of them: the records of the catalog. No I/O, no clock, no arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from headwater.records.figures import Confidence, Factor
from headwater.records.metering import Boundary, Scheme
from headwater.records.places import FactorSet, Grid, Site, TrainingShare

Precision = Literal["bf16", "fp8", "mxfp4", "fp4", "int8", "int4"]
"""How the weights are kept. fp8, mxfp4 and fp4 are also computed in; int8 and int4 are unpacked to bf16 first."""

Hosting = Literal["own", "hosted"]
"""Whose server it is. `own`: what is seen of it here is all that it does. `hosted`: others use it too, unseen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """The routed experts of a mixture: each token goes through `chosen_count` of `experts_count` in each of some layers."""

    params_count: float
    """Weights of all routed experts of all layers."""
    experts_count: int
    chosen_count: int
    layers_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Attention layers that see only the last tokens of the context."""

    layers_count: int
    tokens_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): one compressed vector is cached for all heads.

    `cache_dim`: values cached per token and layer. `decode_dim`, `prefill_dim`: values per head that a query is multiplied
    with per token of context, absorbed when decoding, unpacked when prefilling.
    """

    cache_dim: int
    decode_dim: int
    prefill_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vision:
    """The encoder that turns a picture into tokens: its weights, and the patches that go through them per picture."""

    params_count: float
    patches_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The architecture of a decoder-only transformer, or a hybrid with state-space layers, as far as its energy depends on it.

    `active_params_count`: weights that one token is multiplied with; an embedding that is only looked up is not among them,
    an output head is. `attention_layers_count`: layers with attention over the context, windowed ones included; None: all.
    `state_bytes_per_sequence`: recurrent state that a step reads and writes, for all layers. `quantised`: which weights a
    precision below bf16 covers. `uncertainty_ratio` >= 1 widens the interval on both sides for entries whose architecture is
    a guess (a fallback, a closed model).
    """

    name: str
    aliases: tuple[str, ...] = ()
    """Other names under which it is served, in lower case and without the vendor's prefix."""
    total_params_count: float
    active_params_count: float
    layers_count: int
    attention_layers_count: int | None = None
    q_heads_count: int
    kv_heads_count: int
    head_dim: int
    experts: Experts | None = None
    window: Window | None = None
    latent: Latent | None = None
    state_bytes_per_sequence: float = 0.0
    vision: Vision | None = None
    native_precision: Precision = "bf16"
    quantised: Literal["all", "experts"] = "all"
    uncertainty_ratio: float = 1.0
    source: str
    checked: str
    confidence: Confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareSpec:
    """A server: its accelerators (or CPU sockets) and the host around them."""

    name: str
    kind: Literal["gpu", "cpu"]
    accelerators_count: int
    memory_bytes: Factor | None = None
    """Memory of one accelerator."""
    memory_bw_bytes_per_s: Factor
    peak_bf16_flop_per_s: Factor
    peak_fp8_flop_per_s: Factor | None
    peak_fp4_flop_per_s: Factor | None = None
    accelerator_tdp_w: Factor
    host_w: Factor
    idle_w: Factor
    max_w: Factor | None
    power_static_ratio: Factor
    power_busy_ratio: Factor
    power_flop_ratio: Factor
    power_cap_exponent: Factor | None = None
    """How sharply the power bends below its limit, x / (1 + x^e)^(1/e); None: it is cut off there."""
    accelerator_overhead_ratio: Factor | None = None
    """Watts at the wall per watt of the accelerators (supplies, fans, voltage conversion); None: one to one."""
    accelerator_embodied_g: Factor | None = None
    """CO2-equivalent of making one accelerator with its board, cradle to gate."""
    host_embodied_g: Factor | None = None
    """CO2-equivalent of making the rest of the server."""
    embodied_water_l: Factor | None = None
    """Water of making the whole server; None as long as no source is known."""
    lifetime_s: Factor | None = None
    """Time over which a server is written off."""
    server_price_usd: Factor | None = None
    """List price of the whole server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """A serving engine: efficiencies and overheads of the step-time model, and the intervals of its methods.

    Figures of an engine that are None are those of dense models, or of weights, or have no part in it.
    """

    name: str
    memory_efficiency_ratio: Factor
    cache_efficiency_ratio: Factor | None = None
    """Share of the memory bandwidth reached when reading the key-value cache; None: as for weights."""
    expert_fp8_efficiency_ratio: Factor | None = None
    """Share of the memory bandwidth reached when reading experts kept in fp8; None: as for weights."""
    compute_efficiency_ratio: Factor
    expert_compute_efficiency_ratio: Factor | None = None
    prefill_efficiency_ratio: Factor
    expert_prefill_efficiency_ratio: Factor | None = None
    expert_spread_ratio: Factor | None = None
    """How far the tokens of a batch choose experts of their own: 0 all the same ones, 1 each at random; None: 1."""
    roofline_exponent: Factor | None = None
    """How memory and arithmetic overlap: 1 one after the other, infinite all at once; None: 2."""
    layer_s: Factor
    expert_layer_s: Factor | None = None
    """Latency of a layer of experts on top of `layer_s`."""
    layer_parallel_s: Factor
    step_s: Factor
    step_per_sequence_s: Factor
    prefill_s: Factor
    image_s: Factor | None = None
    """What a picture costs besides its arithmetic, in time in which nothing else runs."""
    tokens_per_read_count: Factor
    """Most output tokens that one sequence gets from one reading of the weights: more than 1 with speculative decoding."""
    assumed_concurrency_count: Factor
    concurrency_spread_ratio: Factor | None = None
    """One standard deviation of the concurrency that somebody else's server may have, as a factor; for `paced`."""
    pace_error_ratio: Factor | None = None
    """One standard deviation of a computed inter-token latency, as a factor; for `paced`."""
    band: Mapping[str, tuple[float, float]]
    """Method -> (low, high) multipliers of the central energy: a 90 % band of true over predicted."""
    band_source: str
    fitted_hardware: tuple[str, ...] = ()
    """Catalog names of the servers whose measurements entered the fit; empty: there was no fit."""
    fitted_concurrency_count: Factor | None = None
    """Concurrencies that entered the fit, low to high."""
    unseen_hardware_ratio: Factor | None = None
    """Doubt on hardware that did not enter the fit, on either side, besides its own ranges."""
    small_batch_ratio: Factor | None = None
    """Doubt below the fitted concurrencies, on either side."""
    image_ratio: Factor | None = None
    """Doubt on a request with pictures or sound, on either side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportScheme:
    """What is known of one way of reporting the energy of an exchange, and what a report must keep to.

    `boundary_source`: why that is the boundary, and how sure it is.
    """

    name: Scheme
    title: str
    boundary: Boundary
    boundary_source: str
    true_ratio: Factor
    """True energy over the one that is reported."""
    estimate_ratio: Factor
    """How far a report may lie from the deployment's own estimate, low to high."""
    power_ratio: Factor
    """Most power that the hardware may have drawn, over what its figures say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """All that an estimate depends on besides the request itself. Its JSON document, and the document's hash, are what a
    receipt refers to.

    `accelerators_count` work together on one copy of the model; `replicas_count` such copies share the requests.
    `attention_accelerators_count`: accelerators that share one copy of the attention; None: all of a replica. Fewer is
    attention data parallelism, in which the others wait while one takes in a prompt.
    """

    model: ModelSpec
    hardware: HardwareSpec
    accelerators_count: int
    replicas_count: int = 1
    attention_accelerators_count: int | None = None
    precision: Precision
    cache_precision: Literal["bf16", "fp8"] = "bf16"
    engine: EngineSpec
    site: Site
    grid: Grid
    factors: FactorSet
    hosting: Hosting = "own"
    concurrency_count: float | None = None
    """Configured concurrency of all replicas together, used when none is observed."""
    training: TrainingShare | None = None
    """A share of the model's training, shown beside the charge; None: off."""
    reports: tuple[ReportScheme, ...] = ()
    """The schemes whose reports of energy are heard; none: all is estimated."""
