"""The ASGI shell: is this ours? Then an exchange; else pass through untouched. Starts and stops the meter; computes nothing."""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from headwater import config, dialects, wellknown
from headwater.config import Settings
from headwater.disclosure import WELL_KNOWN
from headwater.errors import ConfigError, HeadwaterError
from headwater.exchange import Exchange
from headwater.hours import HoursOf
from headwater.identity import Identify
from headwater.meter import Meter
from headwater.records import Target
from headwater.telemetry import MeterProvider
from headwater.tokens import CountTokens

log = logging.getLogger("headwater")
_PREFIX: Final = WELL_KNOWN + "/"
# In the form of OpenAI's errors, which its clients, and most others, read out and try again after.
_turned_away: Final = JSONResponse(
    {
        "error": {
            "message": "This server cannot take new requests right now: its ledger of charges has no room left. Try again later.",
            "type": "server_error",
            "param": None,
            "code": "ledger_full",
        }
    },
    status_code=503,
    headers={"retry-after": "10", "cache-control": "no-store"},
)
AnyApp = Callable[[Any, Any, Any], Awaitable[None]]
"""Any ASGI app: frameworks type scope and messages each in their own way."""


class FootprintMiddleware:
    """Meters, charges and discloses the LLM chat replies of an ASGI app; everything else passes through untouched.

    Args:
        app: the app to wrap; `app.add_middleware(FootprintMiddleware)` on Starlette and FastAPI gives it.
        settings: a `headwater.config.Settings`, a mapping like headwater.toml, or the path of such a file. None reads
            the file that HEADWATER_CONFIG names, else ./headwater.toml where it exists, else takes the defaults.
        identify: the operator's own rule of who is charged: ASGI scope in, stable user id out, None for nobody.
        hours: the operator's own series: a site's name and seconds since the epoch in, a `headwater.Hour` out, or None. Asked
            on the event loop, at most once per site and clock hour, so it must return at once; over the file of the site.
        counter: the operator's own tokenizer: a text and the model's name in, the number of tokens out, or None for a model
            that it does not know. Asked where the upstream gives no usage, in threads too.
        meter_provider: OpenTelemetry's, for the metrics; None takes the global one.
        meter: a ready-made meter, in place of the five above.

    Settings that cannot be used, and a store that refuses (another identity key), stop the server at its start, with
    the reason. Where the server sends no lifespan messages, the reason is logged and replies pass through unmetered; so
    they do when the local journal cannot be written.
    """

    def __init__(
        self,
        app: AnyApp,
        settings: Settings | Mapping[str, Any] | str | Path | None = None,
        *,
        identify: Identify | None = None,
        hours: HoursOf | None = None,
        counter: CountTokens | None = None,
        meter_provider: MeterProvider | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.app = app
        self._meter = meter
        self._refusal: HeadwaterError | None = None
        self._is_refusal_said = False
        self._starting: asyncio.Future[None] | None = None
        self._is_started = False
        if meter is None:
            # Not raised here: Starlette makes its middleware when the server starts, and uvicorn would take the exception
            # for an app without lifespan, and then answer every request with it.
            try:
                self._meter = Meter(
                    config.load(settings),
                    identify=identify,
                    hours=hours,
                    counter=counter,
                    meter_provider=meter_provider,
                )
            except HeadwaterError as error:
                self._refusal = error
            except Exception as error:  # a fault of ours, or settings of a kind that nobody thought of
                self._refusal = ConfigError(f"the settings cannot be used: {type(error).__name__}: {error}")

    @property
    def meter(self) -> Meter:
        """What all exchanges share: ledger, metrics, settings.

        Raises:
            HeadwaterError: there is none, because the settings cannot be used.
        """
        if self._meter is None:
            raise self._refusal or HeadwaterError("there is no meter")
        return self._meter

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
        if not self._is_started and self._refusal is None:
            await self._start_late()
        if self._meter is None or self._refusal is not None:
            self._say_refusal()
            await self.app(scope, receive, send)
        elif dialect is None:
            await wellknown.answer(self._meter, path.removeprefix(_PREFIX), scope, receive, send)
        elif (
            self._meter.ledger.is_refusing and scope["method"] == "POST"
        ):  # one that asks for an earlier answer may go on
            self._meter.ledger.note_refused()
            await _turned_away(scope, receive, send)
        else:
            try:
                target = Target(method=scope["method"], path=path, query=scope.get("query_string", b""))
                exchange = Exchange(self._meter, dialect, target, scope, receive, send)
            except Exception as error:  # an operator's `identify` may fail; the app must not
                self._meter.failed(error)
                await self.app(scope, receive, send)
                return
            scope["headwater"] = exchange
            await exchange.run(self.app, scope)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        startup: list[Message] = [await receive()]
        try:
            await self._start()
        except ConfigError as error:
            # Better no server than one that splits its users silently, or one that nobody knows to be unmetered.
            await send({"type": "lifespan.startup.failed", "message": f"headwater: {error}"})
            return
        except HeadwaterError as error:
            self._refusal = error
            self._say_refusal()

        has_answered = False

        async def replaying() -> Message:
            return startup.pop() if startup else await receive()

        async def stopping(message: Message) -> None:
            nonlocal has_answered
            has_answered = True
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self._stop()
            await send(message)

        try:
            await self.app(scope, replaying, stopping)
        except Exception as error:
            if has_answered:
                raise
            log.debug("the app knows no lifespan (%s): headwater answers in its place", type(error).__name__)
        if not has_answered:
            # By the specification an app that raises at this scope, or returns, has none (Django's, a bare function).
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._stop()
            await send({"type": "lifespan.shutdown.complete"})

    async def _stop(self) -> None:
        if self._is_started:
            self._is_started = False
            await self.meter.stop()

    async def _start_late(self) -> None:
        """Without lifespan messages (a mounted app, a server that sends none), the first request starts the meter."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        try:
            await asyncio.shield(self._starting)
        except HeadwaterError as error:
            self._refusal = error

    async def _start(self) -> None:
        if not self._is_started:
            meter = self.meter
            await asyncio.to_thread(meter.start)
            self._is_started = True
            atexit.register(meter.ledger.close)

    def _say_refusal(self) -> None:
        if not self._is_refusal_said:
            self._is_refusal_said = True
            log.error("headwater is off, replies pass through unmetered: %s", self._refusal)


def _own_path(scope: Scope) -> str:
    """The path as the app sees it: since ASGI 3 (spec 2.x of 2024) `path` carries the mount point, older servers differ."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path


def of_scope(scope: MutableMapping[str, Any]) -> Exchange | None:
    """The exchange that a middleware outside has opened for this request, if there is one."""
    return found if isinstance(found := scope.get("headwater"), Exchange) else None
