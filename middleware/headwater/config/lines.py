"""On which line of a TOML text a setting stands, for messages. Knows headers, keys and strings; no values.

tomllib keeps no positions. This scanner needs only to be right on texts that tomllib has read without an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_KEY: Final = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART: Final = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_LONG_QUOTES: Final = ('"""', "'''")

Place = tuple[int | str, ...]


class Misplaced(ValueError):
    """A setting that is wrong beside others, and where it stands: the check of the whole finds it, with no place."""

    def __init__(self, told: str, place: Place) -> None:
        super().__init__(told)
        self.place = place


class Lines:
    """The lines of one settings file, or of none: settings that came as a mapping have names only."""

    def __init__(self, name: str, text: str = "", folder: Path | None = None) -> None:
        self.name = name
        self.folder = folder
        self._lines: dict[Place, int] = {}
        for place, number in _places(text):
            self._lines.setdefault(place, number)

    def __eq__(self, other: object) -> bool:
        """Where settings stand is no part of what they say."""
        return isinstance(other, Lines)

    def __hash__(self) -> int:
        return hash(Lines)

    def where(self, location: Sequence[int | str]) -> str:
        """A setting as people look for it: its line, where that is known, and its name."""
        told = _name(location)
        at = tuple(location)
        if len(at) > 1 and at[:2] not in self._lines and isinstance(at[1], int):
            at = (at[0], *at[2:])  # a list of one, written as a plain table
        while at and at not in self._lines:
            at = at[:-1]
        return f"line {self._lines[at]}, {told}" if at else told


def _name(location: Sequence[int | str]) -> str:
    """`deployment.0.hardware` as people count: `[[deployment]] number 1, hardware`."""
    if len(location) > 1 and isinstance(location[1], int):
        return f"[[{location[0]}]] number {location[1] + 1}{''.join(f', {part}' for part in location[2:])}"
    return ".".join(map(str, location)) or "as a whole"


def _places(text: str) -> Iterator[tuple[Place, int]]:
    """Every header and key with its line."""
    counts: dict[str, int] = {}
    table: Place = ()
    closing = ""
    for number, line in enumerate(text.split("\n"), 1):
        if closing:
            closing = "" if closing in line else closing
            continue
        header = _HEADER.match(line)
        key = None if header else _KEY.match(line)
        if header:
            table = _table(header[1] == "[[", _parts(header[2]), counts)
            yield table, number
        elif key:
            parts = _parts(key[1])
            for length in range(1, len(parts) + 1):
                yield (*table, *parts[:length]), number
            value = line[key.end() :].strip()
            quotes = next((quotes for quotes in _LONG_QUOTES if value.startswith(quotes)), "")
            closing = quotes if quotes and quotes not in value[len(quotes) :] else ""


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _table(is_list: bool, parts: tuple[str, ...], counts: dict[str, int]) -> Place:
    """The place of a header: `[[site]]` is the next site, `[site.pue]` belongs to the last one."""
    first, rest = parts[0], parts[1:]
    if is_list and not rest:
        counts[first] = counts.get(first, -1) + 1
    return (first, counts[first], *rest) if first in counts else parts
