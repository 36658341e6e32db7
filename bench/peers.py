"""What other estimators of LLM energy say about a measured row, in joules of the accelerators per output token; and what
ours says when it is told no more than they are.

Each is asked through its own installed code, offline. Most give more than accelerators: what its number contains is taken
off by its own factors where it shows them, else by the two ratios below; `Peer.boundary` says which. All of them are told
the model's exact parameter counts and the exact token counts, which a caller would have to look up.

    pip install '.[peers]'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Protocol

from headwater import catalog
from headwater.physics.replica import Replica
from headwater.physics.throughput import context_tokens
from headwater.records import Deployment, Experts, Mix, ModelSpec
from headwater.units import J_PER_KWH, J_PER_WH
from rows import ENGINE, Row

PACKAGES: Final[Mapping[str, str]] = {"ecologits": "0.11.3", "ecocost": "0.2.4", "soif-llm": "1.1.0"}
"""The estimators, as the extra `peers` pins them: other versions say other things."""

HOST_RATIO: Final = 1.45
"""IT energy over accelerator energy of a server that nobody describes: Google's split of a median prompt has 0.06 Wh of host
to 0.14 Wh of accelerators (arXiv:2508.15734); published machines range from 1.2 to 2.2."""
PUE: Final = 1.2
"""Facility energy over IT energy where a figure means a whole data centre and does not say which."""
PER_BILLION: Final = 1e-9


OURS_FROM_SIZES: Final = "headwater (parameters and tokens only)"
OURS_FROM_SIZES_AND_LOAD: Final = "headwater (parameters, tokens, batch and GPUs)"


class PeersMissing(ImportError):
    """An estimator is not installed, or in another version than the pinned one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One estimator. `knows`: what it is told of a row. `boundary`: how its number becomes one of the accelerators."""

    name: str
    knows: str
    boundary: str
    predict: Callable[[Row], float]
    """Joules of the accelerators per output token."""


def require() -> None:
    """Raises PeersMissing unless all the estimators are there, as pinned."""
    for package, pinned in PACKAGES.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "nothing"
        if found != pinned:
            raise PeersMissing(f"{package} {pinned} is needed, {found} is installed: pip install '.[peers]'")


def peers() -> list[Peer]:
    """All of them; those that are told alike stand together. Raises PeersMissing."""
    require()
    return [
        Peer(
            name="ecologits (as shipped)",
            knows="active and total parameters, output tokens; its own 16 bits, 80 GB accelerators, 64 requests at once",
            boundary="its GPU energy times its GPU count; its server's share and its PUE left out",
            predict=_ecologits(is_told=False),
        ),
        Peer(
            name=OURS_FROM_SIZES,
            knows="active and total parameters, tokens (input, cached, output); the rest assumed as `assumed()` says",
            boundary="accelerators as they are",
            predict=ours_from_sizes,
        ),
        Peer(
            name="ecologits (true batch and GPUs)",
            knows="active parameters, output tokens, accelerators, requests at once",
            boundary="its GPU energy times the true GPU count; its server's share and its PUE left out",
            predict=_ecologits(is_told=True),
        ),
        Peer(
            name=OURS_FROM_SIZES_AND_LOAD,
            knows="active and total parameters, tokens, accelerators (not which), requests at once",
            boundary="accelerators as they are",
            predict=ours_from_sizes_and_load,
        ),
        Peer(
            name="ecocost (as shipped)",
            knows="active parameters, tokens (input, cached, output); the provider it assumes when told none: H100",
            boundary="its H100-seconds at 700 W; its serving overhead (1.6) and its PUE (1.2) left out",
            predict=_ecocost(knows_accelerator=False),
        ),
        Peer(
            name="ecocost (true accelerator)",
            knows="as before, and the accelerator where it has it (else its reference, the H100)",
            boundary="as before, times its energy ratio of the accelerator against an H100",
            predict=_ecocost(knows_accelerator=True),
        ),
        Peer(
            name="ecocost (by name)",
            knows="as `as shipped`, and the model's name: some of its records hold energies of this same benchmark",
            boundary="as `as shipped`; its measured records are GPU energy already",
            predict=_ecocost(knows_accelerator=False, knows_name=True),
        ),
        Peer(
            name="soif",
            knows="active parameters (one of five tiers), tokens (input, cached, output); its middle figure",
            boundary=f"its IT energy over {HOST_RATIO} for the host",
            predict=_soif(),
        ),
        _flat(
            "flat 0.3 Wh per query",
            wh=0.3,
            ratio=PUE * HOST_RATIO,
            why=f"Epoch AI, 2025, counts servers and facility: over PUE {PUE} and {HOST_RATIO} for the host",
        ),
        _flat(
            "flat 0.34 Wh per query",
            wh=0.34,
            ratio=PUE * HOST_RATIO,
            why=f"OpenAI's head, 2025, names no boundary, taken for a facility: over PUE {PUE} and {HOST_RATIO} for the host",
        ),
        _flat(
            "flat 4 Wh per question",
            wh=4.0,
            ratio=HOST_RATIO,
            why=f"the articles of 2023 (arXiv:2304.03271) put the PUE on top: IT energy, over {HOST_RATIO} for the host",
        ),
    ]


# -- theirs -----------------------------------------------------------------------------------------------------------------


def _ecologits(*, is_told: bool) -> Callable[[Row], float]:
    from ecologits.impacts.llm import BATCH_SIZE, compute_llm_impacts_dag

    def predict(row: Row) -> float:
        output_tokens = row.mean.output_tokens
        found = compute_llm_impacts_dag(
            model_active_parameter_count=row.active_params_count * PER_BILLION,
            model_total_parameter_count=row.total_params_count * PER_BILLION,
            output_token_count=output_tokens,
            request_latency=math.inf,
            if_electricity_mix_adpe=0.0,
            if_electricity_mix_pe=0.0,
            if_electricity_mix_gwp=0.0,
            if_electricity_mix_wue=0.0,
            datacenter_pue=1.0,
            datacenter_wue=0.0,
            batch_size=row.concurrency_count if is_told else BATCH_SIZE,
        )
        accelerators_count = row.deployment.accelerators_count if is_told else _number(found["gpu_required_count"])
        return accelerators_count * _number(found["gpu_energy"]) * J_PER_KWH / output_tokens

    return predict


def _ecocost(*, knows_accelerator: bool, knows_name: bool = False) -> Callable[[Row], float]:
    from ecocost import UnknownModelError, calc
    from ecocost.loader import get_kb
    from ecocost.schema import H100_TDP_W, Factor, Model, Tier

    known = get_kb()
    provider, _ = known.resolve_provider(None)
    reference = known.hardware[calc.REFERENCE_HARDWARE_ID]

    @lru_cache(maxsize=1024)
    def model(name: str, active_params_count: float) -> Model:
        if knows_name:
            with suppress(UnknownModelError):
                record: Model = known.resolve_model(name)
                return record
        size = Factor(value=active_params_count * PER_BILLION, unit="B", tier=Tier.primary)
        return Model(id=name, label=name, creator="", active_params_b=size, open_weights=True)

    def predict(row: Row) -> float:
        named = known.hardware.get(f"{row.gpu.lower()}-sxm", reference)
        fresh_tokens, cached_tokens, output_tokens = _whole_tokens(row)
        found = calc.estimate(
            model(row.model, row.active_params_count),
            provider,
            known.regions[provider.region],
            named if knows_accelerator else known.hardware[provider.hardware],
            reference,
            input_tokens=fresh_tokens + cached_tokens,
            output_tokens=output_tokens,
            cached_input_tokens=cached_tokens,
        )
        accelerators_j: float = found.h100_seconds.mid * H100_TDP_W * found.chip_energy_ratio.mid
        return accelerators_j / output_tokens

    return predict


def _soif() -> Callable[[Row], float]:
    import soif

    def predict(row: Row) -> float:
        fresh_tokens, cached_tokens, output_tokens = _whole_tokens(row)
        found = soif.estimate(
            input_tokens=fresh_tokens,
            cached_tokens=cached_tokens,
            output_tokens=output_tokens,
            active_params_b=row.active_params_count * PER_BILLION,
        )
        it_wh: float = found.energy_it_wh.mid
        return it_wh * J_PER_WH / HOST_RATIO / output_tokens

    return predict


def _flat(name: str, *, wh: float, ratio: float, why: str) -> Peer:
    def predict(row: Row) -> float:
        return wh * J_PER_WH / ratio / row.mean.output_tokens

    return Peer(name=name, knows="output tokens, to share it among them", boundary=why, predict=predict)


def _whole_tokens(row: Row) -> tuple[int, int, int]:
    """Fresh, cached and output tokens of the mean request, as integers."""
    cached_tokens = round(row.mean.cached_tokens)
    return round(row.mean.input_tokens) - cached_tokens, cached_tokens, max(round(row.mean.output_tokens), 1)


def _number(value: object) -> float:
    assert isinstance(value, int | float), value
    return value


# -- ours, told as little ---------------------------------------------------------------------------------------------------

ASSUMED_HARDWARE: Final = "hgx-h100"
ASSUMED_COUNTS: Final = (1, 2, 4, 8)
MEMORY_BYTES: Final = 80e9
SPARE_RATIO: Final = 1.2
"""Memory over weights: a fifth on top for the cache and the rest."""
BYTES_PER_WEIGHT: Final = 2.0

# A decoder layer of width d holds about 12 d^2 weights, and decoders are about 128 wide per layer, with a head per 128.
WEIGHTS_PER_SQUARED_WIDTH: Final = 12
WIDTH_PER_LAYER: Final = 128
HEAD_DIM: Final = 128
KV_HEADS_COUNT: Final = 8
# Fewer of the weights than this are active: a mixture. Two thirds of those are in the experts, of which 8 are chosen.
DENSE_RATIO: Final = 0.5
ACTIVE_IN_EXPERTS_RATIO: Final = 2 / 3
CHOSEN_COUNT: Final = 8


def ours_from_sizes(row: Row, *, adapt: Callable[[Deployment], Deployment] | None = None) -> float:
    """Accelerator joules per output token as `assumed()` has the deployment, at the engine's usual concurrency.

    `adapt`: puts other constants in, such as those of a fit without this row's family.
    """
    return _ours(row, accelerators_count=None, concurrency_count=None, adapt=adapt)


def ours_from_sizes_and_load(row: Row, *, adapt: Callable[[Deployment], Deployment] | None = None) -> float:
    """As `ours_from_sizes`, with the true number of accelerators and of requests at once."""
    return _ours(
        row,
        accelerators_count=row.deployment.accelerators_count,
        concurrency_count=row.concurrency_count,
        adapt=adapt,
    )


class Adaptable(Protocol):
    """One of our own entries, which can be asked with other constants."""

    def __call__(self, row: Row, *, adapt: Callable[[Deployment], Deployment] | None = None) -> float: ...


ADAPTING: Final[Mapping[str, Adaptable]] = {
    OURS_FROM_SIZES: ours_from_sizes,
    OURS_FROM_SIZES_AND_LOAD: ours_from_sizes_and_load,
}
"""Our own entries by name: for those that judge them by constants fitted without the row's own group."""


