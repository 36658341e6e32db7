"""The hash of a factor set: of its own rules and, where it leaves places their own figures, of all of those. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from headwater.catalog.documents import HASH_HEX_DIGITS

_OF_SITES: Final = ("pue", "wue_l_per_it_kwh")
_CARBON: Final = "carbon_g_per_kwh"


def left_to_places(rules: Mapping[str, Any], places: Mapping[str, Any]) -> dict[str, Any]:
    """What a set uses of sites and grids, because it has no figure of its own: all of the sites, all of the grids, or the
    grids' carbon alone."""
    left: dict[str, Any] = {}
    if not all(name in rules for name in _OF_SITES):
        left["sites"] = places["sites"]
    if "ewif_l_per_kwh" not in rules:
        left["grids"] = places["grids"]
    elif _CARBON not in rules:
        left["grids"] = {name: {_CARBON: grid[_CARBON]} for name, grid in places["grids"].items()}
    return left


def factor_set_hash(rules: Mapping[str, Any], places: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of a set's document, canonical JSON of its tables as they are written."""
    document = {"rules": rules, "places": left_to_places(rules, places)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256(text.encode()).hexdigest()[:HASH_HEX_DIGITS]
