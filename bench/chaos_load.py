"""The known load: which charge a worker's exchange with a number is, and the sheet on which the worker notes what it did.

A sheet is a file mapped into memory. What a worker wrote on it outlives its SIGKILL, costs no system call, and is not
held back by a limit on the size of files, which is how a full disk is made.
"""

from __future__ import annotations

import math
import mmap
from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from struct import Struct
from typing import Final

from headwater import ulid
from headwater.records import NO_USAGE, NOTHING_OBSERVED, Amounts, Charge, Observation, Usage

KEY: Final = "0123456789abcdef"
FIRST_MS: Final = 1_795_910_400_000  # 2026-11-29 00:00 UTC
DAYS: Final = ("2026-11-29", "2026-11-30", "2026-12-01", "2026-12-02")
MONTHS: Final = ("2026-11", "2026-12")
_DAY_MS: Final = 86_400_000
_USERS: Final = tuple(f"{number:02x}" * 16 for number in range(0xA0, 0xA7))
_MODELS: Final = ("llama-3.1-70b", "gpt-oss-120b", "other")
_SITES: Final = ("azure-westus3", "other")
_LARGEST: Final = 1 << 42
"""Of one amount: ten thousand charges pass 2^53, from where on doubles are not exact."""
_NAMES: Final = tuple(Amounts.__dataclass_fields__)
_64_BITS: Final = (1 << 64) - 1
_NUMBER_BITS: Final = 32


def _mixed(value: int) -> int:
    """64 bits that look random: splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _64_BITS
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return value ^ (value >> 31)


def request_id(worker: int, number: int) -> str:
    """The id of a worker's exchange; both numbers can be read from it."""
    return ulid.new(FIRST_MS, lambda count: (worker << _NUMBER_BITS | number).to_bytes(count, "big"))


def origin(charge: Charge) -> tuple[int, int]:
    """The worker and the number of a charge."""
    value = 0
    for character in charge.request_id[10:]:
        value = value << 5 | "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(character)
    return value >> _NUMBER_BITS, value & ((1 << _NUMBER_BITS) - 1)


def _times_ms(worker: int, number: int) -> tuple[int, int]:
    started_ms = FIRST_MS + _mixed(worker << _NUMBER_BITS | number) % (len(DAYS) * _DAY_MS - 2_000)
    return started_ms, started_ms + 1_500


def opened(worker: int, number: int) -> Charge:
    """What is charged for an exchange whose worker died before its end."""
    started_ms, _ = _times_ms(worker, number)
    pick = _mixed(number << 1 ^ worker)
    return Charge(
        request_id=request_id(worker, number),
        user=_USERS[pick % len(_USERS)],
        started_ms=started_ms,
        ended_ms=started_ms,
        outcome="partial",
        model=_MODELS[(pick >> 8) % len(_MODELS)],
        site=_SITES[(pick >> 16) % len(_SITES)],
        deployment_hash="5f0c" if pick >> 24 & 1 else "",
        method=None,
        usage=NO_USAGE,
        observation=NOTHING_OBSERVED,
        amounts=None,
        reason="in-flight",
    )


@lru_cache(maxsize=1 << 18)
def completed(worker: int, number: int) -> Charge:
    """What is charged for an exchange that came to its end."""
    first = opened(worker, number)
    base = _mixed(worker << 40 ^ number)
    values = {name: _mixed(base + place) % _LARGEST for place, name in enumerate(_NAMES)}
    has_amounts = base % 16 > 0
    return Charge(
        request_id=first.request_id,
        user=first.user,
        started_ms=first.started_ms,
        ended_ms=_times_ms(worker, number)[1],
        outcome="client_gone" if base % 32 == 1 else "completed",
        model=first.model,
        site=first.site,
        deployment_hash=first.deployment_hash,
        method="observed" if has_amounts else None,
        usage=Usage(
            input_tokens=base % 4096,
            output_tokens=(base >> 12) % 2048,
            cached_tokens=None if base % 3 else (base >> 24) % 64,
            source="upstream" if base % 5 else "counted",
        ),
        observation=Observation(elapsed_s=1.5, ttft_s=0.25),
        amounts=Amounts(**values) if has_amounts else None,
        reason="" if has_amounts else "unknown-model",
    )


