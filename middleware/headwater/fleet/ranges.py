"""Why the amounts of a fleet are not certain: each reason with its range, for physics.intervals to put together.

Notes: each doubtful figure is moved alone, from its low to its high, and what that does to the amount is its range. A server
at work is as doubtful as the energy of a request under the same method, but it draws no less than with idle accelerators and
no more than at their limit. How long a request takes hides in the energy of a request and not in the power of a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from headwater.fleet.formulas import fleet_w
from headwater.physics.intervals import (
    Doubts,
    Part,
    Ratio,
    accelerator_parts,
    around,
    combined,
    flat_ratio,
    hardware_ratio,
    it_parts,
    place_parts,
    power_w,
    speed_ratio,
    unknown_work_ratio,
)
from headwater.physics.rates import Rates
from headwater.records import Deployment, Factor, Method

AMOUNTS: Final[Mapping[str, str]] = {
    "facility_energy_kwh": "kWh",
    "onsite_l": "L",
    "offsite_l": "L",
    "water_l": "L",
    "carbon_kg": "kg",
}
"""What a place adds to the doubt on IT energy, with units."""


def of_factor(what: str, factor: Factor) -> Part:
    """The range of a figure that an amount is proportional to."""
    return what, around(low=factor.low, value=factor.value, high=factor.high)


def inverse(part: Part) -> Part:
    """The range of an amount that falls where this one rises."""
    why, (low, high) = part
    return f"{why}, inverse", (1 / high, 1 / low)


def by_place(rates: Rates) -> dict[str, Part]:
    """What the place adds to the range of IT energy, by amount."""
    parts = place_parts(rates)
    pue, ewif = rates.pue, rates.ewif_l_per_kwh
    electricity = around(low=pue.low * ewif.low, value=pue.value * ewif.value, high=pue.high * ewif.high)
    return {
        "facility_energy_kwh": parts["facility_j"],
        "onsite_l": of_factor("WUE", rates.wue_l_per_it_kwh),
        "offsite_l": ("PUE * EWIF", electricity),
        "water_l": parts["water_l"],
        "carbon_kg": parts["carbon_g"],
    }


def nameplate_parts(server_w: Factor, load: Factor) -> list[Part]:
    """What the range of the power of servers at their nameplate is made of."""
    return [of_factor("the nameplate", server_w), of_factor("load", load)]


def at_work(deployment: Deployment, it_w: float, method: Method | None, doubts: Doubts) -> Part:
    """How far the power of a server at work may lie off. `method`: None where no model is named, so no work is known."""
    hardware = hardware_ratio(deployment)
    if method is None:
        return "a server at work: idle to its limit, and its powers", combined(hardware, unknown_work_ratio(deployment))
    low, high = combined(*(ratio for _, ratio in it_parts(deployment, method, doubts)))
    least_w = power_w(deployment, busy_ratio=0, changed={}) * hardware[0]
    most_w = power_w(deployment, busy_ratio=1, changed={"power_static_ratio": 1.0}) * hardware[1]
    within = max(low, min(least_w / it_w, 1.0)), min(high, max(most_w / it_w, 1.0))
    return f"a server at work: {deployment.engine.name}, {method}, within what it can draw", within


def power_parts(known: Mapping[str, float], work: Part, idle: Factor, load: Factor) -> list[Part]:
    """What the range of the fleet's power is made of."""
    busy_w, idle_w, load_ratio = (known[name] for name in ("busy_server_w", "idle_w", "load_ratio"))

    def drawn(*, busy_server_w: float = busy_w, idle_w: float = idle_w, load_ratio: float = load_ratio) -> float:
        return fleet_w(load_ratio=load_ratio, busy_server_w=busy_server_w, idle_w=idle_w, servers_count=1)

    why, (low, high) = work
    return [
        (why, _moved(lambda ratio: drawn(busy_server_w=busy_w * ratio), low, 1.0, high)),
        ("a server at rest", _moved(lambda watts: drawn(idle_w=watts), idle.low, idle_w, idle.high)),
        ("load", _moved(lambda ratio: drawn(load_ratio=ratio), load.low, load_ratio, load.high)),
    ]


def request_parts(
    known: Mapping[str, float], deployment: Deployment, method: Method, doubts: Doubts, load: Factor
) -> list[Part]:
    """What the range of the IT energy of one request is made of, the idle time of its server included. Not at load 0."""
    busy_w, rest_w, load_ratio, idle = known["busy_server_w"], known["idle_w"], known["load_ratio"], deployment.hardware

    def shared(*, idle_w: float = rest_w, load_ratio: float = load_ratio) -> float:
        drawn_w = fleet_w(load_ratio=load_ratio, busy_server_w=busy_w, idle_w=idle_w, servers_count=1)
        return drawn_w / load_ratio

    return [
        *it_parts(deployment, method, doubts),
        ("a server at rest", _moved(lambda w: shared(idle_w=w), idle.idle_w.low, rest_w, idle.idle_w.high)),
        ("load", _moved(lambda ratio: shared(load_ratio=ratio), load.low, load_ratio, load.high)),
    ]


def capacity_parts(deployment: Deployment, method: Method, doubts: Doubts, load: Factor) -> list[Part]:
    """What the range of the requests that a fleet can serve is made of: their time, and the load."""
    time = [
        *accelerator_parts(deployment, method, doubts),
        ("the range of its memory bandwidth", speed_ratio(deployment)),
    ]
    return [*(inverse(part) for part in time), of_factor("load", load)]


def flat_part(flat: Factor) -> Part:
    """The range of a factor set's own figure per request."""
    return "the factor set's figure per request", flat_ratio(flat)


def _moved(of: Callable[[float], float], low: float, value: float, high: float) -> Ratio:
    middle, ends = of(value), (of(low), of(high))
    return around(low=min(*ends, middle), value=middle, high=max(*ends, middle))
