"""Series of hours: read from a file with every mistake named, found by time, repeated over the years, asked of a callable."""

from __future__ import annotations

import io
import math
from array import array
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import hours
from headwater.errors import ConfigError
from headwater.hours import Asked, Hours, moment_s, read
from headwater.records import Hour

HEAD = "time,grid_g_per_kwh,wet_bulb_c\n"
NOON_S = moment_s("2026-07-01T12:00Z")
UNKNOWN = Hour()
QUARTER_S = 900

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file with that text."""

    def made(text: str) -> Path:
        path = tmp_path / "hours.csv"
        path.write_bytes(text.encode())
        return path

    return made


def hour(grid_g_per_kwh: float | None, wet_bulb_c: float | None = None) -> Hour:
    return Hour(grid_g_per_kwh=grid_g_per_kwh, wet_bulb_c=wet_bulb_c)


def series(rows: dict[int, float], *, repeat: bool = False) -> Hours:
    """A series of carbon: quarters of an hour after noon -> value."""
    times_s = array("d", [NOON_S + QUARTER_S * quarter for quarter in rows])
    return Hours(times_s, array("d", rows.values()), array("d", [math.nan] * len(rows)), repeat=repeat)


# --- the file


def test_each_row_stands_until_the_next_and_the_last_one_for_an_hour(write: Write) -> None:
    known = read(write(HEAD + "2026-07-01T12:00Z,200,21.5\n2026-07-01T12:15Z,210.5,\n2026-07-01T13:00Z,,-3\n"))

    assert len(known) == 3
    assert known.at(NOON_S - 0.001) == UNKNOWN
    assert known.at(NOON_S) == known.at(NOON_S + 899.999) == hour(200.0, 21.5)
    assert known.at(NOON_S + 900) == known.at(NOON_S + 3_599.999) == hour(210.5)
    assert known.at(NOON_S + 3_600) == known.at(NOON_S + 7_199.999) == hour(None, -3.0)
    assert known.at(NOON_S + 7_200) == UNKNOWN
    assert (known.begin_s, known.end_s) == (NOON_S, NOON_S + 7_200)


def test_no_row_stands_longer_than_an_hour(write: Write) -> None:
    known = read(write(HEAD + "2026-07-01T12:00Z,200,\n2026-07-01T15:00Z,300,\n"))

    assert known.at(NOON_S + 3_599) == hour(200.0)
    assert known.at(NOON_S + 3_600) == known.at(NOON_S + 3 * 3_600 - 1) == UNKNOWN
    assert known.at(NOON_S + 3 * 3_600) == hour(300.0)


@pytest.mark.parametrize(
    "text",
    [
        "time,grid_g_per_kwh\n2026-07-01T12:00:00Z,200\n",
        "time,carbon_g_per_kwh\n2026-07-01T14:00+02:00,2e2\n",
        "carbon_g_per_kwh,Time\n200,2026-07-01 05:00:00-07:00\n",
        "\ufefftime,grid_g_per_kwh\r\n2026-07-01T12:00Z,200\r\n\r\n\r\n",
        "# from the operator's own meter\ntime,grid_g_per_kwh\n# a note\n\n2026-07-01T12:00Z, 200 \n   \n",
        'time;grid_g_per_kwh\n"2026-07-01T12:00Z";"200"\n',
        "time\tgrid_g_per_kwh\n2026-07-01T12:00Z\t200",
    ],
)
def test_files_are_written_in_many_ways(write: Write, text: str) -> None:
    assert read(write(text)).at(NOON_S) == hour(200.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "2026-07-01T12:00,200,\n", ["line 2", "'2026-07-01T12:00'", "no time zone", "add Z"]),
        (HEAD + "2026-07-01,200,\n", ["line 2", "'2026-07-01'", "no time zone"]),
        ("# one\n" + HEAD + "\nnoon,200,\n", ["line 4", "'noon'", "is no time", "2026-07-01T12:00Z"]),
        (HEAD + "1969-12-31T23:00Z,200,\n", ["line 2", "years 1970"]),
        (HEAD + "9999-12-31T23:59-12:00,200,\n", ["line 2", "9997"]),
        (HEAD + "2026-07-01T12:00Z,200,\n2026-07-01T12:00Z,200,\n", ["line 3", "not after", "sort the rows"]),
        (
            HEAD + "2026-07-01T12:00Z,200,\n2026-07-01T13:30+02:00,1,\n",
            ["line 3", "'2026-07-01T13:30+02:00'", "not after"],
        ),
        (HEAD + "2026-07-01T12:00Z,many,\n", ["line 2, grid_g_per_kwh", "'many'", "no number", "leave the cell empty"]),
        (HEAD + '2026-07-01T12:00Z,"12,5",\n', ["line 2, grid_g_per_kwh", "'12,5'", "no number like 385.2"]),
        (HEAD + "2026-07-01T12:00Z,1_000,\n", ["'1_000'", "no number"]),
        (HEAD + "2026-07-01T12:00Z,nan,\n", ["'nan'", "not finite"]),
        (HEAD + "2026-07-01T12:00Z,-1,\n", ["line 2, grid_g_per_kwh", "'-1'", "negative", "correct it"]),
        (HEAD + "2026-07-01T12:00Z,385000,\n", ["'385000'", "10000 g"]),
        (HEAD + "2026-07-01T12:00Z,,inf\n", ["line 2, wet_bulb_c", "'inf'", "not finite"]),
        (HEAD + "2026-07-01T12:00Z,,60.1\n", ["line 2, wet_bulb_c", "'60.1'", "between -60 and 60"]),
        (HEAD + "2026-07-01T12:00Z,,-61\n", ["'-61'", "between -60 and 60"]),
        (HEAD + "2026-07-01T12:00Z,200\n", ["line 2", "2 cells", "3"]),
        (HEAD + '2026-07-01T12:00Z,200,"\n2026-07-01T13:00Z,200,\n', ["line 2", "no line of CSV"]),
        (HEAD, ["no row under its head"]),
        ("", ["line 1", "must name time"]),
        ("# nothing\n", ["must name time"]),
        ("time\n2026-07-01T12:00Z\n", ["line 1", "'time'", "one or both"]),
        ("grid_g_per_kwh\n200\n", ["line 1", "must name time"]),
        ("time,wetbulb_c\n", ["line 1", "'wetbulb_c'", "did you mean 'wet_bulb_c'?"]),
        ("time,grid_g_per_kwh,price\n", ["'price'", "the columns are time, "]),
        ("time,grid_g_per_kwh,carbon_g_per_kwh\n", ["'carbon_g_per_kwh'", "more than once", "'grid_g_per_kwh'"]),
        (HEAD + "2" * 20_000, ["line 2", "10000 characters", "right file"]),
    ],
)
def test_what_cannot_be_used_is_named_with_file_line_value_and_remedy(
    write: Write, text: str, words: list[str]
) -> None:
    path = write(text)

    with pytest.raises(ConfigError) as caught:
        read(path)

    for word in [str(path), *words]:
        assert word in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"time,grid_g_per_kwh\n\xff\xfe\n")

    with pytest.raises(ConfigError, match=r"cannot read the series of hours .*nowhere\.csv: No such file"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(ConfigError, match=r"binary\.csv is no text in UTF-8"):
        read(tmp_path / "binary.csv")
    with pytest.raises(ConfigError, match="cannot read"):
        read(tmp_path)


def test_more_rows_than_anybody_needs_are_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hours, "MOST_ROWS", 2)
    rows = [f"2026-07-01T1{number}:00Z,200,\n" for number in range(3)]

    assert len(read(write(HEAD + "".join(rows[:2])))) == 2
    with pytest.raises(ConfigError, match=r"line 4: .* one row more than 2"):
        read(write(HEAD + "".join(rows)))


def _read_text(text: str) -> Hours:
    raw = io.BytesIO(text.encode("utf-8", "replace"))
    return hours._Reading(Path("hours.csv")).read(io.TextIOWrapper(raw, encoding="utf-8", newline=""), repeat=False)


# --- finding


ROWS = st.dictionaries(st.integers(0, 60), st.floats(0, 1_000), min_size=1).map(lambda rows: dict(sorted(rows.items())))


@given(ROWS, st.floats(-2 * 3_600, 20 * 3_600))
def test_bisection_finds_what_a_search_of_all_rows_finds(rows: dict[int, float], later_s: float) -> None:
    later_s = (NOON_S + later_s) - NOON_S  # as a moment has it: less than nothing may be nothing
    begun = [(quarter, value) for quarter, value in rows.items() if quarter * QUARTER_S <= later_s]
    found = begun[-1][1] if begun and later_s < begun[-1][0] * QUARTER_S + 3_600 else None

    assert series(rows).at(NOON_S + later_s) == hour(found)


@given(st.lists(st.floats(0, 1_000), min_size=1, max_size=8), st.data())
def test_however_a_series_is_cut_into_rows_of_the_same_values_its_answers_are_the_same(
    values: list[float], data: st.DataObject
) -> None:
    whole = {4 * number: value for number, value in enumerate(values)}
    more = data.draw(st.sets(st.integers(0, 4 * len(values) - 1)))
    cut = {quarter: values[quarter // 4] for quarter in sorted(more | whole.keys())}
    later_s = data.draw(st.integers(-3_600, 3_600 * len(values) - 1))

    assert series(cut).at(NOON_S + later_s) == series(whole).at(NOON_S + later_s)


def _year_of(year: int, *, zone_h: int = 0) -> Hours:
    """A whole year from New Year's in some zone, each hour with the number of its day and hour in UTC."""
    first = datetime(year, 1, 1, tzinfo=UTC) - timedelta(hours=zone_h)
    count = (datetime(year + 1, 1, 1, tzinfo=UTC) - datetime(year, 1, 1, tzinfo=UTC)).days * 24
    moments = [first + timedelta(hours=number) for number in range(count)]
    values = array("d", map(_number, moments))
    return Hours(array("d", [each.timestamp() for each in moments]), values, values, repeat=True)


