"""One exchange: what one request and its reply are seen to do, from the first byte to the charge.

Bytes go through as they came and when they came. A JSON reply is held to its end (bounded), so that its header can carry
its footprint; a stream is never held but for the event that ends it. Whatever fails here, the reply goes on as it was.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater import disclosure, ulid
from headwater.dialects.base import Dialect, Reply, StreamReader
from headwater.errors import DialectError
from headwater.identity import ANONYMOUS
from headwater.meter import NOTHING_GENERATED, Meter
from headwater.records import (
    NO_USAGE,
    NOTHING_OBSERVED,
    ChatRequest,
    Footprint,
    Observation,
    Outcome,
    Unknown,
    Usage,
)
from headwater.serving import Served

_Mode = Literal["start", "json", "stream", "watch", "pass"]
# A provisional record a tenth of a second bounds what a SIGKILL can take from a stream's count, at 0.01 % of a core.
_PROVISIONAL_EVERY_S: Final = 0.1
_INLINE_COUNT_BYTES: Final = 20_000  # about 1 ms of tiktoken; a thread hop costs as much
_REFUSED: Final = frozenset({401, 403, 407})
_ERRORS_FROM: Final = 400
_NO_CONTENT: Final = frozenset({204, 205, 304})
_SEALED: Final = frozenset(
    {b"content-digest", b"repr-digest", b"digest", b"content-md5", b"signature", b"signature-input", b"etag"}
)


class Exchange:
    """One request and its reply, seen from between server and app."""

    __slots__ = (
        "_admitted_s",
        "_body_parts",
        "_client_gone",
        "_dialect",
        "_disclose",
        "_entered_integral_s",
        "_first_s",
        "_foldable",
        "_held",
        "_held_bytes",
        "_meter",
        "_mode",
        "_noted_s",
        "_reader",
        "_receive",
        "_reply_parts",
        "_request",
        "_request_bytes",
        "_send",
        "_served",
        "_settled",
        "_start",
        "_started_ms",
        "_status",
        "_waited_s",
        "request_id",
        "usage_injected",
        "user",
    )

    def __init__(self, meter: Meter, dialect: Dialect, scope: Scope, receive: Receive, send: Send) -> None:
        self._meter = meter
        self._dialect = dialect
        self._receive = receive
        self._send = send
        self._started_ms = int(meter.wall_s() * 1000)
        self.request_id = ulid.new(self._started_ms)
        self.user = meter.identity.user(scope)
        self.usage_injected = False
        """Set by the gateway when it asked for usage in the client's place."""
        self._disclose = all(
            value.strip() != b"?0" for name, value in scope["headers"] if name == b"headwater-disclose"
        )
        self._body_parts: list[bytes] | None = []
        self._request_bytes = 0
        self._request = ChatRequest(model=None)
        self._served: Served | None = None
        self._admitted_s = self._noted_s = meter.clock_s()
        self._entered_integral_s = 0.0
        self._first_s: float | None = None
        self._waited_s = 0.0
        self._mode: _Mode = "start"
        self._status = 0
        self._start: Message | None = None
        self._foldable = False
        self._held: list[Message] = []
        self._held_bytes = 0
        self._reply_parts: list[bytes] | None = []
        self._reader: StreamReader | None = None
        self._settled = False
        self._client_gone = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Let the app answer; charge what was generated, however it ends."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            await self._send_held()
            raise
        else:
            await self._send_held()
        finally:
            self._end()

    async def _send_held(self) -> None:
        """The app broke off in the middle of a JSON reply: the client gets as much of it as it would have got."""
        start, self._start = self._start, None
        held, self._held = self._held, []
        self._mode = "pass"
        for message in [start, *held] if start is not None else held:
            await self._send(message)

    # -- the request ------------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The app's `receive`: passes messages on and keeps a copy of the body until it is whole."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._client_gone = True
        elif self._served is None:
            try:
                self._take_request(message)
            except Exception as error:  # metering must not break the app's request
                self._meter.failed(error)
        return message

    def _take_request(self, message: Message) -> None:
        part = message.get("body", b"")
        self._request_bytes += len(part)
        if self._body_parts is not None:
            if self._request_bytes > self._meter.settings.limits.meter_bytes:
                self._body_parts = None
            elif part:
                self._body_parts.append(part)
        if not message.get("more_body", False):
            self._admit()

    def _admit(self) -> Served:
        """The request is whole: find its deployment, count it in, and note it in the journal."""
        if self._body_parts:
            try:
                self._request = self._dialect.read_request(b"".join(self._body_parts))
            except DialectError:
                pass  # the app will say what is wrong with it; without a model there is no footprint
        self._body_parts = None
        meter = self._meter
        served = self._served = meter.serving.of(self._request.model)
        self._admitted_s = self._noted_s = meter.clock_s()
        self._entered_integral_s = served.load.enter(self._admitted_s)
        self._note(served, NO_USAGE, NOTHING_OBSERVED, Unknown(reason="process-died"))
        return served

    def _note(self, served: Served, usage: Usage, observation: Observation, footprint: Footprint | Unknown) -> None:
        charge = self._meter.charge(
            request_id=self.request_id,
            user=self.user,
            started_ms=self._started_ms,
            outcome="partial",
            served=served,
            usage=usage,
            observation=observation,
            footprint=footprint,
        )
        self._meter.open(charge, served)

    # -- the reply --------------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """The app's `send`."""
        mode = self._mode
        if mode == "stream" and message["type"] == "http.response.body":
            await self._send_stream(message)
        elif mode == "pass":
            await self._send(message)
        else:
            try:
                messages = await self._take(message)
            except Exception as error:  # metering must not break the app's reply
                self._meter.failed(error)
                messages = self._let_go(message)
            for outgoing in messages:
                await self._send(outgoing)

    async def _take(self, message: Message) -> list[Message]:
        """What goes out for one message of the app, outside the hot path of a stream."""
        kind = message["type"]
        if kind == "http.response.start" and self._mode == "start":
            return self._take_start(message)
        if kind == "http.response.body" and self._mode == "json":
            return await self._take_json(message)
        if kind == "http.response.body" and self._mode == "watch":
            return await self._watch(message)
        # Files sent by path, trailers of a held reply and the like: let go, and look no further.
        return self._let_go(message)

    def _let_go(self, message: Message) -> list[Message]:
        """Send everything held, unchanged, and get out of the way."""
        held, self._held = self._held, []
        if not held or held[-1] is not message:
            held.append(message)
        self._mode = "pass"
        start, self._start = self._start, None
        return [start, *held] if start is not None else held

    def _take_start(self, message: Message) -> list[Message]:
        self._status = message["status"]
        served = self._served if self._served is not None else self._admit()
        if self._status in _REFUSED:
            self._settled = True
            served.load.leave(self._meter.clock_s())
            self._meter.ledger.forget(self.request_id)
            self._mode = "pass"
            return [message]
        if self._status >= _ERRORS_FROM or self._status in _NO_CONTENT:
            self._settle(served, "upstream_error", NO_USAGE, None, NOTHING_GENERATED)
            self._mode = "pass"
            return [message]
        headers: dict[bytes, bytes] = dict(message.get("headers", ()))
        content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        encoded = headers.get(b"content-encoding", b"identity") != b"identity"
        self._foldable = self._disclose and self._meter.settings.disclosure.placement != "off" and _may_fold(headers)
        if encoded:
            self._settle_blind(served, "reply-encoded")
            return [message]
        if content_type == b"text/event-stream":
            self._mode = "stream"
            self._reader = self._dialect.stream_reader(self._request, usage_injected=self.usage_injected)
            return [self._with_headers(message, [])]
        if content_type == b"application/json" or content_type.endswith(b"+json"):
            self._mode = "json"
            self._start = message
            return []
        self._settle_blind(served, "reply-not-understood")
        return [message]

    def _settle_blind(self, served: Served, reason: str) -> None:
        # The time is not known yet, the tokens never will be: charge a request of unknown size.
        self._mode = "pass"
        self._settle(served, "completed", NO_USAGE, None, Unknown(reason=reason))

    # -- a JSON reply -----------------------------------------------------------------------------------------------

    async def _take_json(self, message: Message) -> list[Message]:
        body = message.get("body", b"")
        more = message.get("more_body", False)
        self._held.append(message)
        self._held_bytes += len(body)
        if more and (self._held_bytes > self._meter.settings.limits.hold_bytes or (body and not body.strip())):
            # Too large to hold, or whitespace that keeps the connection alive: it must go out now, so no header can wait.
            return self._start_watching()
        if more:
            return []
        whole = body if len(self._held) == 1 else b"".join(part.get("body", b"") for part in self._held)
        if len(whole) > self._meter.settings.limits.hold_bytes:
            return await self._end_watching(self._start_watching(), whole)
        disclosed, reply = await self._settle_json(whole)
        start = self._start
        assert start is not None  # noqa: S101 - the mode says so
        self._start = None
        self._held.clear()
        self._mode = "pass"
        if disclosed is None or not self._disclose:
            return [start, {"type": "http.response.body", "body": whole, "more_body": False}]
        folded = reply.fold(disclosed.body) if self._foldable else None
        sent = whole if folded is None else folded
        headers = [(b"headwater-footprint", disclosed.header)]
        return [
            self._with_headers(start, headers, length=len(sent) if folded is not None else None),
            {"type": "http.response.body", "body": sent, "more_body": False},
        ]

    def _start_watching(self) -> list[Message]:
        """Stop holding: what was held goes out with the headers that are known now; the rest is only read along."""
        self._mode = "watch"
        start, self._start = self._start, None
        assert start is not None  # noqa: S101 - the mode says so
        held, self._held = self._held, []
        self._reply_parts = [part.get("body", b"") for part in held]
        return [self._with_headers(start, []), *held]

    async def _watch(self, message: Message) -> list[Message]:
        part = message.get("body", b"")
        if self._reply_parts is not None:
            self._held_bytes += len(part)
            if self._held_bytes > self._meter.settings.limits.meter_bytes:
                self._reply_parts = None
            else:
                self._reply_parts.append(part)
        if message.get("more_body", False):
            return [message]
        return await self._end_watching([message], b"".join(self._reply_parts or ()))

    async def _end_watching(self, outgoing: list[Message], whole: bytes) -> list[Message]:
        self._mode = "pass"
        if self._reply_parts is None:
            self._settle_blind(self._known(), "reply-too-large")
        else:
            await self._settle_json(whole)
        return outgoing

    async def _settle_json(self, whole: bytes) -> tuple[disclosure.Disclosure | None, Reply]:
        reply = self._dialect.read_reply(whole)
        served = self._known()
        if reply.failed:
            self._settle(served, "upstream_error", NO_USAGE, None, NOTHING_GENERATED)
            return None, reply
        usage = reply.usage
        if usage is None:
            usage = await self._count(reply.output_text())
        footprint = self._settle(served, "completed", usage, reply.busy_s)
        return disclosure.disclose(self.request_id, usage, footprint), reply

    # -- a stream ---------------------------------------------------------------------------------------------------

    async def _send_stream(self, message: Message) -> None:
        """The hot path: one chunk of a stream."""
        meter = self._meter
        body = message.get("body", b"")
        more = message.get("more_body", False)
        reader = self._reader
        assert reader is not None  # noqa: S101 - the mode says so
        try:
            out, held = reader.feed(body)
            if held:
                out += await self._end_stream(reader)
            if not more:
                out += reader.close()
        except Exception as error:  # metering must not break the app's reply
            meter.failed(error)
            self._mode = "pass"
            out = body
        now_s = meter.clock_s()
        if self._first_s is None and body:
            self._first_s = now_s
        if not self._settled and (not more or now_s - self._noted_s > _PROVISIONAL_EVERY_S):
            await self._account(reader, now_s, more=more)
        if out is body:
            await self._send(message)
        elif out or not more:
            await self._send({**message, "body": out})
        self._waited_s += meter.clock_s() - now_s

    async def _account(self, reader: StreamReader, now_s: float, *, more: bool) -> None:
        """Write down how far the stream has come, before the client sees it."""
        self._noted_s = now_s
        try:
            if more:
                self._note_progress(reader, now_s)
            else:
                await self._settle_stream(reader)
        except Exception as error:  # metering must not break the app's reply
            self._meter.failed(error)

    async def _end_stream(self, reader: StreamReader) -> bytes:
        """The reader holds the event that ends the stream: charge, and fold the footprint into it."""
        footprint: bytes | None = None
        try:
            if not self._settled:
                disclosed = await self._settle_stream(reader, ended=True)
                footprint = disclosed.body if disclosed is not None and self._foldable else None
        except Exception as error:  # the held event must go out
            self._meter.failed(error)
        return reader.release(footprint)

    async def _settle_stream(self, reader: StreamReader, *, ended: bool = False) -> disclosure.Disclosure | None:
        served = self._known()
        usage = reader.usage
        text = reader.output_text() if usage is None else ""
        outcome = self._stream_outcome(reader, ended=ended)
        if usage is None and (text or outcome == "completed"):
            usage = await self._count(text)
        if usage is None:
            self._settle(served, outcome, NO_USAGE, None, NOTHING_GENERATED)
            return None
        footprint = self._settle(served, outcome, usage, reader.busy_s)
        return disclosure.disclose(self.request_id, usage, footprint)

    def _stream_outcome(self, reader: StreamReader, *, ended: bool) -> Outcome:
        if reader.failed:
            return "upstream_error"
        if ended or reader.complete:
            return "completed"
        return "client_gone" if self._client_gone else "upstream_error"

    def _note_progress(self, reader: StreamReader, now_s: float) -> None:
        served = self._known()
        usage = reader.usage
        if usage is None:
            usage = Usage(input_tokens=None, output_tokens=reader.events_count, source="estimated")
        observation = self._observation(served, now_s, reader.busy_s)
        self._note(served, usage, observation, self._meter.footprint(served, usage, observation))

    # -- the end ----------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """The app is done, or broke off. Whatever is not charged yet is charged now."""
        if self._settled or self._served is None:
            return
        try:
            self._end_open(self._served)
        except Exception as error:  # the app's own exception, if any, must go on
            self._meter.failed(error)

    def _end_open(self, served: Served) -> None:
        reader = self._reader
        outcome: Outcome = "client_gone" if self._client_gone else "upstream_error"
        if reader is None:
            # No reply was seen. A client that left had its answer worked on all that time; a failed app made none.
            footprint = None if outcome == "client_gone" else NOTHING_GENERATED
            self._settle(served, outcome, NO_USAGE, None, footprint)
            return
        outcome = self._stream_outcome(reader, ended=False)
        usage = reader.usage
        if usage is not None:
            self._settle(served, outcome, usage, reader.busy_s)
            return
        text = reader.output_text()
        if not text:
            self._settle(served, outcome, NO_USAGE, None, None if outcome == "client_gone" else NOTHING_GENERATED)
        elif self._is_small(text):
            self._settle(served, outcome, self._count_now(text), reader.busy_s)
        else:
            # The task may be cancelled right now: it cannot await. The count goes on in a thread, the charge follows.
            ended_s = self._meter.clock_s()
            self._meter.later(self._settle_later(served, outcome, text, ended_s))
            self._settled = True

    async def _settle_later(self, served: Served, outcome: Outcome, text: str, ended_s: float) -> None:
        try:
            usage = await asyncio.to_thread(self._count_now, text)
            self._settled = False
            self._settle(served, outcome, usage, None, ended_s=ended_s)
        except Exception as error:
            self._meter.failed(error)

    def _settle(
        self,
        served: Served,
        outcome: Outcome,
        usage: Usage,
        busy_s: float | None,
        footprint: Footprint | Unknown | None = None,
        *,
        ended_s: float | None = None,
    ) -> Footprint | Unknown:
        """Count out, price, and write the charge into the journal; once."""
        now_s = self._meter.clock_s() if ended_s is None else ended_s
        observation = self._observation(served, now_s, busy_s)
        self._settled = True
        served.load.leave(self._meter.clock_s())
        if footprint is None:
            footprint = self._meter.footprint(served, usage, observation)
        charge = self._meter.charge(
            request_id=self.request_id,
            user=self.user,
            started_ms=self._started_ms,
            outcome=outcome,
            served=served,
            usage=usage,
            observation=observation,
            footprint=footprint,
        )
        self._meter.enter(charge)
        return footprint

    def _observation(self, served: Served, now_s: float, busy_s: float | None) -> Observation:
        return Observation(
            elapsed_s=max(0.0, now_s - self._admitted_s - self._waited_s),
            busy_s=busy_s,
            ttft_s=None if self._first_s is None else self._first_s - self._admitted_s,
            concurrency_count=served.load.concurrency(self._entered_integral_s, self._admitted_s, now_s),
        )

    # -- counting where the upstream is silent ----------------------------------------------------------------------

    async def _count(self, text: str) -> Usage:
        if self._is_small(text):
            return self._count_now(text)
        return await asyncio.to_thread(self._count_now, text)

    def _is_small(self, text: str) -> bool:
        return len(text) + len(self._request.raw) <= _INLINE_COUNT_BYTES

    def _count_now(self, text: str) -> Usage:
        counter, model = self._meter.counter, self._request.model
        made = counter.count_text(text, model)
        if not self._request.raw:
            return Usage(input_tokens=None, output_tokens=made.tokens, source=made.source)
        given = counter.count_prompt(self._dialect.prompt(self._request), model)
        source = "estimated" if "estimated" in (made.source, given.source) else "counted"
        return Usage(input_tokens=given.tokens, output_tokens=made.tokens, source=source)

    # -- small things -----------------------------------------------------------------------------------------------

    def _known(self) -> Served:
        served = self._served
        assert served is not None  # noqa: S101 - no reply is read before its request is admitted
        return served

    def _with_headers(self, start: Message, extra: list[tuple[bytes, bytes]], length: int | None = None) -> Message:
        """The start message with our headers behind the app's own; a new length where the body grew."""
        if not self._disclose:
            return start
        headers: list[tuple[bytes, bytes]] = list(start.get("headers", ()))
        if length is not None:
            headers = [
                (name, value if name.lower() != b"content-length" else b"%d" % length) for name, value in headers
            ]
        is_cors = any(name.lower() == b"access-control-allow-origin" for name, _ in headers)
        headers.append((b"headwater-id", self.request_id.encode()))
        headers += extra
        # The anonymous account is everybody's: what others did is nobody's business.
        total = self._meter.ledger.period_total(self.user) if self.user != ANONYMOUS else None
        if total is not None:
            headers.append((b"headwater-period", disclosure.period(total, self._meter.wall_s())))
        headers.append((b"link", disclosure.link(self.request_id)))
        if is_cors:
            headers.append((b"access-control-expose-headers", disclosure.EXPOSED_HEADERS))
        return {**start, "headers": headers}


def _may_fold(headers: dict[bytes, bytes]) -> bool:
    """Whether a body may be touched: not when it is digested, signed, or marked `no-transform`."""
    return not (_SEALED & headers.keys()) and b"no-transform" not in headers.get(b"cache-control", b"").lower()


def of_scope(scope: dict[str, Any]) -> Exchange | None:
    """The exchange that a middleware outside has opened for this request, if there is one."""
    found = scope.get("headwater")
    return found if isinstance(found, Exchange) else None
