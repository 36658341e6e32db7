"""Progress of long work, on stderr. Knows no command."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer

Tick = Callable[[int, float], None]
"""Told now and then: how many are done, and the share of all, from 0 to 1; 0 where it is not known."""
_QUIET_S: Final = 1.0
"""Work that ends sooner shows no progress."""
_EVERY_S: Final = 0.2
_CLEAR_LINE: Final = "\r\033[K"


@contextmanager
def progress(things: str) -> Iterator[Callable[[str], Tick]]:
    """Progress on a terminal, while the work is long; nothing anywhere else. The line is gone when the work is done.

    `things` are what is counted: rows, charges.
    """
    shown = False

    def stage(name: str) -> Tick:
        started_s = told_s = time.monotonic()

        def tick(done_count: int, done_ratio: float) -> None:
            nonlocal shown, told_s
            now_s = time.monotonic()
            if not sys.stderr.isatty() or now_s - started_s < _QUIET_S or now_s - told_s < _EVERY_S:
                return
            told_s, shown = now_s, True
            taken_s = now_s - started_s
            words = f"{name}: {done_count:,} {things}, {done_count / taken_s:,.0f} {things}/s"
            if done_ratio > 0:
                words += f", {done_ratio:.0%}, {taken_s * (1 - done_ratio) / done_ratio:.0f} s left"
            typer.echo(f"{_CLEAR_LINE}headwater: {words}", err=True, nl=False)

        return tick

    try:
        yield stage
    finally:
        if shown:
            typer.echo(_CLEAR_LINE, err=True, nl=False)
