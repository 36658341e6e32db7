"""Whether a charge counts exactly once, whatever dies: faults without end on real processes and real servers.

    python bench/chaos.py                                  10,000 faults, about 15 minutes
    python bench/chaos.py --seed 7 --faults 500 --minutes 2 --json chaos.json

Workers, each a process with a ledger under the middleware, answer requests at a steady pace; each charges what the load
says for its number (chaos_load.py). Faults of eleven kinds come at random moments: workers, the server and its file, its
memory, its scripts, the disk, the clock, the connections, the master (chaos_arena.py). Every few dozen faults the load
pauses, what is broken is healed, and every account is compared with what was sent, field by field (chaos_check.py); every
few hundred, all begins anew in an empty folder. Where accounts differ, seed, arena and round are told, and the exit is 1.
The schedule of faults follows from the seed; when each of them meets a process does not.

Latency is that of whole exchanges through the middleware, in-process, beside those of the bare app and beside exchanges
of such workers in the quiet moments before each arena's faults. Loop CPU is the time that the loop's own thread worked
on it: on a machine that others use, too, it says more than the clock.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import chaos_load as load
from chaos_arena import STATS, Arena, Heal, Nursery, sleep
from chaos_proxy import CUTS
from chaos_worker import PROTECTIONS

ROUNDS: Final = 6
FAULTS_A_ROUND: Final = 60
CALM_EXCHANGES: Final = 1_000
_EVERY_REPLICATED: Final = 3
"""Of so many arenas, one has a replica and fails over; then the file is not set back."""
# Of all requests, those whose connection is cut; one of these for each round.
_WEATHER: Final = (0.0, 0.2, 0.3, 0.3, 0.4)
_MOST_TOLD: Final = 20

# Kind -> how often, against each other. What lasts (a full disk, no memory) is healed some faults later.
_COMMON: Final = {
    "scripts flushed": 24,
    "replies lost": 24,
    "worker killed": 14,
    "clock stepped": 12,
    "disk full": 10,
    "out of memory": 6,
    "adopters racing": 3,
    "server stopped": 4,
    "server killed": 2,
}
_ALONE: Final = _COMMON | {"power lost": 3}
_REPLICATED: Final = _COMMON | {"failover": 6}


class Faults:
    """Injects what the dice say, and heals what lasts some faults later."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._rng = arena.rng
        self._lasting: list[Heal] = []
        self._kinds: dict[str, Callable[[], object]] = {
            "scripts flushed": arena.flush_scripts,
            "replies lost": lambda: arena.cut(self._rng.choice(CUTS), self._rng.randint(1, 5)),
            "worker killed": arena.kill_worker,
            "clock stepped": arena.step_clock,
            "disk full": lambda: self._lasting.append(arena.fill_disk()),
            "out of memory": lambda: self._lasting.append(arena.fill_memory()),
            "adopters racing": arena.race,
            "server stopped": lambda: arena.stall(self._rng.uniform(0.3, 0.7)),
            "server killed": lambda: arena.kill_server(self._rng.uniform(0.0, 0.2)),
            "power lost": lambda: self._healed(lambda: arena.lose_power(self._a_while(0.1, 0.7))),
            "failover": lambda: self._healed(
                lambda: arena.fail_over(self._rng.choice((None, self._a_while(0.1, 4.0))))
            ),
        }

    def inject(self, count: int) -> None:
        """So many faults, with short pauses between them."""
        weights = _REPLICATED if self._arena.is_replicated else _ALONE
        for kind in self._rng.choices(list(weights), list(weights.values()), k=count):
            self._kinds[kind]()
            if self._lasting and self._rng.random() < 0.5:
                self._lasting.pop(0)()
            sleep(self._rng.uniform(0.0, 0.06))
        self._heal()

    def _a_while(self, least_s: float, most_s: float) -> Callable[[], None]:
        seconds = self._rng.uniform(least_s, most_s)
        return lambda: sleep(seconds)

    def _heal(self) -> None:
        while self._lasting:
            self._lasting.pop()()

    def _healed(self, fault: Callable[[], object]) -> None:
        """One that needs a server that writes."""
        self._heal()
        fault()


