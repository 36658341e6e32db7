"""`headwater report` and `headwater explain`: what the ledger says of a month, and of one request."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from typing import Annotated

import typer

from headwater import config
from headwater.cli import ConfigOption, app, explained, opened, place
from headwater.cli.progress import progress
from headwater.errors import ConfigError, LedgerError
from headwater.printable import printable


class ReportFormat(StrEnum):
    """What `report` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command()
def report(
    month: Annotated[str | None, typer.Option(help="Calendar month in UTC, like 2026-11. Default: this month.")] = None,
    output_format: Annotated[ReportFormat, typer.Option("--format", help="What to print.")] = ReportFormat.TABLE,
    without_cost: Annotated[
        bool,
        typer.Option("--no-cost", help="Leave the cost out: it is added up from every single charge of the month."),
    ] = False,
    settings: ConfigOption = None,
) -> None:
    """Print the usage statement of a month: energy, water and carbon per user, and cost where the settings have a tariff.
    Works with and without a running server.

    \b
    Examples:
      headwater report
      headwater report --month 2026-11 --format csv > november.csv
      headwater report --format json | jq '.rows[] | {user, energy_j}'
    """
    from headwater.reports import as_csv, as_json, as_table, costs, month_now, statement
    from headwater.tariffs import Pricing

    with explained():
        loaded = config.load(settings)
        pricing = Pricing(loaded)
        with opened(loaded) as reader:
            made = statement(reader, month if month is not None else month_now(time.time()))
            found = None
            if pricing and not without_cost:
                with progress("charges") as stage:
                    found = costs(reader, made, pricing, stage("adding up costs"))
    if found is not None and found.reason and output_format is ReportFormat.CSV:
        typer.echo(f"headwater: without costs: {printable(found.reason)}", err=True)
    render = {ReportFormat.TABLE: as_table, ReportFormat.CSV: as_csv, ReportFormat.JSON: as_json}[output_format]
    typer.echo(render(made, found), nl=False)


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
