"""How fast a month is audited and exported: charges per second, CPU per charge, the most memory, on a real store.

    python bench/audit.py                        1,000,000 charges of 10,000 users
    python bench/audit.py --charges 100000 --users 100000

Beside each figure stands its ratio to merely reading the ledger stream with the same client, in the same run: that ratio
says the same on every machine. The charges are made from a seed and spread over the days of this month so far.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from headwater import ulid
from headwater.audit import audit
from headwater.exports import Exported, Folder, export
from headwater.ledger import packing, schema
from headwater.ledger.batch import Batch
from headwater.ledger.books import Books
from headwater.ledger.connection import READ_TIMEOUT_S
from headwater.ledger.embedded import Embedded
from headwater.ledger.exporting import Subscription
from headwater.ledger.glance import glance
from headwater.ledger.redis import Store
from headwater.records import Amounts, Charge, Observation, Usage

SEED: Final = 2026
KEY: Final = "be" * 8
BATCH: Final = 1_000
MODELS: Final = ("llama-3.1-70b", "llama-3.1-8b", "gpt-oss-120b")


def charges(count: int, users_count: int, *, begin_ms: int, end_ms: int) -> Iterator[Charge]:
    """These many charges between two moments; the same ones each time, but for their times."""
    dice = random.Random(SEED)
    users = [f"{number:032x}" for number in range(users_count)]
    first = Charge(
        request_id="",
        user="",
        started_ms=begin_ms,
        ended_ms=begin_ms,
        outcome="completed",
        model="",
        site="us-average",
        deployment_hash="5f0c5f0c5f0c5f0c",
        method="observed",
        usage=Usage(input_tokens=1, output_tokens=1, source="upstream"),
        observation=Observation(elapsed_s=1.5, ttft_s=0.3, concurrency_count=8.0),
        amounts=None,
    )
    for number in range(count):
        ended_ms = begin_ms + (end_ms - begin_ms) * number // count
        yield replace(
            first,
            request_id=ulid.new(ended_ms, dice.randbytes),
            user=dice.choice(users),
            started_ms=ended_ms - 1_500,
            ended_ms=ended_ms,
            model=MODELS[number % len(MODELS)],
            usage=Usage(
                input_tokens=dice.randrange(1, 10_000), output_tokens=dice.randrange(1, 2_000), source="upstream"
            ),
            amounts=Amounts(**{name: dice.randrange(1, 10**9) for name in Amounts.__dataclass_fields__}),
        )


def fill(store: Store, made: Iterator[Charge]) -> None:
    """Apply charges in batches."""
    done_count = 0
    while some := list(islice(made, BATCH)):
        batch = Batch("bench", 0, done_count, done_count + len(some), [glance(packing.pack(each)) for each in some])
        store.apply(batch)
        done_count += len(some)


class Clock:
    """Times what is done, and prints it beside the first one."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._first_s = 0.0

    def __call__(self, what: str, work: Callable[[], object]) -> None:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        work()
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        self._first_s = self._first_s or cpu_s
        memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
        print(
            f"{what:<32}{wall_s:>8.1f} s{self._count / wall_s:>11,.0f}/s{cpu_s / self._count * 1e6:>9.1f} us CPU"
            f"{cpu_s / self._first_s:>8.2f} x{memory_mb:>9,.0f} MB",
            flush=True,
        )


def main() -> None:
    """Fill a store, then time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--charges", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=10_000)
    chosen = parser.parse_args()
    now_ms = int(time.time() * 1_000)
    month = schema.periods(now_ms)[1]

    with tempfile.TemporaryDirectory(prefix="hw") as name:
        folder = Path(name)
        place = Embedded(folder / "data")
        place.ensure()
        store = Store(place.endpoint, timeout_s=READ_TIMEOUT_S)
        try:
            store.check(KEY)
            books = Books(store)
            timed = Clock(chosen.charges)
            print(f"{chosen.charges:,} charges of {chosen.users:,} users, {month}; CPU of this process alone")
            span = charges(chosen.charges, chosen.users, begin_ms=schema.period_start_ms(month), end_ms=now_ms)
            started_s = time.perf_counter()
            fill(store, span)
            print(f"filled in {time.perf_counter() - started_s:.0f} s")
            timed("read the stream", lambda: sum(1 for _ in books.stream(0)))

            def check(exported: Exported | None = None) -> None:
                found = audit(books, month, exported=exported)
                assert found.is_equal, found.differences
                assert found.charges_count == chosen.charges

            timed("audit", check)
            for kind in ("jsonl", "parquet"):
                out = folder / kind

                def hand_over(kind: str = kind, out: Path = out) -> None:
                    with Folder(out, kind, ledger=KEY) as target:
                        feed = Subscription(books, target.name)
                        feed.begin({})
                        assert export(feed, target).exported_count == chosen.charges

                timed(f"export to {kind}", hand_over)
                size = sum(path.stat().st_size for path in out.glob("day=*/*"))
                print(f"{'':<32}{size / chosen.charges:>8.1f} bytes a charge")
                timed(f"audit from {kind}", partial(check, Exported(out)))
        finally:
            store.close()
            place.leave()


if __name__ == "__main__":
    main()
