"""An ASGI app that forwards to one upstream over HTTP, byte for byte. The only importer of aiohttp; wrapped by the middleware.

It connects to nothing but the upstream that the operator named. It changes a request's body in one way only: on a stream
whose client did not ask for usage it asks in the client's place, and tells the exchange, which takes the answer out again.

aiohttp, by measurement (bench/gateway_clients.py): least CPU per streamed chunk of the clients compared, and mainstream.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import aiohttp
from starlette.types import Receive, Scope, Send
from yarl import URL

from headwater import dialects
from headwater.dialects.base import Dialect
from headwater.errors import ConfigError, DialectError
from headwater.middleware import FootprintMiddleware, of_scope
from headwater.records import Target

log = logging.getLogger("headwater")
# RFC 9110 section 7.6.1: these belong to one connection and are not forwarded.
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
        b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
# Ours to say, or answered already: uvicorn has sent the 100 that `expect` asks for.
_NOT_FORWARDED: Final = frozenset({b"host", b"content-length", b"expect"})
_AIOHTTPS_OWN: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_CONNECT_S: Final = 10.0
# What servers answer that do not know `stream_options`: then the same request once more without it.
_REJECTIONS: Final = frozenset({400, 422})
_ERRORS_FROM: Final = 400
# Servers whose finish chunk counts without being asked, known by a header of their replies: llama.cpp in `timings`, which it
# leaves out when asked; Groq in `x_groq`; Mistral in `usage`.
_COUNTS_UNASKED: Final = (("server", "llama.cpp"), ("x-groq-region", None), ("mistral-correlation-id", None))

_Headers = list[tuple[bytes, bytes]]


class Gateway:
    """Forwards every HTTP request to `upstream` (`http://127.0.0.1:8000`, with a path prefix if it has one).

    Raises:
        ConfigError: the upstream is no http or https URL.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(f"upstream {upstream!r} is no http:// or https:// address like http://127.0.0.1:8000")
        if parts.username is not None:
            raise ConfigError("the upstream's address must not carry credentials: clients send their own")
        # SDKs want addresses that end in /v1; the paths that come here begin with it.
        self.upstream = upstream.rstrip("/").removesuffix("/v1")
        self._pseudonym = f"headwater-{secrets.token_hex(4)}"
        self._session: aiohttp.ClientSession | None = None
        self._unasked: set[str] = set()
        """The APIs, by name, whose usage the upstream is not asked for: it would not take the question, or needs none."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._forward(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1011, "reason": "the gateway forwards HTTP only"})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._open_session()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=False),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                auto_decompress=False,
                skip_auto_headers=_AIOHTTPS_OWN,
                trust_env=False,
                read_bufsize=2**18,
            )
        return self._session

    async def close(self) -> None:
        """Close the connections to the upstream."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        if not path.startswith(b"/") or (urlsplit(self.upstream).path and _climbs(path)):
            await _refuse(send, 400, "bad_request", "the request target must be a path below the upstream's")
            return
        if any(name == b"via" and self._pseudonym.encode() in value for name, value in scope["headers"]):
            await _refuse(send, 508, "loop", "the gateway's upstream leads back to itself")
            return
        body = await _read_body(receive)
        if body is None:
            return
        watching = asyncio.ensure_future(_disconnect(receive))
        answering = asyncio.ensure_future(self._answer(scope, path, body, send))
        try:
            await asyncio.wait((watching, answering), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            # A client that left takes its request to the upstream with it, so that nothing is generated for nobody.
            for task in (watching, answering):
                task.cancel()
            await asyncio.gather(watching, answering, return_exceptions=True)

    async def _answer(self, scope: Scope, path: bytes, body: bytes, send: Send) -> None:
        try:
            response = await self._request(scope, path, body)
        except TimeoutError:
            await _refuse(send, 504, "upstream_timeout", "the upstream did not answer in time")
            return
        except aiohttp.ClientError as error:
            log.warning("headwater: %s cannot be reached (%s); is it running?", self.upstream, type(error).__name__)
            await _refuse(send, 502, "upstream_unreachable", "the upstream cannot be reached")
            return
        try:
            headers = _without_hops(response.raw_headers)
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except aiohttp.ClientError:
            # Cut off upstream: returning without an end makes the server cut the client's connection off likewise.
            return
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _request(self, scope: Scope, path: bytes, body: bytes) -> aiohttp.ClientResponse:
        exchange = of_scope(scope)
        dialect: Dialect | None = dialects.find(scope["method"], scope["path"])
        asking = self._with_usage(scope, body, dialect) if exchange is not None else None
        if asking is None or exchange is None or dialect is None:
            return await self._fetch(scope, path, body)
        exchange.usage_injected = True
        response = await self._fetch(scope, path, asking, is_plain=True)
        if response.status in _REJECTIONS:
            # The request may be wrong in itself: only an upstream that takes it without the option has rejected the option.
            response.release()
            exchange.usage_injected = False
            response = await self._fetch(scope, path, body)
            if response.status < _ERRORS_FROM:
                self._unasked.add(dialect.name)
        elif _counts_unasked(response):
            self._unasked.add(dialect.name)
        return response

    def _with_usage(self, scope: Scope, body: bytes, dialect: Dialect | None) -> bytes | None:
        """The body with usage asked for; None where it is not to be, or need not be."""
        if dialect is None or dialect.name in self._unasked:
            return None
        try:
            request = dialect.read_request(body, Target(method=scope["method"], path=scope["path"]))
            asking = dialect.ask_for_usage(body) if request.stream and not request.usage_asked else body
        except DialectError:
            return None
        return None if asking == body else asking

    def _outgoing(self, headers: Iterable[tuple[bytes, bytes]], *, is_plain: bool) -> _Headers:
        """The client's headers, and who passed them on (RFC 9110 section 7.6.3): a loop is known by it. `is_plain`: what
        comes back must not be compressed, as something has to be taken out of it."""
        kept = [(name, value) for name, value in _without_hops(headers) if name not in _NOT_FORWARDED]
        if is_plain:
            kept = [(name, value) for name, value in kept if name != b"accept-encoding"]
            kept.append((b"accept-encoding", b"identity"))
        return [*kept, (b"via", f"1.1 {self._pseudonym}".encode())]

    async def _fetch(self, scope: Scope, path: bytes, body: bytes, *, is_plain: bool = False) -> aiohttp.ClientResponse:
        query: bytes = scope.get("query_string", b"")
        url = URL(
            f"{self.upstream}{path.decode('latin-1')}{'?' if query else ''}{query.decode('latin-1')}", encoded=True
        )
        return await self._open_session().request(
            scope["method"],
            url,
            headers=[
                (_text(name), _text(value)) for name, value in self._outgoing(scope["headers"], is_plain=is_plain)
            ],
            data=body or None,
            allow_redirects=False,
        )


def _without_hops(headers: Iterable[tuple[bytes, bytes]]) -> _Headers:
    """What is for the whole way: neither the known hop-by-hop fields nor those that `Connection` names as such."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {option.strip().lower() for name, value in lowered if name == b"connection" for option in value.split(b",")}
    return [(name, value) for name, value in lowered if name not in _HOP_BY_HOP and name not in named]


def _counts_unasked(response: aiohttp.ClientResponse) -> bool:
    return any(name in response.headers and value in (None, response.headers[name]) for name, value in _COUNTS_UNASKED)


def _climbs(path: bytes) -> bool:
    return b".." in unquote_to_bytes(path).replace(b"\\", b"/").split(b"/")


def _text(value: bytes) -> str:
    """Header bytes as aiohttp wants them: it encodes them as UTF-8 again."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def _read_body(receive: Receive) -> bytes | None:
    """The whole request body; None when the client left before it was sent."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(send: Send, status: int, kind: str, text: str) -> None:
    body = json.dumps({"error": {"message": text, "type": kind, "param": None, "code": None}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def app_from_environment() -> FootprintMiddleware:
    """The gateway as `headwater serve` runs it in each of its processes: HEADWATER_UPSTREAM behind the middleware."""
    return FootprintMiddleware(Gateway(os.environ["HEADWATER_UPSTREAM"]))
