"""How the ledger lies in Redis: every key name, lifetime and the schema version stand here and nowhere else; what a row
holds, in rows.py.

All keys of a shard carry its tag `{sNN}`, so that one script can write all that a charge touches, in a cluster too.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import urlsafe_b64encode
from calendar import monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

SCHEMA_VERSION: Final = 2
PREFIX: Final = "hw2:"
META: Final = f"{PREFIX}meta"
"""Schema, shards, key fingerprint, when it was made."""
OLD_META: Final = "hw1:meta"
"""The same of layout 1, until migration.py has moved it."""
EXPORTS: Final = f"{PREFIX}exports"
"""Name of an export -> what it goes to, as JSON; how far it is, its consumer groups know."""
STREAM_FIELD: Final = "c"
ERASED: Final = "erased"
"""The account of what was erased: amounts without a person. One on each shard, as each shard has totals of its own."""
NO_DOCUMENT: Final = "-"
"""Stands for requests without a deployment."""
BUCKET_BITS: Final = 14
"""A month's index of users is spread over so many sets: small ones, which Redis packs densely."""
ALL_BUCKETS: Final = range(1 << BUCKET_BITS)
_RECEIPT_BITS: Final = 15
"""Of the time of a request id in ms, so many bits are left out: 33 s."""
_DAY_S: Final = 86_400
DAY_MS: Final = _DAY_S * 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is kept. Seconds since it was last written; of single charges, since they were applied.

    Receipts are found for `receipts_s`. Days, and single charges, are kept for `days_s`; months for `months_s`.
    """

    receipts_s: int = 48 * 3_600
    days_s: int = 400 * _DAY_S
    months_s: int = 6 * 366 * _DAY_S


def shard_of(user: str, shards_count: int) -> int:
    """The shard that keeps a user's account."""
    return binascii.crc_hqx(user.encode(), 0) % shards_count if shards_count > 1 else 0


@lru_cache(maxsize=64)
def period_of_day(day_number: int) -> tuple[str, str]:
    """Day `2026-11-23` and month `2026-11` of a number of days since the epoch, in UTC."""
    day = datetime.fromtimestamp(day_number * _DAY_S, UTC).strftime("%Y-%m-%d")
    return day, day[:7]


