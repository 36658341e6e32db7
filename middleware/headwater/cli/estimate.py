"""`headwater estimate`: energy, water and carbon of a request that nobody needs to send. Reads options; prints what came out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from headwater import catalog, hours
from headwater.cases import SHORTEST_S, Case
from headwater.cli import app, explained, say
from headwater.cli.estimates import as_json, as_steps, as_table
from headwater.cli.own import OwnOption, own_hint, own_places, placed
from headwater.errors import CatalogError, ConfigError
from headwater.records import Hour, Hydro, Precision
from headwater.units import LONGEST_S, S_PER_MS

# How the parameters of a case are called on the command line, in messages.
_OPTIONS: Final = {
    "input_tokens": "--input",
    "output_tokens": "--output",
    "cached_tokens": "--cached",
    "images (": "--images (",
    "images must": "--images must",
    "observed_s": "--seconds",
    "concurrency must": "--concurrency must",
    "accelerators_count (": "--accelerators (",
    "accelerators must": "--accelerators must",
    "replicas must": "--replicas must",
    "training_requests must": "--training-requests must",
    "give itl_s, or say hosting='own'": "give --itl-ms, or leave out --hosted",
}


class Hydropower(StrEnum):
    """Whether the evaporation of reservoirs counts."""

    INCLUDE = "include"
    EXCLUDE = "exclude"


class Listing(StrEnum):
    """What `--list` lists."""

    MODELS = "models"
    HARDWARE = "hardware"
    ENGINES = "engines"
    SITES = "sites"
    GRIDS = "grids"
    FACTORS = "factor_sets"


@app.command()
def estimate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Models of the catalog, or names they are served under."),
    ] = None,
    input_tokens: Annotated[
        int | None, typer.Option("--input", help="Tokens of the prompt, cached ones and pictures included.")
    ] = None,
    output_tokens: Annotated[
        int | None, typer.Option("--output", help="Tokens of the answer, reasoning included.")
    ] = None,
    cached_tokens: Annotated[
        int | None, typer.Option("--cached", help="Input tokens that the server had in its cache.")
    ] = None,
    images: Annotated[int, typer.Option(help="Pictures in the prompt.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(help="Seconds from admission to the last token, if you saw them.")
    ] = None,
    concurrency: Annotated[
        float | None,
        typer.Option(help="Requests in flight meanwhile, this one included; else the engine's usual number."),
    ] = None,
    itl_ms: Annotated[float | None, typer.Option(help="Milliseconds between two output tokens; with --hosted.")] = None,
    hosted: Annotated[
        bool, typer.Option("--hosted", help="It is somebody else's server, with others in flight unseen.")
    ] = False,
    hardware: Annotated[str, typer.Option(help="The server.")] = "hgx-h100",
    accelerators: Annotated[
        int | None, typer.Option(help="Accelerators for one copy of the model; else the fewest that hold its weights.")
    ] = None,
    replicas: Annotated[int, typer.Option(help="Such copies that share the requests.")] = 1,
    precision: Annotated[
        str | None, typer.Option(help="Of the weights: bf16, fp8, mxfp4, fp4, int8, int4; else as published.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="The serving engine; else the one that fits the server.")] = None,
    site: Annotated[str, typer.Option(help="Data centre or region.")] = "us-average",
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When it ends, with a time zone: 2026-07-01T12:00Z; with --hours."),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option("--hours", metavar="FILE", help="Carbon of the grid and wet bulb by time, as CSV; with --at."),
    ] = None,
    factors: Annotated[str, typer.Option(help="The factor set.")] = catalog.CURRENT_FACTORS,
    hydro: Annotated[
        Hydropower | None,
        typer.Option(help="Reservoir evaporation in the water of electricity; else as the factor set says."),
    ] = None,
    training_requests: Annotated[
        float | None,
        typer.Option(help="Show a share of the model's training too, spread evenly over so many requests."),
    ] = None,
    settings: OwnOption = None,
    steps: Annotated[bool, typer.Option("--steps", help="Print every factor with its source, and every step.")] = False,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print everything as JSON, in J, L and g.")] = False,
    listing: Annotated[
        Listing | None,
        typer.Option("--list", help="Print the names of a kind, and end; more of them: headwater catalog list."),
    ] = None,
) -> None:
    """Estimate energy, water and carbon of one request, on one model or on several.

    \b
    Examples:
      headwater estimate llama-3.1-70b --input 800 --output 300
      headwater estimate llama-3.1-8b llama-3.1-70b --input 800 --output 300 --concurrency 32 --precision fp8
      headwater estimate llama-3.1-70b --input 800 --output 300 --hosted --itl-ms 20 --site azure-westus3 --steps
      headwater estimate llama-3.1-70b --input 800 --output 300 --json | jq '.estimates[].energy_j'
      headwater estimate llama-3.1-70b --input 800 --output 300 --hours hours.csv --at 2026-07-01T12:00Z
      headwater estimate --list models
    """
    with explained():
        if listing is not None:
            say("\n".join(_names(listing)))
            return
        if not models or input_tokens is None or output_tokens is None:
            raise ConfigError(
                "name a model, --input and --output, like: headwater estimate llama-3.1-70b --input 800 --output 300"
            )
        if itl_ms is not None and not hosted:
            raise ConfigError(
                f"--itl-ms ({itl_ms:g}) tells how busy somebody else's server is; say --hosted with it, or leave it out"
            )
        if itl_ms is not None and not SHORTEST_S <= itl_ms * S_PER_MS <= LONGEST_S:
            raise ConfigError(
                f"--itl-ms must be milliseconds, from {SHORTEST_S / S_PER_MS:g} to {LONGEST_S / S_PER_MS:g}, not {itl_ms:g}"
            )
        given: dict[str, Any] = {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cached_tokens": cached_tokens,
            "images": images,
            "observed_s": seconds,
            "concurrency": concurrency,
            "itl_s": None if itl_ms is None else itl_ms * S_PER_MS,
            "hosting": "hosted" if hosted else "own",
            "hardware": hardware,
            "accelerators": accelerators,
            "replicas": replicas,
            "precision": cast("Precision | None", precision),
            "engine": engine,
            **placed(own_places(settings), site),
            **_hour(at, series),
            "factors": factors,
            "hydro": cast("Hydro | None", hydro and hydro.value),
            "training_requests": training_requests,
        }
        cases = [checked_case(model, given) for model in models]
    _print(cases, steps=steps, json_wanted=json_wanted)


def _hour(at: str | None, series: Path | None) -> dict[str, float | None]:
    """What the series knows of a moment. Raises ConfigError where it knows nothing."""
    if at is None and series is None:
        return {}
    if at is None or series is None:
        given = f"--at ({at})" if series is None else f"--hours ({series})"
        raise ConfigError(f"{given} needs the other one: --at 2026-07-01T12:00Z --hours FILE")
    try:
        time_s = hours.moment_s(at)
    except ValueError as error:
        raise ConfigError(f"--at {at!r} {error}") from None
    known = hours.read(series)
    found = known.at(time_s)
    if found == Hour():
        raise ConfigError(
            f"--at {at}: {series} says nothing of that hour; it goes from {hours.said(known.begin_s)} to "
            f"{hours.said(known.end_s)}; name another, or leave out --at and --hours for the annual figures"
        )
    return {"grid_g_per_kwh": found.grid_g_per_kwh, "wet_bulb_c": found.wet_bulb_c}


def checked_case(model: str, given: dict[str, Any]) -> Case:
    """A case whose deployment is known to exist. What cannot be right is said in the words of the command line."""
    try:
        case = Case(model=model, **given)
        _ = case.deployment
    except (ValueError, CatalogError) as error:
        message = str(error)
        for name, option in _OPTIONS.items():
            message = message.replace(name, option)
        raise ConfigError(message + own_hint(message)) from None
    return case


def warn(cases: Iterable[Case]) -> None:
    """Say on stderr what a careful reader should be told, each thing once."""
    for warning in dict.fromkeys(warning for case in cases for warning in case.warnings()):
        typer.echo(f"headwater: {warning}", err=True)


def _print(cases: list[Case], *, steps: bool, json_wanted: bool) -> None:
    answers = [(case, case.footprint()) for case in cases]
    warn(cases)
    if json_wanted:
        say(json.dumps(as_json(answers, steps=steps), indent=2, ensure_ascii=False))
        return
    say(as_table(answers))
    if steps:
        for case, answer in answers:
            say(as_steps(case, answer))


def _names(listing: Listing) -> list[str]:
    """The names of one kind; models with the other names that they go by."""
    if listing is Listing.MODELS:
        found = ((name, catalog.model(name).aliases) for name in catalog.names("models"))
        return [f"{name}  ({', '.join(aliases)})" if aliases else name for name, aliases in found]
    return list(catalog.names(cast("catalog.Kind", listing.value)))
