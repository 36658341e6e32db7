"""How long a month's report of many users takes, with how much memory, and what its slowest command costs the server.

    python bench/report.py                    1,000,000 users, on a real server
    python bench/report.py --users 50000

Rows are written as the ledger writes them, directly: a user's month of one part, sums of a seed. The month is reported to
CSV from its accounts, closed, verified, and reported from its statement. Beside it, in the same run: a bare MGET of the same
rows, 500 at a time, through the same client, its keys made and its replies thrown away. Times are of the processor, as this
process sees it, and of the clock: they differ where others use the machine. The month is a year ago: it can be closed.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from headwater.cli.progress import progress
from headwater.ledger import Ledger, rows, schema
from headwater.ledger.closing import close
from headwater.ledger.reader import Reader
from headwater.ledger.statements import Statements
from headwater.reports import accounts, csv_pieces, json_pieces, table

SEED: Final = 2026
KEY: Final = "be" * 8
MONTH: Final = "2025-10"
MODEL, SITE = "llama-3.1-70b", "us-average"
FILL: Final = 2_000
CHUNK: Final = 500
SLOW_MICROSECONDS: Final = 5_000


def sums(dice: random.Random) -> rows.Sums:
    """A user's month: lognormal energy, water and carbon by it."""
    it = int(dice.lognormvariate(21, 1.2))
    requests, output = dice.randrange(1, 400), dice.randrange(100_000)
    energy, onsite = it * 6 // 5, it // 3
    amounts = it, energy, energy // 2, energy * 2, onsite, onsite * 2, onsite, onsite * 7, it // 10, it // 20, it // 4
    return (requests, output * 5, output, output, 0, *amounts, 0, 0, dice.randrange(2))


def fill(client: Any, users_count: int, tick: Callable[[int, float], None]) -> None:
    """A month of so many users, all of one part, as it lies in the store."""
    dice = random.Random(SEED)
    part = schema.part_of(MODEL, SITE)
    whole = rows.NOTHING
    client.hset(schema.parts_key(0), part, schema.part_name(MODEL, SITE))
    for at in range(0, users_count, FILL):
        pipeline = client.pipeline(transaction=False)
        values = {}
        for _ in range(min(FILL, users_count - at)):
            user, some = dice.randbytes(16).hex(), sums(dice)
            whole = rows.plus(whole, some)
            values[schema.user_key(0, user, MONTH, part)] = rows.stored(some)
            bucket = schema.bucket_of(user)
            pipeline.sadd(schema.index_key(0, MONTH, bucket), schema.index_member(user, part))
            pipeline.setbit(schema.buckets_key(0, MONTH), bucket, 1)
        pipeline.mset(values)
        pipeline.execute()
        tick(at, at / users_count)
    client.set(schema.total_key(0, MONTH, part), rows.stored(whole))
    client.hset(schema.bases_key(0, MONTH), schema.NO_DOCUMENT, whole[0])


def bare(client: Any, reader: Reader) -> int:
    """The reference: the keys of the month are made and read, nothing else."""
    read_count = 0
    for places in reader.books.indexed(0, MONTH):
        keys = schema.month_keys(0, MONTH, places)
        for at in range(0, len(keys), CHUNK):
            read_count += len(client.mget(keys[at : at + CHUNK]))
    return read_count


class Watch:
    """Times, memory of this process, and commands that the server was long busy with."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.cpu_s: dict[str, float] = {}
        client.config_set("slowlog-log-slower-than", SLOW_MICROSECONDS)
        client.config_set("slowlog-max-len", 10_000)

    @contextmanager
    def stage(self, name: str, users_count: int) -> Iterator[None]:
        """Measure what happens inside, and print it."""
        self.client.slowlog_reset()
        self.client.config_resetstat()
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        yield
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        self.cpu_s[name] = cpu_s
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        said = self.client.info("commandstats")
        server_s = sum(each["usec"] for each in said.values()) / 1e6
        slow = self.client.slowlog_get(100)
        slowest = ", ".join(f"{each['command'][:20]!r} {each['duration'] / 1e3:.1f} ms" for each in slow[:5])
        print(
            f"{name:34} {took_s:7.1f} s, {cpu_s:6.1f} s CPU ({cpu_s / users_count * 1e6:5.1f} us a user), "
            f"server {server_s:5.2f} s, peak memory +{grown_kb / 1024:.1f} MB, "
            f"commands over {SLOW_MICROSECONDS / 1e3:g} ms: {len(slow)} {slowest}"
        )


def main() -> None:
    """Fill, report, close, verify and report again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    given = parser.parse_args()
    count = given.users
    with (
        tempfile.TemporaryDirectory(prefix="hw-") as folder,
        Path(os.devnull).open("w") as nowhere,
        progress("users") as show,
    ):
        ledger = Ledger(data_dir=Path(folder), key_fingerprint=KEY)
        ledger.start()
        assert ledger.flush(60.0)
        with ledger.reader() as reader:
            client = reader.books.store.client
            watch = Watch(client)
            empty = client.info("memory")["used_memory"]
            fill(client, count, show("filling"))
            filled = client.info("memory")["used_memory"]
            print(f"{count:,} users: {(filled - empty) / count:.0f} B a row, with its place in the index")

            with watch.stage("bare MGET of the rows", count):
                assert bare(client, reader) == count
            for name, pieces in (("CSV of the open month", csv_pieces), ("JSON of the open month", json_pieces)):
                with watch.stage(name, count):
                    for piece in pieces(accounts(reader, MONTH), None, show(name)):
                        nowhere.write(piece)
            with watch.stage("table of the open month, top 50", count):
                table(accounts(reader, MONTH), top=50, tick=show("table"))
            before = client.info("memory")["used_memory"]
            with watch.stage("closing", count):
                head = close(reader.books, MONTH, grace_hours=72, tick=show("closing"))
            after = client.info("memory")["used_memory"]
            print(f"a closed month takes {(after - before) / count:.0f} B a user, in {len(head.chunks[0]):,} chunks")
            with watch.stage("verifying", count):
                assert Statements(reader.books).verify(head) == 0
            with watch.stage("CSV of the closed month", count):
                for piece in csv_pieces(accounts(reader, MONTH), None, show("CSV")):
                    nowhere.write(piece)
        ledger.close()
    reference_s = watch.cpu_s["bare MGET of the rows"]
    for name, cpu_s in watch.cpu_s.items():
        print(f"{name:34} {cpu_s / reference_s:5.2f} x the bare MGET")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
