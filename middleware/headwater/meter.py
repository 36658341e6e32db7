"""What all exchanges of a process share: who serves, who is charged, the ledger, the counter. Turns an ended exchange into
a charge; knows no HTTP."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from headwater.__about__ import __version__
from headwater.amounts import amounts, storable
from headwater.config import Settings
from headwater.errors import ConfigError, HeadwaterError
from headwater.hours import HoursOf
from headwater.identity import ANONYMOUS, Identify, Identity, Pseudonymizer, key_fingerprint, load_key, renames
from headwater.ledger import Ledger, Retention
from headwater.records import Charge, EnergyReport, Footprint, Observation, Outcome, Unknown, Usage
from headwater.serving import Served, Serving
from headwater.tariffs import Pricing
from headwater.telemetry import MeterProvider, Telemetry
from headwater.tokens import CountTokens, TokenCounter

log = logging.getLogger("headwater")
_LOGGED_FAILURES: Final = 3


def _at_once(hours: HoursOf | None) -> HoursOf | None:
    if hours is not None and (not callable(hours) or inspect.iscoroutinefunction(hours)):
        raise ConfigError(f"hours must be a plain function that returns at once, not {hours!r}")
    return hours


def _plain(counter: CountTokens | None) -> CountTokens | None:
    if counter is not None and (not callable(counter) or inspect.iscoroutinefunction(counter)):
        raise ConfigError(f"counter must be a plain function that returns a number of tokens, not {counter!r}")
    return counter


class Meter:
    """One process's meter. Clocks are arguments: `wall_s` for dates, `clock_s` for durations.

    Raises:
        ConfigError: the settings, a series of hours, the identity key or a catalog name cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        identify: Identify | None = None,
        hours: HoursOf | None = None,
        meter_provider: MeterProvider | None = None,
        ledger: Ledger | None = None,
        counter: TokenCounter | CountTokens | None = None,
        wall_s: Callable[[], float] = time.time,
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings = settings
        self.wall_s = wall_s
        self.clock_s = clock_s
        self.serving = Serving(settings, hours_of=_at_once(hours), failed=self.failed)
        # Made even where no client sees it: a tariff that cannot be used must stop the start, not the first report.
        self.pricing = Pricing(settings)
        self.telemetry = Telemetry(__version__, meter_provider, lost=self._lost)
        self.counter = counter if isinstance(counter, TokenCounter) else TokenCounter(own=_plain(counter))
        key = load_key(settings.ledger.data_dir)
        pseudonymizer = Pseudonymizer(key)
        self.identity = Identity(key, settings.identity.rules, identify=identify)
        self.ledger = (
            ledger
            if ledger is not None
            else Ledger(
                data_dir=settings.ledger.data_dir,
                redis_url=settings.ledger.endpoint,
                key_fingerprint=key_fingerprint(key),
                journal_bytes=settings.ledger.journal_bytes,
                when_full=settings.ledger.when_full,
                retention=Retention(**settings.retention.seconds()),
                renames=renames(key),
                labels={pseudonymizer.of_rule(found): label for label, found in settings.identity.labels.items()},
            )
        )
        for name, load in self.serving.loads.items():
            self.ledger.share(name, load, clock_s)
        self._documented: set[str] = set()
        self._is_estimate_noted = False
        self._noted_reports: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Open the ledger and load the vocabulary. Blocks; call it in a thread where a loop is running.

        Raises:
            ConfigError, LedgerError: the ledger refuses (another key, another schema, a folder that cannot be used).
        """
        for name, end_s in self.serving.places.ended(self.wall_s()):
            log.warning(
                "headwater: the hours of site %s end on %s; since then annual figures hold: add rows and restart, or set "
                "hours_repeat = true",
                name,
                datetime.fromtimestamp(end_s, UTC).date(),
            )
        self.ledger.start()
        self.counter.load()

    async def stop(self) -> None:
        """Settle what is still being counted, then close the ledger."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.ledger.close)

    def open(self, charge: Charge, served: Served) -> None:
        """Note an exchange in the journal, as it would be charged if this process died now."""
        try:
            self._document(served)
        finally:  # a disk that has no room for the document may have some for this
            self.ledger.provisional(charge)

    def _document(self, served: Served) -> None:
        known = served.deployment_hash
        if known and known not in self._documented and self.ledger.document(known, served.document):
            self._documented.add(known)

    def charge(
        self,
        *,
        request_id: str,
        user: str,
        started_ms: int,
        outcome: Outcome,
        served: Served,
        usage: Usage,
        observation: Observation,
        footprint: Footprint | Unknown,
        once: str = "",
    ) -> Charge:
        """Make the record that goes into the ledger, ended now."""
        known = footprint if isinstance(footprint, Footprint) else None
        return Charge(
            request_id=request_id,
            user=user,
            started_ms=started_ms,
            ended_ms=int(self.wall_s() * 1000),
            outcome=outcome,
            model=served.model,
            site=served.site,
            deployment_hash=served.deployment_hash,
            method=None if known is None else known.method,
            usage=usage,
            observation=observation,
            amounts=None if known is None else amounts(known),
            reason=footprint.reason if isinstance(footprint, Unknown) else "",
            once=once,
        )

    def enter(self, charge: Charge, served: Served) -> None:
        """Write a final charge into the journal and the metrics, unless another sighting of it was charged or it is lost."""
        try:
            self._document(served)
        finally:  # a disk that is full refuses both; the ledger keeps the charge until there is room
            if self.ledger.charge(charge):
                self.telemetry.charged(charge)
                self._note_report(charge.observation)

    def _lost(self) -> tuple[int, int, int]:
        """Charges lost, their energy in microjoules as far as it is known, and requests turned away."""
        stats = self.ledger.stats
        return stats.lost, stats.lost_energy_microjoules, stats.refused

    def user(self, scope: Mapping[str, Any]) -> str:
        """The pseudonym that a request is charged to. An operator's rule that fails finds nobody: `anonymous` pays."""
        try:
            return self.identity.user(scope)
        except Exception as error:
            self.failed(error)
            return ANONYMOUS

    def note_estimate(self) -> None:
        """Say once that tokens are estimated for want of a vocabulary, and the remedy."""
        if self._is_estimate_noted:
            return
        self._is_estimate_noted = True
        if self.counter.ready:
            log.warning(
                "headwater: an upstream gave no usage and tokens were estimated, as the model's own tokenizer is not at hand; "
                "intervals are wider by that. Let the upstream send usage, or pass a counter of your own: counter=..."
            )
        else:
            log.warning(
                "headwater: an upstream gave no usage and tokens were estimated from bytes, for want of the model's vocabulary; "
                "tiktoken's are installed by: headwater vocab install"
            )

    def judged(self, served: Served, usage: Usage, observation: Observation, report: EnergyReport) -> Observation:
        """What was seen of an exchange, with what its upstream reports of its energy and whether that is believed."""
        if served.profile is None:
            return observation  # nothing is known that it could be held against
        return served.profile.judged(usage, observation, report)

    def _note_report(self, seen: Observation) -> None:
        """Say once per scheme that its reports are not charged as they are."""
        scheme, verdict = seen.metered_scheme, seen.metered_verdict
        if scheme is None or verdict in (None, "taken") or scheme in self._noted_reports:
            return
        self._noted_reports.add(scheme)
        log.warning(
            "headwater: an upstream reports energy (%s) that is not charged as it stands: %s, %g J; receipts show which, and "
            'reports = "ignore" in [metering] turns reports off',
            scheme,
            verdict,
            seen.metered_j,
        )

    def footprint(self, served: Served, usage: Usage, observation: Observation) -> Footprint | Unknown:
        """Price an exchange. What no ledger could hold has no footprint."""
        if served.profile is None:
            return served.unknown
        return storable(served.profile.estimate(usage, observation))

    def month(self) -> str:
        """The calendar month (UTC) that accounts are kept under now: `2026-11`."""
        return f"{datetime.fromtimestamp(self.wall_s(), UTC):%Y-%m}"

    def later(self, work: Coroutine[None, None, None]) -> None:
        """Run work that must not be lost after its exchange has ended; `stop` waits for it."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def failed(self, error: BaseException) -> None:
        """Count and log a failure inside Headwater. The reply it happened in goes on untouched."""
        seen_count = self.telemetry.failed(type(error).__name__)
        if seen_count <= _LOGGED_FAILURES:
            # A traceback may show local values; only our own errors' texts are known to carry no prompt.
            text = str(error) if isinstance(error, HeadwaterError) else "details are left out of the log"
            log.error("metering failed, the reply goes on: %s: %s", type(error).__name__, text, exc_info=_frames(error))


def _frames(error: BaseException) -> BaseException | None:
    return error if log.isEnabledFor(logging.DEBUG) else None
