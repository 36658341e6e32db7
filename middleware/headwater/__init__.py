"""Headwater: what stands behind a chat reply, in joules and litres, disclosed per request and accounted per user."""

__version__ = "0.1.0"
