"""What Headwater does not do: a stream with something put before its end. An ASGI wrapper, to see which clients survive it.

Knows the framing of streams and where each API ends; the bodies are its app's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SAID: Final = {"footprint": {"v": 1, "energy_j": 1.0}}
_TERMINATORS: Final = (b"data: [DONE]", b"event: message_stop", b"event: response.completed")
_TOLD: Final = (b'sage":{', b'sageMetadata":{', b"eval_count")
"""How the members begin that carry counts: `usage`, `usageMetadata`, and Ollama's own."""


def comment(events: list[bytes]) -> bytes:
    """A comment, as some providers send their energy."""
    return b": energy {}"


def event(events: list[bytes]) -> bytes:
    """An event of a name of its own, or a line of its own."""
    said = json.dumps(_SAID).encode()
    return said if events[0].startswith(b"{") else b"event: footprint\ndata: " + said


def chunk(events: list[bytes]) -> bytes:
    """One more chunk in the API's own shape, without content and without counts."""
    if events[0].startswith(b"{"):
        return event(events)
    shape: dict[str, Any] = json.loads(events[0].partition(b"data: ")[2])
    if "object" in shape:
        made = {name: shape[name] for name in ("id", "object", "created", "model")}
        return b"data: " + json.dumps({**made, "choices": [], **_SAID}).encode()
    if "modelVersion" in shape:
        return b"data: " + json.dumps({"modelVersion": shape["modelVersion"], **_SAID}).encode()
    return b"event: footprint\ndata: " + json.dumps({"type": "footprint", **_SAID}).encode()


def repeated(events: list[bytes]) -> bytes:
    """The last event that has counts once more."""
    return next((each for each in reversed(events) if any(word in each for word in _TOLD)), b": nothing to repeat")


ADDITIONS: Final[dict[str, Callable[[list[bytes]], bytes]]] = {
    "comment": comment,
    "event": event,
    "chunk": chunk,
    "repeated": repeated,
}


class Adding:
    """Puts one thing into every stream of an app: before its terminator, else behind the last event."""

    def __init__(self, app: ASGIApp, addition: Callable[[list[bytes]], bytes]) -> None:
        self.app = app
        self._addition = addition

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        parts: list[bytes] = []
        media_type = b""

        async def adding(message: Message) -> None:
            nonlocal media_type
            if message["type"] == "http.response.start":
                media_type = dict(message["headers"]).get(b"content-type", b"").partition(b";")[0]
            elif message["type"] == "http.response.body" and media_type != b"application/json":
                parts.append(message.get("body", b""))
                if message.get("more_body", False):
                    return
                message = {**message, "body": self._added(b"".join(parts), lines=media_type.endswith(b"ndjson"))}
            await send(message)

        await self.app(scope, receive, adding)

    def _added(self, body: bytes, *, lines: bool) -> bytes:
        end = b"\n" if lines else b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
        events = body.removesuffix(end).split(end)
        is_over = lines or events[-1].startswith(_TERMINATORS)
        # Ollama's last line is its terminator and its counts in one.
        events.insert(len(events) - is_over, self._addition(events))
        return end.join(events) + end
