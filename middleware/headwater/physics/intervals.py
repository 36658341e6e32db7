"""From ranges of figures to low and high multipliers of a footprint. Runs once per deployment, never per request.

Notes: independent errors are combined in quadrature of their logarithms, per side, low with low and high with high. The
terms of water are added before they are combined (METHODOLOGY.md, "Intervals").
"""

from __future__ import annotations

import math
from typing import Final

from headwater.physics.energy import host_share_w, power_ratio, server_w
from headwater.physics.rates import UNITY, Rates
from headwater.physics.water import water_l_per_it_kwh
from headwater.records import Deployment, Factor, Method, Spread

Ratio = tuple[float, float]
"""Low over central and high over central: the first at most one, the second at least one."""

CERTAIN: Final[Ratio] = (1.0, 1.0)
METHODS: Final[tuple[Method, ...]] = ("observed", "loaded", "assumed")


def combined(*ratios: Ratio) -> Ratio:
    """Independent ranges together: `exp(-+sqrt(sum of ln^2))` on each side. A low of zero makes the low zero."""
    high = math.exp(math.hypot(*(math.log(high) for _, high in ratios)))
    if any(low == 0 for low, _ in ratios):
        return 0.0, high
    return math.exp(-math.hypot(*(math.log(low) for low, _ in ratios))), high


def around(*, low: float, value: float, high: float) -> Ratio:
    """A range as multiples of its middle. A middle of zero has no multiples: it stays zero."""
    return (low / value, high / value) if value > 0 else CERTAIN


def power_w(deployment: Deployment, *, busy_ratio: float, changed: dict[str, float]) -> float:
    """The deployment's IT power without arithmetic counted, with some figures of the hardware changed."""
    hardware = deployment.hardware
    overhead = hardware.accelerator_overhead_ratio or UNITY
    return server_w(
        host_share_w=host_share_w(
            host_w=changed.get("host_w", hardware.host_w.value),
            accelerators_count=deployment.accelerators_count,
            server_accelerators_count=hardware.accelerators_count,
        ),
        accelerators_count=deployment.accelerators_count,
        tdp_w=changed.get("accelerator_tdp_w", hardware.accelerator_tdp_w.value),
        overhead_ratio=changed.get("accelerator_overhead_ratio", overhead.value),
        power_ratio=power_ratio(
            static_ratio=changed.get("power_static_ratio", hardware.power_static_ratio.value),
            busy_weight_ratio=changed.get("power_busy_ratio", hardware.power_busy_ratio.value),
            flop_weight_ratio=0,
            busy_ratio=busy_ratio,
            flop_ratio=0,
        ),
    )


def hardware_ratio(deployment: Deployment) -> Ratio:
    """How far the hardware's own ranges move its busy power, each figure alone, then together."""
    hardware = deployment.hardware
    ranges: dict[str, Factor] = {
        "host_w": hardware.host_w,
        "accelerator_tdp_w": hardware.accelerator_tdp_w,
        "accelerator_overhead_ratio": hardware.accelerator_overhead_ratio or UNITY,
        "power_static_ratio": hardware.power_static_ratio,
        "power_busy_ratio": hardware.power_busy_ratio,
    }
    middle_w = power_w(deployment, busy_ratio=1, changed={})
    return combined(
        *(
            around(
                low=power_w(deployment, busy_ratio=1, changed={name: factor.low}),
                value=middle_w,
                high=power_w(deployment, busy_ratio=1, changed={name: factor.high}),
            )
            for name, factor in ranges.items()
        )
    )


def speed_ratio(deployment: Deployment) -> Ratio:
    """How far an unsure memory bandwidth moves a computed time, as if all of it were reading."""
    bandwidth = deployment.hardware.memory_bw_bytes_per_s
    return bandwidth.value / bandwidth.high, bandwidth.value / bandwidth.low


def unknown_work_ratio(deployment: Deployment) -> Ratio:
    """Without tokens the accelerators are taken as busy: they may have idled, or run at their limit."""
    return around(
        low=power_w(deployment, busy_ratio=0, changed={}),
        value=power_w(deployment, busy_ratio=1, changed={}),
        high=power_w(deployment, busy_ratio=1, changed={"power_static_ratio": 1.0}),
    )


def energy_ratio(deployment: Deployment, method: Method) -> Ratio:
    """The range of IT energy under a method: its band, times the model's own doubt, with the hardware's ranges."""
    low, high = deployment.engine.band[method]
    doubt = deployment.model.uncertainty_ratio
    timed = CERTAIN if method == "observed" else speed_ratio(deployment)
    return combined((low / doubt, high * doubt), hardware_ratio(deployment), timed)


def flat_ratio(flat: Factor) -> Ratio:
    """The range of a factor set's own figure per request; hardware and model have no part in it."""
    return around(low=flat.low, value=flat.value, high=flat.high)


def spreads(deployment: Deployment, at: Rates) -> dict[tuple[Method, bool, bool], Spread]:
    """The multipliers per method, whether the tokens are known, and whether the concurrency is."""
    work = {True: CERTAIN, False: unknown_work_ratio(deployment)}
    # A time seen without its concurrency counts as the request's own: it may have been shared among as many as the
    # engine usually has in flight. The band of `assumed` holds its own doubt about that.
    shared = (1 / deployment.engine.assumed_concurrency_count.value, 1.0)
    return {
        (method, tokens_known, sure): spread(
            it_ratio=combined(
                energy_ratio(deployment, method),
                work[tokens_known],
                shared if method == "observed" and not sure else CERTAIN,
            ),
            at=at,
        )
        for method in METHODS
        for tokens_known in (True, False)
        for sure in (True, False)
    }


def spread(*, it_ratio: Ratio, at: Rates) -> Spread:
    """The multipliers of energy, water and carbon, from the range of IT energy and those of the place."""
    pue, wue, ewif, grid = at.pue, at.wue_l_per_it_kwh, at.ewif_l_per_kwh, at.grid_g_per_kwh
    water_l = {
        side: water_l_per_it_kwh(
            wue_l_per_it_kwh=getattr(wue, side), pue=getattr(pue, side), ewif_l_per_kwh=getattr(ewif, side)
        )
        for side in ("low", "value", "high")
    }
    energy = combined(it_ratio, around(low=pue.low, value=pue.value, high=pue.high))
    water = combined(it_ratio, around(**water_l))
    carbon = combined(
        it_ratio,
        around(low=pue.low * grid.low, value=pue.value * grid.value, high=pue.high * grid.high),
    )
    return Spread(
        energy_low=energy[0],
        energy_high=energy[1],
        water_low=water[0],
        water_high=water[1],
        carbon_low=carbon[0],
        carbon_high=carbon[1],
    )
