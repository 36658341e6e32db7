"""From usage, observation and deployment to a footprint. Pure functions of floats: no I/O, no clock, no coefficients.

Every number says its boundary and unit in its name. `it_j` and `facility_j` are different units here, as in the tests.
"""

from __future__ import annotations

from headwater.physics.estimate import Profile

__all__ = ["Profile"]
