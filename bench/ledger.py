"""What the ledger costs: CPU per charge on the event loop, in the process and in Redis, and charges per second sustained.

    python bench/ledger.py                          about four minutes
    python bench/ledger.py --charges 60000 --json ledger.json

Everything is on: a real journal with group fsync, a real Valkey (append-only file, fsync every second), receipts, stream,
days, months, totals, index. The reference in the same run is the least that a counter costs: a Lua script of 8 HINCRBY and
an EXPIRE, one call per charge, pipelined by 100 over a plain socket, on the same server. On a shared machine read the
ratios: the reference took 11.4 us of Redis CPU where the goals were set.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import redis

from headwater import ulid
from headwater.ledger import Ledger, keeper
from headwater.ledger.batch import Batch
from headwater.ledger.connection import READ_TIMEOUT_S
from headwater.ledger.embedded import find_binary
from headwater.ledger.glance import glance
from headwater.ledger.packing import pack
from headwater.ledger.redis import Store
from headwater.ledger.shipment import BATCH_CHARGES
from headwater.records import Amounts, Charge, Observation, Usage

KEY: Final = "0123456789abcdef"
BATCH: Final = BATCH_CHARGES
CPU_GOAL_RATIO: Final = 2.0
REFERENCE: Final = """
for i = 1, 8 do redis.call('HINCRBY', KEYS[1], ARGV[2 * i - 1], ARGV[2 * i]) end
redis.call('EXPIRE', KEYS[1], ARGV[17])
"""


class Server:
    """A real server with the options of the embedded one, and its CPU."""

    def __init__(self, folder: Path) -> None:
        (folder / "store").mkdir()
        self.address = folder / "s"
        self._process = subprocess.Popen(keeper.server_command(find_binary(), folder / "store", self.address))
        while not keeper.answers(self.address):
            time.sleep(0.02)
        self.url = f"unix://{self.address}"

    def cpu_s(self) -> float:
        """CPU seconds of the server so far, its background threads included."""
        words = Path(f"/proc/{self._process.pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def client(self) -> redis.Redis:
        """A plain client."""
        return redis.Redis(unix_socket_path=str(self.address), protocol=2)

    def empty(self) -> None:
        """Forget everything."""
        with self.client() as client:
            client.flushall()

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def server() -> Iterator[Server]:
    """A server while it is needed."""
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        made = Server(Path(folder))
        try:
            yield made
        finally:
            made.stop()


class Charges:
    """Charges as a middleware makes them, of so many users; seeded."""

    def __init__(self, users_count: int, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._users = [self._random.randbytes(16).hex() for _ in range(users_count)]
        self._now_ms = int(time.time() * 1000)

    def make(self, count: int) -> list[Charge]:
        """The next charges."""
        return [self._one() for _ in range(count)]

    def _one(self) -> Charge:
        pick = self._random
        energy = pick.randrange(10**7, 10**10)
        return Charge(
            request_id=ulid.new(self._now_ms, pick.randbytes),
            user=pick.choice(self._users),
            started_ms=self._now_ms - 1_500,
            ended_ms=self._now_ms,
            outcome="completed",
            model="llama-3.1-70b",
            site="azure-westus3",
            deployment_hash="5f0c1b2a3d4e5f60",
            method="observed",
            usage=Usage(input_tokens=pick.randrange(10_000), output_tokens=pick.randrange(2_000), source="upstream"),
            observation=Observation(elapsed_s=1.5, ttft_s=0.3, concurrency_count=12.5),
            amounts=Amounts(
                **{name: energy // place for place, name in enumerate(Amounts.__dataclass_fields__, 1)},
            ),
        )


def reference_us(running: Server, count: int) -> float:
    """Redis CPU per charge of the least that counts, in us."""
    pick = random.Random(2)
    users = [pick.randbytes(16).hex() for _ in range(100_000)]
    names = [b"n", b"in", b"out", b"uj", b"ujl", b"ujh", b"nl", b"nls"]
    with running.client() as client:
        digest = str(client.script_load(REFERENCE)).encode()

    def call() -> bytes:
        key = b"hw:{s00}:u:%b:d:20261123" % pick.choice(users).encode()
        words = [b"EVALSHA", digest, b"1", key]
        words += [word for name in names for word in (name, b"%d" % pick.randrange(10**9))]
        words.append(b"34560000")
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(running.address))
        before = running.cpu_s()
        for _ in range(count // 100):
            connection.sendall(b"".join(call() for _ in range(100)))
            missing = 100 * len(b"$-1\r\n")
            while missing:
                missing -= len(connection.recv(missing))
        return (running.cpu_s() - before) / count * 1e6


def applied_us(running: Server, users_count: int, count: int, *, warm: int = 0) -> tuple[float, float]:
    """Redis CPU per charge, and charges per second of Redis CPU, of batches over so many users; `warm` ones go before."""
    store = Store(running.url)
    store.check(KEY)
    made = Charges(users_count)
    sequence = 0
    before = taken_s = 0.0
    for number in range(0, warm + count, BATCH):
        if number <= warm < number + BATCH:
            before, taken_s = running.cpu_s(), 0.0
        some = [glance(pack(charge)) for charge in made.make(BATCH)]
        store.apply(Batch(journal_id="j", shard=0, previous=sequence, last=sequence + BATCH, charges=some))
        sequence += BATCH
    taken_s = running.cpu_s() - before
    store.close()
    return taken_s / count * 1e6, count / taken_s


def filled(running: Server, users_count: int) -> None:
    """Give every user a month and a day before the measurement."""
    store = Store(running.url, timeout_s=READ_TIMEOUT_S)
    store.check(KEY)
    made = Charges(users_count)
    template = glance(pack(made.make(1)[0]))
    sequence = 0
    users = made._users
    for at in range(0, users_count, 500):
        some = [template._replace(user=user) for user in users[at : at + 500]]
        store.apply(Batch(journal_id="fill", shard=0, previous=sequence, last=sequence + len(some), charges=some))
        sequence += len(some)
        if at % 100_000 == 0:
            sys.stderr.write(f"\rfilling {at:,} of {users_count:,} users")
    sys.stderr.write("\r\033[K")
    store.close()


def memory_bytes(users_count: int) -> float:
    """Memory per row, of users with a month's row and a day's, their part of the index in it; stream and receipts apart."""
    with server() as running, running.client() as client:
        before = _used_bytes(client)
        filled(running, users_count)
        client.delete("hw2:{s00}:led")
        for name in client.scan_iter("hw2:{s00}:q:*"):
            client.delete(name)
        return (_used_bytes(client) - before) / (2 * users_count)


def _used_bytes(client: redis.Redis) -> int:
    while client.info("memory").get("lazyfree_pending_objects"):
        time.sleep(0.05)
    memory = client.info("memory")
    return int(memory["used_memory"]) - int(memory["mem_clients_normal"]) - int(memory["mem_aof_buffer"])


def journal_us(charges: list[Charge], folder: Path) -> tuple[float, float]:
    """Loop CPU per charge of a final record alone, and of an open record and a final one; nothing is shipped meanwhile."""
    taken = []
    for with_open in (False, True):
        ledger = Ledger(data_dir=folder / str(with_open), redis_url="redis://127.0.0.1:1/0", key_fingerprint=KEY)
        ledger.start()
        try:
            opened = [replace(charge, amounts=None, outcome="partial") for charge in charges] if with_open else []
            before = time.thread_time()
            if with_open:
                for open_one, charge in zip(opened, charges, strict=True):
                    ledger.provisional(open_one)
                    ledger.charge(charge)
            else:
                for charge in charges:
                    ledger.charge(charge)
            taken.append((time.thread_time() - before) / len(charges) * 1e6)
        finally:
            ledger.close(timeout_s=0.0)
    return taken[0], taken[1]


def sustained(running: Server, users_count: int, count: int, folder: Path) -> dict[str, float]:
    """One process, everything on: from the first charge until Redis has applied the last."""
    charges = Charges(users_count).make(count)
    ledger = Ledger(data_dir=folder, redis_url=running.url, key_fingerprint=KEY)
    ledger.start()
    wall, cpu, own, redis_cpu = time.perf_counter(), time.process_time(), time.thread_time(), running.cpu_s()
    for charge in charges:
        ledger.charge(charge)
    loop_us = (time.thread_time() - own) / count * 1e6
    assert ledger.flush(600.0)
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    redis_s = running.cpu_s() - redis_cpu
    assert ledger.stats.shipped == count
    ledger.close()
    return {
        "charges_per_s": count / wall_s,
        "process_us": cpu_s / count * 1e6,
        "loop_us": loop_us,
        "redis_us": redis_s / count * 1e6,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--charges", type=int, default=100_000, help="charges per measurement")
    parser.add_argument("--users", type=int, default=1_000_000, help="the most users")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    count = options.charges
    found: dict[str, Any] = {}

    def measure(name: str, unit: str, make: Callable[[], float]) -> float:
        value = make()
        found[name] = value
        ratio = (
            f"{value / found['reference']:6.2f} x reference" if unit == "us of Redis" and name != "reference" else ""
        )
        sys.stdout.write(f"{name:34}{value:>12,.2f} {unit:14}{ratio}\n")
        sys.stdout.flush()
        return value

    with server() as running, tempfile.TemporaryDirectory() as folder:
        measure("reference", "us of Redis", lambda: reference_us(running, count))
        running.empty()
        one, both = journal_us(Charges(1_000).make(min(count, 100_000)), Path(folder) / "journal")
        measure("loop: a final record", "us", lambda: one)
        measure("loop: an open and a final record", "us", lambda: both)
        for users in (50, 100_000):
            running.empty()
            taken = sustained(running, users, count, Path(folder) / str(users))
            for name, value in taken.items():
                unit = "us of Redis" if name == "redis_us" else "" if name == "charges_per_s" else "us"
                measure(f"{users:,} users: {name}", unit, lambda value=value: value)  # type: ignore[misc]
        measure("reference again", "us of Redis", lambda: reference_us(running, count))
        for users in (1, 50):
            running.empty()
            measure(f"{users:,} users, rows known", "us of Redis", lambda users=users: _known(running, users, count))  # type: ignore[misc]
        measure("memory per row", "bytes", lambda: memory_bytes(options.users))
        for users in (10_000, options.users):
            running.empty()
            measure(f"{users:,} users, rows known", "us of Redis", lambda users=users: _known(running, users, count))  # type: ignore[misc]
        measure("reference at the end", "us of Redis", lambda: reference_us(running, count))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


def _known(running: Server, users_count: int, count: int) -> float:
    filled(running, users_count)
    return applied_us(running, users_count, count)[0]


if __name__ == "__main__":
    main()
