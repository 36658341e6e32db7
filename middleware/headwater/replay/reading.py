"""Read a trace: CSV or JSON Lines, plain or gzipped, from a file or from standard input. Knows lines; computes nothing."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from array import array
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

from headwater.errors import TraceError
from headwater.replay.columns import BadCellError, Clock, Field, Layout, TimeUnit, count, layout, seconds
from headwater.replay.trace import NOBODY, TICK_ROWS, Tick, Trace, no_tick
from headwater.units import MOST_TOKENS

STANDARD_INPUT: Final = "-"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_MOST_EXAMPLES: Final = 3
_MOST_SHOWN_CHARACTERS: Final = 80

Add = Callable[[Any], None]
"""Takes one row's cells (a list by position, or a dict by name) into the columns; Any, because both are indexed alike."""


def read(source: str, *, unit: TimeUnit = "auto", skip_bad: bool = False, tick: Tick = no_tick) -> Trace:
    """The trace in a file, or on standard input (`-`), in the order of arrival.

    Raises:
        TraceError: the file cannot be read, lacks a column, or has a bad row; names file, line, column, value and remedy.
    """
    if source == STANDARD_INPUT:
        return _read(sys.stdin.buffer, Trace(name="standard input"), 0, unit, skip_bad, tick)
    path = Path(source)
    try:
        with path.open("rb") as file:
            return _read(file, Trace(name=path.name), path.stat().st_size, unit, skip_bad, tick)
    except (OSError, EOFError) as error:
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
    trace.sort()
    return trace


class _Reading:
    """One pass over a file."""

    def __init__(self, trace: Trace, clock: Clock, skip_bad: bool) -> None:
        self.trace = trace
        self.clock = clock
        self._skip_bad = skip_bad

    def fill(self, text: io.TextIOWrapper, told: Callable[[int], None]) -> None:
        """Read all rows into the trace."""
        blank_count, first = 0, ""
        for line in text:
            if line.strip():
                first = line
                break
            blank_count += 1
        if first.lstrip().startswith("{"):
            self._fill_objects(chain([first], text), blank_count, told)
        elif first:
            self._fill_cells(first, chain([first], text), blank_count, told)

    def _fill_cells(self, head: str, lines: Iterator[str], blank_count: int, told: Callable[[int], None]) -> None:
        rows = csv.reader(lines, delimiter=max(",;\t", key=head.count))
        columns = self._layout(next(rows), by_name=False)
        add = self._adder(columns)
        for number, cells in enumerate(rows, 1):
            try:
                if cells:
                    add(cells)
            except BadCellError as error:
                self._bad(blank_count + rows.line_num, error, columns)
            except IndexError:
                short = BadCellError("time", ",".join(cells), f"has only {len(cells)} cells")
                self._bad(blank_count + rows.line_num, short, None)
            if number % TICK_ROWS == 0:
                told(number)

    def _fill_objects(self, lines: Iterator[str], blank_count: int, told: Callable[[int], None]) -> None:
        adders: dict[tuple[str, ...], tuple[Layout, Add]] = {}
        for number, line in enumerate(lines, 1):
            if line.isspace():
                continue
            columns = None
            try:
                found = json.loads(line)
                if not isinstance(found, dict):
                    raise BadCellError("time", _short(line), "is no JSON object")
                names = tuple(found)
                if names not in adders:
                    made = self._layout(names, by_name=True)
                    adders[names] = made, self._adder(made)
                columns, add = adders[names]
                add(found)
            except json.JSONDecodeError as error:
                self._bad(blank_count + number, BadCellError("time", _short(line), f"is no JSON ({error.msg})"), None)
            except BadCellError as error:
                self._bad(blank_count + number, error, columns)
            except TraceError as error:
                if not adders:
                    raise
                self._bad(
                    blank_count + number,
                    BadCellError("time", _short(line), f"is unlike the rows before: {error}"),
                    None,
                )
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
            raise TraceError(f"{trace.name}: some rows have a duration and some have none; give it in all or in none")
        return made

    def _adder(self, columns: Layout) -> Add:
        """The function that takes in one row of this layout: every cell first, then the columns grow together."""
        trace, keys, moment_s = self.trace, columns.keys, self.clock.seconds
        at, fresh, made = keys["time"], keys["input_tokens"], keys["output_tokens"]
        cached, user, model = keys.get("cached_tokens"), keys.get("user"), keys.get("model")
        took = keys.get("duration", keys.get("duration_ms"))
        took_field: Field = "duration" if "duration" in keys else "duration_ms"
        durations_s = trace.durations_s if trace.durations_s is not None else array("d")

        def add(cells: Any) -> None:
            time_s = moment_s(cells[at])
            input_tokens = count("input_tokens", cells[fresh])
            output_tokens = count("output_tokens", cells[made])
            if input_tokens + output_tokens > MOST_TOKENS:
                raise BadCellError("output_tokens", cells[made], "is, with the input, more than any model can take")
            cached_tokens = 0 if cached is None else _cached(cells[cached], input_tokens)
            duration_s = 0.0 if took is None else seconds(took_field, cells[took])
            user_name = NOBODY if user is None else str(cells[user] or NOBODY)
            model_name = "" if model is None else str(cells[model] or "")
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
        words = f"{self.trace.name}, line {line}{column}: {error.value!r} {error.why}"
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


def _short(line: str) -> str:
    return line.strip()[:_MOST_SHOWN_CHARACTERS]
