"""How well energy is shared among requests: rules against what a simulated server knows, on public traces.

    python bench/attribution.py                                    both traces, whole (about an hour each)
    python bench/attribution.py --trace code --minutes 5 --json attribution.json

The traces are the Azure LLM inference traces of 2023 (Patel et al., "Splitwise", ISCA 2024, arXiv:2311.18677), from
https://github.com/Azure/AzurePublicDataset; they are looked for in shared/data/traces beside the repository.

Truth. A server is simulated step by step (`step_server.py`). `causal` gives each step's energy to those in it: being on by
heads, weights read and latency by heads of the decoding ones, and to each its own cache read, arithmetic and prefill; summed
over a request's steps. `shapley` knows no such parts: it is what each adds to the energy of the step, time included, when
those in it join in random order (Shapley value, sampled; seeded).

What the rules do not know, and the truths do: each step's own batch (the rules see averages over a second, or over a
request's life); which replica a request is on; true contexts step by step; which prompts share a step with whom, and whom
they hold up; the engine's queue, and when a prompt is taken in (the rules see the first token); that the first token needs no
decode step; and that the power limit acts on each step. What both share are the constants: this measures the sharing of
energy, not its amount.

Rules. `windows`: headwater.physics.metering over windows of a second, each with the energy that a wall meter would have
counted. `header`: `Profile.estimate` when the response ends, with its time, its harmonic mean concurrency (as the
middleware keeps it) and the mix of the last completed requests; not scaled to any meter. Of a stream the first token is
seen, and so its queue; of a reply that comes whole only admission and end. The rest split
each window's energy, less the same idle part, by tokens or time; `trace: ...` splits that of the whole trace, which is what
a fixed energy per token does.

The rules know the server's constants, which flatters them. `--prefill-speed 0.7` makes the server take in prompts at 0.7 of
the speed in which the rules believe.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from headwater import catalog
from headwater.physics import Profile
from headwater.physics.attribution import part_of, shares
from headwater.physics.metering import metered
from headwater.physics.replica import Replica
from headwater.records import Deployment, Footprint, MeasuredWindow, Mix, Observation, Part, Stay, Usage
from headwater.serving import Load
from step_server import Meter, Policy, Request, StepServer

TRACES: Final = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "traces"
WINDOW_S: Final = 1.0
RECENT_REQUESTS: Final = 256
"""Over so many completed requests the deployment's mix is a mean."""
MOST_LOAD: Final = 0.7
"""Share of a replica's time that prompts and decoding at a batch of 64 may fill, when replicas are chosen here."""


def read_trace(path: Path, minutes: float, rate: float) -> list[Request]:
    """The requests of the first minutes, their arrivals `rate` times as dense."""
    requests: list[Request] = []
    began: datetime | None = None
    with path.open(newline="") as rows:
        for row in csv.DictReader(rows):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])
            began = began or at
            at_s = (at - began).total_seconds()
            if at_s >= minutes * 60:
                break
            requests.append(
                Request(
                    at_s=at_s / rate,
                    input_tokens=max(1, int(row["ContextTokens"])),
                    output_tokens=max(1, int(row["GeneratedTokens"])),
                )
            )
    return requests


def enough_replicas(replica: Replica, requests: Sequence[Request]) -> int:
    """Replicas that serve a trace without being swamped."""
    mean = whole_mix(requests)
    step_s = replica.decode_step_s(mean, 64) / 64
    prefill_s = math.fsum(replica.prefill_s(input_tokens=request.input_tokens) for request in requests)
    decode_s = step_s * sum(request.output_tokens for request in requests)
    return math.ceil((prefill_s + decode_s) / (requests[-1].at_s or 1.0) / MOST_LOAD)


def whole_mix(requests: Sequence[Request]) -> Mix:
    """The mean request of some."""
    count, outputs = len(requests), sum(request.output_tokens for request in requests)
    contexts = math.fsum(request.output_tokens * _context(request) for request in requests)
    return Mix(
        input_tokens=sum(request.input_tokens for request in requests) / count,
        cached_tokens=0.0,
        output_tokens=outputs / count,
        context_tokens=contexts / outputs,
    )


def _context(request: Request) -> float:
    return request.input_tokens + request.output_tokens / 2


