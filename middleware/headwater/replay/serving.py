"""Which deployment serves which rows of a trace: served names to catalog entries, one deployment per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Final

from headwater import catalog
from headwater.errors import TraceError
from headwater.physics.estimate import Profile
from headwater.records import Deployment, Hydro, Mix, Precision
from headwater.replay.trace import Trace

DEFAULT_MOST_COUNT: Final = 256
"""Most requests in flight on a replica where its engine was not fitted: vLLM's own default for years."""
_MOST_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a trace is replayed on. Names are catalog entries; each model has a deployment of its own, all alike."""

    model: str | None = None
    """The model of rows that name none."""
    served_as: Mapping[str, str] = field(default_factory=dict)
    """Catalog entries of names that the catalog does not know."""
    hardware: str = "hgx-h100"
    accelerators: int | None = None
    replicas: int = 1
    precision: Precision | None = None
    engine: str | None = None
    site: str = "us-average"
    factors: str = catalog.CURRENT_FACTORS
    hydro: Hydro | None = None
    most_count: int | None = None
    """Most requests in flight on one replica; None: as many as entered the engine's fit."""
    skip_unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The rows of one model, and what serves them."""

    name: str
    profile: Profile
    rows: Sequence[int]
    most_count: int
    mean: Mix

    @property
    def deployment(self) -> Deployment:
        """What serves them."""
        return self.profile.deployment


def assign(trace: Trace, plan: Plan) -> tuple[list[Served], int]:
    """Who serves the rows, by the catalog's names in their order; and how many rows have a model that nobody knows.

    Raises:
        TraceError: a model is not in the catalog, and such rows are not to be skipped.
        CatalogError: the plan names an entry that the catalog does not have.
    """
    known, unknown = _resolve(trace, plan)
    if unknown and not plan.skip_unknown:
        raise TraceError(_unknown_words(trace.name, unknown))
    rows_of: dict[str, Sequence[int]] = {}
    if len(known) == len(trace.model_names) and len(set(known.values())) == 1:
        rows_of = dict.fromkeys(known.values(), range(len(trace)))
    else:
        lists: dict[str, list[int]] = {name: [] for name in sorted(known.values())}
        for row, number in enumerate(trace.models):
            if number in known:
                lists[known[number]].append(row)
        rows_of.update(lists)
    if not rows_of:
        raise TraceError(f"{trace.name}: no row has a model of the catalog; {_unknown_words(trace.name, unknown)}")
    served = [_served(name, rows, trace, plan) for name, rows in rows_of.items()]
    return served, len(trace) - sum(len(one.rows) for one in served)


def _resolve(trace: Trace, plan: Plan) -> tuple[dict[int, str], list[str]]:
    known: dict[int, str] = {}
    unknown: list[str] = []
    for number, name in enumerate(trace.model_names):
        given = plan.served_as.get(name, name or plan.model)
        if given is None:
            raise TraceError(
                f"{trace.name} does not say which model ran; name it with --model, like --model llama-3.1-70b"
            )
        found = catalog.model_name(given)
        if found is not None:
            known[number] = found
        elif name and name not in plan.served_as:
            unknown.append(name)
        else:
            catalog.model(given)  # raises, with what is close
    return known, unknown


def _unknown_words(trace_name: str, unknown: Sequence[str]) -> str:
    named = ", ".join(repr(name) for name in unknown[:_MOST_NAMED])
    more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
    names = catalog.names("models")
    close = get_close_matches(unknown[0].lower().rpartition("/")[2], names, n=3, cutoff=0.4) or names[:3]
    return (
        f"{trace_name}: {named}{more} not in the catalog of models; close to {unknown[0]!r}: {', '.join(close)}; "
        f"say what it is with --as '{unknown[0]}={close[0]}', or leave such rows out with --skip-unknown"
    )


def _served(name: str, rows: Sequence[int], trace: Trace, plan: Plan) -> Served:
    server = catalog.hardware(plan.hardware)
    deployment = catalog.deployment(
        model=name,
        hardware=server,
        engine=plan.engine if plan.engine is not None else catalog.USUAL_ENGINES[server.kind],
        site=plan.site,
        accelerators=plan.accelerators,
        replicas=plan.replicas,
        precision=plan.precision,
        factors=plan.factors,
        hydro=plan.hydro,
    )
    if plan.accelerators is None:
        count = catalog.fewest_accelerators(server, deployment.model, deployment.precision)
        deployment = replace(deployment, accelerators_count=count)
    fitted = deployment.engine.fitted_concurrency_count
    usual_count = DEFAULT_MOST_COUNT if fitted is None else max(int(fitted.high), 1)
    return Served(
        name=name,
        profile=Profile(deployment),
        rows=rows,
        most_count=plan.most_count or usual_count,
        mean=mean_mix(trace, rows),
    )


def mean_mix(trace: Trace, rows: Sequence[int]) -> Mix:
    """What these requests are like: means per request; of the context, over all output tokens."""
    fresh, cached, made = trace.input_tokens, trace.cached_tokens, trace.output_tokens
    count = len(rows)
    output_tokens = sum(map(made.__getitem__, rows))
    context_tokens = sum(made[row] * (2 * fresh[row] + made[row]) for row in rows) / 2
    input_tokens = sum(map(fresh.__getitem__, rows))
    return Mix(
        input_tokens=input_tokens / count,
        cached_tokens=sum(map(cached.__getitem__, rows)) / count,
        output_tokens=output_tokens / count,
        context_tokens=context_tokens / output_tokens if output_tokens else input_tokens / count,
    )
