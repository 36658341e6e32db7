"""The command line: arguments in, printing and exit codes out. Exit code 2: the command cannot be run as given; 1: the store."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headwater import config
from headwater.__about__ import __version__
from headwater.errors import ConfigError, HeadwaterError, LedgerError
from headwater.replay.command import register as register_replay

app = typer.Typer(
    name="headwater",
    help="What stands behind a chat reply, in joules and litres: disclosed per request, accounted per user.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
vocab_app = typer.Typer(
    help="The tokenizer vocabularies, for upstreams that do not report usage.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(vocab_app, name="vocab")
register_replay(app)


class ReportFormat(StrEnum):
    """What `report` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


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


def _say(text: str) -> None:
    typer.echo(text)


@contextmanager
def _explained() -> Iterator[None]:
    """Errors made on purpose become one line on stderr and an exit code; nothing else is caught."""
    try:
        yield
    except HeadwaterError as error:
        typer.echo(f"headwater: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"headwater {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the gateway on 127.0.0.1; 0 takes any.")] = 8741,
    once: Annotated[bool, typer.Option("--once", help="End after the statement. Also without a terminal.")] = False,
) -> None:
    """Run a real small model behind the gateway, let two users chat, print their statement.

    \b
    Examples:
      headwater demo
      headwater demo --once --port 0
    """
    with _explained():
        try:
            from headwater.demo.run import run
        except ImportError as error:
            raise ConfigError(f"{error.name} is not installed; run: pip install 'headwater[demo]'") from None
        run(port=port, once=once or not sys.stdout.isatty(), say=_say)


@app.command()
def serve(
    upstream: Annotated[str, typer.Option(help="The LLM server to stand in front of, like http://127.0.0.1:8000.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8740,
    workers: Annotated[int, typer.Option(min=1, help="Processes; all share one ledger.")] = 1,
    settings: ConfigOption = None,
) -> None:
    """Stand as a gateway in front of an LLM server: meter, charge and disclose every chat reply.

    \b
    Examples:
      headwater serve --upstream http://127.0.0.1:8000
      headwater serve --upstream https://llm.example.org --host 0.0.0.0 --port 80 --workers 2
      HEADWATER_REDIS_URL=redis://10.0.0.5:6379/0 headwater serve --upstream http://127.0.0.1:11434
    """
    with _explained():
        try:
            import uvicorn

            from headwater.gateway import Gateway
            from headwater.meter import Meter
        except ImportError as error:
            raise ConfigError(f"{error.name} is not installed; run: pip install 'headwater[gateway]'") from None
        # Everything that can be wrong is found before any process is started.
        gateway = Gateway(upstream)
        loaded = config.load(settings)
        Meter(loaded)
        _check_port(host, port)
    for line in _summary(gateway.upstream, loaded):
        typer.echo(line, err=True)
    os.environ["HEADWATER_UPSTREAM"] = upstream
    if settings is not None:
        os.environ["HEADWATER_CONFIG"] = str(settings.absolute())
    uvicorn.run(
        "headwater.gateway:app_from_environment",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        lifespan="on",
        server_header=False,
        date_header=False,
        access_log=False,
    )


def _check_port(host: str, port: int) -> None:
    try:
        for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}); name another with --host and --port"
        ) from None


def _summary(upstream: str, settings: config.Settings) -> Iterator[str]:
    yield f"headwater: in front of {upstream}; the ledger is {_place(settings)}"
    for deployment in settings.deployment:
        models = f"{', '.join(deployment.match)} as {deployment.model or 'the catalog entry of that name'}"
        where = f"{deployment.hardware}, {deployment.engine}, {deployment.site}"
        yield f"headwater: models {models} on {where}"


@app.command()
def report(
    month: Annotated[str | None, typer.Option(help="Calendar month in UTC, like 2026-11. Default: this month.")] = None,
    output_format: Annotated[ReportFormat, typer.Option("--format", help="What to print.")] = ReportFormat.TABLE,
    settings: ConfigOption = None,
) -> None:
    """Print the usage statement of a month: energy, water and carbon per user. Works with and without a running server.

    \b
    Examples:
      headwater report
      headwater report --month 2026-11 --format csv > november.csv
      headwater report --format json | jq '.rows[] | {user, energy_j}'
    """
    from headwater.ledger import Reader
    from headwater.reports import as_csv, as_json, as_table, month_now, statement

    with _explained():
        loaded = config.load(settings)
        with Reader.open(data_dir=loaded.ledger.data_dir, redis_url=loaded.ledger.redis_url) as reader:
            made = statement(reader, month if month is not None else month_now(time.time()))
    render = {ReportFormat.TABLE: as_table, ReportFormat.CSV: as_csv, ReportFormat.JSON: as_json}[output_format]
    typer.echo(render(made), nl=False)


@app.command()
def explain(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The Headwater-Id of a reply of the last 48 hours.")],
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
    from headwater.ledger import Reader
    from headwater.receipts import as_text, receipt

    with _explained():
        if not ulid.is_valid(request_id.upper()):
            raise ConfigError(
                f"{request_id!r} is no request id; a Headwater-Id has 26 digits and letters without I, L, O, U"
            )
        loaded = config.load(settings)
        with Reader.open(data_dir=loaded.ledger.data_dir, redis_url=loaded.ledger.redis_url) as reader:
            charge = reader.receipt(request_id.upper())
            if charge is None:
                raise LedgerError(
                    f"there is no receipt {request_id} in the ledger ({_place(loaded)}); receipts are kept for 48 hours"
                )
            document = receipt(charge, reader.document(charge.deployment_hash))
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else as_text(document), nl=as_json)


def _place(settings: config.Settings) -> str:
    return (
        "the store of HEADWATER_REDIS_URL" if settings.ledger.redis_url else f"the ledger in {settings.ledger.data_dir}"
    )


@vocab_app.command("install")
def vocab_install() -> None:
    """Install tiktoken's vocabularies (o200k_base, cl100k_base), so that tokens are counted and not estimated.

    \b
    Example:
      headwater vocab install
    """
    from headwater import vocab

    with _explained():
        for path in vocab.install(lambda text: typer.echo(text, err=True)):
            _say(str(path))
