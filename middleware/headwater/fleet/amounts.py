"""What a fleet comes to, as records. No arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater.fleet.question import Fleet
from headwater.records import Bounds, Method, Step, WueWord


@dataclass(frozen=True, slots=True, kw_only=True)
class Each:
    """One of many alike: a request, a visit."""

    energy_wh: Bounds
    water_ml: Bounds
    carbon_g: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the hardware can serve by the throughput model, whatever the factor set counts per request."""

    requests: Bounds
    input_tokens: Bounds
    output_tokens: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a fleet comes to. None: not known, and `reasons` says why, by name.

    `requests`: what it serves: by the factor set's own energy per request where it has one, else as `capacity` says.
    `per_request`, `per_visit`: of facility energy, all water, and operational carbon. `per_asked_request`: the whole fleet
    over the requests of all visits; `asked_ratio`: these over `requests`. `embodied_share_kg`: of the making, the part of
    these hours; no part of `carbon_kg`.
    """

    fleet: Fleet
    servers_count: int
    accelerators_count: int
    load_ratio: Bounds
    method: Method | None
    """Of the power at work; None: no model is named, or the servers draw their nameplate."""
    wue_basis: WueWord
    power_kw: Bounds
    it_energy_kwh: Bounds
    facility_energy_kwh: Bounds
    water_onsite_l: Bounds
    water_offsite_l: Bounds
    water_l: Bounds
    carbon_kg: Bounds
    capital_cost: Bounds | None
    currency: str
    embodied_kg: Bounds | None
    embodied_share_kg: Bounds | None
    requests: Bounds | None
    input_tokens: Bounds | None
    output_tokens: Bounds | None
    capacity: Capacity | None
    per_request: Each | None
    per_visit: Each | None
    asked_requests: float | None
    per_asked_request: Each | None
    asked_ratio: Bounds | None
    reasons: Mapping[str, str]
    notes: tuple[str, ...]
    steps: tuple[Step, ...]
