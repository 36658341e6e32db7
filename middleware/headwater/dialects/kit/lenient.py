"""Read JSON that may be anything: never an exception, never a value of the wrong kind.

Knows JSON and kinds of values; knows no provider. A count is a non-negative integer; whatever else stands in its place
(null, a boolean, a float, a string) is not a count, and the figure is then unknown, not zero.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from headwater.units import S_PER_DAY

_MOST_TOKENS: Final = 10**8  # a context is at most some 10^7 tokens; what is beyond is garbage
_MOST_S: Final = S_PER_DAY  # what is beyond is garbage


def any_json(text: bytes) -> Any:
    """Any JSON value, also with NaN and lone surrogates, as Python servers send them; None where it is no JSON."""
    for decode in (msgspec.json.decode, json.loads):
        try:
            return decode(text)
        except (ValueError, RecursionError):
            continue
    return None


def json_object(text: bytes) -> dict[str, Any] | None:
    """A JSON object; None where the text is none."""
    found = any_json(text)
    return found if isinstance(found, dict) else None


def count(value: Any) -> int | None:
    """The value where it is a count; None where it is anything else. A boolean is not a count."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


def seconds(value: Any, *, per_s: int) -> float | None:
    """A duration in units of which a second has `per_s`; None where it is none."""
    return value / per_s if type(value) in (int, float) and 0 <= value <= _MOST_S * per_s else None


def total(*counts: int | None) -> int | None:
    """The sum of the counts that are known; None where none is."""
    known = [each for each in counts if each is not None]
    return sum(known) if known else None


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none where it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def within(value: Any, *path: str) -> dict[str, Any]:
    """The object at the end of a path of members; an empty one where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def string(value: Any) -> str:
    """The value where it is a string; else the empty one."""
    return value if isinstance(value, str) else ""


def compact(value: Any) -> str:
    """The value as JSON without white space, as a model writes it; "" where it is nested too deeply."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""
