"""What other estimators say about a measured row: that their numbers are brought to joules of the accelerators per output
token as stated, and that ours is told no more than they are."""

from __future__ import annotations

import math
import os
import statistics
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

import estimate_speed
import peers
import rows as measured
from headwater import catalog
from headwater.physics.replica import Replica
from headwater.records import Deployment, Mix
from rows import Row

ROOT = Path(__file__).parents[1]
ROWS = Path(os.environ.get("HEADWATER_ROWS", ROOT.parent / "shared" / "data" / "mlenergy_dev.csv"))
REL = 1e-9
J_PER_KWH = 3.6e6
PARAMS_COUNT = 100e9
ACTIVE_COUNT = 10e9


def _missing() -> str:
    try:
        peers.require()
    except peers.PeersMissing as missing:
        return str(missing)
    return ""


needs_peers = pytest.mark.skipif(bool(_missing()), reason=_missing() or "they are there")
needs_rows = pytest.mark.skipif(not ROWS.is_file(), reason="the measured rows are not there; HEADWATER_ROWS names them")


@pytest.fixture
def row() -> Row:
    """100 billion parameters, 10 of them active, on 8 accelerators; 800 fresh, 200 cached and 500 output tokens."""
    return Row(
        name="r1",
        task="chat",
        model="nobody/unheard-of",
        family="made up",
        gpu="B200",
        deployment=catalog.deployment(
            model=peers.assumed_model(ACTIVE_COUNT, PARAMS_COUNT),
            hardware="hgx-b200",
            accelerators=8,
            precision="bf16",
            engine="vllm-0.11",
            site="us-average",
        ),
        mean=Mix(input_tokens=1000.0, cached_tokens=200.0, output_tokens=500.0, context_tokens=1300.0),
        concurrency_count=32.0,
        accelerator_w=4000.0,
        step_s=0.04,
        itl_s=0.035,
        accelerator_j_per_token=5.0,
        active_params_count=ACTIVE_COUNT,
        total_params_count=PARAMS_COUNT,
    )


def said(name: str) -> Callable[[Row], float]:
    return next(peer.predict for peer in peers.peers() if peer.name == name)


# -- theirs -----------------------------------------------------------------------------------------------------------


def ecologits_gpu_j(batch: float) -> float:
    """Joules per output token of one of its GPUs, by its published regression at 10 billion active parameters."""
    wh = 1.1665273170451914e-06 * math.exp(-0.011205921025579175 * batch) * 10 + 4.052928146734005e-05
    return wh * 3600


@needs_peers
def test_ecologits_counts_its_gpus_and_its_batch_of_64(row: Row) -> None:
    # 1.2 x 100e9 x 2 bytes on 80 GB: three, and so four.
    assert said("ecologits (as shipped)")(row) == pytest.approx(4 * ecologits_gpu_j(64), rel=REL)


@needs_peers
def test_ecologits_is_given_the_true_batch_and_gpus(row: Row) -> None:
    assert said("ecologits (true batch and GPUs)")(row) == pytest.approx(8 * ecologits_gpu_j(32), rel=REL)


@needs_peers
def test_what_is_left_out_of_ecologits_is_its_server_and_its_pue(row: Row) -> None:
    from ecologits.impacts.llm import compute_llm_impacts

    pue = 1.15
    whole = compute_llm_impacts(10.0, 100.0, 500, 1e-7, 10.0, 0.5, 3.0, datacenter_pue=pue, datacenter_wue=0.5)
    latency_s = 500 * (0.0006785088094353663 * 10 + 0.0003119310311688259 * 64 + 0.019473717579473387)
    server_kwh = latency_s / 3600 * 1.2 * 4 / 8 / 64
    whole_kwh = whole.energy.value
    assert isinstance(whole_kwh, float)
    gpu_kwh = whole_kwh / pue - server_kwh
    assert said("ecologits (as shipped)")(row) == pytest.approx(gpu_kwh * J_PER_KWH / 500, rel=1e-6)


ECOCOST_H100_J = (2 * 10e9 * 820 / 0.5 + 2 * 10e9 * 500 / 0.12) / 9.89e14 * 700 / 500
"""800 fresh and a tenth of 200 cached tokens at half of an H100's peak, 500 output tokens at 12 % of it, at 700 W."""


