"""The hash of a factor set: of its own rules and, where it leaves places their own figures, of all of those. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from headwater.catalog.documents import HASH_HEX_DIGITS

# A set with a figure of its own for each of these needs no site's and no grid's water.
_OF_PLACES: Final = ("pue", "wue_l_per_it_kwh", "ewif_l_per_kwh")


def leaves_places(rules: Mapping[str, Any]) -> bool:
    """Whether a set leaves sites and grids figures of their own, so that its hash covers all of those."""
    return not all(name in rules for name in _OF_PLACES)


def factor_set_hash(rules: Mapping[str, Any], places: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of a set's document, canonical JSON of its tables as they are written."""
    document: dict[str, Any] = {"rules": rules}
    if leaves_places(rules):
        document["places"] = places
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256(text.encode()).hexdigest()[:HASH_HEX_DIGITS]
