"""How many accelerators a model needs: its weights against their memory. Pure; knows no cache, no batch and no speed."""

from __future__ import annotations

from typing import Final

from headwater.records import HardwareSpec, ModelSpec, Precision
from headwater.units import BYTES_PER_WEIGHT

WEIGHTS_SHARE_RATIO: Final = 4 / 5
"""The most of the accelerators' memory that weights may fill: a fifth is to spare for the cache of the requests."""


def weights_bytes(model: ModelSpec, precision: Precision) -> float:
    """Bytes of all weights of a model, where those that a precision below bf16 does not cover stay in bf16."""
    if model.quantised == "all" or model.experts is None:
        return model.total_params_count * BYTES_PER_WEIGHT[precision]
    others_count = model.total_params_count - model.experts.params_count
    return model.experts.params_count * BYTES_PER_WEIGHT[precision] + others_count * BYTES_PER_WEIGHT["bf16"]


def holds(hardware: HardwareSpec, accelerators_count: int, model: ModelSpec, precision: Precision) -> bool | None:
    """Whether so many of a server's accelerators hold the weights, with room for a cache. None: their memory is not known."""
    if hardware.memory_bytes is None:
        return None
    room_bytes = accelerators_count * hardware.memory_bytes.value * WEIGHTS_SHARE_RATIO
    return weights_bytes(model, precision) <= room_bytes


def fewest_accelerators(hardware: HardwareSpec, model: ModelSpec, precision: Precision) -> int:
    """The smallest power of two of a server's accelerators that holds a model; the whole server where none does, or where
    their memory is not known."""
    count = 1
    while count < hardware.accelerators_count:
        if holds(hardware, count, model, precision):
            return count
        count *= 2
    return hardware.accelerators_count
