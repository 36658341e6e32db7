"""What an exported charge consists of: its columns, in order, and a version. Pure.

Integers are those of the ledger, in its units; nothing is rounded. Unknown is null, never 0. A column may be added at the end;
one that changes its meaning gets another name, and the version goes up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple

from headwater.ledger import schema
from headwater.records import Amounts, Charge, Mix, Observation, Usage

VERSION: Final = 1
Kind = Literal["text", "whole", "number", "time"]
"""`whole`: of 64 bits. `number`: a double. `time`: whole milliseconds since the epoch; told with its zone."""

Value = str | int | float | None


class Column(NamedTuple):
    """A column: what it is called, what it holds."""

    name: str
    kind: Kind


_AMOUNTS: Final = tuple(Amounts.__dataclass_fields__)
_TOKENS: Final = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
_SEEN: Final = ("elapsed_s", "busy_s", "ttft_s", "itl_s", "concurrency_count", "grid_g_per_kwh", "wet_bulb_c")
_METERED: Final = ("metered_boundary", "metered_scheme", "metered_verdict")
_MIX: Final = tuple(Mix.__dataclass_fields__)

COLUMNS: Final = (
    Column("v", "whole"),
    Column("request_id", "text"),
    Column("shard", "whole"),
    Column("entry_id", "text"),
    Column("user", "text"),
    Column("started_at", "time"),
    Column("ended_at", "time"),
    Column("outcome", "text"),
    Column("reason", "text"),
    Column("model", "text"),
    Column("site", "text"),
    Column("deployment_hash", "text"),
    Column("method", "text"),
    Column("tokens_source", "text"),
    *(Column(name, "whole") for name in _TOKENS),
    Column("images_count", "whole"),
    Column("tokens_doubt_ratio", "number"),
    *(Column(name, "whole") for name in _AMOUNTS),
    *(Column(name, "number") for name in _SEEN),
    Column("metered_j", "number"),
    *(Column(name, "text") for name in _METERED),
    *(Column(f"mix_{name}", "number") for name in _MIX),
    Column("once", "text"),
)
"""`entry_id`: where the charge stands in its shard's stream; the same one twice is one charge, delivered twice. `once`: what
all sightings of one and the same generation share. What is left is named as in `records.Charge`."""
NAMES: Final = tuple(column.name for column in COLUMNS)
TIMES: Final = tuple(at for at, column in enumerate(COLUMNS) if column.kind == "time")
REQUEST_AT, SHARD_AT, ENTRY_AT = (NAMES.index(name) for name in ("request_id", "shard", "entry_id"))
_tokens = attrgetter(*_TOKENS)
_amounts = attrgetter(*_AMOUNTS)
_seen = attrgetter(*_SEEN, "metered_j", *_METERED)
_mix = attrgetter(*_MIX)
_NO_AMOUNTS: Final = (None,) * len(_AMOUNTS)
_NO_MIX: Final = (None,) * len(_MIX)


class Record(NamedTuple):
    """A charge with its place in the ledger."""

    shard: int
    entry_id: str
    charge: Charge


def values(record: Record) -> list[Value]:
    """The values of a record, in the order of COLUMNS."""
    shard, entry_id, charge = record
    usage, seen, amounts, mix = charge.usage, charge.observation, charge.amounts, charge.observation.mix
    return [
        VERSION,
        charge.request_id,
        shard,
        entry_id,
        charge.user,
        charge.started_ms,
        charge.ended_ms,
        charge.outcome,
        charge.reason or None,
        charge.model or None,
        charge.site or None,
        charge.deployment_hash or None,
        charge.method,
        usage.source,
        *_tokens(usage),
        usage.images_count,
        usage.count_ratio,
        *(_NO_AMOUNTS if amounts is None else _amounts(amounts)),
        *_seen(seen),
        *(_NO_MIX if mix is None else _mix(mix)),
        charge.once or None,
    ]


def record_of(row: Mapping[str, Any]) -> Record:
    """The record that a row of an export holds, its times in milliseconds.

    Raises:
        KeyError: a column is missing.
        TypeError, ValueError: a value is none of its column's.
    """
    has_amounts = row["energy_microjoules"] is not None
    has_mix = row["mix_input_tokens"] is not None
    charge = Charge(
        request_id=row["request_id"],
        user=row["user"],
        started_ms=row["started_at"],
        ended_ms=row["ended_at"],
        outcome=row["outcome"],
        model=row["model"] or "",
        site=row["site"] or "",
        deployment_hash=row["deployment_hash"] or "",
        method=row["method"],
        usage=Usage(
            **{name: row[name] for name in _TOKENS},
            images_count=row["images_count"],
            count_ratio=row["tokens_doubt_ratio"],
            source=row["tokens_source"],
        ),
        observation=Observation(
            **{name: row[name] for name in (*_SEEN, "metered_j", *_METERED)},
            mix=Mix(**{name: row[f"mix_{name}"] for name in _MIX}) if has_mix else None,
        ),
        amounts=Amounts(**{name: row[name] for name in _AMOUNTS}) if has_amounts else None,
        reason=row["reason"] or "",
        once=row["once"] or "",
    )
    return Record(int(row["shard"]), str(row["entry_id"]), charge)


def time_text(time_ms: int) -> str:
    """A moment as `2026-11-23T12:00:01.500Z`."""
    day_number, in_day_ms = divmod(time_ms, schema.DAY_MS)
    in_day_s, ms = divmod(in_day_ms, 1_000)
    minutes, second = divmod(in_day_s, 60)
    hour, minute = divmod(minutes, 60)
    return f"{schema.period_of_day(day_number)[0]}T{hour:02d}:{minute:02d}:{second:02d}.{ms:03d}Z"


def time_ms(text: str) -> int:
    """The moment that `time_text` tells. Raises ValueError for anything else."""
    day, _, clock = text.partition("T")
    hour, minute, second = clock.removesuffix("Z").split(":")
    whole, _, ms = second.partition(".")
    seconds = (int(hour) * 60 + int(minute)) * 60 + int(whole)
    return schema.period_start_ms(day) + seconds * 1_000 + int(ms or 0)


def finite(row: Sequence[Value]) -> list[Value]:
    """A row for JSON, which knows no infinity: what is not finite is unknown."""
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in row]
