"""The README does what it says: its code runs, its commands exist, its headers parse."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from headwater.cli import app as cli
from headwater.config import load
from tests.asgi import dictionary

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def example(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example app, with its ledger in the session's folder."""
    monkeypatch.setenv("HEADWATER_DATA_DIR", str(data_dir))
    return importlib.import_module("examples.fastapi_app")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_ten_lines_wrap_an_app(example: ModuleType) -> None:
    names: dict[str, object] = {}

    exec(_blocks("python")[0], names)  # noqa: S102 - our own README

    app = names["app"]
    assert isinstance(app, FastAPI)
    app.add_api_route("/v1/chat/completions", example.chat, methods=["POST"])
    with TestClient(app) as client:
        answer = client.post("/v1/chat/completions", json={"model": "llama-3.1-70b-instruct", "messages": []})
    assert answer.json()["usage"]["footprint"]["model"] == "llama-3.1-70b"


def test_the_estimate_prints_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    exec(_blocks("python")[1], {})  # noqa: S102 - our own README

    out = capsys.readouterr().out
    assert "Wh;" in out.splitlines()[0]
    assert "loaded" in out.splitlines()[0]
    assert len(out.splitlines()) > 20


def test_the_headers_shown_are_structured_fields() -> None:
    for name in ("headwater-footprint", "headwater-period"):
        value = re.search(rf"^{name}: (.*)$", README, re.MULTILINE)
        assert value is not None
        assert "energy_j" in dictionary(value[1])


def test_every_command_is_named() -> None:
    names = [command.name or command.callback.__name__ for command in cli.registered_commands if command.callback]

    assert [
        name for name in [*names, "vocab install"] if f"headwater {name}" not in README and f"make {name}" not in README
    ] == []


def test_the_example_settings_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(ROOT / "examples" / "headwater.toml", environment={})

    assert settings.deployment[0].site == "azure-westus3"


def test_the_example_app_answers_with_a_footprint(example: ModuleType) -> None:
    with TestClient(example.app) as client:
        answer = client.post("/v1/chat/completions", json={"model": "llama-3.1-70b", "messages": []})

    assert "headwater-footprint" in answer.headers


def test_the_changelog_names_what_is_unreleased() -> None:
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
