"""Which scripts a text is written in, by the first bytes of its characters, and what follows for its tokens. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from headwater import catalog
from headwater.records import Factor, ScriptName, Tokenizer
from headwater.tokens.amount import Amount

_FIRST_BYTES: Final[Mapping[ScriptName, tuple[range, ...]]] = {
    "letters": (range(0x41, 0x5B), range(0x61, 0x7B), range(0x09, 0x0E), range(0x20, 0x21)),
    "digits": (range(0x30, 0x3A),),
    "signs": (range(0x09), range(0x0E, 0x20), range(0x21, 0x30), range(0x3A, 0x41), range(0x5B, 0x61), range(0x7B, 0x80)),
    "accents": (range(0xC2, 0xD0),),
    "cyrillic": (range(0xD0, 0xD5),),
    "semitic": (range(0xD5, 0xE0),),
    "indic": (range(0xE0, 0xE3),),
    "kana": (range(0xE3, 0xE4),),
    "han": (range(0xE4, 0xEA), range(0xEF, 0xF0)),
    "hangul": (range(0xEA, 0xEF),),
    "emoji": (range(0xF0, 0xF5),),
}  # fmt: skip
"""First bytes of the UTF-8 encodings of the characters of each script; some scripts share theirs."""
_SCRIPTS: Final = tuple(_FIRST_BYTES)
_ASCII_COUNT: Final = 3
"""So many of them, the first ones, are ASCII."""


def _codes() -> bytes:
    codes = bytearray([len(_SCRIPTS)] * 256)
    for code, ranges in enumerate(_FIRST_BYTES.values()):
        for byte in (byte for each in ranges for byte in each):
            codes[byte] = code
    return bytes(codes)


_CODES: Final = _codes()


class Span(NamedTuple):
    """A figure of the catalog, bare."""

    value: float
    low: float
    high: float


_ONE: Final = Span(1, 1, 1)


def encoded(text: str) -> bytes:
    """The text as UTF-8, lone surrogates and all."""
    return text.encode("utf-8", "surrogatepass")


def characters(data: bytes) -> list[int]:
    """How many characters of each script there are in UTF-8."""
    codes = data.translate(_CODES)
    used = _ASCII_COUNT if data.isascii() else len(_SCRIPTS)
    return [codes.count(code) for code in range(used)]


def by_thumb(data: bytes, tokenizer: Tokenizer) -> Amount:
    """The tokens of a text without any vocabulary: by its scripts alone."""
    value = low = high = 0.0
    for count, per, ratio in zip(characters(data), thumb(), ratios(tokenizer.name), strict=False):
        value += count * per.value * ratio.value
        low += count * per.low * ratio.low
        high += count * per.high * ratio.high
    return Amount(value, low, high, is_counted=False)


def converted(tokens: int, data: bytes, tokenizer: Tokenizer, counted_with: str) -> Amount:
    """The tokens that a tokenizer makes of a text that another encoding made `tokens` of, by the text's scripts."""
    weights = [count * per.value for count, per in zip(characters(data), thumb(), strict=False)]
    whole = sum(weights)  # above zero: every character is of some script
    value = low = high = 0.0
    for weight, wanted, had in zip(weights, ratios(tokenizer.name), ratios(counted_with), strict=False):
        value += weight * wanted.value / had.value
        low += weight * wanted.low / had.high
        high += weight * wanted.high / had.low
    return Amount(tokens * value / whole, tokens * low / whole, tokens * high / whole, is_counted=False)


@lru_cache(maxsize=1)
def thumb() -> tuple[Span, ...]:
    """The tokens of the reference encoding per character, by script."""
    return tuple(_span(catalog.script(name).tokens_per_character_ratio) for name in _SCRIPTS)


@lru_cache(maxsize=64)
def ratios(name: str) -> tuple[Span, ...]:
    """The tokens of a tokenizer over those of the reference encoding, by script."""
    found = catalog.tokenizer(name).ratios
    if found is None:
        return (_ONE,) * len(_SCRIPTS)
    return tuple(_span(getattr(found, f"{script}_ratio")) for script in _SCRIPTS)


def _span(factor: Factor) -> Span:
    return Span(factor.value, factor.low, factor.high)
