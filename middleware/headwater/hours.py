"""An operator's series: the carbon of the grid and the wet-bulb temperature by time, from a CSV file or a callable.

Reads one file when it is told to; knows no clock, no deployment and no estimate.
"""

from __future__ import annotations

import csv
import math
from array import array
from bisect import bisect_right
from calendar import isleap
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from io import TextIOWrapper
from numbers import Real
from pathlib import Path
from typing import Final, Protocol

from headwater.errors import ConfigError
from headwater.records import Hour
from headwater.units import MOST_G_PER_KWH, MOST_WET_BULB_C, S_PER_H

UNKNOWN_HOUR: Final = Hour()
"""Nothing is known of it: the annual figures stand."""
MOST_ROWS: Final = 2_000_000
_MOST_LINE_CHARACTERS: Final = 10_000
_MOST_SHOWN_CHARACTERS: Final = 80
_EXAMPLE: Final = "2026-07-01T12:00Z"
_FIELDS: Final = {
    "time": "time",
    "grid_g_per_kwh": "grid_g_per_kwh",
    "carbon_g_per_kwh": "grid_g_per_kwh",
    "wet_bulb_c": "wet_bulb_c",
}
"""The columns of a file, and what each holds."""
# Any zone's day of these is one that a calendar has.
_FIRST_S: Final = datetime(1970, 1, 1, tzinfo=UTC).timestamp()
_LAST_S: Final = datetime(9998, 1, 1, tzinfo=UTC).timestamp()

HoursOf = Callable[[str, float], Hour | None]
"""The operator's own: name of a site and seconds since the epoch in, what is known of that hour out. Must return at once."""


class Series(Protocol):
    """What a site's hours can be asked."""

    def at(self, time_s: float) -> Hour:
        """What is known of the hour of that moment, in seconds since the epoch."""
        ...


class Hours:
    """A series in memory. Each row stands from its time to the next row's, an hour at most.

    `times_s` rise; NaN stands for a value that is not known. `repeat`: a moment outside the series takes the latest of
    the series with its month, day and time (UTC), the 28th for a 29th of February that there is not.
    """

    __slots__ = ("_end_s", "_grid_g_per_kwh", "_last_year", "_repeat", "_times_s", "_wet_bulb_c")

    def __init__(
        self, times_s: array[float], grid_g_per_kwh: array[float], wet_bulb_c: array[float], *, repeat: bool = False
    ) -> None:
        self._times_s = times_s
        self._grid_g_per_kwh = grid_g_per_kwh
        self._wet_bulb_c = wet_bulb_c
        self._repeat = repeat
        self._end_s = times_s[-1] + S_PER_H
        self._last_year = datetime.fromtimestamp(self._end_s, UTC).year

    def __len__(self) -> int:
        return len(self._times_s)

    @property
    def begin_s(self) -> float:
        """Where the first row begins."""
        return self._times_s[0]

    @property
    def end_s(self) -> float:
        """Where the last row ends."""
        return self._end_s

    def at(self, time_s: float) -> Hour:
        """What is known of the hour of that moment; nothing before the first row, behind the last and in a gap."""
        if self._repeat and not self._times_s[0] <= time_s < self._end_s:
            time_s = self._in_own_year_s(time_s)
        row = bisect_right(self._times_s, time_s) - 1
        if row < 0 or time_s >= self._times_s[row] + S_PER_H:
            return UNKNOWN_HOUR
        grid_g_per_kwh, wet_bulb_c = self._grid_g_per_kwh[row], self._wet_bulb_c[row]
        # Only NaN is unlike itself.
        return Hour(
            grid_g_per_kwh=grid_g_per_kwh if grid_g_per_kwh == grid_g_per_kwh else None,
            wet_bulb_c=wet_bulb_c if wet_bulb_c == wet_bulb_c else None,
        )

    def _in_own_year_s(self, time_s: float) -> float:
        moment = datetime.fromtimestamp(time_s, UTC)
        moved_s = _in_year_s(moment, self._last_year)
        return moved_s if moved_s < self._end_s else _in_year_s(moment, self._last_year - 1)