def periods(time_ms: int) -> tuple[str, str]:
    """The UTC calendar day and month of a moment in milliseconds since the epoch."""
    return period_of_day(time_ms // DAY_MS)


def period_start_ms(period: str) -> int:
    """The first millisecond of `2026-11` or `2026-11-23`. Raises ValueError when it is neither."""
    return int(datetime.strptime(f"{period}-01"[:10], "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1_000


def month_end_ms(month: str) -> int:
    """The first millisecond after `2026-11`. Raises ValueError when it is no month."""
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    return (int(first.timestamp()) + monthrange(first.year, first.month)[1] * _DAY_S) * 1_000


def months_between(first_ms: int, last_ms: int) -> Iterator[str]:
    """The UTC calendar months from that of one moment to that of another."""
    first, last = (datetime.fromtimestamp(ms // 1_000, UTC) for ms in (first_ms, last_ms))
    for number in range(12 * first.year + first.month - 1, 12 * last.year + last.month):
        yield f"{number // 12:04d}-{number % 12 + 1:02d}"


def days_of(month: str) -> list[str]:
    """The calendar days of a month."""
    first = period_start_ms(month) // DAY_MS
    days = (period_of_day(first + number) for number in range(31))
    return [day for day, of in days if of == month]


def is_month(period: str) -> bool:
    """Whether a period is a month, not a day."""
    return len(period) == 7


@lru_cache(maxsize=4096)
def part_of(model: str, site: str) -> str:
    """The short name of a model at a site, in keys: 48 bits of a digest."""
    return urlsafe_b64encode(hashlib.sha256(f"{model}|{site}".encode()).digest()[:6]).decode()


def part_name(model: str, site: str) -> str:
    """What a part's short name stands for."""
    return f"{model}|{site}"


def model_and_site(part_name: str) -> tuple[str, str]:
    """The model and the site that a part's name says."""
    model, _, site = part_name.rpartition("|")
    return model, site


# -- keys of the whole installation ------------------------------------------------------------------------------------


def basis_key(document_hash: str) -> str:
    """The document of a deployment, kept."""
    return f"{PREFIX}basis:{document_hash}"


def in_flight_key(deployment: str) -> str:
    """Worker -> what it has in flight on a deployment, and when it said so; gone soon after the last one."""
    return f"{PREFIX}load:{deployment}"


# What must change as one when a month is closed, on one node of a cluster.
HEADS: Final = f"{PREFIX}{{closed}}:heads"
"""Number of a closed month's statement -> what it says; written once each, never changed, never expires."""
ATTEMPT: Final = f"{PREFIX}{{closed}}:attempt"
"""The closing under way, or one that was killed: whose it is, and what it has written."""
CLOSER: Final = f"{PREFIX}{{closed}}:closer"
"""Who closes now; gone soon after its last sign of life."""


# -- keys of one shard -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _tag(shard: int) -> str:
    return f"{PREFIX}{{s{shard:02d}}}:"


def _key(shard: int, name: str) -> str:
    return _tag(shard) + name


@lru_cache(maxsize=1024)
def _compact(period: str, part: str = "") -> str:
    return f"{period.replace('-', '')}{part and ':'}{part}"


def journal_key(shard: int) -> str:
    """Journal id -> last applied sequence; never expires, so a replay a month later counts once."""
    return _key(shard, "j")


def mark_key(shard: int) -> str:
    """Written for nothing but the question whether it is on disk and with the replicas, and so all before it."""
    return _key(shard, "mark")


KEY_FIELD: Final = "!key"
"""Among the journals: the fingerprint of the only identity key with which charges are taken; from the first rotation on."""


def set_apart(key: str) -> str:
    """Where something waits during a rotation of the identity key."""
    return key.replace("}:", "}:new:", 1)


def months_key(shard: int) -> str:
    """The months that have something set apart."""
    return _key(shard, "months")


def stream_key(shard: int) -> str:
    """The shard's charges, packed, in the order in which they were applied."""
    return _key(shard, "led")


def labels_key(shard: int) -> str:
    """Pseudonym -> the operator's label."""
    return _key(shard, "labels")


def parts_key(shard: int) -> str:
    """Short name of a part -> its model and site."""
    return _key(shard, "parts")


def once_key(shard: int, once: str) -> str:
    """The stream id of the first sighting of a generation that more than one exchange can show.

    On the shard of whom it was charged to: in a cluster, users of different shards who show the same one are both charged.
    """
    return _key(shard, f"once:{once}")


def user_key(shard: int, user: str, period: str, part: str = "") -> str:
    """A row: a user's sums of a day, or of a part in a month."""
    return f"{_tag(shard)}u:{user}:{_compact(period, part)}"


def month_keys(shard: int, month: str, places: Iterable[tuple[str, str]]) -> list[str]:
    """The rows of some users and parts in a month: many keys at once."""
    begin, _, end = user_key(shard, "\n", month).partition("\n")
    return [f"{begin}{user}{end}:{part}" for user, part in places]


def total_key(shard: int, period: str, part: str = "") -> str:
    """A row: everybody's sums of a day, or of a part in a month, on this shard."""
    return f"{_tag(shard)}t:{_compact(period, part)}"


def bases_key(shard: int, month: str) -> str:
    """Hash of a deployment's document -> requests that were charged by it in a month, on this shard."""
    return _key(shard, f"b:{_compact(month)}")


def receipts_bucket(receipt_id: bytes) -> int:
    """The half minute of a request. The first six bytes of a ULID are its time; any other text stands by its first letters."""
    return int.from_bytes(receipt_id[:6], "big") >> _RECEIPT_BITS


def receipts_key(shard: int, bucket: int) -> str:
    """What receipts are found by -> stream id of the charge, for the requests of half a minute."""
    return _key(shard, f"q:{bucket:x}")


def frozen_key(shard: int, number: int, token: str, chunk: int) -> str:
    """Rows of a closed month's statement, packed; the token is of the closing that wrote them."""
    return _key(shard, f"f:{number}:{token}:{chunk}")


def links_key(shard: int, number: int, token: str, chunk: int) -> str:
    """Whose rows stand in a packed chunk: kept beside it, so that it can be forgotten."""
    return _key(shard, f"l:{number}:{token}:{chunk}")


def bucket_of(user: str) -> int:
    """Where a user stands in the index of a month."""
    return binascii.crc_hqx(user.encode(), 0) >> (16 - BUCKET_BITS)


def index_key(shard: int, month: str, bucket: int) -> str:
    """The users and parts of a month that have a row, of one bucket."""
    return f"{_tag(shard)}i:{_compact(month)}:{bucket:x}"


def buckets_key(shard: int, month: str) -> str:
    """A bit per bucket of the month's index: which of them are there."""
    return _key(shard, f"i:{_compact(month)}")


def index_member(user: str, part: str) -> str:
    """A row of a user's, in the index."""
    return f"{user}|{part}"


def user_and_part(member: str) -> tuple[str, str]:
    """The user and the part of an index member."""
    user, _, part = member.rpartition("|")
    return user, part


def buckets_in(bitmap: bytes | None) -> Iterator[int]:
    """The buckets that a bitmap names."""
    for place, byte in enumerate(bitmap or b""):
        for bit in range(8):
            if byte & (0x80 >> bit):
                yield place * 8 + bit