class Run:
    """A whole run: its arenas one after the other, and what was seen in them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._began_s = time.monotonic()
        self.faults: Counter[str] = Counter()
        self.stats: Counter[str] = Counter()
        self.lost_bytes = self.arenas = self.checks = self.workers = 0
        self.differences: list[str] = []
        self._histograms: dict[tuple[str, str], array[int]] = {}

    def is_over(self, under_way: int = 0) -> bool:
        """Enough faults, or no more time."""
        is_enough = self.faults.total() + under_way >= self._arguments.faults
        return bool(is_enough or self._minutes() >= self._arguments.minutes)

    def _minutes(self) -> float:
        return (time.monotonic() - self._began_s) / 60

    def arena(self, nursery: Nursery) -> None:
        """One folder, one server, some hundred faults."""
        options = self._arguments
        with Arena(
            nursery,
            seed=options.seed * 10_000 + self.arenas,
            workers=options.workers,
            rate=options.rate,
            without=options.without,
            is_replicated=self.arenas % _EVERY_REPLICATED == _EVERY_REPLICATED - 1,
        ) as arena:
            try:
                arena.work(CALM_EXCHANGES)
                arena.phase(1)
                for number in range(ROUNDS):
                    self._round(arena, f"seed {options.seed}, arena {self.arenas}, round {number}")
                    if self.is_over(arena.faults_count()):
                        break
            finally:
                self._add(arena)
        self.arenas += 1

    def _round(self, arena: Arena, name: str) -> None:
        before = arena.faults_count()
        arena.proxy.share = arena.rng.choice(_WEATHER)
        Faults(arena).inject(FAULTS_A_ROUND)
        found = arena.settled()
        self.checks += 1
        self.differences += [f"{name}: {difference}" for difference in found]
        say(
            f"{self._minutes():6.2f} min  {name}: {arena.faults_count() - before} faults, "
            f"{arena.sum('exchanges')} exchanges, {len(found)} differences"
        )
        for difference in found[:_MOST_TOLD]:
            say(difference)
        arena.go_on()

    def _add(self, arena: Arena) -> None:
        self.faults += arena.faults + arena.proxy.cut_count
        self.lost_bytes += arena.lost_bytes
        self.workers += len(arena.sheets)
        for name in STATS:
            self.stats[name] += arena.sum(name)
        for sheet in arena.sheets:
            for phase in load.PHASES:
                for what in load.TIMED:
                    more = sheet.histogram(phase, what)
                    known = self._histograms.get((phase, what), more)
                    both = map(sum, zip(known, more, strict=True)) if known is not more else more
                    self._histograms[phase, what] = array("Q", both)

    def report(self) -> dict[str, Any]:
        """All figures."""
        return {
            "seed": self._arguments.seed,
            "minutes": round(self._minutes(), 2),
            "faults": dict(self.faults.most_common()),
            "faults_count": self.faults.total(),
            "bytes_set_back": self.lost_bytes,
            "arenas": self.arenas,
            "comparisons": self.checks,
            "differences_count": len(self.differences),
            "differences": self.differences[:_MOST_TOLD],
            "workers": self.workers,
            **self.stats,
            "latency_us": {
                f"{phase}: {what}": {
                    "p50": round(load.quantile_us(histogram, 0.5), 1),
                    "p99": round(load.quantile_us(histogram, 0.99), 1),
                    "count": sum(histogram),
                }
                for (phase, what), histogram in self._histograms.items()
            },
        }


def say(line: str) -> None:
    """Progress, on stderr: in one line on a terminal."""
    is_terminal = sys.stderr.isatty()
    text, end = (f"\r{line:110s}", "") if is_terminal else (line, "\n")
    print(text, end=end, file=sys.stderr, flush=True)


def print_report(report: dict[str, Any]) -> None:
    """For people."""
    print(
        f"seed {report['seed']}: {report['faults_count']} faults in {report['minutes']} min, {report['arenas']} arenas, "
        f"{report['comparisons']} comparisons, {report['differences_count']} differences"
    )
    for kind, count in report["faults"].items():
        print(f"  {count:7d}  {kind}")
    print(f"{report['workers']} workers; {report['bytes_set_back']} bytes of the server's file set back")
    print("  ".join(f"{name} {report[name]}" for name in STATS))
    for name, figures in report["latency_us"].items():
        print(f"  {name:24s} p50 {figures['p50']:9.1f} us   p99 {figures['p99']:9.1f} us   of {figures['count']}")
    for difference in report["differences"]:
        print(difference)


def settings(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=10_000, help="stop after so many (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after so long (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=3, help="processes at work at a time (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=40.0, help="exchanges a second and worker (default: %(default)s)")
    parser.add_argument("--without", choices=("", *PROTECTIONS), default="", help="switch one protection off")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(words)


def run(arguments: argparse.Namespace, nursery: Nursery) -> dict[str, Any]:
    """Arenas until there were enough faults, or no more time; all figures."""
    run = Run(arguments)
    while not run.is_over():
        run.arena(nursery)
    report = run.report()
    say("")
    print_report(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def main() -> int:
    """Run until there were enough faults; 1 where an account was wrong."""
    arguments = settings()
    nursery = Nursery()
    try:
        report = run(arguments, nursery)
    finally:
        nursery.close()
    return int(report["differences_count"] > 0)


if __name__ == "__main__":
    sys.exit(main())
