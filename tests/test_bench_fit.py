"""The fit: that the catalog holds what it finds, and that it finds what was put in. Needs the measured rows for the first."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accuracy
import fit
import predict
import rows as measured
from headwater import catalog
from headwater.physics.replica import Replica
from headwater.records import EngineSpec, HardwareSpec, Mix

ROOT = Path(__file__).parents[1]
ROWS = Path(os.environ.get("HEADWATER_ROWS", ROOT.parent / "shared" / "data" / "mlenergy_dev.csv"))
needs_rows = pytest.mark.skipif(not ROWS.is_file(), reason="the measured rows are not there; HEADWATER_ROWS names them")


@pytest.fixture(scope="module")
def data() -> list[measured.Row]:
    return measured.read(ROWS)


def catalog_value(constant: fit.Constant) -> float:
    owner: EngineSpec | HardwareSpec
    owner = catalog.engine(fit.ENGINE) if constant.owner == fit.ENGINE else catalog.hardware(fit.SERVERS[0])
    if constant.owner in fit.SERVERS:
        owner = catalog.hardware(constant.owner)
    value: float = getattr(owner, constant.name).value
    return value * 1000 if constant.unit == "ms" else value


@needs_rows
def test_fitting_again_changes_nothing(data: list[measured.Row]) -> None:
    found = [fit.significant(value) for value in fit.values(fit.fit(data))]

    for constant, value in zip(fit.CONSTANTS, found, strict=True):
        # The last written digit may differ between machines: their linear algebra does.
        assert value == pytest.approx(catalog_value(constant), rel=0.01), constant.name


def test_the_fit_finds_the_constants_that_made_the_rows() -> None:
    """Rows made by the model itself, with an engine twice as slow to start a step: the fit must find it, against its prior."""
    data = made_rows(step_s=2.0)

    found = dict(zip([constant.name for constant in fit.CONSTANTS], fit.values(fit.fit(data)), strict=True))

    assert found["step_s"] == pytest.approx(2 * 2.2, rel=0.1)


def made_rows(**times: float) -> list[measured.Row]:
    made = []
    for model in ("llama-3.1-8b", "qwen3-14b", "qwen3-30b-a3b"):
        deployment = catalog.deployment(
            model=model, hardware="hgx-h100", accelerators=1, engine=fit.ENGINE, site="us-average"
        )
        truth = [constant.middle * times.get(constant.name, 1.0) for constant in fit.CONSTANTS]
        replica = Replica(fit.with_constants(deployment, truth))
        for batch in (8, 16, 32, 64, 128, 256, 512) * 12:
            row = measured_row(deployment, batch)
            running = replica.running(row.mean, batch)
            step_s = running.elapsed_s / row.mean.output_tokens
            made.append(
                replace(
                    row,
                    step_s=step_s,
                    accelerator_w=running.accelerator_w,
                    accelerator_j_per_token=running.accelerator_j_per_token,
                )
            )
    return made


def measured_row(deployment: Any, batch: float) -> measured.Row:
    return measured.Row(
        name="made",
        task="chat",
        model=deployment.model.name,
        family=deployment.model.name,
        gpu="H100",
        deployment=deployment,
        mean=Mix(input_tokens=300, cached_tokens=0, output_tokens=500, context_tokens=550),
        concurrency_count=batch,
        accelerator_w=1.0,
        step_s=1.0,
        itl_s=0.02,
        accelerator_j_per_token=1.0,
        active_params_count=deployment.model.active_params_count,
        total_params_count=deployment.model.total_params_count,
    )


def test_a_doubt_is_what_is_missing_in_quadrature_and_never_nothing() -> None:
    inside, beyond = np.array([0.3] * 10), np.array([0.5] * 10)

    assert math.log(fit.doubt(beyond, inside)) == pytest.approx(0.4)
    assert fit.doubt(inside, beyond) == fit.LEAST_DOUBT


def test_a_band_is_of_true_over_predicted_and_widened() -> None:
    errors = np.log(np.array([2.0] * 50 + [0.5] * 50))

    low, high = fit.band(errors)

    assert math.log(low) == pytest.approx(-math.log(2) * fit.WIDENING)
    assert math.log(high) == pytest.approx(math.log(2) * fit.WIDENING)


# --- scoring


@needs_rows
def test_the_goals_hold_on_families_left_out(data: list[measured.Row]) -> None:
    """Medians on families left out, as the methodology states them, with the goals that were set before: 12, 17 and 33 %;
    the interval covers 85 to 95 % in all (97 of a method that is wide anyway) and 70 % in each family."""
    found = accuracy.evaluate(data, left_out="family")

    for method, goal in (("observed", 12), ("loaded", 17), ("paced", 33)):
        figures = found["methods"][method]
        assert figures["rows"] == len(data)
        assert figures["median_ape"] <= goal, method
        assert 85 <= figures["coverage_90"] <= 95, method
        for family, methods in found["by"]["family"].items():
            assert methods[method]["coverage_90"] >= 70, (family, method)
    assert abs(found["methods"]["loaded"]["bias"]) <= 5


@needs_rows
def test_the_command_writes_the_figures_as_json(tmp_path: Path) -> None:
    out = tmp_path / "accuracy.json"

    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "accuracy.py"), "--rows", str(ROWS), "--json", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert set(found["methods"]) == {"observed", "loaded", "paced", "assumed"}
    assert set(found["methods"]["paced"]) == {"rows", "median_ape", "p90_ape", "bias", "within_2x", "coverage_90"}
    assert set(found["by"]) == {"gpu", "task", "family"}
    assert "observed" in done.stdout


def test_scores_are_what_a_hand_computes() -> None:
    data = [replace(measured_row(deployment(), 8), accelerator_j_per_token=1.0) for _ in range(4)]

    found = accuracy.score([1.1, 0.8, 3.0, 1.0], data, [True, True, False, True])

    # Errors of 10, 20, 200 and 0 %: the median lies between 10 and 20, the 90th percentile 7/10 from 20 to 200.
    assert found == {
        "rows": 4, "median_ape": 15.0, "p90_ape": 146.0, "bias": 5.0, "within_2x": 75.0, "coverage_90": 75.0,
    }  # fmt: skip


def deployment() -> Any:
    return catalog.deployment(
        model="llama-3.1-8b", hardware="hgx-h100", accelerators=1, engine=fit.ENGINE, site="us-average"
    )


# --- reading rows

GOOD_FILE = (
    "row_id,task,model,family,gpu,num_gpus,attn_tp,attention_dp,precision,avg_batch,avg_output_len,mean_decode_pos,"
    "input_len_est,uncached_frac_est,power_w,j_per_token,step_time_ms,itl_median_ms,layers,q_heads,kv_heads,head_dim,"
    "experts,top_k,moe_layers,mla,sliding_layers,sliding_window,state_bytes_per_seq,kv_bytes_per_token_full,"
    "params_total_exact,params_active_exact,params_experts,params_vision,bytes_per_weight_always,bytes_per_weight_expert\n"
    "r1,image-chat,nobody/mixture-1,none,H100,8,4,1,fp8,64,500,250,"
    "300,0.5,3000,0.5,40,38,40,64,8,128,"
    "64,4,39,0,20,512,1000,163840,"
    "2e11,2e10,1.8e11,6e8,2,1\n"
)
GOOD = next(csv.DictReader(io.StringIO(GOOD_FILE)))


def written(tmp_path: Path, **changes: str) -> Path:
    cells = GOOD | changes
    path = tmp_path / "rows.csv"
    path.write_text(",".join(cells) + "\n" + ",".join(cells.values()) + "\n")
    return path


def test_a_model_that_the_catalog_does_not_know_is_taken_from_its_row(tmp_path: Path) -> None:
    (row,) = measured.read(written(tmp_path))

    model = row.deployment.model
    assert model.experts is not None
    assert (model.experts.params_count, model.experts.chosen_count, model.experts.layers_count) == (1.8e11, 4, 39)
    assert model.window is not None
    assert (model.window.layers_count, model.attention_layers_count) == (20, 40)
    assert (model.quantised, row.deployment.attention_accelerators_count) == ("experts", 4)
    assert (row.mean.cached_tokens, row.mean.images_count, row.mean.context_tokens) == (150, 0.5, 550)
    for method in predict.METHODS:
        assert 0 < predict.accelerator_j_per_token(Replica(row.deployment), row, method) < math.inf


def test_a_row_with_latent_attention_has_one_vector_for_all_heads(tmp_path: Path) -> None:
    latent = {"mla": "1", "kv_bytes_per_token_full": "46080", "sliding_layers": "0", "head_dim": "", "kv_heads": ""}

    (row,) = measured.read(written(tmp_path, attn_tp="1", **latent))

    assert row.deployment.model.latent == measured.LATENT
    assert row.deployment.model.attention_layers_count == 40


@pytest.mark.parametrize(
    ("gpu", "hardware"),
    [("h200", "hgx-h200"), ("A100-40GB", "hgx-a100-40gb"), ("MI300X", "mi300x"), ("hgx-b300", "hgx-b300")],
)
def test_an_accelerator_may_be_named_in_more_than_one_way(tmp_path: Path, gpu: str, hardware: str) -> None:
    (row,) = measured.read(written(tmp_path, gpu=gpu, precision="FP8"))

    assert row.deployment.hardware.name == hardware


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"row_id\n\xff\xfe\n")

    with pytest.raises(measured.RowError, match="UTF-8"):
        measured.read(path)


def test_a_row_may_name_its_engine(tmp_path: Path) -> None:
    (row,) = measured.read(written(tmp_path, engine="vllm-0.5"))

    assert row.deployment.engine.name == "vllm-0.5"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"power_w": ""}, "line 2 .*r1.*power_w must be a number, not ''"),
        ({"j_per_token": "nan"}, "j_per_token must be finite"),
        ({"avg_batch": "-3"}, "avg_batch must be finite and not negative"),
        ({"itl_median_ms": "0"}, "itl_median_ms must be above 0"),
        ({"precision": "fp3"}, "'fp3' is not one of"),
        ({"gpu": "H1000"}, "'h1000' is not in the catalog of hardware"),
        ({"engine": "vllm-9"}, "'vllm-9' is not in the catalog of engines"),
        ({"params_experts": "9e11"}, "too many"),
        ({"num_gpus": "2.5"}, "num_gpus must be a whole number"),
        ({"avg_batch": "0.2"}, "avg_batch must be at least 1"),
        ({"uncached_frac_est": "1.2"}, "uncached_frac_est must be at most 1"),
        ({"layers": ""}, "layers must be a number"),
        ({"top_k": ""}, "top_k must be a number"),
        ({"sliding_window": ""}, "sliding_window must be a number"),
    ],
)
def test_a_row_that_cannot_be_predicted_is_an_error_that_names_it(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(measured.RowError, match=message):
        measured.read(written(tmp_path, **changes))


def test_a_file_without_rows_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(",".join(GOOD) + "\n")

    with pytest.raises(measured.RowError, match="no row"):
        measured.read(path)
