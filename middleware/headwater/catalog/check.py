"""All entries of the catalog -> what is wrong with them, one problem each. Pure: tables and a day in, records out.

Finds what a reader of the tables cannot see from one entry alone: names that lead nowhere or to two entries, figures without
a source that says something, and figures that should be looked up again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from headwater.catalog.decode import decode, decode_factor
from headwater.catalog.kinds import KINDS, PARTS, RECORDS, Kind, stale_after
from headwater.catalog.near import near
from headwater.errors import CatalogError

Table = Mapping[str, Any]
Tables = Mapping[Kind, Mapping[str, Table]]
"""Kind -> name -> table, as they are written, with what an entry is `like` and a site's parts put in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to correct. `figure` is its path inside the entry; empty: the entry as a whole."""

    kind: Kind
    entry: str
    figure: str
    what: str
    remedy: str


_PLACEHOLDERS: Final = re.compile(
    r"\b(?:todo|tbd|tba|tbc|fixme|xxx+|placeholder|dummy|lorem|citation needed|source needed)\b|\?\?"
    r"|^\W*(?:n/?a|none|unknown|source|internet|web|somewhere|various|see above|-+|\?)?\W*$",
    re.IGNORECASE,
)
_NAMES_A_DOCUMENT: Final = re.compile(
    r"(?<!\d)(?:19|20)\d\d(?!\d)|arxiv|\bdoi\b|\bisbn\b|https?://|\w\.(?:com|org|net|gov|edu|io|eu|int)\b"
    r"|\bet al\.|repository|article|\bannex\b|\btable\b"
    # Documents of programs: a version, a file of a repository, a maker's own pages.
    r"|\bFY\d\d\b|\bv\d|\w\.(?:json|toml|ya?ml|csv|py|pdf)\b"
    r"|documentation|datasheet|whitepaper|fact sheet|model card|configuration|\blogs\b|digest|quoted|listed",
    re.IGNORECASE,
)
# No document, and it says so: how the figure was come by, or which one it was taken from.
_SAYS_HOW: Final = re.compile(
    r"\b(?:comput|estimat|judge?ment|defin|fitted|\bfit\b|by hand|measured|extrapolated|widened|by a search)"
    r"|\b(?:not|no|nothing|none)\b.*\b(?:read|published|found|known)\b|\bas (?:above|\w[\w.]*-[\w.-]+)",
    re.IGNORECASE,
)


def check(tables: Tables, *, as_of: date) -> list[Problem]:
    """Everything that is wrong on a day, in the order of the tables. What several entries share is told once."""
    problems: list[Problem] = []
    seen: set[int] = set()
    for kind in KINDS:
        for name, table in tables.get(kind, {}).items():
            problems += _entry(kind, name, table, tables, as_of, seen)
    return [*problems, *_aliases(tables.get("models", {}))]


def figures_count(tables: Tables) -> int:
    """How many figures and other dated statements the tables hold; what several entries share counts once."""
    return len({id(part) for kind in tables for table in tables[kind].values() for _, part in _dated(kind, table)})


def _entry(kind: Kind, name: str, table: Table, tables: Tables, as_of: date, seen: set[int]) -> Iterator[Problem]:
    parts = [(path, part) for path, part in _dated(kind, table) if id(part) not in seen]
    seen |= {id(part) for _, part in parts}
    broken = [*_names(kind, name, table, tables), *_malformed(kind, name, parts)]
    yield from broken or _refused(kind, name, table)
    for path, part in parts:
        for what, remedy in _provenance(kind, part, as_of):
            yield Problem(kind=kind, entry=name, figure=path, what=what, remedy=remedy)


def _dated(kind: Kind, table: Table, path: str = "") -> Iterator[tuple[str, Table]]:
    """An entry's figures, and whatever else in it has a source of its own, with their paths."""
    if not {"value", "source", "checked", "confidence"}.isdisjoint(table):
        yield path, table
    # A site's parts are entries of their own kinds.
    apart = dict(PARTS) if kind == "sites" else {}
    for key, value in table.items():
        if isinstance(value, Mapping) and key not in apart:
            yield from _dated(kind, value, f"{path}.{key}" if path else key)


