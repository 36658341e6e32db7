"""The seam between the middleware and the APIs of LLM servers: bytes in, facts and bytes out. Sans I/O, no clock.

A new API is one file that provides a `Dialect`, and one line in the table of `dialects/__init__.py`; README.md beside this
file shows how. `whole.WholeReply` and the streams of `stream.py` do what all of them have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from headwater.records import ChatRequest, EnergyReport, Prompt, Target, Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What is folded into a reply.

    `footprint`: a JSON object. `placement`: into the usage object, or to the end of the object that contains it. `beside`:
    further members for the top level (`"energy":{...}`), without a comma around them. `comment`: a comment of server-sent
    events, with its blank line, for before the end of a stream; b"" for none.
    """

    footprint: bytes
    placement: Literal["usage", "top"] = "usage"
    beside: bytes = b""
    comment: bytes = b""


class RawEvent(Protocol):
    """One event of a stream as it came."""

    @property
    def raw(self) -> bytes:
        """All its bytes."""
        ...

    @property
    def data(self) -> bytes | None:
        """Its data; None where it has none."""
        ...

    def insert(self, edits: Sequence[tuple[int, bytes]]) -> bytes:
        """The raw event with texts, which have no line end, each before a data byte; first places first."""
        ...

    def raw_offset(self, at: int) -> int:
        """The place of the data byte `at` in the raw event."""
        ...


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
    def told(self) -> Told:
        """What the upstream itself says of its work: counts, times."""
        ...

    @property
    def report(self) -> EnergyReport | None:
        """The energy that the upstream reports, whatever the dialect: see `energy_reports`."""
        ...

    def output_text(self) -> str:
        """All generated text joined, for counting. Parsed only when asked for."""
        ...

    def fold(self, addition: Addition) -> bytes | None:
        """The body with the addition inside, every other byte as it was; None where it cannot be folded."""
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
    def told(self) -> Told:
        """What the upstream itself has said of its work so far, the last value of each figure."""
        ...

    @property
    def report(self) -> EnergyReport | None:
        """The energy that the upstream has reported so far, the last one, whatever the dialect."""
        ...

    @property
    def events_count(self) -> int:
        """Events with output seen so far: a rough lower bound of tokens, for provisional records only."""
        ...

    @property
    def skim(self) -> Callable[[bytes], bool] | None:
        """A shortcut for the next chunk, or None: it takes a chunk that is one ordinary event, to be sent on as it is, and
        returns True; or it takes nothing and returns False, and the chunk must be fed. To be asked for anew after `feed`."""
        ...

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Take bytes from the upstream; return those to send now, and whether the end of the stream is held."""
        ...

    def release(self, addition: Addition | None) -> bytes:
        """Let go of the held end, with the addition folded in unless it is None."""
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
        """Whether a request is one of this API's. `path`: as the app sees it, without root_path, in lower case and without
        slashes at its end: a server's leniency must not be a way past the meter."""
        ...

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read what was asked. `body` is empty where there is none, or where it was over the limit; `target` is as it came.

        Raises:
            NotOurs: what is asked for is something else: the exchange passes untouched and unmetered.
            DialectError: the body is not a request of this API.
        """
        ...

    def prompt(self, request: ChatRequest) -> Prompt:
        """The request's text, for counting its tokens when the upstream gives none."""
        ...

    def read_reply(self, body: bytes, request: ChatRequest) -> Reply:
        """Read a whole JSON reply. Never raises on bad bytes: such a reply is `failed` and told nothing."""
        ...

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> StreamReader | None:
        """A reader for one streamed reply; None where a reply of this type is no stream of this API's.

        `content_type`: in lower case, without parameters. `usage_injected`: usage was asked for in the client's place, so
        that the chunk that it brings, and `"usage":null` on the others, must be taken out again.
        """
        ...

    def ask_for_usage(self, body: bytes) -> bytes:
        """The request body with usage on its stream asked for, every other member kept; the same body where this API need
        not be asked.

        Raises:
            DialectError: the body is not a request of this API.
        """
        ...
