"""The account of one exchange: admitted once, written down as it goes on, settled once. Knows tokens and times, no HTTP."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeGuard

from headwater import ulid
from headwater.dialects.base import Dialect
from headwater.errors import DialectError, NotOurs
from headwater.meter import Meter
from headwater.records import (
    NO_USAGE,
    NOTHING_OBSERVED,
    NOTHING_TOLD,
    ChatRequest,
    CountSource,
    EnergyReport,
    Footprint,
    Hour,
    Observation,
    Outcome,
    Prompt,
    Target,
    Told,
    Unknown,
    Usage,
)
from headwater.serving import Served
from headwater.watch import Watch

NOTHING_GENERATED: Final = Unknown(reason="nothing-generated")
NOT_UNDERSTOOD: Final = Unknown(reason="reply-not-understood")
_PROCESS_DIED: Final = Unknown(reason="process-died")
_SERVED_REMOTELY: Final = Unknown(reason="served-remotely")
_INLINE_COUNT_BYTES: Final = 8_000  # 0.3 ms of tiktoken, 1 ms of the worst text; a thread hop costs 0.1 ms and more
_INLINE_READ_BYTES: Final = 256 * 1024  # a prompt with pictures is read to see how little of it is text: 0.2 ms
_MOST_BYTES_PER_CHARACTER: Final = 4
_WORST_LAST: Final[tuple[CountSource, ...]] = ("upstream", "counted", "estimated", "unknown")

Text = Callable[[], str]
"""Makes the generated text when it is needed: parsing it for nothing would be a waste."""


class Settlement:
    """One exchange on its way into the ledger."""

    __slots__ = (
        "_believes_reports", "_dialect", "_is_charged", "_is_unread", "_meter", "_prompt", "_report", "_served",
        "_started_ms", "_uncounted", "is_settled", "request", "request_id", "target", "user", "watch",
    )  # fmt: skip

    def __init__(self, meter: Meter, dialect: Dialect, target: Target, user: str) -> None:
        self._meter = meter
        self._dialect = dialect
        self._started_ms = int(meter.wall_s() * 1000)
        self.request_id = ulid.new(self._started_ms)
        self.target = target
        self.user = user
        self.request = ChatRequest(model=None)
        self.is_settled = False
        self._uncounted: tuple[str, Told] | None = None
        """The answer whose count was cut short."""
        self._is_charged = False
        self._is_unread = False
        """The request has a body that is not this API's: another app's, unless its reply is this API's."""
        self._believes_reports = True
        self._report: EnergyReport | None = None
        """What the reply's headers say of its energy."""
        self._prompt: Prompt | None = None
        """What was asked, once it was read for its size; until it is counted."""
        self._served: Served | None = None
        self.watch: Watch | None = None
        """What is seen of it, once it is admitted."""

    @property
    def is_admitted(self) -> bool:
        """The request is known, and its deployment found."""
        return self._served is not None

    @property
    def is_open(self) -> bool:
        """Admitted and not settled yet."""
        return self._served is not None and not self.is_settled

    @property
    def is_uncounted(self) -> bool:
        """The reply was whole, but its client left while its tokens were counted."""
        return self._uncounted is not None

    def admit(self, body: bytes) -> Served:
        """The request is whole: find its deployment, note it in the journal, and count it in unless it asks for a stream.

        Raises:
            NotOurs: it only looks like a request to an LLM.
        """
        try:
            self.request = self._dialect.read_request(body, self.target)
        except NotOurs:
            raise
        except DialectError:
            self._is_unread = bool(body)  # no request of this API, so no model; the app will say what is wrong with it
        meter, request = self._meter, self.request
        served = self._served = meter.serving.of(request.model)
        watch = self.watch = Watch(served, meter.clock_s())
        if request.is_lookup:
            return served  # the work was another exchange's
        if not request.stream:
            watch.count_in(meter.clock_s())
        if not request.is_background:
            # One in the background goes on, and is charged where its end is seen, whatever becomes of this process.
            self._note(NO_USAGE, NOTHING_OBSERVED, _PROCESS_DIED)
        return served

    def saw_first_byte(self, now_s: float) -> None:
        """The stream has begun.

        Only now does it count as in flight: what waits in the server's queue shares nothing with those that are served.
        """
        if self.watch is not None:
            self.watch.saw_first_byte(now_s)
            self.count_in(now_s)

    def count_in(self, now_s: float) -> None:
        """The server is at work on it: from now on it counts as in flight, if it did not already."""
        if self.watch is not None and self.is_open and not self.request.is_lookup:
            self.watch.count_in(now_s)

    def count_out(self) -> None:
        """The exchange no longer counts as in flight. Once; to be called whatever else fails."""
        if self.watch is not None:
            self.watch.count_out(self._meter.clock_s())

    def saw_report(self, report: EnergyReport | None, *, is_believed: bool) -> None:
        """What the headers of the reply say of its energy. `is_believed`: False behind another Headwater, whose figures are
        estimates like ours: then nothing counts as metered, whatever the body says."""
        self._report, self._believes_reports = report, is_believed

    def arrivals(self) -> deque[float] | None:
        """Where to note when the chunks of a stream come; None where nobody asks."""
        return None if self.watch is None else self.watch.arrivals()

    def note_progress(self, events_count: int, told: Told) -> None:
        """Write down how far the exchange has come: what to charge if this process dies now."""
        if self.request.is_lookup or told.is_pending:
            return
        served, watch = self._admitted()
        so_far = Usage(input_tokens=None, output_tokens=events_count, source="estimated")
        usage = told.usage if _is_whole(told.usage) else so_far
        observation = replace(watch.so_far(self._meter.clock_s(), self._hour(served)), busy_s=told.busy_s)
        self._note(usage, observation, self._meter.footprint(served, usage, observation))

    def drop(self) -> None:
        """Nothing is charged, and no account is opened: the caller was turned away, or another exchange is the one that
        counts."""
        self.is_settled = True
        self.count_out()
        if not self.request.is_lookup:
            self._meter.ledger.forget(self.request_id)

    def settle_blind(self, outcome: Outcome, reason: Unknown) -> None:
        """Settle an exchange whose tokens nobody knows. One that only looked up another's work is not charged; nor is one of
        which neither request nor reply is this API's, such as a form that another app takes under a path of the same name."""
        if self.request.is_lookup or (self._is_unread and reason in (NOTHING_GENERATED, NOT_UNDERSTOOD)):
            self.drop()
        else:
            self.settle(outcome, NO_USAGE, footprint=reason)

    async def close(self, outcome: Outcome, told: Told, text: Text) -> tuple[Usage, Footprint | Unknown] | None:
        """Settle an exchange that has ended, its tokens counted where the upstream was silent; off the event loop when that
        takes long. None: nothing was charged.

        While it awaits, the exchange is settled to everybody else; a cancelled count opens it again, its text kept.
        """
        if self._is_dropped(told):
            self.drop()
            return None
        self._find_server(told)
        usage = told.usage
        if not _is_whole(usage):
            generated = text()
            if not generated and usage is None and self._is_unread:
                self.drop()
                return None
            if not generated and usage is None and outcome != "completed":
                return NO_USAGE, self.settle(outcome, NO_USAGE, footprint=NOTHING_GENERATED)
            self._end_watch()
            if self._is_small(generated, usage):
                usage = self._count(generated, usage)
            else:
                self._uncounted = generated, told
                self.is_settled = True
                try:
                    usage = await asyncio.to_thread(self._count, generated, usage)
                except BaseException:
                    self.is_settled = False
                    raise
        return usage, self.settle(outcome, usage, told)

    def break_off(self, outcome: Outcome, told: Told, text: Text) -> None:
        """Settle an exchange that broke off. Never awaits: its task may be cancelled right now."""
        if self._is_dropped(told):
            self.drop()
            return
        self._find_server(told)
        if self._uncounted is not None:
            generated, told = self._uncounted
            outcome = "client_gone"
        elif _is_whole(told.usage):
            self.settle(outcome, told.usage, told)
            return
        else:
            generated = text()
        if not generated and told.usage is None and self._is_unread:
            self.drop()
            return
        if not generated and told.usage is None:
            # Nothing was seen. A client that left had its answer worked on all that time; an app that failed made none.
            self.settle(outcome, NO_USAGE, told, footprint=None if outcome == "client_gone" else NOTHING_GENERATED)
            return
        self._end_watch()
        if self._is_small(generated, told.usage):
            self.settle(outcome, self._count(generated, told.usage), told)
            return
        self.is_settled = True
        self._meter.later(self._settle_later(outcome, generated, told))

    def settle(
        self, outcome: Outcome, usage: Usage, told: Told = NOTHING_TOLD, *, footprint: Unknown | None = None
    ) -> Footprint | Unknown:
        """Count the exchange out, price it, and write its charge into the journal; once, whoever asks again.

        `footprint`: the reason why there is none, where that is known; else it is estimated. Where tokens were counted, the
        exchange ended when that began.
        """
        meter, (served, watch), request = self._meter, self._admitted(), self.request
        if request.images_count:
            usage = replace(usage, images_count=request.images_count)
        if request.is_lookup:
            observation = NOTHING_OBSERVED
        else:
            observation = watch.seen(meter.clock_s(), self._hour(served), usage)
            if told.busy_s is not None:
                observation = replace(observation, busy_s=told.busy_s)
        self.is_settled = True
        self.count_out()
        if footprint is None and told.remote and not served.is_paced:
            footprint = _SERVED_REMOTELY
        report = told.report or self._report
        if report is not None and footprint is None and self._believes_reports:
            observation = meter.judged(served, usage, observation, report)
        found = meter.footprint(served, usage, observation) if footprint is None else footprint
        if self._is_charged:
            return found
        self._is_charged = True
        if outcome == "completed" and isinstance(found, Footprint):  # what has none says nothing
            served.mixture.add(usage)
        charge = meter.charge(
            request_id=self.request_id,
            user=self.user,
            started_ms=self._started_ms,
            outcome=outcome,
            served=served,
            usage=usage,
            observation=observation,
            footprint=found,
            once=_once(self._dialect, told),
        )
        meter.enter(charge, served)
        return found

    async def _settle_later(self, outcome: Outcome, text: str, told: Told) -> None:
        try:
            usage = await asyncio.to_thread(self._count, text, told.usage)
            self.settle(outcome, usage, told)
        except Exception as error:
            self._meter.failed(error)

    def _is_dropped(self, told: Told) -> bool:
        """Whether another exchange is the one that counts: the generation goes on, this one only looked it up, or another
        one was charged."""
        if told.is_pending or (self.request.is_lookup and not (told.once and told.usage)):
            return True
        return bool(told.once) and self._meter.ledger.has_charged(_once(self._dialect, told))

    def _find_server(self, told: Told) -> None:
        """The deployment of a lookup: only its reply names the model."""
        if self.request.is_lookup:
            self.request = replace(self.request, model=told.model or None)
            self._served = self._meter.serving.of(self.request.model)

    def _is_small(self, text: str, known: Usage | None) -> bool:
        """Whether what is to be encoded is so little that it is counted at once; pictures are not encoded."""
        known = known or NO_USAGE
        left_bytes = _INLINE_COUNT_BYTES - (_most_bytes(text) if known.output_tokens is None else 0)
        if known.input_tokens is not None or len(self.request.raw) <= left_bytes:
            return left_bytes >= 0
        if left_bytes < 0 or not self.request.images_count or len(self.request.raw) > _INLINE_READ_BYTES:
            return False
        prompt = self._prompt = self._dialect.prompt(self.request)
        return not (prompt.tools or prompt.schemas) and sum(map(_most_bytes, prompt.texts)) <= left_bytes

    def _count(self, text: str, known: Usage | None) -> Usage:
        """What the upstream said, with what it left out counted here."""
        counter, model = self._meter.counter, self.request.model
        known = known or NO_USAGE
        sources: list[CountSource] = [] if known is NO_USAGE else [known.source]
        input_tokens, output_tokens, count_ratio = known.input_tokens, known.output_tokens, known.count_ratio
        if output_tokens is None:
            made = counter.count_text(text, model)
            # Drafts that were thrown away are as long as those that were kept, as far as anybody can tell.
            output_tokens = round(made.tokens * self.request.drafts_ratio)
            count_ratio = max(count_ratio, made.ratio)
            sources.append("estimated" if self.request.drafts_ratio > 1 else made.source)
        if input_tokens is None and self.request.raw:
            prompt, self._prompt = self._prompt or self._dialect.prompt(self.request), None
            if prompt.is_whole:
                given = counter.count_prompt(prompt, model)
                input_tokens, count_ratio = given.tokens, max(count_ratio, given.ratio)
                sources.append(given.source)
            else:
                sources.append("unknown")
        source = max(sources, key=_WORST_LAST.index)
        if source == "estimated":
            self._meter.note_estimate()
        return replace(
            known, input_tokens=input_tokens, output_tokens=output_tokens, count_ratio=count_ratio, source=source
        )

    def _admitted(self) -> tuple[Served, Watch]:
        assert self._served is not None  # noqa: S101 - nothing is settled before it is admitted
        assert self.watch is not None  # noqa: S101
        return self._served, self.watch

    def _end_watch(self) -> None:
        served, watch = self._admitted()
        watch.end(self._meter.clock_s(), self._hour(served))

    def _hour(self, served: Served) -> Hour | None:
        return None if served.hours is None else served.hours.at(self._meter.wall_s())

    def _note(self, usage: Usage, observation: Observation, footprint: Footprint | Unknown) -> None:
        served, _ = self._admitted()
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


def _most_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text) * _MOST_BYTES_PER_CHARACTER


def _is_whole(usage: Usage | None) -> TypeGuard[Usage]:
    return usage is not None and usage.input_tokens is not None and usage.output_tokens is not None


def _once(dialect: Dialect, told: Told) -> str:
    """What all sightings of one generation share; the upstream's id itself is nobody's business."""
    return hashlib.sha256(f"{dialect.name}:{told.once}".encode()).hexdigest()[:32] if told.once else ""
