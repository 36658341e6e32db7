"""Fits the constants of the time and power model to measured rows, and writes them into the catalog.

    python bench/fit.py --rows ../shared/data/mlenergy_dev.csv            report only
    python bench/fit.py --rows ../shared/data/mlenergy_dev.csv --write    and write catalog/fitted.toml
    python bench/fit.py --rows ../shared/data/mlenergy_dev.csv --check    exit 1 where the catalog says anything else

Least squares on the logarithms of step time and of accelerator power at the measured time, robust (soft L1), with a prior
on each constant. Rows of one model are not independent, so each model counts alike and the priors count as
much as many rows. Judged by leaving out whole families, tasks and accelerators; never by random splits, which leak.
Deterministic: the same rows give the same file. The functions that are fitted are the product's own.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from scipy.optimize import least_squares

import predict
import rows as measured
from headwater import catalog
from headwater.physics.replica import Replica
from headwater.records import Deployment, EngineSpec, Factor, HardwareSpec, Method
from predict import METHODS
from rows import Row

ENGINE: Final = "vllm-0.11"
FITTED: Final = Path(catalog.__file__).with_name("fitted.toml")
CHECKED: Final = "2026-11-24"
SOURCE: Final = "ML.ENERGY benchmark v3, vLLM 0.11.1, GPU power, by bench/fit.py"

# One standard deviation of a row's step time and power about the model, in log, as a first fit found them.
TIME_SIGMA: Final = 0.15
POWER_SIGMA: Final = 0.08
# A prior weighs as 225 residuals: a few hundred rows of some twenty models hold about as many independent facts as models.
PRIOR_WEIGHT: Final = 15.0
# Residual bands of a few families cover too little of the next family: widened by this much, in log.
WIDENING: Final = 1.15
QUANTILES: Final = (0.05, 0.95)
# The median of the absolute of a normal variable, in sigmas.
SIGMAS_TO_MEDIAN: Final = 0.6745
# What is measured as 1 is not certain outside: nothing was measured below the least batch, nor pictures of unknown size.
LEAST_DOUBT: Final = 1.2
# An accelerator's power ratios lie this far beyond those of the measured ones, at most.
UNMEASURED_RANGE: Final = 1.3
# Five to 95 % of a normal variable, in sigmas.
NINETY: Final = 1.645
# Batches from here up are fitted when the doubt on smaller ones is measured.
LARGE_BATCH_COUNT: Final = 32


@dataclass(frozen=True, slots=True)
class Constant:
    """One fitted figure: where it stands in the catalog, its unit there, and its prior (middle, and one sigma in log)."""

    owner: str
    name: str
    unit: str
    middle: float
    sigma: float
    prior: str
    most: float = math.inf


_ETA: Final = 0.97
_PRACTICE: Final = "streaming kernels reach 80 to 90 % of the datasheet"
_GEMM: Final = "matrix kernels of serving engines reach 40 to 60 % of the dense peak"
CONSTANTS: Final = (
    Constant(ENGINE, "memory_efficiency_ratio", "ratio", 0.85, 0.15, _PRACTICE, _ETA),
    Constant(
        ENGINE, "cache_efficiency_ratio", "ratio", 0.6, 0.3, "paged, scattered reads are slower than streams", _ETA
    ),
    Constant(
        ENGINE,
        "expert_fp8_efficiency_ratio",
        "ratio",
        0.4,
        0.6,
        "block-scaled small matrices: well below streams",
        _ETA,
    ),
    Constant(ENGINE, "compute_efficiency_ratio", "ratio", 0.5, 0.3, _GEMM, _ETA),
    Constant(
        ENGINE, "expert_compute_efficiency_ratio", "ratio", 0.12, 0.4, "few tokens per expert: a fraction of that", _ETA
    ),
    Constant(ENGINE, "prefill_efficiency_ratio", "ratio", 0.45, 0.3, _GEMM, _ETA),
    Constant(
        ENGINE, "expert_prefill_efficiency_ratio", "ratio", 0.4, 0.4, _GEMM + ", a little less through experts", _ETA
    ),
    Constant(ENGINE, "expert_spread_ratio", "ratio", 0.5, 0.7, "tokens of a batch choose partly alike", 1.0),
    Constant(ENGINE, "roofline_exponent", "exponent", 1.5, 0.15, "between one after the other (1) and quadrature (2)"),
    Constant(ENGINE, "layer_s", "ms", 0.02, 0.8, "some ten kernels of 2 us a layer"),
    Constant(ENGINE, "expert_layer_s", "ms", 0.06, 0.8, "routing and sorting: more kernels"),
    Constant(ENGINE, "layer_parallel_s", "ms", 0.02, 0.8, "two all-reduces of about 10 us a layer"),
    Constant(ENGINE, "step_s", "ms", 2.2, 0.7, "scheduler, sampler and Python of one step"),
    Constant(ENGINE, "step_per_sequence_s", "ms", 0.01, 0.8, "detokenising and bookkeeping per sequence"),
    Constant(ENGINE, "prefill_s", "ms", 15.0, 0.7, "admission of a request and a step that decodes less"),
    Constant(ENGINE, "image_s", "ms", 30.0, 0.8, "preprocessing of a picture in the engine"),
    Constant("*", "power_static_ratio", "ratio", 0.2, 0.3, "clocks up, nothing running: a fifth of the limit"),
    Constant("hgx-h100", "power_busy_ratio", "ratio", 0.5, 0.3, "half of the limit when only memory is busy"),
    Constant("hgx-h100", "power_flop_ratio", "ratio", 0.8, 0.4, "the limit is reached at about half of the peak"),
    Constant("hgx-b200", "power_busy_ratio", "ratio", 0.55, 0.3, "half of the limit when only memory is busy"),
    Constant("hgx-b200", "power_flop_ratio", "ratio", 0.7, 0.4, "the limit is reached at about half of the peak"),
)
SERVERS: Final = tuple(sorted({constant.owner for constant in CONSTANTS} - {ENGINE, "*"}))
_PER_MS: Final = {"ms": 0.001}

Vector = np.ndarray


def _figure(constant: Constant, value: float) -> Factor:
    scale = _PER_MS.get(constant.unit, 1.0)
    return Factor(
        value=value * scale, low=value * scale, high=value * scale, unit="s" if scale != 1 else constant.unit,
        source=SOURCE, checked=CHECKED, confidence="measured",
    )  # fmt: skip


def values(theta: Vector) -> list[float]:
    """The constants, from their logarithms over the priors' middles."""
    return [constant.middle * math.exp(log) for constant, log in zip(CONSTANTS, theta, strict=True)]


