"""The records of measured energy: what a meter saw, who was there, and what each had of it. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Boundary = Literal["accelerators", "server"]
"""What a meter measures: the accelerators alone (as their own counters do), or the server at the wall, which is IT energy."""

Scheme = Literal["neuralwatt", "energy-disclosure", "greenpt", "tgi", "x-energy-joules"]
"""Whose way of reporting the energy of an exchange. What is known of each stands in the catalog of reports."""

Verdict = Literal["taken", "contradicted", "slip", "implausible", "unchecked", "estimated"]
"""What became of a report. Charged: `taken`; `contradicted`, its joules were believed, and another figure of its own was
not. Not charged: `slip`, wrong by a factor of 1000; `implausible`; `unchecked`, there was nothing to hold it against;
`estimated`, the upstream does not say that it measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """One request's time on a deployment, as it is seen from outside. Times are seconds on one clock.

    `first_token_s`: None where none was seen, on a reply that is not streamed or that failed. `ended_s`: its last token, or
    the moment when it was given up.
    """

    admitted_s: float
    first_token_s: float | None
    ended_s: float
    input_tokens: float
    cached_tokens: float = 0.0
    images_count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What of one request falls into a window of time. How the request ends is not asked: failed ones were there too.

    `in_flight_s`: seconds of the window from when it was taken in, after any queue, to its last token. `context_tokens`: mean context of the
    output tokens that came in the window. `fresh_tokens`: prompt tokens taken in in the window; `cached_tokens`: those that
    stood before them in the context, out of a cache or taken in by an earlier window. `images_count`: pictures taken in.
    """

    in_flight_s: float
    output_tokens: float = 0.0
    context_tokens: float = 0.0
    fresh_tokens: float = 0.0
    cached_tokens: float = 0.0
    images_count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredWindow:
    """Energy that a meter counted between two moments, for all accelerators of a deployment and nothing else.

    Times are seconds on one clock, the same as that of the parts.
    """

    started_s: float
    ended_s: float
    energy_j: float
    boundary: Boundary


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """A window's IT energy, each joule given to a request or to idling: `sum(it_j) + idle_it_j` is all of it."""

    it_j: tuple[float, ...]
    """One share per part, in their order."""
    idle_it_j: float
    """Nobody's: what passed while no request was in flight. Shared out at a period's close, as a line of its own."""
