"""The rows of a closed month, packed into chunks of some hundred kilobytes, and whose they are. Pure; knows no key.

A chunk's canonical bytes: a line of JSON that says what is in it, a commitment per user, and rows of a fixed width. The
hash of a statement covers them, and no pseudonym: a commitment is `SHA-256(salt + pseudonym)`. Salt and pseudonym stand in
the links beside the chunk, in a place of fixed width per user. Once that is overwritten, nobody can tell whose the rows
were, not even somebody who knows the pseudonym; the hash still holds.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from headwater.errors import LedgerError
from headwater.ledger.rows import FIELDS, Sums, of_now

VERSION: Final = 1
MOST_ROWS: Final = 1_000
"""A chunk is full from so many rows on; the rows of one user are never divided."""
COMMITMENT_BYTES: Final = 32
_SALT_BYTES: Final = 16
_HEX_BYTES: Final = 16
_HEX: Final = 255
"""Marks a pseudonym of 32 hex digits, kept as bytes; other users are kept as text, behind its length."""
_PLACE: Final = "IHH"
"""Where a row belongs: the user's place in the chunk, the month and the part in the lists of its head."""
_NARROW: Final = 8
_WIDE: Final = 10
_LOW_BITS: Final = 64
_FASTEST: Final = 1

Part = tuple[str, str]
"""A model and a site."""


class Kept(NamedTuple):
    """One row of a user's: sums of a part in a month. A row of an earlier month is a correction of that month's account."""

    month: str
    part: Part
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Packed rows as they are kept: `packed` compressed, `links` beside it."""

    canonical: bytes
    links: bytes

    @property
    def packed(self) -> bytes:
        """What is stored. The hash is of the canonical bytes: how they are compressed is no part of a statement."""
        return zlib.compress(self.canonical, _FASTEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A chunk, read. `users`: in the order of their statement numbers from `first` on, None where the link is erased."""

    month: str
    shard: int
    first: int
    users: tuple[str | None, ...]
    rows: tuple[tuple[int, Kept], ...]
    """The place of the user, and the row."""


def chunk(users: Sequence[tuple[str, Sequence[Kept]]], *, month: str, shard: int, first: int, secret: bytes) -> Chunk:
    """Pack users' rows, in the order of their commitments: a place among neighbours must not tell whose it was.

    The salts come from a secret that is forgotten when the month is closed: until then a closing that
    was killed is repeated to the byte, from then on a salt is a random number that stands in the links alone."""
    salts = [hashlib.blake2b(user.encode(), key=secret, digest_size=_SALT_BYTES).digest() for user, _ in users]
    sealed = sorted((commitment(salt, user), salt, user, rows) for salt, (user, rows) in zip(salts, users, strict=True))
    months = sorted({row.month for _, rows in users for row in rows} | {month})
    parts = sorted({row.part for _, rows in users for row in rows})
    of_month = {each: place for place, each in enumerate(months)}
    of_part = {each: place for place, each in enumerate(parts)}
    placed = [
        (place, of_month[row.month], of_part[row.part], row.sums)
        for place, (*_, rows) in enumerate(sealed)
        for row in rows
    ]
    is_narrow = all(min(sums) >= -(2**63) and max(sums) < 2**63 for *_, sums in placed)
    head = {
        "v": VERSION,
        "month": month,
        "shard": shard,
        "first": first,
        "users": len(users),
        "rows": len(placed),
        "months": months,
        "parts": parts,
        "fields": FIELDS,
        "bytes": _NARROW if is_narrow else _WIDE,
    }
    if is_narrow:
        pack = _layout(len(FIELDS), _NARROW).pack
        packed = [pack(place, at, part, *sums) for place, at, part, sums in placed]
    else:
        pack = _layout(len(FIELDS), _WIDE).pack
        packed = [pack(place, at, part, *_halves(sums)) for place, at, part, sums in placed]
    return Chunk(
        canonical=b"".join([canonical_json(head), b"\n", *(each[0] for each in sealed), *packed]),
        links=_links((salt, user) for _, salt, user, _ in sealed),
    )


