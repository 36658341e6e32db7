"""The kinds of entries, the record of each, and how long their figures keep. Pure; no clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final, Literal, get_args

from headwater.records import (
    Claim,
    EngineSpec,
    FactorSet,
    Grid,
    HardwareSpec,
    Media,
    ModelSpec,
    ReportScheme,
    Script,
    Site,
    Technology,
    Tokenizer,
    Tower,
    Training,
    WetBulbCurve,
)

Kind = Literal[
    "models", "hardware", "engines", "sites", "grids", "towers", "curves", "technologies", "factor_sets", "trainings",
    "claims", "reports", "tokenizers", "scripts", "media",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PARTS: Final[tuple[tuple[str, Kind], ...]] = (("tower", "towers"), ("curve", "curves"))
"""What a site names and a deployment's document holds whole."""

RECORDS: Final[Mapping[Kind, type[Any]]] = {
    "models": ModelSpec,
    "hardware": HardwareSpec,
    "engines": EngineSpec,
    "sites": Site,
    "grids": Grid,
    "towers": Tower,
    "curves": WetBulbCurve,
    "technologies": Technology,
    "factor_sets": FactorSet,
    "trainings": Training,
    "claims": Claim,
    "reports": ReportScheme,
    "tokenizers": Tokenizer,
    "scripts": Script,
    "media": Media,
}

KEEPS_DAYS: Final[Mapping[Kind, int | None]] = {
    # Operators and statistical offices publish yearly, some half a year late: by then a figure has a successor.
    "sites": 550,
    "grids": 550,
    # What providers send changes with their releases.
    "reports": 550,
    # A thing that was built, and a training that is over, stay what they are. What is written about them becomes better,
    # slowly: looked up again every four years.
    "hardware": 1500,
    "engines": 1500,
    "models": 1500,
    "towers": 1500,
    "technologies": 1500,
    "trainings": 1500,
    # New models come with new tokenizers, but the old ones keep theirs.
    "tokenizers": 550,
    "scripts": 1500,
    "media": 550,
    # Documents that are kept as they were: a curve to reproduce others, a set that never changes under its name, what an
    # article said.
    "curves": None,
    "factor_sets": None,
    "claims": None,
}
"""Days after `checked` for which a figure of the kind keeps; None: for ever."""


def stale_after(kind: Kind, *, checked: str, stale_after: str = "") -> date | None:
    """The last day on which a figure need not be looked up again: its own, else by its kind; None: there is no such day.

    Raises ValueError when the date that counts is no date.
    """
    if stale_after:
        return date.fromisoformat(stale_after)
    kept_days = KEEPS_DAYS[kind]
    if kept_days is None or not checked:
        return None
    return date.fromisoformat(checked) + timedelta(days=kept_days)
