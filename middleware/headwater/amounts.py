"""From floats of physics to the integers of accounts: the one rounding between them. Pure."""

from __future__ import annotations

from typing import Final

from headwater.records import Amounts, Footprint, Spread, Unknown
from headwater.units import J_PER_KWH, micrograms, microjoules, nanolitres

OUT_OF_RANGE: Final = Unknown(reason="out-of-range")
# A gigawatt for an hour: no request's share, and far inside the ledger's 64 bits.
_MOST_FACILITY_J: Final = 1e6 * J_PER_KWH

Integers = tuple[int, int, int, int, int, int, int, int, int, int, int]
"""The fields of `Amounts`, in their order."""


def integers(
    it_j: float, facility_j: float, onsite_l: float, offsite_l: float, carbon_g: float, within: Spread
) -> Integers:
    """Energy, water and carbon with low and high. Positional: replays call it a million times."""
    water_l = onsite_l + offsite_l
    return (
        microjoules(it_j),
        microjoules(facility_j),
        microjoules(facility_j * within.energy_low),
        microjoules(facility_j * within.energy_high),
        nanolitres(onsite_l),
        nanolitres(offsite_l),
        nanolitres(water_l * within.water_low),
        nanolitres(water_l * within.water_high),
        micrograms(carbon_g),
        micrograms(carbon_g * within.carbon_low),
        micrograms(carbon_g * within.carbon_high),
    )


def storable(found: Footprint | Unknown) -> Footprint | Unknown:
    """What an estimate found, as far as a ledger can hold it: what none could hold has no footprint, it is nobody's true
    share."""
    if isinstance(found, Footprint) and not found.facility_j * found.spread.energy_high < _MOST_FACILITY_J:
        return OUT_OF_RANGE
    return found


def amounts(footprint: Footprint) -> Amounts:
    """A footprint as it is charged."""
    (
        it_microjoules, energy_microjoules, energy_low_microjoules, energy_high_microjoules,
        onsite_nanolitres, offsite_nanolitres, water_low_nanolitres, water_high_nanolitres,
        carbon_micrograms, carbon_low_micrograms, carbon_high_micrograms,
    ) = integers(
        footprint.it_j, footprint.facility_j, footprint.onsite_l, footprint.offsite_l, footprint.carbon_g, footprint.spread
    )  # fmt: skip
    return Amounts(
        it_microjoules=it_microjoules,
        energy_microjoules=energy_microjoules,
        energy_low_microjoules=energy_low_microjoules,
        energy_high_microjoules=energy_high_microjoules,
        onsite_nanolitres=onsite_nanolitres,
        offsite_nanolitres=offsite_nanolitres,
        water_low_nanolitres=water_low_nanolitres,
        water_high_nanolitres=water_high_nanolitres,
        carbon_micrograms=carbon_micrograms,
        carbon_low_micrograms=carbon_low_micrograms,
        carbon_high_micrograms=carbon_high_micrograms,
    )