def simulate(
    replica: Replica,
    replicas_count: int,
    requests: Sequence[Request],
    policy: Policy,
    *,
    seed: int | None = 0,
    progress: Callable[[float], None] = lambda _done: None,
) -> tuple[Meter, list[StepServer]]:
    """Serve all requests, each by the replica with the fewest in flight, and fill in what became of them."""
    meter = Meter(WINDOW_S)
    servers = [
        StepServer(replica, meter, policy, seed=None if seed is None else seed + n) for n in range(replicas_count)
    ]
    for number, request in enumerate(requests):
        for server in servers:
            server.run_until(request.at_s)
        min(servers, key=lambda server: server.in_flight_count).put(request)
        if number % 100 == 0:
            progress(number / len(requests))
    for server in servers:
        server.drain()
    last_s = math.ceil(max(server.clock_s for server in servers) / WINDOW_S) * WINDOW_S
    for server in servers:
        server.run_until(last_s)
    return meter, servers


# -- what a gateway sees --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Seen:
    """One window as a gateway sees it: who was there, with what, and for how long anybody was."""

    numbers: list[int]
    parts: list[Part]
    busy_s: float = 0.0


def windows_seen(replica: Replica, requests: Sequence[Request], windows_count: int) -> list[Seen]:
    """Cut requests into windows, by what is seen of them: admission, first token, tokens and end."""
    seen = [Seen([], []) for _ in range(windows_count)]
    for number, request in enumerate(requests):
        stay, earlier_tokens = stay_of(request), 0
        for window in range(int(request.at_s / WINDOW_S), min(int(request.ended_s / WINDOW_S) + 1, windows_count)):
            tokens = request.tokens_in.get(window, 0)
            part = part_of(
                replica,
                stay,
                (window * WINDOW_S, (window + 1) * WINDOW_S),
                output_tokens=tokens,
                earlier_tokens=earlier_tokens,
            )
            earlier_tokens += tokens
            seen[window].numbers.append(number)
            seen[window].parts.append(part)
    for began_s, ended_s in _occupied(requests):
        while began_s < ended_s:
            window = int(began_s / WINDOW_S)
            until_s = min(ended_s, (window + 1) * WINDOW_S)
            if window < windows_count:
                seen[window].busy_s = min(seen[window].busy_s + until_s - began_s, WINDOW_S)
            began_s = until_s
    return seen


def stay_of(request: Request) -> Stay:
    """A request as it is seen from outside the server."""
    return Stay(
        admitted_s=request.at_s,
        first_token_s=request.first_token_s,
        ended_s=request.ended_s,
        input_tokens=request.input_tokens,
    )


def _occupied(requests: Sequence[Request]) -> list[tuple[float, float]]:
    """Times in which any request was in flight."""
    spans: list[tuple[float, float]] = []
    for request in sorted(requests, key=lambda request: request.at_s):
        if spans and request.at_s <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], request.ended_s))
        else:
            spans.append((request.at_s, request.ended_s))
    return spans


def recent_mixes(requests: Sequence[Request]) -> list[Mix]:
    """For each request the mix of the last ones completed when it ends, itself among them."""
    recent = deque[Request](maxlen=RECENT_REQUESTS)
    mixes: dict[int, Mix] = {}
    for number in sorted(range(len(requests)), key=lambda number: requests[number].ended_s):
        recent.append(requests[number])
        mixes[number] = whole_mix(recent)
    return [mixes[number] for number in range(len(requests))]


def header_j(profile: Profile, requests: Sequence[Request], mixes: Sequence[Mix], *, is_stream: bool) -> list[float]:
    """What the header of each response says, from what the middleware knows when it ends.

    A stream counts as in flight from its first token on, and its queue is left out of its time; of a reply that comes
    whole, only admission and end are known.
    """
    load = Load()
    found, entered = [0.0] * len(requests), [0.0] * len(requests)
    since_s = [request.first_token_s if is_stream else request.at_s for request in requests]
    events = [(at_s, 1, number) for number, at_s in enumerate(since_s)]
    events += [(request.ended_s, 0, number) for number, request in enumerate(requests)]
    # A reply of one token begins and ends at once: in before out.
    for at_s, is_start, number in sorted(events, key=lambda each: (each[0], -each[1])):
        request = requests[number]
        if is_start:
            entered[number] = load.enter(at_s)
            continue
        seen = Observation(
            elapsed_s=at_s - request.at_s,
            ttft_s=request.first_token_s - request.at_s if is_stream else None,
            concurrency_count=load.concurrency(entered[number], since_s[number], at_s),
            mix=mixes[number],
        )
        load.leave(at_s)
        usage = Usage(input_tokens=request.input_tokens, output_tokens=request.output_tokens, source="upstream")
        footprint = profile.estimate(usage, seen)
        assert isinstance(footprint, Footprint)
        found[number] = footprint.it_j
    return found


