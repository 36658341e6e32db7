"""The command line as a user meets it: exit codes, words on stderr, machine-readable output on stdout; processes and signals."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from headwater import __version__, catalog, config
from headwater.demo import server
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from tests.asgi import CHAT, STREAM_WITH_USAGE, call, json_app, reply, request, stream_app
from tests.command import run, run_process


async def _charged(meter: Meter, key: str) -> str:
    seen = await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key)
    assert meter.ledger.flush(10.0)
    return seen.headers["headwater-id"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["demo", "serve", "report", "explain", "estimate", "compare", "vocab"]),
        (["demo"], ["--once", "--port", "headwater demo --once"]),
        (["serve"], ["--upstream", "--workers", "headwater serve --upstream http://127.0.0.1:8000"]),
        (["report"], ["--month", "--format", "headwater report --month 2026-11 --format csv"]),
        (
            ["recompute"],
            ["--factors", "--hydro", "--format", "headwater recompute --month 2026-11 --factors seed-2023\n"],
        ),
        (["export"], ["--to", "--format", "--follow", "--status", "headwater export --to ./charges\n"]),
        (["audit"], ["--month", "--day", "--from", "headwater audit --month 2026-11 --from ./charges"]),
        (["explain"], ["--json", "headwater explain 01K9Z3M6V9R2W0Y8C4S1T7B5QH"]),
        (["estimate"], ["--input", "--hosted", "--json", "headwater estimate llama-3.1-70b --input 800 --output 300"]),
        (["compare"], ["--models", "--by", "--plot", "--factors seed-2023,current-2026.11"]),
        (["fleet"], ["--accelerators", "--load", "--plot", "headwater fleet --factors seed-2023 --visits 600000000"]),
        (["vocab", "install"], ["headwater vocab install"]),
    ],
)
def test_help_names_the_options_and_shows_an_example(command: list[str], words: list[str]) -> None:
    done = run(*command, "--help")

    assert done.returncode == 0
    for word in words:
        assert word in done.stdout


def test_the_version() -> None:
    assert run_process("--version").stdout == f"headwater {__version__}\n"


ASKED = ("--input", "800", "--output", "300")


def test_an_estimate_is_a_row_per_model_in_the_order_given_under_what_was_assumed() -> None:
    done = run("estimate", "llama-3.1-70b", "llama-3.1-8b", *ASKED, "--cached", "500", "--site", "azure-westus3")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    head, table = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert head[0] == "request     800 tokens in (500 cached), 300 out"
    for words in ("hgx-h100, vllm-0.11", "azure-westus3", "current-2026.11", "the engine's usual number"):
        assert words in "\n".join(head)
    assert table[0].split()[0] == "model"
    for unit in ("energy Wh", "water mL", "CO2e g", "(low to high)"):
        assert unit in table[0]
    assert [row.split()[0] for row in table[2:]] == ["llama-3.1-70b", "llama-3.1-8b"]
    assert len({len(line) for line in table}) == 1
    assert all(row.endswith("assumed") for row in table[2:])


def test_an_estimate_shows_no_more_digits_than_its_interval_deserves() -> None:
    done = run("estimate", "llama-3.1-70b", *ASKED)
    as_json = run("estimate", "llama-3.1-70b", *ASKED, "--json")

    row = done.stdout.splitlines()[-1]
    energy, low, high = re.findall(r"(?<=\s|\()[0-9.]+(?=\s|\))", row)[1:4]
    made = json.loads(as_json.stdout)["estimates"][0]
    for shown, exact_j in zip((energy, low, high), (made["energy_j"], *made["energy_j_range"]), strict=True):
        assert len(shown.replace(".", "").lstrip("0")) == 2
        assert float(shown) == pytest.approx(exact_j / 3600, rel=0.06)


def test_an_estimate_as_json_has_all_numbers_and_what_was_assumed() -> None:
    done = run(
        "estimate", "llama-3.1-70b", "llama-3.1-8b", *ASKED, "--concurrency", "32", "--precision", "fp8", "--json"
    )

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    first, second = document["estimates"]
    assert (first["model"], second["model"]) == ("llama-3.1-70b", "llama-3.1-8b")
    assert (first["method"], first["concurrency"]) == ("loaded", 32)
    assert first["tokens"] == {"input": 800, "cached": None, "output": 300}
    for name in ("energy_j", "water_l", "carbon_g"):
        low, high = first[f"{name}_range"]
        assert low < first[name] < high
    assert first["water_l"] == pytest.approx(first["water_onsite_l"] + first["water_offsite_l"])
    assert first["deployment"].items() >= {"hardware": "hgx-h100", "precision": "fp8", "hosting": "own"}.items()
    assert isinstance(first["warnings"], list)
    assert "derivation" not in first


def test_an_estimate_takes_everything_that_is_known_of_the_server() -> None:
    options = "--hosted --itl-ms 25 --images 1 --accelerators 4 --replicas 2 --hydro exclude --engine vllm-0.11 --steps"

    done = run("estimate", "llama-3.1-70b", *ASKED, *options.split(), "--json")

    made = json.loads(done.stdout)["estimates"][0]
    assert (made["method"], made["images"], made["itl_s"]) == ("paced", 1, 0.025)
    facts = {"accelerators": 4, "replicas": 2, "hydro": "exclude", "hosting": "hosted"}
    assert made["deployment"].items() >= facts.items()
    assert {"name", "formula", "inputs", "value", "unit", "source"} == set(made["derivation"][0])
    assert "no image encoder" in done.stderr


def test_a_time_that_is_not_believed_is_said_in_the_json_and_on_stderr() -> None:
    done = run("estimate", "llama-3.1-70b", *ASKED, "--seconds", "0.01", "--json")

    made = json.loads(done.stdout)["estimates"][0]
    assert made["method"] == "assumed"
    assert any("the time seen (0.01 s) has no part in the answer" in words for words in made["warnings"])
    assert "headwater: llama-3.1-70b: the time seen (0.01 s) has no part in the answer" in done.stderr


def test_an_estimate_with_steps_prints_the_derivation_of_each_model() -> None:
    done = run("estimate", "llama-3.1-8b", "llama-3.1-70b", *ASKED, "--seconds", "4", "--steps")

    assert "request     800 tokens in, 300 out, 4 s seen" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("Derivation")] == [
        "Derivation of llama-3.1-8b",
        "Derivation of llama-3.1-70b",
    ]
    assert done.stdout.count("\n  it_j = host_share_w") == 2
    assert done.stdout.count("\n  embodied_g = server_embodied_g") == 2
    assert "source: " in done.stdout


def test_an_estimate_by_a_fixed_figure_names_no_server() -> None:
    flat = run("estimate", "llama-3.1-8b", *ASKED, "--factors", "seed-2023")

    assert flat.stdout.splitlines()[-1].split()[1] == "4.0"
    assert "served by" not in flat.stdout


@pytest.mark.parametrize("kind", ["models", "hardware", "engines", "sites", "grids", "factor_sets"])
def test_the_names_of_the_catalog_are_listed(kind: Any) -> None:
    done = run("estimate", "--list", kind)

    assert done.returncode == 0
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == list(catalog.names(kind))


def test_a_pipe_gets_no_colours() -> None:
    done = run_process("estimate", "llama-3.1-70b", *ASKED, "--steps", FORCE_COLOR="1")
    wrong = run_process("estimate", "llama-3.1-70", *ASKED, FORCE_COLOR="1")

    assert "\x1b" not in done.stdout + done.stderr + wrong.stdout + wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("lama-3.1-70b --input 1 --output 1", "llama-3.1-70b"),
        ("llama-3.1-70b nonsense --input 1 --output 1", "'nonsense' is not in the catalog of models"),
        ("llama-3.1-70b --input 1 --output 1 --hardware h100", "hgx-h100"),
        ("llama-3.1-70b --input 1 --output 1 --engine vllm", "vllm-0.11"),
        ("llama-3.1-70b --input 1 --output 1 --site westus3", "azure-westus3"),
        ("llama-3.1-70b --input 1 --output 1 --factors seed", "seed-2023"),
        ("llama-3.1-70b --input 1 --output 1 --precision fp16", "'fp16' is not one of ['bf16', 'fp8'"),
        ("llama-3.1-70b --input 1 --output 1 --hydro maybe", "'maybe' is not one of 'include', 'exclude'"),
        ("llama-3.1-70b --input 1", "name a model, --input and --output"),
        ("--input 1 --output 1", "name a model, --input and --output"),
        ("llama-3.1-70b --input 1.5 --output 1", "--input"),
        ("llama-3.1-70b --input -1 --output 1", "--input must be a whole number of at least 0, not -1"),
        ("llama-3.1-70b --input 0 --output 0", "--input (0) and --output (0): there is nothing to estimate"),
        ("llama-3.1-70b --input 5 --output 1 --cached 6", "--cached (6) exceed --input (5)"),
        ("llama-3.1-70b --input 5 --output 1 --images 6", "--images (6) exceed --input (5)"),
        ("llama-3.1-70b --input 5 --output 1 --concurrency 0", "--concurrency must be at least 1, not 0"),
        ("llama-3.1-70b --input 5 --output 1 --concurrency nan", "--concurrency must be a finite number, not nan"),
        ("llama-3.1-70b --input 5 --output 1 --seconds -3", "--seconds must be above 0, not -3"),
        ("llama-3.1-70b --input 5 --output 1 --seconds 3 --hosted", "--seconds (3.0) is worth nothing"),
        ("llama-3.1-70b --input 5 --output 1 --itl-ms 20", "--itl-ms (20) tells how busy somebody else's server is"),
        (
            "llama-3.1-70b --input 5 --output 1 --hosted --itl-ms 0",
            "--itl-ms must be milliseconds, from 0.001 to 1e+12, not 0",
        ),
        ("llama-3.1-70b --input 5 --output 1 --hosted --itl-ms nan", "--itl-ms must be milliseconds"),
        ("llama-3.1-70b --input 5 --output 1 --accelerators 9", "--accelerators (9) exceeds the 8 of hgx-h100"),
        (f"llama-3.1-70b --input 5 --output 1 --replicas {'9' * 400}", "--replicas must be at most 1000000, not more"),
        ("llama-3.1-70b --input 5 --output 1 --replicas 0", "--replicas must be a whole number of at least 1, not 0"),
        ("--list planets", "'planets' is not one of"),
    ],
)
def test_an_estimate_that_cannot_be_made_says_why_in_the_words_of_the_command_line(arguments: str, words: str) -> None:
    done = run("estimate", *arguments.split())

    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


async def test_report_prints_table_csv_and_json_of_the_same_account(meter: Meter, key: str, data_dir: Path) -> None:
    await _charged(meter, key)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})

    table = run("report", HEADWATER_DATA_DIR=str(data_dir))
    as_csv = run("report", "--format", "csv", "--month", meter.month(), HEADWATER_DATA_DIR=str(data_dir))
    as_json = run("report", "--format", "json", HEADWATER_DATA_DIR=str(data_dir))

    assert (table.returncode, as_csv.returncode, as_json.returncode) == (0, 0, 0), table.stderr + as_json.stderr
    assert f"Usage statement {meter.month()} (UTC)" in table.stdout
    assert user in table.stdout
    row = next(row for row in csv.DictReader(io.StringIO(as_csv.stdout)) if row["user"] == user)
    other = next(row for row in json.loads(as_json.stdout)["rows"] if row["user"] == user)
    assert (row["requests"], row["output_tokens"]) == ("1", "4")
    assert row["energy_j"] == other["energy_j"]


async def test_explain_prints_the_receipt_with_its_derivation(meter: Meter, key: str, data_dir: Path) -> None:
    request_id = await _charged(meter, key)

    text = run("explain", request_id, HEADWATER_DATA_DIR=str(data_dir))
    as_json = run("explain", request_id, "--json", HEADWATER_DATA_DIR=str(data_dir))

    assert (text.returncode, as_json.returncode) == (0, 0), text.stderr
    assert "Derivation" in text.stdout
    assert "llama-3.1-70b" in text.stdout
    assert json.loads(as_json.stdout)["derivation_agrees"] is True


async def test_report_and_explain_start_the_ledger_when_no_server_runs(short_folder: Path) -> None:
    folder = short_folder / "cold"
    document = {"ledger": {"data_dir": str(folder)}, "deployment": [{"hardware": "hgx-h100", "engine": "vllm-0.11"}]}
    meter = Meter(config.load(document, environment={}))
    meter.start()
    request_id = await _charged(meter, "sk-cold")
    await meter.stop()
    assert _until(lambda: not _processes(str(folder)))

    report = run("report", "--format", "json", HEADWATER_DATA_DIR=str(folder))
    explain = run("explain", request_id.lower(), HEADWATER_DATA_DIR=str(folder))
    missing = run("explain", "01K9Z3M6V9R2W0Y8C4S1T7B5QH", HEADWATER_DATA_DIR=str(folder))

    assert json.loads(report.stdout)["rows"][0]["requests"] == 1, report.stderr
    assert request_id in explain.stdout
    assert missing.returncode == 1
    assert "no receipt 01K9Z3M6V9R2W0Y8C4S1T7B5QH" in missing.stderr


def test_a_folder_without_a_ledger_is_said_to_have_none(tmp_path: Path) -> None:
    done = run("report", HEADWATER_DATA_DIR=str(tmp_path / "typo"))

    assert done.returncode == 1
    assert "there is no ledger in" in done.stderr
    assert not (tmp_path / "typo").exists()


def test_an_output_that_cannot_be_written_is_one_line_and_exit_code_1(data_dir: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "headwater", "report"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env={**os.environ, "HEADWATER_DATA_DIR": str(data_dir)},
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == "headwater: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["report", "--month", "2026-13"], "YYYY-MM", 2),
        (["report", "--format", "xml"], "xml", 2),
        (["explain", "nonsense"], "'nonsense' is no request id", 2),
        (["serve", "--upstream", "localhost:8000"], "localhost:8000", 2),
        (["serve"], "--upstream", 2),
        (["serve", "--upstream", "http://127.0.0.1:9", "--config", "{typo}"], "hgx-h1000", 2),
        (["report", "--config", "nowhere.toml"], "nowhere.toml", 2),
        (["nonsense"], "nonsense", 2),
    ],
)
def test_a_wrong_call_names_the_value_and_ends_with_2(
    arguments: list[str], words: str, code: int, data_dir: Path, tmp_path: Path
) -> None:
    typo = tmp_path / "typo.toml"
    typo.write_text('[[deployment]]\nhardware = "hgx-h1000"\nengine = "vllm-0.11"\n')
    arguments = [argument.format(typo=typo) for argument in arguments]

    done = run(*arguments, HEADWATER_DATA_DIR=str(data_dir))

    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_is_not_there_ends_with_1_and_says_so(short_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"redis://127.0.0.1:{taken.getsockname()[1]}"
    done = run_process("report", HEADWATER_REDIS_URL=url, HEADWATER_DATA_DIR=str(short_folder / "none"))

    assert done.returncode == 1
    assert url.removeprefix("redis://") in done.stderr
    assert "Traceback" not in done.stderr


def test_vocab_install_says_where_the_files_are() -> None:
    done = run_process("vocab", "install")

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize("command", [["demo", "--once"], ["serve", "--upstream", "http://127.0.0.1:9"]])
def test_a_taken_port_is_said_to_be_taken(command: list[str], data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_process(*command, "--port", port, HEADWATER_DATA_DIR=str(data_dir))

    assert done.returncode == 2
    assert port in done.stderr
    assert "--port" in done.stderr


@pytest.mark.real_model
def test_the_demo_shows_the_whole_promise_and_leaves_nothing_running(short_folder: Path) -> None:
    home = short_folder / "home"

    done = run_process("demo", "--once", "--port", "0", XDG_DATA_HOME=str(home))

    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "ada asks: What is the capital of France?" in out
    assert "Paris" in out
    assert "finish_reason=stop" in out
    assert "<|" not in out
    assert "headwater-footprint: energy_j=" in out
    assert "Derivation" in out
    assert "Usage statement" in out
    answers = [line.split("answer:")[1].split("(finish")[0].strip() for line in out.splitlines() if "answer:" in line]
    assert len(answers) == 5
    assert all(answers)
    assert _until(lambda: not _processes(str(home)))


def _processes(word: str) -> list[str]:
    """Command lines of running processes that name `word`."""
    done = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if word in line and "ps -eo" not in line]


def _until(holds: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(holds() or pause.wait(0.05) for _ in range(200))


@pytest.mark.real_model
@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_everything_the_demo_starts_dies_with_it(short_folder: Path, with_signal: signal.Signals) -> None:
    home = short_folder / f"home{with_signal.value}"
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; sys.stdout.isatty = lambda: True; from headwater.cli import main; main()",
            "demo",
            "--port",
            "0",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_DATA_HOME": str(home), "PYTHONUNBUFFERED": "1"},
    )
    assert child.stdout is not None
    seen = ""
    for line in child.stdout:
        seen += line
        if "stays up at" in line:
            break
    children = _children(child.pid)
    assert "curl" in seen + child.stdout.readline() + child.stdout.readline()
    assert children

    child.send_signal(with_signal)

    assert child.wait(timeout=30) == {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGKILL: -9}[with_signal]
    child.stdout.close()
    assert _until(lambda: not _processes(str(home)) and not any(_alive(pid) for pid in children))


def _children(parent: int) -> list[int]:
    done = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in done.stdout.splitlines()[1:]]
    return [pid for pid, ppid in pairs if ppid == parent]


def _alive(pid: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")


def test_serve_with_two_workers_keeps_one_account(short_folder: Path) -> None:
    folder = short_folder / "two"
    upstream = Starlette(routes=[Mount("/", stream_app(STREAM_WITH_USAGE))])
    settings = short_folder / "two.toml"
    settings.write_text('[[deployment]]\nhardware = "hgx-h100"\nengine = "vllm-0.11"\naccelerators = 4\n')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with server.listening(0) as listener, server.serving(upstream, listener):
        options = ["--upstream", server.url(listener), "--port", str(port), "--workers", "2", "--config", str(settings)]
        child = subprocess.Popen(
            [sys.executable, "-m", "headwater", "serve", *options],
            env={**os.environ, "HEADWATER_DATA_DIR": str(folder)},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            assert _until(lambda: _answers(url))
            asked = [_ask(url) for _ in range(40)]
        finally:
            child.terminate()
            assert child.wait(timeout=30) == 0

    report = run("report", "--format", "json", HEADWATER_DATA_DIR=str(folder))

    assert all(asked)
    rows = json.loads(report.stdout)["rows"]
    assert [(row["requests"], row["output_tokens"]) for row in rows] == [(40, 160)]
    assert _until(lambda: not _processes(str(folder)))


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/.well-known/headwater/me", timeout=5).status_code == 401
    except httpx.TransportError:
        return False


def _ask(url: str) -> bool:
    body = request(stream=True, stream_options={"include_usage": True})
    answer = httpx.post(url + CHAT, content=body, headers={"api-key": "sk-two"}, timeout=10)
    usage: Any = json.loads(answer.text.split("data: ")[-2])["usage"]
    return bool(usage["footprint"]["energy_j"] > 0)
