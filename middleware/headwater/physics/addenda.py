"""What goes with a footprint as lines of its own: withdrawals, contracts, the making of hardware, the training of the model.

Never added to the footprint, nor to each other. Derived when read, so off the hot path.

Notes: ranges. Each line has the range of what it is made of, lows with lows and highs with highs, combined in quadrature of
logarithms with the range of the energy where it hangs on that (physics.intervals). The time that a request had of its
server is as sure as its energy.
"""

from __future__ import annotations

from collections.abc import Callable

from headwater.physics import carbon, place_formulas, water
from headwater.physics.derivation import Derivation
from headwater.physics.intervals import Ratio, around, combined, without
from headwater.physics.rates import rates
from headwater.records import Addenda, Bounds, Deployment, Factor, Footprint, TrainingShare

NOT_PUBLISHED = "the site's operator publishes no figure of this kind"


def addenda(footprint: Footprint, deployment: Deployment, *, wet_bulb_c: float | None = None) -> Addenda:
    """The lines beside a footprint on its deployment. `wet_bulb_c`: of its hour, where the footprint was made with one."""
    at = Derivation()
    for name, value, unit in (
        ("it_j", footprint.it_j, "J"),
        ("facility_j", footprint.facility_j, "J"),
        ("carbon_g", footprint.carbon_g, "g"),
    ):
        at.given(name, value, unit, "the request's footprint")
    reasons: dict[str, str] = {}
    within = footprint.spread.energy_low, footprint.spread.energy_high
    # What hangs on IT energy or on time has no part of the doubt about PUE.
    it_within = without(within, _ratio(rates(deployment).pue))
    withdrawn = _withdrawn(at, deployment, it_within, reasons, wet_bulb_c)
    drawn = _drawn(at, deployment, within, reasons)
    by_contract = _by_contract(at, deployment, within, reasons)
    embodied_g, embodied_l = _embodied(at, footprint, deployment, it_within, reasons)
    trained = _trained(at, deployment.training)
    return Addenda(
        onsite_withdrawal_l=withdrawn,
        offsite_withdrawal_l=drawn,
        market_g=by_contract,
        embodied_g=embodied_g,
        embodied_water_l=embodied_l,
        **trained,
        reasons=tuple(reasons.items()),
        steps=tuple(at.steps),
    )


def _bounds(value: float, *ratios: Ratio) -> Bounds:
    low, high = combined(*ratios)
    return Bounds(low=value * low, value=value, high=value * high)


def _ratio(factor: Factor) -> Ratio:
    return around(low=factor.low, value=factor.value, high=factor.high)


def _inverse(factor: Factor) -> Ratio:
    low, high = _ratio(factor)
    return 1 / high, 1 / low


def _withdrawn(
    at: Derivation, deployment: Deployment, within: Ratio, reasons: dict[str, str], wet_bulb_c: float | None
) -> Bounds | None:
    figure = rates(deployment, wet_bulb_c=wet_bulb_c).onsite.withdrawal_l_per_it_kwh
    if figure is None:
        is_own = deployment.factors.wue_l_per_it_kwh is not None
        reasons["onsite_withdrawal_l"] = "the factor set's own water does not tell it" if is_own else NOT_PUBLISHED
        return None
    at.take("withdrawal_l_per_it_kwh", figure)
    at.follow(place_formulas.WITHDRAWN_RULES)
    return _bounds(at.known["onsite_withdrawal_l"], within, _ratio(figure))


def _drawn(at: Derivation, deployment: Deployment, within: Ratio, reasons: dict[str, str]) -> Bounds | None:
    figure = deployment.grid.ewif_withdrawal_l_per_kwh
    if figure is None or deployment.factors.ewif_l_per_kwh is not None:
        reasons["offsite_withdrawal_l"] = "no source for the water that this grid's power stations withdraw was read"
        return None
    at.take("ewif_withdrawal_l_per_kwh", figure)
    at.follow(place_formulas.WITHDRAWN_OFFSITE_RULES)
    return _bounds(at.known["offsite_withdrawal_l"], within, _ratio(figure))


