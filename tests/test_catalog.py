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
from headwater.catalog.doubts import CPU_ENGINES, GPU_ENGINES
from headwater.errors import CatalogError
from headwater.records import Deployment, EngineSpec, Factor, FactorSet, Grid, HardwareSpec, ModelSpec, Precision, Site

SECONDS_PER_YEAR = 31_557_600
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
    assert {"gemma-3-270m", "llama-3.1-8b", "llama-3.1-70b"} <= set(catalog.names("models"))
    assert {"generic-8b", "generic-70b", "generic-wide"} <= set(catalog.names("models"))
    assert {"cpu-generic", "dgx-a100", "hgx-h100", "hgx-h200", "hgx-b200"} <= set(catalog.names("hardware"))
    assert {"hosted-h100", "mi300x", "l4", "rtx-4090"} <= set(catalog.names("hardware"))
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


@pytest.mark.parametrize("name", catalog.names("hardware"))
def test_every_accelerator_says_what_it_holds_and_bends_at_its_limit(name: str) -> None:
    server = catalog.hardware(name)

    if server.kind == "cpu":
        assert (server.memory_bytes, server.power_cap_exponent) == (None, None)
    else:
        assert server.memory_bytes is not None
        assert server.power_cap_exponent is not None


@pytest.mark.parametrize("name", catalog.names("hardware"))
def test_fewer_bits_are_never_computed_more_slowly(name: str) -> None:
    server = catalog.hardware(name)

    peaks = [server.peak_bf16_flop_per_s, server.peak_fp8_flop_per_s, server.peak_fp4_flop_per_s]
    values = [peak.value for peak in peaks if peak is not None]
    assert values == sorted(values)
    assert None not in peaks[: len(values)]


@pytest.mark.parametrize("name", catalog.names("hardware"))
def test_a_server_at_rest_draws_less_than_at_its_most(name: str) -> None:
    server = catalog.hardware(name)

    assert server.idle_w.value < server.host_w.value + server.accelerators_count * server.accelerator_tdp_w.value
    if server.max_w is not None:
        assert server.idle_w.high < server.max_w.low


def test_an_unknown_server_differs_from_a_known_one_only_around_its_accelerators() -> None:
    known, unknown = catalog.hardware("hgx-h100"), catalog.hardware("hosted-h100")

    assert unknown.host_w.value == 0
    assert unknown.accelerator_overhead_ratio is not None
    assert (unknown.accelerator_overhead_ratio.low, unknown.accelerator_overhead_ratio.high) == (1.2, 2.2)
    for same in (
        "accelerators_count",
        "memory_bytes",
        "memory_bw_bytes_per_s",
        "peak_fp8_flop_per_s",
        "accelerator_tdp_w",
    ):
        assert getattr(unknown, same) == getattr(known, same)


@pytest.mark.parametrize(
    "name", [name for name in catalog.names("hardware") if catalog.hardware(name).accelerator_embodied_g]
)
def test_what_a_server_was_made_with_is_spread_over_years(name: str) -> None:
    server = catalog.hardware(name)
    accelerator, host, count = server.accelerator_embodied_g, server.host_embodied_g, server.accelerators_count

    assert accelerator is not None
    assert host is not None
    assert server.lifetime_s is not None
    assert 1e6 < count * accelerator.low + host.low <= count * accelerator.high + host.high < 2e7
    assert 3 <= server.lifetime_s.low / SECONDS_PER_YEAR <= server.lifetime_s.high / SECONDS_PER_YEAR <= 6


def test_figures_are_kept_in_si_whatever_unit_they_were_written_in() -> None:
    seed = catalog.factor_set("seed-2023")

    memory = catalog.hardware("hgx-h100").memory_bytes
    assert memory is not None
    assert (memory.value, memory.unit) == (8e10, "B")
    assert catalog.hardware("hgx-h100").memory_bw_bytes_per_s.value == 3.35e12
    assert catalog.engine("vllm-0.5").prefill_s.value == pytest.approx(0.05, rel=1e-12)
    assert catalog.engine("vllm-0.5").prefill_s.unit == "s"
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


