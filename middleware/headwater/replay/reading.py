"""Read a trace: CSV or JSON Lines, plain or gzipped, from a file or from standard input. Knows lines; computes nothing.

Nothing in a file is trusted: rows of more than a million characters, names of more than 200, moments and durations that
no calendar holds are refused.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from reprlib import Repr
from typing import Any, BinaryIO, Final

from headwater.errors import TraceError
from headwater.printable import printable
from headwater.replay.columns import BadCellError, Clock, Field, Layout, TimeUnit, count, layout, name, seconds
from headwater.replay.trace import NOBODY, TICK_ROWS, Tick, Trace, no_tick
from headwater.units import LONGEST_S, MOST_TOKENS

STANDARD_INPUT: Final = "-"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_MOST_EXAMPLES: Final = 3
_MOST_SHOWN_CHARACTERS: Final = 80
_MOST_ROW_CHARACTERS: Final = 1 << 20
"""A longer row is refused before it is read: no memory holds what a small archive can unfold to."""
_SHOWN: Final = Repr()
"""How values are shown in errors: not all of them."""
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = _MOST_SHOWN_CHARACTERS

Add = Callable[[Any], None]
"""Takes one row's cells (a list by position, or a dict by name) into the columns; Any, because both are indexed alike."""


def read(source: str, *, unit: TimeUnit = "auto", skip_bad: bool = False, tick: Tick = no_tick) -> Trace:
    """The trace in a file, or on standard input (`-`), in the order of arrival.

    Raises:
        TraceError: the file cannot be read, lacks a column, or has a bad row; names file, line, column, value and remedy.
    """
    path = Path(source)
    try:
        if source == STANDARD_INPUT:
            return _read(sys.stdin.buffer, Trace(name="standard input"), 0, unit, skip_bad, tick)
        with path.open("rb") as file:
            return _read(file, Trace(name=printable(path.name)), path.stat().st_size, unit, skip_bad, tick)
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"cannot read the trace {source}: {getattr(error, 'strerror', None) or error}") from None


def _read(raw: BinaryIO, trace: Trace, size_bytes: int, unit: TimeUnit, skip_bad: bool, tick: Tick) -> Trace:
    peeked = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var] # any stream
    is_gzip = peeked.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    plain: Any = gzip.GzipFile(fileobj=peeked) if is_gzip else peeked
    text = io.TextIOWrapper(plain, encoding="utf-8-sig", newline="")
    reading = _Reading(trace, Clock(unit), skip_bad)

    def told(rows_count: int) -> None:
        tick(rows_count, peeked.tell() / size_bytes if size_bytes else 0.0)

    try:
        reading.fill(text, told)
    except UnicodeDecodeError as error:
        raise TraceError(f"{trace.name} is no text in UTF-8 ({error.reason}); convert it") from None
    except csv.Error as error:
        raise TraceError(f"{trace.name} is no CSV: {error}") from None
    finally:
        text.detach()  # who opened it closes it
    if not len(trace):
        skipped = f"; {trace.bad_count} were bad, like {trace.bad_examples[0]}" if trace.bad_count else ""
        raise TraceError(f"{trace.name} has no rows to replay{skipped}")
    trace.zone_is_missing, trace.is_epoch = reading.clock.zone_is_missing, reading.clock.is_epoch
    trace.has_users = trace.user_names != [NOBODY]
    earliest_s, latest_s = min(trace.times_s), max(trace.times_s)
    if latest_s - earliest_s > LONGEST_S:
        raise TraceError(
            f"{trace.name} goes from {earliest_s:.15g} s to {latest_s:.15g} s, which is more than {LONGEST_S:g} s; "
            "correct its times, or name their unit with --time-unit"
        )
    trace.sort()
    return trace


class _Lines:
    """Lines of a text. Refuses a row that goes on without end, be it a line or cells in quotes over many lines."""

    def __init__(self, text: io.TextIOWrapper, trace_name: str) -> None:
        self._text, self._trace_name = text, trace_name
        self._pushed_back = ""
        self._row_characters = 0
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._pushed_back or self._text.readline(_MOST_ROW_CHARACTERS + 1)
        if not line:
            raise StopIteration
        self._pushed_back = ""
        self.count += 1
        self._row_characters += len(line)
        if self._row_characters > _MOST_ROW_CHARACTERS:
            raise TraceError(
                f"{self._trace_name}, line {self.count}: the row has more than {_MOST_ROW_CHARACTERS:,} characters, "
                "which is no row of a trace; correct the file"
            )
        return line

    def row_ends(self) -> None:
        """The next line is of another row."""
        self._row_characters = 0

    def push_back(self, line: str) -> None:
        """Give the last line once more."""
        self._pushed_back = line
        self.count -= 1
        self._row_characters = 0