def canonical_json(value: object) -> bytes:
    """JSON in the one form that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def commitment(salt: bytes, user: str) -> bytes:
    """What stands for a user in what is hashed."""
    return hashlib.sha256(salt + user.encode()).digest()


def unpacked(packed: bytes) -> bytes:
    """The canonical bytes of a stored chunk. Raises LedgerError when it is none."""
    try:
        return zlib.decompress(packed)
    except zlib.error as error:
        raise _broken(error) from error


def content(canonical: bytes, links: bytes) -> Content:
    """What a chunk says. Raises LedgerError when it is none of this format, or when the links are not its own."""
    line, _, rest = canonical.partition(b"\n")
    try:
        head = json.loads(line)
        if head["v"] != VERSION:
            raise LedgerError(f"a closed month has format {head['v']}, this version reads {VERSION}; upgrade headwater")
        users_count, months = head["users"], head["months"]
        parts = [(model, site) for model, site in head["parts"]]
        rows_at = COMMITMENT_BYTES * users_count
        fields_count = len(head["fields"])
        layout = _layout(fields_count, head["bytes"])
        if len(rest) != rows_at + layout.size * head["rows"]:
            raise ValueError(f"{head['rows']} rows announced, {len(rest)} bytes there")
        found = layout.iter_unpack(memoryview(rest)[rows_at:])
        is_same = fields_count == len(FIELDS)
        rows = tuple(
            (place, Kept(months[at], parts[part], tuple(sums) if is_same else of_now(sums)))
            for place, at, part, *sums in (found if head["bytes"] == _NARROW else map(_whole, found))
        )
        users = tuple(_user(link) for link in _slots(links, users_count))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _broken(error) from error
    return Content(month=head["month"], shard=head["shard"], first=head["first"], users=users, rows=rows)


def renamed_links(links: bytes, rename: Callable[[str], str]) -> bytes:
    """The same links to accounts under other names. What the hash committed to was the old name: a link that was renamed has no
    salt, as it proves nothing any more."""
    width = links[0]
    renamed = [links[:1]]
    for link in _slots(links, users_count(links)):
        user = _user(link)
        name = None if user is None else rename(user)
        if name in (None, user):
            renamed.append(link)
        else:
            kind, data = _text(name)
            renamed.append(bytes(_SALT_BYTES) + bytes([kind]) + data.ljust(width, b"\0"))
    return b"".join(renamed)


def false_links(canonical: bytes, links: bytes) -> list[int]:
    """The places of users whose link is not what was committed to; an erased or a renamed one proves nothing, and is not
    false."""
    rest = canonical.partition(b"\n")[2]
    count = json.loads(canonical.partition(b"\n")[0])["users"]
    return [
        place
        for place, link in enumerate(_slots(links, count))
        if (user := _user(link)) is not None
        and link[:_SALT_BYTES] != bytes(_SALT_BYTES)
        and commitment(link[:_SALT_BYTES], user) != rest[place * COMMITMENT_BYTES : (place + 1) * COMMITMENT_BYTES]
    ]


def place_of(links: bytes, users_count: int, user: str) -> int | None:
    """A user's place in a chunk, by its links."""
    for place, link in enumerate(_slots(links, users_count)):
        if _user(link) == user:
            return place
    return None


def erasure(links: bytes, place: int) -> tuple[int, bytes]:
    """What to write over the links, from which byte on, so that the user at a place is forgotten."""
    width = _slot_bytes(links)
    return 1 + place * width, bytes(width)


def users_count(links: bytes) -> int:
    """How many users the links are of."""
    return (len(links) - 1) // _slot_bytes(links)


def _links(found: Iterable[tuple[bytes, str]]) -> bytes:
    texts = [(salt, *_text(user)) for salt, user in found]
    width = max((len(data) for *_, data in texts), default=_HEX_BYTES)
    return bytes([width]) + b"".join(salt + bytes([kind]) + data.ljust(width, b"\0") for salt, kind, data in texts)


def _text(user: str) -> tuple[int, bytes]:
    data = user.encode()
    if len(data) == 2 * _HEX_BYTES:
        try:
            as_hex = bytes.fromhex(user)
        except ValueError:
            return len(data), data
        if as_hex.hex() == user:
            return _HEX, as_hex
    if not 0 < len(data) < _HEX:
        raise LedgerError(f"the user {user[:40]!r} of {len(data)} bytes cannot stand in a statement: 1 to 254 can")
    return len(data), data


def _slot_bytes(links: bytes) -> int:
    return _SALT_BYTES + 1 + links[0]


def _slots(links: bytes, count: int) -> Iterator[bytes]:
    width = _slot_bytes(links)
    if len(links) != 1 + count * width:
        raise ValueError(f"links of {count} users have {len(links)} bytes")
    for at in range(1, len(links), width):
        yield links[at : at + width]


def _user(link: bytes) -> str | None:
    kind = link[_SALT_BYTES]
    if kind == 0:
        return None
    data = link[_SALT_BYTES + 1 :]
    return data[:_HEX_BYTES].hex() if kind == _HEX else data[:kind].decode()


def _layout(fields_count: int, number_bytes: int) -> Struct:
    return Struct(">" + _PLACE + ("q" if number_bytes == _NARROW else "hQ") * fields_count)


def _halves(sums: Sums) -> list[int]:
    return [half for number in sums for half in (number >> _LOW_BITS, number & (2**_LOW_BITS - 1))]


def _whole(row: tuple[int, ...]) -> tuple[int, ...]:
    place, at, part, *halves = row
    sums = ((high << _LOW_BITS) + low for high, low in zip(halves[::2], halves[1::2], strict=True))
    return place, at, part, *sums


def _broken(error: Exception) -> LedgerError:
    return LedgerError(f"a chunk of a closed month cannot be read: {error}; the store was changed by another hand")
