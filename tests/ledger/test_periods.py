"""What a process knows of its users' months: current, bounded, and asked for in the background."""

from __future__ import annotations

import pytest

from headwater.ledger import periods
from headwater.ledger.periods import PeriodCache
from headwater.ledger.redis import Store
from tests.ledger.support import ADA, BOB, MONTH, NOV_23_MS

NOW_S = NOV_23_MS / 1000


def test_another_month_is_not_kept() -> None:
    cache = PeriodCache(lambda: NOW_S)

    cache.learn({(ADA, "2026-10"): [1, 2, 3, 4], (BOB, MONTH): [1, 2, 3, 4]})

    assert cache.get(ADA) is None
    assert cache.get(BOB) is not None


def test_a_month_that_ended_is_unknown_again() -> None:
    now_s = NOW_S
    cache = PeriodCache(lambda: now_s)
    cache.learn({(ADA, MONTH): [1, 2, 3, 4]})

    now_s += 31 * 86_400

    assert cache.get(ADA) is None


def test_the_least_recently_used_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periods, "KEPT_USERS", 2)
    cache = PeriodCache(lambda: NOW_S)
    cache.learn({(user, MONTH): [1, 2, 3, 4] for user in ("a", "b")})
    cache.get("a")

    cache.learn({("c", MONTH): [1, 2, 3, 4]})

    assert [user for user in "abc" if cache.get(user) is not None] == ["a", "c"]


def test_an_old_total_is_shown_and_read_again(store: Store) -> None:
    now_s = NOW_S
    cache = PeriodCache(lambda: now_s)
    cache.learn({(ADA, MONTH): [7, 2, 3, 4]})
    now_s += periods.REFRESH_S + 1

    shown = cache.get(ADA)
    cache.refresh(store)
    after = cache.get(ADA)

    assert shown is not None
    assert (shown.requests_count, shown.read_at_s) == (7, NOW_S)
    assert after is not None
    assert (after.requests_count, after.read_at_s) == (0, now_s)


def test_what_is_wanted_is_bounded(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(periods, "WANTED_USERS", 1)
    cache = PeriodCache(lambda: NOW_S)

    assert cache.get(ADA) is cache.get(BOB) is None
    cache.refresh(store)

    assert cache.get(ADA) is not None
    assert cache.get(BOB) is None
