"""As charged and recomputed, side by side: exact decimals for programs, aligned lines for people, and nothing left unsaid."""

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

from headwater import catalog
from headwater.records import AccountRow
from headwater.reports import Restatement, Statement, restated_csv, restated_json, restated_table
from headwater.reports.statement import SUMS, add

MONTH = "2026-11"
CURRENT, SEED = catalog.factor_set("current-2026.11"), catalog.factor_set("seed-2023")
COUNTS = tuple(name for name in SUMS if name.endswith(("_count", "_tokens")) and name != "unknown_count")
_rows = st.builds(
    AccountRow,
    user=st.text("0123456789abcdef", min_size=32, max_size=32),
    label=st.none(),
    period=st.just(MONTH),
    **{name: st.integers(0, 2**62) for name in SUMS},
)
ADA = AccountRow(
    user="a" * 32,
    label="ada",
    period=MONTH,
    requests_count=1_300,
    input_tokens=100,
    output_tokens=50,
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
GRACE = replace(ADA, user="b" * 32, label=None, requests_count=1, unknown_count=1)


def restated(*pairs: tuple[AccountRow, AccountRow], **changes: Any) -> Restatement:
    def made(rows: tuple[AccountRow, ...]) -> Statement:
        return Statement(month=MONTH, rows=rows, total=add(rows, MONTH))

    values: dict[str, Any] = {
        "charged": made(tuple(before for before, _ in pairs)),
        "recomputed": made(tuple(after for _, after in pairs)),
        "charged_under": ((CURRENT, len(pairs)),),
        "recomputed_under": SEED,
        "found_count": 0,
        "lost_count": 0,
        "undeployed_count": 0,
        "undocumented_count": 0,
    }
    return Restatement(**(values | changes))


def words(line: str) -> str:
    """A line without its columns."""
    return " ".join(line.split())


def tenfold(row: AccountRow) -> AccountRow:
    """The same requests with ten times the footprint."""
    return replace(row, **{name: 10 * getattr(row, name) for name in SUMS if name not in {*COUNTS, "unknown_count"}})


@given(_rows, _rows)
def test_csv_and_json_carry_exact_decimals_of_both(before: AccountRow, other: AccountRow) -> None:
    after = replace(other, user=before.user, **{name: getattr(before, name) for name in COUNTS})
    made = restated((before, after))

    from_csv = next(csv.DictReader(io.StringIO(restated_csv(made))))
    from_json = json.loads(restated_json(made))["rows"][0]

    assert int(from_csv["requests"]) == before.requests_count
    for which, row in (("charged", before), ("recomputed", after)):
        values = {name.removeprefix(f"{which}_"): value for name, value in from_csv.items()}
        assert int(values["requests_without_footprint"]) == row.unknown_count
        if 0 < row.requests_count == row.unknown_count:
            assert (values["energy_j"], from_json[which]["energy_j"]) == ("", None)
            continue
        for given_values in (values, from_json[which]):
            assert Decimal(given_values["energy_j"]) * 10**6 == row.energy_microjoules
            assert Decimal(given_values["water_high_ml"]) * 10**6 == row.water_high_nanolitres
            assert Decimal(given_values["carbon_low_g"]) * 10**6 == row.carbon_low_micrograms


def test_a_row_of_csv_says_under_which_set_it_was_recomputed() -> None:
    row = next(csv.DictReader(io.StringIO(restated_csv(restated((ADA, tenfold(ADA)))))))

    assert (row["month"], row["user"], row["label"]) == (MONTH, ADA.user, "ada")
    assert (row["factors"], row["factors_hash"], row["hydro"]) == ("seed-2023", SEED.document_hash, "exclude")
    assert (row["charged_energy_j"], row["recomputed_energy_j"]) == ("3600", "36000")
    assert "energy_j" not in row
    assert "charged_requests" not in row


def test_a_label_that_a_sheet_would_run_is_defused() -> None:
    row = next(csv.DictReader(io.StringIO(restated_csv(restated((replace(ADA, label="=HYPERLINK(1)"), ADA))))))

    assert row["label"] == "'=HYPERLINK(1)"


def test_json_names_both_sets_and_the_requests_there_is_more_to_say_of() -> None:
    made = restated((ADA, ADA), found_count=1, lost_count=2, undeployed_count=3, undocumented_count=4, erased_count=5)

    document = json.loads(restated_json(made))

    assert document["v"] == 1
    assert document["charged_under"] == [
        {
            "factors": "current-2026.11",
            "factors_hash": CURRENT.document_hash,
            "hydro": "include",
            "title": CURRENT.title,
            "requests": 1,
        }
    ]
    assert document["recomputed_under"]["factors_hash"] == SEED.document_hash
    assert document["total"]["charged"] == document["total"]["recomputed"] == document["rows"][0]["charged"]
    assert list(document["requests"].values()) == [1, 2, 3, 4, 5]
    assert "5 more requests of this month are in neither: their single charges were erased." in restated_table(made)


def test_the_table_has_both_beside_each_other_with_ranges_under_both_sets() -> None:
    lines = restated_table(restated((ADA, tenfold(ADA)), (GRACE, replace(tenfold(ADA), label="grace")))).splitlines()

    assert lines[0] == "Usage statement 2026-11 (UTC), recomputed under another factor set"
    assert lines[2] == f"as charged   current-2026.11 ({CURRENT.document_hash}), hydro=include: {CURRENT.title}"
    assert lines[3] == f"recomputed   seed-2023 ({SEED.document_hash}), hydro=exclude: {SEED.title}"
    table = lines[5:]
    assert words(table[0]) == "user requests as charged (low to high) recomputed (low to high)"
    assert words(table[2]) == "ada 1,300 energy Wh 1.00 (0.500 to 2.00) 10.0 (5.00 to 20.0)"
    assert words(table[3]) == "water mL 3.00 (1.50 to 9.00) 30.0 (15.0 to 90.0)"
    assert words(table[4]) == "CO2e g 0.400 (0.100 to 0.900) 4.00 (1.00 to 9.00)"
    assert words(table[5]) == f"{'b' * 32} 1 energy Wh unknown 10.0 (5.00 to 20.0)"
    assert words(table[8]).startswith("-")
    assert words(table[9]).startswith("total 1,301 energy Wh 2.00")
    assert len({len(line) for line in table[1:5]}) == 1


def test_a_month_charged_under_several_sets_names_each() -> None:
    text = restated_table(restated((ADA, ADA), charged_under=((CURRENT, 1_200), (SEED, 100))))

    assert f"as charged   seed-2023 ({SEED.document_hash}), hydro=exclude: {SEED.title} (100 requests)\n" in text
    assert "(1,200 requests)\n" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("found_count", "had no footprint as charged and have one as recomputed"),
        ("lost_count", "had a footprint as charged and have none as recomputed"),
        ("undeployed_count", "were served by no known deployment"),
        ("undocumented_count", "were served by a deployment whose stored document is missing"),
    ],
)
def test_the_table_says_what_cannot_be_compared(name: str, words: str) -> None:
    assert f"1,007 of 1,300 requests {words}" in restated_table(restated((ADA, ADA), **{name: 1_007}))
    assert words not in restated_table(restated((ADA, ADA)))


def test_the_table_says_of_how_many_there_is_no_footprint() -> None:
    text = restated_table(restated((replace(ADA, unknown_count=3), replace(ADA, unknown_count=2))))

    assert "3 of 1,300 requests have no footprint as charged." in text
    assert "2 of 1,300 requests have no footprint as recomputed" in text


def test_control_characters_of_a_label_are_shown_and_not_obeyed() -> None:
    text = restated_table(restated((replace(ADA, label="\x1b[2Jada"), ADA)))

    assert r"\x1b[2Jada" in text
    assert "\x1b" not in text


def test_an_empty_month_is_a_restatement_of_nothing() -> None:
    made = restated()

    assert restated_csv(made).count("\n") == 1
    assert json.loads(restated_json(made))["rows"] == []
    assert "total" in restated_table(made)
