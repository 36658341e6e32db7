"""The arena: a server, the proxy before it, a nursery of workers, and what can be done to them. One data folder.

`settled` heals everything, lets the adopters finish and compares the accounts with what was sent.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import chaos_check
from chaos_load import Sheet
from chaos_proxy import Proxy
from chaos_server import DEADLINE_S, Server, eventually, free_port
from chaos_worker import SEGMENT_BYTES, Task
from headwater.identity import load_key
from headwater.ledger import Reader
from headwater.ledger.journal import FOLDER

_NURSERY: Final = Path(__file__).with_name("chaos_worker.py")
_EVERY_RECEIPT: Final = 37
Heal = Callable[[], object]
STATS: Final = ("exchanges", "failed_replies", "journalled", "shipped", "failures", "gaps", "adopted", "lost")


class Nursery:
    """A process that has imported everything, and forks workers. Each `hire` is a real process of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hw")
        self._process = subprocess.Popen(
            [sys.executable, str(_NURSERY), self._folder.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def hire(self, task: Task) -> int:
        """Start a worker; returns its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(task)) + "\n")
        self._process.stdin.flush()
        return int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        """End it; workers that it still has end, too."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._folder.cleanup()


class Arena:
    """Several workers at work on one folder and one server."""

    def __init__(
        self,
        nursery: Nursery,
        *,
        seed: int = 0,
        workers: int = 3,
        rate: float = 100.0,
        without: str = "",
        is_replicated: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._nursery = nursery
        self.rng = random.Random(seed)
        self.without = without
        self.is_replicated = is_replicated
        self.folder = Path(tempfile.mkdtemp(prefix="hw"))  # short: a Unix socket's path is
        self.server = Server(self.folder / "server-1", *self._on_a_port())
        self.replica: Server | None = None
        self.proxy = Proxy(self.folder / "p", self.server.address, seed)
        self.sheets: list[Sheet] = []
        self.dead: set[int] = set()
        self.faults: Counter[str] = Counter()
        self.lost_bytes = 0
        """Of the server's file, by losses of power."""
        self._seed = seed
        self._workers_count = workers
        self._rate = rate
        self._segment_bytes = segment_bytes
        self._processes: dict[int, int] = {}
        self._order = 0
        self._phase = 0
        self._servers_count = 1

    # -- coming and going ----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        load_key(self.folder)  # before the workers, who would race for it
        self.server.start()
        if self.is_replicated:
            self.replica = self._new_replica()
        self.proxy.start()
        for _ in range(self._workers_count):
            self.hire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.proxy.stop()
        for server in filter(None, (self.server, self.replica)):
            server.kill()
        for sheet in self.sheets:
            sheet.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def hire(self, most_file_bytes: int = -1) -> None:
        """One more worker. `most_file_bytes`: how much room there is for its journal; below 0: enough."""
        sheet = Sheet(self.folder, len(self.sheets))
        sheet["most_file_bytes"] = most_file_bytes
        sheet["pause"] = self._order
        sheet["phase"] = self._phase
        self.sheets.append(sheet)
        task = Task(
            worker=sheet.worker,
            folder=str(self.folder),
            url=self.proxy.url,
            seed=self._seed,
            rate=self._rate,
            without=self.without,
            replicas=int(self.is_replicated and self.without != "replicas"),
            segment_bytes=self._segment_bytes,
        )
        self._processes[sheet.worker] = self._nursery.hire(task)

    def living(self) -> list[Sheet]:
        """The sheets of those at work."""
        return [self.sheets[worker] for worker in self._processes]

    def phase(self, number: int) -> None:
        """Count latencies in another set of histograms."""
        self._phase = number
        for sheet in self.living():
            sheet["phase"] = number

    def work(self, exchanges: int) -> None:
        """Let the workers go on until they have had so many more exchanges together."""
        wanted = self.sum("exchanges") + exchanges
        eventually(lambda: self.sum("exchanges") >= wanted, f"{exchanges} more exchanges")

    def sum(self, name: str) -> int:
        """A counter of all workers together."""
        return int(sum(sheet[name] for sheet in self.sheets))

    def faults_count(self) -> int:
        """So far, cut connections included."""
        return self.faults.total() + self.proxy.cut_count.total()

    # -- faults --------------------------------------------------------------------------------------------------------

    def kill_worker(self, count: int = 1) -> None:
        """SIGKILL, wherever it is; somebody else takes its place."""
        for worker in self.rng.sample(sorted(self._processes), min(count, len(self._processes))):
            process = self._processes.pop(worker)
            os.kill(process, signal.SIGKILL)
            eventually(lambda process=process: not _is_alive(process), "a worker's death")  # type: ignore[misc]
            self.dead.add(worker)
            self.faults["worker killed"] += 1
            self.hire()

    def kill_server(self, down_s: float = 0.05) -> None:
        """SIGKILL of the server, and its restart from the same file."""
        self.server.kill()
        sleep(down_s)
        self.server.start()
        self.faults["server killed"] += 1

    def lose_power(self, work: Callable[[], object] = lambda: sleep(0.3)) -> None:
        """The server dies, and comes back with what was on its disk at the last fsync, less than a second ago. `work`: what
        goes on since then.
        """
        self.lost_bytes += self.server.lose_power(work)
        self.server.start()
        self.faults["server set back to its last fsync"] += 1

    def stall(self, seconds: float) -> None:
        """SIGSTOP of the server for a while."""
        self.server.stop()
        sleep(seconds)
        self.server.go_on()
        self.faults["server stopped beyond the time-out"] += 1

    def cut(self, kind: str, count: int = 1) -> None:
        """Cut the next connections that carry charges."""
        before = self.proxy.cut_count[kind]
        self.proxy.next += [kind] * count
        with suppress(TimeoutError):
            eventually(lambda: self.proxy.cut_count[kind] >= before + count, "a cut", 0.5)
        self.proxy.next.clear()

    def fill_disk(self) -> Heal:
        """No more room for a worker's journal. Returns what gives it room again."""
        sheet = self.rng.choice(self.living())
        sheet["most_file_bytes"] = self.rng.randrange(self._segment_bytes)
        self.faults["disk full"] += 1

        def heal() -> None:
            sheet["most_file_bytes"] = -1

        return heal

    def fill_memory(self) -> Heal:
        """The server refuses to write: OOM command not allowed. Returns what gives it memory again."""
        self.server.command("CONFIG", "SET", "maxmemory", "1")
        self.faults["server out of memory"] += 1
        return lambda: self.server.command("CONFIG", "SET", "maxmemory", "0")

    def flush_scripts(self) -> None:
        """SCRIPT FLUSH."""
        self.server.command("SCRIPT", "FLUSH")
        self.faults["scripts flushed"] += 1

    def step_clock(self) -> None:
        """A worker's wall clock jumps by up to three days, back or forth."""
        self.rng.choice(self.living())["clock_offset_s"] = self.rng.uniform(-3, 3) * 86_400
        self.faults["clock stepped"] += 1

    def race(self) -> None:
        """Two workers die at once; all others, their two successors and a report race for what they left."""
        self.kill_worker(2)
        with suppress(Exception):  # the store may be down; workers will do it
            Reader.open(data_dir=self.folder, redis_url=self.proxy.url).close()
        self.faults["adopters racing"] += 1

    def fail_over(self, work: Callable[[], object] | None = None, *, is_last: bool = False) -> None:
        """The master dies for good, and its replica is promoted; a new replica follows, unless it is the last.

        Replication does not wait: what the replica had not received is gone with the master. `work`: what goes on while the
        replica is cut off from its master.
        """
        assert self.replica is not None
        if work is not None:
            # It tries to log in where no login is known, and does not get back.
            self.replica.command("CONFIG", "SET", "masterauth", "x")
            self.replica.command("CLIENT", "KILL", "TYPE", "master")
            work()
        self.server.kill()
        self.server, self.replica = self.replica, None
        self.server.command("CONFIG", "SET", "masterauth", "")
        self.server.promote()
        self.proxy.target = self.server.address
        if not is_last:
            self.replica = self._new_replica()
        self.faults["failover"] += 1

    def until_dropped(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait until charges that are journalled from now on have left a journal, as far as that comes to pass."""
        last = {folder: max(_segments(folder)) for folder in self._journals()}

        def is_dropped() -> bool:
            return any(min(_segments(folder), default=0) > number for folder, number in last.items())

        with suppress(TimeoutError):
            eventually(is_dropped, "a segment behind the present one", timeout_s)

    def _on_a_port(self) -> list[str]:
        """Replicas find their master by TCP; only a server with a replica listens on the loopback."""
        if not self.is_replicated:
            return []
        return ["--bind", "127.0.0.1", "--port", str(free_port()), "--repl-diskless-sync-delay", "0"]

    def _new_replica(self) -> Server:
        self._servers_count += 1
        master = str(self.server.command("CONFIG", "GET", "port")["port"])
        replica = Server(self.folder / f"server-{self._servers_count}", *self._on_a_port(), master_port=master)
        replica.start()
        with replica.client() as client:
            eventually(lambda: client.info("replication").get("master_link_status") == "up", "the replica's link")
        return replica

    # -- the comparison ------------------------------------------------------------------------------------------------

    def settled(self, *, adoption_s: float = DEADLINE_S) -> list[str]:
        """Stop the load, heal everything, let the journals of the dead be charged, and tell what is wrong with the accounts."""
        found = self._pause()
        with suppress(TimeoutError):  # what was not adopted in time is lost to the comparison
            eventually(lambda: len(list(self._journals())) <= len(self._processes), "the adoption", adoption_s)
        with Reader.open(data_dir=self.folder / "nowhere", redis_url=f"unix://{self.server.address}") as reader:
            found += chaos_check.differences(reader, self.sheets, frozenset(self.dead))
            found += chaos_check.receipts_missing(reader, self.sheets, _EVERY_RECEIPT)
        return found + self._complaints()

    def go_on(self) -> None:
        """The load again."""
        self._order += 1
        for sheet in self.living():
            sheet["pause"] = self._order

    def _journals(self) -> Iterator[Path]:
        return (self.folder / FOLDER).glob("[!.]*")

    def _pause(self) -> list[str]:
        self.proxy.share = 0.0
        self._order += 1
        for sheet in self.living():
            sheet["most_file_bytes"] = -1
            sheet["pause"] = self._order
        try:
            eventually(lambda: all(sheet["paused"] == self._order for sheet in self.living()), "a pause")
        except TimeoutError as error:
            return [str(error)]
        return [f"worker {sheet.worker} cannot flush" for sheet in self.living() if not sheet["flushed"]]

    def _complaints(self) -> list[str]:
        """What the ledgers themselves say."""
        found = [f"{self.sum('failed_replies')} replies failed"] if self.sum("failed_replies") else []
        for sheet in self.sheets:
            if sheet["gaps"] or sheet["lost"]:
                found.append(f"worker {sheet.worker} says gaps {sheet['gaps']:g}, lost {sheet['lost']:g}")
            charged = sum(1 for _ in sheet.states())
            if sheet.worker not in self.dead and charged != sheet["exchanges"]:
                found.append(
                    f"worker {sheet.worker} had {sheet['exchanges']:g} exchanges, its ledger heard of {charged}"
                )
        return found


def sleep(seconds: float) -> None:
    """Let the load go on."""
    threading.Event().wait(seconds)


def _segments(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("[0-9]*.log")]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
