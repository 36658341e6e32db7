"""`headwater report` and `headwater explain`: what the ledger says of a month, and of one request."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Final

import typer

from headwater import config
from headwater.cli import ConfigOption, app, explained, opened, place
from headwater.cli.progress import progress
from headwater.errors import ConfigError, LedgerError
from headwater.printable import printable

TOP_COUNT: Final = 50
HELD_CHARACTERS: Final = 1024 * 1024


class ReportFormat(StrEnum):
    """What `report` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command()
def report(
    month: Annotated[str | None, typer.Option(help="Calendar month in UTC, like 2026-11. Default: this month.")] = None,
    output_format: Annotated[ReportFormat, typer.Option("--format", help="What to print.")] = ReportFormat.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    top_count: Annotated[
        int,
        typer.Option("--top", min=1, help="So many accounts in the table, most energy first; the others in one line."),
    ] = TOP_COUNT,
    every: Annotated[bool, typer.Option("--all", help="All accounts in the table.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="A closed month's accounts as they are now, with what was charged since.")
    ] = False,
    without_cost: Annotated[
        bool,
        typer.Option(
            "--no-cost",
            help="Leave the cost out: it is added up from every single charge of the month, with all accounts in memory.",
        ),
    ] = False,
    settings: ConfigOption = None,
) -> None:
    """Print the usage statement of a month: energy, water and carbon per user, and cost where the settings have a tariff.
    Of a closed month, what was frozen: the same each time. Works with and without a running server.

    csv and json have every account, in the order of the store, and are written as they are read.

    \b
    Examples:
      headwater report
      headwater report --month 2026-11 --format csv > november.csv
      headwater report --month 2026-11 --live --top 10
      headwater report --format json | jq '.rows[] | {user, energy_j}'
    """
    from headwater.reports import accounts, costs, csv_pieces, json_pieces, month_now, since_words, table
    from headwater.tariffs import Pricing

    output_format = ReportFormat.JSON if as_json else output_format
    with explained():
        loaded = config.load(settings)
        pricing = Pricing(loaded)
        with opened(loaded) as reader, progress("accounts") as stage:
            found = accounts(reader, month if month is not None else month_now(time.time()), live=live)
            priced = None
            if pricing and not without_cost:
                found = found.held(stage("reading accounts"))
                with progress("charges") as charges:
                    priced = costs(reader, found.statement(), pricing, charges("adding up costs"))
            tick = stage("reading accounts")
            if output_format is ReportFormat.TABLE:
                typer.echo(table(found, priced, top=None if every else top_count, tick=tick), nl=False)
                return
            pieces = csv_pieces if output_format is ReportFormat.CSV else json_pieces
            for piece in held_back(pieces(found, priced, tick)):
                sys.stdout.write(piece)
            sys.stdout.flush()
    for told in since_words(found.month, found.since):
        typer.echo(f"headwater: {told}", err=True)
    if priced is not None and priced.reason and output_format is ReportFormat.CSV:
        typer.echo(f"headwater: without costs: {printable(priced.reason)}", err=True)


def held_back(pieces: Iterable[str]) -> Iterator[str]:
    """The same pieces; but as long as they are not many, none before all are there: what fails has then printed nothing."""
    first: list[str] = []
    size = 0
    rest = iter(pieces)
    for piece in rest:
        first.append(piece)
        size += len(piece)
        if size > HELD_CHARACTERS:
            break
    yield from first
    yield from rest


@app.command()
def explain(
    request_id: Annotated[
        str, typer.Argument(metavar="ID", help="The Headwater-Id of a reply, while its receipt is kept: 48 hours.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
    settings: ConfigOption = None,
) -> None:
    """Print the receipt of one request: every factor, its source, every step with its numbers.

    \b
    Examples:
      headwater explain 01K9Z3M6V9R2W0Y8C4S1T7B5QH
      headwater explain 01K9Z3M6V9R2W0Y8C4S1T7B5QH --json
    """
    from headwater import ulid
    from headwater.receipts import as_text, receipt
    from headwater.tariffs import Pricing

    with explained():
        if not ulid.is_valid(request_id.upper()):
            raise ConfigError(
                f"{request_id!r} is no request id; a Headwater-Id has 26 digits and letters without I, L, O, U"
            )
        loaded = config.load(settings)
        pricing = Pricing(loaded)
        with opened(loaded) as reader:
            charge = reader.receipt(request_id.upper())
            if charge is None:
                raise LedgerError(
                    f"there is no receipt {request_id} in the ledger ({place(loaded)}); receipts are kept for "
                    f"{reader.receipts_hours} hours"
                )
            document = receipt(charge, reader.document(charge.deployment_hash), pricing)
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else as_text(document), nl=as_json)
