"""Metrics through OpenTelemetry. The only importer of opentelemetry, and of its API alone: the SDK is the operator's.

Counters are plain integers on the event loop; OpenTelemetry reads them when it collects (one `add` per request would cost
more than the whole exchange). No user ids, and no model names but the catalog's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from headwater.records import Charge
from headwater.units import MICROGRAMS_PER_G, MICROJOULES_PER_J, NANOLITRES_PER_L

__all__ = ["MeterProvider", "Telemetry"]

_Key = tuple[str, str, str]
_FAILURE_KINDS: Final = 100


class Telemetry:
    """What this process has metered since it started.

    `lost`: charges that the ledger lost, their energy (microjoules), and requests that it had turned away.
    """

    def __init__(
        self,
        version: str,
        meter_provider: MeterProvider | None = None,
        *,
        lost: Callable[[], tuple[int, int, int]] = lambda: (0, 0, 0),
    ) -> None:
        self._lost = lost
        self._requests: dict[_Key, int] = {}
        self._energy_microjoules: dict[str, int] = {}
        self._onsite_nanolitres: dict[str, int] = {}
        self._offsite_nanolitres: dict[str, int] = {}
        self._carbon_micrograms: dict[str, int] = {}
        self._reports: dict[tuple[str, str], int] = {}
        self._failures: dict[str, int] = {}
        meter = metrics.get_meter("headwater", version, meter_provider)
        counters: tuple[tuple[str, str, str, Callable[[], Iterable[Observation]]], ...] = (
            (
                "headwater.requests",
                "{request}",
                "Metered exchanges by outcome and by source of their token counts.",
                self._read_requests,
            ),
            ("headwater.energy", "J", "Facility energy charged (IT energy times PUE).", self._read_energy),
            ("headwater.water", "L", "Water charged, on-site and off-site.", self._read_water),
            ("headwater.emissions", "g", "CO2-equivalent charged.", self._read_emissions),
            (
                "headwater.energy_reports",
                "{report}",
                "Energy that upstreams reported for exchanges, by scheme and by what became of it.",
                self._read_reports,
            ),
            (
                "headwater.failures",
                "{failure}",
                "Failures inside Headwater; each left its reply untouched.",
                self._read_failures,
            ),
            (
                "headwater.lost_charges",
                "{charge}",
                "Charges that are in no account: the journal was full, or its record was damaged.",
                lambda: [Observation(self._lost()[0])],
            ),
            (
                "headwater.lost_energy",
                "J",
                "Energy of lost charges, as far as it is known.",
                lambda: [Observation(self._lost()[1] / MICROJOULES_PER_J)],
            ),
            (
                "headwater.refused_requests",
                "{request}",
                "Requests turned away because the journal was full.",
                lambda: [Observation(self._lost()[2])],
            ),
        )
        for name, unit, description, read in counters:
            meter.create_observable_counter(name, [_callback(read)], unit=unit, description=description)

    def charged(self, charge: Charge) -> None:
        """Count one charge in."""
        key = (charge.model, charge.outcome, charge.usage.source)
        self._requests[key] = self._requests.get(key, 0) + 1
        seen = charge.observation
        if seen.metered_scheme is not None and seen.metered_verdict is not None:
            report = seen.metered_scheme, seen.metered_verdict
            self._reports[report] = self._reports.get(report, 0) + 1
        amounts = charge.amounts
        if amounts is None:
            return
        model = charge.model
        for counter, amount in (
            (self._energy_microjoules, amounts.energy_microjoules),
            (self._onsite_nanolitres, amounts.onsite_nanolitres),
            (self._offsite_nanolitres, amounts.offsite_nanolitres),
            (self._carbon_micrograms, amounts.carbon_micrograms),
        ):
            counter[model] = counter.get(model, 0) + amount

    def failed(self, kind: str) -> int:
        """Count one failure of a kind (an exception's class name); returns how often it has been seen."""
        if kind not in self._failures and len(self._failures) >= _FAILURE_KINDS:
            kind = "other"
        self._failures[kind] = self._failures.get(kind, 0) + 1
        return self._failures[kind]

    @property
    def failures_count(self) -> int:
        """All failures so far."""
        return sum(self._failures.values())

    def _read_requests(self) -> Iterator[Observation]:
        for (model, outcome, source), count in list(self._requests.items()):
            yield Observation(count, {"model": model, "headwater.outcome": outcome, "headwater.usage.source": source})

    def _read_energy(self) -> Iterator[Observation]:
        return _per_model(self._energy_microjoules, MICROJOULES_PER_J)

    def _read_water(self) -> Iterator[Observation]:
        yield from _per_model(self._onsite_nanolitres, NANOLITRES_PER_L, "onsite")
        yield from _per_model(self._offsite_nanolitres, NANOLITRES_PER_L, "offsite")

    def _read_emissions(self) -> Iterator[Observation]:
        return _per_model(self._carbon_micrograms, MICROGRAMS_PER_G)

    def _read_reports(self) -> Iterator[Observation]:
        for (scheme, outcome), count in list(self._reports.items()):
            yield Observation(count, {"headwater.report.scheme": scheme, "headwater.report.outcome": outcome})

    def _read_failures(self) -> Iterator[Observation]:
        for kind, count in list(self._failures.items()):
            yield Observation(count, {"error.type": kind})


def _per_model(totals: dict[str, int], per_unit: int, kind: str | None = None) -> Iterator[Observation]:
    for model, total in list(totals.items()):
        attributes = {"model": model} if kind is None else {"model": model, "headwater.water.kind": kind}
        yield Observation(total / per_unit, attributes)


def _callback(read: Callable[[], Iterable[Observation]]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _options: read()
