"""`headwater recompute`: a month of the ledger under another factor set."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

import typer

from headwater import catalog, config
from headwater.cli import ConfigOption, app, explained, opened
from headwater.cli.estimate import Hydropower
from headwater.cli.progress import progress
from headwater.cli.report import ReportFormat


@app.command()
def recompute(
    factors: Annotated[
        str,
        typer.Option(metavar="SET", help="Factor set to recompute under; see headwater estimate --list factor_sets."),
    ],
    month: Annotated[str | None, typer.Option(help="Calendar month in UTC, like 2026-11. Default: this month.")] = None,
    hydro: Annotated[
        Hydropower | None, typer.Option(help="Water of hydropower. Default: the factor set's own.")
    ] = None,
    output_format: Annotated[ReportFormat, typer.Option("--format", help="What to print.")] = ReportFormat.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    settings: ConfigOption = None,
) -> None:
    """Print a month as charged and under another factor set, side by side. Exact: charge by charge, from what is stored.

    The ledger stays as it is. Single charges are kept for 400 days, unless [retention] says otherwise.

    \b
    Examples:
      headwater recompute --month 2026-11 --factors seed-2023
      headwater recompute --factors current-2026.11 --hydro exclude
      headwater recompute --month 2026-11 --factors li-2023 --format csv > november-li.csv
    """
    from headwater.reports import month_now, restated_csv, restated_json, restated_table, restatement

    output_format = ReportFormat.JSON if as_json else output_format
    with explained():
        wanted = catalog.factor_set(factors)
        if hydro is not None:
            wanted = replace(wanted, hydro=hydro.value)
        loaded = config.load(settings)
        with (
            opened(loaded) as reader,
            progress("charges") as stage,
        ):
            made = restatement(
                reader, month if month is not None else month_now(time.time()), wanted, tick=stage("recomputing")
            )
    render = {
        ReportFormat.TABLE: restated_table,
        ReportFormat.CSV: restated_csv,
        ReportFormat.JSON: restated_json,
    }[output_format]
    typer.echo(render(made), nl=False)
