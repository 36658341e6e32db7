"""The examples, each under a real server: whole, streamed, metered and disclosed; and every server with one of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.asgi import unfolded

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*_app.py"))
SERVERS: dict[str, list[str]] = {
    "uvicorn": ["uvicorn", "--log-level", "warning", "--port"],
    "hypercorn": ["hypercorn", "--log-level", "warning", "--bind"],
    "granian": ["granian", "--interface", "asgi", "--no-access-log", "--port"],
}
BODY = {"model": "llama-3.1-70b", "messages": [{"role": "user", "content": "Hi"}]}


@contextlib.contextmanager
def serving(server: str, example: str, data_dir: Path) -> Iterator[str]:
    """The address of an example under a server, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name, *options = SERVERS[server]
    where = f"127.0.0.1:{port}" if server == "hypercorn" else str(port)
    module = "hypercorn.__main__" if server == "hypercorn" else name
    command = [sys.executable, "-m", module, *options, where, f"examples.{example}:app"]
    environment = {**os.environ, "HEADWATER_DATA_DIR": str(data_dir), "PYTHONWARNINGS": "default"}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        transport = httpx.HTTPTransport(retries=0)
        with httpx.Client(transport=transport) as client:
            while True:
                if child.poll() is not None:
                    assert child.stderr is not None
                    raise AssertionError(f"{' '.join(command)} ended: {child.stderr.read()}")
                with contextlib.suppress(httpx.TransportError):
                    client.get(f"http://127.0.0.1:{port}/nothing")
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)
        if child.stderr is not None:
            child.stderr.close()


def asked(address: str, key: str, **members: Any) -> httpx.Response:
    return httpx.post(
        f"{address}/v1/chat/completions",
        json={**BODY, **members},
        headers={"authorization": f"Bearer {key}", "accept-encoding": "identity", "origin": "http://x.example"},
        timeout=30,
    )


def receipt_of(address: str, key: str) -> Any:
    """A receipt, asked for until the charge has been shipped."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        found = httpx.get(address, headers={"authorization": f"Bearer {key}"}, timeout=30)
        if found.status_code != 404:
            return found.raise_for_status().json()
    raise AssertionError(f"no receipt at {address}")


def check(address: str) -> None:
    """One reply whole and one streamed carry their footprint, and the account says so."""
    whole = asked(address, "sk-ada")
    usage = whole.json()["usage"]
    assert usage["footprint"]["tokens"] == {
        "input": usage["prompt_tokens"],
        "cached": None,
        "output": usage["completion_tokens"],
        "source": "upstream",
    }
    assert whole.headers["headwater-id"] == usage["footprint"]["id"]
    assert whole.headers["headwater-footprint"].startswith("energy_j=")
    if not asked(address, "sk-ada", stream=True).text.startswith("data:"):
        return  # an example that only answers whole
    streamed = asked(address, "sk-ada", stream=True)
    events = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
    text = "".join(choice["delta"].get("content") or "" for each in events for choice in each["choices"])
    assert text == "Hello, world."
    assert events[-1]["footprint"]["id"] == streamed.headers["headwater-id"]
    assert unfolded(streamed.content).rstrip().endswith(b"data: [DONE]")
    receipt = receipt_of(address + streamed.links["describedby"]["url"], "sk-ada")
    assert (receipt["outcome"], receipt["tokens"]["source"]) == ("completed", "estimated")


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_runs_and_discloses(example: str, data_dir: Path) -> None:
    with serving("uvicorn", example, data_dir) as address:
        check(address)


@pytest.mark.parametrize("server", ["hypercorn", "granian"])
def test_every_server_serves_it(server: str, data_dir: Path) -> None:
    with serving(server, "starlette_app", data_dir) as address:
        check(address)
