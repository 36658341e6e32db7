"""A question about a fleet, checked: how many accelerators, of what, how busy, for how long, where. Refuses what cannot be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from headwater import catalog
from headwater.catalog import CURRENT_FACTORS
from headwater.checks import check_count, check_number
from headwater.errors import CatalogError
from headwater.physics.own import as_mix
from headwater.physics.replica import Own
from headwater.records import (
    Deployment,
    EngineSpec,
    Factor,
    FactorSet,
    Grid,
    HardwareSpec,
    Hydro,
    Mix,
    ModelSpec,
    Precision,
    Site,
)
from headwater.units import LONGEST_S, MOST_TOKENS, S_PER_H

MOST_ACCELERATORS: Final = 1_000_000_000
"""No fleet has more."""
MOST_PRICE: Final = 1e12
"""No server costs more, in any currency."""
LEAST_LOAD: Final = 1e-9
"""A second in thirty years."""
MOST_CONCURRENCY: Final = 1_000_000
"""No replica has more requests in flight."""
_ANY_MODEL: Final = "generic-70b"
# A deployment has a model. Where none is named this one stands in its place, and no figure comes from it.
_OF_MODEL: Final = (
    "input_tokens", "output_tokens", "concurrency", "precision", "engine", "accelerators_per_replica",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What `headwater.fleet.answer` is asked. A fleet that exists can be answered.

    `load`: share of the time in which the servers are at work; None: all of it under a factor set that counts servers at
    their nameplate, else the set's own utilisation. `price`: of one server, in `currency`; None: the factor set's, else the
    catalog's, in USD. `model`, with the tokens of its mean request: what the servers run, `concurrency` requests at a time on
    each copy; None: the hardware alone is known, and not what it can serve. `visits`: how often users came in these hours,
    each with `requests_per_visit`.

    Raises:
        ValueError: a value cannot be right, or two contradict each other.
        CatalogError: a name is not in the catalog.
    """

    accelerators: int = 10_000
    hardware: str | HardwareSpec = "dgx-a100"
    load: float | None = None
    hours: float = 720
    price: float | None = None
    currency: str = "USD"
    site: str | Site = "us-average"
    grid: Grid | None = None
    factors: str | FactorSet = CURRENT_FACTORS
    hydro: Hydro | None = None
    model: str | ModelSpec | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    concurrency: float | None = None
    precision: Precision | None = None
    engine: str | EngineSpec | None = None
    accelerators_per_replica: int | None = None
    visits: float | None = None
    requests_per_visit: float | None = None

    def __post_init__(self) -> None:
        check_count("accelerators", self.accelerators, least=1, most=MOST_ACCELERATORS)
        check_number("load", self.load, least=0, most=1, said="at least 0")
        if self.load is not None and 0 < self.load < LEAST_LOAD:
            raise ValueError(f"load ({self.load:g}) must be 0 or at least {LEAST_LOAD:g}: no fleet serves so little")
        check_number("hours", self.hours, least=1 / S_PER_H, most=LONGEST_S / S_PER_H, said="above 0")
        check_number("price", self.price, least=0, most=MOST_PRICE, said="at least 0")
        if not self.currency.strip():
            raise ValueError("currency must be a word like USD, not empty")
        if self.price is None and self.currency != Fleet.currency:
            raise ValueError(
                f"currency ({self.currency}) is that of a price, and no price is given: known prices are in {Fleet.currency}"
            )
        self._check_model()
        check_number("visits", self.visits, least=1, most=MOST_TOKENS, said="at least 1")
        per_visit = self.requests_per_visit
        check_number("requests_per_visit", per_visit, least=1 / MOST_TOKENS, most=MOST_TOKENS, said="above 0")
        if per_visit is not None and self.visits is None:
            raise ValueError(f"requests_per_visit ({per_visit:g}) says nothing without visits: say how many")
        self._check_servers()

    def _check_model(self) -> None:
        if self.model is None:
            for name in _OF_MODEL:
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} ({getattr(self, name)}) says nothing without a model: name one")
            return
        for name in ("input_tokens", "output_tokens"):
            if getattr(self, name) is None:
                raise ValueError(f"{name} must be given with a model: how long is the mean request?")
        check_count("input_tokens", self.input_tokens, most=MOST_TOKENS)
        check_count("output_tokens", self.output_tokens, least=1, most=MOST_TOKENS)
        check_number("concurrency", self.concurrency, least=1, most=MOST_CONCURRENCY, said="at least 1")
        if self.accelerators_per_replica is not None:
            check_count("accelerators_per_replica", self.accelerators_per_replica, least=1, most=MOST_ACCELERATORS)

    def _check_servers(self) -> None:
        server, factors = self.deployment.hardware, self.deployment.factors
        count, per_replica = server.accelerators_count, self.deployment.accelerators_count
        if count % per_replica and per_replica % count:
            raise ValueError(
                f"accelerators_per_replica ({per_replica}) must divide the {count} of {server.name}, or be a multiple of them"
            )
        flat = factors.flat_it_j_per_request
        if flat is not None and flat.low <= 0:
            raise ValueError(
                f"factors ({factors.name}) count {flat.low:g} J a request at least, so requests without end"
            )
        known_count = int(catalog.claim("server_accelerators_count").figure.value)
        if factors.server_w is not None and count != known_count:
            raise ValueError(
                f"factors ({factors.name}) count servers of {known_count} accelerators at {factors.server_w.value:g} W, and "
                f"{server.name} has {count}; name hardware with {known_count}, or other factors like {CURRENT_FACTORS}"
            )

    @cached_property
    def deployment(self) -> Deployment:
        """What the fleet is made of, with as many replicas as it holds."""
        server = catalog.hardware(self.hardware) if isinstance(self.hardware, str) else self.hardware
        named = _ANY_MODEL if self.model is None else self.model
        whole = catalog.deployment(
            model=(catalog.model_name(named) or named) if isinstance(named, str) else named,
            hardware=server,
            engine=self.engine if self.engine is not None else catalog.USUAL_ENGINES[server.kind],
            site=self.site,
            grid=self.grid,
            accelerators=self.accelerators_per_replica,
            precision=self.precision,
            factors=catalog.factor_set(self.factors) if isinstance(self.factors, str) else self.factors,
            hydro=self.hydro,
        )
        count = whole.accelerators_count
        if self.accelerators_per_replica is None and self.model is not None:
            count = catalog.fewest_accelerators(server, whole.model, whole.precision)
        return replace(whole, accelerators_count=count, replicas_count=self._installed(server, count) // count)

    def _installed(self, server: HardwareSpec, per_replica: int) -> int:
        """Accelerators in whole servers, and in as many servers as whole replicas need."""
        block = max(server.accelerators_count, per_replica)
        return -(-self.accelerators // block) * block

    @property
    def installed_accelerators(self) -> int:
        """The accelerators of the whole servers that hold those asked for."""
        return self.deployment.replicas_count * self.deployment.accelerators_count

    @property
    def servers(self) -> int:
        """Whole servers."""
        return self.installed_accelerators // self.deployment.hardware.accelerators_count

    @property
    def mix(self) -> Mix:
        """The mean request of the model. Only where there is one."""
        return as_mix(Own(self.input_tokens or 0, 0, self.output_tokens or 0, 0))

    @cached_property
    def load_ratio(self) -> Factor:
        """Share of the time in which the servers are at work. Raises CatalogError where nothing says it."""
        factors = self.deployment.factors
        if self.load is not None:
            return _exactly(self.load, "as asked")
        if factors.server_w is not None:
            return _exactly(1, f"{factors.name} counts servers at their nameplate, so all are at work all the time")
        if factors.utilisation_ratio is not None:
            return factors.utilisation_ratio
        usual = catalog.factor_set(CURRENT_FACTORS).utilisation_ratio
        if usual is None:
            raise CatalogError(f"neither {factors.name} nor {CURRENT_FACTORS} has a utilisation_ratio; give a load")
        return replace(usual, source=f"{factors.name} has none, so that of {CURRENT_FACTORS}: {usual.source}")

    @property
    def price_per_server(self) -> Factor | None:
        """What one server costs, in `currency`; None where nobody says it."""
        if self.price is not None:
            return replace(_exactly(self.price, "as asked"), unit=self.currency)
        return self.deployment.factors.server_price_usd or self.deployment.hardware.server_price_usd


def _exactly(value: float, source: str) -> Factor:
    return Factor(value=value, low=value, high=value, unit="ratio", source=source, checked="", confidence="reported")
