"""Settings -> tariffs, and what an exchange costs by the one in force. Pure: knows settings, catalog and physics, no store.

No float meets a price: quantities are the ledger's integers, coefficients the decimals as which the catalog writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from headwater import catalog
from headwater.config import Settings
from headwater.errors import CatalogError, ConfigError
from headwater.physics.estimate import Profile
from headwater.physics.rates import rates
from headwater.records import Amounts, Charge, Cost, CostPart, Deployment, Factor, Footprint, Tariff
from headwater.units import (
    L_PER_M3,
    MICROJOULES_PER_KWH,
    MICROSECONDS_PER_S,
    MS_PER_S,
    NANOLITRES_PER_M3,
    microseconds,
)

HOSTED: Final = "it is somebody else's server, and its owner's to pay for"
NO_DOCUMENT: Final = "the deployment that it was charged by is not in the store, or of another version"
_M3_PER_L: Final = 1 / Fraction(L_PER_M3)


def tariffs(settings: Settings) -> tuple[Tariff, ...]:
    """The tariffs of the settings, in the order of their first days.

    Raises:
        ConfigError: a tariff prices a server that is not in the catalog; names file, line, value and close matches.
    """
    for number, given in enumerate(settings.tariff):
        for name in given.servers:
            try:
                catalog.hardware(name)
            except CatalogError as error:
                at = settings.where("tariff", number, "servers", name)
                raise ConfigError(f"{settings.source}: {at}: {error}") from None
    made = [
        Tariff(
            valid_from=given.valid_from,
            currency=given.currency,
            electricity_per_kwh=given.electricity_per_kwh,
            water_per_m3=given.water_per_m3,
            servers=dict(given.servers),
        )
        for given in settings.tariff
    ]
    return tuple(sorted(made, key=_first_day))


def in_force(given: Sequence[Tariff], ended_ms: int) -> Tariff | None:
    """The tariff of the day (UTC) on which an exchange ended: the last to begin by then. None: the first begins later.

    `given`: in the order of their first days.
    """
    day = _day(ended_ms)
    return next((tariff for tariff in reversed(given) if _first_day(tariff) <= day), None)


class Served:
    """A deployment as far as costs need it. What takes long is done once, not per charge."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._profile = Profile(deployment)
        self._withdrawals: dict[float | None, Fraction | None] = {}
        self.hardware = deployment.hardware.name
        self.is_hosted = deployment.hosting == "hosted"

    def withdrawal_l_per_it_kwh(self, wet_bulb_c: float | None) -> Fraction | None:
        """Water that the site takes, in litres per kWh of IT energy. None: only what it consumes is known."""
        if wet_bulb_c not in self._withdrawals:
            figure = rates(self._deployment, wet_bulb_c=wet_bulb_c).onsite.withdrawal_l_per_it_kwh
            self._withdrawals[wet_bulb_c] = None if figure is None else _exact(figure)
        return self._withdrawals[wet_bulb_c]

    def lives(self, charge: Charge) -> Fraction | str:
        """The share of a whole server's serving life that an exchange had; or why nobody can say."""
        lifetime, used = self._deployment.hardware.lifetime_s, self._deployment.factors.utilisation_ratio
        if lifetime is None:
            return f"no source for the lifetime of {self.hardware} was read"
        if used is None:
            return f"the factor set {self._deployment.factors.name} does not say how much of its life a server serves"
        footprint = self._profile.estimate(charge.usage, charge.observation)
        if not isinstance(footprint, Footprint) or footprint.server_s is None:
            return "the request's time on the server is not known"
        return Fraction(microseconds(footprint.server_s), MICROSECONDS_PER_S) / (_exact(lifetime) * _exact(used))


