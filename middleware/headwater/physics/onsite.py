"""What a site says of its water -> water consumed, and withdrawn, per kWh of IT energy, with the range of both.

Reported as it is, taken as a share of a withdrawal, computed from a cooling tower, or read off a published curve. Runs once
per deployment and hour, never per request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from headwater.physics import water
from headwater.records import Factor, FactorSet, Site, Tower, WetBulbCurve, WueWord

_CONSUMED: Final = "consumption per kWh of IT energy"
_WITHDRAWN: Final = "withdrawal per kWh of IT energy"
_BY_HOUR: Final = "of the hour of the request, from the operator's series"
Known = Mapping[str, Factor]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnsiteWater:
    """Water at the site per kWh of IT energy, and what it comes from, in the order in which it is derived.

    `withdrawal_l_per_it_kwh` is None where only a consumption is known. `method`: which formulas lead from `given` to it.
    """

    wue_l_per_it_kwh: Factor
    withdrawal_l_per_it_kwh: Factor | None
    method: Literal["reported", "withdrawal", "tower", "li2023"]
    given: Known
    word: WueWord
    """What disclosures call it."""


def onsite_water(site: Site, factors: FactorSet, wet_bulb_c: float | None = None) -> OnsiteWater:
    """What a site consumes and withdraws per kWh of IT energy. `wet_bulb_c`: of the hour, where it is known."""
    if site.wue_method == "tower" and site.tower is not None:
        return _tower(site.tower, _wet_bulb(site.tower.wet_bulb_c, site, wet_bulb_c))
    if site.wue_method == "li2023" and site.curve is not None:
        return _curve(site.curve, _wet_bulb(site.curve.wet_bulb_c, site, wet_bulb_c))
    reported = site.wue_l_per_it_kwh
    if reported is None:  # the catalog refuses such a site
        raise ValueError(f"site {site.name} has no wue_l_per_it_kwh")
    if site.wue_basis == "consumption" or factors.consumed_ratio is None:
        withdrawal = reported if site.wue_basis == "withdrawal" else None
        return OnsiteWater(
            wue_l_per_it_kwh=reported,
            withdrawal_l_per_it_kwh=withdrawal,
            method="reported",
            given={},
            word=site.wue_basis,
        )
    consumed = factors.consumed_ratio
    if site.wue_basis == "unstated":
        # It may be a consumption already: then all of it is.
        consumed = replace(
            consumed,
            value=1,
            high=1,
            source=f"{site.name} does not say what its WUE counts, so all of it; or, {consumed.source}",
        )
    given = {"reported_wue_l_per_it_kwh": reported, "consumed_ratio": consumed}
    return OnsiteWater(
        wue_l_per_it_kwh=_derived(water.consumed_wue_l_per_it_kwh, given, _CONSUMED),
        withdrawal_l_per_it_kwh=reported if site.wue_basis == "withdrawal" else None,
        method="withdrawal",
        given=given,
        word="unstated" if site.wue_basis == "unstated" else "from-withdrawal",
    )


def _wet_bulb(usual: Factor, site: Site, wet_bulb_c: float | None) -> Factor:
    annual = site.wet_bulb_c or usual
    return annual if wet_bulb_c is None else hourly(annual, wet_bulb_c)


def _derived(function: Callable[..., float], given: Known, basis: str) -> Factor:
    """A figure computed from others, with its range: all low, all central, all high; the functions rise in each of them."""
    low, value, high = (
        function(**{name: getattr(factor, side) for name, factor in given.items()}) for side in ("low", "value", "high")
    )
    return Factor(
        value=value,
        low=min(low, value),
        high=max(value, high),
        unit="L/kWh",
        basis=basis,
        source="computed from what the site is known by: the lines of the place show how",
        checked="",
        confidence="estimated",
    )


def _tower(tower: Tower, wet_bulb_c: Factor) -> OnsiteWater:
    share = tower.evaporated
    ratios = {
        side: min(
            water.evaporated_ratio(wet_bulb_c=getattr(wet_bulb_c, side), points_c=share.wet_bulb_c, ratios=share.ratio)
            * getattr(share.doubt_ratio, side),
            1,
        )
        for side in ("low", "value", "high")
    }
    evaporated = replace(
        share.doubt_ratio, **ratios, source=share.source, checked=share.checked, confidence=share.confidence
    )
    given = {
        "heat_ratio": tower.heat_ratio,
        "wet_ratio": tower.wet_ratio,
        "wet_bulb_c": wet_bulb_c,
        "evaporated_ratio": evaporated,
        "cycles_count": tower.cycles_count,
        "drift_ratio": tower.drift_ratio,
        "range_k": tower.range_k,
        "latent_heat_0c_j_per_kg": tower.latent_heat_0c_j_per_kg,
        "latent_heat_slope_j_per_kg_k": tower.latent_heat_slope_j_per_kg_k,
        "heat_capacity_j_per_kg_k": tower.heat_capacity_j_per_kg_k,
    }
    # Few cycles take much water: the range of the make-up runs against theirs.
    against = given | {"cycles_count": _mirrored(tower.cycles_count), "range_k": _mirrored(tower.range_k)}
    return OnsiteWater(
        wue_l_per_it_kwh=_derived(_tower_wue, against, _CONSUMED),
        withdrawal_l_per_it_kwh=_derived(_tower_makeup, against, _WITHDRAWN),
        method="tower",
        given=given,
        word="tower",
    )


def _mirrored(factor: Factor) -> Factor:
    return replace(factor, low=factor.high, high=factor.low)


def _tower_terms(
    *,
    heat_ratio: float,
    wet_ratio: float,
    wet_bulb_c: float,
    evaporated_ratio: float,
    drift_ratio: float,
    range_k: float,
    latent_heat_0c_j_per_kg: float,
    latent_heat_slope_j_per_kg_k: float,
    heat_capacity_j_per_kg_k: float,
) -> tuple[float, float]:
    """Evaporation, and consumption."""
    latent = water.latent_heat_j_per_kg(
        latent_heat_0c_j_per_kg=latent_heat_0c_j_per_kg,
        latent_heat_slope_j_per_kg_k=latent_heat_slope_j_per_kg_k,
        wet_bulb_c=wet_bulb_c,
    )
    ceiling = water.ceiling_l_per_it_kwh(heat_ratio=heat_ratio, latent_heat_j_per_kg=latent)
    evaporation = water.evaporation_l_per_it_kwh(
        ceiling_l_per_it_kwh=ceiling, wet_ratio=wet_ratio, evaporated_ratio=evaporated_ratio
    )
    drift = water.drift_l_per_it_kwh(
        heat_ratio=heat_ratio,
        wet_ratio=wet_ratio,
        heat_capacity_j_per_kg_k=heat_capacity_j_per_kg_k,
        range_k=range_k,
        drift_ratio=drift_ratio,
    )
    consumption = water.tower_wue_l_per_it_kwh(
        evaporation_l_per_it_kwh=evaporation, drift_l_per_it_kwh=drift, ceiling_l_per_it_kwh=ceiling
    )
    return evaporation, consumption


def _tower_wue(*, cycles_count: float, **terms: float) -> float:
    return _tower_terms(**terms)[1]


def _tower_makeup(*, cycles_count: float, **terms: float) -> float:
    evaporation, consumption = _tower_terms(**terms)
    return water.makeup_l_per_it_kwh(
        evaporation_l_per_it_kwh=evaporation, cycles_count=cycles_count, tower_wue_l_per_it_kwh=consumption
    )


def _curve(curve: WetBulbCurve, wet_bulb_c: Factor) -> OnsiteWater:
    coefficients = {
        f"coefficient_{power}": Factor(
            value=value, low=value, high=value, unit="L/kWh/F^n",
            source=curve.source, checked=curve.checked, confidence=curve.confidence,
        )
        for power, value in enumerate(curve.coefficients)
    }  # fmt: skip
    given = {
        "wet_bulb_c": wet_bulb_c,
        **coefficients,
        "cycles_count": curve.cycles_count,
        "least_l_per_it_kwh": curve.least_l_per_it_kwh,
    }
    against = given | {"cycles_count": _mirrored(curve.cycles_count)}
    wue = _derived(_curve_wue, against, "as published, blow-down included")
    return OnsiteWater(wue_l_per_it_kwh=wue, withdrawal_l_per_it_kwh=wue, method="li2023", given=given, word="li2023")


def _curve_wue(*, wet_bulb_c: float, **terms: float) -> float:
    return water.curve_wue_l_per_it_kwh(wet_bulb_f=water.wet_bulb_f(wet_bulb_c=wet_bulb_c), **terms)


def hourly(annual: Factor, value: float) -> Factor:
    """A yearly figure as it was in one hour: taken as given, without a range."""
    return replace(annual, value=value, low=value, high=value, source=_BY_HOUR, checked="", confidence="reported")
