"""`headwater audit`: accounts recounted from every single charge."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from headwater import config
from headwater.cli import ConfigOption, app, explained, opened
from headwater.cli.progress import progress
from headwater.errors import ConfigError


@app.command()
def audit(
    month: Annotated[str | None, typer.Option(help="Calendar month in UTC, like 2026-11. Default: this month.")] = None,
    day: Annotated[str | None, typer.Option(help="A UTC day alone, like 2026-11-23.")] = None,
    exported: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="DIR", help="Recount from what headwater export wrote, and the stream beyond it."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the audit as JSON.")] = False,
    settings: ConfigOption = None,
) -> None:
    """Recount every account from the single charges, in whole numbers, and compare: users' months and days, totals, documents.

    Everything is equal to the last unit, or each difference is named, and the exit code is 1. A running month can be audited
    while charges come in. Single charges are kept for 400 days; an export of them for as long as you keep it.

    \b
    Examples:
      headwater audit --month 2026-11
      headwater audit --day 2026-11-23 --json
      headwater audit --month 2026-11 --from ./charges
    """
    from headwater.audit import as_document, as_text
    from headwater.audit import audit as recounted
    from headwater.exports import Exported

    with explained():
        period = _period(month, day)
        folder = None if exported is None else Exported(exported)
        loaded = config.load(settings)
        with (
            opened(loaded) as reader,
            progress("charges") as stage,
        ):
            found = recounted(reader.books, period, exported=folder, tick=stage("recounting"))
    typer.echo(json.dumps(as_document(found), indent=2) if as_json else as_text(found), nl=as_json)
    if not found.is_equal:
        raise typer.Exit(1)


def _period(month: str | None, day: str | None) -> str:
    from headwater.ledger import schema
    from headwater.reports import month_now

    if month is not None and day is not None:
        raise ConfigError("--month and --day exclude each other; a day is audited alone")
    period = day or month or month_now(time.time())
    try:
        if schema.is_month(period) == (day is not None) or schema.period_start_ms(period) < 0:
            raise ValueError
    except ValueError:
        wanted = "a day is written like 2026-11-23" if day is not None else "a month is written like 2026-11"
        raise ConfigError(f"{wanted}, not {period!r}") from None
    return period
