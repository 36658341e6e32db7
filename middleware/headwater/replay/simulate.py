"""When each request of a trace would have run, and among how many: replicas that share their time among those in flight.

Notes: a prompt is taken in as soon as its request is admitted, and stops all decoding on its replica meanwhile
(`Replica.prefill_s`); then every request in flight gains one token per step, and a step takes `Replica.decode_step_s(B)`
with B in flight. So all requests of a replica advance alike, and one counter of steps per replica tells when each ends: at
the counter's value when it entered, plus its output tokens. A heap of these makes N requests cost N log N. An arrival goes
to the replica with the fewest requests; beyond the most that one holds it waits in front, and waiting is no service time.
References: the counter is the virtual time of processor sharing, Kleinrock, "Queueing Systems" volume 2, 1976, chapter 4;
prefill before decode is vLLM's default without chunked prefill (Kwon et al., SOSP 2023, doi:10.1145/3600006.3613165).
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from headwater.physics.replica import Replica
from headwater.records import Mix
from headwater.replay.trace import TICK_ROWS, Tick, Trace, no_tick


@dataclass(slots=True)
class Spans:
    """Stretches of time with so many replicas at work: three columns."""

    begins_s: array[float] = field(default_factory=lambda: array("d"))
    ends_s: array[float] = field(default_factory=lambda: array("d"))
    replicas: array[float] = field(default_factory=lambda: array("d"))

    def add(self, begin_s: float, end_s: float, replicas_count: float) -> None:
        """One stretch; it prolongs the last one where it goes on from there."""
        if self.ends_s and self.ends_s[-1] == begin_s and self.replicas[-1] == replicas_count:
            self.ends_s[-1] = end_s
        elif end_s > begin_s:
            self.begins_s.append(begin_s)
            self.ends_s.append(end_s)
            self.replicas.append(replicas_count)

    def replica_s(self) -> float:
        """Replica-seconds at work."""
        return math.fsum(
            (end_s - begin_s) * count
            for begin_s, end_s, count in zip(self.begins_s, self.ends_s, self.replicas, strict=True)
        )


class Lives:
    """Per row of a trace: from when to when it was served, when its prompt was in, and its part of its time,
    `integral of dt / B(t)`."""

    __slots__ = ("begins_s", "ends_s", "prefills_end_s", "prefills_s", "shared_s")

    def __init__(self, rows_count: int) -> None:
        self.begins_s = array("d", bytes(8 * rows_count))
        self.ends_s = array("d", bytes(8 * rows_count))
        self.shared_s = array("d", bytes(8 * rows_count))
        self.prefills_s = array("d", bytes(8 * rows_count))
        self.prefills_end_s = array("d", bytes(8 * rows_count))


class _Server:
    """One replica at one moment. Moves from event to event; a request in flight is `(steps at which it ends, row)`."""

    __slots__ = (
        "_busy_since_s", "_flight", "_integral_s", "_lives", "_most_count", "_now_s", "_prefilling_until_s", "_spans",
        "_step_s", "_steps", "_waiting", "held_count", "next_end_s",
    )  # fmt: skip

    def __init__(self, step_s: list[float], lives: Lives, spans: Spans) -> None:
        self._step_s = step_s
        self._most_count = len(step_s) - 1
        self._lives, self._spans = lives, spans
        self._flight: list[tuple[float, int]] = []
        self._waiting: deque[tuple[int, float, int]] = deque()
        self._now_s = self._prefilling_until_s = self._busy_since_s = -math.inf
        self._steps = self._integral_s = 0.0
        self.held_count = 0
        """In flight and waiting."""
        self.next_end_s = math.inf

    def arrive(self, row: int, at_s: float, prefill_s: float, output_tokens: int) -> None:
        """Take a request in, or let it wait. All ends before `at_s` have passed."""
        self.held_count += 1
        if len(self._flight) >= self._most_count:
            self._waiting.append((row, prefill_s, output_tokens))
            return
        flight = self._flight
        if flight:
            since_s = at_s - self._now_s
            self._integral_s += since_s / len(flight)
            decoding_s = at_s - self._prefilling_until_s
            if decoding_s > 0:
                self._steps += (since_s if since_s < decoding_s else decoding_s) / self._step_s[len(flight)]
        else:
            self._busy_since_s = at_s
        self._now_s = at_s
        self._admit(row, prefill_s, output_tokens)
        self._look_ahead()

    def end_next(self) -> None:
        """Let the next request end, and those that waited for its place begin."""
        flight, at_s = self._flight, self.next_end_s
        self._integral_s += (at_s - self._now_s) / len(flight)
        self._now_s = at_s
        self._steps, row = heapq.heappop(flight)
        self.held_count -= 1
        lives = self._lives
        lives.ends_s[row] = at_s
        lives.shared_s[row] = self._integral_s - lives.shared_s[row]
        if self._waiting:
            self._admit(*self._waiting.popleft())
        elif not flight:
            self._spans.add(self._busy_since_s, at_s, 1)
        self._look_ahead()

    def _admit(self, row: int, prefill_s: float, output_tokens: int) -> None:
        lives, until_s = self._lives, self._prefilling_until_s
        if until_s < self._now_s:
            until_s = self._now_s
        lives.begins_s[row] = self._now_s
        lives.shared_s[row] = self._integral_s  # until its end, when the difference takes its place
        lives.prefills_s[row] = prefill_s
        lives.prefills_end_s[row] = self._prefilling_until_s = until_s + prefill_s
        heapq.heappush(self._flight, (self._steps + output_tokens, row))

    def _look_ahead(self) -> None:
        flight = self._flight
        if flight:
            from_s = max(self._now_s, self._prefilling_until_s)
            self.next_end_s = from_s + (flight[0][0] - self._steps) * self._step_s[len(flight)]
        else:
            self.next_end_s = math.inf


def simulate(
    replica: Replica,
    mean: Mix,
    trace: Trace,
    rows: Sequence[int],
    lives: Lives,
    *,
    replicas_count: int,
    most_count: int,
    tick: Tick = no_tick,
) -> Spans:
    """Serve these rows (in the order of arrival) and write their lives down. Returns when replicas were at work.

    `mean`: what the requests are like; its context sets the length of a step. `most_count`: most in flight on a replica.
    """
    spans = Spans()
    step_s = [0.0, *(replica.decode_step_s(mean, count) for count in range(1, most_count + 1))]
    servers = [_Server(step_s, lives, spans) for _ in range(replicas_count)]
    fewest = attrgetter("held_count")
    times_s, fresh, cached, made = trace.times_s, trace.input_tokens, trace.cached_tokens, trace.output_tokens
    server = servers[0]
    for number, row in enumerate(rows, 1):
        now_s = times_s[row]
        for server in servers:
            while server.next_end_s <= now_s:
                server.end_next()
        if replicas_count > 1:
            server = min(servers, key=fewest)
        prefill_s = replica.prefill_s(input_tokens=fresh[row], cached_tokens=cached[row])
        server.arrive(row, now_s, prefill_s, made[row])
        if number % TICK_ROWS == 0:
            tick(number, number / len(rows))
    for server in servers:
        while server.next_end_s < math.inf:
            server.end_next()
    return spans


def recorded(
    replica: Replica, trace: Trace, rows: Sequence[int], lives: Lives, *, replicas_count: int, tick: Tick = no_tick
) -> Spans:
    """The lives of these rows (in the order of arrival) as they were recorded. Returns when replicas were at work, were
    the requests spread as evenly as can be."""
    spans = Spans()
    durations_s = trace.durations_s if trace.durations_s is not None else array("d", bytes(8 * len(trace)))
    fresh, cached = trace.input_tokens, trace.cached_tokens
    flight: list[tuple[float, int]] = []
    now_s = -math.inf
    integral_s = 0.0

    def advance(to_s: float) -> None:
        nonlocal now_s, integral_s
        if flight and to_s > now_s:
            integral_s += (to_s - now_s) / len(flight)
            spans.add(now_s, to_s, min(len(flight), replicas_count))
        now_s = to_s

    def end_next() -> None:
        end_s, row = flight[0]
        advance(end_s)
        heapq.heappop(flight)
        lives.shared_s[row] = integral_s - lives.shared_s[row]

    for number, row in enumerate(rows, 1):
        begin_s = trace.times_s[row]
        while flight and flight[0][0] <= begin_s:
            end_next()
        advance(begin_s)
        lives.begins_s[row], lives.ends_s[row] = begin_s, begin_s + durations_s[row]
        lives.shared_s[row] = integral_s
        prefill_s = replica.prefill_s(input_tokens=fresh[row], cached_tokens=cached[row])
        lives.prefills_s[row] = min(prefill_s, durations_s[row])
        lives.prefills_end_s[row] = begin_s + lives.prefills_s[row]
        heapq.heappush(flight, (lives.ends_s[row], row))
        if number % TICK_ROWS == 0:
            tick(number, number / len(rows))
    while flight:
        end_next()
    return spans
