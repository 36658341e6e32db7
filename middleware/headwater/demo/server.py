"""An ASGI app on a real socket of the loopback address, served by uvicorn from a thread for as long as a `with` lasts."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from headwater.errors import ConfigError, HeadwaterError

HOST: Final = "127.0.0.1"
_START_S: Final = 30.0
_STOP_S: Final = 10.0


@contextlib.contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A listening socket; 0 takes any free port.

    Raises:
        ConfigError: the port is taken or not ours to use.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise ConfigError(f"port {port} on {HOST} cannot be used ({why}); name another with --port") from None
        yield listener


def url(listener: socket.socket) -> str:
    """Where a listening socket is reached."""
    return f"http://{HOST}:{listener.getsockname()[1]}"


@contextlib.contextmanager
def serving(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Serve the app; at the end stop it cleanly, its lifespan included.

    Raises:
        HeadwaterError: the app does not start.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            lifespan="on",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=int(_STOP_S),
        )
    )
    failed = threading.Event()

    def serve() -> None:
        try:
            server.run(sockets=[listener])
        except SystemExit:  # uvicorn's word for a failed start
            failed.set()

    thread = threading.Thread(target=serve, name="headwater-gateway", daemon=True)
    thread.start()
    deadline_s = time.monotonic() + _START_S
    try:
        while not server.started:
            thread.join(0.02)
            if failed.is_set() or not thread.is_alive() or time.monotonic() > deadline_s:
                raise HeadwaterError("the gateway did not start; its own words are above")
        yield
    finally:
        server.should_exit = True
        thread.join(2 * _STOP_S)
