"""`headwater replay`: arguments in, printing and exit codes out. Exit code 2: the trace or an option cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from headwater.cli import app, explained
from headwater.cli.estimate import Hydropower
from headwater.cli.plots import plot_suffix, write_plot
from headwater.cli.progress import progress
from headwater.errors import ConfigError
from headwater.records import Precision

if TYPE_CHECKING:
    from headwater.replay.run import Result

_PLOTS: Final = (".png", ".svg", ".html")


class Grouping(StrEnum):
    """What a line of the table stands for."""

    USER = "user"
    MODEL = "model"
    HOUR = "hour"


class TimeUnitChoice(StrEnum):
    """What numbers in the column of time are."""

    AUTO = "auto"
    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"


@app.command()
def replay(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV or JSON Lines, also gzipped; - reads standard input.")
    ],
    model: Annotated[str | None, typer.Option(help="Catalog name of the model, for rows that name none.")] = None,
    served_as: Annotated[
        list[str] | None,
        typer.Option(
            "--as", metavar="NAME=MODEL", help="What a model name of the trace is in the catalog; repeatable."
        ),
    ] = None,
    hardware: Annotated[str, typer.Option(help="Server that the trace runs on.")] = "hgx-h100",
    accelerators: Annotated[
        int | None,
        typer.Option(min=1, help="Accelerators that hold one copy of the model. Default: the fewest that do."),
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, max=10_000, help="Such copies, which share the requests.")] = 1,
    precision: Annotated[
        str | None, typer.Option(help="Of the weights. Default: the one that the model was published in.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Serving engine. Default: the usual one of the hardware.")] = None,
    site: Annotated[str, typer.Option(help="Data centre or region.")] = "us-average",
    factors: Annotated[str | None, typer.Option(help="Factor set. Default: the current one.")] = None,
    hydro: Annotated[
        Hydropower | None, typer.Option(help="Water of hydropower. Default: the factor set's own.")
    ] = None,
    max_concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=65_536, help="Most in flight on a replica; others wait. Default: as the engine's fit."),
    ] = None,
    time_unit: Annotated[
        TimeUnitChoice,
        typer.Option(
            help="Of timestamps that are numbers; durations are seconds, or milliseconds where the column's name ends in _ms."
        ),
    ] = TimeUnitChoice.AUTO,
    by: Annotated[Grouping, typer.Option(help="What a line of the table stands for.")] = Grouping.MODEL,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the series over time.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.(png|svg|html)", help="Draw power and concurrency over time.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out, and count them.")] = False,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave rows of unknown models out, and count them.")
    ] = False,
) -> None:
    """Energy, water and carbon of a recorded trace: timestamp, input tokens, output tokens; optionally cached tokens,
    model, user, and duration_s or latency, which is simulated where it was not recorded.

    \b
    Examples:
      headwater replay trace.csv --model llama-3.1-70b
      headwater replay trace.csv --model llama-3.1-70b --replicas 4 --by hour --plot trace.html
      ssh gateway cat requests.jsonl | headwater replay - --as prod-chat=llama-3.1-8b --json | jq .total
    """
    from headwater import catalog
    from headwater.replay.reading import read
    from headwater.replay.render import as_json as to_json
    from headwater.replay.render import as_table
    from headwater.replay.run import replay as run
    from headwater.replay.serving import Plan

    with explained():
        draw = None if plot is None else _drawing(plot)
        plan = Plan(
            model=model,
            served_as=_pairs(served_as or []),
            hardware=hardware,
            accelerators=accelerators,
            replicas=replicas,
            precision=cast("Precision | None", precision),
            engine=engine,
            site=site,
            factors=catalog.CURRENT_FACTORS if factors is None else factors,
            hydro=None if hydro is None else hydro.value,
            most_count=max_concurrency,
            skip_unknown=skip_unknown,
        )
        with progress("rows") as stage:
            trace = read(file, unit=time_unit.value, skip_bad=skip_bad, tick=stage("reading"))
            result = run(trace, plan, by=by.value, progress=stage)
        if plot is not None and draw is not None:
            write_plot(plot, draw(result))
    typer.echo(to_json(result) if as_json else as_table(result), nl=False)


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = {}
    for pair in given:
        name, equals, entry = pair.rpartition("=")
        if not (name and equals and entry):
            raise ConfigError(f"--as {pair!r} must be NAME=MODEL, like --as prod-chat=llama-3.1-8b")
        pairs[name] = entry
    return pairs


def _drawing(path: Path) -> Callable[[Result], bytes]:
    """What makes the plot's file; refused before the work, not after it."""
    suffix = plot_suffix(path, _PLOTS)
    if suffix == ".png":
        from headwater.replay.png import as_png, check

        check()
        return as_png
    from headwater.replay.page import as_html
    from headwater.replay.svg import as_svg

    return lambda result: (as_html if suffix == ".html" else as_svg)(result).encode()
