"""What a process knows of its users' months: current, bounded, and asked for in the background."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import pytest

from headwater.ledger import periods
from headwater.ledger.books import Books
from headwater.ledger.periods import PeriodCache
from headwater.ledger.redis import Store
from headwater.ledger.rows import NOTHING, Sums
from tests.ledger.support import ADA, BOB, MONTH, NOV_23_MS

NOW_S = NOV_23_MS / 1000


def _sums(requests_count: int) -> Sums:
    return (requests_count, *NOTHING[1:])


class _Books:
    """Months as they would be read."""

    def __init__(self, found: dict[str, Sums]) -> None:
        self.found = found

    def months_of(self, users: Iterable[str], month: str) -> dict[str, Sums]:
        return {user: self.found.get(user, NOTHING) for user in users}


def _read(cache: PeriodCache, found: dict[str, Sums]) -> None:
    """Ask for users' months, and have them read."""
    for user in found:
        cache.get(user)
    cache.refresh(cast("Books", _Books(found)))


def _count(cache: PeriodCache, user: str) -> int | None:
    total = cache.get(user)
    return None if total is None else total.requests_count


def test_what_is_applied_here_is_added_to_what_was_read() -> None:
    cache = PeriodCache(lambda: NOW_S)
    _read(cache, {ADA: _sums(3)})

    cache.add({(ADA, MONTH): _sums(2), (ADA, "2026-10"): _sums(5), (BOB, MONTH): _sums(7)})

    assert _count(cache, ADA) == 5
    assert cache.get(BOB) is None


def test_a_month_that_ended_is_unknown_again() -> None:
    now_s = NOW_S
    cache = PeriodCache(lambda: now_s)
    _read(cache, {ADA: _sums(1)})

    now_s += 31 * 86_400

    assert cache.get(ADA) is None


def test_the_least_recently_used_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periods, "KEPT_USERS", 2)
    cache = PeriodCache(lambda: NOW_S)
    _read(cache, {"a": _sums(1), "b": _sums(1)})
    cache.get("a")

    _read(cache, {"c": _sums(1)})

    assert [user for user in "abc" if cache.get(user) is not None] == ["a", "c"]


def test_an_old_total_is_shown_and_read_again(store: Store) -> None:
    now_s = NOW_S
    cache = PeriodCache(lambda: now_s)
    _read(cache, {ADA: _sums(7)})
    now_s += periods.REFRESH_S + 1

    shown = cache.get(ADA)
    cache.refresh(Books(store))
    after = cache.get(ADA)

    assert shown is not None
    assert (shown.requests_count, shown.read_at_s) == (7, NOW_S)
    assert after is not None
    assert (after.requests_count, after.read_at_s) == (0, now_s)


def test_what_is_wanted_is_bounded(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(periods, "WANTED_USERS", 1)
    cache = PeriodCache(lambda: NOW_S)

    assert cache.get(ADA) is cache.get(BOB) is None
    cache.refresh(Books(store))

    assert cache.get(ADA) is not None
    assert cache.get(BOB) is None
