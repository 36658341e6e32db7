"""Charges for hypothesis: all combinations of what may be known and unknown."""

from __future__ import annotations

from dataclasses import replace
from hashlib import md5
from typing import get_args

from hypothesis import strategies as st

from headwater import ulid
from headwater.records import Amounts, Boundary, Charge, CountSource, Method, Mix, Observation, Outcome, Usage

INT64 = st.integers(-(2**63), 2**63 - 1)
COUNTS = st.none() | st.integers(0, 2**40)
SECONDS = st.none() | st.floats(0, 1e6)
FIGURES = st.floats(0, 1e6)
MIXES = st.builds(
    Mix,
    input_tokens=FIGURES,
    cached_tokens=FIGURES,
    output_tokens=FIGURES,
    context_tokens=FIGURES,
    images_count=FIGURES,
)
NAMES = st.sampled_from(["", "other", "llama-3.1-70b", "azure-westus3"])
USERS = st.sampled_from(["anonymous", "ad" * 16, "b0" * 16, "c1" * 16])


def amounts_of(values: st.SearchStrategy[int]) -> st.SearchStrategy[Amounts]:
    """All eleven amounts drawn from one strategy."""
    return st.builds(Amounts, **dict.fromkeys(Amounts.__dataclass_fields__, values))


def _metered(seen: Observation) -> st.SearchStrategy[Observation]:
    """What was seen, with and without energy that the upstream reported."""
    metered = st.builds(
        lambda joules, boundary: replace(seen, metered_j=joules, metered_boundary=boundary),
        FIGURES,
        st.sampled_from(get_args(Boundary)),
    )
    return st.just(seen) | metered


def charges(
    *, amounts: st.SearchStrategy[int] = INT64, times_ms: st.SearchStrategy[int] | None = None
) -> st.SearchStrategy[Charge]:
    """Any charge."""
    times = st.integers(0, 2**45) if times_ms is None else times_ms
    made = st.builds(
        Charge,
        request_id=st.binary(min_size=10, max_size=10).map(lambda seed: ulid.new(1_795_435_200_000, lambda _: seed)),
        user=USERS,
        started_ms=times,
        ended_ms=times,
        outcome=st.sampled_from(get_args(Outcome)),
        model=NAMES,
        site=NAMES,
        deployment_hash=st.sampled_from(["", "5f0c"]),
        method=st.none() | st.sampled_from(get_args(Method)),
        usage=st.builds(
            Usage,
            input_tokens=COUNTS,
            output_tokens=COUNTS,
            cached_tokens=COUNTS,
            cache_write_tokens=COUNTS,
            reasoning_tokens=COUNTS,
            images_count=st.integers(0, 9),
            count_ratio=st.just(1.0) | st.floats(1, 10),
            source=st.sampled_from(get_args(CountSource)),
        ),
        observation=st.builds(
            Observation,
            elapsed_s=SECONDS,
            busy_s=SECONDS,
            ttft_s=SECONDS,
            concurrency_count=SECONDS,
            itl_s=SECONDS,
            mix=st.none() | MIXES,
            grid_g_per_kwh=st.none() | FIGURES,
            wet_bulb_c=st.none() | st.floats(-60, 60),
        ).flatmap(_metered),
        amounts=st.none() | amounts_of(amounts),
        reason=st.sampled_from(["", "model-not-in-catalog"]),
    )
    return st.builds(_once, made, st.booleans())


def _once(charge: Charge, can_be_seen_again: bool) -> Charge:
    """With and without a mark of its own: two charges with one mark would count as one."""
    return replace(charge, once=md5(charge.request_id.encode(), usedforsecurity=False).hexdigest() * can_be_seen_again)
