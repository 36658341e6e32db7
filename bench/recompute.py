"""How long a month takes under another factor set: charges per second, and the most memory, on a real store.

    python bench/recompute.py                         100,000 charges under the current set, recomputed under each
    python bench/recompute.py --charges 1000000

The charges are made from a seed: lognormal lengths, observed times and concurrencies, most with a mean request, a thousand
users, three deployments.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headwater import catalog, ulid
from headwater.amounts import amounts
from headwater.ledger import Ledger
from headwater.physics import Profile
from headwater.records import Charge, Footprint, Mix, Observation, Usage
from headwater.reports import month_now, restated_table, restatement, statement
from headwater.reports.entries import month_charges

SEED, USERS = 2026, 1_000
MODELS: Final = ("llama-3.1-70b", "llama-3.1-8b", "gpt-oss-120b")
FLUSH_S: Final = 600.0
KEY: Final = "be" * 8
PROFILES: Final = [
    Profile(catalog.deployment(model=model, hardware="hgx-h100", engine="vllm-0.11", site="us-average"))
    for model in MODELS
]
HASHES: Final = [catalog.deployment_hash(profile.deployment) for profile in PROFILES]


def charges(count: int, now_ms: int) -> Iterator[Charge]:
    """These many charges that ended now; the same ones each time, but for their time."""
    dice = random.Random(SEED)
    users = [f"{number:032x}" for number in range(USERS)]
    for number in range(count):
        profile = PROFILES[number % len(PROFILES)]
        usage = Usage(
            input_tokens=1 + int(dice.lognormvariate(6.5, 0.9)),
            output_tokens=1 + int(dice.lognormvariate(5.0, 0.8)),
            source="upstream",
        )
        mix = Mix(
            input_tokens=dice.uniform(900, 1_100),
            cached_tokens=100.0,
            output_tokens=dice.uniform(180, 220),
            context_tokens=dice.uniform(1_000, 1_200),
        )
        observation = Observation(
            elapsed_s=dice.lognormvariate(1.5, 0.5),
            ttft_s=0.2,
            concurrency_count=dice.uniform(1, 64),
            mix=mix if number > len(PROFILES) * 8 else None,
        )
        found = profile.estimate(usage, observation)
        assert isinstance(found, Footprint)
        yield Charge(
            request_id=ulid.new(now_ms),
            user=dice.choice(users),
            started_ms=now_ms,
            ended_ms=now_ms,
            outcome="completed",
            model=profile.deployment.model.name,
            site=profile.deployment.site.name,
            deployment_hash=HASHES[number % len(PROFILES)],
            method=found.method,
            usage=usage,
            observation=observation,
            amounts=amounts(found),
        )


def main() -> None:
    """Fill a store, recompute its month under each set, say how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--charges", type=int, default=100_000)
    given = parser.parse_args()
    now_s = time.time()
    month = month_now(now_s)
    with tempfile.TemporaryDirectory(prefix="hw-") as folder:
        ledger = Ledger(data_dir=Path(folder), key_fingerprint=KEY)
        ledger.start()
        for document_hash, profile in zip(HASHES, PROFILES, strict=True):
            ledger.document(document_hash, catalog.deployment_document(profile.deployment))
        for charge in charges(given.charges, int(now_s * 1000)):
            ledger.charge(charge)
        assert ledger.flush(FLUSH_S)
        with ledger.reader() as reader:
            began_s = time.perf_counter()
            read_count = sum(1 for _ in month_charges(reader, month))
            read_s = time.perf_counter() - began_s
            print(f"read only: {read_s:.1f} s, {read_count / read_s:,.0f} charges/s")
            for name in catalog.names("factor_sets"):
                began_s = time.perf_counter()
                made = restatement(reader, month, catalog.factor_set(name))
                took_s = time.perf_counter() - began_s
                assert made.charged == statement(reader, month)
                print(f"{name}: {took_s:.1f} s, {given.charges / took_s:,.0f} charges/s")
            began_s = time.perf_counter()
            restated_table(made)
            print(f"table of {len(made.charged.rows):,} users: {time.perf_counter() - began_s:.2f} s")
        ledger.close()
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB at most")


if __name__ == "__main__":
    main()
