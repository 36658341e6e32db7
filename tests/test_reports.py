"""Statements: a total is the sum of its rows, units stand in the heads, and what cannot be added up is not hidden."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigError, LedgerError
from headwater.records import AccountRow
from headwater.reports import as_csv, as_json, as_table, month_now, statement
from headwater.reports.statement import SUMS, CountedBy, Statement, add

MONTH = "2026-11"
ADA = AccountRow(
    user="a" * 32,
    label="ada",
    period=MONTH,
    requests_count=3,
    input_tokens=100,
    cached_tokens=20,
    output_tokens=50,
    it_microjoules=3_000_000_000,
    energy_microjoules=3_600_000_000,
    energy_low_microjoules=1_800_000_000,
    energy_high_microjoules=7_200_000_000,
    onsite_nanolitres=1_000_000,
    offsite_nanolitres=2_000_000,
    water_low_nanolitres=1_500_000,
    water_high_nanolitres=9_000_000,
    carbon_micrograms=400_000,
    carbon_low_micrograms=100_000,
    carbon_high_micrograms=900_000,
)
GRACE = replace(
    ADA, user="b" * 32, label=None, requests_count=1, unknown_count=1, incomplete_count=1, not_upstream_count=1
)


class _Reader:
    """Stands in for the ledger's reader where only the arithmetic is looked at; the real one is in test_end_to_end."""

    def __init__(self, rows: list[AccountRow], totals: AccountRow | None = None) -> None:
        self.rows = rows
        self.kept = totals if totals is not None else add(tuple(rows), MONTH)

    def month_rows(self, _month: str) -> list[AccountRow]:
        return self.rows

    def totals(self, _period: str) -> AccountRow:
        return self.kept

    def bases(self, _month: str) -> dict[str, int]:
        return {}


def _made(*rows: AccountRow) -> Statement:
    reader: Any = _Reader(list(rows))
    return statement(reader, MONTH)


_rows = st.builds(
    AccountRow,
    user=st.text("0123456789abcdef", min_size=32, max_size=32),
    label=st.none(),
    period=st.just(MONTH),
    **{name: st.integers(0, 2**62) for name in SUMS},
)


@given(st.lists(_rows, max_size=5))
def test_the_total_is_the_exact_sum_of_the_rows(rows: list[AccountRow]) -> None:
    made = _made(*rows)

    for name in SUMS:
        assert getattr(made.total, name) == sum(getattr(row, name) for row in rows)


@given(_rows)
def test_csv_and_json_carry_exact_decimals(row: AccountRow) -> None:
    made = _made(row)

    from_csv = next(csv.DictReader(io.StringIO(as_csv(made))))
    from_json = json.loads(as_json(made))["rows"][0]

    assert int(from_csv["requests"]) == from_json["requests"] == row.requests_count
    if 0 < row.requests_count == row.unknown_count:
        assert (from_csv["energy_j"], from_json["energy_j"]) == ("", None)
        return
    for values in (from_csv, from_json):
        assert Decimal(values["energy_j"]) * 10**6 == row.energy_microjoules
        assert Decimal(values["water_ml"]) * 10**6 == row.water_nanolitres
        assert Decimal(values["carbon_g"]) * 10**6 == row.carbon_micrograms


def test_the_table_aligns_names_units_and_totals() -> None:
    text = as_table(_made(ADA, GRACE))

    assert text.startswith("Usage statement 2026-11 (UTC)\n")
    head, _, ada, grace, _, total = text.splitlines()[2:8]
    assert "energy Wh" in head
    assert "water mL" in head
    assert ada.split() == [
        "ada",
        "3",
        "100",
        "20",
        "50",
        "1.00",
        "(0.500",
        "to",
        "2.00)",
        "3.00",
        "(1.50",
        "to",
        "9.00)",
        "0.400",
    ]
    assert grace.startswith("b" * 32)
    assert grace.split()[-3:] == ["unknown"] * 3
    assert total.split()[:2] == ["total", "4"]
    assert "2.00" in total
    assert "1 of 4 requests have no footprint" in text
    assert "1 of 4 requests did not complete" in text
    assert "1 of 4 requests came without token counts" in text


def test_an_empty_month_is_a_statement_of_nothing() -> None:
    text = as_table(_made())

    assert text.splitlines()[-1].split() == [
        "total",
        "0",
        "0",
        "0",
        "0",
        "0",
        "(0",
        "to",
        "0)",
        "0",
        "(0",
        "to",
        "0)",
        "0",
    ]
    assert as_csv(_made()).count("\n") == 1


def test_a_label_that_a_sheet_would_run_is_defused() -> None:
    row = next(csv.DictReader(io.StringIO(as_csv(_made(replace(ADA, label="=HYPERLINK(1)"))))))

    assert row["label"] == "'=HYPERLINK(1)"


def test_control_characters_of_a_label_are_shown_and_not_obeyed() -> None:
    text = as_table(_made(replace(ADA, label="\x1b[2Jada\ntotal")))

    assert r"\x1b[2Jada\ntotal  " in text
    assert "\x1b" not in text


def test_accounts_that_do_not_add_up_to_the_totals_are_an_error_that_names_both() -> None:
    reader: Any = _Reader([ADA], replace(add((ADA,), MONTH), output_tokens=51))

    with pytest.raises(LedgerError, match="output_tokens add up to 50, the ledger's own total is 51"):
        statement(reader, MONTH)


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "november", "2026-11-01", "0000-01", ""])
def test_a_month_that_is_none_is_named(month: str) -> None:
    reader: Any = _Reader([])

    with pytest.raises(ConfigError, match="YYYY-MM"):
        statement(reader, month)


def test_months_change_at_midnight_utc() -> None:
    assert month_now(1_796_083_199.999) == "2026-11"
    assert month_now(1_796_083_200.0) == "2026-12"


def test_large_amounts_keep_all_their_digits_in_the_table() -> None:
    text = as_table(_made(replace(ADA, energy_microjoules=5_850_000_000_000_000_000_0)))

    assert "16,250,000" in text


def test_a_statement_says_by_which_rules_it_was_charged_and_warns_of_sums_over_several() -> None:
    by = (
        CountedBy(requests_count=5, factors="current-2026.11", factors_hash="8c35", hydro="include", wue_basis="tower"),
        CountedBy(
            requests_count=3,
            factors="seed-2023",
            factors_hash="1284",
            hydro="exclude",
            wue_basis="set",
            own=("carbon",),
        ),
        CountedBy(requests_count=1),
    )
    made = replace(_made(), counted_by=by)

    table = as_table(made)

    assert "5 requests were charged under current-2026.11 (8c35), hydro=include, wue=tower." in table
    assert "3 requests were charged under seed-2023 (1284), hydro=exclude, wue=set, own figures: carbon." in table
    assert "1 requests were charged by rules that are not known any more." in table
    assert f"headwater recompute --month {MONTH} counts all by one" in table
    assert [each["factors"] for each in json.loads(as_json(made))["counted_by"]] == [
        "current-2026.11",
        "seed-2023",
        None,
    ]
