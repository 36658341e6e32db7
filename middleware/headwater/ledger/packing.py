"""Charges to bytes and back, exactly. Knows no file and no store; the first byte names the format.

Layout: version, presence bits, codes, times, then only the numbers that are known (int64 and IEEE doubles), the request
id and the pseudonym as 16 bytes each, and short strings with one length byte each.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from struct import Struct
from typing import Final, get_args

from headwater.errors import LedgerError
from headwater.records import (
    Amounts,
    Boundary,
    Charge,
    CountSource,
    Method,
    Mix,
    Observation,
    Outcome,
    Scheme,
    Usage,
    Verdict,
)

VERSION: Final = 4
# Version 1 knew no pictures, no pace and no mix, version 2 no hour, version 3 neither what was written into a cache nor
# what an upstream metered: their records read as ones without. The first two had 16 presence bits, since then there are 32.
_READABLE: Final = (1, 2, 3, VERSION)
_SHORT_PRESENCE: Final = (1, 2)
ANONYMOUS: Final = "anonymous"

# The order of these tuples is the stored format: append, never reorder.
_OUTCOMES: Final[tuple[Outcome, ...]] = ("completed", "client_gone", "upstream_error", "refused", "partial")
_METHODS: Final[tuple[Method | None, ...]] = (None, "metered", "observed", "loaded", "paced", "assumed", "flat")
_SOURCES: Final[tuple[CountSource, ...]] = ("upstream", "counted", "estimated", "unknown")
_BOUNDARIES: Final[tuple[Boundary, ...]] = ("accelerators", "server")
_SCHEMES: Final[tuple[Scheme, ...]] = ("neuralwatt", "energy-disclosure", "greenpt", "tgi", "x-energy-joules")
_VERDICTS: Final[tuple[Verdict, ...]] = ("taken", "contradicted", "slip", "implausible", "unchecked", "estimated")
_COUNTS: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
_SEEN: Final = ("elapsed_s", "busy_s", "ttft_s", "concurrency_count")
_MIX: Final = ("input_tokens", "cached_tokens", "output_tokens", "context_tokens", "images_count")
_AMOUNTS: Final = (
    "it_microjoules",
    "energy_microjoules",
    "energy_low_microjoules",
    "energy_high_microjoules",
    "onsite_nanolitres",
    "offsite_nanolitres",
    "water_low_nanolitres",
    "water_high_nanolitres",
    "carbon_micrograms",
    "carbon_low_micrograms",
    "carbon_high_micrograms",
)
assert set(_OUTCOMES) == set(get_args(Outcome)), "every outcome needs a code"  # noqa: S101
assert set(_METHODS) == {None, *get_args(Method)}, "every method needs a code"  # noqa: S101
assert set(_SOURCES) == set(get_args(CountSource)), "every source needs a code"  # noqa: S101
assert set(_BOUNDARIES) == set(get_args(Boundary)), "every boundary needs a code"  # noqa: S101
assert set(_SCHEMES) == set(get_args(Scheme)), "every scheme needs a code"  # noqa: S101
assert set(_VERDICTS) == set(get_args(Verdict)), "every verdict needs a code"  # noqa: S101

_OUTCOME_CODE: Final = {word: code for code, word in enumerate(_OUTCOMES)}
_METHOD_CODE: Final = {word: code for code, word in enumerate(_METHODS)}
_SOURCE_CODE: Final = {word: code for code, word in enumerate(_SOURCES)}
_optional = attrgetter(*(f"usage.{name}" for name in _COUNTS), *(f"observation.{name}" for name in _SEEN))
_amounts = attrgetter(*_AMOUNTS)
_mix = attrgetter(*_MIX)

_OPTIONAL_BITS: Final = tuple(1 << bit for bit in range(8))
_ALL_UNKNOWN: Final = (None,) * len(_OPTIONAL_BITS)
_HAS_AMOUNTS: Final = 1 << 8
_ULID_ID: Final = 1 << 9
_HEX_USER: Final = 1 << 10
_ANONYMOUS_USER: Final = 1 << 11
_HAS_IMAGES: Final = 1 << 12
_HAS_PACE: Final = 1 << 13
_HAS_MIX: Final = 1 << 14
_HAS_GRID: Final = 1 << 15
_HAS_WET_BULB: Final = 1 << 16
_HAS_CACHE_WRITE: Final = 1 << 17
_HAS_COUNT_RATIO: Final = 1 << 18
_HAS_METERED: Final = 1 << 19
_HAS_ONCE: Final = 1 << 20
_HAS_SCHEME: Final = 1 << 21

_GROUPS: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (_HAS_IMAGES, ("images_count",)),
    (_HAS_PACE, ("itl_s",)),
    (_HAS_MIX, tuple(f"mix.{name}" for name in _MIX)),
    (_HAS_GRID, ("grid_g_per_kwh",)),
    (_HAS_WET_BULB, ("wet_bulb_c",)),
    (_HAS_CACHE_WRITE, ("cache_write_tokens",)),
    (_HAS_COUNT_RATIO, ("count_ratio",)),
    (_HAS_METERED, ("metered_j", "metered_boundary")),
    (_HAS_SCHEME, ("metered_scheme", "metered_verdict")),
    (_HAS_AMOUNTS, _AMOUNTS),
    (_HAS_ONCE, ("once",)),
    (_ULID_ID, ("request_id",)),
    (_HEX_USER, ("user",)),
)
"""What else a record may have, in the order in which it stands there."""

_CROCKFORD: Final = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BASE32: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUV"  # what int(text, 32) reads
# Every byte outside the alphabet becomes "!", which int() refuses: no underscore, sign or lower case slips through.
_TO_BASE32: Final = bytes(_BASE32[_CROCKFORD.index(byte)] if byte in _CROCKFORD else ord("!") for byte in range(256))
_ULID_CHARACTERS: Final = 26


def pack(charge: Charge) -> bytes:
    """A charge as bytes.

    Raises:
        LedgerError: a number does not fit into 64 bits, or a string into 255 bytes; `once` is not 32 hex digits.
    """
    presence, values = _present(_optional(charge))
    observation = charge.observation
    if charge.usage.images_count:
        presence |= _HAS_IMAGES
        values.append(charge.usage.images_count)
    if observation.itl_s is not None:
        presence |= _HAS_PACE
        values.append(observation.itl_s)
    if observation.mix is not None:
        presence |= _HAS_MIX
        values += _mix(observation.mix)
    if observation.grid_g_per_kwh is not None:
        presence |= _HAS_GRID
        values.append(observation.grid_g_per_kwh)
    if observation.wet_bulb_c is not None:
        presence |= _HAS_WET_BULB
        values.append(observation.wet_bulb_c)
    if charge.usage.cache_write_tokens is not None:
        presence |= _HAS_CACHE_WRITE
        values.append(charge.usage.cache_write_tokens)
    if charge.usage.count_ratio != 1:
        presence |= _HAS_COUNT_RATIO
        values.append(charge.usage.count_ratio)
    if observation.metered_j is not None and observation.metered_boundary is not None:
        presence |= _HAS_METERED
        values += (observation.metered_j, _BOUNDARIES.index(observation.metered_boundary))
    if observation.metered_scheme is not None and observation.metered_verdict is not None:
        presence |= _HAS_SCHEME
        values += (_SCHEMES.index(observation.metered_scheme), _VERDICTS.index(observation.metered_verdict))
    if charge.amounts is not None:
        presence |= _HAS_AMOUNTS
        values += _amounts(charge.amounts)
    if charge.once:
        presence |= _HAS_ONCE
        values.append(_once_bytes(charge.once))
    own_texts: tuple[str, ...] = ()
    ulid = ulid_bytes(charge.request_id)
    if ulid is not None:
        presence |= _ULID_ID
        values.append(ulid)
    else:
        own_texts = (charge.request_id,)
    pseudonym = _pseudonym_bytes(charge.user)
    if pseudonym is not None:
        presence |= _HEX_USER
        values.append(pseudonym)
    elif charge.user == ANONYMOUS:
        presence |= _ANONYMOUS_USER
    else:
        own_texts += (charge.user,)
    codes = _OUTCOME_CODE[charge.outcome], _METHOD_CODE[charge.method], _SOURCE_CODE[charge.usage.source]
    try:
        head = layout(presence).pack(VERSION, presence, *codes, charge.started_ms, charge.ended_ms, *values)
        return head + _text_bytes(charge.model, charge.site, charge.deployment_hash, charge.reason, *own_texts)
    except (struct.error, ValueError) as error:
        raise LedgerError(f"charge {charge.request_id} cannot be stored: {error}") from error


def _once_bytes(text: str) -> bytes:
    data = _pseudonym_bytes(text)
    if data is None:
        raise LedgerError(f"a charge's `once` is {text!r}, which is not 32 hex digits")
    return data


def _present(optional: tuple[float | None, ...]) -> tuple[int, list[float | bytes]]:
    if optional == _ALL_UNKNOWN:  # every provisional charge
        return 0, []
    presence = 0
    values: list[float | bytes] = []
    for bit, value in zip(_OPTIONAL_BITS, optional, strict=True):
        if value is not None:
            presence |= bit
            values.append(value)
    return presence, values


# A deployment's names come again with every charge; texts of a request's own are rare.
@lru_cache(maxsize=1024)
def _text_bytes(*texts: str) -> bytes:
    encoded = [text.encode() for text in texts]
    return b"".join((bytes(map(len, encoded)), *encoded))


def unpack(data: bytes) -> Charge:
    """The charge that `pack` was given.

    Raises:
        LedgerError: the bytes are of another format version, or of none.
    """
    if not data or data[0] not in _READABLE:
        raise LedgerError(
            f"a stored charge has format {data[:1].hex() or 'none'}, this version reads up to {VERSION}; upgrade headwater"
        )
    try:
        return _unpack(data)
    except (struct.error, IndexError, ValueError) as error:
        raise LedgerError(f"a stored charge of {len(data)} bytes is malformed: {error}") from error


def _unpack(data: bytes) -> Charge:
    is_short = data[0] in _SHORT_PRESENCE
    presence = int.from_bytes(data[1:3] if is_short else data[1:5], "little")
    numbers_layout = layout(presence, is_short=is_short)
    _, _, outcome, method, source, started_ms, ended_ms, *values = numbers_layout.unpack_from(data)
    numbers = iter(values)
    optional = [next(numbers) if presence & bit else None for bit in _OPTIONAL_BITS]
    images_count = next(numbers) if presence & _HAS_IMAGES else 0
    itl_s = next(numbers) if presence & _HAS_PACE else None
    mix = Mix(**{name: next(numbers) for name in _MIX}) if presence & _HAS_MIX else None
    grid_g_per_kwh = next(numbers) if presence & _HAS_GRID else None
    wet_bulb_c = next(numbers) if presence & _HAS_WET_BULB else None
    cache_write_tokens = next(numbers) if presence & _HAS_CACHE_WRITE else None
    count_ratio = next(numbers) if presence & _HAS_COUNT_RATIO else 1.0
    metered_j = next(numbers) if presence & _HAS_METERED else None
    metered_boundary = _BOUNDARIES[next(numbers)] if presence & _HAS_METERED else None
    metered_scheme = _SCHEMES[next(numbers)] if presence & _HAS_SCHEME else None
    metered_verdict = _VERDICTS[next(numbers)] if presence & _HAS_SCHEME else None
    amounts = Amounts(**{name: next(numbers) for name in _AMOUNTS}) if presence & _HAS_AMOUNTS else None
    once = next(numbers).hex() if presence & _HAS_ONCE else ""
    request_id = ulid_text(next(numbers)) if presence & _ULID_ID else None
    user = next(numbers).hex() if presence & _HEX_USER else ANONYMOUS if presence & _ANONYMOUS_USER else None
    found = texts(data, numbers_layout.size, 4 + (request_id is None) + (user is None))
    return Charge(
        request_id=found[4] if request_id is None else request_id,
        user=found[-1] if user is None else user,
        started_ms=started_ms,
        ended_ms=ended_ms,
        outcome=_OUTCOMES[outcome],
        model=found[0],
        site=found[1],
        deployment_hash=found[2],
        method=_METHODS[method],
        usage=replace(
            _usage(optional[:4], source=_SOURCES[source], images_count=images_count),
            cache_write_tokens=cache_write_tokens,
            count_ratio=count_ratio,
        ),
        observation=Observation(
            **dict(zip(_SEEN, optional[4:], strict=True)),
            itl_s=itl_s,
            mix=mix,
            grid_g_per_kwh=grid_g_per_kwh,
            wet_bulb_c=wet_bulb_c,
            metered_j=metered_j,
            metered_boundary=metered_boundary,
            metered_scheme=metered_scheme,
            metered_verdict=metered_verdict,
        ),
        amounts=amounts,
        reason=found[3],
        once=once,
    )


def _usage(counts: Sequence[int | None], *, source: CountSource, images_count: int) -> Usage:
    input_tokens, output_tokens, cached_tokens, reasoning_tokens = counts
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        reasoning_tokens=reasoning_tokens,
        images_count=images_count,
        source=source,
    )


def texts(data: bytes, at: int, count: int) -> list[str]:
    """The short strings of a record, from an offset to its end. Raises ValueError where they are cut."""
    lengths = data[at : at + count]
    at += count
    if len(data) != at + sum(lengths):
        raise ValueError(f"strings of {sum(lengths)} bytes announced, {len(data) - at} there")
    found = []
    for length in lengths:
        found.append(data[at : at + length].decode())
        at += length
    return found


@lru_cache(maxsize=4096)
def layout(presence: int, *, is_short: bool = False) -> Struct:
    """How the numbers of a record with these presence bits lie."""
    counts = "q" * (presence & 0b1111).bit_count()
    seen = "d" * (presence & 0b1111_0000).bit_count()
    more = "q" * bool(presence & _HAS_IMAGES) + "d" * bool(presence & _HAS_PACE)
    more += "d" * len(_MIX) if presence & _HAS_MIX else ""
    more += "d" * (bool(presence & _HAS_GRID) + bool(presence & _HAS_WET_BULB))
    more += "q" * bool(presence & _HAS_CACHE_WRITE) + "d" * bool(presence & _HAS_COUNT_RATIO)
    more += "dB" if presence & _HAS_METERED else ""
    more += "BB" if presence & _HAS_SCHEME else ""
    amounts = "q" * len(_AMOUNTS) if presence & _HAS_AMOUNTS else ""
    amounts += "16s" if presence & _HAS_ONCE else ""
    keys = "16s" * (bool(presence & _ULID_ID) + bool(presence & _HEX_USER))
    return Struct(f"<B{'H' if is_short else 'I'}BBBqq{counts}{seen}{more}{amounts}{keys}")


def names(presence: int) -> list[str]:
    """What the numbers of a record of this version are, in the order of its layout."""
    found = ["version", "presence", "outcome", "method", "source", "started_ms", "ended_ms"]
    found += [name for name, bit in zip((*_COUNTS, *_SEEN), _OPTIONAL_BITS, strict=True) if presence & bit]
    for bit, group in _GROUPS:
        found += group if presence & bit else ()
    return found


def is_anonymous(presence: int) -> bool:
    """Whether a record is of nobody."""
    return bool(presence & _ANONYMOUS_USER)


# A request's id comes twice, in its provisional and in its final charge; a user's pseudonym with each of their charges.
@lru_cache(maxsize=1024)
def ulid_bytes(text: str) -> bytes | None:
    """The 16 bytes of a ULID; None where the text is none."""
    if len(text) != _ULID_CHARACTERS:
        return None
    try:
        return int(text.encode().translate(_TO_BASE32), 32).to_bytes(16, "big")
    except (ValueError, OverflowError):
        return None


def ulid_text(data: bytes) -> str:
    """The ULID that 16 bytes stand for."""
    value = int.from_bytes(data, "big")
    return bytes(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5)).decode()


@lru_cache(maxsize=4096)
def _pseudonym_bytes(text: str) -> bytes | None:
    if len(text) != 32:
        return None
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    return data if data.hex() == text else None
