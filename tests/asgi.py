"""A client and apps for tests, at the level of ASGI messages: what goes in, what comes out, and when."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import http_sf
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CHAT = "/v1/chat/completions"
MODEL = "llama-3.1-70b"
USAGE: dict[str, Any] = {
    "prompt_tokens": 25,
    "completion_tokens": 4,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 5},
}


@dataclass
class Seen:
    """What a client saw of one exchange."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def chunks(self) -> list[bytes]:
        return [message.get("body", b"") for message in self.messages if message["type"] == "http.response.body"]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ended(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", False)


def scope(path: str = CHAT, *, method: str = "POST", key: str | None = None, **headers: str) -> Scope:
    """An HTTP scope; `key` is the caller's API key."""
    raw = [(b"content-type", b"application/json")]
    if key is not None:
        raw.append((b"authorization", f"Bearer {key}".encode()))
    raw += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": raw,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


async def call(
    app: ASGIApp,
    body: bytes | Iterable[bytes] = b"",
    *,
    on_message: Callable[[Seen], None] | None = None,
    gone: asyncio.Event | None = None,
    raw_scope: Scope | None = None,
    **scope_values: Any,
) -> Seen:
    """Send one request; `gone` is the client's leaving, when the test sets it. Exceptions of the app come through."""
    parts = [body] if isinstance(body, bytes) else list(body)
    requests: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    left = gone if gone is not None else asyncio.Event()
    seen = Seen()

    async def receive() -> Message:
        if requests:
            return requests.pop(0)
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        seen.messages.append(message)
        if on_message is not None:
            on_message(seen)

    try:
        await app(raw_scope if raw_scope is not None else scope(**scope_values), receive, send)
    except Exception as error:
        error.seen = seen  # type: ignore[attr-defined]
        raise
    return seen


def dictionary(value: str | bytes) -> Any:
    """A header value as an RFC 9651 parser reads it: name -> (value, parameters)."""
    return http_sf.parse(value.encode() if isinstance(value, str) else value, tltype="dictionary")


def unfolded(body: bytes) -> bytes:
    """A body without the footprint that was folded into it: what the app sent."""
    return re.sub(rb',"footprint":\{.*?"url":"[^"]*"\}', b"", body)


def request(**members: Any) -> bytes:
    """A chat request's body."""
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], **members}).encode()


def reply(**members: Any) -> bytes:
    """A chat reply's body."""
    whole: dict[str, Any] = {
        "id": "c1",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    return json.dumps({**whole, **members}, separators=(",", ":")).encode()


def event(**members: Any) -> bytes:
    """One SSE event of a chat stream."""
    head = {"id": "c1", "object": "chat.completion.chunk", "model": MODEL}
    return b"data: " + json.dumps({**head, **members}, separators=(",", ":")).encode() + b"\n\n"


def content(text: str, finish_reason: str | None = None, **members: Any) -> bytes:
    """One chunk with text."""
    delta = {"content": text} if text else {}
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish_reason}], **members)


DONE = b"data: [DONE]\n\n"
STREAM = [content("Hel"), content("lo"), content("", "stop")]
STREAM_WITH_USAGE = [*STREAM, event(choices=[], usage=USAGE), DONE]


def json_app(
    body: bytes, *, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = (), parts: list[bytes] | None = None
) -> ASGIApp:
    """An app that reads the request and answers with a JSON body, in parts if given."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        length = (b"content-length", b"%d" % len(body))
        start_headers = [(b"content-type", b"application/json"), length, *headers]
        await send({"type": "http.response.start", "status": status, "headers": start_headers})
        pieces = parts if parts is not None else [body]
        for number, piece in enumerate(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces) - 1})

    return app


def stream_app(
    chunks: Iterable[bytes],
    *,
    after: Callable[[int], None] | None = None,
    error: Exception | None = None,
    ends: bool = True,
) -> ASGIApp:
    """An app that streams chunks; `after` runs behind each, `error` is raised at the end, `ends` sends the last message."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, chunk in enumerate(chunks):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if after is not None:
                after(number)
            await asyncio.sleep(0)
        if error is not None:
            raise error
        if ends:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app
