"""The formulas of a fleet, as functions and as text beside them: see physics.formulas. No figure of its own."""

from __future__ import annotations

from typing import Final

from headwater.physics import carbon, energy
from headwater.physics.formulas import Rule, rule
from headwater.units import G_PER_KG, J_PER_KWH, J_PER_WH, ML_PER_L, S_PER_H, W_PER_KW


def servers_count(*, installed_accelerators_count: float, server_accelerators_count: float) -> float:
    """Whole servers that hold the accelerators."""
    return installed_accelerators_count / server_accelerators_count


def busy_server_w(*, it_w: float, server_accelerators_count: float, accelerators_count: float) -> float:
    """IT power of a whole server at work, from that of a replica."""
    return it_w * server_accelerators_count / accelerators_count


def fleet_w(*, load_ratio: float, busy_server_w: float, idle_w: float, servers_count: float) -> float:
    """Mean IT power: at work for a share of the time, idle for the rest."""
    return (load_ratio * busy_server_w + (1 - load_ratio) * idle_w) * servers_count


def nameplate_w(*, load_ratio: float, server_w: float, servers_count: float) -> float:
    """IT power of servers that draw their nameplate at work, and nothing else."""
    return load_ratio * server_w * servers_count


def it_j(*, fleet_w: float, hours: float) -> float:
    """IT energy of the whole time."""
    return fleet_w * hours * S_PER_H


def in_kw(*, fleet_w: float) -> float:
    """Power as people read it."""
    return fleet_w / W_PER_KW


def in_kwh(*, energy_j: float) -> float:
    """Energy as people read it."""
    return energy_j / J_PER_KWH


def in_kg(*, mass_g: float) -> float:
    """Mass as people read it."""
    return mass_g / G_PER_KG


def capacity_requests_count(
    *, replicas_count: float, concurrency_count: float, elapsed_s: float, load_ratio: float, hours: float
) -> float:
    """Requests that all replicas serve in the time in which they are at work."""
    return replicas_count * concurrency_count / elapsed_s * load_ratio * hours * S_PER_H


def all_tokens_count(*, capacity_requests_count: float, tokens: float) -> float:
    """Tokens of so many mean requests."""
    return capacity_requests_count * tokens


def flat_requests_count(*, it_j: float, flat_it_j_per_request: float) -> float:
    """Requests that the energy is worth where each takes the factor set's own figure."""
    return it_j / flat_it_j_per_request


def capital_cost(*, server_price: float, servers_count: float) -> float:
    """What the servers cost to buy: no building, no network between them, no electricity."""
    return server_price * servers_count


def embodied_kg(*, server_embodied_g: float, servers_count: float) -> float:
    """Emissions of making the servers."""
    return server_embodied_g * servers_count / G_PER_KG


def embodied_share_kg(*, embodied_kg: float, hours: float, lifetime_s: float) -> float:
    """Of the making, the part of these hours: the fleet is there all the time, at work or not."""
    return embodied_kg * hours * S_PER_H / lifetime_s


def each_wh(*, facility_j: float, count: float) -> float:
    """Facility energy of one of many alike."""
    return facility_j / count / J_PER_WH


def each_ml(*, water_l: float, count: float) -> float:
    """Water of one of many alike."""
    return water_l / count * ML_PER_L


def each_g(*, carbon_g: float, count: float) -> float:
    """Emissions of one of many alike."""
    return carbon_g / count


def asked_requests_count(*, visits_count: float, requests_per_visit_count: float) -> float:
    """Requests of all visits."""
    return visits_count * requests_per_visit_count


def asked_ratio(*, asked_requests_count: float, requests_count: float) -> float:
    """Requests of all visits over those that can be served."""
    return asked_requests_count / requests_count


SERVERS_RULES: Final = (rule(servers_count, "installed_accelerators_count / server_accelerators_count", "servers"),)
# A server at work whose work is not known.
HARDWARE_RULES: Final = (
    rule(energy.host_share_w, "host_w * accelerators_count / server_accelerators_count", "W"),
    rule(energy.limit_w, "accelerators_count * tdp_w", "W"),
)
FLEET_RULES: Final = (
    rule(busy_server_w, "it_w * server_accelerators_count / accelerators_count", "W"),
    rule(fleet_w, "(load_ratio * busy_server_w + (1 - load_ratio) * idle_w) * servers_count", "W"),
)
NAMEPLATE_RULES: Final = (rule(nameplate_w, "load_ratio * server_w * servers_count", "W", "fleet_w"),)
ENERGY_RULES: Final = (
    rule(in_kw, "fleet_w / 1000.0", "kW", "power_kw"),
    rule(it_j, "fleet_w * hours * 3600.0", "J"),
    rule(in_kwh, "it_j / 3600000.0", "kWh", "it_energy_kwh", takes={"energy_j": "it_j"}),
)
READABLE_RULES: Final = (
    rule(in_kwh, "facility_j / 3600000.0", "kWh", "facility_energy_kwh", takes={"energy_j": "facility_j"}),
    rule(in_kg, "carbon_g / 1000.0", "kg", "carbon_kg", takes={"mass_g": "carbon_g"}),
)
CAPACITY_RULES: Final = (
    rule(
        capacity_requests_count,
        "replicas_count * concurrency_count / elapsed_s * load_ratio * hours * 3600.0",
        "requests",
    ),
    rule(
        all_tokens_count,
        "capacity_requests_count * input_tokens",
        "tokens",
        "capacity_input_tokens",
        takes={"tokens": "input_tokens"},
    ),
    rule(
        all_tokens_count,
        "capacity_requests_count * output_tokens",
        "tokens",
        "capacity_output_tokens",
        takes={"tokens": "output_tokens"},
    ),
)
FLAT_RULES: Final = (rule(flat_requests_count, "it_j / flat_it_j_per_request", "requests", "requests_count"),)
COST_RULES: Final = (rule(capital_cost, "server_price * servers_count", "", "capital_cost"),)
EMBODIED_RULES: Final = (
    rule(carbon.server_embodied_g, "accelerator_embodied_g * server_accelerators_count + host_embodied_g", "g"),
    rule(embodied_kg, "server_embodied_g * servers_count / 1000.0", "kg"),
    rule(embodied_share_kg, "embodied_kg * hours * 3600.0 / lifetime_s", "kg"),
)
ASKED_RULES: Final = (rule(asked_requests_count, "visits_count * requests_per_visit_count", "requests"),)
SHARE_RULES: Final = (rule(asked_ratio, "asked_requests_count / requests_count", "ratio"),)


def each_rules(what: str, count: str) -> tuple[Rule, ...]:
    """Energy, water and carbon of one of so many (`count`), named `what`_energy_wh and so on."""
    takes = {"count": count}
    return (
        rule(each_wh, f"facility_j / {count} / 3600.0", "Wh", f"{what}_energy_wh", takes=takes),
        rule(each_ml, f"water_l / {count} * 1000.0", "mL", f"{what}_water_ml", takes=takes),
        rule(each_g, f"carbon_g / {count}", "g", f"{what}_carbon_g", takes=takes),
    )
