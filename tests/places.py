"""Records of places for tests: figures chosen to be computed by hand."""

from __future__ import annotations

from typing import Any

from headwater.records import EvaporatedShare, Factor, FactorSet, Site, Tower, WetBulbCurve


def figure(value: float, low: float | None = None, high: float | None = None, unit: str = "ratio") -> Factor:
    """A factor; without low and high it is certain."""
    return Factor(
        value=value,
        low=value if low is None else low,
        high=value if high is None else high,
        unit=unit,
        source="made for a test",
        checked="2026-11-25",
        confidence="estimated",
    )


def tower(**changes: Any) -> Tower:
    """A tower of today: 1.1 kWh of heat per kWh of IT energy, 85 % of it by evaporation, five cycles."""
    given: dict[str, Any] = {
        "name": "test-tower",
        "heat_ratio": figure(1.1),
        "wet_ratio": figure(1.0),
        "evaporated": shares((15.0, 0.85)),
        "cycles_count": figure(5.0, unit="count"),
        "drift_ratio": figure(0.0),
        "range_k": figure(5.6, unit="K"),
        "wet_bulb_c": figure(20.0, unit="degC"),
        "latent_heat_0c_j_per_kg": figure(2_500_800.0, unit="J/kg"),
        "latent_heat_slope_j_per_kg_k": figure(2_360.0, unit="J/(kg K)"),
        "heat_capacity_j_per_kg_k": figure(4_186.0, unit="J/(kg K)"),
    }
    return Tower(**(given | changes))


def shares(*points: tuple[float, float], doubt: Factor | None = None) -> EvaporatedShare:
    """The evaporated share at some wet-bulb temperatures."""
    return EvaporatedShare(
        wet_bulb_c=tuple(at_c for at_c, _ in points),
        ratio=tuple(ratio for _, ratio in points),
        doubt_ratio=figure(1.0) if doubt is None else doubt,
        source="made for a test",
        checked="2026-11-25",
        confidence="estimated",
    )


def curve(**changes: Any) -> WetBulbCurve:
    """The published curve of Li et al., at six cycles."""
    given: dict[str, Any] = {
        "name": "test-curve",
        "coefficients": (-10.4, 0.61, -0.01, 6e-5),
        "cycles_count": figure(6.0, unit="count"),
        "least_l_per_it_kwh": figure(0.05, unit="L/kWh"),
        "wet_bulb_c": figure(15.0, unit="degC"),
        "source": "made for a test",
        "checked": "2026-11-25",
        "confidence": "reported",
    }
    return WetBulbCurve(**(given | changes))


def site(**changes: Any) -> Site:
    """A site that says what it consumes."""
    given: dict[str, Any] = {
        "name": "test-site",
        "grid": "usa",
        "pue": figure(1.2),
        "wue_l_per_it_kwh": figure(0.5, 0.4, 0.6, unit="L/kWh"),
        "wue_basis": "consumption",
        "tower": None,
        "curve": None,
        "wet_bulb_c": None,
        "market_g_per_kwh": None,
    }
    return Site(**(given | changes))


def tower_site(**changes: Any) -> Site:
    """A site whose water is computed from its tower."""
    return site(wue_method="tower", wue_l_per_it_kwh=None, tower=tower(**changes))


RULES = FactorSet(name="test-set", hydro="include", consumed_ratio=figure(0.8, 0.5, 1.0))
