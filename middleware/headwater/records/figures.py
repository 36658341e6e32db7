"""One dated figure and the words for how sure it is: what every record of the catalog is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Hydro = Literal["include", "exclude"]
"""Whether the evaporation of hydropower reservoirs counts in the water of electricity."""

Confidence = Literal["measured", "reported", "estimated", "own"]
"""How a figure is known. `own`: an operator's word in their settings, which may have no date; none of the catalog's is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One dated figure of the catalog: value with low and high, unit, and where it was read.

    `low` and `high` are scenarios, not a 90 % band, unless the source says so. `basis`: what exactly is counted, where the
    unit does not say it (withdrawal, lifecycle, cradle to gate). `stale_after`: the day from which the figure should be
    looked up again; empty: as long after `checked` as figures of its kind keep.
    """

    value: float
    low: float
    high: float
    unit: str
    basis: str = ""
    source: str
    checked: str
    stale_after: str = ""
    confidence: Confidence
