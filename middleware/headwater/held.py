"""A JSON reply on its way: held to its end, so that its header can carry its footprint; read along where it cannot be held.

Knows messages and the settlement; the bytes that go out are the app's but for the fold.
"""

from __future__ import annotations

from starlette.types import Message

from headwater.bodies import Copy
from headwater.dialects.base import Dialect, Reply
from headwater.dialects.kit import energy_reports
from headwater.disclosing import Disclosed, Disclosing
from headwater.meter import Meter
from headwater.records import NO_USAGE, NOTHING_TOLD, Outcome, Unknown
from headwater.settlement import NOTHING_GENERATED, Settlement


def charge_blind(settlement: Settlement, reason: str, *, client_gone: bool = False) -> Unknown | None:
    """Charge a request whose tokens will never be known; None where it is not charged at all."""
    unknown = Unknown(reason=reason)
    settlement.settle_blind("client_gone" if client_gone else "completed", unknown)
    return None if settlement.request.is_lookup else unknown


class Held:
    """One JSON reply. `start`: its start message; `copy`: empty, takes what its body says."""

    __slots__ = (
        "_copy",
        "_dialect",
        "_disclosing",
        "_held",
        "_held_bytes",
        "_meter",
        "_settlement",
        "_start",
        "is_over",
    )

    def __init__(
        self, meter: Meter, dialect: Dialect, settlement: Settlement, disclosing: Disclosing, start: Message, copy: Copy
    ) -> None:
        self._meter = meter
        self._dialect = dialect
        self._settlement = settlement
        self._disclosing = disclosing
        self._start: Message | None = start
        self._copy = copy
        self._held: list[Message] = []
        self._held_bytes = 0
        self.is_over = False
        """All of it has gone out."""

    @property
    def is_untouched(self) -> bool:
        """Nothing of its body has come yet."""
        return self._start is not None and not self._held_bytes

    async def take(self, message: Message, *, client_gone: bool) -> list[Message]:
        """What goes out for one message of its body."""
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._start is None:
            self._copy.add(body)
            return [message] if more else await self._end_reading([message], client_gone)
        self._held.append(message)
        self._held_bytes += len(body)
        said = self._copy.add(body)
        hold_bytes = self._meter.settings.limits.hold_bytes
        if self._held_bytes > hold_bytes or (more and said and not said.strip()):
            # Too large to hold, or whitespace that keeps the connection alive: it must go out now, without a footprint.
            outgoing = self._let_through(self._start)
            return outgoing if more else await self._end_reading(outgoing, client_gone)
        return [] if more else await self._end_held(self._start, client_gone)

    def give_up(self) -> list[Message]:
        """Everything that is held, as it came."""
        start, self._start = self._start, None
        held, self._held = self._held, []
        return held if start is None else [start, *held]

    async def _end_held(self, start: Message, client_gone: bool) -> list[Message]:
        raw = b"".join([part.get("body", b"") for part in self._held])
        whole = self._copy.whole()
        end: Message = {"type": "http.response.body", "body": raw, "more_body": False}
        if whole is None:
            unknown = charge_blind(self._settlement, self._copy.reason, client_gone=client_gone)
            told = None if unknown is None else self._disclosing.disclose(NO_USAGE, unknown, is_stream=False)
            start = self._disclosing.headed(start, footprint=None if told is None else told.header)
        else:
            disclosed, reply = await self._settle(whole, client_gone)
            if disclosed is not None:
                folded = None if disclosed.addition is None else reply.fold(disclosed.addition)
                length = None if folded is None else len(folded)
                start = self._disclosing.headed(start, footprint=disclosed.header, length=length)
                end["body"] = raw if folded is None else folded
        # Only now: had anything failed above, what is held would have gone out as it came.
        self._start = None
        self._held.clear()
        self.is_over = True
        return [start, end]

    def _let_through(self, start: Message) -> list[Message]:
        """Stop holding: what was held goes out with the headers that are known now; the rest is only read along."""
        start = self._disclosing.headed(start)
        held, self._held, self._start = self._held, [], None
        return [start, *held]

    async def _end_reading(self, outgoing: list[Message], client_gone: bool) -> list[Message]:
        self.is_over = True
        try:
            whole = self._copy.whole()
            if whole is None:
                charge_blind(self._settlement, self._copy.reason, client_gone=client_gone)
            else:
                await self._settle(whole, client_gone)
        except Exception as error:  # what goes out is in our hands alone by now
            self._meter.failed(error)
        return outgoing

    async def _settle(self, whole: bytes, client_gone: bool) -> tuple[Disclosed | None, Reply]:
        settlement = self._settlement
        reply = self._dialect.read_reply(whole, settlement.request)
        if reply.failed and reply.told.usage is None:
            if client_gone:
                # A layer inside ends the body of a reply that its client left: what was worked on it is not known.
                settlement.break_off("client_gone", NOTHING_TOLD, str)
            else:
                settlement.settle_blind("upstream_error", NOTHING_GENERATED)
            return None, reply
        outcome: Outcome = "upstream_error" if reply.failed else "completed"
        settled = await settlement.close(outcome, energy_reports.told(reply), reply.output_text)
        return None if settled is None else self._disclosing.disclose(*settled, is_stream=False), reply
