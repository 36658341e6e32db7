"""The catalog as it is written: the TOML files of this folder as tables, entries completed by those that they are like.

Reads each file once. Checks nothing and makes no record.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from headwater.catalog.kinds import PARTS, Kind

_FILES: Final[dict[Kind, tuple[str, ...]]] = {"models": ("models", "closed_models"), "claims": ("article",)}
"""The files of a kind, where it has not just the one of its name."""


@lru_cache(maxsize=16)
def written(kind: Kind) -> dict[str, dict[str, Any]]:
    """All entries of a kind. What bench/fit.py found stands in a file of its own and completes the entries it names; an
    entry that is `like` another has that one's figures where it gives none. A name that leads nowhere stays as it is, to be
    refused where the entry is read."""
    tables: dict[str, dict[str, Any]] = {}
    for name in _FILES.get(kind, (kind,)):
        tables |= _read(name)
    fitted = _read("fitted")
    for name, figures in fitted.get(kind, {}).items():
        tables[name] = figures | tables.get(name, {})
    for name, table in tables.items():
        if table.get("like") in tables:
            tables[name] = tables[table["like"]] | {key: value for key, value in table.items() if key != "like"}
        elif table.get("kind") == "gpu":
            tables[name] = fitted.get("unmeasured", {}) | table
    if kind == "sites":
        for name, table in tables.items():
            tables[name] = table | {
                part: written(parts)[table[part]] | {"name": table[part]}
                for part, parts in PARTS
                if table.get(part) in written(parts)
            }
    return tables


@lru_cache(maxsize=16)
def _read(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads(files("headwater.catalog").joinpath(f"{name}.toml").read_text(encoding="utf-8"))
