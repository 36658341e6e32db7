"""A month under another factor set, out of a real store: users' sums, what was unknown, and what can no longer be known."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest

from headwater import catalog
from headwater.amounts import amounts
from headwater.errors import LedgerError
from headwater.ledger import schema
from headwater.ledger.books import Books
from headwater.ledger.redis import Store
from headwater.physics import Profile
from headwater.records import NO_USAGE, NOTHING_OBSERVED, Charge, Deployment, Footprint, Observation, Usage
from headwater.reports import restatement, statement
from headwater.reports.entries import TICK_EVERY
from headwater.reports.statement import add as added
from tests.ledger.conftest import Add
from tests.ledger.support import ADA, BOB, MONTH, Server, charge

CURRENT, SEED = catalog.factor_set("current-2026.11"), catalog.factor_set("seed-2023")
SEED_REQUEST_MICROJOULES = 4 * 3_600 * 10**6


@lru_cache
def deployment(factors: str) -> Deployment:
    return catalog.deployment(
        model="llama-3.1-70b", hardware="hgx-h100", engine="vllm-0.11", site="azure-westus3", factors=factors
    )


@lru_cache
def profile(factors: str) -> Profile:
    return Profile(deployment(factors))


def priced(
    number: int,
    *,
    user: str = ADA,
    factors: str = "current-2026.11",
    tokens: int | None = 100,
    observation: Observation = NOTHING_OBSERVED,
) -> Charge:
    """A charge with the footprint that it has under a factor set."""
    usage = NO_USAGE if tokens is None else Usage(input_tokens=tokens, output_tokens=tokens, source="upstream")
    found = profile(factors).estimate(usage, observation)
    known = isinstance(found, Footprint)
    return charge(
        number,
        user=user,
        deployment_hash=catalog.deployment_hash(deployment(factors)),
        usage=usage,
        observation=observation,
        amounts=amounts(found) if isinstance(found, Footprint) else None,
        method=found.method if isinstance(found, Footprint) else None,
        reason="" if known else getattr(found, "reason"),  # noqa: B009 - one of the two has it
    )


@pytest.fixture(autouse=True)
def _documents(store: Store) -> None:
    for factors in ("current-2026.11", "seed-2023", "li-2023"):
        document = catalog.deployment_document(deployment(factors))
        store.keep_document(catalog.deployment_hash(deployment(factors)), document)


def test_rows_stand_in_the_order_of_what_was_charged_and_add_up(store: Store, add: Add) -> None:
    store.set_labels({BOB: "bob"})
    reader = add(priced(1, tokens=50), priced(2, tokens=60), priced(3, user=BOB, tokens=5_000))

    made = restatement(reader, MONTH, SEED)

    known = statement(reader, MONTH)
    assert (made.charged.rows, made.charged.total) == (known.rows, known.total)
    assert [row.label for row in made.recomputed.rows] == [row.label for row in made.charged.rows] == ["bob", None]
    bob, ada = made.recomputed.rows
    assert (bob.it_microjoules, ada.it_microjoules) == (SEED_REQUEST_MICROJOULES, 2 * SEED_REQUEST_MICROJOULES)
    assert (bob.output_tokens, ada.output_tokens) == (5_000, 110)
    assert made.recomputed.total == added(made.recomputed.rows, MONTH)
    assert (made.found_count, made.lost_count, made.undeployed_count, made.undocumented_count) == (0, 0, 0, 0)


def test_a_month_under_its_own_set_is_itself(add: Add) -> None:
    seen = Observation(elapsed_s=3.1, ttft_s=0.2, concurrency_count=7.5)
    reader = add(priced(1, observation=seen), priced(2, tokens=None), priced(3, tokens=None, observation=seen))

    made = restatement(reader, MONTH, CURRENT)

    assert made.recomputed == made.charged
    assert made.charged_under == ((CURRENT, 3),)
    assert made.recomputed_under == CURRENT


def test_the_sets_of_a_month_are_told_apart_with_how_many_were_charged_under_each(add: Add) -> None:
    some = [priced(1, factors="li-2023"), *(priced(number, factors="seed-2023") for number in range(2, 5))]

    made = restatement(add(*some), MONTH, CURRENT)

    assert [(factors.name, factors.document_hash, count) for factors, count in made.charged_under] == [
        ("seed-2023", SEED.document_hash, 3),
        ("li-2023", catalog.factor_set("li-2023").document_hash, 1),
    ]
    assert "" not in {factors.document_hash for factors, _ in made.charged_under}


def test_requests_with_a_footprint_under_one_set_only_are_counted(add: Add) -> None:
    unknown, flat = priced(1, tokens=None), priced(2, tokens=None, factors="seed-2023")
    reader = add(unknown, flat, priced(3))

    seed, current = restatement(reader, MONTH, SEED), restatement(reader, MONTH, CURRENT)

    assert (seed.found_count, seed.lost_count, seed.recomputed.total.unknown_count) == (1, 0, 0)
    assert (current.found_count, current.lost_count, current.recomputed.total.unknown_count) == (0, 1, 2)
    assert seed.charged.total.unknown_count == current.charged.total.unknown_count == 1


def test_requests_without_a_deployment_stay_without_a_footprint(add: Add) -> None:
    nobody = charge(1, deployment_hash="", model="other", site="other", amounts=None, reason="model-not-in-catalog")

    made = restatement(add(nobody, priced(2)), MONTH, SEED)

    assert (made.undeployed_count, made.undocumented_count) == (1, 0)
    assert made.recomputed.total.unknown_count == 1
    assert made.charged_under == ((CURRENT, 1),)


@pytest.mark.parametrize("document", [None, "{}", "no JSON"])
def test_a_deployment_that_is_gone_or_of_another_version_leaves_its_requests_unknown_and_says_so(
    store: Store, add: Add, document: str | None
) -> None:
    if document is not None:
        store.keep_document("5f0c", document)

    made = restatement(add(charge(1), charge(2), priced(3, user=BOB)), MONTH, SEED)

    assert (made.undocumented_count, made.lost_count) == (2, 0)
    by_user = {row.user: row for row in made.recomputed.rows}
    assert (by_user[ADA].unknown_count, by_user[ADA].it_microjoules) == (2, 0)
    assert by_user[BOB].it_microjoules == SEED_REQUEST_MICROJOULES
    assert made.charged.total.unknown_count == 0


def test_reservoirs_can_be_left_out(add: Add) -> None:
    made = restatement(add(priced(1)), MONTH, replace(CURRENT, hydro="exclude"))

    before, after = made.charged.total, made.recomputed.total
    assert after.energy_microjoules == before.energy_microjoules
    assert after.onsite_nanolitres == before.onsite_nanolitres
    assert after.offsite_nanolitres < before.offsite_nanolitres


def test_a_document_is_read_once(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    read = Books.document

    def document(books: Books, name: str) -> str | None:
        asked.append(name)
        return read(books, name)

    monkeypatch.setattr(Books, "document", document)

    restatement(add(*map(priced, range(1, 30))), MONTH, SEED)

    assert len(asked) == 1


def test_charges_that_are_no_longer_kept_are_not_left_out_in_silence(server: Server, add: Add) -> None:
    reader = add(priced(1), priced(2))
    server.command("XTRIM", schema.stream_key(0), "MAXLEN", "1")

    with pytest.raises(LedgerError, match="1 of 2 requests are no longer kept one by one"):
        restatement(reader, MONTH, SEED)


def test_progress_is_told(add: Add) -> None:
    told: list[tuple[int, float]] = []
    usual = priced(1)
    reader = add(*(replace(usual, request_id=charge(number).request_id) for number in range(TICK_EVERY)))

    restatement(reader, MONTH, SEED, lambda count, ratio: told.append((count, ratio)))

    assert told == [(TICK_EVERY, 1.0)]


def test_what_was_erased_is_in_neither_statement_and_counted(add: Add) -> None:
    reader = add(priced(1), priced(2, user=BOB), priced(3, user=BOB))
    reader.people.erase(BOB)

    made = restatement(reader, MONTH, SEED)

    assert made.charged.total.requests_count == made.recomputed.total.requests_count == 1
    assert made.erased_count == 2
