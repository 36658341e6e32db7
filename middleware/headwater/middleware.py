"""The ASGI shell: is this ours? Then an exchange; else pass through untouched. Starts and stops the meter; computes nothing."""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater import config, dialects, wellknown
from headwater.config import Settings
from headwater.disclosure import WELL_KNOWN
from headwater.errors import HeadwaterError
from headwater.exchange import Exchange, of_scope
from headwater.identity import Identify
from headwater.meter import Meter
from headwater.telemetry import MeterProvider

log = logging.getLogger("headwater")
_PREFIX: Final = WELL_KNOWN + "/"


class FootprintMiddleware:
    """Meters, charges and discloses the LLM chat replies of an ASGI app; everything else passes through untouched.

    Args:
        app: the app to wrap; `app.add_middleware(FootprintMiddleware)` on Starlette and FastAPI gives it.
        settings: a `headwater.config.Settings`, a mapping like headwater.toml, or the path of such a file. None reads
            the file that HEADWATER_CONFIG names, else ./headwater.toml where it exists, else takes the defaults.
        identify: the operator's own rule of who is charged: ASGI scope in, stable user id out, None for nobody.
        meter_provider: OpenTelemetry's, for the metrics; None takes the global one.
        meter: a ready-made meter, in place of the three above.

    Raises:
        ConfigError: at once, when the settings cannot be used.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings | Mapping[str, Any] | str | Path | None = None,
        *,
        identify: Identify | None = None,
        meter_provider: MeterProvider | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.app = app
        self.meter = (
            meter
            if meter is not None
            else Meter(config.load(settings), identify=identify, meter_provider=meter_provider)
        )
        self._starting: asyncio.Future[None] | None = None
        self._is_started = False
        self._is_refused = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if kind != "http" or of_scope(scope) is not None:
            await self.app(scope, receive, send)
            return
        path = _own_path(scope)
        dialect = dialects.find(scope["method"], path)
        if dialect is None and not path.startswith(_PREFIX):
            await self.app(scope, receive, send)
            return
        if not self._is_started:
            await self._start_late()
        if self._is_refused:
            await self.app(scope, receive, send)
        elif dialect is None:
            await wellknown.answer(self.meter, path.removeprefix(_PREFIX), scope, receive, send)
        else:
            try:
                exchange = Exchange(self.meter, dialect, scope, receive, send)
            except Exception as error:  # an operator's `identify` may fail; the app must not
                self.meter.failed(error)
                await self.app(scope, receive, send)
                return
            scope["headwater"] = exchange
            await exchange.run(self.app, scope)

    async def _start_late(self) -> None:
        """Without lifespan messages (a mounted app, a server that sends none), the first request starts the meter."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        try:
            await asyncio.shield(self._starting)
        except HeadwaterError as error:
            if not self._is_refused:
                self._is_refused = True
                log.error("headwater is off, replies pass through unmetered: %s", error)
        else:
            atexit.register(self.meter.ledger.close)

    async def _start(self) -> None:
        if not self._is_started:
            await asyncio.to_thread(self.meter.start)
            self._is_started = True

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def starting() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._start()
            return message

        async def stopping(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed") and self._is_started:
                self._is_started = False
                await self.meter.stop()
            await send(message)

        await self.app(scope, starting, stopping)


def _own_path(scope: Scope) -> str:
    """The path as the app sees it: since ASGI 3 (spec 2.x of 2024) `path` carries the mount point, older servers differ."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path
