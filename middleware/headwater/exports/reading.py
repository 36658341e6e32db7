"""An exported folder, read again: every charge once, as an account sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from headwater.errors import ConfigError
from headwater.exports import parquet
from headwater.exports.columns import record_of
from headwater.exports.files import FORMATS, PartFile, parts, read_mark
from headwater.ledger.exporting import Position
from headwater.ledger.glance import Glance, seen


class Exported:
    """The charges in a folder that `headwater export` wrote.

    Raises:
        ConfigError: it is no such folder, or its files cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = read_mark(folder)
        if self._mark["format"] == "parquet":
            parquet.check()
        self._format = FORMATS[self._mark["format"]]
        self._parts = list(parts(folder, self._format))

    @property
    def name(self) -> str:
        """What the ledger knows the export by."""
        return self._mark["name"]

    @property
    def ledger(self) -> str:
        """The fingerprint of the ledger that the charges are of."""
        return self._mark["ledger"]

    def last(self, shard: int) -> Position | None:
        """Up to which charge of a shard it goes; None where it has none."""
        return max((part.last for part in self._parts if part.shard == shard), default=None)

    def charges(self, shard: int, period: str) -> Iterator[tuple[str, Glance]]:
        """The place and the account's view of every charge that ended in a month or on a day. What was delivered twice comes
        twice, with the same place."""
        for part in self._parts:
            if part.shard == shard and part.day.startswith(period):
                yield from self._read(part)

    def _read(self, part: PartFile) -> Iterator[tuple[str, Glance]]:
        try:
            for row in self._format.rows(part.path):
                _, entry_id, charge = record_of(row)
                yield entry_id, seen(charge)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{part.path} cannot be read: {error or type(error).__name__}") from error
