"""Reading traces: every name of a column, every form of a time, every way in which a file can be wrong."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from headwater.errors import TraceError
from headwater.replay.columns import ALIASES
from headwater.replay.reading import read
from headwater.replay.trace import Trace

HEAD = "timestamp,input_tokens,output_tokens"


def written(folder: Path, text: str, name: str = "trace.csv") -> str:
    """A file with this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def columns(trace: Trace) -> list[list[float]]:
    """The numbers of a trace."""
    return [list(trace.times_s), list(trace.input_tokens), list(trace.output_tokens), list(trace.cached_tokens)]


def test_the_azure_form_is_read(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"

    trace = read(written(tmp_path, text))

    assert list(trace.times_s) == pytest.approx([0, 4.314579], abs=1e-5)
    assert (list(trace.input_tokens), list(trace.output_tokens)) == ([374, 396], [44, 109])
    assert (trace.zone_is_missing, trace.is_epoch, trace.durations_s) == (True, True, None)


@pytest.mark.parametrize("field", ["time", "input_tokens", "output_tokens"])
def test_every_alias_is_understood_in_csv_and_in_json_lines(tmp_path: Path, field: str) -> None:
    for alias in next(aliases for name, aliases in ALIASES.items() if name == field):
        names = {"time": "timestamp", "input_tokens": "input_tokens", "output_tokens": "output_tokens"} | {field: alias}
        csv_text = ",".join(names.values()).upper() + "\n0,8,3\n1.5,9,4\n"
        lines = [dict(zip(names.values(), row, strict=True)) for row in ((0, 8, 3), (1.5, 9, 4))]
        json_text = "\n".join(map(json.dumps, lines))

        from_csv = read(written(tmp_path, csv_text))
        from_json = read(written(tmp_path, json_text, "trace.jsonl"))

        assert columns(from_csv) == columns(from_json) == [[0, 1.5], [8, 9], [3, 4], [0, 0]]


def test_optional_columns_are_read(tmp_path: Path) -> None:
    text = (
        "time;prompt_tokens;completion_tokens;cached_tokens;user;model;latency_ms\n"
        "0;100;5;60;ada;llama-3.1-8b;1500\n1;100;5;;;;20\n"
    )

    trace = read(written(tmp_path, text))

    assert list(trace.cached_tokens) == [60, 0]
    assert [trace.user_names[number] for number in trace.users] == ["ada", "anonymous"]
    assert [trace.model_names[number] for number in trace.models] == ["llama-3.1-8b", ""]
    assert trace.durations_s is not None
    assert list(trace.durations_s) == pytest.approx([1.5, 0.02])


@pytest.mark.parametrize(
    ("first", "second", "is_epoch"),
    [
        ("2026-11-02T10:00:00Z", "2026-11-02T10:00:02.5Z", True),
        ("2026-11-02T12:00:00+02:00", "2026-11-02T10:00:02.5+00:00", True),
        ("2026-11-02 10:00:00", "2026-11-02 10:00:02.500000000", True),
        ("1793613600", "1793613602.5", True),
        ("1793613600000", "1793613602500", True),
        ("1793613600000000", "1793613602500000", True),
        ("1793613600000000000", "1793613602500000000", True),
        ("0", "2.5", False),
    ],
)
def test_every_form_of_time_is_read(tmp_path: Path, first: str, second: str, is_epoch: bool) -> None:
    trace = read(written(tmp_path, f"{HEAD}\n{second},9,4\n{first},8,3\n"))

    assert list(trace.times_s) == pytest.approx([0, 2.5], abs=1e-5)
    assert list(trace.input_tokens) == [8, 9]
    assert trace.is_epoch is is_epoch
    if is_epoch:
        assert trace.origin_s == pytest.approx(1793613600)


def test_milliseconds_since_the_start_are_taken_when_asked_for(tmp_path: Path) -> None:
    trace = read(written(tmp_path, f"{HEAD}\n0,8,3\n2500,9,4\n"), unit="ms")

    assert list(trace.times_s) == [0, 2.5]


def test_gzip_a_byte_order_mark_blank_lines_and_standard_input_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"\ufeff\n{HEAD}\n0,8,3\n\n1,9,4.0\n".encode()
    (tmp_path / "trace.csv.gz").write_bytes(gzip.compress(text))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))

    assert columns(read(str(tmp_path / "trace.csv.gz"))) == columns(read("-")) == [[0, 1], [8, 9], [3, 4], [0, 0]]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("0,-8,3", "line 3, column 'input_tokens': '-8' is negative"),
        ("0,8,nan", "line 3, column 'output_tokens': 'nan' is no finite number"),
        ("0,8,", "line 3, column 'output_tokens': '' is missing"),
        ("0,8.5,3", "line 3, column 'input_tokens': '8.5' is no whole number"),
        ("0,eight,3", "line 3, column 'input_tokens': 'eight' is no number"),
        ("0,1e15,3", "line 3, column 'input_tokens': '1e15' is more than any model can take"),
        ("0,8,999999999999", "line 3, column 'output_tokens': '999999999999' is, with the input, more than any model"),
        ("inf,8,3", "line 3, column 'timestamp': 'inf' is no finite number"),
        ("-1,8,3", "line 3, column 'timestamp': '-1' is negative"),
        ("2026-13-01,8,3", "line 3, column 'timestamp': '2026-13-01' is no number"),
        ("0,8", "line 3: '0,8' has only 2 cells, where the head has 3"),
        ("0,8,3,5", "line 3: '0,8,3,5' has 4 cells, where the head has 3"),
        ("1e308,8,3", "line 3, column 'timestamp': '1e308' is not before the year 9900"),
        (f"0,{'9' * 5_000},3", f"line 3, column 'input_tokens': '{'9' * 37}...{'9' * 38}' is no finite number"),
        ("0,\x1b[2J\x00,3", r"line 3, column 'input_tokens': '\x1b[2J\x00' is no number"),
    ],
)
def test_a_bad_row_is_named_or_counted(tmp_path: Path, cells: str, words: str) -> None:
    path = written(tmp_path, f"{HEAD}\n0,8,3\n{cells}\n1,9,4\n")

    with pytest.raises(TraceError, match="--skip-bad") as raised:
        read(path)
    trace = read(path, skip_bad=True)

    assert f"trace.csv, {words}" in str(raised.value)
    assert (len(trace), trace.bad_count) == (2, 1)
    assert words in trace.bad_examples[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"time": "yesterday", "input_tokens": 8, "output_tokens": 3}', "column 'time': 'yesterday' is no number"),
        ('{"time": null, "input_tokens": 8, "output_tokens": 3}', "column 'time': None is missing"),
        ('{"time": 0, "input_tokens": true, "output_tokens": 3}', "column 'input_tokens': True is no number"),
        ('{"time": 0, "input_tokens": [8], "output_tokens": 3}', "column 'input_tokens': [8] is no number"),
        ('{"time": 0, "input_tokens": 8}', "is unlike the rows before"),
        ("[0, 8, 3]", "is no JSON object"),
        ('{"time": 0', "is no JSON"),
        ('{"time": 0, "input_tokens": 8, "output_tokens": ' + "9" * 5_000 + "}", "has a number of more digits than"),
        ('{"time": 0, "input_tokens": 8, "output_tokens": ' + "9" * 4_000 + "}", "is more than any model can take"),
        ("[" * 100_000, "is nested too deeply"),
        (
            '{"time": 0, "input_tokens": 8, "output_tokens": ' + "[" * 900 + "]" * 900 + "}",
            "[[[[[[[...]]]]]]] is no number",
        ),
    ],
)
def test_a_bad_line_of_json_is_named_or_counted(tmp_path: Path, line: str, words: str) -> None:
    good = '{"time": 0, "input_tokens": 8, "output_tokens": 3}'
    path = written(tmp_path, f"{good}\n{line}\n", "trace.jsonl")

    with pytest.raises(TraceError, match=r"trace\.jsonl, line 2") as raised:
        read(path)

    assert words in str(raised.value)
    assert (len(read(path, skip_bad=True)), read(path, skip_bad=True).bad_count) == (1, 1)


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("0001-01-01T00:00:00+14:00", "is before 1970"),
        ("1969-12-31T23:59:59", "is before 1970"),
        ("9999-12-31T23:59:59", "is not before the year 9900"),
        ("9999-12-31T23:59:59-14:00", "is not before the year 9900"),
    ],
)
def test_a_moment_that_no_calendar_goes_on_from_is_a_bad_cell(tmp_path: Path, moment: str, words: str) -> None:
    path = written(tmp_path, f"{HEAD}\n{moment},8,3\n2026-11-02,8,3\n")

    with pytest.raises(TraceError, match=rf"line 2, column 'timestamp': .* {words}"):
        read(path)

    assert len(read(path, skip_bad=True)) == 1


