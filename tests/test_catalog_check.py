"""The check of the whole catalog: it finds nothing in ours, and each thing that can be wrong when it is planted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog
from headwater.catalog.check import Problem, check, figures_count
from headwater.catalog.kinds import KEEPS_DAYS, KINDS, RECORDS, stale_after

Tables = dict[catalog.Kind, dict[str, dict[str, Any]]]


def dates(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("checked"), str):
            yield value["checked"]
        for part in value.values():
            yield from dates(part)


DAY = max(date.fromisoformat(day) for day in dates(catalog.tables()))


def figure(unit: str) -> dict[str, Any]:
    return {
        "value": 2.0,
        "low": 1.0,
        "high": 3.0,
        "unit": unit,
        "source": "A yearly report, 2025",
        "checked": "2026-11-23",
        "confidence": "reported",
    }


def made() -> Tables:
    """A small catalog in which all is well."""
    grid = {
        "carbon_g_per_kwh": figure("g/kWh"),
        "ewif_hydro_include_l_per_kwh": figure("L/kWh"),
        "ewif_hydro_exclude_l_per_kwh": figure("L/kWh"),
    }
    site = {
        "grid": "home",
        "pue": figure("ratio"),
        "wue_l_per_it_kwh": figure("L/kWh"),
        "wue_basis": "consumption",
    }
    tables = catalog.tables()
    return deepcopy(
        {
            "models": {name: tables["models"][name] for name in ("llama-3.1-8b", "llama-3.1-70b")},
            "hardware": {"hgx-h100": tables["hardware"]["hgx-h100"], "hgx-b200": tables["hardware"]["hgx-b200"]},
            "engines": {"vllm-0.11": tables["engines"]["vllm-0.11"]},
            "sites": {"here": site},
            "grids": {"home": grid},
            "factor_sets": {"rules": {"hydro": "include", "carbon_g_per_kwh": figure("g/kWh")}},
        }
    )


def found(change: Callable[[Tables], object], *, as_of: date = DAY) -> list[Problem]:
    tables = made()
    change(tables)
    return check(tables, as_of=as_of)


def test_the_catalog_has_no_problems_on_the_day_of_its_newest_figure() -> None:
    assert check(catalog.tables(), as_of=DAY) == []


def test_a_catalog_in_which_all_is_well_has_no_problems() -> None:
    assert check(made(), as_of=DAY) == []


def put(kind: catalog.Kind, entry: str, *path: str, to: Any) -> Callable[[Tables], None]:
    """A change of one value, or with None its removal."""

    def change(tables: Tables) -> None:
        table = tables[kind][entry]
        for key in path[:-1]:
            table = table[key]
        if to is None:
            del table[path[-1]]
        else:
            table[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "where", "what", "remedy"),
    [
        (put("sites", "here", "colour", to="red"), ("sites", "here", ""), "unknown keys", "records of sites"),
        (put("sites", "here", "wue_basis", to=None), ("sites", "here", ""), "wue_basis", "records of sites"),
        (put("sites", "here", "wue_basis", to="both"), ("sites", "here", "wue_basis"), "'both' is not one of", ""),
        (put("sites", "here", "wue_l_per_it_kwh", to=None), ("sites", "here", ""), "needs wue_l_per_it_kwh", ""),
        (put("sites", "here", "pue", "unit", to="kW"), ("sites", "here", "pue"), "unit 'kW'", "records of sites"),
        (put("sites", "here", "pue", "low", to=2.5), ("sites", "here", "pue"), "out of order", ""),
        (put("sites", "here", "pue", "low", to=0.5), ("sites", "here", "pue"), "too low", ""),
        (put("sites", "here", "pue", "confidence", to="sure"), ("sites", "here", "pue"), "'sure'", ""),
        (put("sites", "here", "pue", "checked", to="soon"), ("sites", "here", "pue"), "date like", ""),
        (
            put("sites", "here", "pue", "checked", to=None),
            ("sites", "here", "pue"),
            "missing keys ['checked']",
            "records of",
        ),
        (put("sites", "here", "pue", "confidence", to="own"), ("sites", "here", "pue"), "'own' is for", "measured"),
        (put("sites", "here", "pue", "checked", to="2999-01-01"), ("sites", "here", "pue"), "lies after", "the day"),
        (put("sites", "here", "pue", "source", to=" "), ("sites", "here", "pue"), "says something", ""),
        (put("sites", "here", "pue", "source", to="TODO: 2025"), ("sites", "here", "pue"), "placeholder", "document"),
        (put("sites", "here", "pue", "source", to="n/a"), ("sites", "here", "pue"), "placeholder", "document"),
        (put("sites", "here", "pue", "source", to="Somebody said so"), ("sites", "here", "pue"), "no document", "DOI"),
        (put("sites", "here", "pue", "stale_after", to="soon"), ("sites", "here", "pue"), "'soon' is no date", ""),
        (put("sites", "here", "pue", "stale_after", to="2026-11-23"), ("sites", "here", "pue"), "is stale", "renew"),
        (put("sites", "here", "grid", to="hom"), ("sites", "here", "grid"), "'hom' is not in", "home"),
        (
            put("sites", "here", "tower", to="tall"),
            ("sites", "here", "tower"),
            "'tall' is not in the catalog of towers",
            "add it",
        ),
        (put("sites", "here", "curve", to="bent"), ("sites", "here", "curve"), "'bent' is not in", ""),
        (put("sites", "here", "like", to="there"), ("sites", "here", "like"), "'there' is not in", "here"),
        (put("grids", "home", "carbon_g_per_kwh", to=None), ("grids", "home", ""), "carbon_g_per_kwh", ""),
        (
            put("engines", "vllm-0.11", "fitted_hardware", to=["hgx-h10"]),
            ("engines", "vllm-0.11", "fitted_hardware"),
            "'hgx-h10' is not in",
            "hgx-h100",
        ),
        (put("models", "llama-3.1-8b", "source", to="?"), ("models", "llama-3.1-8b", ""), "placeholder", ""),
        (put("models", "llama-3.1-8b", "layers_count", to=0), ("models", "llama-3.1-8b", "layers_count"), "whole", ""),
        (put("models", "llama-3.1-8b", "aliases", to="l"), ("models", "llama-3.1-8b", "aliases"), "list of", ""),
        (
            put("models", "llama-3.1-8b", "aliases", to=["Llama3.1:70b"]),
            ("models", "llama-3.1-70b", "aliases"),
            "means llama-3.1-8b too",
            "one of the two",
        ),
        (
            put("models", "llama-3.1-70b", "aliases", to=["llama-3.1-8b"]),
            ("models", "llama-3.1-70b", "aliases"),
            "means llama-3.1-8b too",
            "",
        ),
        (put("factor_sets", "rules", "hydro", to="perhaps"), ("factor_sets", "rules", "hydro"), "'perhaps'", ""),
    ],
)
def test_what_is_wrong_is_found_where_it_is_and_nothing_else(
    change: Callable[[Tables], object], where: tuple[str, str, str], what: str, remedy: str
) -> None:
    (problem,) = found(change)

    assert (problem.kind, problem.entry, problem.figure) == where
    assert what in problem.what
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    "source",
    [
        "Li et al., arXiv:2304.03271",
        "doi:10.1088/1748-9326/7/4/045802",
        "https://example.com/report",
        "US EPA, eGRID2023, summary tables",
        "By definition: nothing else meets water",
        "A judgement, from cool to hot places",
        "As hgx-h100, widened: the server is not known",
        "No limit of the chip was read",
        "Computed: eight bytes a transfer",
    ],
)
def test_a_source_is_a_document_or_says_how_the_figure_was_come_by(source: str) -> None:
    assert found(put("sites", "here", "pue", "source", to=source)) == []


@pytest.mark.parametrize(
    "source", ["tbd", "FIXME", "xxx", "unknown", "-", "??? 2024", "see above", "Source: TBA (2025)"]
)
def test_a_placeholder_is_no_source(source: str) -> None:
    (problem,) = found(put("sites", "here", "pue", "source", to=source))

    assert "placeholder" in problem.what


@given(days=st.integers(min_value=0, max_value=4000), kind=st.sampled_from(("sites", "grids", "models", "factor_sets")))
def test_a_figure_is_stale_when_the_days_of_its_kind_are_over(days: int, kind: catalog.Kind) -> None:
    tables = {kind: made()[kind]}
    tables["grids"] = made()["grids"]
    as_of = DAY + timedelta(days=days)
    oldest = date.fromisoformat(min(dates(tables[kind])))
    newest = date.fromisoformat(max(dates(tables[kind])))
    kept_days = KEEPS_DAYS[kind]

    stale = [problem for problem in check(tables, as_of=as_of) if problem.kind == kind]

    if kept_days is None or as_of <= oldest + timedelta(days=kept_days):
        assert stale == []
    elif as_of > newest + timedelta(days=kept_days):
        assert len(stale) == figures_count({kind: tables[kind]})
    assert all("is stale after" in problem.what for problem in stale)


def test_a_figures_own_day_counts_before_that_of_its_kind() -> None:
    assert stale_after("sites", checked="2026-11-23", stale_after="2030-01-01") == date(2030, 1, 1)
    assert stale_after("sites", checked="2026-11-23") == date(2026, 11, 23) + timedelta(days=550)
    assert stale_after("sites", checked="") is None
    assert stale_after("curves", checked="2026-11-23") is None
    assert stale_after("curves", checked="2026-11-23", stale_after="2030-01-01") == date(2030, 1, 1)


def test_every_kind_has_a_record_and_a_time_that_it_keeps() -> None:
    assert set(RECORDS) == set(KEEPS_DAYS) == set(KINDS)


def test_problems_of_several_entries_are_all_told() -> None:
    def change(tables: Tables) -> None:
        put("sites", "here", "pue", "unit", to="kW")(tables)
        put("sites", "here", "grid", to="away")(tables)
        put("grids", "home", "carbon_g_per_kwh", "source", to="TBD")(tables)
        put("models", "llama-3.1-8b", "checked", to="2027-01-01")(tables)

    assert [(problem.kind, problem.figure) for problem in found(change)] == [
        ("models", ""),
        ("sites", "grid"),
        ("sites", "pue"),
        ("grids", "carbon_g_per_kwh"),
    ]


def test_what_entries_share_is_told_once_where_it_first_stands() -> None:
    def change(tables: Tables) -> None:
        tables["sites"]["there"] = dict(tables["sites"]["here"])
        tables["sites"]["here"]["pue"]["source"] = "TBD"

    (problem,) = found(change)

    assert (problem.entry, problem.figure) == ("here", "pue")


def test_the_cooling_of_a_site_is_checked_where_it_is_defined() -> None:
    tables = deepcopy(catalog.tables())
    name, site = next((n, site) for n, site in tables["sites"].items() if isinstance(site.get("tower"), dict))
    site["tower"]["heat_ratio"]["source"] = "TBD"

    problems = check(tables, as_of=DAY)

    assert [(problem.kind, problem.figure) for problem in problems] == [("towers", "heat_ratio")], name


def _sourced(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "source" in table:
        yield table
    for key, part in table.items():
        if isinstance(part, dict) and key not in ("tower", "curve"):  # a site's parts are entries of their own
            yield from _sourced(part)


@given(data=st.data())
def test_no_figure_of_the_catalog_escapes(data: st.DataObject) -> None:
    """Whatever figure loses its source, at least one problem says so."""
    tables = catalog.tables()
    kind = data.draw(st.sampled_from([kind for kind in KINDS if tables[kind]]))
    name = data.draw(st.sampled_from(sorted(tables[kind])))
    entry = deepcopy(tables[kind][name])
    data.draw(st.sampled_from(list(_sourced(entry))))["source"] = "to be found: TODO"

    problems = check({kind: {name: entry}}, as_of=DAY)

    assert any("placeholder" in problem.what for problem in problems)
