"""How money stands in settings: prices, currencies and the days from which they hold; each refusal names the remedy."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

MOST_DIGITS: Final = 18
_FLOAT_DIGITS: Final = 15
"""Digits that a number of TOML keeps for certain: it is a binary float to its reader."""
_LIKE: Final = 'must be a number of at least 0, like 0.21 or "0.21"'


def _price(given: Any) -> Decimal:
    """A price, exactly as it was written. Floats come as the shortest decimal that means them."""
    if isinstance(given, bool) or not isinstance(given, int | float | str | Decimal):
        raise ValueError(f"{_LIKE}; not {given!r}")
    try:
        price = Decimal(str(given))
    except InvalidOperation:
        raise ValueError(_LIKE) from None
    if not price.is_finite() or price < 0:
        raise ValueError(_LIKE)
    digits = max(len(price.as_tuple().digits), price.adjusted() + 1, _places(price))
    if digits > MOST_DIGITS:
        raise ValueError(f"has {digits} digits; write at most {MOST_DIGITS}")
    if isinstance(given, float) and len(price.normalize().as_tuple().digits) > _FLOAT_DIGITS:
        raise ValueError(f"has more digits than a number keeps ({_FLOAT_DIGITS}); write it as a text, in quotes")
    return abs(price)  # of a negative zero


def _places(price: Decimal) -> int:
    exponent = price.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _currency(given: Any) -> str:
    if not isinstance(given, str) or re.fullmatch("[A-Z]{3}", given) is None:
        raise ValueError("must be a code of ISO 4217, three capital letters, like EUR")
    return given


def _day(given: Any) -> date:
    if isinstance(given, date) and not isinstance(given, datetime):
        return given
    try:
        if isinstance(given, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", given):
            return date.fromisoformat(given)
    except ValueError:
        pass
    told = "" if isinstance(given, int | float | str) else f"; not {given}"
    raise ValueError(f"must be a day in UTC, like 2026-11-01{told}")


Price = Annotated[Decimal, BeforeValidator(_price)]
Currency = Annotated[str, BeforeValidator(_currency)]
Day = Annotated[date, BeforeValidator(_day)]
