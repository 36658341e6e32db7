"""`--plot FILE`: whether it can be written, and writing it. Knows files; draws nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headwater.errors import ConfigError


def plot_suffix(path: Path, known: Iterable[str]) -> str:
    """The suffix of a plot's file. Raises ConfigError for one that is not known, or for a folder that does not exist:
    refused before the work, not after it."""
    suffix = path.suffix.lower()
    if suffix not in known:
        raise ConfigError(f"--plot {path} must end in {', '.join(known)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--plot {path}: there is no folder {path.absolute().parent}; make it first")
    return suffix


def write_plot(path: Path, content: bytes) -> None:
    """Write it. Raises ConfigError where that cannot be done."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"cannot write the plot {path}: {error.strerror}") from None
