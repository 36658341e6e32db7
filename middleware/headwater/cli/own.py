"""The operator's own sites for commands that read no settings otherwise: where --config names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headwater import config
from headwater.places import Places

OwnOption = Annotated[
    Path | None, typer.Option("--config", help="Settings file whose [[site]] and [[grid]] --site may name too.")
]


def own_places(settings: Path | None) -> Places | None:
    """The sites and grids of a settings file. Raises ConfigError where it cannot be used."""
    return None if settings is None else Places(config.load(settings))


def placed(own: Places | None, site: str) -> dict[str, Any]:
    """`site` and `grid` as cases take them: the operator's own records, or the catalog's name."""
    if own is None:
        return {"site": site}
    found = own.site(site)
    return {"site": found, "grid": own.grid(found.grid)}


def own_hint(message: str) -> str:
    """What to say behind an error about a site that the catalog does not know."""
    return (
        "; a [[site]] of your settings is known with --config FILE"
        if "is not in the catalog of sites;" in message
        else ""
    )
