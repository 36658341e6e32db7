"""The command line: arguments in, printing and exit codes out. Exit code 2: the command cannot be run as given; 1: the store.

Each module of this package brings the commands of one subject; what they share stands here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater import config
from headwater.__about__ import __version__
from headwater.errors import ConfigError, HeadwaterError
from headwater.printable import printable

if TYPE_CHECKING:
    from headwater.ledger import Reader

__all__ = ["ConfigOption", "app", "explained", "is_terminal", "main", "opened", "place", "say"]

app = typer.Typer(
    name="headwater",
    help="What stands behind a chat reply, in joules and litres: disclosed per request, accounted per user.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Settings file; else HEADWATER_CONFIG, else ./headwater.toml.")
]


def main() -> None:
    """The entry point of `headwater`."""
    try:
        app()
    except OSError as error:  # a full disk behind a redirection, a pipe whose reader has gone
        sys.stderr.write(f"headwater: cannot write the output: {error.strerror}\n")
        # What is left in the buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def say(text: str) -> None:
    """Print one line, or several."""
    typer.echo(text)


@contextmanager
def explained() -> Iterator[None]:
    """Errors made on purpose become one line on stderr and an exit code; nothing else is caught."""
    try:
        yield
    except HeadwaterError as error:
        told = "\n".join(map(printable, str(error).split("\n")))  # settings may have several errors, a line each
        typer.echo(f"headwater: {told}", err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None


def place(settings: config.Settings) -> str:
    """Where the ledger is, in words."""
    return (
        "the store of HEADWATER_REDIS_URL" if settings.ledger.redis_url else f"the ledger in {settings.ledger.data_dir}"
    )


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def opened(settings: config.Settings) -> Reader:
    """The ledger that the settings name, to be read. Close it after use."""
    from headwater.identity import key_fingerprint, load_key, renames
    from headwater.ledger import Reader, Retention

    known: dict[str, Any] = {}
    with suppress(ConfigError):  # reading needs no key, but what dead processes left may have names of one before it
        key = load_key(settings.ledger.data_dir, create=False)
        known = {"renames": renames(key), "key_fingerprint": key_fingerprint(key)}
    return Reader.open(
        data_dir=settings.ledger.data_dir,
        redis_url=settings.ledger.endpoint,
        retention=Retention(**settings.retention.seconds()),
        **known,
    )


def _version(wanted: bool) -> None:
    if wanted:
        say(f"headwater {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


# The modules of commands, in the order of --help; each adds its own to `app` when it is imported.
for _module in (
    "serve",
    "report",
    "close",
    "recompute",
    "export",
    "audit",
    "doctor",
    "user",
    "estimate",
    "compare",
    "fleet",
    "catalog",
    "replay",
    "migrate",
    "vocab",
):
    import_module(f"{__name__}.{_module}")
