"""A folder of files, one folder per UTC day in which requests ended: `day=2026-11-23/part-s00-FIRST_LAST.jsonl`, where FIRST
and LAST are places in the shard's stream. A file appears whole or not at all, and is never written again."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

from headwater.errors import ConfigError
from headwater.exports import jsonl, parquet
from headwater.exports.columns import ENTRY_AT, Record, Value, values
from headwater.exports.run import ExportError, Unavailable
from headwater.ledger import schema
from headwater.ledger.exporting import Position

MARK: Final = ".headwater-export.json"
RECORDS_PER_COMMIT: Final = 50_000
DAYS_PER_COMMIT: Final = 32
"""So many files are open at once at most."""
_UNFINISHED: Final = ".writing"
_VERSION: Final = 1


class Writer(Protocol):
    """A file that is being written."""

    def write(self, row: list[Value]) -> None:
        """Add a row."""

    def close(self) -> None:
        """Write what is left; the file is then complete, if not yet on the disk."""


class Format(NamedTuple):
    """A file format: the end of its names, how it is written and read. Rows read have their times in milliseconds."""

    suffix: str
    writer: Callable[[Path], Writer]
    rows: Callable[[Path], Iterator[Mapping[str, Any]]]
    entries: Callable[[Path], Iterator[tuple[int, str]]]
    """Shard and place of each row."""


FORMATS: Final = {
    "jsonl": Format(".jsonl", jsonl.JsonLines, jsonl.rows, jsonl.entries),
    "parquet": Format(".parquet", parquet.Parquet, parquet.rows, parquet.entries),
}


class PartFile(NamedTuple):
    """A finished file: the places of its first and last charge, and where it is."""

    shard: int
    first: Position
    last: Position
    day: str
    path: Path


class Folder:
    """The target. One export at a time writes into a folder; the folder itself knows its name in the ledger.

    Raises:
        ConfigError: it is another ledger's or has another format, it cannot be written, or another export is at work in it.
    """

    def __init__(self, folder: Path, format_name: str, *, ledger: str) -> None:
        self.folder = folder
        self.format = FORMATS[format_name]
        # What was under way is asked for some at a time; a file of it is read once.
        self._entries = lru_cache(maxsize=DAYS_PER_COMMIT)(self._read_entries)
        self._open: dict[str, _Part] = {}
        self._records_count = 0
        self._lock = -1
        if format_name == "parquet":
            parquet.check()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / MARK, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.name = self._mark(format_name, ledger)
            self._sweep()
        except BlockingIOError:
            self.close()
            raise ConfigError(f"another export writes into {folder}; wait for it, or name another folder") from None
        except OSError as error:
            self.close()
            raise ConfigError(f"{folder} cannot be written: {error.strerror}; name another folder") from None
        except ConfigError:
            self.close()
            raise

    def _mark(self, format_name: str, ledger: str) -> str:
        mine = {"v": _VERSION, "name": f"files-{secrets.token_hex(8)}", "format": format_name, "ledger": ledger}
        text = os.read(self._lock, 4_096)
        if not text:
            os.write(self._lock, json.dumps(mine).encode())
            os.fsync(self._lock)
            _sync_folder(self.folder)
            return str(mine["name"])
        found = read_mark(self.folder)
        for what in ("format", "ledger"):
            if found[what] != mine[what]:
                raise ConfigError(
                    f"{self.folder} has an export of {what} {found[what]}, not {mine[what]}; name another folder"
                )
        return found["name"]

    def _sweep(self) -> None:
        """Remove what a killed export had not finished."""
        for path in self.folder.glob(f"day=*/.*{_UNFINISHED}"):
            path.unlink()

    @property
    def is_full(self) -> bool:
        """Whether files are as large, or as many, as they should become."""
        return self._records_count >= RECORDS_PER_COMMIT or len(self._open) >= DAYS_PER_COMMIT

    def held(self, shard: int, entry_ids: Collection[str]) -> set[str]:
        """The entries that stand in finished files: read, not guessed from their names."""
        if not entry_ids:
            return set()
        places = [Position.read(entry_id) for entry_id in entry_ids]
        first, last = min(places), max(places)
        found: set[str] = set()
        for part in parts(self.folder, self.format):
            if part.shard == shard and part.first <= last and first <= part.last:
                with _told(self.folder):
                    found |= self._entries(part.path)
        return found & set(entry_ids)

    def _read_entries(self, path: Path) -> frozenset[str]:
        return frozenset(entry_id for _, entry_id in self.format.entries(path))

    def add(self, record: Record) -> None:
        """Write a charge into the file of its day."""
        day = schema.periods(record.charge.ended_ms)[0]
        with _told(self.folder):
            part = self._open.get(day)
            if part is None:
                part = self._open[day] = _Part(self.folder / f"day={day}", record, self.format)
            part.write(values(record))
        self._records_count += 1

    def commit(self) -> None:
        """Have the files on the disk, under their names."""
        with _told(self.folder):
            for part in self._open.values():
                part.finish()
            _sync_folder(self.folder)
        self._open = {}
        self._records_count = 0

    def discard(self) -> None:
        """Remove what is not finished."""
        for part in self._open.values():
            part.discard()
        self._open = {}
        self._records_count = 0

    def close(self) -> None:
        """Leave the folder; what is not finished is removed."""
        self.discard()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Part:
    """A file of one shard and day that is being written, under a hidden name."""

    def __init__(self, folder: Path, first: Record, kind: Format) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._kind = kind
        self._shard = first.shard
        self._first = self._last = first.entry_id
        self._path = folder / f".s{first.shard:02d}-{first.entry_id}{_UNFINISHED}"
        self._writer = kind.writer(self._path)

    def write(self, row: list[Value]) -> None:
        self._writer.write(row)
        self._last = str(row[ENTRY_AT])

    def finish(self) -> None:
        self._writer.close()
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        name = f"part-s{self._shard:02d}-{self._first}_{self._last}{self._kind.suffix}"
        self._path.replace(self._folder / name)
        _sync_folder(self._folder)

    def discard(self) -> None:
        with suppress(OSError):  # a disk that is full
            self._writer.close()
        self._path.unlink(missing_ok=True)


def read_mark(folder: Path) -> dict[str, str]:
    """What an export's folder says of itself: its format, its ledger, its name there.

    Raises:
        ConfigError: it is no such folder.
    """
    try:
        found = json.loads((folder / MARK).read_bytes())
        if found["v"] != _VERSION or found["format"] not in FORMATS:
            raise ConfigError(f"{folder} has an export of another version of headwater; use the matching one")
        return {name: str(found[name]) for name in ("name", "format", "ledger")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder} is no folder that headwater export wrote into: {MARK} is missing or damaged ({error})"
        ) from None


def parts(folder: Path, kind: Format) -> Iterator[PartFile]:
    """The finished files of a folder, by day, shard and place."""
    found = []
    for path in folder.glob(f"day=*/part-*{kind.suffix}"):
        shard, _, places = path.name.removeprefix("part-s").removesuffix(kind.suffix).partition("-")
        first, _, last = places.partition("_")
        try:
            ends = Position.read(first), Position.read(last)
            found.append(PartFile(int(shard), *ends, path.parent.name.removeprefix("day="), path))
        except ValueError:
            raise ConfigError(f"{path} has no name that headwater export gives; move it elsewhere") from None
    return iter(sorted(found, key=lambda part: (part.day, part.shard, part.first)))


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"{folder} cannot be written: {error.strerror or error}; nothing is lost, export again when it can"
        ) from error
    except ValueError as error:
        raise ExportError(f"{folder} has a damaged file in it: {error}; move it elsewhere") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
