"""A charge recomputed under another set is the charge that this set would have made: integer by integer, word by word."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog, config
from headwater.ledger.connection import connect
from headwater.ledger.embedded import Embedded
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.physics import Profile, estimate
from headwater.records import (
    NO_USAGE,
    Boundary,
    Charge,
    FactorSet,
    Hydro,
    Mix,
    Observation,
    Scheme,
    Unknown,
    Usage,
    Verdict,
)
from headwater.reports import restatement, statement
from headwater.reports.recompute import OF_ESTIMATES, recharged, under
from headwater.serving import Served
from headwater.settlement import NOTHING_GENERATED
from tests.asgi import DONE, STREAM, STREAM_WITH_USAGE, call, json_app, reply, request, stream_app

MONTH = "2026-11"
NOV_23_S = 1_795_435_200.0
Rules = tuple[str, Hydro | None]
SETS: tuple[Rules, ...] = (
    ("current-2026.11", None),
    ("current-2026.11", "exclude"),
    ("seed-2023", None),
    ("li-2023", None),
    ("li-2023", "exclude"),
)
MODELS = ("llama-3.1-70b", "llama-3.1-8b", "gpt-oss-120b", "unheard-of")
# A deployment of one's own, one of somebody else's, replicas with a concurrency, and a place with the operator's figures.
DEPLOYMENTS: tuple[dict[str, Any], ...] = (
    {
        "match": ["llama-3.1-70b"],
        "hardware": "hgx-h100",
        "accelerators": 4,
        "precision": "fp8",
        "site": "azure-westus3",
    },
    {"match": ["llama-3.1-8b"], "hardware": "dgx-a100", "hosting": "hosted", "site": "google-fleet"},
    {"match": ["gpt-oss*"], "hardware": "hgx-b200", "replicas": 3, "concurrency": 40, "site": "ours"},
)
OURS = [{"name": "ours", "like": "azure-westus3", "pue": 1.31, "wue_l_per_it_kwh": 0.4, "wue_basis": "withdrawal"}]

COUNTS = st.none() | st.integers(0, 200_000) | st.sampled_from([0, 10**7, 10**12])
SECONDS = st.none() | st.floats(0, 1e4) | st.sampled_from([1e-9, 1e12])
FIGURES = st.floats(1, 1e5)
USAGES = st.builds(
    Usage,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cached_tokens=COUNTS,
    images_count=st.integers(0, 2),
    source=st.just("upstream"),
)
OBSERVATIONS = st.builds(
    Observation,
    elapsed_s=SECONDS,
    busy_s=SECONDS,
    ttft_s=SECONDS,
    concurrency_count=st.none() | st.floats(1, 500),
    itl_s=st.none() | st.floats(1e-4, 1),
    mix=st.none()
    | st.builds(Mix, input_tokens=FIGURES, cached_tokens=st.just(0.0), output_tokens=FIGURES, context_tokens=FIGURES),
    grid_g_per_kwh=st.none() | st.floats(0, 1200),
    wet_bulb_c=st.none() | st.floats(-10, 30),
)
REPORTED = OBSERVATIONS | st.builds(
    lambda seen, energy_j, boundary, scheme, verdict: replace(
        seen, metered_j=energy_j, metered_boundary=boundary, metered_scheme=scheme, metered_verdict=verdict
    ),
    OBSERVATIONS,
    st.floats(1e-3, 1e6),
    st.sampled_from(get_args(Boundary)),
    st.sampled_from(get_args(Scheme)),
    st.sampled_from(get_args(Verdict)),
)


def settings_of(rules: Rules, folder: Path | str) -> config.Settings:
    name, hydro = rules
    document = {
        "ledger": {"data_dir": str(folder)},
        "factors": {"set": name} | ({"hydro": hydro} if hydro else {}),
        "deployment": [{"engine": "vllm-0.11"} | deployment for deployment in DEPLOYMENTS],
        "site": OURS,
    }
    return config.load(document, environment={})


def factors_of(rules: Rules) -> FactorSet:
    name, hydro = rules
    return catalog.factor_set(name) if hydro is None else replace(catalog.factor_set(name), hydro=hydro)


@lru_cache
def meter_of(rules: Rules) -> Meter:
    """A meter that prices, and whose ledger nobody starts."""
    return Meter(settings_of(rules, tempfile.mkdtemp(prefix="hw-")), wall_s=lambda: NOV_23_S)


def charged(
    rules: Rules, model: str, usage: Usage, observation: Observation, footprint: Unknown | None = None
) -> tuple[Charge, Served]:
    """What the middleware would charge under a factor set."""
    meter = meter_of(rules)
    served = meter.serving.of(model)
    found = meter.footprint(served, usage, observation) if footprint is None else footprint
    charge = meter.charge(
        request_id="01K9Z3M6V9R2W0Y8C4S1T7B5QH",
        user="ad" * 16,
        started_ms=int(NOV_23_S * 1000),
        outcome="completed",
        served=served,
        usage=usage,
        observation=observation,
        footprint=found,
    )
    return charge, served


@lru_cache(maxsize=64)
def profile_of(document: str, rules: Rules) -> Profile:
    return Profile(under(catalog.deployment_from_document(document), factors_of(rules)))


@given(
    before=st.sampled_from(SETS),
    after=st.sampled_from(SETS),
    model=st.sampled_from(MODELS[:3]),
    usage=USAGES,
    observation=REPORTED,
)
def test_a_charge_recomputed_is_the_charge_that_the_other_set_would_have_made(
    before: Rules, after: Rules, model: str, usage: Usage, observation: Observation
) -> None:
    made, served = charged(before, model, usage, observation)
    wanted, _ = charged(after, model, usage, observation)

    again = recharged(made, profile_of(served.document, after))

    assert replace(again, deployment_hash=wanted.deployment_hash) == wanted


@pytest.mark.parametrize("model", MODELS[:3])
@pytest.mark.parametrize(("before", "after"), [*itertools.pairwise(SETS), (SETS[-1], SETS[0])])
def test_a_deployment_under_another_set_has_the_document_it_would_have_had(
    model: str, before: Rules, after: Rules
) -> None:
    stored = meter_of(before).serving.of(model)

    again = under(catalog.deployment_from_document(stored.document), factors_of(after))

    assert catalog.deployment_document(again) == meter_of(after).serving.of(model).document


def test_a_request_without_tokens_and_time_has_a_footprint_only_where_a_request_has_a_fixed_figure() -> None:
    unknown, served = charged(SETS[0], MODELS[0], NO_USAGE, Observation())
    flat = recharged(unknown, profile_of(served.document, ("seed-2023", None)))
    back = recharged(flat, profile_of(served.document, SETS[0]))

    assert (unknown.amounts, unknown.reason) == (None, "tokens-unknown")
    assert (flat.method, flat.reason) == ("flat", "")
    assert flat.amounts is not None
    assert flat.amounts.it_microjoules == 4 * 3_600 * 10**6
    assert back == unknown


@pytest.mark.parametrize("reason", [NOTHING_GENERATED.reason, "process-died", "reply-not-understood"])
def test_what_was_charged_nothing_under_any_set_stays_without_a_footprint(reason: str) -> None:
    made, served = charged(SETS[0], MODELS[0], NO_USAGE, Observation(), Unknown(reason=reason))

    assert recharged(made, profile_of(served.document, ("seed-2023", None))) == made


def test_every_reason_that_an_estimate_can_give_is_estimated_anew() -> None:
    reasons = {thing.reason for thing in vars(estimate).values() if isinstance(thing, Unknown)}

    assert reasons
    assert reasons | {"out-of-range"} == OF_ESTIMATES


def test_what_no_ledger_could_hold_is_out_of_range_under_either_set() -> None:
    observation = Observation(elapsed_s=1e12, busy_s=1e12)
    made, served = charged(SETS[2], MODELS[0], NO_USAGE, observation)

    again = recharged(made, profile_of(served.document, SETS[0]))

    assert made.amounts is not None
    assert (again.amounts, again.reason) == (None, "out-of-range")


class _Clock:
    """Seconds that pass by being asked for; the same for everybody who asks alike."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return 0.25 * next(self._numbers)


