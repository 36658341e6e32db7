"""From ranges of figures to low and high multipliers of a footprint. Runs once per deployment, never per request.

Notes: independent errors are combined in quadrature of their logarithms, per side, low with low and high with high. The
terms of water are added before they are combined (METHODOLOGY.md, "Intervals").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple

from headwater.physics.energy import (
    accelerator_w,
    hard_power_ratio,
    host_share_w,
    it_w,
    limit_w,
    smooth_power_ratio,
    uncapped_ratio,
)
from headwater.physics.rates import UNITY, Rates
from headwater.physics.water import water_l_per_it_kwh
from headwater.records import Deployment, Factor, Method, ReportScheme, Spread

Ratio = tuple[float, float]
"""Low over central and high over central: the first at most one, the second at least one."""

Part = tuple[str, Ratio]
"""One reason for doubt, in words, and its range."""

Told = tuple[Method, bool, bool, bool, bool]
"""A method and its doubts, in the order of `Doubts`: what multipliers are looked up by."""

CERTAIN: Final[Ratio] = (1.0, 1.0)
METHODS: Final[tuple[Method, ...]] = ("observed", "loaded", "paced", "assumed")


class Doubts(NamedTuple):
    """What a request's interval depends on besides its method: what is known of it, and where it leaves the fitted domain."""

    tokens: bool
    """The tokens are known."""
    concurrency: bool
    """The concurrency is measured or configured."""
    small_batch: bool
    """Fewer are in flight than entered the fit."""
    images: bool
    """There are pictures in the prompt."""


def combined(*ratios: Ratio) -> Ratio:
    """Independent ranges together: `exp(-+sqrt(sum of ln^2))` on each side. A low of zero makes the low zero."""
    high = math.exp(math.hypot(*(math.log(high) for _, high in ratios)))
    if any(low == 0 for low, _ in ratios):
        return 0.0, high
    return math.exp(-math.hypot(*(math.log(low) for low, _ in ratios))), high


def without(whole: Ratio, part: Ratio) -> Ratio:
    """What is left of a combined range when one of its independent parts is taken out. A low of zero stays zero."""
    if whole[0] == 0:
        return 0.0, without((1.0, whole[1]), (1.0, part[1]))[1]
    low, high = (
        math.sqrt(max(math.log(of) ** 2 - math.log(taken) ** 2, 0)) for of, taken in zip(whole, part, strict=True)
    )
    return math.exp(-low), math.exp(high)


def around(*, low: float, value: float, high: float) -> Ratio:
    """A range as multiples of its middle. A middle of zero has no multiples: it stays zero."""
    return (low / value, high / value) if value > 0 else CERTAIN


def power_w(deployment: Deployment, *, busy_ratio: float, changed: dict[str, float]) -> float:
    """The deployment's IT power without arithmetic counted, with some figures of the hardware changed."""
    hardware = deployment.hardware
    overhead = hardware.accelerator_overhead_ratio or UNITY
    uncapped = uncapped_ratio(
        static_ratio=changed.get("power_static_ratio", hardware.power_static_ratio.value),
        busy_weight_ratio=changed.get("power_busy_ratio", hardware.power_busy_ratio.value),
        flop_weight_ratio=0,
        busy_ratio=busy_ratio,
        flop_ratio=0,
    )
    power = (
        hard_power_ratio(uncapped_ratio=uncapped)
        if hardware.power_cap_exponent is None
        else smooth_power_ratio(uncapped_ratio=uncapped, power_cap_exponent=hardware.power_cap_exponent.value)
    )
    tdp_w = changed.get("accelerator_tdp_w", hardware.accelerator_tdp_w.value)
    at_limit_w = limit_w(accelerators_count=deployment.accelerators_count, tdp_w=tdp_w)
    return it_w(
        host_share_w=host_share_w(
            host_w=changed.get("host_w", hardware.host_w.value),
            accelerators_count=deployment.accelerators_count,
            server_accelerators_count=hardware.accelerators_count,
        ),
        overhead_ratio=changed.get("accelerator_overhead_ratio", overhead.value),
        accelerator_w=accelerator_w(limit_w=at_limit_w, power_ratio=power),
    )