def _changes(owner: str, found: Sequence[float]) -> dict[str, Factor]:
    owners = (owner, "*") if owner in SERVERS else (owner,)
    return {
        constant.name: _figure(constant, value)
        for constant, value in zip(CONSTANTS, found, strict=True)
        if constant.owner in owners
    }


def with_constants(
    deployment: Deployment, found: Sequence[float], *, power_of: str | None = None, pace_error_ratio: float = math.e
) -> Deployment:
    """A deployment with fitted constants in the place of the catalog's. `power_of`: the server whose power ratios it takes;
    None: its own."""
    pace = replace(_figure(CONSTANTS[0], pace_error_ratio), unit="ratio")
    engine: EngineSpec = replace(deployment.engine, **_changes(ENGINE, found), pace_error_ratio=pace)  # type: ignore[arg-type]  # Factors only
    server = power_of if power_of is not None else deployment.hardware.name
    hardware: HardwareSpec = replace(deployment.hardware, **_changes(server, found))  # type: ignore[arg-type]
    return replace(deployment, engine=engine, hardware=hardware)


def replicas(
    data: Sequence[Row], found: Sequence[float], *, power_of: str | None = None, pace_error_ratio: float = math.e
) -> list[Replica]:
    """A replica per row, made ready with the constants; rows of one deployment share theirs."""
    made: dict[int, Replica] = {}
    for row in data:
        key = id(row.deployment)
        if key not in made:
            changed = with_constants(row.deployment, found, power_of=power_of, pace_error_ratio=pace_error_ratio)
            made[key] = Replica(changed)
    return [made[id(row.deployment)] for row in data]


def _weights(data: Sequence[Row]) -> Vector:
    counts: dict[str, int] = {}
    for row in data:
        counts[row.model] = counts.get(row.model, 0) + 1
    weights = np.array([counts[row.model] ** -0.5 for row in data])
    normalised: Vector = weights / np.sqrt(np.mean(weights**2))
    return normalised


def fit(data: Sequence[Row]) -> Vector:
    """The constants (as logarithms over the priors' middles) that fit the rows best."""
    return fit_with_sigma(data)[0]


