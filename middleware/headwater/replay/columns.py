"""What the columns of a trace are called, and how their cells are read. Knows names and values; no files, no energy.

References: names as in the Azure LLM inference traces (Patel et al., "Splitwise", ISCA 2024), Vidur (Agrawal et al., MLSys
2024), BurstGPT (Wang et al., arXiv:2401.17644) and Mooncake (Qin et al., FAST 2025), beside those of the chat APIs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from headwater.errors import TraceError
from headwater.printable import encodable
from headwater.units import LONGEST_S, MOST_TOKENS, S_PER_MS

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
Field = Literal["time", "input_tokens", "output_tokens", "cached_tokens", "model", "user", "duration", "duration_ms"]

REQUIRED: Final[tuple[Field, ...]] = ("time", "input_tokens", "output_tokens")
# Compared in lower case, spaces and dashes as underscores.
ALIASES: Final[Mapping[Field, tuple[str, ...]]] = {
    "time": ("timestamp", "time", "arrived_at", "arrival_time"),
    "input_tokens": (
        "contexttokens",
        "context_tokens",
        "input_tokens",
        "prompt_tokens",
        "num_prefill_tokens",
        "request_tokens",
        "input_length",
    ),
    "output_tokens": (
        "generatedtokens",
        "generated_tokens",
        "output_tokens",
        "completion_tokens",
        "num_decode_tokens",
        "response_tokens",
        "output_length",
    ),
    "cached_tokens": ("cached_tokens", "cached_input_tokens"),
    "model": ("model",),
    "user": ("user", "user_id"),
    "duration": ("duration_s", "latency_s", "elapsed_s", "duration", "latency"),
    "duration_ms": ("duration_ms", "latency_ms", "elapsed_ms"),
}
_FIELDS: Final[Mapping[str, Field]] = {alias: field for field, aliases in ALIASES.items() for alias in aliases}
_SECONDS: Final[Mapping[str, float]] = {"s": 1.0, "ms": S_PER_MS, "us": S_PER_MS**2, "ns": S_PER_MS**3}
# No clock of our time, in seconds since 1970, has reached the first; milliseconds passed it in 1973, and so on.
_UNIT_FROM: Final[tuple[tuple[float, TimeUnit], ...]] = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"))
# Numbers below it are seconds since some start; 1e8 s after 1970 is 1973.
_EPOCH_FROM_S: Final = 1e8
# A trace may go on for as long as any after its last arrival, and calendars end with the year 9999.
_LATEST_YEAR: Final = 9900
_LATEST_S: Final = datetime(_LATEST_YEAR, 1, 1, tzinfo=UTC).timestamp()
MOST_NAME_CHARACTERS: Final = 200
"""A longer name is refused: it is a text in the wrong column, not somebody."""
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - subtracted from times without a zone


class BadCellError(ValueError):
    """A cell cannot be read; the message says why, without saying where."""

    def __init__(self, field: Field, value: object, why: str) -> None:
        super().__init__(why)
        self.field, self.value, self.why = field, value, why


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column holds which field; keys are positions in a CSV row, or names in a JSON object."""

    keys: Mapping[Field, str | int]
    names: Mapping[Field, str]
    """As written in the file."""


def layout(columns: Sequence[str], *, by_name: bool) -> Layout:
    """Find the fields among the columns. Raises TraceError where one is missing, or given twice."""
    keys: dict[Field, str | int] = {}
    names: dict[Field, str] = {}
    for position, column in enumerate(columns):
        field = _FIELDS.get(column.strip().lower().replace(" ", "_").replace("-", "_"))
        if field is None:
            continue
        if field in keys:
            raise TraceError(
                f"both {names[field]!r} and {column!r} give the {_words(field)}; rename or drop one of them"
            )
        keys[field], names[field] = column if by_name else position, column
    for field in REQUIRED:
        if field not in keys:
            found = ", ".join(repr(column) for column in columns) or "none"
            raise TraceError(
                f"no column gives the {_words(field)}; the columns are {found}; name it {' or '.join(ALIASES[field])}"
            )
    if "duration" in keys and "duration_ms" in keys:
        raise TraceError(f"both {names['duration']!r} and {names['duration_ms']!r} give the duration; drop one of them")
    return Layout(keys=keys, names=names)


