"""`headwater doctor`: what is right and what is wrong with this installation. Prints what was found; changes nothing."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headwater import config
from headwater.cli import ConfigOption, app, explained, say
from headwater.cli.progress import progress
from headwater.printable import printable

if TYPE_CHECKING:
    from headwater.cli.checkup import Part
    from headwater.ledger.health import Finding

VERSION: Final = 1
_COLOURS: Final = {"ok": "green", "unknown": "blue", "warning": "yellow", "error": "red"}
_LEAST_WIDTH: Final = 60


@app.command()
def doctor(
    json_wanted: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    settings: ConfigOption = None,
) -> None:
    """Look at the settings, the data folder and the store, and say what is wrong and what helps. Exit code 1: something is.

    Works with and without a running server. Changes nothing; an embedded server that has accounts is started for the look, as
    for a report.

    \b
    Examples:
      headwater doctor
      headwater doctor --config /etc/headwater.toml
      headwater doctor --json | jq '.findings[] | select(.level == "error")'
    """
    from headwater.cli.checkup import examine

    with explained(), progress("journals") as stage:
        parts = list(examine(config.load(settings), stage("reading")))
    if json_wanted:
        say(json.dumps(document(parts), indent=2, ensure_ascii=False))
    else:
        width = get_terminal_size().columns if sys.stdout.isatty() else 0
        for line in lines(parts, width=width):
            say(line)
    if not all(part.is_sound for part in parts):
        raise typer.Exit(1)


def document(parts: Sequence[Part]) -> dict[str, Any]:
    """What was found, for programs."""
    return {
        "v": VERSION,
        **{level: _count(parts, level) for level in _COLOURS},
        "findings": [{"part": part.name, **asdict(finding)} for part in parts for finding in part.findings],
    }


def lines(parts: Sequence[Part], *, width: int = 0) -> Iterator[str]:
    """What was found, for people: level, name, what it is, and below it the remedy. `width`: of the terminal; 0: none."""
    wide = max((len(finding.name) for part in parts for finding in part.findings), default=0)
    for part in parts:
        yield part.name
        for finding in part.findings:
            yield from _told(finding, wide, width)
    counts = [(level, _count(parts, level)) for level in ("error", "warning")]
    told = [f"{count} {level}{'s' if count != 1 else ''}" for level, count in counts if count]
    yield ", ".join(told) or "nothing is wrong"


def _count(parts: Sequence[Part], level: str) -> int:
    return len([finding for part in parts for finding in part.findings if finding.level == level])


def _told(finding: Finding, wide: int, width: int) -> Iterator[str]:
    head = f"  {finding.level:8} {finding.name:{wide}}  "
    texts = [printable(finding.found), *([f"-> {printable(finding.remedy)}"] if finding.remedy else [])]
    room = max(_LEAST_WIDTH, width) - len(head) if width else 0
    body = [
        line
        for text in texts
        for line in (textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) if width else [text])
    ]
    for number, line in enumerate(body):
        yield f"{_coloured(head, finding.level) if not number else ' ' * len(head)}{line}".rstrip()


def _coloured(head: str, level: str) -> str:
    return head.replace(level, typer.style(level, fg=_COLOURS[level]), 1) if sys.stdout.isatty() else head