# -- the sheet ---------------------------------------------------------------------------------------------------------

BEGUN, OPENED, ACKNOWLEDGED, RAISED = 1, 2, 4, 8
"""Of an exchange: it was begun; `provisional` has returned; `charge` has returned; `charge` has raised."""

NUMBERS: Final = 1 << 18
_FIELDS: Final = (
    "pause",  # asked of the worker: odd to be quiet, even to work
    "paused",  # the worker's answer: the same number
    "clock_offset_s",
    "most_file_bytes",  # RLIMIT_FSIZE; below 0: no limit
    "phase",  # which histograms count
    "exchanges",
    "failed_replies",
    "flushed",
    "journalled",
    "shipped",
    "failures",
    "gaps",
    "adopted",
    "lost",
)
_FIELD: Final = Struct("<d")
_HISTOGRAMS_AT: Final = 1024
PHASES: Final = ("calm", "faults")
TIMED: Final = ("bare", "reply", "reply, loop CPU", "ledger")
_PER_DECADE: Final = 64
_BUCKETS: Final = 7 * _PER_DECADE
_COUNT: Final = Struct("<I")
_STATES_AT: Final = 16_384
assert len(PHASES) * len(TIMED) * _BUCKETS * _COUNT.size + _HISTOGRAMS_AT <= _STATES_AT


class Sheet:
    """One worker's sheet: orders to it, its counters, its latencies, and a byte for each of its exchanges."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.worker = worker
        path = folder / f"sheet-{worker}"
        is_new = not path.exists()
        with path.open("w+b" if is_new else "r+b") as file:
            if is_new:
                file.truncate(_STATES_AT + NUMBERS)
            self._map = mmap.mmap(file.fileno(), _STATES_AT + NUMBERS)
        if is_new:
            self["most_file_bytes"] = -1

    def __getitem__(self, name: str) -> float:
        value: float = _FIELD.unpack_from(self._map, _FIELDS.index(name) * _FIELD.size)[0]
        return value

    def __setitem__(self, name: str, value: float) -> None:
        _FIELD.pack_into(self._map, _FIELDS.index(name) * _FIELD.size, value)

    def mark(self, number: int, bit: int) -> None:
        """Note something of an exchange."""
        self._map[_STATES_AT + number] |= bit

    def states(self) -> Iterator[tuple[int, int]]:
        """Number and bits of every exchange that was begun, in order."""
        data = self._map[_STATES_AT:]
        return ((number, bits) for number, bits in enumerate(data[: len(data.rstrip(b"\0"))]) if bits)

    def time(self, what: str, seconds: float) -> None:
        """Count a duration in the histogram of the present phase."""
        bucket = min(max(int(math.log10(max(seconds, 1e-6) * 1e6) * _PER_DECADE), 0), _BUCKETS - 1)
        at = self._histogram_at(int(self["phase"]), what) + bucket * _COUNT.size
        _COUNT.pack_into(self._map, at, _COUNT.unpack_from(self._map, at)[0] + 1)

    @staticmethod
    def _histogram_at(phase: int, what: str) -> int:
        return _HISTOGRAMS_AT + (phase * len(TIMED) + TIMED.index(what)) * _BUCKETS * _COUNT.size

    def histogram(self, phase: str, what: str) -> array[int]:
        """How many durations fell into each bucket."""
        at = self._histogram_at(PHASES.index(phase), what)
        return array("I", self._map[at : at + _BUCKETS * _COUNT.size])

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


def quantile_us(histogram: array[int], share: float) -> float:
    """The duration in microseconds that a share of all stayed below, to 1/64 of a decade (4 %); 0 where there are none."""
    wanted = share * sum(histogram)
    seen = 0
    for bucket, count in enumerate(histogram):
        seen += count
        if count and seen >= wanted:
            return float(10 ** ((bucket + 0.5) / _PER_DECADE))
    return 0.0
