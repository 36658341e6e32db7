"""Result -> sentences: what ran where, where its times come from, and what to be careful about. No numbers of its own."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from headwater import catalog
from headwater.replay.columns import moment
from headwater.replay.run import Deployed, Result
from headwater.replay.scales import length, short

_LONG_S: Final = 3_600
"""A mean duration beyond it is more likely one in milliseconds than one of a request."""


def when(result: Result) -> str:
    """From when, as far as the trace says."""
    if not result.trace.is_epoch:
        return ""
    zone = "UTC, as no zone is given" if result.trace.zone_is_missing else "UTC"
    return f" from {moment(result.trace.origin_s):%Y-%m-%d %H:%M:%S} ({zone})"


def place(one: Deployed) -> str:
    """A deployment in words."""
    made, many = one.deployment, one.deployment.replicas_count
    copies = f", {many} replicas" if many > 1 else ""
    server, count = made.hardware, made.accelerators_count
    if count > server.accelerators_count:
        held = f"{count} accelerators of {count // server.accelerators_count} servers {server.name}"
    else:
        held = f"{count} of the {server.accelerators_count} accelerators of {server.name}"
    return (
        f"{made.model.name} ({made.precision}) on {held}{copies}, {made.engine.name}, at {made.site.name}; factors "
        f"{made.factors.name}, hydro {made.factors.hydro}"
    )


def pace(result: Result) -> str:
    """Where the times come from, and what they are."""
    methods = ", ".join(f"{method} {count:,}" for method, count in sorted(result.methods.items()))
    told = (
        f"Durations are simulated, at most {result.deployed[0].most_count:,} in flight on a replica"
        if result.is_simulated
        else "Durations are the recorded ones"
    )
    waited = f", after waiting {length(result.mean_wait_s)}" if result.most_wait_s > 0 else ""
    return (
        f"{told} (method: {methods or 'none'}). A request takes {length(result.mean_service_s)} on average{waited}; "
        f"{short(Decimal(result.mean_in_flight))} are in flight on average, {result.most_in_flight:,} at most."
    )


def remarks(result: Result) -> list[str]:
    """What is left out, and what to be careful about."""
    trace = result.trace
    said = []
    if trace.bad_count:
        said.append(f"Bad rows left out: {trace.bad_count:,}, like {trace.bad_examples[0]}.")
    if result.unknown_models_count:
        said.append(f"Rows left out because the catalog does not have their model: {result.unknown_models_count:,}.")
    if result.requests.unknown_count:
        said.append(f"Requests without a footprint, which are in no sum of energy: {result.requests.unknown_count:,}.")
    said += _of_durations(result)
    if result.is_simulated and result.most_wait_s > max(result.mean_service_s, 1.0):
        said.append(
            f"Some requests waited {length(result.most_wait_s)}: in rushes this is too little hardware; see --replicas."
        )
    if result.idle is None:
        said.append("Idle servers are not counted: the factor set has a fixed energy per request.")
        return said
    return [
        *said,
        *(f"{doubt}." for one in result.deployed for doubt in catalog.doubts(one.deployment)),
    ]


def _of_durations(result: Result) -> list[str]:
    """In which unit recorded durations were taken."""
    if result.is_simulated:
        return []
    said = [f"Durations are taken from {', '.join(result.trace.duration_columns) or 'the trace, in seconds'}."]
    if result.mean_service_s > _LONG_S:
        said.append(
            f"The mean duration is {length(result.mean_service_s)}, which is implausible; "
            "a column of milliseconds must have a name that ends in _ms, like duration_ms."
        )
    return said
