"""One exchange: what one request and its reply are seen to do, from the first byte to the last. Bytes here, money elsewhere.

Bytes go through as they came and when they came. A JSON reply is held to its end (bounded), so that its header can carry
its footprint; a stream is never held but for the event that ends it. Whatever fails here, the reply goes on as it was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater import headers
from headwater.bodies import Copy
from headwater.decoded import DecodedCopy, DecodedStream, codings_of
from headwater.dialects.base import Addition, Dialect, StreamReader
from headwater.dialects.kit import energy_reports
from headwater.dialects.kit.sse import SSE
from headwater.disclosing import Disclosed, Disclosing
from headwater.encodings import BROKEN
from headwater.errors import NotOurs
from headwater.held import Held, charge_blind
from headwater.meter import Meter
from headwater.records import NO_USAGE, NOTHING_TOLD, Outcome, Target
from headwater.settlement import NOT_UNDERSTOOD, NOTHING_GENERATED, Settlement
from headwater.watch import Watch

_Mode = Literal["start", "json", "stream", "pass"]
# A provisional record a tenth of a second bounds what a SIGKILL can take from a stream's count, at 0.02 % of a core.
_PROVISIONAL_EVERY_S: Final = 0.1
_REFUSED: Final = frozenset({401, 403, 407})
_EVENT_STARTS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
_ERRORS_FROM: Final = 400
_NO_CONTENT: Final = frozenset({204, 205, 304})
# What a server does beside the reply; it says nothing of it, and may come at any time.
_BESIDE_A_REPLY: Final = frozenset({"http.response.push", "http.response.debug"})


class Exchange:
    """One request and its reply, seen from between server and app."""

    __slots__ = (
        "_arrivals_s", "_asked", "_client_gone", "_clock_s", "_dialect", "_disclosing", "_feed", "_has_begun", "_held",
        "_meter", "_mode", "_noted_count", "_reader", "_receive", "_send", "_settlement", "_skim", "_timer", "_times",
        "usage_injected",
    )  # fmt: skip

    def __init__(
        self, meter: Meter, dialect: Dialect, target: Target, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._meter = meter
        self._dialect = dialect
        self._receive = receive
        self._send = send
        self._settlement = Settlement(meter, dialect, target, meter.user(scope))
        self._times: Watch | None = None
        self.usage_injected = False
        """Set by the gateway when it asked for usage in the client's place."""
        self._disclosing = Disclosing(meter, dialect, self._settlement, scope, send)
        if self._disclosing.trailers is not None:
            self._send = self._disclosing.trailers.send
        self._asked = Copy(meter.settings.limits.meter_bytes)
        self._mode: _Mode = "start"
        self._held: Held | None = None
        self._reader: StreamReader | None = None
        self._feed: Callable[[bytes], tuple[bytes, bool]] | None = None
        """The reader's `feed`, as long as there is a stream to read."""
        self._skim: Callable[[bytes], bool] | None = None
        self._has_begun, self._client_gone = False, False
        self._arrivals_s: deque[float] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._noted_count = 0
        self._clock_s = meter.clock_s

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
            if self._timer is not None:
                self._timer.cancel()
            self._end()

    # -- the request ------------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The app's `receive`: passes messages on and keeps a copy of the body until it is whole."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._client_gone = True
        elif not self._settlement.is_admitted and self._mode == "start":
            try:
                self._take_request(message)
            except Exception as error:  # metering must not break the app's request
                self._meter.failed(error)
        return message

    def _take_request(self, message: Message) -> None:
        self._asked.add(message.get("body", b""))
        if not message.get("more_body", False):
            self._admit()

    def _admit(self) -> None:
        asked, self._asked = self._asked, Copy(0)
        try:
            self._settlement.admit(asked.whole() or b"")
        except NotOurs:
            self._mode = "pass"

    # -- the reply --------------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """The app's `send`. What comes first is the hot path: one ordinary chunk in the middle of a stream."""
        skim, times = self._skim, self._times
        if skim is not None and times is not None and message.get("more_body") and skim(message.get("body", b"")):
            now_s = self._clock_s()
            if self._arrivals_s is not None:
                self._arrivals_s.append(now_s)
            try:
                await self._send(message)
            except OSError:  # so servers say that nobody is there any more
                self._client_gone = True
                raise
            times.waited_s += self._clock_s() - now_s
        elif self._feed is not None and message["type"] == "http.response.body":
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = bytes(body)
            try:
                out, is_held = self._feed(body)
                reader = self._reader if self._has_begun and body is message.get("body") else None
                self._skim = None if reader is None else reader.skim
            except Exception as error:  # metering must not break the app's reply
                self._meter.failed(error)
                self._feed = self._skim = None
                self._mode = "pass"
                out, is_held = self._unread() + body, False
            now_s = self._clock_s()
            if self._arrivals_s is not None:
                self._arrivals_s.append(now_s)
            if out is not body or is_held or not self._has_begun or not message.get("more_body", False):
                message = await self._take_chunk(message, out, now_s, is_held=is_held)
            if message:
                try:
                    await self._send(message)
                except OSError:
                    self._client_gone = True
                    raise
            if times is not None:
                times.waited_s += self._clock_s() - now_s
        elif self._mode == "pass":
            await self._send(message)
        else:
            message = headers.plain(message)
            try:
                messages = await self._take(message)
            except Exception as error:  # metering must not break the app's reply
                self._meter.failed(error)
                messages = self._let_go(message)
            try:
                for outgoing in filter(None, messages):
                    await self._send(outgoing)
            except OSError:
                self._client_gone = True
                raise

    def _unread(self) -> bytes:
        """What a reader that failed still holds, as far as it will tell."""
        try:
            return self._reader.close() if self._reader is not None else b""
        except Exception as error:
            self._meter.failed(error)
            return b""

    async def _take(self, message: Message) -> list[Message]:
        """What goes out for one message of the app, outside the hot path of a stream."""
        kind = message["type"]
        if kind == "http.response.start" and self._mode == "start":
            return self._take_start(message)
        if self._mode == "start" and kind != "http.response.body":
            return [message]  # early hints and the like
        if kind in _BESIDE_A_REPLY:
            return [message]
        if kind == "http.response.body" and self._held is not None:
            if self._held.is_untouched and message.get("body", b"").startswith(_EVENT_STARTS):
                return await self._take_unlabelled(self._held, message)
            outgoing = await self._held.take(message, client_gone=self._client_gone)
            if self._held.is_over:
                self._mode, self._held = "pass", None
            return outgoing
        # Files sent by path, trailers of a held reply and the like: let go, and look no further.
        return self._let_go(message)

    async def _take_unlabelled(self, held: Held, message: Message) -> list[Message]:
        """A stream of events that calls itself JSON, as some frameworks do unasked: it must not be held."""
        outgoing, self._held = held.give_up(), None  # the start, and behind it at most messages without a body
        start = outgoing[0]
        try:
            outgoing = self._take_reply(start, headers.of(start)._replace(content_type=SSE, is_json=False))
            if self._feed is not None:
                out, is_held = self._feed(message["body"])
                return [*outgoing, await self._take_chunk(message, out, self._clock_s(), is_held=is_held)]
        except Exception as error:  # what was held is in our hands alone by now
            self._meter.failed(error)
            self._mode, self._feed, self._skim = "pass", None, None
        return [*outgoing, message]

    def _let_go(self, message: Message) -> list[Message]:
        """Send everything held and this message, unchanged, and get out of the way."""
        held = self._give_up()
        return held if held and held[-1] is message else [*held, message]

    def _give_up(self) -> list[Message]:
        held = self._held.give_up() if self._held is not None else []
        if self._feed is not None and (rest := self._unread()):
            held = [*held, {"type": "http.response.body", "body": rest, "more_body": True}]
        self._mode, self._held, self._feed, self._skim = "pass", None, None, None
        return held

    async def _send_held(self) -> None:
        """The app broke off in the middle of a reply: the client gets as much of it as it would have got."""
        for message in self._give_up():
            with suppress(OSError):  # the client left, and the server says so
                await self._send(message)
        if self._disclosing.trailers is not None:
            try:
                await self._disclosing.trailers.close()
            except OSError:
                pass
            except Exception as error:  # the app's own exception, if any, must go on
                self._meter.failed(error)

    def _take_start(self, message: Message) -> list[Message]:
        if not self._settlement.is_admitted:
            self._admit()
            if not self._settlement.is_admitted:
                return [message]
        status = message["status"]
        if status in _REFUSED:
            self._mode = "pass"
            self._settlement.drop()
            return [message]
        if status >= _ERRORS_FROM or status in _NO_CONTENT:
            self._mode = "pass"
            self._settlement.settle_blind("upstream_error", NOTHING_GENERATED)
            return [message]
        return self._take_reply(message, headers.of(message))

    def _take_reply(self, start: Message, kind: headers.Kind) -> list[Message]:
        """A reply begins that may have an answer in it."""
        self._disclosing.read(kind)
        self._settlement.saw_report(kind.report, is_believed=not kind.is_disclosed)
        if kind.is_partial:
            return self._pass_blind(start, "reply-partial")
        codings = codings_of(kind.codings)
        if codings is None:
            return self._pass_blind(start, BROKEN)
        settlement, meter_bytes = self._settlement, self._meter.settings.limits.meter_bytes
        reader = self._dialect.stream_reader(settlement.request, kind.content_type, usage_injected=self.usage_injected)
        if reader is not None:
            reader = DecodedStream(reader, codings, meter_bytes) if codings else reader
            feed, arrivals_s = reader.feed, settlement.arrivals()
            # Once a trailer is announced nothing may fail here: this very message must go out.
            outgoing = [self._disclosing.headed_stream(start)]
            self._mode, self._reader, self._times = "stream", reader, settlement.watch
            self._feed, self._arrivals_s = feed, arrivals_s
            return outgoing
        settlement.count_in(self._clock_s())
        if kind.is_json:
            most_bytes = max(meter_bytes, self._meter.settings.limits.hold_bytes)
            copy = DecodedCopy(codings, most_bytes) if codings else Copy(most_bytes)
            self._mode = "json"
            self._held = Held(self._meter, self._dialect, settlement, self._disclosing, start, copy)
            return []
        return self._pass_blind(start, NOT_UNDERSTOOD.reason)

    def _pass_blind(self, start: Message, reason: str) -> list[Message]:
        self._mode = "pass"
        charge_blind(self._settlement, reason)
        return [start]

    # -- a stream ---------------------------------------------------------------------------------------------------

    async def _take_chunk(self, message: Message, out: bytes, now_s: float, *, is_held: bool) -> Message:
        """What goes out for a chunk that begins, ends or interrupts a stream, or after which it is time to take note."""
        settlement, reader, more = self._settlement, self._reader, message.get("more_body", False)
        assert reader is not None  # noqa: S101 - set when the mode became `stream`
        # Neither an empty message nor a comment that keeps the connection alive begins a stream.
        said = reader.latest if isinstance(reader, DecodedStream) else message.get("body", b"")
        if not self._has_begun and bytes(said).strip()[:1] not in (b"", b":"):
            self._has_begun = True
            settlement.saw_first_byte(now_s)
            self._note_progress()
        try:
            if is_held:
                out += await self._end_stream(reader)
            if not more:
                self._feed = self._skim = None
                if reader.complete and settlement.is_open:  # held for what might follow; not all say [DONE]
                    out += await self._end_stream(reader)
                out += reader.close()
        except Exception as error:  # metering must not break the app's reply
            self._meter.failed(error)
        if settlement.is_open and not more:
            try:
                await self._settle_stream(reader, self._outcome(reader))
            except Exception as error:  # metering must not break the app's reply
                self._meter.failed(error)
        return {**message, "body": out} if out or not more else {}

    def _note_progress(self) -> None:
        """Write down how far the stream has come, in case this process dies; and again when some time has passed."""
        settlement, reader = self._settlement, self._reader
        if reader is None or not settlement.is_open:
            return
        self._timer = asyncio.get_running_loop().call_later(_PROVISIONAL_EVERY_S, self._note_progress)
        try:
            count = reader.events_count
            if count != self._noted_count:
                self._noted_count = count
                settlement.note_progress(count, reader.told)
        except Exception as error:  # metering must not break the app's reply
            self._meter.failed(error)

    async def _end_stream(self, reader: StreamReader) -> bytes:
        """The reader holds the event that ends the stream: charge, and fold the footprint into it."""
        addition: Addition | None = None
        try:
            if not self._settlement.is_settled:
                disclosed = await self._settle_stream(reader, "upstream_error" if reader.failed else "completed")
                addition = None if disclosed is None else disclosed.addition
        except Exception as error:  # the held event must go out
            self._meter.failed(error)
        try:
            return reader.release(addition)
        except Exception as error:  # then as it came
            self._meter.failed(error)
            return reader.close()

    async def _settle_stream(self, reader: StreamReader, outcome: Outcome) -> Disclosed | None:
        settlement = self._settlement
        if self._was_blind(reader):
            return None
        settled = await settlement.close(outcome, energy_reports.told(reader), reader.output_text)
        return None if settled is None else self._disclosing.disclose(*settled, is_stream=True)

    def _was_blind(self, reader: StreamReader) -> bool:
        """Whether the stream could not be decoded to its end; then it is charged as unknown."""
        if not isinstance(reader, DecodedStream) or not reader.reason or reader.complete or reader.failed:
            return False
        unknown = charge_blind(self._settlement, reader.reason, client_gone=self._client_gone)
        if unknown is not None:
            self._disclosing.disclose(NO_USAGE, unknown, is_stream=True)
        return True

    def _outcome(self, reader: StreamReader) -> Outcome:
        """How a stream ended: by its protocol's own terminator, never by the end of the body."""
        if reader.failed:
            return "upstream_error"
        if reader.complete:
            return "completed"
        return "client_gone" if self._client_gone else "upstream_error"

    # -- the end ----------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """The app is done, or broke off. Whatever is not charged yet is charged now."""
        if self._settlement.is_open:
            try:
                self._settle_broken_off()
            except Exception as error:  # the app's own exception, if any, must go on
                self._meter.failed(error)
        self._settlement.count_out()

    def _settle_broken_off(self) -> None:
        settlement, reader = self._settlement, self._reader
        if reader is None:
            settlement.break_off("client_gone" if self._client_gone else "upstream_error", NOTHING_TOLD, str)
        elif not self._was_blind(reader):
            settlement.break_off(self._outcome(reader), energy_reports.told(reader), reader.output_text)
