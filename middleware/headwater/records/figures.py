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
    unit does not say it (withdrawal, lifecycle, cradle to gate). `stale_after`: the day after which the figure should be
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A figure that an article gives, or one that it is held against, and what the primary evidence says of it.

    The suffix of `name` says the figure's unit, as the name of a Factor's field does elsewhere.
    """

    name: str
    says: str
    """What the article says; or what is measured or published instead, where it says nothing."""
    primary: str
    """What the primary evidence says."""
    figure: Factor
