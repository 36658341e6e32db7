"""Quantities over time, in bins: what is spread evenly over a life, and how many are in flight. Knows no physics."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

MOST_BINS: Final = 240
_WIDTHS_S: Final = (
    *(mantissa * scale for scale in (0.001, 0.01, 0.1, 1.0) for mantissa in (1, 2, 5)),
    *(10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 10_800.0, 21_600.0, 43_200.0),
)
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Grid:
    """Bins of one width from second 0 on. The last one ends with the trace."""

    span_s: float
    width_s: float
    bins_count: int

    def lengths_s(self) -> list[float]:
        """Seconds of each bin that the trace covers."""
        last_s = self.span_s - self.width_s * (self.bins_count - 1)
        return [self.width_s] * (self.bins_count - 1) + [last_s if last_s > 0 else self.width_s]


def grid(span_s: float) -> Grid:
    """Bins of a length that people like, not too many of them."""
    width_s = next((width_s for width_s in _WIDTHS_S if span_s <= width_s * MOST_BINS), None)
    if width_s is None:
        width_s = _DAY_S * (1 + span_s // (_DAY_S * MOST_BINS))
    return Grid(span_s, width_s, max(1, -int(-span_s // width_s)))


class Spreading:
    """Amounts, each spread evenly over a stretch of time, summed per bin in constant time per amount.

    Notes: a stretch gives its first and its last bin their parts at once; between them it only raises a slope where it
    begins and lowers it where it ends.
    """

    __slots__ = ("_ends", "_last", "_slopes", "_width_s")

    def __init__(self, at: Grid) -> None:
        self._width_s = at.width_s
        self._last = at.bins_count - 1
        self._ends = array("d", bytes(8 * at.bins_count))
        self._slopes = array("d", bytes(8 * (at.bins_count + 1)))

    def add(self, begin_s: float, end_s: float, amount: float) -> None:
        """Spread an amount over a stretch; one of no length falls into its bin."""
        width_s, last = self._width_s, self._last
        first_bin, last_bin = min(int(begin_s / width_s), last), min(int(end_s / width_s), last)
        if first_bin == last_bin:
            self._ends[first_bin] += amount
            return
        rate = amount / (end_s - begin_s)
        self._ends[first_bin] += rate * ((first_bin + 1) * width_s - begin_s)
        self._ends[last_bin] += rate * (end_s - last_bin * width_s)
        self._slopes[first_bin + 1] += rate
        self._slopes[last_bin] -= rate

    def sums(self) -> list[float]:
        """The amount in each bin."""
        slopes = accumulate(self._slopes)
        return [max(end + slope * self._width_s, 0.0) for end, slope in zip(self._ends, slopes, strict=False)]


def whole(parts: Sequence[float], total: int) -> list[int]:
    """Parts as integers that add up to a total exactly: each is what the running sum grows by."""
    sums = list(accumulate(parts))
    if sums[-1] <= 0:
        return [total, *[0] * (len(sums) - 1)]
    scale = total / sums[-1]
    edges = [0, *(round(value * scale) for value in sums[:-1]), total]
    return [after - before for before, after in pairwise(edges)]


def in_flight(begins_s: Sequence[float], ends_s: Sequence[float], at: Grid) -> tuple[list[float], list[int]]:
    """Per bin, the mean and the largest number of stretches that hold a moment."""
    seconds, peaks = [0.0] * at.bins_count, [0] * at.bins_count
    begins, ends = sorted(begins_s), sorted(ends_s)
    begins.append(float("inf"))
    count = place = entered = 0
    now_s, edge_s, last = 0.0, at.width_s, at.bins_count - 1
    for end_s in ends:
        while True:
            is_begin = begins[entered] < end_s
            event_s = begins[entered] if is_begin else end_s
            while place < last and (edge_s < event_s or (is_begin and edge_s == event_s)):
                seconds[place] += count * (edge_s - now_s)
                now_s, place = edge_s, place + 1
                edge_s = (place + 1) * at.width_s
                peaks[place] = count
            seconds[place] += count * (event_s - now_s)
            now_s = event_s
            if not is_begin:
                break
            entered, count = entered + 1, count + 1
            peaks[place] = max(peaks[place], count)
        count -= 1
    return [area / length_s for area, length_s in zip(seconds, at.lengths_s(), strict=True)], peaks
