"""A model's name -> the entries of the catalog that hold for it. Knows names; no text and no counts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, TypeVar

from headwater import catalog
from headwater.records import Media, Tokenizer

T = TypeVar("T")

OTHER: Final = "other"
"""The entries that hold for a model of which nothing is known."""
_MOST_CHARACTERS: Final = 200
# The provider before a slash (`openai/gpt-4o`), a cloud's region and vendor before dots (`us.anthropic.claude-...`), and what
# a fine-tuned model was made of after a colon (`ft:gpt-4o`).
_STARTS: Final = re.compile(r"(?:^|(?<=[/:.]))")


def tokenizer_of(model: str | None) -> Tokenizer:
    """The tokenizer of a model by its name."""
    return _tokenizer((model or "")[:_MOST_CHARACTERS].lower())


def media_of(model: str | None) -> Media:
    """What pictures and sound cost a model, by its name."""
    return _media((model or "")[:_MOST_CHARACTERS].lower())


def read_all() -> None:
    """Read the catalog's entries, and compile their patterns, now: the first request should not wait for it."""
    for read, names in (
        (catalog.tokenizer, catalog.in_order("tokenizers")),
        (catalog.media, catalog.in_order("media")),
        (catalog.script, catalog.in_order("scripts")),
    ):
        for name in names:
            read(name)
    tokenizer_of(None)
    media_of(None)


@lru_cache(maxsize=1024)
def _tokenizer(name: str) -> Tokenizer:
    entries = (catalog.tokenizer(each) for each in catalog.in_order("tokenizers"))
    return _first(name, ((entry, entry.models) for entry in entries)) or catalog.tokenizer(OTHER)


@lru_cache(maxsize=1024)
def _media(name: str) -> Media:
    entries = (catalog.media(each) for each in catalog.in_order("media"))
    return _first(name, ((entry, entry.models) for entry in entries)) or catalog.media(OTHER)


def _first(name: str, entries: Iterable[tuple[T, tuple[str, ...]]]) -> T | None:
    starts = [found.start() for found in _STARTS.finditer(name)]
    for entry, patterns in entries:
        if any(re.compile(pattern).match(name, start) for pattern in patterns for start in starts):
            return entry
    return None