async def _converse(folder: Path, rules: Rules) -> Meter:
    """The same exchanges of two users, on a ledger of its own: whole replies, streams, a stream that goes silent about its
    usage, a model nobody serves, and an upstream that fails."""
    clock = _Clock()
    meter = Meter(settings_of(rules, folder), wall_s=lambda: NOV_23_S, clock_s=clock)
    meter.start()
    for number in range(12):
        app = FootprintMiddleware(json_app(reply()), meter=meter)
        await call(app, request(model=MODELS[number % 4]), key=f"sk-{number % 2}")
    for chunks in (STREAM_WITH_USAGE, [*STREAM, DONE]):
        await call(FootprintMiddleware(stream_app(chunks), meter=meter), request(stream=True), key="sk-0")
    await call(FootprintMiddleware(json_app(b"{}"), meter=meter), request(), key="sk-1")
    await call(FootprintMiddleware(json_app(b"{}", status=500), meter=meter), request(), key="sk-1")
    assert meter.ledger.flush(10.0)
    return meter


def _dump(folder: Path) -> dict[bytes, bytes]:
    """Every key of the store with its value, as the server itself would write it out."""
    with connect(Embedded(folder).endpoint, 5.0) as client:
        return {name: client.dump(name) for name in client.keys("*") if not name.endswith(b":mark")}


async def test_a_month_recomputed_is_the_month_that_the_other_set_would_have_charged(short_folder: Path) -> None:
    """The real middleware and a real store, twice; no key of the store is written."""
    first, second = short_folder / "restated-a", short_folder / "restated-b"
    before: Rules = ("current-2026.11", None)
    after: Rules = ("seed-2023", None)
    one = await _converse(first, before)
    second.mkdir(mode=0o700)
    for file in first.iterdir():  # the same identity key: the same pseudonyms
        if file.is_file() and "key" in file.name:
            (second / file.name).write_bytes(file.read_bytes())
    other = await _converse(second, after)
    try:
        kept = _dump(first)
        reader, wanted = one.ledger.reader(), statement(other.ledger.reader(), MONTH)

        there = restatement(reader, MONTH, factors_of(after))
        back = restatement(other.ledger.reader(), MONTH, factors_of(before))

        assert _dump(first) == kept
        assert len(kept) > 5
        known = statement(reader, MONTH)
        assert (there.charged.rows, there.charged.total) == (known.rows, known.total)
        assert sorted(there.recomputed.rows, key=str) == sorted(wanted.rows, key=str)
        assert there.recomputed.total == wanted.total
        assert sorted(back.recomputed.rows, key=str) == sorted(there.charged.rows, key=str)
        assert there.charged.total.requests_count == 16
        assert there.undeployed_count == there.charged.total.unknown_count - 2 == 3
        assert (there.found_count, there.lost_count, there.undocumented_count) == (0, 0, 0)
        assert there.recomputed.total.it_microjoules == 11 * 4 * 3_600 * 10**6
    finally:
        one.ledger.close()
        other.ledger.close()