def _by_contract(at: Derivation, deployment: Deployment, within: Ratio, reasons: dict[str, str]) -> Bounds | None:
    figure = deployment.site.market_g_per_kwh
    if figure is None:
        reasons["market_g"] = NOT_PUBLISHED
        return None
    at.take("market_g_per_kwh", figure)
    at.follow(place_formulas.MARKET_RULES)
    return _bounds(at.known["market_g"], within, _ratio(figure))


def _embodied(
    at: Derivation, footprint: Footprint, deployment: Deployment, within: Ratio, reasons: dict[str, str]
) -> tuple[Bounds | None, Bounds | None]:
    hardware, used = deployment.hardware, deployment.factors.utilisation_ratio
    if footprint.server_s is None:
        reasons["embodied_g"] = reasons["embodied_water_l"] = "the factor set knows no time on a server"
        return None, None
    at.given("server_s", footprint.server_s, "s", "seconds of the whole server that the request had")
    board, host, lifetime = hardware.accelerator_embodied_g, hardware.host_embodied_g, hardware.lifetime_s
    if board is None or host is None or lifetime is None or used is None:
        reasons["embodied_g"] = reasons["embodied_water_l"] = f"no source for the making of {hardware.name} was read"
        return None, None
    at.given("server_accelerators_count", hardware.accelerators_count, "accelerators", hardware.name)
    for name, factor in (
        ("accelerator_embodied_g", board),
        ("host_embodied_g", host),
        ("lifetime_s", lifetime),
        ("utilisation_ratio", used),
    ):
        at.take(name, factor)
    at.follow(place_formulas.EMBODIED_RULES)
    server = _over(
        lambda side: carbon.server_embodied_g(
            accelerator_embodied_g=getattr(board, side),
            server_accelerators_count=hardware.accelerators_count,
            host_embodied_g=getattr(host, side),
        )
    )
    shares = within, _inverse(lifetime), _inverse(used)
    of_making = _bounds(at.known["embodied_g"], server, *shares)
    if hardware.embodied_water_l is None:
        reasons["embodied_water_l"] = f"no source for the water of making {hardware.name} was read"
        return of_making, None
    at.take("embodied_server_l", hardware.embodied_water_l)
    at.follow(place_formulas.EMBODIED_WATER_RULES)
    return of_making, _bounds(at.known["embodied_water_l"], _ratio(hardware.embodied_water_l), *shares)


def _over(of_side: Callable[[str], float]) -> Ratio:
    return around(low=of_side("low"), value=of_side("value"), high=of_side("high"))


def _trained(at: Derivation, share: TrainingShare | None) -> dict[str, Bounds]:
    if share is None:
        return {}
    training, count = share.training, share.requests_count
    at.given("training_requests_count", count, "requests", "the operator's: a training is spread evenly over so many")
    found: dict[str, Bounds] = {}
    water_l = _summed(training.onsite_l, training.offsite_l)
    for name, unit, factor in (
        ("training_it_kwh", "kWh", training.it_kwh),
        ("training_onsite_l", "L", training.onsite_l),
        ("training_water_l", "L", water_l),
        ("training_carbon_g", "g", training.carbon_g),
        ("training_cost_usd", "USD", training.cost_usd),
    ):
        if factor is None:
            continue
        at.take(f"{name}_whole", factor)
        at.divide(name, f"{name}_whole", "training_requests_count", unit)
        found[name] = Bounds(low=factor.low / count, value=factor.value / count, high=factor.high / count)
    return found


def _summed(onsite: Factor | None, offsite: Factor | None) -> Factor | None:
    """Water consumed at the site and at power stations; None unless both are known."""
    if onsite is None or offsite is None:
        return None
    low, value, high = (
        water.water_l(onsite_l=getattr(onsite, side), offsite_l=getattr(offsite, side))
        for side in ("low", "value", "high")
    )
    source = f"on-site: {onsite.source}; off-site: {offsite.source}"
    return Factor(
        value=value, low=low, high=high, unit="L", basis="consumption",
        source=source, checked=onsite.checked, confidence=offsite.confidence,
    )  # fmt: skip
