"""Where measured joules enter, and how a measured window is shared out: the method `metered`. Reads no hardware itself.

A meter is whatever keeps to `PowerSource`: a reader of the accelerators' energy counters, of a power shelf, of a file. None
is here: which one is right depends on the server, and a wrong one (another job's accelerators, a counter that wrapped) is
worse than an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from headwater.physics.attribution import present_replicas_s, shares, weights_j, window_running
from headwater.physics.replica import Replica
from headwater.records import Attributed, MeasuredWindow, Part


class PowerSource(Protocol):
    """A meter of one deployment.

    Windows follow each other without gap or overlap, oldest first; a second is a good length. Their energy is that of the
    deployment's accelerators (of all its replicas) and, at the boundary `server`, of their part of the host.
    """

    def windows(self) -> Iterator[MeasuredWindow]:
        """The windows that have been measured since last asked; ends where there is none yet."""
        ...


class WrittenPower:
    """A test double of a meter: yields windows that were written down, each once. Also what replays a recorded log."""

    def __init__(self, written: Sequence[MeasuredWindow]) -> None:
        self._left = iter(tuple(written))

    def windows(self) -> Iterator[MeasuredWindow]:
        """The windows that are left, in the order in which they were written."""
        return self._left


def metered(replica: Replica, window: MeasuredWindow, parts: Sequence[Part], *, busy_s: float) -> Attributed:
    """A measured window's IT energy, shared among the requests that were there, and the idle pool.

    `busy_s`: seconds of the window in which any request was in flight. The rest idles at the hardware's idle power, and a
    replica that has no request does too. Measured at the accelerators, the host and the overhead of supplies and fans are
    added by the hardware's figures: the host by time, the overhead in proportion.

    Raises:
        ValueError: a window that takes no time or less than `busy_s`, or an energy that is negative or not finite.
    """
    window_s = window.ended_s - window.started_s
    if not 0 < window_s < math.inf:
        raise ValueError(f"a window from {window.started_s} to {window.ended_s} s takes no time")
    if not 0 <= busy_s <= window_s:
        raise ValueError(f"requests were in flight for {busy_s} s of a window of {window_s} s")
    # Two clocks' reading of one moment may differ in the last digits: nobody was there longer than anybody.
    parts = [replace(part, in_flight_s=busy_s) if part.in_flight_s > busy_s else part for part in parts]
    running = window_running(replica, parts, busy_s=busy_s)
    weights = [(0.0, 0.0)] * len(parts) if running is None else weights_j(replica, running, parts)
    occupied_s = 0.0
    if running is not None:
        # While all that there are wait for one to be taken in, nobody has a part in flight; it is theirs all the same.
        occupied_s = max(present_replicas_s(parts, busy_s=busy_s, replicas_count=replica.replicas_count), busy_s)
    idle_s = window_s * replica.replicas_count - occupied_s
    idle_it_w = idle_share_w(replica)
    if window.boundary == "server":
        it_j, idle_it_j = shares(window.energy_j, [it for _, it in weights], idle_s * idle_it_w)
        return Attributed(it_j=it_j, idle_it_j=idle_it_j)
    overhead_ratio, host_w = replica.derivation.known["overhead_ratio"], replica.host_share_w
    idle_accelerators_w = max(idle_it_w - host_w, 0.0) / overhead_ratio
    own_j, idle_j = shares(window.energy_j, [accelerators for accelerators, _ in weights], idle_s * idle_accelerators_w)
    hosts_j, _ = shares(host_w * occupied_s, [part.in_flight_s for part in parts])
    return Attributed(
        it_j=tuple(host_j + overhead_ratio * part_j for host_j, part_j in zip(hosts_j, own_j, strict=True)),
        idle_it_j=host_w * idle_s + overhead_ratio * idle_j,
    )


def idle_share_w(replica: Replica) -> float:
    """IT power of one replica without work: its part of the server's idle power, by its part of the accelerators."""
    hardware, accelerators_count = replica.deployment.hardware, replica.deployment.accelerators_count
    return hardware.idle_w.value * accelerators_count / hardware.accelerators_count
