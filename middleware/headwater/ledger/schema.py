"""How accounts lie in Redis: every key name, field code, lifetime and the schema version stand here and nowhere else.

Amounts are integers on period keys, added by HINCRBY. An int64 holds 2.56 GWh in microjoules; a sum that would overflow
goes on in a field of the same code with `+` behind it, so a field's value is the sum over its code and the code's `+`es.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from headwater.records import AccountRow, Charge

SCHEMA_VERSION: Final = 1
META: Final = "hw1:meta"

DAY_TTL_S: Final = 400 * 86_400
MONTH_TTL_S: Final = 6 * 366 * 86_400
RECEIPT_TTL_S: Final = 48 * 3_600
ONCE_TTL_S: Final = DAY_TTL_S
LEDGER_RETENTION_MS: Final = DAY_TTL_S * 1_000
STREAM_FIELD: Final = "c"

# Short codes: a row takes 244 bytes with them, 388 with the names spelled out.
FIELDS: Final = {
    "n": "requests_count",
    "i": "input_tokens",
    "c": "cached_tokens",
    "o": "output_tokens",
    "r": "reasoning_tokens",
    "t": "it_microjoules",
    "e": "energy_microjoules",
    "el": "energy_low_microjoules",
    "eh": "energy_high_microjoules",
    "wn": "onsite_nanolitres",
    "wf": "offsite_nanolitres",
    "wl": "water_low_nanolitres",
    "wh": "water_high_nanolitres",
    "g": "carbon_micrograms",
    "gl": "carbon_low_micrograms",
    "gh": "carbon_high_micrograms",
    "x": "not_upstream_count",
    "u": "unknown_count",
    "p": "incomplete_count",
}
NO_DOCUMENT: Final = "-"
"""Stands for requests without a deployment."""
OVERFLOW: Final = "+"
SEPARATOR: Final = "|"
PERIOD_TOTAL_FIELDS: Final = ("n", "e", "wn", "wf")


def shard_of(user: str, shards_count: int) -> int:
    """The shard that keeps a user's account."""
    return binascii.crc_hqx(user.encode(), 0) % shards_count if shards_count > 1 else 0


@lru_cache(maxsize=64)
def period_of_day(day_number: int) -> tuple[str, str]:
    """Day `2026-11-23` and month `2026-11` of a number of days since the epoch, in UTC."""
    day = datetime.fromtimestamp(day_number * 86_400, UTC).strftime("%Y-%m-%d")
    return day, day[:7]


def periods(time_ms: int) -> tuple[str, str]:
    """The UTC calendar day and month of a moment in milliseconds since the epoch."""
    return period_of_day(time_ms // 86_400_000)


def period_start_ms(period: str) -> int:
    """The first millisecond of `2026-11` or `2026-11-23`. Raises ValueError when it is neither."""
    return int(datetime.strptime(f"{period}-01"[:10], "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1_000


def _letter(period: str) -> str:
    return "m" if len(period) == 7 else "d"


def basis_key(document_hash: str) -> str:
    """The document of a deployment, kept."""
    return f"hw1:basis:{document_hash}"


def in_flight_key(deployment: str) -> str:
    """Worker -> what it has in flight on a deployment, and when it said so; gone soon after the last one."""
    return f"hw1:load:{deployment}"


def journal_key(shard: int) -> str:
    """Journal id -> last applied sequence; never expires, so a replay a month later counts once."""
    return f"hw1:{{s{shard:02d}}}:j"


def mark_key(shard: int) -> str:
    """Written for nothing but the question whether it is on disk and with the replicas, and so all before it."""
    return f"hw1:{{s{shard:02d}}}:mark"


def stream_key(shard: int) -> str:
    """The shard's charges in the order in which they were applied."""
    return f"hw1:{{s{shard:02d}}}:led"


def users_key(shard: int) -> str:
    """Users by the time they were last seen."""
    return f"hw1:{{s{shard:02d}}}:users"


def labels_key(shard: int) -> str:
    """Pseudonym -> the operator's label."""
    return f"hw1:{{s{shard:02d}}}:labels"


def receipt_key(shard: int, request_id: str) -> str:
    """The packed charge of one request."""
    return f"hw1:{{s{shard:02d}}}:q:{request_id}"


def once_key(shard: int, once: str) -> str:
    """The packed charge of the first sighting of a generation that more than one exchange can show.

    On the shard of whom it was charged to: in a cluster, users of different shards who show the same one are both charged.
    """
    return f"hw1:{{s{shard:02d}}}:once:{once}"


def user_key(shard: int, user: str, period: str) -> str:
    """A user's sums of a day or a month."""
    return f"hw1:{{s{shard:02d}}}:u:{user}:{_letter(period)}:{period.replace('-', '')}"


def breakdown_key(shard: int, user: str, month: str) -> str:
    """A user's sums of a month by model and site."""
    return f"hw1:{{s{shard:02d}}}:u:{user}:b:{month.replace('-', '')}"


def total_key(shard: int, period: str) -> str:
    """Everybody's sums of a day or a month, on this shard."""
    return f"hw1:{{s{shard:02d}}}:t:{_letter(period)}:{period.replace('-', '')}"


def bases_key(shard: int, month: str) -> str:
    """Hash of a deployment's document -> requests that were charged by it in a month, on this shard."""
    return f"hw1:{{s{shard:02d}}}:b:{month.replace('-', '')}"


def increments(charge: Charge) -> list[tuple[str, int]]:
    """What a charge adds to a row, by field code; zeros and unknowns are left out."""
    usage, amounts = charge.usage, charge.amounts
    row: list[tuple[str, int | None]] = [
        ("n", 1),
        ("i", usage.input_tokens),
        ("c", usage.cached_tokens),
        ("o", usage.output_tokens),
        ("r", usage.reasoning_tokens),
        ("x", usage.source != "upstream"),
        ("u", amounts is None),
        ("p", charge.outcome != "completed"),
    ]
    if amounts is not None:
        row += [
            ("t", amounts.it_microjoules),
            ("e", amounts.energy_microjoules),
            ("el", amounts.energy_low_microjoules),
            ("eh", amounts.energy_high_microjoules),
            ("wn", amounts.onsite_nanolitres),
            ("wf", amounts.offsite_nanolitres),
            ("wl", amounts.water_low_nanolitres),
            ("wh", amounts.water_high_nanolitres),
            ("g", amounts.carbon_micrograms),
            ("gl", amounts.carbon_low_micrograms),
            ("gh", amounts.carbon_high_micrograms),
        ]
    return [(code, int(amount)) for code, amount in row if amount]


def account_row(fields: Iterable[tuple[str, int]], *, user: str, period: str, label: str | None = None) -> AccountRow:
    """A row from field codes and amounts; a code that appears more than once is summed."""
    sums: dict[str, int] = {}
    for code, amount in fields:
        name = FIELDS[code.rstrip(OVERFLOW)]
        sums[name] = sums.get(name, 0) + amount
    return AccountRow(user=user, label=label, period=period, **sums)


def breakdown_rows(fields: Mapping[str, int], *, user: str, month: str) -> dict[tuple[str, str], AccountRow]:
    """Rows by (model, site) from the fields `model|site|code` of a breakdown key."""
    parts: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for field, amount in fields.items():
        model, site, code = field.rsplit(SEPARATOR, 2)
        parts.setdefault((model, site), []).append((code, amount))
    return {part: account_row(row, user=user, period=month) for part, row in sorted(parts.items())}
