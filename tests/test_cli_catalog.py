"""What `headwater catalog` prints: from the catalog without a process, and the command as a user meets it."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any

import pytest

from headwater import catalog
from headwater.catalog.check import Problem
from headwater.catalog.kinds import KEEPS_DAYS
from headwater.cli.catalog import day_of
from headwater.cli.entries import as_text, document
from headwater.cli.listings import kinds_table, listed, table
from headwater.cli.problems import as_line, checked_document
from headwater.cli.waters import water_document, water_lines
from headwater.cli.writing import NARROWEST, WIDEST, hanging, number, width
from headwater.errors import ConfigError
from headwater.physics.litres import litres_per_it_kwh
from headwater.physics.rates import place_rates
from headwater.records import Factor
from tests.command import run

PROBLEM = Problem(kind="sites", entry="here", figure="pue", what="is stale", remedy="look it up")
ENTRIES = [(kind, name) for kind in catalog.KINDS for name in catalog.names(kind)]


def figures(record: Any) -> list[Factor]:
    """All figures of a record and of its parts."""
    if isinstance(record, Factor):
        return [record]
    if not is_dataclass(record):
        return []
    return [factor for field in fields(record) for factor in figures(getattr(record, field.name))]


def words(text: str) -> str:
    return " ".join(text.split())


# -- show -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_an_entry_shows_every_figure_with_its_range_its_source_and_its_date(kind: catalog.Kind, name: str) -> None:
    shown = words(as_text(kind, name, width=100))

    for factor in figures(catalog.entry(kind, name)):
        assert f"({number(factor.low, 7)} to {number(factor.high, 7)})" in shown
        assert words(factor.source) in shown
        assert words(factor.basis) in shown
        assert f"{factor.confidence}, checked {factor.checked}" in shown


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_an_entry_as_json_is_the_record_with_the_day_after_which_it_is_stale(kind: catalog.Kind, name: str) -> None:
    entry = catalog.entry(kind, name)

    made = json.loads(json.dumps(document(kind, name), allow_nan=False))

    assert (made["kind"], made["name"]) == (kind, name)
    assert {field.name for field in fields(entry)} <= set(made["entry"])
    for field in fields(entry):
        if isinstance(factor := getattr(entry, field.name), Factor):
            assert (made["entry"][field.name]["value"], made["entry"][field.name]["source"]) == (
                factor.value,
                factor.source,
            )
            assert (made["entry"][field.name]["stale_after"] is None) == (KEEPS_DAYS[kind] is None)


def test_a_site_shows_its_electricity_and_both_conventions() -> None:
    shown = as_text("sites", "azure-westus3", width=120)

    site = catalog.site("azure-westus3")
    assert f"the electricity behind it: {site.grid} (grids)" in shown
    assert f"under {catalog.CURRENT_FACTORS}" in shown
    for label in ("hydro included", "hydro excluded", "WUE, consumption", "WUE, withdrawal"):
        assert label in shown
    assert words(catalog.grid(site.grid).carbon_g_per_kwh.source) in words(shown)


@pytest.mark.parametrize("name", catalog.names("sites"))
def test_the_water_of_a_site_is_what_it_evaporates_and_what_its_electricity_does(name: str) -> None:
    site = catalog.site(name)
    grid = catalog.grid(site.grid)

    made = water_document(site)

    for hydro, ewif in (("include", grid.ewif_hydro_include_l_per_kwh), ("exclude", grid.ewif_hydro_exclude_l_per_kwh)):
        litres = made["l_per_it_kwh"][f"hydro_{hydro}"]
        for side in ("low", "value", "high"):
            assert litres["onsite"][side] == made["consumption_l_per_it_kwh"][side]
            assert litres["offsite"][side] == pytest.approx(getattr(site.pue, side) * getattr(ewif, side), rel=1e-12)
            assert litres["total"][side] == pytest.approx(litres["onsite"][side] + litres["offsite"][side], rel=1e-12)


def test_a_factor_set_with_figures_of_its_own_overrides_the_place() -> None:
    site = catalog.site("azure-westus3")

    litres = litres_per_it_kwh(place_rates(catalog.factor_set("seed-2023"), site, catalog.grid(site.grid)))

    assert litres["onsite"].value == litres["total"].value == 3.785411784
    assert litres["offsite"].value == 0


def test_a_withdrawal_is_unknown_where_only_a_consumption_is_reported_and_equal_where_it_is_reported() -> None:
    reported = list(water_lines(catalog.site("us-average"), width=120))
    by_basis = {catalog.site(name).wue_basis: catalog.site(name) for name in catalog.names("sites")}

    assert "  WUE, withdrawal   not known" in reported
    assert "  method            consumption: as its operator reports it" in reported
    if "withdrawal" in by_basis:
        taken = by_basis["withdrawal"]
        assert taken.wue_l_per_it_kwh is not None
        made = water_document(taken)
        assert made["method"] == "from-withdrawal"
        assert made["withdrawal_l_per_it_kwh"]["value"] == taken.wue_l_per_it_kwh.value


def test_a_site_with_a_tower_shows_its_parts_and_the_terms_of_its_water() -> None:
    name = next(name for name in catalog.names("sites") if catalog.site(name).wue_method == "tower")

    shown = as_text("sites", name, width=120)

    tower = catalog.site(name).tower
    assert tower is not None
    assert f"  tower: {tower.name}" in shown
    assert "    evaporated\n" in shown
    assert "tower: computed from its cooling tower" in shown
    assert shown.count(words(tower.cycles_count.source)[:40]) == 1


def test_a_factor_set_says_what_its_hash_covers() -> None:
    ours = as_text("factor_sets", catalog.CURRENT_FACTORS, width=120)
    seed = document("factor_sets", "seed-2023")

    assert catalog.factor_set(catalog.CURRENT_FACTORS).document_hash in ours
    assert "the hash covers  its own rules and every site" in ours
    assert seed["hash_covers"].startswith("its own rules and the carbon of every grid")


def test_a_model_shows_its_experts_and_an_engine_its_bands() -> None:
    model = next(name for name in catalog.names("models") if catalog.model(name).experts)

    assert "  experts\n" in as_text("models", model, width=120)
    assert "observed: x" in as_text("engines", "vllm-0.11", width=120)


@pytest.mark.parametrize("columns", [80, 97, 120])
def test_long_texts_hang_within_the_width(columns: int) -> None:
    lines = as_text("sites", "azure-westus3", width=columns).splitlines()

    # A table and a word that is longer than a line are not broken.
    assert [line for line in lines if len(line) > columns and "hydro" not in line and "L consumed" not in line] == []
    assert hanging("a bb ccc", width=7, first="- ") == ["- a bb", "  ccc"]
    assert hanging("a bb ccc", width=7, first="- ", further="") == ["- a bb", "ccc"]


def test_the_width_is_that_of_the_terminal_within_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for columns in ("20", "100", "500"):
        monkeypatch.setenv("COLUMNS", columns)
        found.append(width())

    assert found == [NARROWEST, 100, WIDEST]


def test_numbers_are_whole_in_full_and_else_short() -> None:
    assert [number(value, 4) for value in (0, 8e10, 1.5, 0.123456, 1e15, 2.02e-5, -10.4)] == [
        "0",
        "80,000,000,000",
        "1.5",
        "0.1235",
        "1e+15",
        "2.02e-05",
        "-10.4",
    ]


# -- find -----------------------------------------------------------------------------------------------------------------


def test_a_name_is_found_in_every_kind_that_has_it_and_a_model_by_its_aliases() -> None:
    shared = next((name for name in catalog.names("models") if name in catalog.names("trainings")), None)

    assert catalog.find("meta-llama/Llama-3.1-70B-Instruct") == (("models", "llama-3.1-70b"),)
    assert catalog.find("us-average", "sites") == (("sites", "us-average"),)
    if shared is not None:
        assert catalog.find(shared) == (("models", shared), ("trainings", shared))
        assert catalog.find(shared, "trainings") == (("trainings", shared),)


def test_an_unknown_name_is_met_with_close_ones_of_all_kinds_or_of_the_one_asked_for() -> None:
    with pytest.raises(catalog.CatalogError, match=r"'azure-westus' is not in the catalog; .*azure-westus3"):
        catalog.find("azure-westus")
    with pytest.raises(catalog.CatalogError, match=r"'hgx-h10' is not in the catalog of hardware; .*hgx-h100"):
        catalog.find("hgx-h10", "hardware")
    with pytest.raises(catalog.CatalogError, match="not in the catalog of grids"):
        catalog.find("us-average", "grids")


# -- list -----------------------------------------------------------------------------------------------------------------


def test_the_kinds_stand_with_their_counts() -> None:
    lines = kinds_table().splitlines()[2:]

    assert [line.split()[:2] for line in lines] == [[kind, f"{len(catalog.names(kind)):,}"] for kind in catalog.KINDS]


@pytest.mark.parametrize("kind", catalog.KINDS)
def test_a_list_has_a_row_per_entry(kind: catalog.Kind) -> None:
    rows = listed(kind)

    assert [row["name"] for row in rows] == list(catalog.names(kind))
    if rows:
        assert [line.split()[0] for line in table(rows).splitlines()[2:]] == list(catalog.names(kind))


def test_a_row_has_the_main_figures() -> None:
    (site,) = (row for row in listed("sites") if row["name"] == "azure-westus3")
    (grid,) = (row for row in listed("grids") if row["name"] == "usa")
    (rules,) = (row for row in listed("factor_sets") if row["name"] == "seed-2023")
    (model,) = (row for row in listed("models") if row["name"] == "llama-3.1-8b")
    (server,) = (row for row in listed("hardware") if row["name"] == "hgx-h100")
    (desk,) = (row for row in listed("hardware") if row["name"] == "cpu-generic")

    assert (site["pue"], site["wue_l_per_it_kwh"], site["wue_basis"]) == (1.18, 1.63, "unstated")
    assert grid["carbon_g_per_kwh"] == catalog.grid("usa").carbon_g_per_kwh.value
    assert {"ewif_hydro_include_l_per_kwh", "ewif_hydro_exclude_l_per_kwh"} <= set(grid)
    assert rules["hash"] == catalog.factor_set("seed-2023").document_hash
    assert model["total_params_count"] == 8030261248
    assert server["memory_gb"] == 80
    assert desk["memory_gb"] is None


def test_a_site_whose_water_is_computed_says_so() -> None:
    rows = {row["name"]: row for row in listed("sites")}

    for name in catalog.names("sites"):
        if (method := catalog.site(name).wue_method) != "reported":
            assert rows[name]["wue_basis"] == f"computed: {method}"
            assert rows[name]["wue_l_per_it_kwh"] is not None


def test_sites_can_be_chosen_by_operator_or_title() -> None:
    some = next(catalog.site(name) for name in catalog.names("sites") if catalog.site(name).operator)

    chosen = listed("sites", operator=some.operator.upper())

    assert some.name in [row["name"] for row in chosen]
    assert len(chosen) < len(catalog.names("sites"))
    assert listed("sites", operator="nobody at all") == []


def test_columns_are_aligned_and_those_that_nobody_fills_are_left_out() -> None:
    shown = table([{"name": "a", "x": 1.0, "y": None, "z": ""}, {"name": "bb", "x": 12.25, "y": None, "z": "end"}])

    assert shown.splitlines() == ["name      x  z", "----  -----  ---", "a         1", "bb    12.25  end"]
    assert table([]).strip() == ""


# -- check ----------------------------------------------------------------------------------------------------------------


def test_a_problem_is_one_line_that_names_the_remedy() -> None:
    assert as_line(PROBLEM) == "sites here pue: is stale; look it up"


def test_problems_as_json_have_their_parts_and_no_hash_of_a_set_that_cannot_be_read() -> None:
    broken = Problem(kind="factor_sets", entry="rules", figure="", what="unknown keys", remedy="correct it")

    made = checked_document([PROBLEM], figures=3, as_of=date(2026, 11, 25))
    none = checked_document([broken], figures=3, as_of=date(2026, 11, 25))

    assert made["problems"][0] == {
        "kind": "sites",
        "entry": "here",
        "figure": "pue",
        "what": "is stale",
        "remedy": "look it up",
    }
    assert set(made["factor_sets"]) == set(catalog.names("factor_sets"))
    assert none["factor_sets"] == {}


def test_the_day_of_the_check_is_the_one_given_or_today() -> None:
    assert day_of("2028-01-01", today=lambda: date(2026, 12, 1)) == date(2028, 1, 1)
    assert day_of(None, today=lambda: date(2026, 12, 1)) == date(2026, 12, 1)
    with pytest.raises(ConfigError, match="--as-of must be a date like 2026-11-23, not 'soon'"):
        day_of("soon")


# -- the command ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ([], "headwater catalog show azure-westus3"),
        (["list"], "headwater catalog list sites"),
        (["show"], "headwater catalog show li-2023 --kind factor_sets"),
        (["check"], "headwater catalog check --as-of 2028-01-01"),
    ],
)
def test_help_shows_an_example(command: list[str], example: str) -> None:
    done = run("catalog", *command, "--help")

    assert done.returncode == 0
    assert example in done.stdout


def test_without_an_argument_and_with_list_alone_the_kinds_are_printed() -> None:
    assert run("catalog").stdout == run("catalog", "list").stdout == f"{kinds_table()}\n"
    assert json.loads(run("catalog", "list", "--json").stdout)["kinds"]["sites"] == len(catalog.names("sites"))


def test_a_kind_may_be_in_the_singular_and_with_a_hyphen() -> None:
    rows = json.loads(run("catalog", "list", "factor-set", "--json").stdout)

    assert (rows["v"], rows["kind"]) == (1, "factor_sets")
    assert [row["name"] for row in rows["entries"]] == list(catalog.names("factor_sets"))
    assert run("catalog", "list", "technology").returncode == 0


def test_show_prints_plain_text_and_all_kinds_of_a_name() -> None:
    text = run("catalog", "show", "azure-westus3", COLUMNS="90", FORCE_COLOR="1")
    both = json.loads(run("catalog", "show", "seed-2023", "--json").stdout)

    assert text.returncode == 0
    assert text.stdout == f"{as_text('sites', 'azure-westus3', width=90)}\n"
    assert not re.search("\x1b", text.stdout)
    assert (both["v"], both["name"], [entry["kind"] for entry in both["entries"]]) == (1, "seed-2023", ["factor_sets"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("show azure-westus", "'azure-westus' is not in the catalog; close or known: azure-westus2, azure-westus3"),
        ("show usa --kind rivers", "there is no catalog of 'rivers'; there are models, hardware"),
        ("list rivers", "there is no catalog of 'rivers'"),
        ("list grids --operator aws", "--operator (aws) chooses among sites"),
        ("list sites --operator nobody-at-all", "no site's operator or title contains 'nobody-at-all'"),
        ("check --as-of soon", "--as-of must be a date like 2026-11-23, not 'soon'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_with_exit_code_2(arguments: str, said: str) -> None:
    done = run("catalog", *arguments.split())

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert said.partition(" azure")[0] in done.stderr


def test_the_check_says_what_it_checked() -> None:
    newest = max(factor.checked for kind, name in ENTRIES for factor in figures(catalog.entry(kind, name)))

    done = run("catalog", "check", "--as-of", newest)
    as_json = json.loads(run("catalog", "check", "--as-of", newest, "--json").stdout)

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"no problems as of {newest}: {len(ENTRIES):,} entries (")
    assert lines[0].endswith(f" with {as_json['figures']:,} dated figures")
    for name in catalog.names("factor_sets"):
        assert any(name in line and catalog.factor_set(name).document_hash in line for line in lines[1:])
    assert as_json["problems"] == []


def test_a_check_that_finds_something_has_a_line_for_each_and_exit_code_1() -> None:
    done = run("catalog", "check", "--as-of", "2999-01-01")
    as_json = run("catalog", "check", "--as-of", "2999-01-01", "--json")

    lines = done.stdout.splitlines()
    assert (done.returncode, as_json.returncode) == (1, 1)
    assert len(lines) == len(json.loads(as_json.stdout)["problems"])
    assert f"headwater: {len(lines)} to correct in the catalog as of 2999-01-01\n" in done.stderr
    assert any(
        re.match(r"sites local pue: is stale after \d{4}-\d\d-\d\d \(checked .*\); look", line) for line in lines
    )
