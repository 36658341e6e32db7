"""Water of IT and facility energy. Two terms with two denominators; never one factor for both.

References: WUE is litres at the site per kWh of IT energy, ISO/IEC 30134-9:2022 and The Green Grid, White Paper #35
(Patterson, Azevedo, Belady, Pouchet, 2011); EWIF is litres at the power stations per kWh of electricity drawn, Li et
al., "Making AI less thirsty", arXiv:2304.03271, equation 1.
"""

from __future__ import annotations

from headwater.units import J_PER_KWH


def onsite_l(*, it_j: float, wue_l_per_it_kwh: float) -> float:
    """Water used at the site. Per kWh of IT energy, so no PUE here."""
    return it_j / J_PER_KWH * wue_l_per_it_kwh


def offsite_l(*, facility_j: float, ewif_l_per_kwh: float) -> float:
    """Water used to generate the electricity, all of which the facility draws, cooling included."""
    return facility_j / J_PER_KWH * ewif_l_per_kwh


def water_l_per_it_kwh(*, wue_l_per_it_kwh: float, pue: float, ewif_l_per_kwh: float) -> float:
    """Both terms per kWh of IT energy: the factor whose range enters the interval."""
    return wue_l_per_it_kwh + pue * ewif_l_per_kwh


def water_l(*, onsite_l: float, offsite_l: float) -> float:
    """All water that is charged. The parts stay visible beside it: they fall in different places."""
    return onsite_l + offsite_l
