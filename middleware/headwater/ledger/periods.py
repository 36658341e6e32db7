"""This process's knowledge of users' current months, for the Headwater-Period header. No I/O where it is asked."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from headwater.ledger import schema
from headwater.ledger.books import Books
from headwater.ledger.rows import FIELDS, Sums
from headwater.records import PeriodTotal

KEPT_USERS: Final = 10_000
WANTED_USERS: Final = 1_000
REFRESH_S: Final = 10.0
"""Other processes charge the same users: a total older than this is read again when it is asked for."""
_REQUESTS: Final = FIELDS.index("requests_count")
_ENERGY: Final = FIELDS.index("energy_microjoules")
_ONSITE: Final = FIELDS.index("onsite_nanolitres")
_OFFSITE: Final = FIELDS.index("offsite_nanolitres")


class PeriodCache:
    """Users' totals of the current month, as last read; the least recently used ones are forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._totals: OrderedDict[str, PeriodTotal] = OrderedDict()
        self._wanted: set[str] = set()

    def get(self, user: str) -> PeriodTotal | None:
        """A user's month, or None while it is unknown here; then it is fetched in the background."""
        now_s = self._clock()
        month = schema.periods(int(now_s * 1000))[1]
        with self._mutex:
            total = self._totals.get(user)
            known = total is not None and total.period == month
            if known:
                self._totals.move_to_end(user)
            if (not known or (total is not None and now_s - total.read_at_s > REFRESH_S)) and len(
                self._wanted
            ) < WANTED_USERS:
                self._wanted.add(user)
        return total if known else None

    def add(self, added: Mapping[tuple[str, str], Sums]) -> None:
        """Add what this process has applied to months that are known here; until they are read again, they have no more."""
        with self._mutex:
            for (user, month), sums in added.items():
                known = self._totals.get(user)
                if known is not None and known.period == month:
                    self._totals[user] = _plus(known, sums)

    def refresh(self, books: Books) -> None:
        """Read what was asked for and is missing or old."""
        with self._mutex:
            wanted, self._wanted = self._wanted, set()
        if not wanted:
            return
        now_s = self._clock()
        month = schema.periods(int(now_s * 1000))[1]
        found = books.months_of(sorted(wanted), month)
        with self._mutex:
            for user, sums in found.items():
                nothing = PeriodTotal(
                    period=month, requests_count=0, energy_microjoules=0, water_nanolitres=0, read_at_s=now_s
                )
                self._totals[user] = _plus(nothing, sums)
                self._totals.move_to_end(user)
            while len(self._totals) > KEPT_USERS:
                self._totals.popitem(last=False)


def _plus(total: PeriodTotal, sums: Sums) -> PeriodTotal:
    return PeriodTotal(
        period=total.period,
        requests_count=total.requests_count + sums[_REQUESTS],
        energy_microjoules=total.energy_microjoules + sums[_ENERGY],
        water_nanolitres=total.water_nanolitres + sums[_ONSITE] + sums[_OFFSITE],
        read_at_s=total.read_at_s,
    )