# -- the rules ------------------------------------------------------------------------------------------------------------

KEYS: Final[dict[str, Callable[[Part], float]]] = {
    "output tokens": lambda part: part.output_tokens,
    "all tokens": lambda part: part.output_tokens + part.fresh_tokens,
    "time": lambda part: part.in_flight_s,
}


def by_rules(profile: Profile, requests: Sequence[Request], meter: Meter) -> tuple[dict[str, list[float]], float]:
    """Each request's IT energy by each rule, and the idle pool of the windows."""
    seen = windows_seen(profile.replica, requests, len(meter.energy_j))
    ours, idle_j = [0.0] * len(requests), 0.0
    split: dict[str, list[float]] = {name: [0.0] * len(requests) for name in KEYS}
    trace_keys = {name: [0.0] * len(requests) for name in KEYS}
    for number, (window, energy_j) in enumerate(zip(seen, meter.energy_j, strict=True)):
        measured = MeasuredWindow(
            started_s=number * WINDOW_S, ended_s=(number + 1) * WINDOW_S, energy_j=energy_j, boundary="server"
        )
        found = metered(profile.replica, measured, window.parts, busy_s=window.busy_s)
        idle_j += found.idle_it_j
        for request, it_j in zip(window.numbers, found.it_j, strict=True):
            ours[request] += it_j
        for name, key in KEYS.items():
            keys = [key(part) for part in window.parts]
            # Where nobody's tokens came in the window: by time.
            used = keys if any(keys) else [part.in_flight_s for part in window.parts]
            split_j = shares(energy_j - found.idle_it_j, used)[0]
            for request, own, own_j in zip(window.numbers, keys, split_j, strict=True):
                split[name][request] += own_j
                trace_keys[name][request] += own
    busy_j = math.fsum(ours)
    mixes = recent_mixes(requests)
    rules = {
        "windows": ours,
        "header of a stream": header_j(profile, requests, mixes, is_stream=True),
        "header of a whole reply": header_j(profile, requests, mixes, is_stream=False),
        **split,
    }
    rules |= {f"trace: {name}": _scaled(keys, busy_j) for name, keys in trace_keys.items()}
    return rules, idle_j


def _scaled(keys: Sequence[float], energy_j: float) -> list[float]:
    whole = math.fsum(keys)
    return [energy_j * key / whole for key in keys]


def deviation(found_j: Sequence[float], true_j: Sequence[float]) -> dict[str, float]:
    """Absolute deviations in percent over requests; over energy (joules given to the wrong one count twice: taken from
    one, given to another); and the bias of the sum."""
    absolute = sorted(abs(found / true - 1) * 100 for found, true in zip(found_j, true_j, strict=True))
    whole_j = math.fsum(true_j)
    wrong_j = math.fsum(abs(found - true) for found, true in zip(found_j, true_j, strict=True))
    return {
        "median": _quantile(absolute, 0.5),
        "p90": _quantile(absolute, 0.9),
        "p99": _quantile(absolute, 0.99),
        "energy_weighted": wrong_j / whole_j * 100,
        "bias": (math.fsum(found_j) / whole_j - 1) * 100,
    }


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# -- the bench ------------------------------------------------------------------------------------------------------------