def test_a_time_that_cannot_be_does_not_choose_the_unit_of_all_others(tmp_path: Path) -> None:
    trace = read(written(tmp_path, f"{HEAD}\n1e308,8,3\n0,8,3\n2,8,3\n"), skip_bad=True)

    assert list(trace.times_s) == [0, 2]


@pytest.mark.parametrize("latency", ["1e300", "1000000001"])
def test_a_duration_of_decades_is_a_bad_cell(tmp_path: Path, latency: str) -> None:
    with pytest.raises(TraceError, match=rf"column 'latency': '{latency}' is longer than 1e\+09 s"):
        read(written(tmp_path, f"{HEAD},latency\n0,8,3,{latency}\n"))


def test_a_trace_of_decades_is_refused_with_its_times(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"goes from 1 s to 2000000000 s, which is more than 1e\+09 s"):
        read(written(tmp_path, f"{HEAD}\n1,8,3\n2e9,8,3\n"))


def test_a_missing_duration_names_both_remedies(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEAD},latency\n0,8,3,1\n1,8,3,\n")

    with pytest.raises(TraceError, match=r"without the column all durations are simulated\).*--skip-bad"):
        read(path)

    assert len(read(path, skip_bad=True)) == 1


@pytest.mark.parametrize("head", ["", f"{HEAD}\n0,8,3\n"])
@pytest.mark.parametrize("piece", ["x", '"\n",'])
def test_a_row_without_end_is_refused_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, piece: str
) -> None:
    """An archive of some kilobytes which unfolds to a row of a hundred megabytes."""
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write(head)
        for _ in range(100):
            file.write(piece * (1_000_000 // len(piece)))
    taken = 0
    whole = gzip.GzipFile.read1

    def counted(self: gzip.GzipFile, size: int = -1) -> bytes:
        nonlocal taken
        found = whole(self, size)
        taken += len(found)
        return found

    monkeypatch.setattr(gzip.GzipFile, "read1", counted)

    with pytest.raises(
        TraceError, match=r"bomb\.csv\.gz.*(the row has more than 1,048,576 characters|no column gives)"
    ):
        read(str(path))

    assert 0 < taken < 3_000_000


@pytest.mark.parametrize("field", ["user", "model"])
def test_a_text_instead_of_a_name_is_a_bad_cell(tmp_path: Path, field: str) -> None:
    good = written(tmp_path, f"{HEAD},{field}\n0,8,3,{'a' * 200}\n")
    long = written(tmp_path, f"{HEAD},{field}\n0,8,3,{'a' * 201}\n", "long.csv")
    line = {"time": 0, "input_tokens": 8, "output_tokens": 3, field: {"id": 1}}
    nested = written(tmp_path, json.dumps(line) + "\n", "nested.jsonl")

    assert len(read(good)) == 1
    with pytest.raises(TraceError, match=f"column '{field}': .* is longer than 200 characters"):
        read(long)
    with pytest.raises(TraceError, match=f"column '{field}': .* is no name"):
        read(nested)


def test_a_user_called_zero_is_somebody_and_lone_surrogates_are_replaced(tmp_path: Path) -> None:
    lines = [{"time": 0, "input_tokens": 8, "output_tokens": 3, "user": user} for user in (0, "a\ud800b", None)]

    trace = read(written(tmp_path, "\n".join(map(json.dumps, lines)), "trace.jsonl"))

    assert sorted(trace.user_names) == ["0", "anonymous", "a\ufffdb"]


def test_a_damaged_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bytearray(gzip.compress(f"{HEAD}\n".encode() * 1_000))
    whole[12:40] = bytes(28)
    (tmp_path / "bad.csv.gz").write_bytes(whole)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(bytes(whole))))

    for source in (str(tmp_path / "bad.csv.gz"), "-"):
        with pytest.raises(TraceError, match="cannot read the trace"):
            read(source)


