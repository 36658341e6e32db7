"""One entry of the catalog -> all that it says, every figure with where it is from: text for people, JSON for programs.

Walks records as they are defined, so a new field shows without a change here. Pure formatting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from headwater import catalog
from headwater.catalog.factor_hashes import left_to_places
from headwater.catalog.kinds import PARTS, stale_after
from headwater.cli.waters import water_document, water_lines
from headwater.cli.writing import hanging, number
from headwater.records import Factor, Site

_STEP: Final = "  "
_DIGITS: Final = 7
# Said in the heading, or with the provenance.
_APART: Final = ("name", "title", "source", "checked", "confidence")
_COVERED: Final = {
    "sites": "every site with its cooling",
    "grids": "every grid",
    "carbon": "the carbon of every grid",
}


def as_text(kind: catalog.Kind, name: str, *, width: int) -> str:
    """The entry under a heading; for a site also the electricity behind it and the water that follows."""
    entry = catalog.entry(kind, name)
    lines = list(_entry(kind, entry, width=width))
    if kind == "factor_sets":
        lines += hanging(_covered(name), width=width, first=f"{_STEP}the hash covers  ")
    if isinstance(entry, Site):
        lines += ["", *_entry("grids", catalog.grid(entry.grid), width=width, before="the electricity behind it: ")]
        lines += ["", *water_lines(entry, width=width)]
    return "\n".join(lines)


def document(kind: catalog.Kind, name: str) -> dict[str, Any]:
    """The entry as JSON values; `stale_after` is filled in from the kind where the figure has none of its own."""
    entry = catalog.entry(kind, name)
    made = {"kind": kind, "name": name, "entry": _plain(kind, entry)}
    if kind == "factor_sets":
        made["hash_covers"] = _covered(name)
    if isinstance(entry, Site):
        made["electricity"] = _plain("grids", catalog.grid(entry.grid))
        made["water"] = water_document(entry)
    return made


def _covered(name: str) -> str:
    tables = catalog.tables()
    places = {kind: tables[kind] for kind in ("sites", "grids")}
    left = left_to_places(tables["factor_sets"][name], places)
    parts = [
        _COVERED["carbon" if kind == "grids" and left[kind] != places[kind] else kind]
        for kind in ("sites", "grids")
        if kind in left
    ]
    return " and ".join(["its own rules", *parts]) + (": where it has no figure, theirs count" if parts else "")


def _entry(kind: catalog.Kind, entry: Any, *, width: int, before: str = "") -> Iterator[str]:
    title = getattr(entry, "title", "")
    yield from hanging(f"{before}{entry.name} ({kind}){': ' if title else ''}{title}", width=width, further=_STEP)
    yield from _fields(kind, entry, width=width, indent=_STEP)


def _fields(kind: catalog.Kind, record: Any, *, width: int, indent: str) -> Iterator[str]:
    """Plain facts first, then what is known with a range, then the parts, then what there is no figure for."""
    all_of = {field.name: getattr(record, field.name) for field in fields(record) if field.name not in _APART}
    given = {name: value for name, value in all_of.items() if value not in (None, "", ())}
    figures = {name: value for name, value in given.items() if isinstance(value, Factor)}
    parts = {name: value for name, value in given.items() if is_dataclass(value) and name not in figures}
    facts = {name: value for name, value in given.items() if name not in figures | parts}
    wide = max((len(name) for name in facts), default=0) + len(_STEP)
    for name, value in facts.items():
        for line, text in enumerate(_texts(value)):
            yield from hanging(text, width=width, first=f"{indent}{('' if line else name).ljust(wide)}")
    if getattr(record, "source", ""):
        yield from _provenance(kind, record, width=width, indent=indent)
    for name, factor in figures.items():
        yield ""
        yield f"{indent}{name} = {_amount(factor)}"
        yield from _provenance(kind, factor, width=width, indent=indent + _STEP)
    for name, part in parts.items():
        yield ""
        yield from hanging(_part_heading(name, part), width=width, first=indent, further=indent + _STEP)
        yield from _fields(dict(PARTS).get(name, kind), part, width=width, indent=indent + _STEP)
    if unknown := [name for name, value in all_of.items() if value is None]:
        yield ""
        yield from hanging(", ".join(unknown), width=width, first=f"{indent}not given: ")


def _part_heading(name: str, part: Any) -> str:
    return ": ".join(filter(None, (name, getattr(part, "name", ""), getattr(part, "title", ""))))


def _texts(value: Any) -> list[str]:
    """A fact as text; a band has a line per method."""
    if isinstance(value, Mapping):
        return [f"{method}: x{low:g} to x{high:g}" for method, (low, high) in value.items()]
    if isinstance(value, tuple):
        return [", ".join(number(each, _DIGITS) if isinstance(each, float) else str(each) for each in value)]
    return [number(value, _DIGITS) if isinstance(value, int | float) else str(value)]


def _amount(factor: Factor) -> str:
    unit = "" if factor.unit in ("ratio", "exponent", "count") else f" {factor.unit}"
    return f"{number(factor.value, _DIGITS)}{unit} ({number(factor.low, _DIGITS)} to {number(factor.high, _DIGITS)})"


def _provenance(kind: catalog.Kind, of: Any, *, width: int, indent: str) -> Iterator[str]:
    """What is counted, how sure it is and until when, and the source."""
    if basis := getattr(of, "basis", ""):
        yield from hanging(basis, width=width, first=indent, further=indent)
    until = _stale_after(kind, of)
    checked = f", checked {of.checked}" if of.checked else ""
    yield f"{indent}{of.confidence}{checked}{f', stale after {until}' if until else ''}"
    yield from hanging(of.source, width=width, first=indent, further=indent)


def _stale_after(kind: catalog.Kind, of: Any) -> str | None:
    until = stale_after(kind, checked=of.checked, stale_after=getattr(of, "stale_after", ""))
    return None if until is None else until.isoformat()


def _plain(kind: catalog.Kind, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(kind, each) for name, each in value.items()}
    if not is_dataclass(value):
        return list(value) if isinstance(value, tuple) else value
    parts = dict(PARTS)
    made = {field.name: _plain(parts.get(field.name, kind), getattr(value, field.name)) for field in fields(value)}
    return made | {"stale_after": _stale_after(kind, value)} if "checked" in made else made
