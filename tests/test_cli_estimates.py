"""What `headwater estimate` prints, from cases and answers, without a process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headwater import catalog
from headwater.cases import Case
from headwater.cli.estimates import as_json, as_steps, as_table
from headwater.records import Footprint, Unknown


def case(**given: Any) -> Case:
    asked: dict[str, Any] = {"model": "llama-3.1-70b", "input_tokens": 1500, "output_tokens": 300} | given
    return Case(**asked)


def head(**given: Any) -> str:
    made = case(**given)
    return as_table([(made, made.footprint())]).partition("\n\n")[0]


def test_the_head_says_what_was_given() -> None:
    assert "1,500 tokens in, 300 out, 2 pictures in the prompt" in head(images=2)
    assert "in flight   32.5, as given" in head(concurrency=32.5)
    assert "in flight   inferred from the pace of the tokens, 20 ms each" in head(itl_s=0.02, hosting="hosted")
    assert "in flight   not given: the whole time counts as this request's own" in head(observed_s=4)
    assert "hgx-h100, vllm-0.11, 3 replicas" in head(replicas=3)
    assert "others use it too, unseen" in head(hosting="hosted")


def test_the_head_does_not_claim_what_was_not_believed() -> None:
    timed = head(observed_s=0.01)
    paced = head(itl_s=1e-6, hosting="hosted")
    presumed = head(itl_s=1e-6, hosting="hosted", concurrency=12)

    assert "0.01 s seen, which is not believed" in timed
    assert "in flight   not given: the engine's usual number" in timed
    assert "the engine's usual number; the pace of the tokens, 0.001 ms each, is not believed" in paced
    assert "in flight   12, as given; the pace of the tokens, 0.001 ms each, is not believed" in presumed


def test_what_is_not_known_has_no_figures_but_a_reason() -> None:
    answers = [(case(), Unknown(reason="time-unknown"))]

    row = as_table(answers).splitlines()[-1]
    (document,) = as_json(answers, steps=True)["estimates"]

    assert row.split().count("unknown") == 3
    assert row.endswith("time-unknown")
    assert document["reason"] == "time-unknown"
    assert "energy_j" not in document
    assert as_steps(*answers[0]) == ""


def test_a_narrow_interval_deserves_a_third_digit_and_a_wide_one_only_two() -> None:
    made = case()
    footprint = made.footprint()
    assert isinstance(footprint, Footprint)
    narrow = replace(footprint.spread, energy_low=0.9, energy_high=1.1)
    wide = replace(footprint.spread, energy_low=0.5, energy_high=2)
    rows = [
        replace(footprint, facility_j=3600 * wh, spread=spread)
        for wh in (1.23456, 12345.6)
        for spread in (narrow, wide)
    ]

    table = [" ".join(line.split()) for line in as_table([(made, row) for row in rows]).splitlines()[-4:]]

    assert " 1.23 (1.11 to 1.36)" in table[0]
    assert " 1.2 (0.62 to 2.5)" in table[1]
    assert " 12,300 (11,100 to 13,600)" in table[2]
    assert " 12,000 (6,200 to 25,000)" in table[3]


def test_zero_is_zero() -> None:
    made = case(hardware="cpu-generic", model="gemma-3-270m", site="local")
    footprint = made.footprint()
    assert isinstance(footprint, Footprint)

    row = as_table([(made, replace(footprint, onsite_l=0.0, offsite_l=0.0))]).splitlines()[-1]

    assert " 0 (0 to 0) " in " ".join(row.split())


def test_the_deployment_of_a_document_is_the_one_of_the_case() -> None:
    made = case(precision="fp8", accelerators=4)

    (document,) = as_json([(made, made.footprint())], steps=False)["estimates"]

    assert document["deployment"]["hash"] == catalog.deployment_hash(made.deployment)
