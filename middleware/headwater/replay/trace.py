"""A recorded trace: columns of numbers in the order of arrival. No files, no energy.

Columns are arrays: a row of a long trace takes some 50 bytes, not the kilobyte of a record.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

NOBODY: Final = "anonymous"
"""The user of a row that names none."""
TICK_ROWS: Final = 8_192
"""Progress is told every so many rows."""

Tick = Callable[[int, float], None]
"""Told rows done, and the share of the work that they are (0 to 1; 0 where nobody knows)."""


def no_tick(rows_count: int, done_ratio: float) -> None:
    """Tells nobody."""


@dataclass(slots=True, kw_only=True)
class Trace:
    """Requests in the order of arrival, as columns. `users` and `models` number the names beside them."""

    name: str
    times_s: array[float] = field(default_factory=lambda: array("d"))
    """Arrivals; once sorted, in seconds after the first."""
    origin_s: float = 0.0
    """When the first arrived, in the time of the file."""
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    cached_tokens: array[int] = field(default_factory=lambda: array("q"))
    users: array[int] = field(default_factory=lambda: array("l"))
    models: array[int] = field(default_factory=lambda: array("l"))
    durations_s: array[float] | None = None
    """From arrival to the last token, where it was recorded."""
    duration_columns: list[str] = field(default_factory=list)
    """What gave the durations, with its unit, in words."""
    user_names: list[str] = field(default_factory=list)
    model_names: list[str] = field(default_factory=list)
    """Empty: the row names no model."""
    has_users: bool = False
    is_epoch: bool = True
    """Times are seconds since 1970, not since some start of the file's own."""
    zone_is_missing: bool = False
    bad_count: int = 0
    bad_examples: list[str] = field(default_factory=list)
    _user_numbers: dict[str, int] = field(default_factory=dict)
    _model_numbers: dict[str, int] = field(default_factory=dict)

    def user_number(self, name: str) -> int:
        """The number of a user; a new one for a new name."""
        return _number(name, self._user_numbers, self.user_names)

    def model_number(self, name: str) -> int:
        """The number of a model name; a new one for a new name."""
        return _number(name, self._model_numbers, self.model_names)

    def __len__(self) -> int:
        return len(self.times_s)

    def sort(self) -> None:
        """Into the order of arrival, counted from the first. Rows of the same moment are ordered by what they hold, so that
        the order of the file never matters."""
        times_s = self.times_s
        if not all(map(operator.lt, times_s, islice(times_s, 1, None))):
            order = sorted(range(len(times_s)), key=times_s.__getitem__)
            _order_ties(order, times_s, self._tie)
            for name in ("times_s", "input_tokens", "output_tokens", "cached_tokens", "users", "models", "durations_s"):
                column = getattr(self, name)
                if column is not None:
                    setattr(self, name, array(column.typecode, map(column.__getitem__, order)))
        self.origin_s = self.times_s[0]
        self.times_s = array("d", [at_s - self.origin_s for at_s in self.times_s])

    def _tie(self, row: int) -> tuple[object, ...]:
        durations_s = self.durations_s
        return (
            self.input_tokens[row],
            self.output_tokens[row],
            self.cached_tokens[row],
            self.user_names[self.users[row]],
            self.model_names[self.models[row]],
            0.0 if durations_s is None else durations_s[row],
        )


def _order_ties(order: list[int], times: array[float], tie: Callable[[int], tuple[object, ...]]) -> None:
    begin, size = 0, len(order)
    while begin < size:
        end = begin + 1
        while end < size and times[order[end]] == times[order[begin]]:
            end += 1
        if end - begin > 1:
            order[begin:end] = sorted(order[begin:end], key=tie)
        begin = end


def _number(name: str, numbers: dict[str, int], names: list[str]) -> int:
    number = numbers.get(name)
    if number is None:
        number = numbers[name] = len(names)
        names.append(name)
    return number