def hardware_ratio(deployment: Deployment) -> Ratio:
    """How far the hardware's own ranges move its busy power, each figure alone, then together.

    Notes: where the engine was fitted on this very hardware, its band holds the doubt on the power ratios already.
    """
    hardware = deployment.hardware
    ranges = _around_accelerators(deployment) | {"accelerator_tdp_w": hardware.accelerator_tdp_w}
    if hardware.name not in deployment.engine.fitted_hardware:
        ranges |= {
            "power_static_ratio": hardware.power_static_ratio,
            "power_busy_ratio": hardware.power_busy_ratio,
        }
    return _ranges_ratio(deployment, ranges)


def _around_accelerators(deployment: Deployment) -> dict[str, Factor]:
    """The figures of the hardware that lead from the accelerators to the server around them."""
    hardware = deployment.hardware
    return {
        "host_w": hardware.host_w,
        "accelerator_overhead_ratio": hardware.accelerator_overhead_ratio or UNITY,
    }


def _ranges_ratio(deployment: Deployment, ranges: Mapping[str, Factor]) -> Ratio:
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


def outside(deployment: Deployment, method: Method, doubts: Doubts) -> Iterator[tuple[str, Factor]]:
    """The ways in which a request lies outside what its engine was fitted to, each with the doubt that it adds.

    Notes: how far a fit on other hardware, and on larger batches, misses, was measured; METHODOLOGY.md, "Intervals". Below
    the fitted batches a time that was seen holds, so `observed` has no doubt of that kind.
    """
    engine = deployment.engine
    if engine.unseen_hardware_ratio is not None and deployment.hardware.name not in engine.fitted_hardware:
        yield f"{deployment.hardware.name} did not enter the fit", engine.unseen_hardware_ratio
    if engine.small_batch_ratio is not None and doubts.small_batch and method != "observed":
        yield "fewer in flight than entered the fit", engine.small_batch_ratio
    if engine.image_ratio is not None and doubts.images:
        yield "pictures in the prompt", engine.image_ratio


def accelerator_parts(deployment: Deployment, method: Method, doubts: Doubts) -> list[Part]:
    """What the range of the accelerators' energy is made of: the method's band, times the model's own doubt, and one more
    doubt for each way in which the request lies outside the fitted domain."""
    engine, doubt = deployment.engine, deployment.model.uncertainty_ratio
    low, high = engine.band[method]
    guessed = "" if doubt == 1 else f", times {doubt:g} for a model that is a guess"
    return [
        (f"{engine.name}, {method}: {engine.band_source}{guessed}", (low / doubt, high * doubt)),
        *((why, (1 / factor.value, factor.value)) for why, factor in outside(deployment, method, doubts)),
    ]


def it_parts(deployment: Deployment, method: Method, doubts: Doubts) -> list[Part]:
    """What the range of IT energy is made of: that of the accelerators, and the ranges of the hardware around them."""
    parts = [
        *accelerator_parts(deployment, method, doubts),
        ("the ranges of the hardware's powers", hardware_ratio(deployment)),
    ]
    if method != "observed":
        parts.append(("the range of its memory bandwidth", speed_ratio(deployment)))
    if not doubts.tokens:
        parts.append(("tokens unknown: idling to working at the limit", unknown_work_ratio(deployment)))
    if method == "observed" and not doubts.concurrency:
        # A time seen without its concurrency counts as the request's own: it may have been shared among as many as the
        # engine usually has in flight. The band of `assumed` holds its own doubt about that.
        usual_count = deployment.engine.assumed_concurrency_count.value
        parts.append(("concurrency unknown: alone, or among the engine's usual number", (1 / usual_count, 1.0)))
    return parts


def accelerator_ratio(deployment: Deployment, method: Method, doubts: Doubts) -> Ratio:
    """The range of the accelerators' energy under a method."""
    return combined(*(ratio for _, ratio in accelerator_parts(deployment, method, doubts)))


def energy_ratio(deployment: Deployment, method: Method, doubts: Doubts) -> Ratio:
    """The range of IT energy under a method."""
    return combined(*(ratio for _, ratio in it_parts(deployment, method, doubts)))


def metered_parts(deployment: Deployment, scheme: ReportScheme) -> list[Part]:
    """What the range of a reported energy is made of: the doubt on such reports, and what was added to it here."""
    true = scheme.true_ratio
    parts = [(f"{scheme.name}: {true.source}", around(low=true.low, value=true.value, high=true.high))]
    if scheme.boundary == "accelerators":
        ratio = _ranges_ratio(deployment, _around_accelerators(deployment))
        parts.append(("the ranges of the host's power and of the overhead around the accelerators", ratio))
    return parts


