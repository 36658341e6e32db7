"""What somebody may have meant by a name that nobody knows. Pure text."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_MOST_NEAR: Final = 5
_MOST_KNOWN: Final = 12
_SHORTEST_PART: Final = 3


def near(wanted: str, known: Iterable[str], aliases: Iterable[str] = ()) -> str:
    """The names that look like the wanted one, or contain it, in words; where there are none, those that are known.

    Aliases are named where they are like it, never just listed.
    """
    listed = sorted(set(known))
    names = sorted({*listed, *aliases})
    lowered = wanted.lower()
    like = get_close_matches(lowered, names, n=_MOST_NEAR)
    if len(lowered) >= _SHORTEST_PART:
        like += [name for name in names if lowered in name and name not in like]
    if like:
        return ", ".join(like[:_MOST_NEAR])
    more = f" and {len(listed) - _MOST_KNOWN} more" if len(listed) > _MOST_KNOWN else ""
    return ", ".join(listed[:_MOST_KNOWN]) + more