def _number(moment: datetime) -> float:
    return moment.month * 200.0 + moment.day * 5 + moment.hour / 8


YEARS = {
    "plain": _year_of(2025),
    "leap": _year_of(2024),
    "east": _year_of(2025, zone_h=14),
    "west": _year_of(2024, zone_h=-12),
}


@given(st.integers(0, 14_000_000_000), st.sampled_from(list(YEARS)))
def test_a_repeated_year_answers_for_every_moment_of_any_year(time_s: int, kind: str) -> None:
    moment = datetime.fromtimestamp(time_s, UTC)
    is_missing = (moment.month, moment.day) == (2, 29) and kind in ("plain", "east")
    like = moment.replace(day=28) if is_missing else moment

    assert YEARS[kind].at(time_s).grid_g_per_kwh == _number(like.replace(minute=0))


def test_the_29th_of_february_takes_the_28th_of_a_year_without_one_and_its_own_where_there_is_one() -> None:
    at_s = moment_s("2028-02-29T05:30Z")

    assert YEARS["plain"].at(at_s) == YEARS["plain"].at(moment_s("2025-02-28T05:00Z"))
    assert YEARS["leap"].at(at_s) == YEARS["leap"].at(moment_s("2024-02-29T05:00Z"))


def test_without_repetition_another_year_is_not_known_and_with_it_a_gap_stays_one() -> None:
    next_year_s = moment_s("2027-07-01T12:00Z") - NOON_S

    assert series({0: 1.0}).at(NOON_S + next_year_s) == UNKNOWN
    assert series({0: 1.0}, repeat=True).at(NOON_S + next_year_s) == hour(1.0)
    assert series({0: 1.0, 12: 2.0}, repeat=True).at(NOON_S + next_year_s + 2 * 3_600) == UNKNOWN
    assert series({0: 1.0, 12: 2.0}, repeat=True).at(NOON_S + 2 * 3_600) == UNKNOWN


