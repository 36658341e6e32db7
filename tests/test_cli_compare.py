"""`headwater compare`: what it prints and refuses, and what its table, JSON, CSV and bars say of the same rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headwater import catalog
from headwater.cases import Case
from headwater.cli import app
from headwater.cli.comparisons import as_bars, as_csv, as_json, as_table, remarks
from headwater.cli.reasons import as_lines, pairs
from headwater.comparisons import Row, compared
from headwater.records import Footprint, Site, Unknown
from tests.places import figure, tower

ASKED = ("compare", "--input", "500", "--output", "300")
ONE = (*ASKED, "--models", "llama-3.1-70b")
MANY = (*ASKED, "--models", "llama-3.1-70b,llama-3.1-8b", "--sites", "us-average,local,google-fleet")
SETS = ("--factors", "seed-2023,current-2026.11")


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def printed(*arguments: str) -> str:
    code, out, _ = run(*arguments)
    assert code == 0
    return out


def document(*arguments: str) -> dict[str, Any]:
    found = json.loads(printed(*arguments, "--json"))
    assert isinstance(found, dict)
    return found


def case(**given: Any) -> Case:
    asked: dict[str, Any] = {"model": "llama-3.1-70b", "input_tokens": 500, "output_tokens": 300} | given
    return Case(**asked)


def body(table: str) -> list[str]:
    """The rows of the table, spaces squeezed."""
    lines = table.splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("-")) + 1
    rest = lines[first:]
    return [" ".join(line.split()) for line in (rest[: rest.index("")] if "" in rest else rest)]


def head(table: str) -> dict[str, str]:
    """What stands above it."""
    lines = table.partition("\n\n")[0].splitlines()
    return {line[: len("WUE basis")].strip(): line[len("WUE basis") :].strip() for line in lines}


def site(**figures: Any) -> Site:
    """A site of the test."""
    return replace(catalog.site("us-average"), **figures)


# -- the table -----------------------------------------------------------------------------------------------------------------


def test_the_least_water_comes_first_with_multiples_of_it() -> None:
    rows = body(printed(*MANY))

    multiples = [float(row.split()[-1].replace(",", "")) for row in rows]
    assert len(rows) == 6
    assert multiples == sorted(multiples)
    assert rows[0].endswith(" 1.00")
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert {row.split()[1] for row in rows} == {"llama-3.1-70b", "llama-3.1-8b"}


def test_columns_are_what_differs_and_the_rest_stands_above() -> None:
    table = printed(*ASKED, "--models", "llama-3.1-70b", "--sites", "us-average,google-fleet", "--concurrency", "8")

    titles = table.splitlines()[len(head(table)) + 1]
    assert " ".join(titles.split()) == (
        "# site energy Wh (low to high) water mL (low to high) on-site off-site CO2e g (low to high) method x"
    )
    told = head(table)
    assert told["request"] == "500 tokens in, 300 out"
    assert told["in flight"] == "8, as given"
    assert (told["model"], told["hardware"], told["factors"]) == ("llama-3.1-70b", "hgx-h100", "current-2026.11")
    assert (told["runs as"], told["hydro"], told["grid"]) == ("4x bf16", "include", "usa")
    assert "site" not in told


def test_a_single_combination_is_a_table_of_one_row() -> None:
    (row,) = body(printed(*ONE))

    assert row.startswith("1 ")
    assert row.endswith("assumed 1.00")


def test_the_water_of_a_row_is_that_of_estimate() -> None:
    (row,) = body(printed(*ONE))
    estimated = printed("estimate", "llama-3.1-70b", "--input", "500", "--output", "300").splitlines()[-1]

    figures = " ".join(estimated.split()[4:-1])

    assert figures.split(" (")[0] in row
    for shown in figures.split():
        assert shown in row.split()


@pytest.mark.parametrize(("by", "name"), [("water", "water_l"), ("energy", "energy_j"), ("carbon", "carbon_g")])
def test_rows_are_sorted_by_what_is_asked(by: str, name: str) -> None:
    found = document(*MANY, "--by", by)

    amounts = [one[name] for one in found["estimates"]]
    assert amounts == sorted(amounts)
    assert [one["multiple_of_least"] for one in found["estimates"]] == pytest.approx(
        [amount / amounts[0] for amount in amounts]
    )
    assert found["by"] == by


def test_the_order_of_the_options_does_not_change_the_rows() -> None:
    lists = [
        ("--models", ["llama-3.1-8b", "llama-3.1-70b"]),
        ("--sites", ["local", "us-average"]),
        ("--factors", ["seed-2023", "current-2026.11"]),
        ("--hydro", ["include", "exclude"]),
    ]

    def options(order: Sequence[tuple[str, list[str]]], *, turned: bool) -> list[str]:
        return [word for name, names in order for word in (name, ",".join(names[::-1] if turned else names))]

    orders = list(permutations(lists))[::5]

    found = [printed(*ASKED, *options(order, turned=place % 2 == 1)) for place, order in enumerate(orders)]

    assert len({"\n".join(body(table)) for table in found}) == 1
    assert len(body(found[0])) == 16


# -- what must be said -----------------------------------------------------------------------------------------------------------


def test_rows_whose_intervals_hold_each_others_amounts_have_no_certain_order() -> None:
    near = printed(*ONE, "--sites", "us-average,google-fleet")
    far = printed(*ASKED, "--models", "gemma-3-270m,llama-3.1-70b", "--concurrency", "8")

    assert "The intervals of rows 1 and 2 overlap in water: their order is not certain." in near
    assert "Rows of one model on one server share the doubt about its energy" in near
    assert "overlap" not in far


def some(*waters: float) -> list[Row]:
    """Rows of so much water, each with an interval from 0.4 to 2.5 times it."""
    rows = []
    for place, water in enumerate(waters):
        one = case(
            model=("llama-3.1-8b", "llama-3.1-70b")[place % 2], hardware=("hgx-h100", "dgx-a100")[place // 2 % 2]
        )
        answer = one.footprint()
        assert isinstance(answer, Footprint)
        within = replace(answer.spread, water_low=0.4, water_high=2.5)
        made = replace(answer, onsite_l=water, offsite_l=0.0, spread=within)
        rows.append(Row(case=one, answer=made, multiple_of_least=water / waters[0]))
    return rows


def test_runs_of_doubt_are_told_in_few_lines() -> None:
    chain = list(remarks(some(1, 2, 4), by="water"))
    three = list(remarks(some(1, 1.5, 2), by="water"))
    two = list(remarks(some(1, 2, 100, 150), by="water"))
    many = list(remarks(some(*(base * 100**place for place in range(6) for base in (1, 2))), by="water"))

    assert chain == [
        "The intervals of rows 1 to 3 overlap in water, each with its neighbours: only the order of rows far apart is certain."
    ]
    assert three == ["The intervals of rows 1 to 3 overlap in water: their order is not certain."]
    assert [line.split(" overlap")[0][-7:] for line in two] == ["1 and 2", "3 and 4"]
    assert [line for line in many if line.startswith("The intervals")][-1].startswith("The intervals of rows 7 and 8")
    assert "So do those of 2 more groups of rows." in many


def test_sites_that_count_differently_are_never_ranked_silently() -> None:
    rows = compared(
        [
            case(site=site(name="drinks", wue_basis="withdrawal")),
            case(site=site(name="mute", wue_basis="unstated")),
            case(site=site(name="mum", wue_basis="unstated")),
            case(site=site(name="plain")),
            case(site=site(name="cooled", wue_method="tower", tower=tower())),
            case(factors="seed-2023"),
        ],
        by="water",
    )
    share = catalog.factor_set("current-2026.11").consumed_ratio
    assert share is not None

    table = as_table(rows, by="water")

    said = f"a withdrawal, of which {share.value:g} ({share.low:g} to {share.high:g}) counts as consumed"
    assert f"Water at the site, drinks: {said}: the consumed_ratio of current-2026.11." in table
    assert "Water at the site, mum, mute: a figure that does not say what it counts; all of it" in table
    assert f"with a range down to {share.low:g} of it" in table
    assert "Water at the site, plain: a consumption as published." in table
    assert "Water at the site, cooled: a consumption, computed from the cooling." in table
    assert "Water at the site, seed-2023: the set's own figure for every site (withdrawal-like" in table
    named = {name: next(row for row in body(table) if f" {name} " in row) for name in ("drinks", "mute", "cooled")}
    assert " withdrawal " in named["drinks"]
    assert " unstated " in named["mute"]
    assert " computed " in named["cooled"]


def test_a_set_that_takes_withdrawals_as_they_are_says_so() -> None:
    sites = [site(name="drinks", wue_basis="withdrawal"), site(name="mute", wue_basis="unstated"), site(name="plain")]
    rows = compared([case(site=one, factors="li-2023") for one in sites], by="water")

    said = list(remarks(rows, by="water"))

    assert "Water at the site, drinks: a withdrawal, taken as a consumption, as li-2023 does." in said
    assert any(
        "mute: a figure that does not say what it counts, taken as a consumption, as li-2023" in line for line in said
    )


def test_a_set_without_a_basis_of_its_figure_says_no_more() -> None:
    seed = catalog.factor_set("seed-2023")
    assert seed.wue_l_per_it_kwh is not None
    bare = replace(seed, wue_l_per_it_kwh=replace(seed.wue_l_per_it_kwh, basis=""))

    said = list(remarks(compared([case(), case(factors=bare)], by="water"), by="water"))

    assert "Water at the site, seed-2023: the set's own figure for every site, taken as it is." in said


def test_one_basis_needs_no_words() -> None:
    table = printed(*ONE, "--sites", "us-average,google-fleet", "--hydro", "include")

    assert "Water at the site" not in table
    assert "hydro=" not in table


def test_rows_with_and_without_reservoirs_are_told_apart() -> None:
    both = printed(*ONE, "--hydro", "include,exclude")
    none_of_them = printed(*ONE, "--factors", "seed-2023", "--hydro", "include,exclude")

    assert [row.split()[1] for row in body(both)] == ["exclude", "include"]
    assert "rows of the two do not count the same" in both
    assert "rows of the two" not in none_of_them


def test_a_least_of_zero_has_no_multiples() -> None:
    answer = case().footprint()
    assert isinstance(answer, Footprint)
    dry = replace(answer, onsite_l=0.0, offsite_l=0.0)
    rows = [Row(case=case(), answer=dry, multiple_of_least=None)]

    table = as_table(rows, by="water")

    assert "The least is zero, so there are no multiples of it." in table
    assert body(table)[0].endswith("assumed")


def test_what_is_not_known_has_a_reason_in_every_format() -> None:
    rows = [
        Row(case=case(), answer=case().footprint(), multiple_of_least=1.0),
        Row(case=case(site="local"), answer=Unknown(reason="time-unknown"), multiple_of_least=None),
    ]

    table, sheet = as_table(rows, by="water"), list(csv.DictReader(io.StringIO(as_csv(rows))))
    _, estimate = as_json(rows, by="water")["estimates"]
    (panel,) = as_bars(rows, by="water").panels

    assert body(table)[1].split().count("unknown") == 3
    assert body(table)[1].endswith("time-unknown")
    assert sheet[1]["reason"] == "time-unknown"
    assert sheet[1]["water_l"] == sheet[1]["multiple_of_least"] == ""
    assert estimate["reason"] == "time-unknown"
    assert estimate["multiple_of_least"] is None
    assert (panel.bars[1].value, panel.bars[1].reason) == (None, "time-unknown")


# -- why factor sets differ --------------------------------------------------------------------------------------------------------


def test_the_set_of_2023_beside_the_current_one_with_the_reasons() -> None:
    table = printed(*ONE, *SETS)

    seed = next(row for row in body(table) if "seed-2023" in row)
    assert " 15 (10 to 20) 15.1 0 " in seed
    whole = seed.split()[-1]
    why = table[table.index("Why seed-2023") :]
    assert why.startswith(f"Why seed-2023 gives {whole} times the water of current-2026.11 (llama-3.1-70b, hgx-h100")
    assert "4.00 Wh, the set's own figure for every request, against 0." in why
    assert "3.79 L, the set's own: 1 US gallon, against " in why
    assert "none: the set counts no water there, against " in why
    for factor in ("flat_it_j_per_request", "wue_l_per_it_kwh", "pue", "ewif_l_per_kwh"):
        source = getattr(catalog.factor_set("seed-2023"), factor).source
        assert source in " ".join(why.split())
    assert catalog.factor_set("current-2026.11").title in " ".join(why.split())
    grid = catalog.grid(catalog.site("us-average").grid).ewif_hydro_include_l_per_kwh
    assert grid.source in " ".join(why.split())
    assert catalog.site("us-average").pue.source in " ".join(why.split())


def test_the_ratios_that_are_printed_multiply_to_the_whole() -> None:
    (why,) = document(*ONE, *SETS)["reasons"]

    assert why["energy_ratio"] * why["water_per_energy_ratio"] == pytest.approx(why["water_ratio"], rel=1e-12)
    assert why["factors"] == ["seed-2023", "current-2026.11"]
    estimates = {one["deployment"]["factors"]: one for one in document(*ONE, *SETS)["estimates"]}
    assert why["water_ratio"] == pytest.approx(
        estimates["seed-2023"]["water_l"] / estimates["current-2026.11"]["water_l"]
    )


def test_each_set_is_explained_once_against_the_current_one_or_the_first() -> None:
    three = document(*MANY, "--factors", "li-2023,current-2026.11,seed-2023")["reasons"]
    two = document(*MANY, "--factors", "li-2023,seed-2023")["reasons"]

    assert [why["factors"] for why in three] == [["li-2023", "current-2026.11"], ["seed-2023", "current-2026.11"]]
    assert [why["factors"] for why in two] == [["seed-2023", "li-2023"]]
    assert document(*MANY)["reasons"] == []


def test_reasons_fit_whatever_figures_a_set_and_a_place_have() -> None:
    current = catalog.factor_set("current-2026.11")
    cooled = site(name="cooled", wue_method="tower", wue_l_per_it_kwh=None, tower=tower())
    two = replace(current, name="two", wue_l_per_it_kwh=figure(2 * 3.785411784, unit="L/kWh"))
    odd = replace(
        current, name="odd", wue_l_per_it_kwh=figure(1.0, unit="L/kWh"), ewif_l_per_kwh=figure(2.0, unit="L/kWh")
    )
    dry = replace(current, name="dry", wue_l_per_it_kwh=figure(0.0, unit="L/kWh"))
    rows = compared([case(site=cooled, factors=one) for one in (current, two, odd, dry)], by="water")

    text = {
        pair.one.factors.name: " ".join(" ".join(as_lines(pair)).split())
        for pair in pairs(rows, ["current-2026.11", "two", "odd", "dry"])
    }

    assert "7.57 L, the set's own: 2 US gallons, against" in text["two"]
    assert "L, WUE of cooled" in text["two"]
    assert "1.00 L, the set's own, against" in text["odd"]
    assert "EWIF 2.00 (the set's own) x PUE 1.4" in text["odd"]
    assert "at the site none, against" in text["dry"]
    assert "at the site: computed from the cooling of cooled" in text["dry"]


def test_a_grid_without_water_is_no_counting_rule() -> None:
    grid = catalog.grid("usa")
    nothing = replace(grid.ewif_hydro_include_l_per_kwh, value=0.0, low=0.0)
    current = case()
    windy = replace(current.deployment, grid=replace(grid, ewif_hydro_include_l_per_kwh=nothing))
    current.__dict__["deployment"] = windy
    rows = compared([current, case(factors="seed-2023")], by="water")

    (pair,) = pairs(rows, ["seed-2023", "current-2026.11"])

    assert "none: the set counts no water there, against none" in "\n".join(as_lines(pair))


def test_without_a_ratio_there_is_nothing_to_explain() -> None:
    dry, unknown = case(factors="seed-2023"), case(factors="li-2023")
    answer = dry.footprint()
    assert isinstance(answer, Footprint)
    rows = [
        Row(case=case(), answer=case().footprint(), multiple_of_least=1.0),
        Row(case=dry, answer=replace(answer, onsite_l=0.0), multiple_of_least=None),
        Row(case=unknown, answer=Unknown(reason="time-unknown"), multiple_of_least=None),
    ]
    names = ["current-2026.11", "seed-2023", "li-2023"]

    assert pairs(rows, names) == []
    assert pairs([replace(rows[0], answer=Unknown(reason="time-unknown")), rows[1]], names) == []


# -- for programs, and for the eye ---------------------------------------------------------------------------------------------------


def test_json_holds_what_estimate_says_of_each_row() -> None:
    found = document(*ONE, "--precision", "fp8", "--cached", "100")["estimates"]
    estimated = json.loads(
        printed(
            *("estimate", "llama-3.1-70b", "--input", "500", "--output", "300", "--precision", "fp8"),
            *("--cached", "100", "--json"),
        )
    )["estimates"]

    assert found == [{**estimated[0], "multiple_of_least": 1.0}]


def test_csv_has_the_rows_of_the_table_in_its_order() -> None:
    sheet = list(csv.DictReader(io.StringIO(printed(*MANY, "--csv"))))
    found = document(*MANY)["estimates"]

    assert [float(row["water_l"]) for row in sheet] == [one["water_l"] for one in found]
    assert [row["site"] for row in sheet] == [one["deployment"]["site"] for one in found]
    for row in sheet:
        assert float(row["water_onsite_l"]) + float(row["water_offsite_l"]) == pytest.approx(float(row["water_l"]))
        assert float(row["water_l_low"]) <= float(row["water_l"]) <= float(row["water_l_high"])
        assert row["wue_basis"]


@pytest.mark.parametrize("by", ["water", "energy", "carbon"])
@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_the_plot_shows_the_rows_as_bars(by: str, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"bars.{suffix.upper()}"

    table = printed(*MANY, "--plot", str(file), "--by", by)

    drawn = file.read_text(encoding="utf-8")
    assert body(table)
    assert "<svg" in drawn
    assert "1  llama-3.1-8b, " in drawn
    assert ("off-site" in drawn) is (by == "water")


def test_bars_of_one_row_name_the_model_and_many_rows_are_cut() -> None:
    one = as_bars(compared([case()], by="water"), by="water")
    row = compared([case()], by="water")[0]
    many = as_bars([row] * 45, by="energy")

    assert one.panels[0].bars[0].label == "1  llama-3.1-70b"
    assert len(many.panels[0].bars) == 40
    assert "the 40 least of 45" in many.subtitle


# -- what is refused -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (ASKED, "--models"),
        (
            (*ASKED, "--models", "llama-3.1-7b"),
            "'llama-3.1-7b' is not in the catalog of models; close or known: llama-3.1-",
        ),
        ((*ONE, "--sites", "us-averag"), "'us-averag' is not in the catalog of sites; close or known: us-average"),
        ((*ONE, "--hardware", "hgx-h10"), "close or known: hgx-h100"),
        ((*ONE, "--factors", "seed-2022"), "close or known: seed-2023"),
        ((*ONE, "--hydro", "maybe"), "--hydro 'maybe' must be include or exclude, or both with a comma between them"),
        ((*ONE, "--sites", ","), "--sites ',' names nothing"),
        ((*ONE, "--concurrency", "0"), "--concurrency must be at least 1"),
        ((*ONE, "--accelerators", "0"), "--accelerators must be"),
        ((*ONE, "--cached", "501"), "--cached (501) exceed --input (500)"),
        ((*ONE, "--json", "--csv"), "--json and --csv are two formats"),
        ((*ONE, "--plot", "bars.png"), "--plot bars.png must end in .svg, .html"),
        ((*ONE, "--plot", "no/such/bars.svg"), "there is no folder"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_remedy(arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run(*arguments)

    assert code == 2
    assert out == ""
    assert words in err


def test_more_than_a_thousand_combinations_are_refused_before_any_is_looked_up() -> None:
    models, sites = (",".join(f"{kind}-{number}" for number in range(count)) for kind, count in (("m", 143), ("s", 7)))

    code, _, err = run(*ASKED, "--models", models, "--sites", sites)

    assert code == 2
    assert (
        "1,001 combinations (--models 143, --sites 7) are more than 1,000; shorten a list, or compare in parts" in err
    )
    assert "not in the catalog" in run(*ASKED, "--models", models, "--sites", "a,b,c,d,e,f")[2]


def test_what_hardly_can_be_is_compared_with_a_warning_said_once() -> None:
    _, out, err = run(*ASKED, "--models", "llama-3.1-405b", "--hardware", "dgx-a100", "--sites", "local,us-average")

    assert len(body(out)) == 2
    assert err.count("do not fit into the memory of 8 of dgx-a100") == 1
