"""How far our estimates are from measured GPU energy per output token, by method, and how far others' are.

    python bench/accuracy.py --rows ../shared/data/mlenergy_dev.csv
    python bench/accuracy.py --rows ../shared/data/mlenergy_dev.csv --peers --json accuracy.json
    python bench/accuracy.py --rows ../shared/data/mlenergy_dev.csv --left-out family

Any file with the columns of those rows can be scored (an optional column `engine` names a catalog engine). Errors are
absolute percentage errors of GPU joules per output token; `bias` is the median of the signed ones; `within_2x` the share of
rows between half and double; `coverage_90` the share whose measured value lies in our 90 % interval. All in percent.

The catalog's constants were fitted to rows of this kind: on those rows the figures flatter. `--left-out family` (or task)
predicts each group by constants fitted without it (which takes a minute), the honest figure for a model nobody measured.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import predict
import rows as measured
from headwater.physics.intervals import Doubts, accelerator_ratio
from headwater.physics.replica import Replica
from headwater.records import Deployment, Method
from predict import METHODS
from rows import Row

Score = dict[str, float]
GROUPS: Final[Mapping[str, Callable[[Row], str]]] = {
    "gpu": lambda row: row.gpu,
    "task": lambda row: row.task,
    "family": lambda row: row.family,
}
NINETY: Final = 0.9


def interval(row: Row, method: Method) -> tuple[float, float]:
    """Low and high of our 90 % interval, as multiples of the estimate."""
    engine = row.deployment.engine
    fewest = engine.fitted_concurrency_count.low if engine.fitted_concurrency_count is not None else 0.0
    known = row.concurrency_count if method in ("observed", "loaded", "paced") else fewest
    # Pictures of known number entered the fit; sound and film did not.
    unheard = any(kind in row.task for kind in ("audio", "video", "omni"))
    doubts = Doubts(tokens=True, concurrency=True, small_batch=known < fewest, images=unheard)
    return accelerator_ratio(row.deployment, method, doubts)


def score(predicted: Sequence[float], data: Sequence[Row], covered: Sequence[bool] | None = None) -> Score:
    """The figures of one method over some rows, in percent."""
    ratios = [value / row.accelerator_j_per_token for value, row in zip(predicted, data, strict=True)]
    errors = sorted(abs(ratio - 1) * 100 for ratio in ratios)
    found: Score = {
        "rows": len(data),
        "median_ape": statistics.median(errors),
        "p90_ape": _quantile(errors, NINETY),
        "bias": (statistics.median(ratios) - 1) * 100,
        "within_2x": 100 * statistics.fmean(1 / 2 < ratio < 2 for ratio in ratios),
    }
    if covered is not None:
        found["coverage_90"] = 100 * statistics.fmean(covered)
    return {name: value if name == "rows" else round(value, 2) for name, value in found.items()}


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the two nearest, as numpy does."""
    at = share * (len(ordered) - 1)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


Adapt = Callable[[Deployment], Deployment]
"""Puts other constants into a deployment."""


def left_out_constants(data: Sequence[Row], group: str) -> list[Adapt]:
    """Per row, what puts in the constants that were fitted without the row's own group."""
    import fit

    found: dict[int, Adapt] = {}
    folds = fit.leave_out(list(data), GROUPS[group])
    pace_error_ratio = fit.significant(fit.pace_error_ratio_of(list(data), folds))
    for fold in folds:
        adapt = partial(fit.with_constants, found=fold.constants, pace_error_ratio=pace_error_ratio)
        found |= dict.fromkeys(fold.indices, adapt)
    return [found[index] for index in range(len(data))]


def ready(data: Sequence[Row], adapts: Sequence[Adapt] | None) -> list[Replica]:
    """A replica per row, with the catalog's constants or with others; rows of one deployment share theirs."""
    made: dict[tuple[int, int], Replica] = {}
    replicas = []
    for index, row in enumerate(data):
        adapt = None if adapts is None else adapts[index]
        key = id(row.deployment), id(adapt)
        if key not in made:
            made[key] = Replica(row.deployment if adapt is None else adapt(row.deployment))
        replicas.append(made[key])
    return replicas


