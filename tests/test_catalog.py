"""The catalog: what it knows, what it refuses, and the documents that receipts are recomputed from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog
from headwater.catalog.decode import decode
from headwater.errors import CatalogError
from headwater.records import Deployment, EngineSpec, Factor, FactorSet, Grid, HardwareSpec, ModelSpec, Site

KINDS: tuple[catalog.Kind, ...] = ("models", "hardware", "engines", "sites", "grids", "factor_sets")
LOOKUPS: dict[catalog.Kind, Callable[[str], Any]] = {
    "models": catalog.model,
    "hardware": catalog.hardware,
    "engines": catalog.engine,
    "sites": catalog.site,
    "grids": catalog.grid,
    "factor_sets": catalog.factor_set,
}
FACTOR = {
    "value": 2.0,
    "low": 1.0,
    "high": 3.0,
    "unit": "L/kWh",
    "source": "a report",
    "checked": "2026-11-23",
    "confidence": "reported",
}


def made(**changes: Any) -> Deployment:
    given_: dict[str, Any] = {
        "model": "gemma-3-270m",
        "hardware": "cpu-generic",
        "engine": "llama.cpp-cpu",
        "site": "local",
    }
    return catalog.deployment(**(given_ | changes))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in catalog.names(kind)])
def test_every_entry_reads_under_its_own_name(kind: catalog.Kind, name: str) -> None:
    entry = LOOKUPS[kind](name)

    assert entry.name == name
    assert LOOKUPS[kind](name) is entry


def test_what_other_rooms_count_on_is_there() -> None:
    assert {"gemma-3-270m", "llama-3.1-8b", "llama-3.1-70b", "generic-wide"} <= set(catalog.names("models"))
    assert {"cpu-generic", "dgx-a100", "hgx-h100"} <= set(catalog.names("hardware"))
    assert {"llama.cpp-cpu", "vllm-0.11"} <= set(catalog.names("engines"))
    assert {"local", "us-average", "azure-westus3"} <= set(catalog.names("sites"))
    assert {"seed-2023", catalog.CURRENT_FACTORS} <= set(catalog.names("factor_sets"))


@pytest.mark.parametrize("name", catalog.names("sites"))
def test_every_site_stands_on_a_known_grid(name: str) -> None:
    assert isinstance(catalog.grid(catalog.site(name).grid), Grid)


@pytest.mark.parametrize("name", catalog.names("engines"))
def test_the_worse_the_method_the_wider_its_band(name: str) -> None:
    band = catalog.engine(name).band

    lows, highs = zip(*(band[method] for method in ("observed", "loaded", "paced", "assumed")), strict=True)
    assert list(lows) == sorted(lows, reverse=True)
    assert list(highs) == sorted(highs)


def test_llama_parameters_follow_from_the_dimensions() -> None:
    # width, feed-forward, layers, key-value width, vocabulary
    for name, width, inner, layers, kv_width in (
        ("llama-3.1-8b", 4096, 14336, 32, 1024),
        ("llama-3.1-70b", 8192, 28672, 80, 1024),
    ):
        block = 2 * width * width + 2 * width * kv_width + 3 * width * inner + 2 * width
        model = catalog.model(name)

        assert model.total_params_count == 2 * 128256 * width + layers * block + width
        assert model.layers_count == layers
        assert model.q_heads_count * model.head_dim == width
        assert model.kv_heads_count * model.head_dim == kv_width


def test_figures_are_kept_in_si_whatever_unit_they_were_written_in() -> None:
    seed = catalog.factor_set("seed-2023")

    assert catalog.hardware("hgx-h100").memory_bw_bytes_per_s.value == 3.35e12
    assert catalog.engine("vllm-0.11").prefill_s.value == pytest.approx(0.024, rel=1e-12)
    assert catalog.engine("vllm-0.11").prefill_s.unit == "s"
    assert seed.wue_l_per_it_kwh is not None
    assert (seed.wue_l_per_it_kwh.value, seed.wue_l_per_it_kwh.unit) == (3.785411784, "L/kWh")
    assert seed.flat_it_j_per_request is not None
    assert seed.flat_it_j_per_request.value == 14400


# --- refusals


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_refused_with_what_is_known(kind: catalog.Kind) -> None:
    with pytest.raises(CatalogError, match="'zzz' is not in the catalog") as raised:
        LOOKUPS[kind]("zzz")

    assert catalog.names(kind)[0] in str(raised.value)


def test_a_misspelt_name_is_refused_with_close_matches() -> None:
    with pytest.raises(CatalogError, match=r"llama-3\.1-8b"):
        catalog.model("lama-3.1-8b")


def test_there_is_no_catalog_of_anything_else() -> None:
    with pytest.raises(CatalogError, match="'prices'"):
        catalog.names("prices")  # type: ignore[arg-type]  # the mistake under test


def grid_with(**changes: Any) -> Any:
    return {
        "name": "nowhere",
        "carbon_g_per_kwh": FACTOR | {"unit": "g/kWh"},
        "ewif_hydro_include_l_per_kwh": FACTOR,
        "ewif_hydro_exclude_l_per_kwh": FACTOR | changes,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "mL/kWh"}, "unit 'mL/kWh' is not one of"),
        ({"unit": "g/kWh"}, "unit 'g/kWh' is not one of"),
        ({"low": 2.5}, "out of order"),
        ({"high": 1.5}, "out of order"),
        ({"low": -1.0}, "too low"),
        ({"value": float("nan")}, "finite number"),
        ({"value": True}, "finite number"),
        ({"value": "2"}, "finite number"),
        ({"source": " "}, "says something"),
        ({"source": 3}, "says something"),
        ({"checked": "2026-13-01"}, "date like"),
        ({"checked": "20261123"}, "date like"),
        ({"checked": "yesterday"}, "date like"),
        ({"confidence": "remembered"}, "not one of"),
        ({"note": "what is this"}, "unknown keys"),
    ],
)
def test_a_figure_that_cannot_be_trusted_is_refused(changes: dict[str, Any], message: str) -> None:
    assert isinstance(decode(Grid, grid_with(), at="grids.nowhere"), Grid)

    with pytest.raises(CatalogError, match=message) as raised:
        decode(Grid, grid_with(**changes), at="grids.nowhere")

    assert "grids.nowhere.ewif_hydro_exclude_l_per_kwh" in str(raised.value)


@pytest.mark.parametrize("key", sorted(FACTOR))
def test_a_figure_lacking_any_of_its_papers_is_refused(key: str) -> None:
    table = grid_with()
    table["carbon_g_per_kwh"] = {name: value for name, value in FACTOR.items() if name != key}

    with pytest.raises(CatalogError, match=f"missing keys.*{key}"):
        decode(Grid, table, at="grids.nowhere")


@pytest.mark.parametrize(
    ("kind", "name", "changes", "message"),
    [
        (ModelSpec, "llama-3.1-8b", {"active_params_count": 1e9}, "only dense"),
        (ModelSpec, "llama-3.1-8b", {"kv_heads_count": 5}, "no multiple"),
        (ModelSpec, "llama-3.1-8b", {"uncertainty_ratio": 0.5}, "too low"),
        (ModelSpec, "llama-3.1-8b", {"layers_count": 0}, "whole number"),
        (ModelSpec, "llama-3.1-8b", {"layers_count": True}, "whole number"),
        (ModelSpec, "llama-3.1-8b", {"layers_count": 3.5}, "whole number"),
        (EngineSpec, "vllm-0.11", {"band": {"observed": (0.5, 2.0)}}, "lacks"),
        (EngineSpec, "vllm-0.11", {"band": {"guessed": (0.5, 2.0)}}, "not one of"),
        (EngineSpec, "vllm-0.11", {"band": {"observed": (1.5, 2.0)}}, "a low in"),
        (EngineSpec, "vllm-0.11", {"band": {"observed": (0.5, 0.9)}}, "a low in"),
        (EngineSpec, "vllm-0.11", {"band": {"observed": (0.5,)}}, "a pair"),
        (EngineSpec, "vllm-0.11", {"band": {"observed": 0.5}}, "a pair"),
        (EngineSpec, "vllm-0.11", {"band": [0.5, 2.0]}, "table of methods"),
        (Site, "us-average", {"wue_basis": "guess"}, "not one of"),
        (Site, "us-average", {"pue": None}, "must be a table"),
        (HardwareSpec, "hgx-h100", {"kind": "tpu"}, "not one of"),
    ],
)
def test_an_entry_that_cannot_be_right_is_refused(
    kind: type[Any], name: str, changes: dict[str, Any], message: str
) -> None:
    lookup: dict[Any, Callable[[str], Any]] = {
        ModelSpec: catalog.model,
        EngineSpec: catalog.engine,
        Site: catalog.site,
        HardwareSpec: catalog.hardware,
    }
    table = asdict(lookup[kind](name)) | changes

    with pytest.raises(CatalogError, match=message):
        decode(kind, table, at=name)


@pytest.mark.parametrize(
    ("kind", "name", "field", "value"),
    [
        (Site, "us-average", "pue", 0.9),
        (EngineSpec, "vllm-0.11", "memory_efficiency_ratio", 1.2),
        (EngineSpec, "vllm-0.11", "memory_efficiency_ratio", 0.0),
        (EngineSpec, "vllm-0.11", "assumed_concurrency_count", 0.5),
        (HardwareSpec, "hgx-h100", "accelerator_tdp_w", 0.0),
        (HardwareSpec, "hgx-h100", "memory_bw_bytes_per_s", 0.0),
    ],
)
def test_a_figure_beyond_what_its_name_allows_is_refused(kind: type[Any], name: str, field: str, value: float) -> None:
    lookup: dict[Any, Callable[[str], Any]] = {
        EngineSpec: catalog.engine,
        Site: catalog.site,
        HardwareSpec: catalog.hardware,
    }
    table = asdict(lookup[kind](name))
    table[field] |= {"value": value, "low": value, "high": value}

    with pytest.raises(CatalogError, match=field):
        decode(kind, table, at=name)


def test_a_figure_whose_name_has_no_unit_is_refused() -> None:
    table = {"name": "x", "hydro": "include", "pue": FACTOR}

    with pytest.raises(CatalogError, match="unit 'L/kWh'"):
        decode(FactorSet, table, at="x")


def test_an_optional_figure_may_be_left_out() -> None:
    assert catalog.hardware("dgx-a100").peak_fp8_flop_per_s is None
    assert catalog.hardware("cpu-generic").max_w is None


# --- deployments and their documents


def test_a_deployment_takes_names_or_records() -> None:
    by_record = made(
        model=catalog.model("gemma-3-270m"),
        hardware=catalog.hardware("cpu-generic"),
        engine=catalog.engine("llama.cpp-cpu"),
        site=catalog.site("local"),
        factors=catalog.factor_set("current-2026.11"),
    )

    assert by_record == made()
    assert by_record.grid == catalog.grid("world")
    assert by_record.accelerators_count == 1


def test_hydro_overrides_the_factor_sets_own_convention() -> None:
    assert made().factors.hydro == "include"
    assert made(hydro="exclude").factors.hydro == "exclude"
    assert catalog.factor_set("current-2026.11").hydro == "include"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerators": 2}, r"accelerators_count \(2\) exceeds the 1 of cpu-generic"),
        ({"accelerators": 0}, "whole number"),
        ({"accelerators": True}, "whole number"),
        ({"precision": "fp4"}, "'fp4' is not one of"),
        ({"hydro": "maybe"}, "'maybe' is not one of"),
        ({"concurrency": 0.5}, "too low"),
        ({"concurrency": float("inf")}, "finite"),
        ({"model": "gemma"}, "gemma-3-270m"),
        ({"model": replace(catalog.model("gemma-3-270m"), uncertainty_ratio=0.1)}, "too low"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        made(**changes)


@given(
    st.sampled_from(catalog.names("models")),
    st.sampled_from(catalog.names("hardware")),
    st.sampled_from(catalog.names("engines")),
    st.sampled_from(catalog.names("sites")),
    st.sampled_from(catalog.names("factor_sets")),
    st.none() | st.floats(min_value=1, max_value=1e6),
)
def test_a_document_gives_back_its_deployment(
    model: str, hardware: str, engine: str, site: str, factors: str, concurrency: float | None
) -> None:
    deployment = catalog.deployment(
        model=model, hardware=hardware, engine=engine, site=site, factors=factors, concurrency=concurrency
    )

    document = catalog.deployment_document(deployment)

    assert catalog.deployment_from_document(document) == deployment
    assert catalog.deployment_document(catalog.deployment_from_document(document)) == document


def test_a_document_is_canonical_json() -> None:
    document = catalog.deployment_document(made())

    assert document == json.dumps(json.loads(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_equal_deployments_have_one_hash_whatever_kind_of_number_was_given() -> None:
    whole = replace(made(), concurrency_count=4)

    assert catalog.deployment_hash(whole) == catalog.deployment_hash(made(concurrency=4.0))
    assert catalog.deployment_hash(whole) != catalog.deployment_hash(made(concurrency=5.0))
    assert len(catalog.deployment_hash(whole)) == 16
    assert set(catalog.deployment_hash(whole)) <= set("0123456789abcdef")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}"])
def test_a_text_that_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(CatalogError, match="deployment"):
        catalog.deployment_from_document(text)


def test_a_factor_in_a_document_keeps_its_papers() -> None:
    read = catalog.deployment_from_document(catalog.deployment_document(made())).hardware.host_w

    assert isinstance(read, Factor)
    assert (read.source, read.checked) == (catalog.hardware("cpu-generic").host_w.source, "2026-11-23")
