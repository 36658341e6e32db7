"""A cooling tower for tests, with round figures of nobody's."""

from __future__ import annotations

from headwater.records import EvaporatedShare, Factor, Tower


def exactly(value: float, unit: str) -> Factor:
    """A figure without a range."""
    return Factor(
        value=value,
        low=value,
        high=value,
        unit=unit,
        source="made for a test",
        checked="2026-11-25",
        confidence="estimated",
    )


def tower() -> Tower:
    """All heat meets water, and most of it evaporates."""
    return Tower(
        name="test-tower",
        heat_ratio=exactly(1.0, "ratio"),
        wet_ratio=exactly(1.0, "ratio"),
        evaporated=EvaporatedShare(
            wet_bulb_c=(0.0, 20.0),
            ratio=(0.6, 0.8),
            doubt_ratio=exactly(1.0, "ratio"),
            source="made for a test",
            checked="2026-11-25",
            confidence="estimated",
        ),
        cycles_count=exactly(4.0, "count"),
        drift_ratio=exactly(0.00002, "ratio"),
        range_k=exactly(6.0, "K"),
        wet_bulb_c=exactly(10.0, "degC"),
        latent_heat_0c_j_per_kg=exactly(2_500_000.0, "J/kg"),
        latent_heat_slope_j_per_kg_k=exactly(2_400.0, "J/(kg K)"),
        heat_capacity_j_per_kg_k=exactly(4_200.0, "J/(kg K)"),
    )
