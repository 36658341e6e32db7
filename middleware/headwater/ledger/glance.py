"""What the store is told of a charge, read from its packed form without making the charge: a tenth of the work.

Exactly what `unpack` and `rows.sums_of` say; of records of older formats, by way of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from struct import Struct, error
from typing import Any, Final, NamedTuple

from headwater.errors import LedgerError
from headwater.ledger import packing, rows
from headwater.ledger.ids import ulid_bytes, ulid_text
from headwater.ledger.rows import FIELDS, Sums
from headwater.records import Charge

_HEAD_BYTES: Final = 8
"""Version, presence bits, outcome, method, source."""
_COMPLETED: Final = 0
_UPSTREAM: Final = 0
_ENDED: Final = 6  # behind version, presence, outcome, method, source and the start
_ID_BYTES: Final = 16


class Glance(NamedTuple):
    """One charge, as far as accounts go."""

    receipt_id: bytes
    """What its receipt is found by: a ULID as 16 bytes, any other request id as text."""
    user: str
    ended_ms: int
    model: str
    site: str
    deployment_hash: str
    once: str
    sums: Sums
    packed: bytes


def receipt_id(request_id: str) -> bytes:
    """What the receipt of a request is found by."""
    return ulid_bytes(request_id) or request_id.encode()


def request_id(receipt_id: bytes) -> str:
    """The request whose receipt is found by some bytes. A text of just 16 bytes, which is none of ours, is told as a ULID."""
    return ulid_text(receipt_id) if len(receipt_id) == _ID_BYTES else receipt_id.decode()


class _Plan(NamedTuple):
    """Where the numbers of a record with certain presence bits stand."""

    layout: Struct
    sums: Callable[[Sequence[Any]], Sums]
    texts_count: int
    id_at: int | None
    user_at: int | None
    is_anonymous: bool
    once_at: int | None


def glance(packed: bytes) -> Glance:
    """The charge in some packed bytes.

    Raises:
        LedgerError: the bytes are of another format version, or of none.
    """
    head = packed[:_HEAD_BYTES]
    if not head or head[0] != packing.VERSION:
        return _slowly(packed)
    try:
        plan = _plan(head)
        values = (*plan.layout.unpack_from(packed), 0, 1)
        texts = _texts(packed[plan.layout.size :], plan.texts_count)
    except (error, IndexError, ValueError) as problem:
        raise LedgerError(f"a stored charge of {len(packed)} bytes is malformed: {problem}") from problem
    user = packing.ANONYMOUS if plan.is_anonymous else texts[-1]
    if plan.user_at is not None:
        user = values[plan.user_at].hex()
    return Glance(
        texts[4].encode() if plan.id_at is None else values[plan.id_at],
        user,
        values[_ENDED],
        texts[0],
        texts[1],
        texts[2],
        "" if plan.once_at is None else values[plan.once_at].hex(),
        plan.sums(values),
        packed,
    )


def _slowly(packed: bytes) -> Glance:
    return seen(packing.unpack(packed), packed)


def seen(charge: Charge, packed: bytes = b"") -> Glance:
    """A charge that was read elsewhere, as far as accounts go."""
    return Glance(
        receipt_id(charge.request_id),
        charge.user,
        charge.ended_ms,
        charge.model,
        charge.site,
        charge.deployment_hash,
        charge.once,
        rows.sums_of(charge),
        packed,
    )


@lru_cache(maxsize=4096)
def _plan(head: bytes) -> _Plan:
    outcome, source = head[5], head[7]
    presence = int.from_bytes(head[1:5], "little")
    layout = packing.layout(presence)
    names = packing.names(presence)
    places = {name: place for place, name in enumerate(names)}
    zero, one = len(names), len(names) + 1
    at = {name: places.get(name, zero) for name in FIELDS}
    at["requests_count"] = one
    at["not_upstream_count"] = zero if source == _UPSTREAM else one
    at["unknown_count"] = zero if FIELDS[rows.AMOUNTS][0] in places else one
    at["incomplete_count"] = zero if outcome == _COMPLETED else one
    id_at, user_at = places.get("request_id"), places.get("user")
    is_anonymous = packing.is_anonymous(presence)
    return _Plan(
        layout=layout,
        sums=itemgetter(*(at[name] for name in FIELDS)),
        texts_count=4 + (id_at is None) + (user_at is None and not is_anonymous),
        id_at=id_at,
        user_at=user_at,
        is_anonymous=is_anonymous,
        once_at=places.get("once"),
    )


# A deployment's names come again with every charge; an id or a user that is no number comes once, and is rare.
@lru_cache(maxsize=1024)
def _texts(data: bytes, count: int) -> list[str]:
    return packing.texts(data, 0, count)
