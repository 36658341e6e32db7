"""The errors Headwater raises on purpose, each named after whose fault it is. Raised towards operators, never into the app."""

from __future__ import annotations


class HeadwaterError(Exception):
    """Base of all errors that Headwater raises on purpose."""


class ConfigError(HeadwaterError):
    """The operator's settings cannot be used; the message names the value and the remedy."""


class CatalogError(ConfigError):
    """A catalog entry is unknown or malformed; the message names it and what is known."""


class DialectError(HeadwaterError):
    """The bytes of a request or a reply are not what their API promises."""


class LedgerError(HeadwaterError):
    """Our own store cannot be used; the message names it and the remedy."""


class TraceError(ConfigError):
    """A recorded trace cannot be used; the message names file, line, column and value, and the remedy."""


class NotOurs(DialectError):
    """A request only looks like one of an LLM API's: it is to pass untouched and unmetered."""
