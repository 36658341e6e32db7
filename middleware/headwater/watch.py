"""What is seen of one exchange on the wire: its times, its pace, and the company it had. Knows clocks; no bytes, no money."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Final

from headwater.records import Hour, Observation, Usage
from headwater.serving import Served

FEWEST_GAPS: Final = 8
_MOST_ARRIVALS: Final = 4096  # a median of so many is as good as one of all


class Watch:
    """One exchange, watched from its admission on. All times are seconds on one clock."""

    __slots__ = (
        "_admitted_s", "_arrivals_s", "_entered_integral_s", "_entered_s", "_first_s", "_is_in_flight", "_seen", "_served",
        "waited_s",
    )  # fmt: skip

    def __init__(self, served: Served, admitted_s: float) -> None:
        self._served = served
        self._admitted_s = admitted_s
        self.waited_s = 0.0
        """Time that the client made us wait for it; not charged."""
        self._first_s: float | None = None
        self._entered_s: float | None = None
        self._entered_integral_s = 0.0
        self._is_in_flight = False
        self._seen: Observation | None = None
        self._arrivals_s: deque[float] | None = None

    @property
    def elapsed_s(self) -> float | None:
        """How long it took, as it is charged; None before its end."""
        return None if self._seen is None else self._seen.elapsed_s

    def count_in(self, now_s: float) -> None:
        """The server is at work on it: from now on it counts as in flight, if it did not already."""
        if self._entered_s is None:
            self._entered_s = now_s
            self._entered_integral_s = self._served.load.enter(now_s)
            self._is_in_flight = True

    def count_out(self, now_s: float) -> None:
        """It no longer counts as in flight."""
        if self._is_in_flight:
            self._is_in_flight = False
            self._served.load.leave(now_s)

    def saw_first_byte(self, now_s: float) -> None:
        """The stream has begun; only the first call counts."""
        if self._first_s is None:
            self._first_s = now_s

    def arrivals(self) -> deque[float] | None:
        """Where to note when the chunks of a stream come; None where their pace tells nothing."""
        if self._served.is_paced:
            self._arrivals_s = deque(maxlen=_MOST_ARRIVALS)
        return self._arrivals_s

    def end(self, now_s: float, hour: Hour | None) -> None:
        """The server is done; what follows (the counting of tokens) is not its time. Only the first call counts."""
        if self._seen is None:
            self._seen = self.so_far(now_s, hour)

    def seen(self, now_s: float, hour: Hour | None, usage: Usage) -> Observation:
        """All that was seen until the end, now if `end` was not called before."""
        self.end(now_s, hour)
        assert self._seen is not None  # noqa: S101 - `end` has set it
        return replace(self._seen, mix=self._served.mixture.mix(), itl_s=self._itl_s(usage))

    def so_far(self, now_s: float, hour: Hour | None) -> Observation:
        """What was seen until now."""
        return Observation(
            elapsed_s=max(0.0, now_s - self._admitted_s - self.waited_s),
            ttft_s=None if self._first_s is None else self._first_s - self._admitted_s,
            concurrency_count=self._concurrency(now_s),
            grid_g_per_kwh=None if hour is None else hour.grid_g_per_kwh,
            wet_bulb_c=None if hour is None else hour.wet_bulb_c,
        )

    def _concurrency(self, now_s: float) -> float:
        load = self._served.load
        if self._entered_s is None:  # a stream that never began
            return load.in_flight_count + 1.0
        return load.concurrency(self._entered_integral_s, self._entered_s, now_s)

    def _itl_s(self, usage: Usage) -> float | None:
        """The pace of the tokens, where it tells something and was seen."""
        if self._arrivals_s is None or usage.output_tokens is None:
            return None
        return inter_token_s(self._arrivals_s, usage.output_tokens - (usage.reasoning_tokens or 0))


def inter_token_s(arrivals_s: Sequence[float], tokens_count: int) -> float | None:
    """Median seconds between two tokens, from when the chunks came; None where there are too few to tell.

    A chunk may carry several tokens: the median gap between chunks is divided by their mean number.
    """
    gaps_s = [later - earlier for earlier, later in pairwise(arrivals_s)]
    if len(gaps_s) < FEWEST_GAPS or tokens_count <= 0:
        return None
    seconds = median(gaps_s) * len(arrivals_s) / max(tokens_count, len(arrivals_s))
    return seconds if seconds > 0 else None
