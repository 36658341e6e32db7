"""Cases side by side: their order, what is doubtful about it, and the ratios between two answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog
from headwater.cases import Case
from headwater.comparisons import Amount, Row, basis, bounds, compared, doubtful_runs, factored, share_doubts
from headwater.records import Footprint, Unknown
from tests.places import tower

MODELS = ("llama-3.1-8b", "llama-3.1-70b", "gemma-3-270m")
SITES = ("local", "us-average", "azure-westus3", "google-fleet")
SETS = ("current-2026.11", "seed-2023", "li-2023")
BY: tuple[Amount, ...] = ("water", "energy", "carbon")


def case(**given_: Any) -> Case:
    asked: dict[str, Any] = {"model": "llama-3.1-70b", "input_tokens": 500, "output_tokens": 300} | given_
    return Case(**asked)


def answered(**given_: Any) -> Footprint:
    found = case(**given_).footprint()
    assert isinstance(found, Footprint)
    return found


CASES = [case(model=model, site=site, factors=name) for model in MODELS for site in SITES for name in SETS]


def with_water(value: float, low_ratio: float, high_ratio: float) -> Row:
    """A row of so much water."""
    answer = answered()
    within = replace(answer.spread, water_low=low_ratio, water_high=high_ratio)
    return Row(
        case=case(), answer=replace(answer, onsite_l=value, offsite_l=0.0, spread=within), multiple_of_least=None
    )


def shown(rows: list[Row]) -> list[tuple[str, str, str, float | None]]:
    return [
        (at.model.name, at.site.name, at.factors.name, row.multiple_of_least)
        for row in rows
        for at in [row.case.deployment]
    ]


@pytest.mark.parametrize("by", BY)
def test_rows_are_sorted_and_tell_their_multiple_of_the_least(by: Amount) -> None:
    rows = compared(CASES, by=by)

    amounts = [bounds(row.answer, by).value for row in rows if isinstance(row.answer, Footprint)]
    assert len(amounts) == len(CASES)
    assert amounts == sorted(amounts)
    assert [row.multiple_of_least for row in rows] == [pytest.approx(amount / amounts[0]) for amount in amounts]
    assert rows[0].multiple_of_least == 1


@given(st.permutations(CASES), st.sampled_from(BY))
def test_the_order_of_the_cases_does_not_change_the_rows(cases: list[Case], by: Amount) -> None:
    assert shown(compared(cases, by=by)) == shown(compared(CASES, by=by))


def test_a_case_that_comes_twice_has_one_row_also_under_another_name() -> None:
    alias = catalog.model("llama-3.1-70b").aliases[0]

    rows = compared([case(), case(), case(model=alias)], by="water")

    assert len(rows) == 1


@given(st.sampled_from(CASES))
def test_parts_add_up_to_the_water_and_lie_in_its_interval(one: Case) -> None:
    (row,) = compared([one], by="water")
    assert isinstance(row.answer, Footprint)

    at = bounds(row.answer, "water")

    assert row.answer.onsite_l + row.answer.offsite_l == at.value
    assert at.low <= at.value <= at.high


def test_where_the_least_is_zero_there_is_no_multiple(monkeypatch: pytest.MonkeyPatch) -> None:
    dry = replace(answered(), onsite_l=0.0, offsite_l=0.0)
    nothing = case(site="local")
    monkeypatch.setitem(nothing.__dict__, "_answer", dry)

    rows = compared([case(), nothing], by="water")

    assert [row.multiple_of_least for row in rows] == [None, None]
    assert rows[0].answer == dry


def test_what_has_no_footprint_comes_last_and_without_a_multiple(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = case(site="local")
    monkeypatch.setitem(unknown.__dict__, "_answer", Unknown(reason="time-unknown"))

    rows = compared([unknown, case()], by="water")

    assert [row.multiple_of_least for row in rows] == [1, None]
    assert rows[1].answer == Unknown(reason="time-unknown")
    assert doubtful_runs(rows, by="water") == []


def test_nothing_compared_is_no_rows() -> None:
    assert compared([], by="water") == []


@pytest.mark.parametrize(
    ("rows", "runs"),
    [
        ([(1, 0.9, 1.1), (2, 0.9, 1.1)], []),
        ([(1, 0.4, 2.5), (2, 0.4, 2.5)], [(0, 1)]),
        # They overlap, but neither reaches the other's amount.
        ([(1, 0.9, 1.8), (2, 0.8, 1.1)], []),
        # One reaches the other, which does not reach back.
        ([(1, 0.9, 2.5), (2, 0.9, 1.1)], []),
        ([(1, 0.1, 1.1), (2, 0.4, 1.1)], []),
        ([(1, 0.3, 3.0), (1.5, 0.3, 3.0), (2, 0.3, 3.0), (20, 0.9, 1.1)], [(0, 2)]),
        ([(1, 0.4, 2.5), (2, 0.4, 2.5), (4, 0.4, 2.5)], [(0, 1), (1, 2)]),
        ([(1, 1, 1), (1, 1, 1)], [(0, 1)]),
        ([(1, 0.4, 2.5), (2, 0.4, 1.2), (2.4, 0.4, 2.5), (2.5, 0.4, 2)], [(0, 2), (2, 3)]),
    ],
)
def test_an_order_is_doubtful_where_intervals_hold_each_others_amounts(
    rows: list[tuple[float, float, float]], runs: list[tuple[int, int]]
) -> None:
    found = doubtful_runs([with_water(*row) for row in rows], by="water")

    assert found == runs


def test_rows_of_one_model_on_one_server_share_their_doubt() -> None:
    rows = compared([case(), case(site="local"), case(model="llama-3.1-8b")], by="energy")

    assert not share_doubts(rows, 0, 1)
    assert share_doubts(rows, 0, 2)


def test_the_basis_is_the_sets_the_sites_or_computed() -> None:
    site = catalog.site("us-average")
    cooled = replace(site, wue_method="tower", tower=tower())

    assert basis(case()) == "consumption"
    assert basis(case(site="azure-westus3")) == catalog.site("azure-westus3").wue_basis
    assert basis(case(site=replace(site, wue_basis="withdrawal"))) == "withdrawal"
    assert basis(case(factors="seed-2023")) == "set"
    assert basis(case(site=cooled)) == "computed"


@given(st.sampled_from(CASES), st.sampled_from(CASES))
def test_the_ratios_multiply_to_the_whole_exactly(one: Case, other: Case) -> None:
    mine, its = one.footprint(), other.footprint()
    assert isinstance(mine, Footprint)
    assert isinstance(its, Footprint)

    ratios = factored(mine, its)

    assert ratios is not None
    assert ratios.energy_ratio * ratios.water_per_energy_ratio == ratios.water_ratio
    assert float(ratios.water_ratio) == pytest.approx(mine.water_l / its.water_l)
    assert float(ratios.energy_ratio) == pytest.approx(mine.it_j / its.it_j)


def test_there_is_no_ratio_to_nothing() -> None:
    answer = answered()
    dry = replace(answer, onsite_l=0.0, offsite_l=0.0)

    assert factored(answer, dry) is None
    assert factored(dry, answer) is None


def test_a_request_of_2023_takes_10_to_20_millilitres_by_the_figures_of_2023() -> None:
    at = bounds(answered(factors="seed-2023"), "water")

    assert at.low == pytest.approx(0.010, rel=1e-3)
    assert at.value == pytest.approx(0.01514, rel=1e-3)
    assert at.high == pytest.approx(0.020, rel=1e-3)
