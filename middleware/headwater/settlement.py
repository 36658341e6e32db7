"""The account of one exchange: admitted once, written down as it goes on, settled once. Knows tokens and times, no HTTP."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Final

from headwater import ulid
from headwater.dialects.base import Dialect
from headwater.errors import DialectError
from headwater.meter import Meter
from headwater.records import (
    NO_USAGE,
    NOTHING_OBSERVED,
    ChatRequest,
    CountSource,
    Footprint,
    Mix,
    Observation,
    Outcome,
    Unknown,
    Usage,
)
from headwater.serving import Served

NOTHING_GENERATED: Final = Unknown(reason="nothing-generated")
_PROCESS_DIED: Final = Unknown(reason="process-died")
FEWEST_GAPS: Final = 8
_MOST_ARRIVALS: Final = 4096  # a median of so many is as good as one of all
_INLINE_COUNT_CHARACTERS: Final = 20_000  # about 1 ms of tiktoken; a thread hop costs as much


class Settlement:
    """One exchange on its way into the ledger."""

    __slots__ = (
        "_admitted_s",
        "_arrivals_s",
        "_dialect",
        "_entered_integral_s",
        "_entered_s",
        "_first_s",
        "_is_charged",
        "_is_in_flight",
        "_meter",
        "_seen",
        "_served",
        "_started_ms",
        "is_settled",
        "request",
        "request_id",
        "uncounted_text",
        "user",
        "waited_s",
    )

    def __init__(self, meter: Meter, dialect: Dialect, user: str) -> None:
        self._meter = meter
        self._dialect = dialect
        self._started_ms = int(meter.wall_s() * 1000)
        self.request_id = ulid.new(self._started_ms)
        self.user = user
        self.request = ChatRequest(model=None)
        self.is_settled = False
        self.uncounted_text = ""
        """The answer whose count was cut short."""
        self._is_in_flight = False
        self._is_charged = False
        self.waited_s = 0.0
        """Time that the client made us wait for it; not charged."""
        self._served: Served | None = None
        self._admitted_s = 0.0
        self._first_s: float | None = None
        self._entered_s: float | None = None
        self._entered_integral_s = 0.0
        self._seen: Observation | None = None
        """What was seen until the counting of tokens began, which is not the server's time."""
        self._arrivals_s: deque[float] | None = None
        """When the chunks of a stream came, where their pace tells something."""

    @property
    def is_admitted(self) -> bool:
        """The request is known, and its deployment found."""
        return self._served is not None

    @property
    def is_open(self) -> bool:
        """Admitted and not settled yet."""
        return self._served is not None and not self.is_settled

    def admit(self, body: bytes) -> Served:
        """The request is whole: find its deployment, note it in the journal, and count it in unless it asks for a stream."""
        if body:
            try:  # noqa: SIM105 - `suppress` takes longer than all of this
                self.request = self._dialect.read_request(body)
            except DialectError:
                pass  # no request of this API, so no model; the app will say what is wrong with it
        meter = self._meter
        served = self._served = meter.serving.of(self.request.model)
        self._admitted_s = meter.clock_s()
        if not self.request.stream:
            self._count_in(served, self._admitted_s)
        self._note(served, NO_USAGE, NOTHING_OBSERVED, _PROCESS_DIED)
        return served

    def saw_first_byte(self, now_s: float) -> None:
        """The stream has begun; only the first call counts.

        Only now does it count as in flight: what waits in the server's queue shares nothing with those that are served.
        """
        if self._first_s is None:
            self._first_s = now_s
            self.count_in(now_s)

    def count_in(self, now_s: float) -> None:
        """The server is at work on it: from now on it counts as in flight, if it did not already."""
        if self._served is not None and self.is_open:
            self._count_in(self._served, now_s)

    def _count_in(self, served: Served, now_s: float) -> None:
        if self._entered_s is None:
            self._entered_s = now_s
            self._entered_integral_s = served.load.enter(now_s)
            self._is_in_flight = True

    def arrivals(self) -> deque[float] | None:
        """Where to note when the chunks of a stream come; None where nobody asks."""
        if self._served is not None and self._served.is_paced:
            self._arrivals_s = deque(maxlen=_MOST_ARRIVALS)
        return self._arrivals_s

    def note_progress(self, usage: Usage, busy_s: float | None, now_s: float) -> None:
        """Write down how far the exchange has come: what to charge if this process dies now."""
        served = self._admitted()
        observation = self._observation(served, now_s, busy_s)
        self._note(served, usage, observation, self._meter.footprint(served, usage, observation))

    def refuse(self) -> None:
        """The app turned the caller away: nothing is charged, and no account is opened."""
        self.is_settled = True
        self.count_out()
        self._meter.ledger.forget(self.request_id)

    def settle(
        self,
        outcome: Outcome,
        usage: Usage,
        *,
        busy_s: float | None = None,
        footprint: Unknown | None = None,
    ) -> Footprint | Unknown:
        """Count the exchange out, price it, and write its charge into the journal; once, whoever asks again.

        `footprint`: the reason why there is none, where that is known; else it is estimated. Where tokens were counted, the
        exchange ended when that began.
        """
        meter, served = self._meter, self._admitted()
        if self.request.images_count:
            usage = replace(usage, images_count=self.request.images_count)
        mix, itl_s = served.mixture.mix(), self._itl_s(usage)
        if self._seen is None:
            observation = self._observation(served, meter.clock_s(), busy_s, mix, itl_s)
        else:
            observation = replace(self._seen, busy_s=busy_s, mix=mix, itl_s=itl_s)
        self.is_settled = True
        self.count_out()
        found = meter.footprint(served, usage, observation) if footprint is None else footprint
        if self._is_charged:
            return found
        self._is_charged = True
        if outcome == "completed" and isinstance(found, Footprint):  # what has none says nothing
            served.mixture.add(usage)
        meter.enter(
            meter.charge(
                request_id=self.request_id,
                user=self.user,
                started_ms=self._started_ms,
                outcome=outcome,
                served=served,
                usage=usage,
                observation=observation,
                footprint=found,
            )
        )
        return found

    def count_out(self) -> None:
        """The exchange no longer counts as in flight. Once; to be called whatever else fails."""
        if self._served is not None and self._is_in_flight:
            self._is_in_flight = False
            self._served.load.leave(self._meter.clock_s())

    async def count(self, text: str) -> Usage:
        """Count the tokens of prompt and answer where the upstream was silent; off the event loop when that takes long.

        While it awaits, the exchange is settled to everybody else; a cancelled count opens it again, its text kept.
        """
        self._note_seen()
        if self._is_small(text):
            return self._count(text)
        self.uncounted_text = text
        self.is_settled = True
        try:
            return await asyncio.to_thread(self._count, text)
        except BaseException:
            self.is_settled = False
            raise

    def settle_counted(self, outcome: Outcome, text: str, busy_s: float | None) -> None:
        """Settle an exchange that broke off, with its tokens counted. Never awaits: its task may be cancelled right now."""
        self._note_seen()
        if self._is_small(text):
            self.settle(outcome, self._count(text), busy_s=busy_s)
            return
        self.is_settled = True
        self._meter.later(self._settle_later(outcome, text, busy_s))

    async def _settle_later(self, outcome: Outcome, text: str, busy_s: float | None) -> None:
        try:
            usage = await asyncio.to_thread(self._count, text)
            self.settle(outcome, usage, busy_s=busy_s)
        except Exception as error:
            self._meter.failed(error)

    def _is_small(self, text: str) -> bool:
        return len(text) + len(self.request.raw) <= _INLINE_COUNT_CHARACTERS

    def _count(self, text: str) -> Usage:
        counter, model = self._meter.counter, self.request.model
        made = counter.count_text(text, model)
        given = counter.count_prompt(self._dialect.prompt(self.request), model) if self.request.raw else None
        source: CountSource = made.source if given is None or given.source == made.source else "estimated"
        if source == "estimated":
            self._meter.note_estimate()
        return Usage(input_tokens=None if given is None else given.tokens, output_tokens=made.tokens, source=source)

    def _admitted(self) -> Served:
        assert self._served is not None  # noqa: S101 - nothing is settled before it is admitted
        return self._served

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

    def _observation(
        self,
        served: Served,
        now_s: float,
        busy_s: float | None,
        mix: Mix | None = None,
        itl_s: float | None = None,
    ) -> Observation:
        hour = None if served.hours is None else served.hours.at(self._meter.wall_s())
        return Observation(
            elapsed_s=max(0.0, now_s - self._admitted_s - self.waited_s),
            busy_s=busy_s,
            ttft_s=None if self._first_s is None else self._first_s - self._admitted_s,
            concurrency_count=self._concurrency(served, now_s),
            itl_s=itl_s,
            mix=mix,
            grid_g_per_kwh=None if hour is None else hour.grid_g_per_kwh,
            wet_bulb_c=None if hour is None else hour.wet_bulb_c,
        )

    def _concurrency(self, served: Served, now_s: float) -> float:
        if self._entered_s is None:  # a stream that never began
            return served.load.in_flight_count + 1.0
        return served.load.concurrency(self._entered_integral_s, self._entered_s, now_s)

    def _note_seen(self) -> None:
        if self._seen is None:
            self._seen = self._observation(self._admitted(), self._meter.clock_s(), None)

    def _itl_s(self, usage: Usage) -> float | None:
        """The pace of the tokens, where it tells something and was seen."""
        if self._arrivals_s is None or usage.output_tokens is None:
            return None
        return inter_token_s(self._arrivals_s, usage.output_tokens - (usage.reasoning_tokens or 0))


def inter_token_s(arrivals_s: Sequence[float], tokens_count: int) -> float | None:
    """Median seconds between two tokens, from when the chunks came; None where there are too few to tell.

    A chunk may carry several tokens: the median gap between chunks is divided by their mean number.
    """
    gaps_s = [later - earlier for earlier, later in pairwise(arrivals_s)]
    if len(gaps_s) < FEWEST_GAPS or tokens_count <= 0:
        return None
    seconds = median(gaps_s) * len(arrivals_s) / max(tokens_count, len(arrivals_s))
    return seconds if seconds > 0 else None
