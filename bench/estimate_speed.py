"""How long one estimate takes: ours by method, beside those of other estimators, interleaved in one run.

    python bench/estimate_speed.py
    python bench/estimate_speed.py --rounds 9 --json speed.json

Each is called as its callers call it, with a model that it knows, and gives back all that it gives back: ours energy, water
and carbon with their intervals. The others are left out where they are not installed: pip install '.[peers]'.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import peers
from headwater import catalog
from headwater.physics import Profile
from headwater.records import Footprint, Hosting, Method, Mix, Observation, Usage

INPUT_TOKENS: Final = 800
OUTPUT_TOKENS: Final = 300
ELAPSED_S: Final = 9.0
ITL_S: Final = 0.03
CONCURRENCY_COUNT: Final = 48.0
ROUND_S: Final = 0.1
WARM_CALLS: Final = 20
US_PER_S: Final = 1e6
OURS: Final = "headwater"
RATIOS_TO: Final = "headwater loaded"
CLOSED_MODEL: Final = "gpt-4o-mini"
"""All three of the others have a record of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """The median over the rounds, and the quickest and the slowest round."""

    name: str
    us: float
    low_us: float
    high_us: float


def contenders() -> dict[str, Callable[[], object]]:
    """What is timed, by name. Says on stderr when the others are not installed."""
    found = _ours()
    try:
        peers.require()
    except peers.PeersMissing as missing:
        print(f"estimate_speed: only our own: {missing}", file=sys.stderr)
        return found
    return found | _theirs()


def _ours() -> dict[str, Callable[[], object]]:
    def profile(hosting: Hosting) -> Profile:
        return Profile(
            catalog.deployment(
                model="llama-3.1-70b",
                hardware="hgx-h100",
                engine="vllm-0.11",
                site="us-average",
                hosting=hosting,
            )
        )

    own, hosted = profile("own"), profile("hosted")
    usage = Usage(input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS, source="upstream")
    mix = Mix(input_tokens=1200.0, cached_tokens=100.0, output_tokens=400.0, context_tokens=1400.0)
    cases: tuple[tuple[str, Method, Profile, Observation], ...] = (
        (RATIOS_TO, "loaded", own, Observation(concurrency_count=CONCURRENCY_COUNT)),
        (
            f"{OURS} observed, with a mix",
            "observed",
            own,
            Observation(elapsed_s=ELAPSED_S, concurrency_count=CONCURRENCY_COUNT, mix=mix),
        ),
        (f"{OURS} paced", "paced", hosted, Observation(itl_s=ITL_S)),
    )
    made: dict[str, Callable[[], object]] = {}
    for name, method, used, observation in cases:
        footprint = used.estimate(usage, observation)
        assert isinstance(footprint, Footprint), footprint
        assert footprint.method == method, (name, footprint.method)
        made[name] = _call(used, usage, observation)
    return made


def _call(profile: Profile, usage: Usage, observation: Observation) -> Callable[[], object]:
    return lambda: profile.estimate(usage, observation)


def _theirs() -> dict[str, Callable[[], object]]:
    import ecocost
    import soif
    from ecologits.tracers.utils import llm_impacts

    return {
        f"ecologits {peers.PACKAGES['ecologits']}": lambda: llm_impacts(
            "openai", CLOSED_MODEL, OUTPUT_TOKENS, ELAPSED_S
        ),
        f"ecocost {peers.PACKAGES['ecocost']}": lambda: ecocost.estimate(
            CLOSED_MODEL, input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS
        ),
        f"soif-llm {peers.PACKAGES['soif-llm']}": lambda: soif.estimate(
            CLOSED_MODEL, input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS
        ),
    }


def measure(timed: dict[str, Callable[[], object]], rounds: int) -> list[Speed]:
    """Microseconds per call; every round times each of them once, for a tenth of a second."""
    counts: dict[str, int] = {}
    for name, call in timed.items():
        once_s = min(_seconds(call, WARM_CALLS) for _ in range(3)) / WARM_CALLS
        counts[name] = max(round(ROUND_S / once_s), 1)
    seen: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, call in timed.items():
            seen[name].append(_seconds(call, counts[name]) / counts[name] * US_PER_S)
    return [
        Speed(name=name, us=statistics.median(each), low_us=min(each), high_us=max(each)) for name, each in seen.items()
    ]


def _seconds(call: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds; the median counts (9)")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    speeds = measure(contenders(), options.rounds)
    base_us = next(speed.us for speed in speeds if speed.name == RATIOS_TO)
    print(f"{'one estimate':32} {'us':>9} {'low..high':>17} {'ratio':>8}")
    for speed in speeds:
        between = f"{speed.low_us:.1f}..{speed.high_us:.1f}"
        print(f"{speed.name:32} {speed.us:9.1f} {between:>17} {speed.us / base_us:8.1f}")
    if options.json is not None:
        document = [
            {
                "name": speed.name,
                "us": speed.us,
                "low_us": speed.low_us,
                "high_us": speed.high_us,
                "ratio": speed.us / base_us,
            }
            for speed in speeds
        ]
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
