"""Factor sets: documents that never change under their name, and what their hashes cover."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog
from headwater.catalog.factor_hashes import factor_set_hash, left_to_places

# Those of sets that leave places their own figures change with every site and grid.
PINS = {
    "current-2026.11": "8c35b91ad06f482e",
    "li-2023": "61dc66a2bdbec0c6",
    "seed-2023": "128476b26ed17722",
}
REMEDY = (
    "factor set {name} now has the hash {now}: a set never changes under its name. Make a new set with the new figures; only "
    "until its first release may the pin in this file be renewed"
)


@pytest.mark.parametrize("name", catalog.names("factor_sets"))
def test_a_factor_set_is_what_it_was_when_it_was_pinned(name: str) -> None:
    now = catalog.factor_set(name).document_hash

    assert name in PINS, f"pin the hash of the new factor set {name} in this file: {now}"
    assert now == PINS[name], REMEDY.format(name=name, now=now)


def test_every_pinned_factor_set_is_still_there() -> None:
    assert set(PINS) <= set(catalog.names("factor_sets"))


def hash_under(name: str, tables: dict[catalog.Kind, dict[str, dict[str, Any]]]) -> str:
    return factor_set_hash(tables["factor_sets"][name], {kind: tables[kind] for kind in ("sites", "grids")})


def figures_of_places() -> list[tuple[catalog.Kind, str, str]]:
    kinds: tuple[catalog.Kind, ...] = ("sites", "grids")
    return [
        (kind, name, figure)
        for kind in kinds
        for name, table in catalog.tables()[kind].items()
        for figure, part in table.items()
        if isinstance(part, dict) and "value" in part
    ]


@given(
    place=st.sampled_from(figures_of_places()),
    side=st.sampled_from(("value", "low", "high")),
    by=st.floats(min_value=0.001, max_value=1000),
)
def test_any_changed_figure_of_a_place_changes_the_hash_of_sets_that_use_it_and_of_no_other(
    place: tuple[catalog.Kind, str, str], side: str, by: float
) -> None:
    kind, name, figure = place
    table = catalog.tables()[kind][name]
    changed = table | {figure: table[figure] | {side: table[figure][side] + by}}
    tables = catalog.tables()
    tables[kind] = tables[kind] | {name: changed}

    assert hash_under("current-2026.11", tables) != catalog.factor_set("current-2026.11").document_hash
    # Its own figures stand for all but the carbon of the grid.
    is_same = hash_under("seed-2023", tables) == catalog.factor_set("seed-2023").document_hash
    assert is_same == ((kind, figure) != ("grids", "carbon_g_per_kwh"))


def test_a_hash_covers_the_cooling_of_sites_too() -> None:
    tables = catalog.tables()
    site = next(name for name, table in tables["sites"].items() if isinstance(table.get("tower"), dict))
    changed = deepcopy(tables["sites"][site])
    changed["tower"]["cycles_count"]["value"] += 1
    tables["sites"] = tables["sites"] | {site: changed}

    assert hash_under("current-2026.11", tables) != catalog.factor_set("current-2026.11").document_hash


@pytest.mark.parametrize("name", catalog.names("factor_sets"))
def test_a_changed_rule_changes_the_hash(name: str) -> None:
    tables = catalog.tables()
    rules = tables["factor_sets"][name]
    other = {"include": "exclude", "exclude": "include"}[rules["hydro"]]
    tables["factor_sets"] = tables["factor_sets"] | {name: rules | {"hydro": other}}

    assert hash_under(name, tables) != catalog.factor_set(name).document_hash


def test_only_a_set_with_a_figure_for_everything_leaves_places_nothing() -> None:
    places = {"sites": {"a": {"pue": 1}}, "grids": {"b": {"carbon_g_per_kwh": 2, "ewif": 3}}}
    water: dict[str, Any] = {"pue": {}, "wue_l_per_it_kwh": {}, "ewif_l_per_kwh": {}}

    assert left_to_places({}, places) == places
    assert left_to_places({"pue": {}, "wue_l_per_it_kwh": {}}, places) == {"grids": places["grids"]}
    assert left_to_places(water, places) == {"grids": {"b": {"carbon_g_per_kwh": 2}}}
    assert left_to_places(water | {"carbon_g_per_kwh": {}}, places) == {}
