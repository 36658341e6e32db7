"""What of one exchange is told to its client, and where: headers, the fold, the trailer. Knows settings and formats, no bytes."""

from __future__ import annotations

from typing import Final

from starlette.types import Message, Scope, Send

from headwater import disclosure, headers
from headwater.aliases import Aliases, aliases
from headwater.dialects.base import Addition, Dialect
from headwater.identity import ANONYMOUS
from headwater.meter import Meter
from headwater.records import Footprint, Unknown, Usage
from headwater.settlement import Settlement
from headwater.trailers import Trailers, are_offered

_OPENAI: Final = "openai-"  # how the names of the dialects begin whose clients take comments and other members
_NONE: Final = Aliases()


class Disclosed:
    """One exchange's footprint as it is told."""

    __slots__ = ("addition", "header")

    def __init__(self, header: bytes, addition: Addition | None) -> None:
        self.header = header
        self.addition = addition
        """None where the reply may not be touched."""


class Disclosing:
    """One exchange and what its client is told."""

    __slots__ = ("_dialect", "_is_wanted", "_may_fold", "_meter", "_settlement", "trailers")

    def __init__(self, meter: Meter, dialect: Dialect, settlement: Settlement, scope: Scope, send: Send) -> None:
        self._meter = meter
        self._dialect = dialect
        self._settlement = settlement
        self._is_wanted = headers.wants_disclosure(scope)
        self._may_fold = False
        self.trailers = Trailers(send) if self._is_wanted and are_offered(scope) else None
        """None where there are none."""

    def read(self, kind: headers.Kind) -> None:
        """The headers of the reply are known."""
        if kind.is_disclosed:
            # Headwater behind Headwater: what is nearer to the hardware has spoken, and has its own account.
            self._is_wanted = False
        self._may_fold = self._is_wanted and self._meter.settings.disclosure.placement != "off" and kind.may_fold

    def disclose(self, usage: Usage, footprint: Footprint | Unknown, *, is_stream: bool) -> Disclosed:
        """A settled exchange, as it is told. On a stream its trailer is set."""
        told = disclosure.disclose(self._settlement.request_id, usage, footprint)
        if self.trailers is not None:
            self.trailers.footprint = told.header
        settings = self._meter.settings.disclosure
        if not self._may_fold or settings.placement == "off":
            return Disclosed(told.header, None)
        more = self._aliases(footprint, is_stream=is_stream)
        addition = Addition(
            footprint=told.body, placement=settings.placement, beside=more.members, comment=more.comment
        )
        return Disclosed(told.header, addition)

    def _aliases(self, footprint: Footprint | Unknown, *, is_stream: bool) -> Aliases:
        schemes = self._meter.settings.disclosure.compat
        if not schemes or isinstance(footprint, Unknown) or not self._dialect.name.startswith(_OPENAI):
            return _NONE
        watch = self._settlement.watch
        elapsed_s = None if watch is None or self._settlement.request.is_lookup else watch.elapsed_s
        return aliases(schemes, footprint, elapsed_s, is_stream=is_stream)

    def headed(self, start: Message, *, footprint: bytes | None = None, length: int | None = None) -> Message:
        """The start message with our headers, and the new length where the body grew."""
        if not self._is_wanted:
            return start
        settlement, meter = self._settlement, self._meter
        # The anonymous account is everybody's: what others did is nobody's business.
        total = meter.ledger.period_total(settlement.user) if settlement.user != ANONYMOUS else None
        period = None if total is None else disclosure.period(total, meter.wall_s())
        return headers.disclosed(
            start, request_id=settlement.request_id, footprint=footprint, period=period, length=length
        )

    def headed_stream(self, start: Message) -> Message:
        """The start message of a stream: with our headers, and the trailer announced where there may be one."""
        start = self.headed(start)
        return self.trailers.announced(start) if self.trailers is not None and self._is_wanted else start
