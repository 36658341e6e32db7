"""`headwater serve` and `headwater demo`: the gateway, alone or with a real small model behind it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from headwater import catalog, config
from headwater.cli import ConfigOption, app, explained, place, say
from headwater.errors import ConfigError
from headwater.serving import Serving


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
    with explained():
        try:
            from headwater.demo.run import run
        except ImportError as error:
            raise ConfigError(f"{error.name} is not installed; run: pip install 'headwater[demo]'") from None
        run(port=port, once=once or not sys.stdout.isatty(), say=say)


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
    with explained():
        try:
            import uvicorn

            from headwater.gateway import Gateway
            from headwater.meter import Meter
        except ImportError as error:
            raise ConfigError(f"{error.name} is not installed; run: pip install 'headwater[gateway]'") from None
        # Everything that can be wrong is found before any process is started.
        gateway = Gateway(upstream)
        loaded = config.load(settings)
        serving = Meter(loaded).serving
        _check_port(host, port)
    for line in _summary(gateway.upstream, loaded, serving):
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


def _summary(upstream: str, settings: config.Settings, serving: Serving) -> Iterator[str]:
    yield f"headwater: in front of {upstream}; accounts are kept in {place(settings)}"
    for deployment in settings.deployment:
        models = f"{', '.join(deployment.match)} as {deployment.model or 'the catalog entry of that name'}"
        where = f"{deployment.hardware}, {deployment.engine}, {deployment.site}"
        yield f"headwater: models {models} on {where}"
    for served in serving.named():
        for doubt in catalog.doubts(served):
            yield f"headwater: warning: {doubt}"
