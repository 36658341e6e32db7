"""Numbers for people: units of a fitting size, three digits, lengths of time in words. Knows no replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from headwater.units import MICROGRAMS_PER_G, MICROJOULES_PER_J, MICROJOULES_PER_KWH, NANOLITRES_PER_L

_HUNDRED, _THOUSAND = 100, Decimal(1_000)
PER_J: Final = Decimal(MICROJOULES_PER_J)
PER_ML: Final = Decimal(NANOLITRES_PER_L) / _THOUSAND
PER_G: Final = Decimal(MICROGRAMS_PER_G)
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit, and how many of the ledger's integers it holds."""

    unit: str
    size: Decimal


def scale(sums: Sequence[int], smallest_unit: Decimal, units: Sequence[str]) -> Scale:
    """The unit in which sums are numbers of people's size; each unit is a thousand of the one before.

    The largest sum chooses it, unless the smallest that is not zero would then be less than a hundredth.
    """
    largest, smallest = max(sums), min((one for one in sums if one), default=0)
    place = 0
    while place + 1 < len(units) and largest >= smallest_unit * _THOUSAND ** (place + 1):
        place += 1
    while place and smallest * _HUNDRED < smallest_unit * _THOUSAND**place:
        place -= 1
    return Scale(units[place], smallest_unit * _THOUSAND**place)


def energy_scale(*microjoules: int) -> Scale:
    """Wh, kWh or MWh."""
    return scale(microjoules, Decimal(MICROJOULES_PER_KWH) / _THOUSAND, ("Wh", "kWh", "MWh"))


def water_scale(*nanolitres: int) -> Scale:
    """mL, L or m³."""
    return scale(nanolitres, PER_ML, ("mL", "L", "m³"))


def carbon_scale(*micrograms: int) -> Scale:
    """g, kg or t."""
    return scale(micrograms, PER_G, ("g", "kg", "t"))


def short(value: Decimal) -> str:
    """Three significant digits for people, and no exponent."""
    if value == 0:
        return "0"
    places = max(0, 2 - value.adjusted())
    return f"{value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):,f}"


def length(seconds: float) -> str:
    """A stretch of time in words: `2 d 3 h`, `58 min 26 s`, `4.55 s`."""
    if seconds < _MINUTE_S:
        return f"{short(Decimal(seconds))} s"
    whole = round(seconds)
    parts = [
        (whole // _DAY_S, "d"),
        (whole % _DAY_S // _HOUR_S, "h"),
        (whole % _HOUR_S // _MINUTE_S, "min"),
        (whole % _MINUTE_S, "s"),
    ]
    first = next(place for place, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)
