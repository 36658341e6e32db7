"""Numbers and long texts for a terminal, further lines hanging under the first. Pure but for the terminal's width."""

from __future__ import annotations

import shutil
from textwrap import wrap
from typing import Final

NARROWEST: Final = 80
WIDEST: Final = 120
_LONGEST_WHOLE: Final = 1e15


def width() -> int:
    """The columns to write in: the terminal's (or COLUMNS), from 80 to 120; 120 into a pipe."""
    return min(max(shutil.get_terminal_size((WIDEST, 1)).columns, NARROWEST), WIDEST)


def hanging(text: str, *, width: int, first: str = "", further: str | None = None) -> list[str]:
    """The text in lines of at most `width`, behind `first`, then behind as many spaces; no word is broken."""
    indent = " " * len(first) if further is None else further
    return wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def number(value: float, digits: int) -> str:
    """A number in full where it is whole, else with so many significant digits."""
    if float(value).is_integer() and abs(value) < _LONGEST_WHOLE:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
