"""`headwater close`: a month becomes a numbered, hashed statement that nobody edits."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater import config
from headwater.cli import ConfigOption, app, explained, opened, say
from headwater.cli.progress import progress
from headwater.errors import ConfigError

if TYPE_CHECKING:
    from headwater.ledger.statements import Head


@app.command()
def close(
    month: Annotated[str | None, typer.Argument(metavar="[MONTH]", help="Calendar month in UTC, like 2026-10.")] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Recompute the hash of a closed month from its rows; without MONTH, of all."),
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the closed months.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    settings: ConfigOption = None,
) -> None:
    """Close a month: freeze its accounts in numbered statements with a SHA-256 over all of them.

    Possible 72 hours after the month (`[ledger] grace_hours`). What is charged to it later is listed as corrections in the
    statement that is closed next; a statement is never edited. Closing can be interrupted and repeated at any time; a month
    that is closed stays as it is. `headwater report --month 2026-10` prints the statement.

    \b
    Examples:
      headwater close 2026-10
      headwater close --list
      headwater close --verify 2026-10
      headwater close --verify --json
    """
    from headwater.ledger import closing
    from headwater.ledger.durability import wait_durable
    from headwater.ledger.statements import Statements
    from headwater.reports.statement import checked_month

    with explained():
        if listed == (month is not None) and not verify:
            raise ConfigError("name a month to close, like 2026-10, or say --list")
        if listed and verify:
            raise ConfigError("--list and --verify are two things; say one of them")
        if month is not None:
            checked_month(month)
        loaded = config.load(settings)
        with (
            opened(loaded) as reader,
            progress("rows") as stage,
        ):
            statements = Statements(reader.books)
            if month is not None and not verify:
                heads = [
                    closing.close(
                        reader.books,
                        month,
                        grace_hours=loaded.ledger.grace_hours,
                        clock=time.time,
                        tick=stage(f"closing {month}"),
                    )
                ]
                wait_durable(reader.books.store.endpoint)
            else:
                heads = statements.heads()
            erased: dict[str, int] = {}
            if verify:
                statements.verify_chain(heads)
                heads = [head for head in heads if month in (None, head.month)]
                if month is not None and not heads:
                    raise ConfigError(f"{month} is not closed; headwater close --list names the months that are")
                erased = {head.month: statements.verify(head, stage(f"verifying {head.month}")) for head in heads}
    if as_json:
        say(json.dumps([_said(head, erased) for head in heads], indent=2))
        return
    for line in _lines(heads, erased):
        say(line)


def _lines(heads: Sequence[Head], erased: dict[str, int]) -> list[str]:
    from headwater.ledger.closing import moment

    lines = [] if heads else ["no month is closed"]
    for head in heads:
        corrected = f", corrects {', '.join(head.corrected)}" if head.corrected else ""
        lines.append(
            f"{head.month}  closed on {moment(head.closed_s)}: {head.users_count:,} statements, "
            f"{head.total(head.month)[0]:,} requests{corrected}"
        )
        lines.append(f"         sha256 {head.sha256}")
        if head.month in erased:
            gone = f"; {erased[head.month]:,} links to users are erased" if erased[head.month] else ""
            lines.append(f"         verified: {head.rows_count:,} rows give this hash{gone}")
    return lines


def _said(head: Head, erased: dict[str, int]) -> dict[str, Any]:
    verified = {"verified": True, "erased_links": erased[head.month]} if head.month in erased else {}
    return {
        "number": head.number,
        "month": head.month,
        "closed_s": head.closed_s,
        "statements": head.users_count,
        "rows": head.rows_count,
        "requests": head.total(head.month)[0],
        "corrects": list(head.corrected),
        "sha256": head.sha256,
        "previous_sha256": head.previous_sha256 or None,
        **verified,
    }