def _ours(
    row: Row,
    *,
    accelerators_count: int | None,
    concurrency_count: float | None,
    adapt: Callable[[Deployment], Deployment] | None,
) -> float:
    replica = _assumed_replica(row.active_params_count, row.total_params_count, accelerators_count)
    if adapt is not None:
        replica = Replica(adapt(replica.deployment))
    usual_count = replica.deployment.engine.assumed_concurrency_count.value
    mean = Mix(
        input_tokens=row.mean.input_tokens,
        cached_tokens=row.mean.cached_tokens,
        output_tokens=row.mean.output_tokens,
        context_tokens=context_tokens(input_tokens=row.mean.input_tokens, output_tokens=row.mean.output_tokens),
    )
    return replica.running(mean, concurrency_count or usual_count).accelerator_j_per_token


@lru_cache(maxsize=1024)
def _assumed_replica(active: float, total: float, accelerators_count: int | None) -> Replica:
    return Replica(assumed(active, total, accelerators_count))


def assumed(active_params_count: float, total_params_count: float, accelerators_count: int | None = None) -> Deployment:
    """The deployment that one would guess from the model's size alone.

    H100, the fewest of 1, 2, 4, 8 whose memory holds the weights in 16 bits with a fifth to spare; weights of 8 bits where
    even 8 (or those that are known) do not hold them.
    """
    counts = ASSUMED_COUNTS if accelerators_count is None else (accelerators_count,)
    needed_bytes = SPARE_RATIO * BYTES_PER_WEIGHT * total_params_count
    holding_count = next((count for count in counts if needed_bytes <= count * MEMORY_BYTES), None)
    return catalog.deployment(
        model=assumed_model(active_params_count, total_params_count),
        hardware=ASSUMED_HARDWARE,
        accelerators=holding_count or counts[-1],
        precision="bf16" if holding_count else "fp8",
        engine=ENGINE,
        site="us-average",
    )


