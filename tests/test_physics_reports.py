"""Whether reported energy is believed, what is then charged, and that its derivation gives it again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import catalog
from headwater.physics.estimate import Profile
from headwater.physics.intervals import metered_parts, metered_ratio
from headwater.records import (
    Boundary,
    EnergyReport,
    Footprint,
    Hosting,
    Observation,
    Scheme,
    Unknown,
    Usage,
    Verdict,
)

USAGE = Usage(input_tokens=500, output_tokens=200, source="upstream")
SEEN = Observation(elapsed_s=6.0, concurrency_count=8.0)
BELIEVED = ("taken", "contradicted")
SCHEMES = [scheme.name for scheme in catalog.report_schemes()]


@lru_cache
def profile(boundary: Boundary = "accelerators", hosting: Hosting = "own", factors: str = "current-2026.11") -> Profile:
    schemes = tuple(replace(scheme, boundary=boundary) for scheme in catalog.report_schemes())
    deployment = catalog.deployment(
        model="llama-3.1-70b",
        hardware="hgx-h100",
        engine="vllm-0.11",
        site="azure-westus3",
        accelerators=4,
        hosting=hosting,
        factors=factors,
        reports=schemes,
    )
    return Profile(deployment)


def report(energy_j: float, **members: Any) -> EnergyReport:
    return EnergyReport(**{"energy_j": energy_j, "scheme": "neuralwatt", **members})


def found(of: Profile, usage: Usage, seen: Observation, *, steps: bool = False) -> Footprint:
    footprint = of.estimate(usage, seen, steps=steps)
    assert isinstance(footprint, Footprint)
    return footprint


def judged(energy_j: float, of: Profile | None = None, **members: Any) -> tuple[Observation, Footprint]:
    one = of or profile()
    seen = one.judged(USAGE, SEEN, report(energy_j, **members))
    return seen, found(one, USAGE, seen)


def accelerators_j(of: Profile) -> float:
    """What a meter of the accelerators would show if the estimate were true."""
    modelled = found(of, USAGE, SEEN)
    known, host_w = of.replica.derivation.known, of.replica.host_share_w
    return (modelled.it_j - host_w * SEEN.elapsed_s / SEEN.concurrency_count) / known["overhead_ratio"]  # type: ignore[operator]


def test_measured_at_the_server_it_is_charged_as_it_is() -> None:
    modelled = found(profile("server"), USAGE, SEEN)

    seen, footprint = judged(1.5 * modelled.it_j, profile("server"))

    assert (seen.metered_verdict, footprint.method) == ("taken", "metered")
    assert footprint.it_j == 1.5 * modelled.it_j
    assert footprint.facility_j == pytest.approx(footprint.it_j * modelled.facility_j / modelled.it_j)


def test_measured_at_the_accelerators_host_and_overhead_are_added() -> None:
    expected_j = accelerators_j(profile())

    _, footprint = judged(expected_j)

    assert footprint.method == "metered"
    assert footprint.it_j == pytest.approx(found(profile(), USAGE, SEEN).it_j, rel=1e-12)
    assert footprint.it_j > expected_j


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (1, "taken"),
        (5, "taken"),
        (0.1, "taken"),
        (1e3, "slip"),
        (1e-3, "slip"),
        (1e6, "implausible"),
        (1e-6, "implausible"),
    ],
)
@pytest.mark.parametrize("boundary", ["accelerators", "server"])
@pytest.mark.parametrize("hosting", ["own", "hosted"])
def test_a_report_is_believed_near_the_estimate_and_a_slip_of_1000_is_not(
    ratio: float, verdict: Verdict, boundary: Boundary, hosting: Hosting
) -> None:
    of = profile(boundary, hosting)
    modelled = found(of, USAGE, SEEN)

    seen, footprint = judged(ratio * modelled.it_j, of)

    assert seen.metered_verdict == verdict
    assert (footprint.method == "metered") == (verdict == "taken")
    assert verdict == "taken" or footprint.it_j == modelled.it_j


def test_no_more_is_believed_than_the_accelerators_can_draw_in_the_time_seen() -> None:
    of = profile()
    short = replace(SEEN, elapsed_s=4.0, concurrency_count=2.0)
    most_j = 1.3 * of.replica.derivation.known["limit_w"] * 4.0

    below = of.judged(USAGE, short, report(0.99 * most_j))
    above = of.judged(USAGE, short, report(1.01 * most_j))

    near_j = found(of, USAGE, short).it_j
    assert most_j < 30 * near_j  # so it is this bound that tells them apart
    assert (below.metered_verdict, above.metered_verdict) == ("taken", "implausible")


def test_what_contradicts_itself_is_charged_by_its_joules_where_they_are_plausible() -> None:
    seen, footprint = judged(accelerators_j(profile()), slip="kWh is 1000 times too small")

    assert (seen.metered_verdict, footprint.method) == ("contradicted", "metered")


def test_an_estimate_of_the_upstreams_is_not_charged() -> None:
    seen, footprint = judged(accelerators_j(profile()), is_measured=False)

    assert (seen.metered_verdict, footprint.method) == ("estimated", "observed")


def test_without_an_estimate_nothing_is_believed() -> None:
    of, silent = profile(hosting="hosted"), Usage(input_tokens=None, output_tokens=None, source="unknown")

    seen = of.judged(silent, SEEN, report(400.0))

    assert seen.metered_verdict == "unchecked"
    assert isinstance(of.estimate(silent, seen), Unknown)


def test_a_deployment_that_does_not_listen_hears_no_report() -> None:
    deaf = Profile(replace(profile().deployment, reports=()))

    assert deaf.judged(USAGE, SEEN, report(400.0)) == SEEN


def test_a_factor_set_with_a_figure_per_request_keeps_it_and_the_report_is_kept_for_other_sets() -> None:
    flat = profile(factors="li-2023")

    seen, footprint = judged(accelerators_j(profile()), flat)

    assert footprint.method == "flat"
    assert seen.metered_verdict == "taken"
    assert found(profile(), USAGE, seen).method == "metered"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("boundary", ["accelerators", "server"])
@pytest.mark.parametrize("elapsed_s", [6.0, None])
def test_the_derivation_gives_the_charge_again(scheme: Scheme, boundary: Boundary, elapsed_s: float | None) -> None:
    of = profile(boundary)
    seen = of.judged(USAGE, replace(SEEN, elapsed_s=elapsed_s), report(accelerators_j(of), scheme=scheme))

    footprint = found(of, USAGE, seen, steps=True)

    values = {step.name: step.value for step in footprint.steps}
    assert len(values) == len(footprint.steps)
    assert footprint.method == "metered"
    assert values["it_j"] == pytest.approx(footprint.it_j, rel=1e-12)
    assert values["facility_j_low"] == pytest.approx(footprint.facility_j * footprint.spread.energy_low, rel=1e-12)
    assert replace(footprint, steps=()) == found(of, USAGE, seen)


def test_the_interval_holds_the_doubt_on_the_report_and_of_what_was_added() -> None:
    at_accelerators, at_server = profile().deployment, profile("server").deployment
    wide, narrow = (metered_ratio(each, each.reports[0]) for each in (at_accelerators, at_server))

    true = at_server.reports[0].true_ratio
    assert narrow == pytest.approx((true.low, true.high))
    assert wide[0] < narrow[0] < 1 < narrow[1] < wide[1]
    assert [why.split(":")[0] for why, _ in metered_parts(at_server, at_server.reports[0])] == [
        at_server.reports[0].name
    ]


def test_a_deployments_document_holds_what_its_reports_are_judged_by() -> None:
    of = profile().deployment

    assert catalog.deployment_from_document(catalog.deployment_document(of)) == of
    broken = json.dumps(json.loads(catalog.deployment_document(of)) | {"reports": {}})
    with pytest.raises(catalog.CatalogError, match="must be a list of tables"):
        catalog.deployment_from_document(broken)


@given(
    energy_j=st.floats(min_value=0, exclude_min=True, max_value=1e12),
    input_tokens=st.none() | st.integers(0, 10**6),
    output_tokens=st.none() | st.integers(0, 10**5),
    elapsed_s=st.none() | st.floats(1e-6, 1e4),
    scheme=st.sampled_from(SCHEMES),
    hosting=st.sampled_from(["own", "hosted"]),
)
def test_no_report_moves_a_bill_beyond_the_bounds(
    energy_j: float,
    input_tokens: int | None,
    output_tokens: int | None,
    elapsed_s: float | None,
    scheme: Scheme,
    hosting: Hosting,
) -> None:
    of = profile(hosting=hosting)
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, source="upstream")
    seen = Observation(elapsed_s=elapsed_s, concurrency_count=4.0)
    before = of.estimate(usage, seen)

    after = of.estimate(usage, of.judged(usage, seen, report(energy_j, scheme=scheme)))

    if isinstance(before, Unknown):
        assert after == before
    else:
        assert isinstance(after, Footprint)
        assert before.it_j / 31 <= after.it_j <= before.it_j * 31
        assert math.isfinite(after.water_l)
