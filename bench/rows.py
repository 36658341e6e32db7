"""Measured server configurations, as the benches read them: a row of a CSV to a deployment, its mean request, and what its
meters showed.

The columns are those of the measurements that the constants are fitted to: one row is one model on some accelerators at one
batch limit, in steady load. Architecture comes from the catalog where it knows the model, else from the row's own columns.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from headwater import catalog
from headwater.records import Deployment, Experts, Latent, Mix, ModelSpec, Precision, Vision, Window
from headwater.units import S_PER_MS

HARDWARE: Final[Mapping[str, str]] = {
    "h100": "hgx-h100",
    "h200": "hgx-h200",
    "b200": "hgx-b200",
    "b300": "hgx-b300",
    "gb200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
    "a100": "dgx-a100",
    "a100-80gb": "dgx-a100",
    "a100-sxm4-80gb": "dgx-a100",
    "a100-40gb": "hgx-a100-40gb",
    "a100-sxm4-40gb": "hgx-a100-40gb",
}
"""Accelerators as rows may name them, in lower case, as servers of the catalog. Catalog names stand for themselves."""
PRECISIONS: Final[Mapping[str, Precision]] = {
    "bfloat16": "bf16",
    "float16": "bf16",
    "fp16": "bf16",
    "bf16": "bf16",
    "fp8": "fp8",
    "mxfp4": "mxfp4",
    "fp4": "fp4",
    "nvfp4": "fp4",
    "int8": "int8",
    "int4": "int4",
}
ENGINE: Final = "vllm-0.11"
"""The engine of rows that have no column `engine`."""
PATCHES_PER_IMAGE: Final = 4096
# A row says what its model measures in bytes per weight; below this, weights are not kept in 16 bits.
_SIXTEEN_BITS_BYTES: Final = 2.0


LEAST_BATCH: Final = 0.99
"""A mean over time with one request in flight falls a little short of it."""


class RowError(ValueError):
    """A row that cannot be used: it names the row, the column and the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured configuration. `mean`: its mean request; `elapsed_s`: measured seconds of a batch of those."""

    name: str
    task: str
    model: str
    family: str
    gpu: str
    deployment: Deployment
    mean: Mix
    concurrency_count: float
    accelerator_w: float
    step_s: float
    """Seconds per output token of one sequence, prefills included."""
    itl_s: float
    accelerator_j_per_token: float
    active_params_count: float
    total_params_count: float

    @property
    def elapsed_s(self) -> float:
        """Seconds from the admission of the mean request to its last token."""
        return self.step_s * self.mean.output_tokens


def read(path: Path, *, engine: str = ENGINE) -> list[Row]:
    """All rows of a file. Raises RowError for one that cannot be predicted, OSError where there is no such file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [_row(cells, number, path, engine) for number, cells in enumerate(csv.DictReader(file), start=2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RowError(f"{path} is no CSV in UTF-8: {error}") from None
    if not rows:
        raise RowError(f"{path}: there is no row in it")
    return rows


def _row(cells: Mapping[str, str | None], number: int, path: Path, engine: str) -> Row:
    at = f"{path.name}, line {number} ({cells.get('row_id') or 'without row_id'})"

    def figure(column: str, default: float | None = None) -> float:
        text = (cells.get(column) or "").strip()
        if not text and default is not None:
            return float(default)
        try:
            value = float(text)
        except ValueError:
            raise RowError(f"{at}: {column} must be a number, not {text!r}") from None
        if not 0 <= value < math.inf:
            raise RowError(f"{at}: {column} must be finite and not negative, not {text!r}")
        return value

    def above_zero(column: str) -> float:
        value = figure(column)
        if value <= 0:
            raise RowError(f"{at}: {column} must be above 0, not {value:g}")
        return value

    def word(column: str) -> str:
        return (cells.get(column) or "").strip()

    def whole(column: str, default: float | None = None) -> int:
        value = figure(column, default)
        if not value.is_integer():
            raise RowError(f"{at}: {column} must be a whole number, not {value:g}")
        return int(value)

    gpu = word("gpu")
    named_precision = word("precision").lower()
    if named_precision not in PRECISIONS:
        raise RowError(f"{at}: precision {word('precision')!r} is not one of {', '.join(sorted(PRECISIONS))}")
    precision = PRECISIONS[named_precision]
    fresh_ratio = figure("uncached_frac_est", 1.0)
    if fresh_ratio > 1:
        raise RowError(f"{at}: uncached_frac_est must be at most 1, not {fresh_ratio:g}")
    concurrency_count = above_zero("avg_batch")
    if concurrency_count < LEAST_BATCH:
        raise RowError(f"{at}: avg_batch must be at least 1, not {concurrency_count:g}")
    accelerators_count = whole("num_gpus")
    input_tokens = figure("input_len_est")
    step_s = above_zero("step_time_ms") * S_PER_MS
    output_tokens = above_zero("avg_output_len")
    total_params_count = above_zero("params_total_exact")
    try:
        deployment = _deployment(
            model=_as_kept(_named(word("model")) or _from_columns(word("model"), figure, whole, precision), figure),
            hardware=HARDWARE.get(gpu.lower(), gpu.lower()),
            accelerators=accelerators_count,
            attention_accelerators=whole("attn_tp", 1) if figure("attention_dp", 0) else None,
            precision=precision,
            engine=word("engine") or engine,
        )
    except catalog.CatalogError as error:
        raise RowError(f"{at}: {error}") from None
    has_images = "image" in word("task") or "video" in word("task")
    return Row(
        name=word("row_id") or str(number),
        task=word("task"),
        model=word("model"),
        family=word("family"),
        gpu=gpu,
        deployment=deployment,
        mean=Mix(
            input_tokens=input_tokens,
            cached_tokens=input_tokens * (1 - fresh_ratio),
            output_tokens=output_tokens,
            context_tokens=input_tokens + figure("mean_decode_pos", output_tokens / 2),
            images_count=fresh_ratio if has_images else 0.0,
        ),
        concurrency_count=max(concurrency_count, 1.0),
        accelerator_w=above_zero("power_w"),
        step_s=step_s,
        itl_s=above_zero("itl_median_ms") * S_PER_MS,
        accelerator_j_per_token=above_zero("j_per_token"),
        active_params_count=above_zero("params_active_exact"),
        total_params_count=total_params_count,
    )


@lru_cache(maxsize=1024)
def _deployment(
    *,
    model: ModelSpec,
    hardware: str,
    accelerators: int,
    attention_accelerators: int | None,
    precision: Precision,
    engine: str,
) -> Deployment:
    if attention_accelerators == accelerators:
        attention_accelerators = None
    return catalog.deployment(
        model=model,
        hardware=hardware,
        accelerators=accelerators,
        attention_accelerators=attention_accelerators,
        precision=precision,
        engine=engine,
        site="us-average",
    )


def _named(model: str) -> ModelSpec | None:
    name = catalog.model_name(model)
    return None if name is None else catalog.model(name)


def _as_kept(model: ModelSpec, figure: Callable[..., float]) -> ModelSpec:
    """The model with the weights quantised that the row's bytes per weight say; which they are, its maker decided."""
    expert_bytes = figure("bytes_per_weight_expert", 0.0)
    if model.experts is None or not 0 < expert_bytes < _SIXTEEN_BITS_BYTES:
        return model
    only_experts = figure("bytes_per_weight_always", expert_bytes) >= _SIXTEEN_BITS_BYTES
    return replace(model, quantised="experts" if only_experts else "all")


def _from_columns(
    name: str, figure: Callable[..., float], whole: Callable[..., int], precision: Precision
) -> ModelSpec:
    """A model that the catalog does not know, as the row describes it. What it leaves out is an error, never a guess."""
    layers_count, heads_count, head_dim = whole("layers"), whole("q_heads"), whole("head_dim", 0)
    is_latent = bool(figure("mla", 0))
    kv_heads_count = heads_count if is_latent else whole("kv_heads")
    state_bytes = figure("state_bytes_per_seq", 0.0)
    attention_count = layers_count
    if state_bytes > 0:
        # A hybrid: keys and values of two bytes each, in the layers with attention alone.
        layer_bytes = _SIXTEEN_BITS_BYTES * (LATENT.cache_dim if is_latent else 2 * kv_heads_count * head_dim)
        attention_count = min(max(round(figure("kv_bytes_per_token_full") / layer_bytes), 1), layers_count)
    experts_count, windowed_count = whole("experts", 0), whole("sliding_layers", 0)
    vision_params_count = figure("params_vision", 0.0)
    return ModelSpec(
        name=name.lower() or "unnamed",
        total_params_count=figure("params_total_exact"),
        active_params_count=figure("params_active_exact"),
        layers_count=layers_count,
        attention_layers_count=attention_count,
        q_heads_count=heads_count,
        kv_heads_count=kv_heads_count,
        head_dim=head_dim if head_dim or not is_latent else LATENT.decode_dim,
        experts=Experts(
            params_count=figure("params_experts"),
            experts_count=experts_count,
            chosen_count=whole("top_k"),
            layers_count=whole("moe_layers"),
        )
        if experts_count
        else None,
        window=Window(layers_count=windowed_count, tokens_count=whole("sliding_window")) if windowed_count else None,
        latent=LATENT if is_latent else None,
        state_bytes_per_sequence=state_bytes,
        vision=Vision(params_count=vision_params_count, patches_count=PATCHES_PER_IMAGE)
        if vision_params_count
        else None,
        native_precision=precision,
        source="columns of the measured row",
        checked="2026-11-24",
        confidence="reported",
    )


LATENT: Final = Latent(cache_dim=576, decode_dim=576, prefill_dim=160)
"""The latent attention of DeepSeek-V3 (arXiv:2412.19437): 512 + 64 cached, (192 + 128) / 2 when unpacked."""
