"""What a count or a measurement that somebody gives must be. Refuses with the name and the value; knows no question."""

from __future__ import annotations

import math

from headwater.units import MOST_TOKENS


def check_count(name: str, count: object, *, least: int = 0, most: int | None = None) -> None:
    """Refuse what is not a whole number of things: bool included, which Python takes for 0 and 1."""
    if isinstance(count, bool) or not isinstance(count, int) or count < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {count!r}")
    if most is not None and count > most:
        shown = str(count) if count <= MOST_TOKENS else f"more than {MOST_TOKENS}"
        raise ValueError(f"{name} must be at most {most}, not {shown}")


def check_number(name: str, seen: object, *, least: float, most: float, said: str) -> None:
    """Refuse a measurement that nobody can have made."""
    if seen is None:
        return
    if isinstance(seen, bool) or not isinstance(seen, int | float) or not -math.inf < seen < math.inf:
        raise ValueError(f"{name} must be a finite number, not {seen!r}")
    if seen < least:
        least_said = said if seen <= 0 or least >= 1 else f"at least {least:g}"
        raise ValueError(f"{name} must be {least_said}, not {seen!r}")
    if seen > most:
        raise ValueError(f"{name} must be at most {most:g}, not {seen!r}")