@given(st.floats(0, 9_000), st.floats(-60, 60), st.integers(0, 10**9))
def test_what_is_written_to_a_file_is_read_from_it(grid: float, wet_bulb: float, later_s: int) -> None:
    moment = datetime.fromtimestamp(NOON_S + later_s, UTC)

    known = _read_text(f"{HEAD}{moment.isoformat()},{grid!r},{wet_bulb!r}\n")

    assert known.at(moment.timestamp()) == hour(grid, wet_bulb)


@given(st.text() | st.text('"#,;\t\r\n 0123456789-+:.TZetimwbulc_grdpkh', max_size=60).map(HEAD.__add__))
def test_any_text_is_a_series_or_refused(text: str) -> None:
    with suppress(ConfigError):
        assert len(_read_text(text)) > 0


# --- the callable


def _asked(answers: Callable[[str, float], Any], file: Hours | None = None) -> tuple[Asked, list[Exception]]:
    failures: list[Exception] = []
    return Asked(answers, "desert", file, failures.append), failures


def test_the_callable_is_asked_once_per_clock_hour() -> None:
    asked_s: list[tuple[str, float]] = []

    def answers(site: str, time_s: float) -> Hour:
        asked_s.append((site, time_s))
        return hour(float(len(asked_s)))

    asked, failures = _asked(answers)

    assert [asked.at(NOON_S + later_s).grid_g_per_kwh for later_s in (0.5, 1, 3_599, 3_600, 7_199)] == [1, 1, 1, 2, 2]
    assert asked_s == [("desert", NOON_S + 0.5), ("desert", NOON_S + 3_600)]
    assert failures == []


