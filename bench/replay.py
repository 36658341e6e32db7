"""How long `headwater replay` takes for a long trace: seconds per stage, rows per second, and the most memory.

    python bench/replay.py                    a million rows
    python bench/replay.py --rows 100000 --keep trace.csv

The rows are made from a seed: arrivals that swell and ebb, lognormal lengths near those of the Azure conversation trace of
2023, a thousand users, part of each prompt cached.
"""

from __future__ import annotations

import argparse
import math
import random
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headwater.replay.reading import read
from headwater.replay.render import as_table
from headwater.replay.run import replay
from headwater.replay.serving import Plan
from headwater.replay.svg import as_svg

MODEL = "llama-3.1-70b"
SEED, USERS, PER_S, PERIOD_S = 2026, 1_000, 5.0, 21_600.0


def write_trace(path: Path, *, rows_count: int) -> None:
    """A trace with these many rows; the same ones each time."""
    dice, at, seconds = random.Random(SEED), datetime(2026, 11, 2, tzinfo=UTC), 0.0
    with path.open("w", encoding="utf-8") as file:
        file.write("timestamp,input_tokens,output_tokens,cached_tokens,user\n")
        for _ in range(rows_count):
            seconds += dice.expovariate(PER_S * (1 + 0.8 * math.sin(2 * math.pi * seconds / PERIOD_S)))
            fresh = 1 + int(dice.lognormvariate(6.5, 0.9))
            made = 1 + int(dice.lognormvariate(5.0, 0.8))
            when = (at + timedelta(seconds=seconds)).isoformat()
            file.write(f"{when},{fresh},{made},{dice.randrange(fresh)},user-{dice.randrange(USERS)}\n")


def main() -> None:
    """Make the trace, replay it, say how long each stage took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="write the trace here and leave it there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.keep or Path(folder) / "trace.csv"
        write_trace(path, rows_count=given.rows)
        started_s = time.perf_counter()
        trace = read(str(path))
        read_s = time.perf_counter()
        result = replay(trace, Plan(model=MODEL, replicas=2), by="user")
        ended_s = time.perf_counter()
        as_table(result)
        as_svg(result)
        drawn_s = time.perf_counter()
    total_s = drawn_s - started_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.rows:,} rows: read {read_s - started_s:.1f} s, simulate and estimate {ended_s - read_s:.1f} s, "
          f"table and plot {drawn_s - ended_s:.1f} s")  # fmt: skip
    print(f"{total_s:.1f} s in all, {given.rows / total_s:,.0f} rows/s, {peak_mb:,.0f} MB at most")
    print(f"mean {result.mean_in_flight:.1f} in flight, {result.most_in_flight} at most, "
          f"{result.mean_wait_s:.2f} s waited on average")  # fmt: skip


if __name__ == "__main__":
    main()
