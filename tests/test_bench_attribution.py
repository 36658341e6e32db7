"""The simulated server of the sharing bench, on traces small enough to follow by hand, and the bench's own arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

import attribution
from headwater import catalog
from headwater.physics import Profile
from headwater.physics.replica import Replica
from headwater.records import Deployment, Factor
from step_server import Meter, Policy, Request, StepServer

REL = 1e-9


def figure(value: float) -> Factor:
    return Factor(
        value=value, low=value, high=value, unit="", source="round", checked="2026-11-23", confidence="reported"
    )


def round_deployment() -> Deployment:
    """Round figures. Reading the weights takes 2 ms, one token of cache 4 ns; layers 1 ms, the rest of a step 1 ms.

    One token's arithmetic takes 2 us; a prompt takes 10 ms besides its own. 1,000 W limit: 20 % on, 50 % at work, and 100 %
    at peak arithmetic; host 100 W, idle 250 W. Reading and arithmetic follow each other (exponent 1), so they add up.
    """
    made = catalog.deployment(
        model="llama-3.1-8b", hardware="hgx-h100", accelerators=1, engine="vllm-0.11", site="us-average"
    )
    model = replace(
        made.model,
        total_params_count=1e9,
        active_params_count=1e9,
        layers_count=10,
        attention_layers_count=None,
        q_heads_count=10,
        kv_heads_count=10,
        head_dim=10,
    )
    hardware = replace(
        made.hardware,
        accelerators_count=1,
        memory_bw_bytes_per_s=figure(1e12),
        peak_bf16_flop_per_s=figure(1e15),
        accelerator_tdp_w=figure(1000),
        host_w=figure(100),
        idle_w=figure(250),
        power_static_ratio=figure(0.2),
        power_busy_ratio=figure(0.5),
        power_flop_ratio=figure(1.0),
        power_cap_exponent=None,
        accelerator_overhead_ratio=None,
    )
    engine = replace(
        made.engine,
        memory_efficiency_ratio=figure(1),
        cache_efficiency_ratio=figure(1),
        compute_efficiency_ratio=figure(1),
        prefill_efficiency_ratio=figure(0.5),
        roofline_exponent=figure(1),
        layer_s=figure(1e-4),
        layer_parallel_s=figure(0),
        step_s=figure(1e-3),
        step_per_sequence_s=figure(0),
        prefill_s=figure(0.01),
    )
    return replace(made, model=model, hardware=hardware, engine=engine)


REPLICA = Replica(round_deployment())
# 1,000 tokens of 2e9, and each sees 500 before it on average: 4 * 10 heads * 10 dims * 10 layers a pair.
PROMPT_FLOP = 1000 * (2e9 + 4000 * 500)
PROMPT_S = PROMPT_FLOP / 0.5e15


def decode_s(context: int) -> float:
    return 0.002 + 4e-9 * context + 2e-6 + 0.001 + 0.001


def decode_j(context: int) -> float:
    """A step alone: on and host, at work (half of the layers' time counts), arithmetic."""
    seconds = decode_s(context)
    working_s = 0.002 + 4e-9 * context + 2e-6 + 0.0005
    return (100 + 200) * seconds + 500 * working_s + 1000 * (2e9 + 4000 * context) / 1e15


PREFILL_J = 300 * (PROMPT_S + 0.01) + 500 * PROMPT_S + 1000 * PROMPT_FLOP / 1e15


def served(*requests: Request, policy: Policy | None = None) -> Meter:
    meter, _ = attribution.simulate(REPLICA, 1, requests, policy or Policy())
    return meter


def test_one_request_takes_the_steps_that_a_hand_computes() -> None:
    request = Request(at_s=0.25, input_tokens=1000, output_tokens=3)

    meter = served(request)

    # The first token comes out of the prefill; two steps are left, which read 1,001 and 1,002 tokens.
    assert request.first_token_s == pytest.approx(0.25 + PROMPT_S + 0.01, rel=REL)
    assert request.ended_s == pytest.approx(request.first_token_s + decode_s(1001) + decode_s(1002), rel=REL)
    expected_j = PREFILL_J + decode_j(1001) + decode_j(1002)
    assert request.causal_j == pytest.approx(expected_j, rel=REL)
    assert request.shapley_j == pytest.approx(expected_j, rel=REL)
    assert request.tokens_in == {0: 3}
    # The rest of the second idles at 250 W.
    assert meter.idle_j == pytest.approx(250 * (1 - request.ended_s + 0.25), rel=REL)
    assert meter.energy_j == [pytest.approx(expected_j + meter.idle_j, rel=REL)]


def test_two_like_requests_halve_what_they_share_and_pay_their_own() -> None:
    pair = [Request(at_s=0.0, input_tokens=1000, output_tokens=2) for _ in range(2)]

    served(*pair)

    # Both prompts fit into one step of 2,048 tokens; then one step decodes both.
    took_s = 2 * (PROMPT_S + 0.01)
    step_s = 0.002 + 2 * (4e-9 * 1001 + 2e-6) + 0.002
    assert pair[0].ended_s == pytest.approx(took_s + step_s, rel=REL)
    own_j = 500 * (PROMPT_S + 4e-9 * 1001 + 2e-6) + 1000 * (PROMPT_FLOP + 2e9 + 4000 * 1001) / 1e15
    expected_j = 300 * (took_s + step_s) / 2 + 500 * (0.002 + 0.0005) / 2 + own_j
    for request in pair:
        assert request.causal_j == pytest.approx(expected_j, rel=REL)
        assert request.shapley_j == pytest.approx(expected_j, rel=REL)


def test_a_long_prompt_is_taken_in_by_chunks_while_others_decode() -> None:
    first = Request(at_s=0.0, input_tokens=10, output_tokens=50)
    long = Request(at_s=0.012, input_tokens=5000, output_tokens=1)

    served(first, long)

    # Chunks of 2,047 and 2,047 and 906: one token of each step is the other's. So it gets tokens meanwhile.
    assert long.first_token_s == long.ended_s
    assert first.ended_s > long.ended_s
    alone_s = REPLICA.prefill_s(input_tokens=5000)
    assert long.ended_s - long.at_s > alone_s + 3 * 0.004


def test_whole_prompts_hold_up_the_others_who_keep_their_place() -> None:
    policy = Policy(prefill="whole")
    first = Request(at_s=0.0, input_tokens=10, output_tokens=2)
    second = Request(at_s=0.001, input_tokens=1000, output_tokens=1)

    served(first, second, policy=policy)

    # The second is taken in between the first's two tokens, and they halve what it costs to be on meanwhile.
    short_s = REPLICA.prefill_s(input_tokens=10)
    assert second.ended_s == pytest.approx(short_s + PROMPT_S + 0.01, rel=REL)
    assert first.ended_s == pytest.approx(second.ended_s + decode_s(11), rel=REL)
    assert second.causal_j == pytest.approx(PREFILL_J - 300 * (PROMPT_S + 0.01) / 2, rel=REL)


def test_every_joule_of_the_meter_is_somebodys_or_idle() -> None:
    requests = [
        Request(at_s=0.003 * number, input_tokens=37 * number % 900 + 1, output_tokens=number % 40 + 1)
        for number in range(60)
    ]

    meter, servers = attribution.simulate(REPLICA, 2, requests, Policy(most_sequences=8))

    whole_j = math.fsum(meter.energy_j)
    for truth_j in ([request.causal_j for request in requests], [request.shapley_j for request in requests]):
        assert min(truth_j) > 0
        assert math.fsum(truth_j) + meter.idle_j == pytest.approx(whole_j, rel=REL)
    assert all(sum(request.tokens_in.values()) == request.output_tokens for request in requests)
    assert {server.in_flight_count for server in servers} == {0}


def test_all_rules_share_out_the_same_energy() -> None:
    requests = [Request(at_s=0.1 * number, input_tokens=500, output_tokens=20 + number) for number in range(30)]
    meter, _ = attribution.simulate(REPLICA, 1, requests, Policy())

    rules, idle_j = attribution.by_rules(Profile(REPLICA.deployment), requests, meter)

    for name, found_j in rules.items():
        if not name.startswith("header"):
            assert math.fsum(found_j) + idle_j == pytest.approx(math.fsum(meter.energy_j), rel=REL), name


def test_the_power_limit_acts_on_each_step() -> None:
    deployment = round_deployment()
    flop = replace(deployment.hardware, power_flop_ratio=figure(10.0))
    hot = Replica(replace(deployment, hardware=flop))
    meter, request = Meter(1.0), Request(at_s=0.0, input_tokens=100_000, output_tokens=1)
    server = StepServer(hot, meter, Policy(prefill="whole"), seed=None)

    server.put(request)
    server.drain()

    assert request.causal_j == pytest.approx(1100 * request.ended_s, rel=REL)


def test_deviations_are_those_of_the_rule_from_the_truth() -> None:
    found = attribution.deviation([1.1, 0.8, 3.1], [1.0, 1.0, 3.0])

    assert found["median"] == pytest.approx(10.0)
    assert found["p99"] == pytest.approx(20.0)
    assert found["energy_weighted"] == pytest.approx(0.4 / 5 * 100)
    assert found["bias"] == pytest.approx(0.0, abs=1e-9)


def test_a_trace_is_read_by_its_minutes_and_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:16:16.6805900,396,109\n"
        "2023-11-16 18:17:16.6805900,1,1\n"
    )

    requests = attribution.read_trace(path, minutes=1.0, rate=2.0)

    assert [(request.at_s, request.input_tokens, request.output_tokens) for request in requests] == [
        (0.0, 374, 44),
        (15.0, 396, 109),
    ]


def test_a_trace_that_is_not_there_is_skipped_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    monkeypatch.setattr("sys.argv", ["attribution.py", "--trace", str(tmp_path / "none.csv"), "--json", str(figures)])

    attribution.main()

    assert "skipped" in capsys.readouterr().err
    assert figures.read_text() == "[]\n"


def test_a_small_trace_gives_both_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"2023-11-16 18:15:{second:02d}.0000000,{500 + second},{second % 20 + 2}" for second in range(0, 30, 2)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(("TIMESTAMP,ContextTokens,GeneratedTokens", *rows, "")))
    monkeypatch.setattr("sys.argv", ["attribution.py", "--trace", str(path)])

    attribution.main()

    printed = capsys.readouterr().out
    assert "15 requests" in printed
    assert "against `causal`" in printed
    assert "against `shapley`" in printed
