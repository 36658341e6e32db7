"""Headwater: what stands behind a chat reply, in joules and litres, disclosed per request and accounted per user."""

from headwater.__about__ import __version__

__all__ = ["__version__"]
