"""`headwater catalog`: what is known, from where, since when. Reads arguments; prints what came out. Exit code 1: the check
found something; 2: there is no such entry, or the command cannot be run as given."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated, Final, cast

import typer

from headwater import catalog
from headwater.catalog.check import check, figures_count
from headwater.cli import app, explained, say
from headwater.cli.entries import as_text, document
from headwater.cli.listings import kinds_table, listed, table
from headwater.cli.problems import as_line, checked_document, summary
from headwater.cli.writing import width
from headwater.errors import ConfigError

VERSION: Final = 1
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

catalog_app = typer.Typer(rich_markup_mode=None)
app.add_typer(catalog_app, name="catalog")


@catalog_app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    """What is known, from where, since when: models, hardware, engines, sites, grids, factor sets.

    \b
    Examples:
      headwater catalog
      headwater catalog list sites
      headwater catalog show azure-westus3
      headwater catalog check
    """
    if context.invoked_subcommand is None:
        say(kinds_table())


@catalog_app.command("list")
def catalog_list(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help=f"{', '.join(catalog.KINDS)}; else their counts.")
    ] = None,
    operator: Annotated[str | None, typer.Option(help="Only sites whose operator or title contains this.")] = None,
    json_wanted: JsonOption = False,
) -> None:
    """List the kinds with their counts, or the entries of one kind with their main figures.

    \b
    Examples:
      headwater catalog list
      headwater catalog list sites
      headwater catalog list sites --operator aws
      headwater catalog list grids --json | jq '.entries[] | {name, carbon_g_per_kwh}'
    """
    with explained():
        if operator is not None and kind not in ("site", "sites"):
            raise ConfigError(f"--operator ({operator}) chooses among sites; say: headwater catalog list sites")
        if kind is None:
            counts = {each: len(catalog.names(each)) for each in catalog.KINDS}
            say(json.dumps({"v": VERSION, "kinds": counts}, indent=2) if json_wanted else kinds_table())
            return
        of = _kind(kind)
        rows = listed(of, operator=operator)
        if not rows and operator is not None:
            raise ConfigError(f"no site's operator or title contains {operator!r}; see: headwater catalog list sites")
    if json_wanted:
        say(json.dumps({"v": VERSION, "kind": of, "entries": rows}, indent=2, ensure_ascii=False))
    else:
        say(table(rows))


@catalog_app.command("show")
def catalog_show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="An entry, or another name that a model is served under.")
    ],
    kind: Annotated[str | None, typer.Option(help="Its kind, where several have an entry of that name.")] = None,
    json_wanted: JsonOption = False,
) -> None:
    """Print an entry: every figure with its range, unit, basis, source and date; for a site also its electricity and its water.

    \b
    Examples:
      headwater catalog show azure-westus3
      headwater catalog show hgx-h100
      headwater catalog show li-2023 --kind factor_sets
      headwater catalog show llama-3.1-70b --json
    """
    with explained():
        found = catalog.find(name, None if kind is None else _kind(kind))
    if json_wanted:
        documents = [document(of, own) for of, own in found]
        say(json.dumps({"v": VERSION, "name": name, "entries": documents}, indent=2, ensure_ascii=False))
    else:
        say("\n\n".join(as_text(of, own, width=width()) for of, own in found))


@catalog_app.command("check")
def catalog_check(
    as_of: Annotated[
        str | None, typer.Option(metavar="DATE", help="The day to check for, like 2026-11-23. Default: today, in UTC.")
    ] = None,
    json_wanted: JsonOption = False,
) -> None:
    """Check every entry: its shape, units, ranges, names, sources and dates. Exit code 1 with a line per problem.

    \b
    Examples:
      headwater catalog check
      headwater catalog check --as-of 2028-01-01
      headwater catalog check --json | jq -r '.problems[] | "\\(.kind) \\(.entry): \\(.what)"'
    """
    with explained():
        day = day_of(as_of)
    tables = catalog.tables()
    problems = check(tables, as_of=day)
    figures = figures_count(tables)
    if json_wanted:
        say(json.dumps(checked_document(problems, figures=figures, as_of=day), indent=2, ensure_ascii=False))
    elif problems:
        say("\n".join(map(as_line, problems)))
    else:
        say(summary(figures=figures, as_of=day))
    if problems:
        typer.echo(f"headwater: {len(problems)} to correct in the catalog as of {day}", err=True)
        raise typer.Exit(1)


def day_of(text: str | None, *, today: Callable[[], date] = lambda: datetime.now(UTC).date()) -> date:
    """The day that `--as-of` means. Raises ConfigError when it is none."""
    if text is None:
        return today()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--as-of must be a date like 2026-11-23, not {text!r}") from None


def _kind(text: str) -> catalog.Kind:
    """A kind as people write it: in the singular too, with a hyphen too."""
    plain = text.lower().replace("-", "_")
    singular = {"technology": "technologies"}.get(plain, f"{plain}s")
    kind = cast("catalog.Kind", singular if singular in catalog.KINDS else plain)
    if kind not in catalog.KINDS:
        catalog.names(kind)  # says which kinds there are
    return kind