def _words(field: Field) -> str:
    return field.replace("_", " ")


def count(field: Field, raw: object) -> int:
    """A number of tokens: whole, not negative, believable."""
    if type(raw) is str:
        try:
            number: float = int(raw)
        except ValueError:
            number = _number(field, raw)
    elif type(raw) is int:
        number = raw
    else:
        number = _number(field, raw)
    if 0 <= number <= MOST_TOKENS and number == int(number):
        return int(number)
    why = (
        "is negative"
        if number < 0
        else "is more than any model can take"
        if number > MOST_TOKENS
        else "is no whole number"
    )
    raise BadCellError(field, raw, why)


def seconds(field: Field, raw: object) -> float:
    """A length of time: finite, not negative; in the unit of its column."""
    if raw is None or raw == "":
        raise BadCellError(field, raw, "is missing (without the column all durations are simulated)")
    number = _number(field, raw)
    if number < 0:
        raise BadCellError(field, raw, "is negative")
    length_s = number * S_PER_MS if field == "duration_ms" else number
    if length_s > LONGEST_S:
        raise BadCellError(field, raw, f"is longer than {LONGEST_S:g} s, which no request takes")
    return length_s


def name(field: Field, raw: object, nobody: str) -> str:
    """A name of a user or of a model; `nobody` where the cell is empty."""
    if raw is None or raw == "":
        return nobody
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise BadCellError(field, raw, "is no name")
    named = encodable(str(raw))
    if len(named) > MOST_NAME_CHARACTERS:
        raise BadCellError(field, raw, f"is longer than {MOST_NAME_CHARACTERS} characters, so it is no name")
    return named


def _number(field: Field, raw: object) -> float:
    if raw is None or raw == "":
        raise BadCellError(field, raw, "is missing")
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise BadCellError(field, raw, "is no number")
    try:
        number = float(raw)
    except (ValueError, OverflowError):
        raise BadCellError(field, raw, "is no number") from None
    if not math.isfinite(number):
        raise BadCellError(field, raw, "is no finite number")
    return number


class Clock:
    """Reads timestamps to seconds. The first good one decides for all: ISO 8601, or a number and its unit."""

    def __init__(self, unit: TimeUnit = "auto") -> None:
        self.unit: TimeUnit = unit
        self.zone_is_missing = False
        self.is_epoch = True
        """Times are seconds since 1970, not since some start of the file's own."""
        self._reads_text: bool | None = None
        self._unit_s = 1.0

    def seconds(self, raw: object) -> float:
        """Seconds since 1970 or since the file's own start."""
        if self._reads_text is None:
            self._decide(raw)
        if self._reads_text:
            return self._from_text(raw)
        return _in_time(raw, _number("time", raw) * self._unit_s, early="is negative")

    def _from_text(self, raw: object) -> float:
        try:
            moment = datetime.fromisoformat(raw)  # type: ignore[arg-type] # a TypeError is an answer too
        except (TypeError, ValueError):
            raise BadCellError("time", raw, "is missing" if raw in (None, "") else "is no ISO 8601 time") from None
        is_naive = moment.tzinfo is None
        at_s = (moment - _NAIVE_EPOCH).total_seconds() if is_naive else moment.timestamp()
        at_s = _in_time(raw, at_s, early="is before 1970")
        self.zone_is_missing |= is_naive
        return at_s

    def _decide(self, raw: object) -> None:
        try:
            number = _number("time", raw)
        except BadCellError:
            self._from_text(raw)
            self._reads_text = True
            return
        unit = self.unit
        if unit == "auto":
            unit = next((unit for least, unit in _UNIT_FROM if number >= least), "s")
        at_s = _in_time(raw, number * _SECONDS[unit], early="is negative")
        self.unit, self._unit_s = unit, _SECONDS[unit]
        self.is_epoch = at_s >= _EPOCH_FROM_S
        self._reads_text = False


def _in_time(raw: object, at_s: float, *, early: str) -> float:
    """Seconds since 1970, or since a start of the file's own, of a moment that can be."""
    if at_s < 0:
        raise BadCellError("time", raw, early)
    if at_s >= _LATEST_S:
        raise BadCellError("time", raw, f"is not before the year {_LATEST_YEAR}")
    return at_s


def moment(at_s: float) -> datetime:
    """Seconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(at_s, UTC)