@needs_peers
def test_ecocost_is_flops_at_its_utilisations_without_overhead_and_pue(row: Row) -> None:
    assert said("ecocost (as shipped)")(row) == pytest.approx(ECOCOST_H100_J, rel=REL)


@needs_peers
def test_ecocost_knows_a_b200_and_takes_others_for_its_reference(row: Row) -> None:
    told = said("ecocost (true accelerator)")
    assert told(row) == pytest.approx(0.8 * ECOCOST_H100_J, rel=REL)
    assert told(replace(row, gpu="A100-40GB")) == pytest.approx(ECOCOST_H100_J, rel=REL)


@needs_peers
def test_ecocost_by_name_takes_the_energy_that_it_has_a_record_of(row: Row) -> None:
    prefill_j = 2 * 3.6e9 * 820 / 0.5 / 9.89e14 * 700 / 500
    named = replace(row, model="openai/gpt-oss-20b")
    assert said("ecocost (by name)")(named) == pytest.approx(0.0346 * 3.6 + prefill_j, rel=REL)
    assert said("ecocost (by name)")(row) == pytest.approx(ECOCOST_H100_J, rel=REL)


@needs_peers
def test_ecocost_as_its_callers_see_it_adds_overhead_and_pue() -> None:
    import ecocost

    seen = ecocost.estimate("mixtral-8x7b-instruct-v0.1", input_tokens=0, output_tokens=1_000_000)
    accelerators_wh = 2 * 12.9e9 * 1e6 / 0.12 / 9.89e14 * 700 / 3600
    assert seen["energy"]["value"] == pytest.approx(accelerators_wh * 1.6 * 1.2, rel=0.01)


@needs_peers
def test_soif_is_a_tier_with_a_tenth_for_fresh_and_a_hundredth_for_cached_tokens(row: Row) -> None:
    # 10 billion active: 0.2 Wh per 1,000 output tokens.
    it_wh = 0.2 * (500 + 0.1 * 800 + 0.01 * 200) / 1000
    assert said("soif")(row) == pytest.approx(it_wh * 3600 / 1.45 / 500, rel=REL)


@needs_peers
@pytest.mark.parametrize(
    ("name", "joules"),
    [
        ("flat 0.3 Wh per query", 1080 / (1.2 * 1.45)),
        ("flat 0.34 Wh per query", 1224 / (1.2 * 1.45)),
        ("flat 4 Wh per question", 14400 / 1.45),
    ],
)
def test_flat_figures_are_the_same_for_every_request(row: Row, name: str, joules: float) -> None:
    for output_tokens in (1.0, 500.0, 12345.6):
        changed = replace(row, mean=replace(row.mean, output_tokens=output_tokens))
        assert said(name)(changed) * output_tokens == pytest.approx(joules, rel=1e-12)


@needs_peers
def test_every_peer_says_what_it_knows_and_what_was_taken_off(row: Row) -> None:
    listed = peers.peers()
    assert len({peer.name for peer in listed}) == len(listed)
    for peer in listed:
        assert peer.knows, peer.name
        assert peer.boundary, peer.name
        assert 0 < peer.predict(row) < math.inf, peer.name


@needs_peers
@needs_rows
def test_on_the_measured_rows_errors_are_of_the_published_order() -> None:
    data = measured.read(ROWS)
    medians = {
        peer.name: statistics.median(abs(peer.predict(each) / each.accelerator_j_per_token - 1) for each in data)
        for peer in peers.peers()
    }
    assert 0.4 < medians["ecologits (as shipped)"] < 0.9
    assert 0.5 < medians["ecocost (as shipped)"] < 0.9
    assert 0.5 < medians["soif"] < 1.5
    assert 0.5 < medians["flat 0.3 Wh per query"] < 2.0
    # Without the batch all are in the dark; with it the physics tells.
    assert medians["headwater (parameters and tokens only)"] < 0.75
    assert medians["headwater (parameters, tokens, batch and GPUs)"] < medians["ecologits (true batch and GPUs)"] / 2


def test_the_pins_are_those_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = {f"{package}=={pinned}" for package, pinned in peers.PACKAGES.items()}
    assert set(project["optional-dependencies"]["peers"]) == pins