def evaluate(data: Sequence[Row], *, left_out: str | None = None, with_peers: bool = False) -> dict[str, Any]:
    """All figures of our own methods: in all, and by accelerator, task and family; `with_peers`, those of others too."""
    adapts = None if left_out is None else left_out_constants(data, left_out)
    replicas = ready(data, adapts)
    predicted: dict[Method, list[float]] = {}
    covered: dict[Method, list[bool]] = {}
    for method in METHODS:
        predicted[method] = [
            predict.accelerator_j_per_token(replica, row, method) for row, replica in zip(data, replicas, strict=True)
        ]
        covered[method] = []
        for value, row in zip(predicted[method], data, strict=True):
            low, high = interval(row, method)
            covered[method].append(low * value <= row.accelerator_j_per_token <= high * value)

    def scores(indices: Sequence[int]) -> dict[str, Score]:
        some = [data[index] for index in indices]
        return {
            method: score(
                [predicted[method][index] for index in indices], some, [covered[method][index] for index in indices]
            )
            for method in METHODS
        }

    def grouped(key: Callable[[Row], str]) -> dict[str, dict[str, Score]]:
        groups = sorted({key(row) for row in data})
        return {group: scores([index for index, row in enumerate(data) if key(row) == group]) for group in groups}

    found = {
        "rows": len(data),
        "left_out": left_out,
        "methods": scores(range(len(data))),
        "by": {name: grouped(key) for name, key in GROUPS.items()},
    }
    return found | {"peers": evaluate_peers(data, adapts)} if with_peers else found


def evaluate_peers(data: Sequence[Row], adapts: Sequence[Adapt] | None = None) -> dict[str, Any]:
    """The same figures for other estimators, each with what it was told and how its boundary was brought to ours; and for
    ours when it is told no more than they are."""
    import peers

    found: dict[str, Any] = {}
    for peer in peers.peers():
        adapting = peers.ADAPTING.get(peer.name)
        if adapting is not None and adapts is not None:
            predicted = [adapting(row, adapt=adapt) for row, adapt in zip(data, adapts, strict=True)]
        else:
            predicted = [peer.predict(row) for row in data]
        found[peer.name] = {
            **score(predicted, data),
            "knows": peer.knows,
            "boundary": peer.boundary,
            "by": {
                name: {
                    group: score(
                        [value for value, row in zip(predicted, data, strict=True) if key(row) == group],
                        [row for row in data if key(row) == group],
                    )
                    for group in sorted({key(row) for row in data})
                }
                for name, key in GROUPS.items()
            },
        }
    return found


def as_text(found: Mapping[str, Any]) -> str:
    """The figures as tables for people; those with equal information first."""
    head = f"{'':44} {'rows':>5} {'median':>7} {'P90':>7} {'bias':>7} {'in 2x':>6} {'cover':>6}"
    lines = [f"GPU joules per output token, absolute error in %; {found['rows']} rows"]
    if found["left_out"]:
        lines.append(f"constants fitted without the row's own {found['left_out']}")
    if "peers" in found:
        lines += ["", "others, and ours with the same information", head]
        lines += [_line(name, figures) for name, figures in found["peers"].items()]
    lines += ["", "headwater, by what is known", head]
    lines += [_line(method, figures) for method, figures in found["methods"].items()]
    for name, groups in found["by"].items():
        lines += ["", f"by {name}", head]
        lines += [
            _line(f"{group}, {method}", figures)
            for group, methods in groups.items()
            for method, figures in methods.items()
        ]
    return "\n".join(lines)


def _line(name: str, figures: Mapping[str, Any]) -> str:
    cover = f"{figures['coverage_90']:6.1f}" if "coverage_90" in figures else f"{'':6}"
    return (
        f"{name[:44]:44} {figures['rows']:5} {figures['median_ape']:7.1f} {figures['p90_ape']:7.1f} "
        f"{figures['bias']:+7.1f} {figures['within_2x']:6.1f} {cover}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="measured rows, CSV")
    parser.add_argument("--peers", action="store_true", help="score other estimators too (pip install '.[peers]')")
    parser.add_argument("--json", type=Path, help="write the figures to a file; - for standard output")
    parser.add_argument("--left-out", choices=sorted(GROUPS), help="constants fitted without the row's own group")
    parser.add_argument("--engine", default=measured.ENGINE, help="catalog engine of rows without a column `engine`")
    options = parser.parse_args()
    try:
        data = measured.read(options.rows, engine=options.engine)
        found = evaluate(data, left_out=options.left_out, with_peers=options.peers)
    except (OSError, measured.RowError, ImportError) as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return 2
    if options.json == Path("-"):
        print(json.dumps(found, indent=2))
        return 0
    print(as_text(found))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
