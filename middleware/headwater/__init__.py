"""Headwater: what stands behind a chat reply, in joules and litres, disclosed per request and accounted per user."""

from headwater.__about__ import __version__
from headwater.api import estimate
from headwater.errors import CatalogError, ConfigError, DialectError, HeadwaterError, LedgerError
from headwater.middleware import FootprintMiddleware
from headwater.records import Footprint, Hour, ModelSpec, Unknown, Usage

__all__ = [
    "CatalogError",
    "ConfigError",
    "DialectError",
    "Footprint",
    "FootprintMiddleware",
    "HeadwaterError",
    "Hour",
    "LedgerError",
    "ModelSpec",
    "Unknown",
    "Usage",
    "__version__",
    "estimate",
]
