"""A million hostile cases through every dialect: how many, how fast, and what broke.

    python bench/fuzz.py                       a million cases on all cores
    python bench/fuzz.py --cases 20000 --seed 7

Each case damages a request, a reply or a stream of some API, cuts it anywhere, and checks that nothing is raised, that the
bytes that come out are the bytes that went in but for the fold, and that every count is one. Exit code 1 if anything broke;
the seed and the number of a broken case make it again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.fuzz.cases import check_reply, check_request, check_stream
from tests.fuzz.mutate import cut, mutated
from tests.fuzz.seeds import SEEDS

_NAMES = sorted(SEEDS)
_SLICE = 5000


def one(seed: int, number: int) -> tuple[str, str]:
    """Run one case; returns the dialect, and what went wrong ("" for nothing)."""
    random = Random(f"{seed}:{number}")
    name = random.choice(_NAMES)
    chosen = SEEDS[name]
    kind = random.randrange(6)
    try:
        if kind == 0:
            check_request(name, mutated(chosen.request, random))
        elif kind == 1 or not chosen.streams:
            check_reply(name, mutated(random.choice(chosen.replies), random))
        else:
            body = mutated(random.choice(chosen.streams), random)
            check_stream(name, cut(body, random), injected=kind == 2)
    except BaseException as error:  # whatever it is, it must be told with its case
        return name, f"case {number} of seed {seed}: {name}: {type(error).__name__}: {error}"
    return name, ""


def some(seed: int, first: int, count: int) -> tuple[dict[str, int], list[str]]:
    """Run a slice of cases; returns how many of each dialect, and what broke."""
    counts: dict[str, int] = {}
    broken: list[str] = []
    for number in range(first, first + count):
        name, told = one(seed, number)
        counts[name] = counts.get(name, 0) + 1
        if told:
            broken.append(told)
    return counts, broken


def run(seed: int, cases: int, workers: int) -> dict[str, Any]:
    """Run all cases in slices on several processes, with progress on a terminal."""
    began_s, done, counts = time.perf_counter(), 0, dict.fromkeys(_NAMES, 0)
    broken: list[str] = []
    with ProcessPoolExecutor(workers) as pool:
        slices = [pool.submit(some, seed, at, min(_SLICE, cases - at)) for at in range(0, cases, _SLICE)]
        for each in as_completed(slices):
            found, told = each.result()
            broken += told
            for name, count in found.items():
                counts[name] += count
                done += count
            if sys.stderr.isatty():
                print(f"\r{done:,} of {cases:,} cases, {len(broken)} broken", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    elapsed_s = time.perf_counter() - began_s
    return {"seed": seed, "cases": done, "elapsed_s": round(elapsed_s, 1), "broken": broken, "by_dialect": counts}


def main() -> int:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many; a million unless told")
    parser.add_argument("--seed", type=int, default=2026, help="another seed, other cases")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    result = run(arguments.seed, arguments.cases, arguments.workers)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        rate = result["cases"] / max(result["elapsed_s"], 0.1)
        print(f"{result['cases']:,} cases in {result['elapsed_s']} s ({rate:,.0f}/s), {len(result['broken'])} broken")
        for name, count in result["by_dialect"].items():
            print(f"  {name:20s} {count:>9,}")
        for told in result["broken"][:20]:
            print(f"  {told}")
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