def metered_ratio(deployment: Deployment, scheme: ReportScheme) -> Ratio:
    """The range of IT energy where such a report is charged."""
    return combined(*(ratio for _, ratio in metered_parts(deployment, scheme)))


def count_part(count_ratio: float) -> Part:
    """What a count of tokens that was made here, and not by the model's server, adds to the range of IT energy: as if all of it
    went by the tokens."""
    return f"tokens counted here, and off by up to a factor of {count_ratio:.4g}", (1 / count_ratio, count_ratio)


def widened(within: Spread, count_ratio: float) -> Spread:
    """The multipliers of a request whose tokens may be off by a factor; those of its method where they are not."""
    if count_ratio == 1:
        return within
    _, doubt = count_part(count_ratio)
    energy, water, carbon = (
        combined(ratio, doubt)
        for ratio in (
            (within.energy_low, within.energy_high),
            (within.water_low, within.water_high),
            (within.carbon_low, within.carbon_high),
        )
    )
    return _as_spread(energy, water, carbon)


def flat_ratio(flat: Factor) -> Ratio:
    """The range of a factor set's own figure per request; hardware and model have no part in it."""
    return around(low=flat.low, value=flat.value, high=flat.high)


def energy_ratios(deployment: Deployment) -> dict[Told, Ratio]:
    """The range of IT energy per method and doubts: all that a request can ask for, wherever and whenever it is."""
    return {
        (method, *doubts): energy_ratio(deployment, method, doubts)
        for method in METHODS
        for doubts in (Doubts(*told) for told in product((True, False), repeat=len(Doubts._fields)))
    }


def spreads(ratios: Mapping[Told, Ratio], at: Rates) -> dict[Told, Spread]:
    """The multipliers per method and doubts at a place. Once per hour where a series of them is kept, so it is quick."""
    place = place_parts(at)
    return {told: _spread(ratio, place) for told, ratio in ratios.items()}


def place_parts(at: Rates) -> dict[str, Part]:
    """What the place adds to the range of IT energy, by what is disclosed."""
    pue, wue, ewif, grid = at.pue, at.wue_l_per_it_kwh, at.ewif_l_per_kwh, at.grid_g_per_kwh
    water_l = {
        side: water_l_per_it_kwh(
            wue_l_per_it_kwh=getattr(wue, side), pue=getattr(pue, side), ewif_l_per_kwh=getattr(ewif, side)
        )
        for side in ("low", "value", "high")
    }
    carbon = around(low=pue.low * grid.low, value=pue.value * grid.value, high=pue.high * grid.high)
    of_when = "of the hour" if at.is_hourly else "annual, whatever the hour was"
    return {
        "facility_j": ("PUE", around(low=pue.low, value=pue.value, high=pue.high)),
        "water_l": ("WUE + PUE * EWIF", around(**water_l)),
        "carbon_g": (f"PUE * grid ({of_when})", carbon),
    }


def spread_sources(parts: Sequence[Part], at: Rates) -> dict[str, str]:
    """The words for a receipt: what the interval of each amount is made of, so that it can be recomputed."""
    return {amount: words([*parts, part]) for amount, part in place_parts(at).items()}


def words(parts: Sequence[Part]) -> str:
    """How the reasons for doubt make a range, for a receipt."""
    told = "; ".join(f"x{low:.4g} to x{high:.4g} {why}" for why, (low, high) in parts if (low, high) != CERTAIN)
    return (
        f"exp(-sqrt(sum of ln^2)) of the lows and exp(sqrt(sum of ln^2)) of the highs of: {told or 'nothing in doubt'}"
    )


def spread(*, it_ratio: Ratio, at: Rates) -> Spread:
    """The multipliers of energy, water and carbon, from the range of IT energy and those of the place."""
    return _spread(it_ratio, place_parts(at))


def _spread(it_ratio: Ratio, place: Mapping[str, Part]) -> Spread:
    energy, water, carbon = (combined(it_ratio, place[amount][1]) for amount in ("facility_j", "water_l", "carbon_g"))
    return _as_spread(energy, water, carbon)


def _as_spread(energy: Ratio, water: Ratio, carbon: Ratio) -> Spread:
    return Spread(
        energy_low=energy[0],
        energy_high=energy[1],
        water_low=water[0],
        water_high=water[1],
        carbon_low=carbon[0],
        carbon_high=carbon[1],
    )