def assumed_model(active_params_count: float, total_params_count: float) -> ModelSpec:
    """The architecture that one would guess from the model's size alone: a decoder with grouped-query attention, as deep as
    a dense one of its active size.

    On some ninety published configurations, depths guessed so are within a fifth (dense) and a quarter (mixtures) in the
    median, and shares of chosen experts within a fifth. No measurement of energy went into these rules.
    """
    is_dense = active_params_count >= DENSE_RATIO * total_params_count
    sized_count = total_params_count if is_dense else active_params_count
    layers_count = max(round((sized_count / (WEIGHTS_PER_SQUARED_WIDTH * WIDTH_PER_LAYER**2)) ** (1 / 3)), 1)
    heads_count = layers_count * WIDTH_PER_LAYER / HEAD_DIM
    experts: Experts | None = None
    if not is_dense:
        chosen_params_count = ACTIVE_IN_EXPERTS_RATIO * active_params_count
        params_count = total_params_count - (active_params_count - chosen_params_count)
        experts = Experts(
            params_count=params_count,
            experts_count=round(CHOSEN_COUNT * params_count / chosen_params_count),
            chosen_count=CHOSEN_COUNT,
            layers_count=layers_count,
        )
    return ModelSpec(
        name="assumed",
        total_params_count=total_params_count,
        active_params_count=active_params_count,
        layers_count=layers_count,
        q_heads_count=KV_HEADS_COUNT * max(round(heads_count / KV_HEADS_COUNT), 1),
        kv_heads_count=KV_HEADS_COUNT,
        head_dim=HEAD_DIM,
        experts=experts,
        source="a rule of thumb from the parameter counts",
        checked="2026-11-24",
        confidence="estimated",
    )
