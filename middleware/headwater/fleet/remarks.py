"""What a careful reader of an answer should be told. Sentences without a full stop; computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from headwater import catalog
from headwater.fleet.amounts import Answer
from headwater.fleet.article import SEED, article_notes
from headwater.units import J_PER_WH, S_PER_H


def remarks(made: Answer) -> Iterator[str]:
    """The remarks on an answer, the articles' contradictions last."""
    fleet, deployment = made.fleet, made.fleet.deployment
    factors, hardware = deployment.factors, deployment.hardware
    if made.accelerators_count != fleet.accelerators:
        yield (
            f"{fleet.accelerators:,} accelerators are no whole servers: counted are {made.accelerators_count:,} in "
            f"{made.servers_count:,} servers"
        )
    life = hardware.lifetime_s
    if life is not None and fleet.hours * S_PER_H > life.value:
        yield (
            f"{fleet.hours:,.0f} h are longer than servers are kept ({life.value / S_PER_H:,.0f} h): making them counts again for "
            "those that replace them"
        )
    server_w, most_w, flat = factors.server_w, hardware.max_w, factors.flat_it_j_per_request
    if server_w is not None and (most_w is None or most_w.value != server_w.value):
        most = "" if most_w is None else f"; {hardware.name} draws at most {most_w.value:,.0f} W"
        yield f"{factors.name} draws {server_w.value:,.0f} W per server, also where it is a {hardware.name}{most}"
    if flat is not None:
        beside = "" if made.capacity is None else "; the throughput model's capacity stands beside it"
        yield (
            f"{factors.name} counts {flat.value / J_PER_WH:g} Wh a request, whatever serves it: its figures cannot say what the "
            f"hardware could do{beside}"
        )
    if fleet.model is not None:
        # Of the throughput model also where the factor set does not count by it: its capacity stands beside.
        yield from catalog.doubts(replace(deployment, factors=replace(factors, flat_it_j_per_request=None)))
    elif server_w is None:
        yield "no model is named: the range of a server at work goes from idling to its limit"
    if made.asked_requests is not None and made.asked_ratio is not None and made.asked_ratio.value > 1:
        yield (
            f"the visits ask for {made.asked_requests:,.0f} requests, {made.asked_ratio.value:.3g} times what the fleet serves"
        )
    if factors.name == SEED:
        yield from article_notes(made.it_energy_kwh.value)