def cost(tariff: Tariff, charge: Charge, served: Served | None) -> Cost:
    """What a charge costs by a tariff. `served`: by whom it was, where that is known."""
    if charge.amounts is None:
        return _nothing(tariff.currency, f"there is no footprint: {charge.reason}", tariff.valid_from)
    if served is not None and served.is_hosted:
        return _nothing(tariff.currency, HOSTED, tariff.valid_from)
    return Cost(
        currency=tariff.currency,
        valid_from=tariff.valid_from,
        electricity=_priced(
            Fraction(charge.amounts.energy_microjoules, MICROJOULES_PER_KWH),
            "kWh",
            tariff.electricity_per_kwh,
            "the tariff has no electricity_per_kwh",
        ),
        water=_water(tariff, charge.amounts, charge.observation.wet_bulb_c, served),
        server=_server(tariff, charge, served),
    )


def _water(tariff: Tariff, amounts: Amounts, wet_bulb_c: float | None, served: Served | None) -> CostPart:
    """An operator pays for what it takes at the site, given back or not; power stations pay for their own."""
    rate = served.withdrawal_l_per_it_kwh(wet_bulb_c) if served is not None else None
    if rate is None:
        quantity_m3, basis = Fraction(amounts.onsite_nanolitres, NANOLITRES_PER_M3), "consumption"
    else:
        quantity_m3 = Fraction(amounts.it_microjoules, MICROJOULES_PER_KWH) * rate * _M3_PER_L
        basis = "withdrawal"
    return _priced(quantity_m3, "m3", tariff.water_per_m3, "the tariff has no water_per_m3", basis)


def _server(tariff: Tariff, charge: Charge, served: Served | None) -> CostPart:
    if served is None:
        return CostPart(reason=NO_DOCUMENT)
    # List prices of the catalog are not the operator's, nor in its currency: they stand in for nothing.
    price = tariff.servers.get(served.hardware)
    if price is None:
        return CostPart(reason=f"the tariff's servers do not name {served.hardware}")
    lives = served.lives(charge)
    return CostPart(reason=lives) if isinstance(lives, str) else _priced(lives, "server lives", price)


def _priced(quantity: Fraction, unit: str, price: Decimal | None, reason: str = "", basis: str = "") -> CostPart:
    if price is None:
        return CostPart(quantity=quantity, unit=unit, basis=basis, reason=reason)
    return CostPart(amount=quantity * Fraction(price), quantity=quantity, unit=unit, price=price, basis=basis)


class Pricing:
    """Costs by an operator's tariffs, for charges with their stored deployments.

    Raises:
        ConfigError: a tariff cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._tariffs = tariffs(settings)
        self._served: dict[str, Served | None] = {}

    def __bool__(self) -> bool:
        """Whether there is any tariff."""
        return bool(self._tariffs)

    @property
    def currency(self) -> str:
        """The one currency of all tariffs; "" where there is none."""
        return self._tariffs[0].currency if self._tariffs else ""

    def cost(self, charge: Charge, document: str | None) -> Cost | None:
        """What a charge costs. None where no tariff is set. `document`: the stored deployment that it was charged by."""
        if not self._tariffs:
            return None
        tariff = in_force(self._tariffs, charge.ended_ms)
        if tariff is None:
            since = self._tariffs[0].valid_from
            return _nothing(self.currency, f"no tariff was in force yet: the first is valid from {since} on")
        if document and document not in self._served:
            self._served[document] = _read(document)
        return cost(tariff, charge, self._served.get(document or ""))


def _read(document: str) -> Served | None:
    try:
        return Served(catalog.deployment_from_document(document))
    except CatalogError:
        return None  # another version of headwater wrote it


def _nothing(currency: str, reason: str, valid_from: date | None = None) -> Cost:
    part = CostPart(reason=reason)
    return Cost(currency=currency, valid_from=valid_from, electricity=part, water=part, server=part)


def _exact(factor: Factor) -> Fraction:
    """The decimal as which a factor was written; its binary float is another number."""
    return Fraction(str(factor.value))


def _first_day(tariff: Tariff) -> date:
    return tariff.valid_from or date.min


def _day(time_ms: int) -> date:
    """The day in UTC. Whole seconds first: floats of milliseconds could round up into the next day."""
    return datetime.fromtimestamp(time_ms // MS_PER_S, UTC).date()
