"""What a careful reader should be told of a deployment before its figures are believed. Pure."""

from __future__ import annotations

from headwater.catalog.placing import holds, weights_bytes
from headwater.records import Deployment
from headwater.units import BYTES_PER_GB

CPU_ENGINES = frozenset({"llama.cpp-cpu"})
GPU_ENGINES = frozenset({"vllm-0.11", "vllm-0.5", "tensorrt-llm", "generic"})
"""Engines of the catalog, by the kind of hardware that their figures are of. An operator's own engine may be of either."""


def doubts(deployment: Deployment) -> list[str]:
    """Sentences without a full stop; none where there is nothing to say, or where no throughput model is asked."""
    model, hardware, engine = deployment.model, deployment.hardware, deployment.engine
    if deployment.factors.flat_it_j_per_request is not None:
        return []
    told = []
    count = deployment.accelerators_count
    if hardware.memory_bytes is not None and not holds(hardware, count, model, deployment.precision):
        weights_gb = weights_bytes(model, deployment.precision) / BYTES_PER_GB
        memory_gb = count * hardware.memory_bytes.value / BYTES_PER_GB
        weights = f"{model.name}: its weights in {deployment.precision} ({weights_gb:,.0f} GB)"
        memory = f"the memory of {count} of {hardware.name} ({memory_gb:,.0f} GB)"
        told.append(
            f"{weights} do not fit into {memory}"
            if weights_gb > memory_gb
            else f"{weights} do not leave a fifth of {memory} to the cache"
        )
    if deployment.precision == "fp8" and hardware.kind == "gpu" and hardware.peak_fp8_flop_per_s is None:
        told.append(
            f"{hardware.name} does not compute in fp8: its weights are unpacked to bf16, as far as an engine can"
        )
    if engine.name in (GPU_ENGINES if hardware.kind == "cpu" else CPU_ENGINES):
        told.append(
            f"{engine.name} does not run on servers like {hardware.name}: its figures are those of other hardware"
        )
    if model.uncertainty_ratio > 1:
        told.append(
            f"{model.name}: its architecture is a guess, which widens the interval by x{model.uncertainty_ratio:g} either way"
        )
    return told