def test_a_bad_time_among_dates_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="line 3, column 'timestamp': 'noon' is no ISO 8601 time"):
        read(written(tmp_path, f"{HEAD}\n2026-11-02,8,3\nnoon,8,3\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rows"),
        (f"{HEAD}\n", "has no rows"),
        ("when,input_tokens,output_tokens\n0,8,3\n", "no column gives the time; the columns are 'when'"),
        ("time,timestamp,input_tokens,output_tokens\n", "both 'time' and 'timestamp' give the time"),
        (f"{HEAD},latency,latency_ms\n", "both 'latency' and 'latency_ms' give the duration"),
        (f"{HEAD},cached_tokens\n0,8,3,9\n", "column 'cached_tokens': '9' exceeds the 8 input tokens"),
        (f"{HEAD},latency\n0,8,3,-1\n", "column 'latency': '-1' is negative"),
        (f"{HEAD}\n0,\0,3\n" + '"', "is no"),
        ('{"time": 0, "input_tokens": 8}\n', "no column gives the output tokens"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TraceError, match=r"trace\.csv") as raised:
        read(written(tmp_path, text))

    assert words in str(raised.value)


def test_files_that_are_no_text_or_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\xff" * 20)
    (tmp_path / "half.csv.gz").write_bytes(gzip.compress(HEAD.encode() * 1000)[:-20])
    with pytest.raises(TraceError, match="no text in UTF-8"):
        read(str(tmp_path / "bytes.csv"))
    with pytest.raises(TraceError, match="cannot read the trace"):
        read(str(tmp_path / "half.csv.gz"))
    with pytest.raises(TraceError, match="No such file"):
        read(str(tmp_path / "nowhere.csv"))


def test_only_bad_rows_leave_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no rows to replay; 1 were bad, like "):
        read(written(tmp_path, f"{HEAD}\n0,x,3\n"), skip_bad=True)


def test_durations_in_some_rows_only_are_an_error(tmp_path: Path) -> None:
    timed = '{"time": 0, "input_tokens": 8, "output_tokens": 3, "latency": 2}'
    bare = '{"time": 0, "input_tokens": 8, "output_tokens": 3}'

    with pytest.raises(TraceError, match="some rows have a duration and some have none"):
        read(written(tmp_path, f"{timed}\n{bare}\n"))


def test_progress_is_told_with_the_share_that_is_read(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    path = written(tmp_path, f"{HEAD}\n" + "1,8,3\n" * 20_000)

    read(path, tick=lambda rows_count, done_ratio: told.append((rows_count, done_ratio)))

    assert [rows_count for rows_count, _ in told] == [8192, 16384]
    assert 0 < told[0][1] <= told[1][1] <= 1
