"""The version, apart from everything that may import it."""

__version__ = "0.1.0"
