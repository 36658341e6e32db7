"""The footprint once more in the words of others, for clients written for them. Opt-in. Pure formatting; texts out.

`neuralwatt`: an `energy` object at the top of a reply, and a comment before the end of a stream. `greenpt`: an `impact`
object at the top of either. Only the disclosed digits are said again, in other units: whole-number factors, no float.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final

from headwater.disclosure import digits
from headwater.records import Footprint
from headwater.units import J_PER_KWH, MICROGRAMS_PER_G, MS_PER_S

_VERSION: Final = "headwater-1"
# More than a disclosure can have (the joules of a float have sixteen): they come back from the kWh to the last digit.
_KWH: Final = Context(prec=20)


@dataclass(frozen=True, slots=True)
class Aliases:
    """What is said besides: `members` of the top level, without a comma around them; `comment`, with its blank line."""

    members: bytes = b""
    comment: bytes = b""


def aliases(schemes: Collection[str], footprint: Footprint, elapsed_s: float | None, *, is_stream: bool) -> Aliases:
    """The footprint in these schemes. `elapsed_s`: how long the exchange took; None where it is not known."""
    members: list[str] = []
    comment = b""
    if "neuralwatt" in schemes:
        energy = _energy(footprint, elapsed_s)
        if is_stream:
            comment = f": energy {energy}\n\n".encode()
        else:
            members.append(f'"energy":{energy}')
    if "greenpt" in schemes:
        members.append(f'"impact":{_impact(footprint, elapsed_s)}')
    return Aliases(",".join(members).encode(), comment)


def kwh(joules: str) -> str:
    """Joules in kilowatt hours, so exactly that they come back; no exponent."""
    return f"{_KWH.divide(Decimal(joules), Decimal(int(J_PER_KWH))):f}"


def _energy(footprint: Footprint, elapsed_s: float | None) -> str:
    joules = digits(footprint.facility_j)
    duration = "" if elapsed_s is None else f'"duration_seconds":{digits(elapsed_s)},'
    method = json.dumps(f"headwater:{footprint.method}")
    grams = Decimal(_micrograms(footprint)) / MICROGRAMS_PER_G
    return (
        f'{{"energy_joules":{joules},"energy_kwh":{kwh(joules)},{duration}'
        f'"attribution_method":{method},"carbon_g_co2eq":{grams:f}}}'
    )


def _impact(footprint: Footprint, elapsed_s: float | None) -> str:
    millijoules = Decimal(digits(footprint.facility_j)) * MS_PER_S  # a watt for a millisecond is a millijoule
    time = "" if elapsed_s is None else f',"inferenceTime":{{"total":{round(elapsed_s * MS_PER_S)},"unit":"ms"}}'
    return (
        f'{{"version":"{_VERSION}","energy":{{"total":{int(millijoules)},"unit":"Wms"}},'
        f'"emissions":{{"total":{_micrograms(footprint)},"unit":"ugCO2e"}}{time}}}'
    )


def _micrograms(footprint: Footprint) -> str:
    return digits(footprint.carbon_g * MICROGRAMS_PER_G)