def test_the_callable_overrules_the_file_only_where_it_gives_a_value() -> None:
    file = Hours(array("d", [NOON_S]), array("d", [300.0]), array("d", [20.0]))

    assert _asked(lambda site, time_s: hour(100), file)[0].at(NOON_S) == hour(100.0, 20.0)
    assert _asked(lambda site, time_s: hour(None, 5), file)[0].at(NOON_S) == hour(300.0, 5.0)
    assert _asked(lambda site, time_s: None, file)[0].at(NOON_S) == hour(300.0, 20.0)
    assert _asked(lambda site, time_s: None)[0].at(NOON_S) == UNKNOWN


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (200.0, "returned a float; return a headwater.Hour"),
        (Hour(grid_g_per_kwh=-1), "grid_g_per_kwh -1, which is negative"),
        (Hour(wet_bulb_c=100), "wet_bulb_c 100, which is not between"),
        (Hour(grid_g_per_kwh=math.nan), "nan, which is not finite"),
        (Hour(grid_g_per_kwh="200"), "'200', which is no number"),  # type: ignore[arg-type]
        (Hour(wet_bulb_c=True), "True, which is no number"),
    ],
)
def test_what_is_returned_wrongly_is_told_once_an_hour_and_counts_as_nothing(told: object, words: str) -> None:
    file = series({0: 300.0})
    asked, failures = _asked(lambda site, time_s: told, file)

    assert [asked.at(NOON_S), asked.at(NOON_S + 1)] == [hour(300.0)] * 2
    assert len(failures) == 1
    assert isinstance(failures[0], ConfigError)
    assert words in str(failures[0])
    assert "'desert'" in str(failures[0])


def test_what_is_raised_is_told_and_counts_as_nothing() -> None:
    def fails(site: str, time_s: float) -> Hour:
        raise LookupError(site)

    asked, failures = _asked(fails)

    assert [asked.at(NOON_S), asked.at(NOON_S + 1)] == [UNKNOWN] * 2
    assert [type(error) for error in failures] == [LookupError]
