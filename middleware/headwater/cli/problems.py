"""What the check of the catalog found -> lines for people, JSON for programs. Pure formatting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any, Final

from headwater import catalog
from headwater.catalog.check import Problem

VERSION: Final = 1


def as_line(problem: Problem) -> str:
    """Kind, entry, figure, what is wrong, and the remedy."""
    figure = f" {problem.figure}" if problem.figure else ""
    return f"{problem.kind} {problem.entry}{figure}: {problem.what}; {problem.remedy}"


def summary(*, figures: int, as_of: date) -> str:
    """What was checked, on one line, and below it the hashes of the factor sets."""
    counts = {kind: len(catalog.names(kind)) for kind in catalog.KINDS}
    kinds = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items() if count)
    head = f"no problems as of {as_of}: {sum(counts.values()):,} entries ({kinds}) with {figures:,} dated figures"
    hashes = _hashes()
    wide = max(map(len, hashes), default=0)
    return "\n".join([head, *(f"factor set {name.ljust(wide)}  {digits}" for name, digits in hashes.items())])


def checked_document(problems: Sequence[Problem], *, figures: int, as_of: date) -> dict[str, Any]:
    """The same for programs."""
    return {
        "v": VERSION,
        "as_of": as_of.isoformat(),
        "entries": {kind: len(catalog.names(kind)) for kind in catalog.KINDS},
        "figures": figures,
        "factor_sets": {} if any(problem.kind == "factor_sets" for problem in problems) else _hashes(),
        "problems": [asdict(problem) for problem in problems],
    }


def _hashes() -> dict[str, str]:
    return {name: catalog.factor_set(name).document_hash for name in catalog.names("factor_sets")}