def experts(**changes: Any) -> dict[str, Any]:
    spec = catalog.model("qwen3-30b-a3b").experts
    assert spec is not None
    return asdict(spec) | changes


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
        (ModelSpec, "llama-3.1-8b", {"active_params_count": 1e9}, "no table of experts"),
        (ModelSpec, "llama-3.1-8b", {"active_params_count": 9e9}, "exceeds total_params_count"),
        (ModelSpec, "llama-3.1-8b", {"kv_heads_count": 5}, "no multiple"),
        (ModelSpec, "llama-3.1-8b", {"uncertainty_ratio": 0.5}, "too low"),
        (ModelSpec, "llama-3.1-8b", {"layers_count": 0}, "whole number"),
        (ModelSpec, "llama-3.1-8b", {"layers_count": True}, "whole number"),
        (ModelSpec, "llama-3.1-8b", {"layers_count": 3.5}, "whole number"),
        (ModelSpec, "llama-3.1-8b", {"attention_layers_count": 33}, "33 attention layers of 32"),
        (ModelSpec, "llama-3.1-8b", {"window": {"layers_count": 33, "tokens_count": 512}}, "33 windowed of 32"),
        (
            ModelSpec,
            "qwen3.5-27b",
            {"window": {"layers_count": 17, "tokens_count": 512}},
            "17 windowed of 16 attention layers of 64",
        ),
        (ModelSpec, "llama-3.1-8b", {"window": {"layers_count": 16}}, "missing keys.*tokens_count"),
        (
            ModelSpec,
            "llama-3.1-8b",
            {"window": {"layers_count": 16, "tokens_count": 0}},
            r"window\.tokens_count must be",
        ),
        (ModelSpec, "llama-3.1-8b", {"latent": {"cache_dim": 576}}, "missing keys.*decode_dim"),
        (ModelSpec, "llama-3.1-8b", {"vision": {"params_count": -1.0, "patches_count": 4096}}, "too low"),
        (ModelSpec, "llama-3.1-8b", {"state_bytes_per_sequence": -1.0}, "too low"),
        (ModelSpec, "llama-3.1-8b", {"aliases": "llama"}, "list of texts"),
        (ModelSpec, "llama-3.1-8b", {"aliases": ["llama", ""]}, r"aliases\[1\] must be a text that says something"),
        (ModelSpec, "llama-3.1-8b", {"aliases": [8]}, r"aliases\[0\] must be a text"),
        (ModelSpec, "llama-3.1-8b", {"native_precision": "fp16"}, "'fp16' is not one of"),
        (ModelSpec, "llama-3.1-8b", {"quantised": "attention"}, "'attention' is not one of"),
        (ModelSpec, "qwen3-30b-a3b", {"experts": None}, "no table of experts"),
        (ModelSpec, "qwen3-30b-a3b", {"experts": {"params_count": 29e9}}, "missing keys"),
        (ModelSpec, "qwen3-30b-a3b", {"experts": experts(chosen_count=129)}, "more are chosen than there are"),
        (ModelSpec, "qwen3-30b-a3b", {"experts": experts(layers_count=49)}, "or in more layers"),
        (ModelSpec, "qwen3-30b-a3b", {"experts": experts(params_count=31e9)}, "too many for"),
        (ModelSpec, "qwen3-30b-a3b", {"experts": experts(chosen_count=16)}, "too many for"),
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
        (HardwareSpec, "hgx-h100", "memory_bytes", 0.0),
        (HardwareSpec, "hgx-h100", "power_cap_exponent", 0.9),
        (HardwareSpec, "hgx-h100", "accelerator_overhead_ratio", 0.0),
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