@pytest.mark.parametrize("found", ["0.0.1", None])
def test_a_missing_peer_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    def version(package: str) -> str:
        if found is None:
            raise metadata.PackageNotFoundError(package)
        return found

    monkeypatch.setattr(peers, "version", version)
    with pytest.raises(peers.PeersMissing, match=r"ecologits 0\.11\.3 .* pip install '\.\[peers\]'"):
        peers.peers()


def test_speeds_are_ours_and_those_of_the_peers_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_speed, "ROUND_S", 0.001)
    speeds = estimate_speed.measure(estimate_speed.contenders(), 3)
    assert len(speeds) == (3 if _missing() else 6)
    assert speeds[0].name == estimate_speed.RATIOS_TO
    assert all(0 < speed.low_us <= speed.us <= speed.high_us for speed in speeds)


# -- ours, told as little -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "accelerators", "precision"),
    [(8e9, 1, "bf16"), (33e9, 1, "bf16"), (34e9, 2, "bf16"), (266e9, 8, "bf16"), (267e9, 8, "fp8"), (9e11, 8, "fp8")],
)
def test_the_assumed_server_is_the_smallest_that_holds_the_weights(
    total: float, accelerators: int, precision: str
) -> None:
    made = peers.assumed(total, total)
    assert (made.accelerators_count, made.precision, made.hardware.name) == (accelerators, precision, "hgx-h100")


def test_weights_that_known_accelerators_do_not_hold_are_taken_for_8_bits() -> None:
    assert peers.assumed(70e9, 70e9, 2).precision == "fp8"
    assert peers.assumed(70e9, 70e9, 4).precision == "bf16"


def test_the_assumed_model_is_as_deep_as_decoders_of_its_size() -> None:
    dense = peers.assumed_model(70e9, 70e9)
    # (70e9 / (12 x 128^2))^(1/3) = 70.9
    assert (dense.layers_count, dense.q_heads_count, dense.experts) == (71, 72, None)
    mixture = peers.assumed_model(ACTIVE_COUNT, PARAMS_COUNT)
    assert mixture.layers_count == 37
    assert mixture.experts is not None
    # Of 10 active, 6.67 in 8 chosen experts; of 100, 96.67 in all: 116 of them.
    assert mixture.experts.params_count == pytest.approx(PARAMS_COUNT - ACTIVE_COUNT / 3)
    assert mixture.experts.experts_count == 116


def test_ours_is_told_parameters_and_tokens_and_nothing_else(row: Row) -> None:
    known = peers.ours_from_sizes(row)
    mean = Mix(input_tokens=1000.0, cached_tokens=200.0, output_tokens=500.0, context_tokens=1250.0)
    by_hand = Replica(peers.assumed(ACTIVE_COUNT, PARAMS_COUNT)).running(mean, 64)
    assert known == pytest.approx(by_hand.accelerator_j_per_token, rel=REL)
    other = replace(
        row,
        model="somebody/else",
        gpu="H100",
        deployment=replace(row.deployment, accelerators_count=2, precision="fp8"),
        mean=replace(row.mean, images_count=1.0, context_tokens=9.0),
        concurrency_count=500.0,
    )
    assert peers.ours_from_sizes(other) == known


def test_ours_with_the_load_is_told_accelerators_and_batch(row: Row) -> None:
    mean = Mix(input_tokens=1000.0, cached_tokens=200.0, output_tokens=500.0, context_tokens=1250.0)
    by_hand = Replica(peers.assumed(ACTIVE_COUNT, PARAMS_COUNT, 8)).running(mean, 32)
    assert peers.ours_from_sizes_and_load(row) == pytest.approx(by_hand.accelerator_j_per_token, rel=REL)


def test_constants_of_another_fit_can_be_put_in(row: Row) -> None:
    def twice_the_bandwidth(deployment: Deployment) -> Deployment:
        bandwidth = deployment.hardware.memory_bw_bytes_per_s
        faster = replace(bandwidth, value=2 * bandwidth.value, high=2 * bandwidth.value)
        return replace(deployment, hardware=replace(deployment.hardware, memory_bw_bytes_per_s=faster))

    assert peers.ours_from_sizes(row, adapt=twice_the_bandwidth) < peers.ours_from_sizes(row)