def fit_with_sigma(data: Sequence[Row]) -> tuple[Vector, Vector]:
    """The same, and one standard deviation of each: what rows and prior together leave open."""
    weights = _weights(data)
    sigmas = np.array([constant.sigma for constant in CONSTANTS])
    most = np.array([math.log(constant.most / constant.middle) for constant in CONSTANTS])

    def residuals(theta: Vector) -> Vector:
        times, powers = [], []
        for row, replica in zip(data, replicas(data, values(theta)), strict=True):
            running = replica.running(row.mean, row.concurrency_count)
            seen = replica.running(row.mean, row.concurrency_count, elapsed_s=row.elapsed_s)
            times.append(math.log(running.elapsed_s / row.mean.output_tokens / row.step_s))
            powers.append(math.log(seen.accelerator_w / row.accelerator_w))
        return np.concatenate(
            [
                weights * np.array(times) / TIME_SIGMA,
                weights * np.array(powers) / POWER_SIGMA,
                theta / sigmas * PRIOR_WEIGHT,
            ]
        )

    found = least_squares(residuals, np.zeros(len(CONSTANTS)), loss="soft_l1", bounds=(-np.inf, most), max_nfev=60)
    # Rows of one model on one accelerator in one task err together: so many independent facts there are, not more. The
    # prior counts once here.
    measured_part = found.jac[: -len(CONSTANTS)]
    independent_ratio = len({(row.model, row.gpu, row.task) for row in data}) / len(data)
    information = independent_ratio * measured_part.T @ measured_part + np.diag(sigmas**-2.0)
    return found.x, np.sqrt(np.diag(np.linalg.inv(information)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Rows that were left out of a fit, and the constants that were found without them."""

    left_out: str
    indices: list[int]
    constants: list[float]
    power_of: str | None
    """The server whose power ratios the rows take, where their own was not fitted."""


def _fitted(data: list[Row]) -> list[float]:
    return values(fit(data))


def leave_out(data: list[Row], key: Callable[[Row], str], *, only: str = "", swaps_power: bool = False) -> list[Fold]:
    """Fit without each group of rows in turn. `swaps_power`: an accelerator that was not fitted takes the power ratios of
    the one that was."""
    groups = [group for group in sorted({key(row) for row in data}) if only in ("", group)]
    left = [[index for index, row in enumerate(data) if key(row) == group] for group in groups]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(_fitted, ([row for row in data if key(row) != group] for group in groups)))
    return [
        Fold(
            left_out=group,
            indices=indices,
            constants=constants,
            power_of=next(server for server in SERVERS if server != data[indices[0]].deployment.hardware.name)
            if swaps_power
            else None,
        )
        for group, indices, constants in zip(groups, left, found, strict=True)
    ]


Errors = dict[Method, Vector]
"""ln(predicted / measured) energy per output token, by method, one per row; nan for rows that were not predicted."""


def errors_of(data: list[Row], folds: Sequence[Fold], pace_error_ratio: float) -> Errors:
    """What the rows that were left out would have been predicted as."""
    errors = {method: np.full(len(data), np.nan) for method in METHODS}
    for fold in folds:
        out = [data[index] for index in fold.indices]
        ready = replicas(out, fold.constants, power_of=fold.power_of, pace_error_ratio=pace_error_ratio)
        for index, row, replica in zip(fold.indices, out, ready, strict=True):
            for method in METHODS:
                predicted = predict.accelerator_j_per_token(replica, row, method)
                errors[method][index] = math.log(predicted / row.accelerator_j_per_token)
    return errors


def pace_error_ratio_of(data: list[Row], folds: Sequence[Fold]) -> float:
    """One sigma of computed over measured inter-token latency, as a factor, from the median of the absolute errors."""
    errors = []
    for fold in folds:
        out = [data[index] for index in fold.indices]
        for row, replica in zip(out, replicas(out, fold.constants), strict=True):
            errors.append(abs(math.log(replica.decode_step_s(row.mean, row.concurrency_count) / row.itl_s)))
    return math.exp(float(np.median(errors)) / SIGMAS_TO_MEDIAN)


def band(log_errors: Vector) -> tuple[float, float]:
    """The 90 % band of true over predicted energy, widened: low and high multipliers."""
    low, high = np.quantile(-log_errors, QUANTILES) * WIDENING
    return math.exp(min(low, 0.0)), math.exp(max(high, 0.0))


def doubt(beyond: Vector, inside: Vector) -> float:
    """The factor that has to be combined in quadrature with what holds inside the domain to hold beyond it; never
    below LEAST_DOUBT."""
    quantile = QUANTILES[1] - QUANTILES[0]
    outer, inner = (float(np.quantile(np.abs(errors), quantile)) for errors in (beyond, inside))
    return max(math.exp(math.sqrt(max(outer**2 - inner**2, 0.0))), LEAST_DOUBT)


def significant(value: float, digits: int = 3) -> float:
    """A value as it is written into the catalog."""
    return float(f"{value:.{digits}g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that goes into the catalog."""

    constants: list[float]
    sigmas: list[float]
    """One standard deviation of each constant, in log."""
    families: list[Fold]
    bands: dict[Method, tuple[float, float]]
    doubts: dict[str, float]
    pace_error_ratio: float
    fitted_concurrency: tuple[float, float, float]


def run(data: list[Row], say: Callable[[str], None]) -> Result:
    """Fit, leave out, and judge."""
    say(
        f"{len(data)} rows, {len({row.model for row in data})} models; median absolute error %, / 90th percentile (bias)"
    )
    theta, sigmas = fit_with_sigma(data)
    found = [significant(value) for value in values(theta)]
    everything = list(range(len(data)))
    families = leave_out(data, lambda row: row.family)
    pace = significant(pace_error_ratio_of(data, families))
    own = errors_of(data, [Fold(left_out="", indices=everything, constants=found, power_of=None)], pace)
    say(_line("the fit itself", own))
    by_family = errors_of(data, families, pace)
    say(_line("leave one family out", by_family))
    for fold in families:
        say(_line(f"  without {fold.left_out}", {method: errors[fold.indices] for method, errors in by_family.items()}))
    by_task = errors_of(data, leave_out(data, lambda row: row.task), pace)
    say(_line("leave one task out", by_task))
    by_server = errors_of(data, leave_out(data, lambda row: row.gpu, swaps_power=True), pace)
    say(_line("leave one accelerator out", by_server))
    is_small = np.array([row.concurrency_count < LARGE_BATCH_COUNT for row in data])
    large = leave_out(data, lambda row: "small" if row.concurrency_count < LARGE_BATCH_COUNT else "large", only="small")
    by_size = {method: errors[is_small] for method, errors in errors_of(data, large, pace).items()}
    say(_line(f"leave batches below {LARGE_BATCH_COUNT} out", by_size))
    has_images = np.array([row.task.startswith("image") for row in data])
    batches = [row.concurrency_count for row in data]
    return Result(
        constants=found,
        sigmas=sigmas.tolist(),
        families=families,
        bands={method: band(errors) for method, errors in by_family.items()},
        doubts={
            "unseen_hardware_ratio": max(doubt(by_server[method], own[method]) for method in ("observed", "loaded")),
            "small_batch_ratio": doubt(by_size["loaded"], own["loaded"][is_small]),
            "image_ratio": doubt(by_family["observed"][has_images], by_family["observed"][~has_images]),
        },
        pace_error_ratio=pace,
        fitted_concurrency=(min(batches), float(np.median(batches)), max(batches)),
    )


def _line(name: str, errors: Errors) -> str:
    cells = []
    for method in METHODS:
        percent = np.abs(np.expm1(errors[method])) * 100
        bias = np.expm1(np.median(errors[method])) * 100
        cells.append(f"{method} {np.median(percent):5.1f} /{np.quantile(percent, 0.9):4.0f} ({bias:+3.0f})")
    return f"{name:32} {'   '.join(cells)}"


def document(result: Result, data: Sequence[Row]) -> str:
    """catalog/fitted.toml."""
    parts = [
        "# Written by bench/fit.py from measured rows; do not edit. Ranges: 90 % of what rows and prior leave open, and at least",
        '# what a value was when one family of models after the other was left out. Bands: METHODOLOGY.md, "Intervals".',
        "",
        f"[engines.{_key(ENGINE)}]",
        f"fitted_hardware = {list(SERVERS)}".replace("'", '"'),
        (
            f'band_source = "90 % of true over predicted GPU energy on families left out of the fit ({len(data)} rows, '
            f'{len({row.model for row in data})} models), widened by {WIDENING} in log"'
        ),
        "",
        f"[engines.{_key(ENGINE)}.band]",
        *(f"{method} = [{significant(low)}, {significant(high)}]" for method, (low, high) in result.bands.items()),
    ]
    ranges = [
        (
            min(*column, value * math.exp(-NINETY * sigma)),
            min(max(*column, value * math.exp(NINETY * sigma)), constant.most),
        )
        for constant, column, value, sigma in zip(
            CONSTANTS,
            zip(*(fold.constants for fold in result.families), strict=True),
            result.constants,
            result.sigmas,
            strict=True,
        )
    ]
    owners = (ENGINE, *SERVERS)
    for owner in owners:
        for constant, value, (low, high) in zip(CONSTANTS, result.constants, ranges, strict=True):
            if constant.owner == owner or (constant.owner == "*" and owner in SERVERS):
                parts += _entry(
                    owner, constant.name, constant.unit, value, min(low, value), max(high, value),
                    f"Fitted to {SOURCE}; prior {constant.middle:g}{' ms' * (constant.unit == 'ms')} ({constant.prior})", "estimated",
                )  # fmt: skip
        if owner == ENGINE:
            parts += _judged(result)
    return "\n".join(parts + _unmeasured(result)) + "\n"


def _unmeasured(result: Result) -> list[str]:
    """Power ratios of accelerators that were not measured: the mean of those that were, with a range around all of them."""
    lines: list[str] = []
    for name in dict.fromkeys(constant.name for constant in CONSTANTS if constant.owner != ENGINE):
        found = [value for constant, value in zip(CONSTANTS, result.constants, strict=True) if constant.name == name]
        low, high = min(found) / UNMEASURED_RANGE, max(found) * UNMEASURED_RANGE
        source = f"Mean of the fitted {' and '.join(SERVERS)}; range: {UNMEASURED_RANGE} beyond them either way, by judgement"
        lines += _entry("unmeasured", name, "ratio", sum(found) / len(found), low, high, source, "estimated")
    return lines


def _judged(result: Result) -> list[str]:
    low, middle, high = result.fitted_concurrency
    texts = {
        "unseen_hardware_ratio": "Errors on one accelerator after a fit on the other, beyond those of the fit",
        "small_batch_ratio": f"Errors on batches below {LARGE_BATCH_COUNT} after a fit on the others, beyond the fit's; at least {LEAST_DOUBT}",
        "image_ratio": f"Errors of rows with pictures beyond those without, on families left out; at least {LEAST_DOUBT}",
    }
    lines = _entry(
        ENGINE, "fitted_concurrency_count", "count", round(middle), math.floor(low + 0.5), math.ceil(high),
        "Mean batches of the fitted rows: least, middle, most", "measured",
    )  # fmt: skip
    for name, value in result.doubts.items():
        lines += _entry(ENGINE, name, "ratio", value, value, value, f"{texts[name]}; bench/fit.py", "measured")
    pace = result.pace_error_ratio
    text = "One sigma of computed over measured median inter-token latency on families left out; bench/fit.py"
    return lines + _entry(ENGINE, "pace_error_ratio", "ratio", pace, pace, pace, text, "measured")


def _key(name: str) -> str:
    return f'"{name}"' if "." in name else name


def _entry(
    owner: str, name: str, unit: str, value: float, low: float, high: float, source: str, confidence: str
) -> list[str]:
    kind = "" if owner == "unmeasured" else "engines." if owner == ENGINE else "hardware."
    return [
        "",
        f"[{kind}{_key(owner)}.{name}]",
        f"value = {significant(value)}",
        f"low = {min(significant(low), significant(value))}",
        f"high = {max(significant(high), significant(value))}",
        f'unit = "{unit}"',
        f'source = "{source}"',
        f'checked = "{CHECKED}"',
        f'confidence = "{confidence}"',
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="measured rows, CSV")
    parser.add_argument("--write", action="store_true", help="write catalog/fitted.toml")
    parser.add_argument("--check", action="store_true", help="exit 1 where catalog/fitted.toml says anything else")
    options = parser.parse_args()
    try:
        data = measured.read(options.rows)
    except (OSError, measured.RowError) as error:
        print(f"fit: {error}", file=sys.stderr)
        return 2
    result = run(data, print)
    text = document(result, data)
    if options.write:
        FITTED.write_text(text, encoding="utf-8")
        print(f"written: {FITTED.name}")
    if options.check and FITTED.read_text(encoding="utf-8") != text:
        print(f"fit: {FITTED.name} says something else; run with --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
