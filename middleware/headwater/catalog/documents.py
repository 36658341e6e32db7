"""A deployment as a canonical JSON document, and its hash: what a charge and its receipt refer to."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from typing import Final

from headwater.catalog.decode import decode
from headwater.errors import CatalogError
from headwater.records import Deployment

# 64 bits: a collision among a million deployments has a chance of 3 in 10^8.
HASH_HEX_DIGITS: Final = 16


def deployment_document(deployment: Deployment) -> str:
    """The deployment as JSON: sorted keys, no spaces, the same text for equal deployments.

    Raises CatalogError when a record in it breaks the rules that catalog entries obey.
    """
    valid = _validated(asdict(deployment))
    return json.dumps(asdict(valid), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def deployment_from_document(text: str) -> Deployment:
    """The deployment that a document describes, equal to the one it was made from."""
    try:
        table = json.loads(text)
    except ValueError as error:
        raise CatalogError(f"a deployment document is not JSON: {error}") from error
    return _validated(table)


def deployment_hash(deployment: Deployment) -> str:
    """The first 16 hex digits of the SHA-256 of the deployment's document."""
    return sha256(deployment_document(deployment).encode()).hexdigest()[:HASH_HEX_DIGITS]


def _validated(table: object) -> Deployment:
    return decode(Deployment, table, at="deployment")
