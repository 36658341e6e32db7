"""How the records that are made for each exchange are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

_R = TypeVar("_R")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[_R]) -> type[_R]:
    """A frozen dataclass to the type checker, which runs over the whole tree; not at run time, where freezing nearly
    triples the cost of making one, and each exchange makes a handful on the event loop."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
