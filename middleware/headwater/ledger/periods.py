"""This process's knowledge of users' current months, for the Headwater-Period header. No I/O where it is asked."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from headwater.ledger import schema
from headwater.ledger.redis import Store
from headwater.records import PeriodTotal

KEPT_USERS: Final = 10_000
WANTED_USERS: Final = 1_000
REFRESH_S: Final = 10.0
"""Other processes charge the same users: a total older than this is read again when it is asked for."""


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

    def learn(self, totals: Mapping[tuple[str, str], list[int]]) -> None:
        """Take over totals that the store returned with a batch."""
        now_s = self._clock()
        current = schema.periods(int(now_s * 1000))[1]
        with self._mutex:
            for (user, month), (requests, energy, onsite, offsite) in totals.items():
                if month != current:
                    continue
                self._totals[user] = PeriodTotal(
                    period=month,
                    requests_count=requests,
                    energy_microjoules=energy,
                    water_nanolitres=onsite + offsite,
                    read_at_s=now_s,
                )
                self._totals.move_to_end(user)
            while len(self._totals) > KEPT_USERS:
                self._totals.popitem(last=False)

    def refresh(self, store: Store) -> None:
        """Read what was asked for and is missing or old."""
        with self._mutex:
            wanted, self._wanted = self._wanted, set()
        if wanted:
            month = schema.periods(int(self._clock() * 1000))[1]
            rows = store.period_totals(sorted(wanted), month)
            self.learn({(user, month): row for user, row in rows.items()})
