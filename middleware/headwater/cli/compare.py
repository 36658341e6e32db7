"""`headwater compare`: one request on many models, servers and sites, side by side. Reads options; prints what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from headwater import catalog
from headwater.bars import as_html, as_svg
from headwater.cli import app, explained, say
from headwater.cli.comparisons import as_bars, as_csv, as_json, as_table
from headwater.cli.estimate import Hydropower, checked_case, warn
from headwater.cli.own import OwnOption, own_places, placed
from headwater.cli.plots import plot_suffix, write_plot
from headwater.cli.reasons import pairs
from headwater.comparisons import compared
from headwater.errors import ConfigError
from headwater.records import Hydro, Precision

_MOST_COMBINATIONS: Final = 1_000
_PLOTS: Final = {".svg": as_svg, ".html": as_html}


class Sorting(StrEnum):
    """What rows are sorted by."""

    WATER = "water"
    ENERGY = "energy"
    CARBON = "carbon"


@app.command()
def compare(
    input_tokens: Annotated[int, typer.Option("--input", help="Tokens of the prompt, cached ones included.")],
    output_tokens: Annotated[int, typer.Option("--output", help="Tokens of the answer, reasoning included.")],
    models: Annotated[str, typer.Option(metavar="A,B", help="Models of the catalog, or names they are served under.")],
    sites: Annotated[str, typer.Option(metavar="X,Y", help="Data centres or regions.")] = "us-average",
    hardware: Annotated[str, typer.Option(metavar="P,Q", help="Servers.")] = "hgx-h100",
    factors: Annotated[str, typer.Option(metavar="S,T", help="Factor sets.")] = catalog.CURRENT_FACTORS,
    hydro: Annotated[
        str | None,
        typer.Option(
            metavar="include,exclude",
            help="Reservoir evaporation in the water of electricity; else as each factor set says.",
        ),
    ] = None,
    cached_tokens: Annotated[
        int | None, typer.Option("--cached", help="Input tokens that the server had in its cache.")
    ] = None,
    accelerators: Annotated[
        int | None, typer.Option(help="Accelerators for one copy of a model; else the fewest that hold its weights.")
    ] = None,
    concurrency: Annotated[
        float | None, typer.Option(help="Requests in flight, this one included; else the engine's usual number.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of the weights: bf16, fp8, mxfp4, fp4, int8, int4; else as published.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="The serving engine; else the one that fits each server.")] = None,
    settings: OwnOption = None,
    by: Annotated[Sorting, typer.Option(help="What to sort by, the least first.")] = Sorting.WATER,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print everything as JSON, in J, L and g.")] = False,
    csv_wanted: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV, in J, L and g.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.(svg|html)", help="Draw the rows as bars.")] = None,
) -> None:
    """Compare one request on every combination of models, servers, sites and factor sets: the least first.

    \b
    Examples:
      headwater compare --input 800 --output 300 --models llama-3.1-8b,llama-3.1-70b
      headwater compare --input 800 --output 300 --models llama-3.1-70b --sites us-average,azure-westus3 --hydro include,exclude
      headwater compare --input 800 --output 300 --models llama-3.1-70b --hardware hgx-h100,dgx-a100 --by energy --plot bars.svg
      headwater compare --input 500 --output 300 --models llama-3.1-70b --factors seed-2023,current-2026.11
    """
    with explained():
        if json_wanted and csv_wanted:
            raise ConfigError("--json and --csv are two formats; name one of them")
        suffix = None if plot is None else plot_suffix(plot, _PLOTS)
        lists: dict[str, Sequence[str | None]] = {
            "--models": _names("--models", models),
            "--hardware": _names("--hardware", hardware),
            "--sites": _names("--sites", sites),
            "--factors": _names("--factors", factors),
            "--hydro": [None] if hydro is None else _hydro(hydro),
        }
        _bound(lists)
        shared: dict[str, Any] = {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cached_tokens": cached_tokens,
            "accelerators": accelerators,
            "concurrency": concurrency,
            "precision": cast("Precision | None", precision),
            "engine": engine,
        }
        own = own_places(settings)
        cases = [
            checked_case(
                str(model),
                shared
                | placed(own, str(site))
                | {"hardware": server, "factors": name, "hydro": cast("Hydro | None", kind)},
            )
            for model, server, site, name, kind in product(*lists.values())
        ]
        rows = compared(cases, by=by.value)
        why = pairs(rows, [str(name) for name in lists["--factors"]])
        if plot is not None and suffix is not None:
            write_plot(plot, _PLOTS[suffix](as_bars(rows, by=by.value)).encode())
    warn(row.case for row in rows)
    if json_wanted:
        say(json.dumps(as_json(rows, by=by.value, why=why), indent=2, ensure_ascii=False))
    else:
        say(as_csv(rows) if csv_wanted else as_table(rows, by=by.value, why=why))


def _names(option: str, given: str) -> list[str]:
    """The names of a comma-separated list, each once, in the order given."""
    names = list(dict.fromkeys(name for part in given.split(",") if (name := part.strip())))
    if not names:
        raise ConfigError(f"{option} {given!r} names nothing; give one name or several, with commas between them")
    return names


def _hydro(given: str) -> list[str]:
    names, known = _names("--hydro", given), [kind.value for kind in Hydropower]
    for name in names:
        if name not in known:
            raise ConfigError(f"--hydro {name!r} must be {' or '.join(known)}, or both with a comma between them")
    return names


def _bound(lists: Mapping[str, Sequence[str | None]]) -> None:
    """Refuse what would be no comparison any more."""
    count = prod(map(len, lists.values()))
    if count > _MOST_COMBINATIONS:
        named = ", ".join(f"{option} {len(names)}" for option, names in lists.items() if len(names) > 1)
        raise ConfigError(
            f"{count:,} combinations ({named}) are more than {_MOST_COMBINATIONS:,}; shorten a list, or compare in parts"
        )
