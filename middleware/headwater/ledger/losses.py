"""Charges that are lost, and requests that are turned away, for want of room in the journal: counted, said aloud, and kept
as figures in a small file that was made while there was room."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from logging import getLogger
from pathlib import Path
from typing import Final

from headwater.ledger.stats import Stats
from headwater.records import Charge

log: Final = getLogger("headwater.ledger")

FILE: Final = "lost"
"""In a journal's folder; in the data folder, the folder of those whose journals are gone."""
_FILE_BYTES: Final = 512
_SAY_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The charges that one process lost. Times are milliseconds since the epoch, of the ends of the exchanges."""

    journal_id: str
    charges_count: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    energy_microjoules: int = 0
    first_ms: int = 0
    last_ms: int = 0


class Losses:
    """Counts what one process loses. From any thread."""

    def __init__(self, folder: Path, stats: Stats, *, monotonic: Callable[[], float]) -> None:
        self._path = folder / FILE
        self._stats = stats
        self._monotonic = monotonic
        self._mutex = threading.Lock()
        self._lost = Lost(journal_id=folder.name)
        self._refused_count = 0
        self._said_at_s: float | None = None
        self.is_short = False
        """Something was lost or turned away, and `over` was not called since."""
        with suppress(OSError):  # then the figures are in the log alone
            self._path.write_bytes(self._bytes())

    def add(self, charge: Charge, why: str) -> None:
        """One charge is lost."""
        with self._mutex:
            lost, amounts = self._lost, charge.amounts
            self._lost = Lost(
                journal_id=lost.journal_id,
                charges_count=lost.charges_count + 1,
                input_tokens=lost.input_tokens + (charge.usage.input_tokens or 0),
                output_tokens=lost.output_tokens + (charge.usage.output_tokens or 0),
                energy_microjoules=lost.energy_microjoules + (0 if amounts is None else amounts.energy_microjoules),
                first_ms=lost.first_ms or charge.ended_ms,
                last_ms=charge.ended_ms,
            )
            self._stats.lost += 1
            self._stats.lost_energy_microjoules = self._lost.energy_microjoules
            self._keep()
            self._say(why)

    def refuse(self, why: str) -> None:
        """One request is turned away."""
        with self._mutex:
            self._refused_count += 1
            self._stats.refused += 1
            self._say(why)

    def over(self) -> None:
        """There is room again."""
        with self._mutex:
            self.is_short, self._said_at_s = False, None
            log.warning("the journal has room again; until now %s", self._figures())

    def _say(self, why: str) -> None:
        self.is_short = True
        now_s = self._monotonic()
        if self._said_at_s is None or now_s >= self._said_at_s + _SAY_EVERY_S:
            self._said_at_s = now_s
            log.error("%s: so far %s", why, self._figures())

    def _figures(self) -> str:
        lost = self._lost
        return (
            f"{lost.charges_count} charges are lost ({lost.input_tokens} input tokens, {lost.output_tokens} output tokens, "
            f"{lost.energy_microjoules} microjoules) and {self._refused_count} requests were turned away by this process"
        )

    def _keep(self) -> None:
        # In place, and as long as before: a full disk has room for it.
        with suppress(OSError), self._path.open("r+b", buffering=0) as file:
            file.write(self._bytes())

    def _bytes(self) -> bytes:
        return json.dumps(asdict(self._lost)).encode().ljust(_FILE_BYTES - 1) + b"\n"


def keep_losses(folder: Path) -> None:
    """Save the figures of a journal that is about to be removed; nothing where nothing was lost."""
    lost = _read(folder / FILE)
    if lost is not None and lost.charges_count:
        kept = folder.parent.parent / FILE
        with suppress(OSError):
            kept.mkdir(mode=0o700, exist_ok=True)
            os.replace(folder / FILE, kept / folder.name)  # noqa: PTH105


def losses(data_dir: Path) -> list[Lost]:
    """The processes that lost charges, alive and gone, in the order of their first loss."""
    paths = [*data_dir.glob(f"journals/[!.]*/{FILE}"), *data_dir.glob(f"{FILE}/*")]
    found = {lost.journal_id: lost for lost in map(_read, paths) if lost is not None and lost.charges_count}
    return sorted(found.values(), key=lambda lost: (lost.first_ms, lost.journal_id))


def _read(path: Path) -> Lost | None:
    try:
        return Lost(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.error("the figures of lost charges in %s cannot be read: %s", path, error)
        return None