class _Reading:
    """One pass over a file."""

    def __init__(self, trace: Trace, clock: Clock, skip_bad: bool) -> None:
        self.trace = trace
        self.clock = clock
        self._skip_bad = skip_bad

    def fill(self, text: io.TextIOWrapper, told: Callable[[int], None]) -> None:
        """Read all rows into the trace."""
        lines = _Lines(text, self.trace.name)
        for line in lines:
            if line.strip():
                lines.push_back(line)
                if line.lstrip().startswith("{"):
                    self._fill_objects(lines, told)
                else:
                    self._fill_cells(line, lines, told)
            lines.row_ends()

    def _fill_cells(self, head: str, lines: _Lines, told: Callable[[int], None]) -> None:
        rows = csv.reader(lines, delimiter=max(",;\t", key=head.count))
        names = next(rows)
        columns, width = self._layout(names, by_name=False), len(names)
        add = self._adder(columns)
        for number, cells in enumerate(rows, 1):
            lines.row_ends()
            try:
                if len(cells) == width:
                    add(cells)
                elif cells:
                    few = "only " if len(cells) < width else ""
                    why = f"has {few}{len(cells)} cells, where the head has {width}"
                    self._bad(lines.count, BadCellError("time", ",".join(cells), why), None)
            except BadCellError as error:
                self._bad(lines.count, error, columns)
            if number % TICK_ROWS == 0:
                told(number)

    def _fill_objects(self, lines: _Lines, told: Callable[[int], None]) -> None:
        adders: dict[tuple[str, ...], tuple[Layout, Add]] = {}
        for number, line in enumerate(lines, 1):
            lines.row_ends()
            if line.isspace():
                continue
            columns = None
            try:
                found = _parsed(line)
                names = tuple(found)
                if names not in adders:
                    made = self._layout(names, by_name=True)
                    adders[names] = made, self._adder(made)
                columns, add = adders[names]
                add(found)
            except BadCellError as error:
                self._bad(lines.count, error, columns)
            except TraceError as error:
                if not adders:
                    raise
                self._bad(lines.count, BadCellError("time", line.strip(), f"is unlike the rows before: {error}"), None)
            if number % TICK_ROWS == 0:
                told(number)

    def _layout(self, names: list[str] | tuple[str, ...], *, by_name: bool) -> Layout:
        trace = self.trace
        try:
            made = layout(names, by_name=by_name)
        except TraceError as error:
            raise TraceError(f"{trace.name}: {error}") from None
        is_timed = bool(made.keys.keys() & {"duration", "duration_ms"})
        if is_timed and not len(trace):
            trace.durations_s = array("d")
        if is_timed != (trace.durations_s is not None):
            raise TraceError(
                f"{trace.name}: some rows have a duration and some have none; give it in all, or in none, and all are simulated"
            )
        return made

    def _adder(self, columns: Layout) -> Add:
        """The function that takes in one row of this layout: every cell first, then the columns grow together."""
        trace, keys, moment_s = self.trace, columns.keys, self.clock.seconds
        at, fresh, made = keys["time"], keys["input_tokens"], keys["output_tokens"]
        cached, user, model = keys.get("cached_tokens"), keys.get("user"), keys.get("model")
        took = keys.get("duration", keys.get("duration_ms"))
        took_field: Field = "duration" if "duration" in keys else "duration_ms"
        if took is not None:
            words = f"{columns.names[took_field]!r} in {'seconds' if took_field == 'duration' else 'milliseconds'}"
            trace.duration_columns += [words] if words not in trace.duration_columns else []
        durations_s = trace.durations_s if trace.durations_s is not None else array("d")

        def add(cells: Any) -> None:
            time_s = moment_s(cells[at])
            input_tokens = count("input_tokens", cells[fresh])
            output_tokens = count("output_tokens", cells[made])
            if input_tokens + output_tokens > MOST_TOKENS:
                raise BadCellError("output_tokens", cells[made], "is, with the input, more than any model can take")
            cached_tokens = 0 if cached is None else _cached(cells[cached], input_tokens)
            duration_s = 0.0 if took is None else seconds(took_field, cells[took])
            user_name = NOBODY if user is None else name("user", cells[user], NOBODY)
            model_name = "" if model is None else name("model", cells[model], "")
            trace.times_s.append(time_s)
            trace.input_tokens.append(input_tokens)
            trace.output_tokens.append(output_tokens)
            trace.cached_tokens.append(cached_tokens)
            trace.users.append(trace.user_number(user_name))
            trace.models.append(trace.model_number(model_name))
            if took is not None:
                durations_s.append(duration_s)

        return add

    def _bad(self, line: int, error: BadCellError, columns: Layout | None) -> None:
        """A row that cannot be read: the end, unless such rows are to be counted and left out."""
        column = "" if columns is None else f", column {columns.names.get(error.field, error.field)!r}"
        words = f"{self.trace.name}, line {line}{column}: {_SHOWN.repr(error.value)} {error.why}"
        if not self._skip_bad:
            raise TraceError(f"{words}; correct it, or leave such rows out with --skip-bad")
        self.trace.bad_count += 1
        if len(self.trace.bad_examples) < _MOST_EXAMPLES:
            self.trace.bad_examples.append(words)


def _cached(raw: object, input_tokens: int) -> int:
    """Cached tokens of a row: none where the cell is empty, and no more than came in."""
    cached_tokens = 0 if raw is None or raw == "" else count("cached_tokens", raw)
    if cached_tokens > input_tokens:
        raise BadCellError("cached_tokens", raw, f"exceeds the {input_tokens} input tokens")
    return cached_tokens


def _parsed(line: str) -> dict[str, Any]:
    """The object in a line. Raises BadCellError where there is none."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadCellError("time", line.strip(), f"is no JSON ({error.msg})") from None
    except ValueError:
        raise BadCellError("time", line.strip(), "has a number of more digits than any has") from None
    except RecursionError:
        raise BadCellError("time", line.strip(), "is nested too deeply") from None
    if not isinstance(found, dict):
        raise BadCellError("time", line.strip(), "is no JSON object")
    return found
