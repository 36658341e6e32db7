"""`headwater replay` as a user meets it: tables, JSON, plots, exit codes, words on stderr."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from typer.testing import CliRunner

from headwater.cli import app
from headwater.cli import replay as command
from headwater.cli.estimate import Hydropower
from headwater.drawing import value_ticks
from headwater.replay import chart, scales

TEXT = """timestamp,input_tokens,output_tokens,cached_tokens,user,model
2026-11-02T10:00:00Z,800,300,0,ada,llama-3.1-70b
2026-11-02T10:00:01Z,800,300,400,grace,llama-3.1-70b
2026-11-02T11:30:00Z,100,50,0,ada & <co>,Llama-3.1-8B
"""
MODEL = ("--model", "llama-3.1-70b")


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """A small trace in a file."""
    path = tmp_path / "trace.csv"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def run(*arguments: str, given: str | None = None) -> Any:
    """Run `headwater replay` in this process."""
    return CliRunner().invoke(app, ["replay", *arguments], input=given)


def test_the_table_has_lines_idle_and_total(trace: str) -> None:
    done = run(trace, "--by", "user", "--max-concurrency", "64")

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Replay of trace.csv: 3 requests in 1 h 30 min from 2026-11-02 10:00:00 (UTC)\n")
    assert "Durations are simulated, at most 64 in flight on a replica (method: loaded 3)." in done.stdout
    assert "llama-3.1-8b (bf16) on 1 of the 8 accelerators of hgx-h100, vllm-0.11, at us-average" in done.stdout
    rows = done.stdout.splitlines()
    names = [line.split("  ")[0] for line in rows[rows.index("") + 1 :]]
    assert names[0] == "user"
    assert sorted(names[2:5]) == ["ada", "ada & <co>", "grace"]
    assert names[5] == "(idle)"
    assert names[-1] == "total"
    assert len({line.rindex("  ") for line in done.stdout.splitlines() if line.startswith(("total", "user"))}) <= 2


@pytest.mark.parametrize("by", ["user", "model", "hour"])
def test_json_adds_up_exactly(trace: str, by: str) -> None:
    done = run(trace, "--by", by, "--json", "--replicas", "2")

    document = json.loads(done.stdout)
    for name in ("energy_j", "energy_low_j", "energy_high_j", "it_j", "water_ml", "carbon_g"):
        lines = sum(Decimal(row[name]) for row in document["rows"])
        assert lines == Decimal(document["requests"][name])
        assert lines + Decimal(document["idle"][name]) == Decimal(document["total"][name])
    series = document["series"]
    assert sum(map(Decimal, series["energy_j"])) == Decimal(document["requests"]["energy_j"])
    assert sum(map(Decimal, series["idle_j"])) == Decimal(document["idle"]["energy_j"])
    assert document["trace"]["start"] == "2026-11-02T10:00:00Z"
    assert (document["durations"], document["methods"]) == ("simulated", {"loaded": 3})
    assert {row[by] for row in document["rows"]} == {
        "user": {"ada", "grace", "ada & <co>"},
        "model": {"llama-3.1-70b", "llama-3.1-8b"},
        "hour": {"2026-11-02 10:00", "2026-11-02 11:00"},
    }[by]


def test_options_reach_the_deployment(trace: str) -> None:
    done = run(
        trace, "--json", "--hardware", "dgx-a100", "--accelerators", "4", "--precision", "int8", "--engine", "vllm-0.11",
        "--site", "azure-westus3", "--factors", "seed-2023", "--hydro", "exclude", "--max-concurrency", "7",
    )  # fmt: skip

    document = json.loads(done.stdout)
    found = document["deployments"][0]
    assert (found["hardware"], found["accelerators"], found["precision"]) == ("dgx-a100", 4, "int8")
    assert (found["site"], found["factors"], found["hydro"], found["max_concurrency"]) == (
        "azure-westus3", "seed-2023", "exclude", 7
    )  # fmt: skip
    assert document["idle"] is None
    assert document["methods"] == {"flat": 3}


def test_recorded_durations_and_seconds_since_the_start_from_standard_input() -> None:
    given = "time,input_tokens,output_tokens,latency\n0,800,300,9\n3600,800,300,9\n"

    table = run("-", *MODEL, "--by", "hour", given=given)

    assert table.exit_code == 0, table.output
    assert table.stdout.startswith("Replay of standard input: 2 requests in 1 h\n")
    assert "Durations are the recorded ones (method: observed 2)." in table.stdout
    assert "\nhour 0 " in table.stdout
    assert "\nhour 1 " in table.stdout


@pytest.mark.parametrize("suffix", ["svg", "html", "png"])
def test_plots_are_written_beside_the_table(trace: str, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plot.{suffix}"

    done = run(trace, "--plot", str(path))

    assert done.exit_code == 0, done.output
    assert "total" in done.stdout
    content = path.read_bytes()
    if suffix == "png":
        assert content.startswith(b"\x89PNG")
    elif suffix == "svg":
        words = [node.text or "" for node in Xml.fromstring(content).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 - ours
        assert "facility power, kW" in words
        assert "requests in flight" in words
        assert "10:30" in words
        assert any(word.startswith("3 requests: ") for word in words)
    else:
        text = content.decode()
        assert "<svg" in text
        assert "<td>total</td>" in text
        assert "src=" not in text  # nothing is fetched


def test_names_of_a_trace_are_escaped_in_the_page(trace: str, tmp_path: Path) -> None:
    run(trace, "--by", "user", "--plot", str(tmp_path / "plot.html"))

    assert "ada &amp; &lt;co&gt;" in (tmp_path / "plot.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.csv", *MODEL], "cannot read the trace nowhere.csv: No such file"),
        (["TRACE", "--model", "x", "--site", "atlantis"], "'atlantis' is not in the catalog of sites"),
        (["TRACE", "--hardware", "hgx-h1000"], "close or known: hgx-h100"),
        (["TRACE", "--accelerators", "99"], "99"),
        (["TRACE", "--as", "prod"], "--as 'prod' must be NAME=MODEL"),
        (["TRACE", "--as", "llama-3.1-70b=llama-4"], "'llama-4' is not in the catalog of models"),
        (["TRACE", "--plot", "plot.pdf"], "--plot plot.pdf must end in .png, .svg, .html"),
        (["TRACE", "--plot", "no/such/plot.svg"], "there is no folder"),
        (["TRACE", "--plot", "/dev/full/x.svg"], "there is no folder"),
        (["TRACE", "--by", "week"], "week"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_code_2(trace: str, arguments: list[str], words: str) -> None:
    done = run(*[trace if argument == "TRACE" else argument for argument in arguments])

    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stdout == ""


def test_a_plot_that_cannot_be_written_is_an_error(trace: str, tmp_path: Path) -> None:
    (tmp_path / "plot.svg").mkdir()

    done = run(trace, "--plot", str(tmp_path / "plot.svg"))

    assert done.exit_code == 2
    assert "cannot write the plot" in done.stderr


def test_a_png_without_matplotlib_names_the_remedy(trace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    done = run(trace, "--plot", str(tmp_path / "plot.png"))

    assert done.exit_code == 2
    assert "pip install 'headwater[plot]'" in done.stderr


def test_rows_left_out_are_counted_in_words(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TEXT + "2026-11-02T11:30:00Z,-1,50,0,ada,llama-3.1-8b\n2026-11-02T11:30:00Z,1,5,0,ada,gpt-0\n")

    done = run(str(path), "--skip-bad", "--skip-unknown")

    assert done.exit_code == 0, done.output
    assert "Bad rows left out: 1, like trace.csv, line 5, column 'input_tokens': '-1' is negative." in done.stdout
    assert "Rows left out because the catalog does not have their model: 1." in done.stdout


def test_control_characters_of_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "tra\x1b[31mce\n$x$.jsonl"
    lines = [
        {"time": 0, "input_tokens": 8, "output_tokens": 3, "user": user}
        for user in ("\x1b[2Jeve", "to\ntal", "nul\x00", "tab\t", "rtl\u202e", "\ud800", "\ufffe")
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    plots = [tmp_path / f"plot.{suffix}" for suffix in ("svg", "html", "png")]

    done, *_ = [run(str(path), *MODEL, "--by", "user", "--plot", str(plot)) for plot in plots]
    as_json = run(str(path), *MODEL, "--by", "user", "--json")
    unknown = run(str(path), "--model", "llama-3.1-70b", "--as", "\x1b[2J")

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(r"Replay of tra\x1b[31mce\n$x$.jsonl: 7 requests")
    for shown in (r"\x1b[2Jeve", r"to\ntal", r"nul\x00", r"tab\t", r"rtl\u202e", "\ufffd", r"\ufffe"):
        assert any(line.startswith(shown) for line in done.stdout.splitlines()), shown
    assert all(letter.isprintable() or letter == "\n" for letter in done.stdout + unknown.stderr)
    assert "to\ntal" in {row["user"] for row in json.loads(as_json.stdout)["rows"]}
    Xml.fromstring(plots[0].read_text(encoding="utf-8"))  # noqa: S314 - ours
    assert all(letter.isprintable() or letter == "\n" for letter in plots[1].read_text(encoding="utf-8"))
    assert plots[2].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("latency", "Durations are taken from 'latency' in seconds."),
        ("latency_ms", "Durations are taken from 'latency_ms' in milliseconds."),
    ],
)
def test_the_unit_of_durations_is_said_and_doubted_when_they_last_hours(column: str, words: str) -> None:
    given = f"time,input_tokens,output_tokens,{column}\n0,800,300,4000\n"

    table = run("-", *MODEL, given=given)
    notes = json.loads(run("-", *MODEL, "--json", given=given).stdout)["notes"]

    assert words in table.stdout
    assert words in notes
    assert any("which is implausible" in note for note in notes) == (column == "latency")
    assert "durations are seconds, or milliseconds where" in " ".join(run("--help").stdout.replace("│", " ").split())


def test_doubts_about_model_and_hardware_are_noted(trace: str) -> None:
    small = run(trace, "--accelerators", "1", "--precision", "bf16", "--json")
    tight = run(trace, "--accelerators", "2", "--precision", "bf16", "--json")
    guess = run("-", "--model", "gpt-4o", "--json", given="time,input_tokens,output_tokens\n0,8,3\n")

    notes = json.loads(small.stdout)["notes"]
    assert "llama-3.1-70b: its weights in bf16 (141 GB) do not fit into the memory of 1 of hgx-h100 (80 GB)." in notes
    assert any("do not leave a fifth of the memory of 2" in note for note in json.loads(tight.stdout)["notes"])
    assert any("gpt-4o: its architecture is a guess" in note for note in json.loads(guess.stdout)["notes"])


def test_several_servers_are_called_so(trace: str) -> None:
    done = run(trace, "--accelerators", "16")

    assert "llama-3.1-70b (bf16) on 16 accelerators of 2 servers hgx-h100, vllm-0.11" in done.stdout


def test_an_idle_year_does_not_hide_the_digits_of_a_small_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,input_tokens,output_tokens\n0,80,30\n31536000,80,30\n")

    rows = run(str(path), *MODEL).stdout.splitlines()

    assert "energy Wh" in next(row for row in rows if row.startswith("model  "))
    assert " 0.0" not in next(row for row in rows if row.startswith("llama-3.1-70b  "))


def test_a_trace_that_would_take_decades_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,input_tokens,output_tokens\n0,1,999999999999\n")

    done = run(str(path), *MODEL)

    assert done.exit_code == 2
    assert "would take" in done.stderr


def test_too_little_hardware_is_said(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,input_tokens,output_tokens\n" + "0,800,300\n" * 5)

    done = run(str(path), *MODEL, "--max-concurrency", "1")

    assert "this is too little hardware; see --replicas" in done.stdout
    assert ", after waiting " in done.stdout


def test_help_shows_an_example() -> None:
    done = run("--help")

    assert done.exit_code == 0
    assert "headwater replay trace.csv --model llama-3.1-70b\n" in done.stdout


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path, trace: str) -> None:
    """A real terminal, and a clock that says that the work is long."""
    path = tmp_path / "long.csv"
    path.write_text("time,input_tokens,output_tokens\n" + "".join(f"{row},80,30\n" for row in range(20_000)))
    program = (
        "from headwater.cli import progress; progress._QUIET_S = progress._EVERY_S = 0.0\n"
        "from headwater.cli import main; main()"
    )
    arguments = [sys.executable, "-c", program, "replay", str(path), *MODEL]
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def listen() -> None:
        try:
            while piece := os.read(ours, 4096):
                shown.append(piece)
        except OSError:  # the other side is closed
            pass

    listener = threading.Thread(target=listen)
    listener.start()
    on_terminal = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=120)
    os.close(theirs)
    listener.join()
    os.close(ours)
    in_pipe = subprocess.run(arguments, capture_output=True, check=True, timeout=120)

    words = b"".join(shown).decode()
    assert "headwater: reading: 8,192 rows" in words
    assert "headwater: simulating: 8,192 rows" in words
    assert "headwater: estimating: 16,384 rows" in words
    assert "% " not in words.replace("%, ", "")
    assert words.endswith("\r\033[K")
    assert in_pipe.stderr == b""
    assert on_terminal.stdout == in_pipe.stdout


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0123, "0.0123 s"),
        (4.554, "4.55 s"),
        (60, "1 min"),
        (3506, "58 min 26 s"),
        (7200, "2 h"),
        (183_600, "2 d 3 h"),
    ],
)
def test_lengths_of_time_in_words(seconds: float, words: str) -> None:
    assert scales.length(seconds) == words


@pytest.mark.parametrize(
    ("most", "labels"),
    [
        (0, ["0", "1"]),
        (1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (4.2, ["0", "1", "2", "3", "4", "5"]),
        (256, ["0", "100", "200", "300"]),
        (9_000, ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]),
    ],
)
def test_ticks_are_round_numbers(most: float, labels: list[str]) -> None:
    assert [label for _, label in value_ticks(most)] == labels


@pytest.mark.parametrize(
    ("rows", "title", "label"),
    [
        (["0", "30"], "s since the first arrival", "10"),
        (["0", "1800"], "min since the first arrival", "10"),
        (["0", "36000"], "h since the first arrival", "2"),
        (["2026-11-02T10:00:00", "2026-11-02T10:00:30"], "UTC, 02 Nov 2026", "10:00:10"),
        (["2026-11-02T22:00:00", "2026-11-03T20:00:00"], "UTC, 02 Nov 2026 to 03 Nov 2026", "12:00"),
        (["2026-11-02T22:00:00", "2026-11-05T20:00:00"], "UTC, 02 Nov 2026 to 05 Nov 2026", "04 Nov, 12:00"),
        (["2026-01-02T22:00:00", "2026-11-05T20:00:00"], "UTC, 02 Jan 2026 to 05 Nov 2026", "07 May"),
    ],
)
def test_time_ticks_are_round_times(tmp_path: Path, rows: list[str], title: str, label: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,input_tokens,output_tokens\n" + "".join(f"{row},80,30\n" for row in rows))
    done = run(str(path), *MODEL, "--plot", str(tmp_path / "plot.svg"))

    assert done.exit_code == 0, done.output
    text = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert title in text
    assert f">{label}</text>" in text
    assert text.count('text-anchor="middle"') <= chart._MOST_TIME_TICKS + 3


def test_the_choices_of_options_are_those_of_the_records() -> None:
    from typing import get_args

    from headwater.records import Hydro
    from headwater.replay.accounts import By
    from headwater.replay.columns import TimeUnit

    for choices, words in (
        (Hydropower, Hydro),
        (command.Grouping, By),
        (command.TimeUnitChoice, TimeUnit),
    ):
        assert [choice.value for choice in choices] == list(get_args(words))
