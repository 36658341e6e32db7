"""The footprint of a stream as an HTTP trailer, where server and client can take one. Knows ASGI messages; no footprints.

A server that was told of trailers waits for them: whatever becomes of the stream, once its body has ended exactly one last
`http.response.trailers` goes out, with the app's own trailers before ours.
"""

from __future__ import annotations

from typing import Final

from starlette.types import Message, Scope, Send

EXTENSION: Final = "http.response.trailers"
_FIELD: Final = b"headwater-footprint"
_BODIES: Final = frozenset({"http.response.body", "http.response.zerocopysend", "http.response.pathsend"})


def are_offered(scope: Scope) -> bool:
    """Whether the server can send trailers and the client asked for them (`TE: trailers`)."""
    if EXTENSION not in (scope.get("extensions") or ()):
        return False
    return any(
        option.partition(b";")[0].strip().lower() == b"trailers"
        for name, value in scope["headers"]
        if name == b"te"
        for option in value.split(b",")
    )


class Trailers:
    """A server's `send`, with one field behind the body."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.footprint: bytes | None = None
        """The value of the field, when it is known; None: the trailers end without it."""
        self._is_announced = False
        self._are_apps_due = False
        """The app has trailers of its own, which come behind its body."""
        self._is_body_over = False
        self._are_over = False

    def announced(self, start: Message) -> Message:
        """The start message with the trailer announced."""
        self._is_announced, self._are_apps_due = True, bool(start.get("trailers", False))
        return {**start, "headers": [*start["headers"], (b"trailer", _FIELD)], "trailers": True}

    async def send(self, message: Message) -> None:
        """Pass a message on, and what has to come behind it."""
        kind = message["type"]
        if self._is_announced and kind == EXTENSION and not message.get("more_trailers", False):
            self._are_over = True
            message = {**message, "headers": [*message.get("headers", ()), *self._fields()]}
        await self._send(message)
        if kind in _BODIES and not message.get("more_body", False):
            self._is_body_over = True
            if not self._are_apps_due:
                await self.close()

    async def close(self) -> None:
        """The last trailers, where they are due and nobody has sent them. Behind a body that broke off there are none: it
        must be seen to have broken off."""
        if self._is_announced and self._is_body_over and not self._are_over:
            self._are_over = True
            await self._send({"type": EXTENSION, "headers": self._fields(), "more_trailers": False})

    def _fields(self) -> list[tuple[bytes, bytes]]:
        return [] if self.footprint is None else [(_FIELD, self.footprint)]