def _in_year_s(moment: datetime, year: int) -> float:
    is_missing_day = (moment.month, moment.day) == (2, 29) and not isleap(year)
    return moment.replace(year=year, day=28 if is_missing_day else moment.day).timestamp()


class Asked:
    """A site's hours by the operator's callable, over those of its file where it says nothing.

    It is asked once per clock hour. What it raises or returns wrongly goes to `failed`, and counts as nothing said.
    """

    __slots__ = ("_asked_hour", "_failed", "_file", "_hours_of", "_site", "_told")

    def __init__(self, hours_of: HoursOf, site: str, file: Series | None, failed: Callable[[Exception], None]) -> None:
        self._hours_of = hours_of
        self._site = site
        self._file = file
        self._failed = failed
        self._asked_hour: int | None = None
        self._told = UNKNOWN_HOUR

    def at(self, time_s: float) -> Hour:
        """What is known of the hour of that moment."""
        clock_hour = int(time_s // S_PER_H)
        if clock_hour != self._asked_hour:
            self._asked_hour = clock_hour
            self._told = self._ask(time_s)
        told = self._told
        if self._file is None:
            return told
        below = self._file.at(time_s)
        return Hour(
            grid_g_per_kwh=below.grid_g_per_kwh if told.grid_g_per_kwh is None else told.grid_g_per_kwh,
            wet_bulb_c=below.wet_bulb_c if told.wet_bulb_c is None else told.wet_bulb_c,
        )

    def _ask(self, time_s: float) -> Hour:
        try:
            return _checked(self._hours_of(self._site, time_s), self._site)
        except Exception as error:  # the operator's code; the reply must go on
            self._failed(error)
            return UNKNOWN_HOUR


def _checked(told: object, site: str) -> Hour:
    if told is None:
        return UNKNOWN_HOUR
    if not isinstance(told, Hour):
        raise ConfigError(f"hours({site!r}, ...) returned a {type(told).__name__}; return a headwater.Hour, or None")
    values: dict[str, float] = {}
    for name in ("grid_g_per_kwh", "wet_bulb_c"):
        value: object = getattr(told, name)
        if value is None:
            continue
        number = None if isinstance(value, bool) or not isinstance(value, Real) else float(value)
        why = "is no number" if number is None else refusal(name, number)
        if number is None or why:
            raise ConfigError(f"hours({site!r}, ...) returned {name} {value!r}, which {why}; return None where unknown")
        values[name] = number
    return Hour(**values)


def refusal(field: str, value: float) -> str:
    """Why a value cannot be right, in words; empty where it can."""
    if not math.isfinite(value):
        return "is not finite"
    if field == "wet_bulb_c":
        within = abs(value) <= MOST_WET_BULB_C
        return "" if within else f"is not between -{MOST_WET_BULB_C:g} and {MOST_WET_BULB_C:g} degrees Celsius"
    if value < 0:
        return "is negative"
    return "" if value <= MOST_G_PER_KWH else f"is more than the {MOST_G_PER_KWH:g} g that no electricity reaches"


def moment_s(text: str) -> float:
    """A time with its zone, in seconds since the epoch.

    Raises:
        ValueError: it is no such time; the message has neither value nor place.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"is no time; write it like {_EXAMPLE}") from None
    if moment.tzinfo is None:
        raise ValueError(f"has no time zone; add Z, or what the clock was ahead of UTC, as in {_EXAMPLE} or +02:00")
    time_s = (moment - datetime.fromtimestamp(0, UTC)).total_seconds()
    if not _FIRST_S <= time_s < _LAST_S:
        raise ValueError("is not of the years 1970 to 9997; correct it")
    return time_s


def said(time_s: float) -> str:
    """A moment as people and files write it, in UTC."""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%dT%H:%MZ}"


def read(path: Path, *, repeat: bool = False) -> Hours:
    """The series in a CSV file with the columns `time` and one or both of `grid_g_per_kwh` and `wet_bulb_c`.

    Times have a zone and rise; an empty cell is not known; lines that begin with `#` are comments.

    Raises:
        ConfigError: the file cannot be read or used; names file, line, value and remedy.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            return _Reading(path).read(text, repeat=repeat)
    except OSError as error:
        raise ConfigError(f"cannot read the series of hours {path}: {error.strerror}; correct its name") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8; save it as CSV in UTF-8") from None


class _Reading:
    """One pass over a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0

    def read(self, text: TextIOWrapper, *, repeat: bool) -> Hours:
        lines = self._lines(text)
        head = next(lines, "")
        delimiter = max(",;\t", key=head.count)
        columns = self._columns(self._cells(head, delimiter))
        times_s, grid_g_per_kwh, wet_bulb_c = array("d"), array("d"), array("d")
        at, grid_at, wet_at = (columns.get(name) for name in ("time", "grid_g_per_kwh", "wet_bulb_c"))
        assert at is not None  # noqa: S101 - the head was refused without it
        before_s, before = -math.inf, ""
        for line in lines:
            cells = self._cells(line, delimiter)
            if len(cells) != len(columns):
                raise self._error(line.strip(), f"has {len(cells)} cells, where the head has {len(columns)}")
            try:
                time_s = moment_s(cells[at])
            except ValueError as error:
                raise self._error(cells[at], str(error)) from None
            if time_s <= before_s:
                raise self._error(cells[at], f"is not after {before}, the row before; sort the rows, each time once")
            if len(times_s) == MOST_ROWS:
                raise self._error(cells[at], f"is one row more than {MOST_ROWS}; keep the years that are wanted")
            times_s.append(time_s)
            grid_g_per_kwh.append(self._value("grid_g_per_kwh", cells, grid_at))
            wet_bulb_c.append(self._value("wet_bulb_c", cells, wet_at))
            before_s, before = time_s, cells[at]
        if not times_s:
            raise ConfigError(f"{self._path} has no row under its head; add one for each hour")
        return Hours(times_s, grid_g_per_kwh, wet_bulb_c, repeat=repeat)

    def _lines(self, text: TextIOWrapper) -> Iterator[str]:
        """The lines that say something. Each is bounded: a file without any end of line must not fill the memory."""
        while line := text.readline(_MOST_LINE_CHARACTERS + 1):
            self._line += 1
            if len(line) > _MOST_LINE_CHARACTERS:
                raise self._error(line, f"has more than {_MOST_LINE_CHARACTERS} characters; is this the right file?")
            if line.strip() and not line.lstrip().startswith("#"):
                yield line

    def _cells(self, line: str, delimiter: str) -> list[str]:
        """The cells of a line by itself: a stray quotation mark must not swallow the rest of the file."""
        try:
            cells = next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            raise self._error(line.strip(), f"is no line of CSV ({error}); correct it") from None
        return [cell.strip() for cell in cells]

    def _columns(self, names: Sequence[str]) -> dict[str, int]:
        """Which column holds what."""
        columns: dict[str, int] = {}
        for place, name in enumerate(names):
            field = _FIELDS.get(name.lower())
            if field is None:
                close = get_close_matches(name.lower(), _FIELDS, n=1)
                meant = f"; did you mean {close[0]!r}?" if close else f"; the columns are {', '.join(_FIELDS)}"
                raise self._error(name, f"is no column of a series of hours{meant}")
            if field in columns:
                raise self._error(name, f"is there more than once, as {names[columns[field]]!r}; drop one of them")
            columns[field] = place
        if "time" not in columns or len(columns) == 1:
            raise self._error(",".join(names), "must name time and one or both of grid_g_per_kwh and wet_bulb_c")
        return columns

    def _value(self, field: str, cells: Sequence[str], at: int | None) -> float:
        """The number in a cell; NaN where it is empty or there is none."""
        if at is None or not cells[at]:
            return math.nan
        try:
            # Python reads 1_000 as a thousand; nobody writes that into a file of measurements.
            value = float(cells[at]) if "_" not in cells[at] else None
        except ValueError:
            value = None
        why = "is no number like 385.2" if value is None else refusal(field, value)
        if value is None or why:
            raise self._error(cells[at], f"{why}; correct it, or leave the cell empty where it is not known", field)
        return value

    def _error(self, found: str, why: str, field: str = "") -> ConfigError:
        at = f"{self._path}, line {max(self._line, 1)}{f', {field}' if field else ''}"
        return ConfigError(f"{at}: {found[:_MOST_SHOWN_CHARACTERS]!r} {why}")
