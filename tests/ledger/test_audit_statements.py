"""A closed month is audited against what was frozen of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.audit import Audit, as_document, as_text, audit
from headwater.audit.statements import compare_statements
from headwater.ledger import rows, schema
from headwater.records import Charge
from tests.ledger.support import ADA, BOB, MONTH, Server
from tests.ledger.test_linked import DECEMBER_S, JANUARY_S, Ledger, december, november


@pytest.fixture
def ledger(server: Server, tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(server, tmp_path)
    made.charge(november(1, ADA), november(2, BOB))
    made.close(MONTH, DECEMBER_S)
    yield made
    made.store.close()


def audited(ledger: Ledger) -> Audit:
    return audit(ledger.books, MONTH, clock=lambda: JANUARY_S)


def row_key(charge: Charge) -> str:
    return schema.user_key(0, charge.user, MONTH, schema.part_of(charge.model, charge.site))


def test_a_closed_month_is_what_was_frozen(ledger: Ledger) -> None:
    found = audited(ledger)

    assert found.is_equal
    assert (found.statements_count, found.equal["statement"], found.waiting_count) == (1, 2, 0)
    assert "1  statements have the hash that they were sealed with\n" in as_text(found)


def test_what_came_late_is_counted_until_a_statement_corrects_it(ledger: Ledger) -> None:
    ledger.charge(november(3, ADA), november(4, "c1" * 16), december(5, BOB))

    late = audited(ledger)
    ledger.close("2026-12", JANUARY_S)
    corrected = audited(ledger)

    assert late.is_equal
    assert (late.statements_count, late.waiting_count) == (1, 2)
    assert "2 requests came later" in as_text(late)
    assert corrected.is_equal
    assert (corrected.statements_count, corrected.waiting_count, corrected.equal["statement"]) == (2, 0, 3)
    assert as_document(corrected)["late_requests_count"] == 0


def test_an_erased_persons_part_is_that_of_the_erased(ledger: Ledger) -> None:
    ledger.erase(ADA)

    found = audited(ledger)

    assert found.is_equal
    assert found.equal["statement"] == 2


def test_an_account_below_what_was_frozen_is_named(ledger: Ledger) -> None:
    one = november(1, ADA)
    sums = rows.sums_of(one)
    ledger.store.client.set(row_key(one), rows.stored((sums[0], sums[1] - 5, *sums[2:])))

    found = audited(ledger)

    (difference, *_) = [each for each in found.differences if each.what == "statement"]
    assert (difference.user, difference.field, difference.account, difference.stream) == (ADA, "input_tokens", 20, 25)
    assert "input_tokens is 20 in the account, and 25 was frozen of its input_tokens" in as_text(found)


def test_an_account_that_is_gone_is_named(ledger: Ledger) -> None:
    ledger.store.client.delete(row_key(november(2, BOB)))

    found = audited(ledger)

    assert any(each.what == "statement" and each.user == BOB and each.account is None for each in found.differences)
    assert "there is no row, and 1 was frozen of its requests_count" in as_text(found)


def test_accounts_that_were_kept_for_their_time_need_not_be_there(ledger: Ledger) -> None:
    ledger.store.client.delete(row_key(november(2, BOB)))
    gone_ms = schema.period_start_ms(MONTH) + ledger.store.retention.months_s * 1_000
    kept, gone = Audit(period=MONTH), Audit(period=MONTH)

    compare_statements(ledger.books, MONTH, kept, now_ms=gone_ms)
    compare_statements(ledger.books, MONTH, gone, now_ms=gone_ms + 1)

    assert (kept.is_equal, gone.is_equal, gone.statements_count) == (False, True, 1)


def test_an_account_above_what_the_totals_have_is_named(ledger: Ledger) -> None:
    one = november(1, ADA)
    sums = rows.sums_of(one)
    ledger.store.client.set(row_key(one), rows.stored((sums[0] + 1, *sums[1:])))

    found = audited(ledger)

    assert "requests_count of the accounts is 1 above what is frozen of them, that of the totals 0" in as_text(found)


def test_a_statement_with_other_rows_is_named(ledger: Ledger, server: Server) -> None:
    (chunk,) = server.command("KEYS", "hw2:{s00}:f:*")
    ledger.store.client.setrange(chunk, 40, b"?")

    found = audited(ledger)

    assert [each.what for each in found.differences] == ["hash"]
    assert "a chunk of a closed month cannot be read" in as_text(found)
