"""Exact unit constants, and the one place that rounds to the integers of the ledger. Knows no model and no factor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

J_PER_WH: Final = 3_600.0
J_PER_KWH: Final = 3_600_000.0
UL_PER_L: Final = 1_000_000.0
ML_PER_L: Final = 1_000.0
S_PER_MS: Final = 0.001
BYTES_PER_GB: Final = 1_000_000_000.0
FLOP_PER_TFLOP: Final = 1_000_000_000_000.0
# The US gallon is 231 cubic inches of 2.54 cm a side, exactly (NIST Handbook 44, Appendix C).
L_PER_US_GALLON: Final = 3.785411784

# US gallons per MWh, in which water at power stations is published in America, to litres per kWh.
L_PER_US_GALLON_PER_MWH: Final = L_PER_US_GALLON / 1_000.0
L_PER_ML: Final = 1_000_000.0  # a megalitre, not a millilitre: written ML
L_PER_M3: Final = 1_000.0
# Fresh water within half a percent, from 0 to 35 degrees Celsius.
L_PER_KG: Final = 1.0
F_PER_K: Final = 1.8
F_AT_0_C: Final = 32.0

G_PER_KG: Final = 1_000.0
G_PER_T: Final = 1_000_000.0
J_PER_KJ: Final = 1_000.0
J_PER_MILLIJOULE: Final = 0.001
W_PER_KW: Final = 1_000.0
KWH_PER_MWH: Final = 1_000.0
KWH_PER_GWH: Final = 1_000_000.0
S_PER_H: Final = 3_600.0
H_PER_DAY: Final = 24.0
S_PER_DAY: Final = 86_400.0
# Bytes of one number in each precision: its bits over eight, and for the 4-bit floats their scales: 8 bits for each 32
# numbers (OCP Microscaling Formats v1.0) and for each 16 (NVFP4). Quantised int4 files keep scales too (q4_k_m: about 0.6).
BYTES_PER_WEIGHT: Final[Mapping[str, float]] = {
    "bf16": 2.0,
    "fp8": 1.0,
    "mxfp4": 0.53125,
    "fp4": 0.5625,
    "int8": 1.0,
    "int4": 0.5,
}

# No request has more tokens: contexts of 2026 end at ten million. Beyond it a count is a mistake.
MOST_TOKENS: Final = 1_000_000_000_000
# The hours whose figures a deployment keeps ready: charges come in nearly in order, a day of them is plenty.
MOST_KEPT_HOURS: Final = 24
# No electricity is so dirty, and no air so cold or so hot. Beyond it a figure is in another unit.
MOST_G_PER_KWH: Final = 10_000.0
# Hydropower on the widest reservoirs evaporates some 70 (Macknick et al.); no site takes as much.
MOST_L_PER_KWH: Final = 100.0
# The worst server rooms that were published are near 4. A hundred is a percentage.
MOST_PUE: Final = 10.0
MOST_WET_BULB_C: Final = 60.0
# No reply took thirty years, and no trace spans as much.
LONGEST_S: Final = 1e9

# By how much a figure is off that is in kWh where Wh are meant, or in J where mJ are.
UNIT_SLIP_RATIO: Final = 1_000.0

MICROJOULES_PER_J: Final = 1_000_000
NANOLITRES_PER_L: Final = 1_000_000_000
MICROGRAMS_PER_G: Final = 1_000_000
MICROJOULES_PER_KWH: Final = 3_600_000_000_000
NANOLITRES_PER_UL: Final = 1_000
NANOLITRES_PER_M3: Final = 1_000_000_000_000
MICROSECONDS_PER_S: Final = 1_000_000
MS_PER_S: Final = 1_000
NS_PER_S: Final = 1_000_000_000


def microjoules(energy_j: float) -> int:
    """Energy for the ledger. Rounded half to even, never floored: flooring loses 5 % on tiny requests."""
    return round(energy_j * MICROJOULES_PER_J)


def nanolitres(water_l: float) -> int:
    """Water for the ledger, rounded half to even."""
    return round(water_l * NANOLITRES_PER_L)


def micrograms(carbon_g: float) -> int:
    """CO2-equivalent for the ledger, rounded half to even."""
    return round(carbon_g * MICROGRAMS_PER_G)


def microseconds(time_s: float) -> int:
    """Time that is paid for, rounded half to even."""
    return round(time_s * MICROSECONDS_PER_S)
