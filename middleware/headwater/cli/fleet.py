"""`headwater fleet`: the arithmetic of the 2023 articles on any fleet. Reads options; prints what came out."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from headwater import catalog
from headwater.bars import as_html, as_svg
from headwater.cli import app, explained, say
from headwater.cli.estimate import Hydropower
from headwater.cli.fleets import as_bars, as_json, as_steps, as_table
from headwater.cli.own import OwnOption, own_hint, own_places, placed
from headwater.cli.plots import plot_suffix, write_plot
from headwater.errors import CatalogError, ConfigError
from headwater.fleet import Answer, Fleet, answer
from headwater.records import Hydro, Precision

_PLOTS: Final = {".svg": as_svg, ".html": as_html}
# How the parameters of a fleet are called on the command line, where not like themselves.
_OPTIONS: Final = {
    "input_tokens": "--input",
    "output_tokens": "--output",
    "accelerators_per_replica": "--per-replica",
}


@app.command()
def fleet(
    accelerators: Annotated[int, typer.Option(help="Accelerators of the whole fleet, in whole servers.")] = (
        Fleet.accelerators
    ),
    hardware: Annotated[str, typer.Option(help="The servers.")] = "dgx-a100",
    load: Annotated[
        float | None,
        typer.Option(help="Share of the time in which servers are at work, 0 to 1; else as the factor set says."),
    ] = None,
    hours: Annotated[float, typer.Option(help="How long; 720 are 30 days.")] = Fleet.hours,
    price: Annotated[float | None, typer.Option(help="Of one server; else a list price, where one was read.")] = None,
    currency: Annotated[str, typer.Option(help="Of the price.")] = Fleet.currency,
    site: Annotated[str, typer.Option(help="Data centre or region.")] = "us-average",
    factors: Annotated[str, typer.Option(help="The factor set.")] = catalog.CURRENT_FACTORS,
    hydro: Annotated[
        Hydropower | None,
        typer.Option(help="Reservoir evaporation in the water of electricity; else as the factor set says."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="What the servers run; with --input and --output.")] = None,
    input_tokens: Annotated[int | None, typer.Option("--input", help="Tokens of the prompt of a mean request.")] = None,
    output_tokens: Annotated[int | None, typer.Option("--output", help="Tokens of its answer.")] = None,
    concurrency: Annotated[
        float | None, typer.Option(help="Requests in flight on one copy of the model; else the engine's usual number.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Of the weights; else as published.")] = None,
    engine: Annotated[str | None, typer.Option(help="The serving engine; else the one that fits the servers.")] = None,
    per_replica: Annotated[
        int | None, typer.Option(help="Accelerators for one copy of the model; else the fewest that hold its weights.")
    ] = None,
    visits: Annotated[float | None, typer.Option(help="Visits of users in these hours: what one comes to.")] = None,
    requests_per_visit: Annotated[float | None, typer.Option(help="Requests of one visit.")] = None,
    settings: OwnOption = None,
    steps: Annotated[bool, typer.Option("--steps", help="Print every factor with its source, and every step.")] = False,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.(svg|html)", help="Draw energy and water under the factor sets, side by side."),
    ] = None,
) -> None:
    """Power, energy, water, carbon, cost and capacity of a fleet of accelerators, as the press articles of 2023 reckon them
    (--factors seed-2023), or as is known now; and where those articles contradict themselves.

    \b
    Examples:
      headwater fleet --accelerators 10000 --hardware dgx-a100 --factors seed-2023
      headwater fleet --hardware hgx-h100 --accelerators 4096 --model llama-3.1-70b --input 800 --output 300 --concurrency 64
      headwater fleet --factors seed-2023 --visits 600000000 --requests-per-visit 20
      headwater fleet --factors seed-2023 --json | jq '{power_kw, water_onsite_l, capital_cost}'
      headwater fleet --site azure-westus3 --plot fleet.html
    """
    given: dict[str, Any] = {
        "accelerators": accelerators,
        "hardware": hardware,
        "load": load,
        "hours": hours,
        "price": price,
        "currency": currency,
        "factors": factors,
        "hydro": cast("Hydro | None", hydro and hydro.value),
        "model": model,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "concurrency": concurrency,
        "precision": cast("Precision | None", precision),
        "engine": engine,
        "accelerators_per_replica": per_replica,
        "visits": visits,
        "requests_per_visit": requests_per_visit,
    }
    with explained():
        suffix = None if plot is None else plot_suffix(plot, _PLOTS)
        made = _answered(given | placed(own_places(settings), site))
        if plot is not None and suffix is not None:
            write_plot(plot, _PLOTS[suffix](as_bars(made)).encode())
    if json_wanted:
        say(json.dumps(as_json(made, steps=steps), indent=2, ensure_ascii=False))
        return
    say(as_table(made))
    if steps:
        say(as_steps(made))


def _answered(given: dict[str, Any]) -> Answer:
    """The answer. What cannot be right is said in the words of the command line."""
    try:
        return answer(Fleet(**given))
    except (ValueError, CatalogError) as error:
        name, space, rest = str(error).partition(" ")
        known = {field.name for field in fields(Fleet)}
        option = _OPTIONS.get(name, f"--{name.replace('_', '-')}") if name in known else name
        raise ConfigError(f"{option}{space}{rest}{own_hint(str(error))}") from None
