"""The seam between the middleware and the APIs of LLM servers: bytes in, facts and bytes out. Sans I/O, no clock.

A new API is one file that provides a `Dialect`, and one line in the table of `dialects/__init__.py`.
"""

from __future__ import annotations

from typing import Protocol

from headwater.records import ChatRequest, Prompt, Usage


class Reply(Protocol):
    """A whole JSON reply, read."""

    @property
    def complete(self) -> bool:
        """The upstream said that it finished (every choice has a finish reason)."""
        ...

    @property
    def failed(self) -> bool:
        """The body is an error object, or no reply of this API at all."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The upstream's own counts; None where it gave none."""
        ...

    @property
    def busy_s(self) -> float | None:
        """The upstream's own prefill and decode time, where it tells."""
        ...

    def output_text(self) -> str:
        """All generated text joined, for counting. Parsed only when asked for."""
        ...

    def fold(self, footprint: bytes) -> bytes | None:
        """The body with `"footprint":<footprint>` inside its usage object (at the top level where it has none), every other
        byte as it was; None where it cannot be folded."""
        ...


class StreamReader(Protocol):
    """Reads one streamed reply as it passes, whatever its chunking, and rewrites nothing but its end.

    The caller sends on what `feed` returns, at once. When `feed` says that it holds the end of the stream, the caller
    works out the footprint and sends what `release` returns. After the body's end it sends what `close` returns.
    """

    @property
    def complete(self) -> bool:
        """The protocol's own terminator was seen. The end of the body alone proves nothing."""
        ...

    @property
    def failed(self) -> bool:
        """An error event was seen."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The upstream's own counts, the last value seen; None where it gave none so far."""
        ...

    @property
    def busy_s(self) -> float | None:
        """The upstream's own prefill and decode time, where it tells."""
        ...

    @property
    def events_count(self) -> int:
        """Events with output seen so far: a rough lower bound of tokens, for provisional records only."""
        ...

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Take bytes from the upstream; return those to send now, and whether the end of the stream is held."""
        ...

    def release(self, footprint: bytes | None) -> bytes:
        """Let go of the held end, with the footprint folded in unless it is None."""
        ...

    def close(self) -> bytes:
        """The body ended or broke off: let go of everything still held, unchanged."""
        ...

    def output_text(self) -> str:
        """All generated text so far joined, for counting. Parsed only when asked for."""
        ...


class Dialect(Protocol):
    """One API: how to know it, and how to read it."""

    @property
    def name(self) -> str:
        """The name in receipts and metrics: `openai-chat`."""
        ...

    def matches(self, method: str, path: str) -> bool:
        """Whether a request to this path (as the app sees it, without root_path) is one of this API's."""
        ...

    def read_request(self, body: bytes) -> ChatRequest:
        """Read what was asked.

        Raises:
            DialectError: the body is not a request of this API.
        """
        ...

    def prompt(self, request: ChatRequest) -> Prompt:
        """The request's text, for counting its tokens when the upstream gives none."""
        ...

    def read_reply(self, body: bytes) -> Reply:
        """Read a whole JSON reply. Never raises on bad bytes: such a reply is `failed` and has no usage."""
        ...

    def stream_reader(self, request: ChatRequest, *, usage_injected: bool) -> StreamReader:
        """A reader for one streamed reply. `usage_injected`: usage was asked for in the client's place, so that the
        chunk that it brings, and `"usage":null` on the others, must be taken out again."""
        ...

    def ask_for_usage(self, body: bytes) -> bytes:
        """The request body with usage on its stream asked for; every other member kept.

        Raises:
            DialectError: the body is not a request of this API.
        """
        ...
