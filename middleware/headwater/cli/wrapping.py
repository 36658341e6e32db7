"""Text of any length -> lines for a terminal, further ones hanging under the first. Pure but for the terminal's width."""

from __future__ import annotations

import shutil
from textwrap import wrap
from typing import Final

NARROWEST: Final = 80
WIDEST: Final = 120


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