def _malformed(kind: Kind, name: str, parts: list[tuple[str, Table]]) -> Iterator[Problem]:
    for path, part in parts:
        if "value" in part:
            at = f"{kind}.{name}.{path}"
            try:
                # What unit a claim's figure has, its own name says.
                decode_factor(part, at=at, name=name if kind == "claims" else path.rpartition(".")[2])
            except CatalogError as error:
                yield _told(kind, name, path, str(error).removeprefix(at).lstrip(":. "))


def _refused(kind: Kind, name: str, table: Table) -> Iterator[Problem]:
    """What the decoder has against an entry whose figures it takes one by one."""
    at = f"{kind}.{name}"
    try:
        decode(RECORDS[kind], {"name": name, **table}, at=at)
    except CatalogError as error:
        rest = str(error).removeprefix(at)
        where = re.match(r"\.([\w.\[\]]+)", rest)
        yield _told(kind, name, where[1] if where else "", rest[where.end() if where else 0 :].lstrip(": "))


def _told(kind: Kind, name: str, figure: str, what: str) -> Problem:
    return Problem(kind=kind, entry=name, figure=figure, what=what, remedy=f"write it as records of {kind} are defined")


def _names(kind: Kind, name: str, table: Table, tables: Tables) -> Iterator[Problem]:
    """Names in an entry that lead nowhere."""
    named: list[tuple[str, Kind, Any]] = [("like", kind, table.get("like"))]
    if kind == "sites":
        # A part that was found stands here whole.
        named += [(part, parts, table.get(part)) for part, parts in PARTS]
        named += [("grid", "grids", table.get("grid"))]
    if kind == "engines":
        fitted = table.get("fitted_hardware", ())
        named += [("fitted_hardware", "hardware", server) for server in fitted]
    for key, of, wanted in named:
        known = tables.get(of, {})
        if isinstance(wanted, str) and wanted not in known:
            yield Problem(
                kind=kind,
                entry=name,
                figure=key,
                what=f"{wanted!r} is not in the catalog of {of}",
                remedy=f"add it there, or name one that is: {near(wanted, known) or 'there is none'}",
            )


def _provenance(kind: Kind, part: Table, as_of: date) -> Iterator[tuple[str, str]]:
    """What is wrong with a statement's source and dates, and the remedy."""
    source, checked, own = (part.get(key, "") for key in ("source", "checked", "stale_after"))
    if isinstance(source, str) and source.strip():
        if _PLACEHOLDERS.search(source):
            yield f"source {source!r} is a placeholder", "name the document that was read, or say how it was estimated"
        elif not (_NAMES_A_DOCUMENT.search(source) or _SAYS_HOW.search(source)):
            yield (
                f"source {source!r} names no document",
                "give its year, arXiv number, DOI or address; or say that it is a judgement, computed, or not measured",
            )
    if part.get("confidence") == "own":
        yield (
            "confidence 'own' is for operators' settings",
            "say measured, reported or estimated, and when it was checked",
        )
    if own and not _day(own):
        yield (
            f"stale_after {own!r} is no date like 2026-11-23",
            "give the day after which to look it up again, or leave it out",
        )
        own = ""
    if (seen := _day(checked)) is None:  # the decoder has told of it
        return
    if seen > as_of:
        yield f"checked {checked} lies after {as_of}", "give the day on which its source was looked at"
    until = stale_after(kind, checked=checked, stale_after=own)
    if until is not None and until < as_of:
        yield f"is stale after {until} (checked {checked})", "look its source up again; renew value and checked"


def _day(text: Any) -> date | None:
    try:
        day = date.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return day if day.isoformat() == text else None


def _aliases(models: Mapping[str, Table]) -> Iterator[Problem]:
    """Names under which two models would be found."""
    owners = {name.lower(): name for name in models}
    for name, table in models.items():
        aliases = table.get("aliases", ())
        for alias in aliases if isinstance(aliases, list | tuple) else ():
            owner = owners.setdefault(str(alias).lower(), name)
            if owner != name:
                yield Problem(
                    kind="models",
                    entry=name,
                    figure="aliases",
                    what=f"{alias!r} means {owner} too",
                    remedy="take it out of one of the two",
                )