@pytest.mark.parametrize(
    ("field", "unit", "canonical", "scale"),
    [
        ("memory_bytes", "B", "B", 1.0),
        ("memory_bytes", "GB", "B", 1e9),
        ("power_cap_exponent", "exponent", "exponent", 1.0),
        ("host_embodied_g", "kg", "g", 1e3),
        ("memory_bytes", "GB/s", None, None),
        ("memory_bytes", "GiB", None, None),
        ("memory_bw_bytes_per_s", "GB", None, None),
        ("power_cap_exponent", "ratio", None, None),
    ],
)
def test_a_unit_is_that_of_the_name(field: str, unit: str, canonical: str | None, scale: float | None) -> None:
    table = asdict(catalog.hardware("hgx-h100"))
    table[field] |= {"value": 8.0, "low": 8.0, "high": 8.0, "unit": unit}

    if canonical is None or scale is None:
        with pytest.raises(CatalogError, match=f"{field}: unit '{unit}' is not one of"):
            decode(HardwareSpec, table, at="hgx-h100")
    else:
        figure = getattr(decode(HardwareSpec, table, at="hgx-h100"), field)
        assert (figure.value, figure.unit) == (8.0 * scale, canonical)


def test_an_optional_figure_may_be_left_out() -> None:
    assert catalog.hardware("dgx-a100").peak_fp8_flop_per_s is None
    assert catalog.hardware("cpu-generic").max_w is None
    assert catalog.model("llama-3.1-8b").experts is None
    assert catalog.model("llama-3.1-8b").attention_layers_count is None


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
        ({"precision": "fp16"}, "'fp16' is not one of"),
        ({"cache_precision": "int8"}, "'int8' is not one of"),
        ({"hosting": "rented"}, "'rented' is not one of"),
        ({"replicas": 0}, "whole number"),
        ({"attention_accelerators": 0}, "whole number"),
        ({"hardware": "hgx-h100", "attention_accelerators": 3}, r"accelerators_count \(8\) is no multiple of .* \(3\)"),
        ({"hardware": "hgx-h100", "accelerators": 4, "attention_accelerators": 8}, r"\(4\) is no multiple of .* \(8\)"),
        ({"hydro": "maybe"}, "'maybe' is not one of"),
        ({"concurrency": 0.5}, "too low"),
        ({"concurrency": float("inf")}, "finite"),
        ({"model": "gemma"}, "gemma3"),
        ({"model": replace(catalog.model("gemma-3-270m"), uncertainty_ratio=0.1)}, "too low"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        made(**changes)


@pytest.mark.parametrize(
    ("model", "given_", "precision"),
    [
        ("llama-3.1-8b", None, "bf16"),
        ("llama-3.1-8b", "int4", "int4"),
        ("gpt-oss-20b", None, "mxfp4"),
        ("deepseek-r1", None, "fp8"),
    ],
)
def test_a_deployment_keeps_the_published_precision_unless_told(
    model: str, given_: Precision | None, precision: str
) -> None:
    assert made(model=model, hardware="hgx-h100", precision=given_).precision == precision


def test_attention_may_be_shared_by_some_of_the_accelerators() -> None:
    deployment = made(hardware="hgx-h100", accelerators=8, attention_accelerators=2)

    assert deployment.attention_accelerators_count == 2
    assert made(hardware="hgx-h100").attention_accelerators_count is None


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


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({"model": "llama-3.1-405b", "hardware": "hgx-h100", "engine": "vllm-0.11"}, "do not fit into"),
        ({"model": "llama-3.1-70b", "hardware": "hgx-h100", "engine": "vllm-0.11", "accelerators": 2}, "a fifth of"),
        ({"model": "gpt-4o", "hardware": "hgx-h100", "engine": "vllm-0.11"}, "its architecture is a guess"),
        ({"engine": "vllm-0.11"}, "does not run on servers like cpu-generic"),
        ({"hardware": "hgx-h100"}, "does not run on servers like hgx-h100"),
    ],
)
def test_what_is_doubtful_about_a_deployment_is_said(changes: dict[str, Any], doubt: str) -> None:
    assert any(doubt in told for told in catalog.doubts(made(**changes)))


def test_a_sound_deployment_is_not_doubted() -> None:
    assert catalog.doubts(made(model="llama-3.1-8b", hardware="hgx-h100", engine="vllm-0.11")) == []
    assert catalog.doubts(made(factors="seed-2023", engine="vllm-0.11")) == []


def test_every_engine_of_the_catalog_has_its_kind_of_hardware() -> None:
    assert {*CPU_ENGINES, *GPU_ENGINES} == set(catalog.names("engines"))