def bench(name: str, path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One trace: simulate, share by each rule, compare with both truths."""
    rule = Replica(_deployment(arguments, 1))
    server = Replica(_slower(rule.deployment, arguments.prefill_speed))
    requests = read_trace(path, arguments.minutes, arguments.rate)
    replicas_count = arguments.replicas or enough_replicas(server, requests)
    policy = Policy(prefill=arguments.prefill, step_tokens=arguments.step_tokens, most_sequences=arguments.batch)
    began_s = time.monotonic()

    def progress(done: float) -> None:
        if sys.stderr.isatty():
            print(f"\r{name}: {done:4.0%} after {time.monotonic() - began_s:.0f} s", end="", file=sys.stderr)

    meter, servers = simulate(server, replicas_count, requests, policy, progress=progress)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    rules, idle_j = by_rules(Profile(_deployment(arguments, replicas_count)), requests, meter)
    steps = sum(server.steps_count for server in servers)
    truths = {
        "causal": [request.causal_j for request in requests],
        "shapley": [request.shapley_j for request in requests],
    }
    return {
        "trace": name,
        "requests": len(requests),
        "minutes": arguments.minutes,
        "rate": arguments.rate,
        "prefill_speed": arguments.prefill_speed,
        "replicas": replicas_count,
        "mean_batch": sum(server.decoded_count for server in servers) / steps,
        "energy_kwh": sum(meter.energy_j) / 3.6e6,
        "idle_percent": meter.idle_j / sum(meter.energy_j) * 100,
        "idle_found_percent": idle_j / sum(meter.energy_j) * 100,
        "causal against shapley": deviation(truths["causal"], truths["shapley"]),
        "deviation": {
            truth: {rule: deviation(found, true_j) for rule, found in rules.items()} for truth, true_j in truths.items()
        },
    }


def _deployment(arguments: argparse.Namespace, replicas_count: int) -> Deployment:
    made = catalog.deployment(
        model=arguments.model,
        hardware=arguments.hardware,
        accelerators=arguments.accelerators,
        precision=arguments.precision,
        engine=arguments.engine,
        site="us-average",
    )
    return replace(made, replicas_count=replicas_count)


def _slower(deployment: Deployment, speed_ratio: float) -> Deployment:
    """The same with prompts taken in at another speed."""
    engine = deployment.engine
    dense, experts = engine.prefill_efficiency_ratio, engine.expert_prefill_efficiency_ratio
    return replace(
        deployment,
        engine=replace(
            engine,
            prefill_efficiency_ratio=replace(dense, value=dense.value * speed_ratio),
            expert_prefill_efficiency_ratio=experts and replace(experts, value=experts.value * speed_ratio),
        ),
    )


def print_figures(figures: dict[str, Any]) -> None:
    """Print one trace's tables."""
    print(
        f"\n{figures['trace']}: {figures['requests']} requests, first {figures['minutes']:g} minutes at "
        f"{figures['rate']:g} times the rate, {figures['replicas']} replicas, mean batch {figures['mean_batch']:.1f}, "
        f"idle {figures['idle_percent']:.2f} % of {figures['energy_kwh']:.2f} kWh (found {figures['idle_found_percent']:.2f} %)"
    )
    for truth, rules in figures["deviation"].items():
        print(f"  against `{truth}`, percent      median     P90     P99  by energy    bias")
        for rule, values in rules.items():
            columns = (values["median"], values["p90"], values["p99"], values["energy_weighted"])
            print(f"    {rule:24s}" + "".join(f"{value:9.1f}" for value in columns) + f"{values['bias']:+9.1f}")
    values = figures["causal against shapley"]
    print(f"  the truths differ by {values['median']:.1f} (median), {values['energy_weighted']:.1f} by energy")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", nargs="+", default=["conv", "code"], help="conv, code, or files of that form")
    parser.add_argument("--minutes", type=float, default=60.0, help="so much of each trace, from its start")
    parser.add_argument("--rate", type=float, default=1.0, help="arrivals per arrival in the trace")
    parser.add_argument("--replicas", type=int, help=f"default: enough to stay below a load of {MOST_LOAD}")
    parser.add_argument("--model", default="llama-3.1-70b")
    parser.add_argument("--hardware", default="hgx-h100")
    parser.add_argument("--accelerators", type=int, default=4)
    parser.add_argument("--precision")
    parser.add_argument("--engine", default="vllm-0.11")
    parser.add_argument("--prefill", choices=("chunked", "whole"), default="chunked")
    parser.add_argument("--prefill-speed", type=float, default=1.0, help="the server's, over what the rules believe")
    parser.add_argument("--step-tokens", type=int, default=2048, help="most tokens of a step that takes in prompts")
    parser.add_argument("--batch", type=int, default=256, help="most sequences of a replica")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures = []
    for name in arguments.trace:
        path = TRACES / f"azure_llm_2023_{name}.csv" if name in ("conv", "code") else Path(name)
        if not path.exists():
            print(f"{name}: skipped, there is no {path}", file=sys.stderr)
            continue
        figures.append(bench(name, path, arguments))
        print_figures(figures[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
