"""How many accelerators a model gets where nobody says, and what somebody may have meant by an unknown name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headwater import catalog
from headwater.catalog.near import near
from headwater.errors import CatalogError
from headwater.records import Experts, Factor, HardwareSpec, ModelSpec, Precision


def server(*, memory_gb: float | None = 80, accelerators: int = 8) -> HardwareSpec:
    memory = None
    if memory_gb is not None:
        size = memory_gb * 1e9
        memory = Factor(
            value=size, low=size, high=size, unit="B", source="test", checked="2026-11-23", confidence="reported"
        )
    return replace(catalog.hardware("hgx-h100"), accelerators_count=accelerators, memory_bytes=memory)


def model(total: float, *, experts: Experts | None = None) -> ModelSpec:
    return replace(
        catalog.model("llama-3.1-8b"), total_params_count=total, active_params_count=total / 2, experts=experts
    )


@pytest.mark.parametrize(
    ("billions", "precision", "count"),
    [
        (8, "bf16", 1),
        (32, "bf16", 1),  # 64 GB: just four fifths of 80
        (32.1, "bf16", 2),
        (70, "bf16", 4),
        (70, "fp8", 2),
        (70, "int4", 1),
        (200, "bf16", 8),
        (671, "fp8", 8),  # no number of them holds it
    ],
)
def test_the_fewest_that_hold_the_weights_with_a_fifth_to_spare(
    billions: float, precision: Precision, count: int
) -> None:
    assert catalog.fewest_accelerators(server(), model(billions * 1e9), precision) == count


def test_all_of_the_server_where_the_memory_is_not_known() -> None:
    nowhere = server(memory_gb=None)

    assert catalog.fewest_accelerators(nowhere, model(1e9), "bf16") == 8
    assert catalog.holds(nowhere, 8, model(1e9), "bf16") is None


def test_a_server_of_no_power_of_two_is_taken_whole_at_last() -> None:
    assert catalog.fewest_accelerators(server(accelerators=6), model(150e9), "bf16") == 6


def test_only_what_a_precision_covers_shrinks() -> None:
    experts = Experts(params_count=90e9, experts_count=10, chosen_count=1, layers_count=10)
    mixture = replace(model(100e9, experts=experts), quantised="experts")

    assert catalog.weights_bytes(mixture, "fp8") == 90e9 + 20e9
    assert catalog.weights_bytes(replace(mixture, quantised="all"), "fp8") == 100e9
    assert catalog.weights_bytes(mixture, "bf16") == 200e9


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("lama-3.1-8b", "llama-3.1-8b"),
        ("LLAMA-3.1-8B", "llama-3.1-8b"),
        ("llama", "llama-3.1-70b, llama-3.1-8b"),
        ("zzz", "gpt-5, llama-3.1-70b, llama-3.1-8b"),
    ],
)
def test_what_looks_like_it_or_contains_it_was_meant(wanted: str, words: str) -> None:
    assert near(wanted, ["llama-3.1-8b", "llama-3.1-70b", "gpt-5"]).startswith(words)


def test_a_long_list_of_what_is_known_is_cut() -> None:
    assert near("zzz", [f"name-{number:02}" for number in range(60)]).endswith("name-11 and 48 more")


def test_aliases_are_suggested_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_model_names", lambda: {"sonnet-of-the-sea": "llama-3.1-8b"})

    with pytest.raises(CatalogError, match="close or known: sonnet-of-the-sea"):
        catalog.model("sonet-of-the-sea")
