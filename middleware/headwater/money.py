"""Costs -> what receipts and statements show, as JSON values and as lines. The one place where money is rounded.

Never a float: JSON has the decimals as strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from headwater.records import Bill, Cost, CostPart

PLACES: Final = 18
"""Decimal places of an amount where it is shown: as many as a price may have digits."""
SHOWN_DIGITS: Final = 6
_BASIS: Final = {"withdrawal": "withdrawn at the site", "consumption": "consumed at the site"}


def rounded(amount: Fraction) -> Fraction:
    """An amount as it is shown: half to even at the last place. Sums of rounded amounts are exact."""
    return round(amount, PLACES)


def decimal(amount: Fraction) -> Decimal:
    """An amount as a decimal, rounded once. Made from its digits: no context of decimals cuts it."""
    return Decimal(f"{round(amount * 10**PLACES)}E-{PLACES}")


def text(amount: Fraction | None) -> str | None:
    """A decimal without exponent and needless zeros; None for what is not known."""
    if amount is None:
        return None
    digits = f"{decimal(amount):f}"
    return digits.rstrip("0").rstrip(".")


def bill(electricity: Fraction | None, water: Fraction | None, server: Fraction | None) -> Bill:
    """What an account shows: each part rounded once, so that the total is the sum of what is seen."""
    parts = (None if part is None else rounded(part) for part in (electricity, water, server))
    return Bill(**dict(zip(("electricity", "water", "server"), parts, strict=True)))


def as_json(cost: Cost) -> dict[str, Any]:
    """A receipt's cost: the parts, what they were made from, and a reason for each that is not known."""
    shown = bill(*(part.amount for _, part in cost.parts))
    return {
        "currency": cost.currency,
        "valid_from": None if cost.valid_from is None else cost.valid_from.isoformat(),
        **{name: text(getattr(shown, name)) for name, _ in cost.parts},
        "total": text(shown.total),
        "total_lacks": list(cost.lacks),
        "parts": [{"part": name, **_part(part)} for name, part in cost.parts],
    }


def _part(part: CostPart) -> dict[str, Any]:
    if part.amount is None:
        return {"reason": part.reason}
    basis = {"basis": part.basis} if part.basis else {}
    return {"quantity": text(part.quantity), "unit": part.unit, **basis, "price": f"{part.price:f}"}


def as_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """The cost of `as_json` for people: a line in all, and one per part."""
    currency, since = document["currency"], document["valid_from"]
    tariff = f"by the tariff from {since} on" if since else "by the tariff"
    lacks = f", without {' and '.join(document['total_lacks'])}" if document["total_lacks"] else ""
    total = document["total"]
    yield f"  cost        {'unknown' if total is None else f'{_few(total)} {currency}{lacks}; {tariff}'}"
    for part in document["parts"]:
        name = part["part"]
        if "reason" in part:
            yield f"    {name:<11} unknown: {part['reason']}"
            continue
        unit = f"{part['unit']} {_BASIS[part['basis']]}" if "basis" in part else part["unit"]
        yield f"    {name:<11} {_few(document[name])} {currency} = {_few(part['quantity'])} {unit} * {part['price']} {currency}"


def _few(digits: str) -> str:
    """So many significant digits for people, all of a whole number, without an exponent."""
    value = Decimal(digits)
    places = max(0, SHOWN_DIGITS - 1 - value.adjusted()) if value else 0
    return text(round(Fraction(digits), places)) or digits
