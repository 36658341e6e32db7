"""The table of the APIs that Headwater reads. A new API is one file beside this one, and one line here."""

from __future__ import annotations

from headwater.dialects.base import Dialect
from headwater.dialects.openai_chat import OpenAIChat

DIALECTS: tuple[Dialect, ...] = (OpenAIChat(),)


def find(method: str, path: str) -> Dialect | None:
    """The API that a request belongs to; None: not one of ours, let it pass untouched."""
    for dialect in DIALECTS:
        if dialect.matches(method, path):
            return dialect
    return None
