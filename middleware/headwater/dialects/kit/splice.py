"""Edit JSON text without re-writing it: find a member of the top-level object, put one in, take one out.

Knows JSON; does not know providers. Every byte that is not part of an edit stays. A place that is found is proved: the
member there is renamed, and a real parser must then see the new name at the top level, so that neither a string nor a
nested object that looks alike can be taken for it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import msgspec

_PROBE: Final = b'"hw:probe":'
_COLON: Final = re.compile(rb"\s*:\s*")
MOST_CANDIDATES: Final = 8
_TRAILING: Final = b" \t\r\n"


class _Probe(msgspec.Struct):
    probe: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="hw:probe")


_probe_decoder: Final = msgspec.json.Decoder(_Probe)
_members_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def members(text: bytes) -> dict[str, bytes] | None:
    """The top-level members with the exact bytes of their values; None where the text is no JSON object."""
    try:
        return {name: bytes(value) for name, value in _members_decoder.decode(text).items()}
    except (ValueError, RecursionError):
        return None


def find(text: bytes, name: str) -> tuple[int, int, int] | None:
    """Where the top-level member `name` stands: start of its key, start and end of its value.

    None also where too many look like it: each takes a parse of the whole text to tell.
    """
    key = _quoted(name)
    key_start = text.rfind(key)
    for _ in range(MOST_CANDIDATES):
        if key_start < 0:
            break
        colon = _COLON.match(text, key_start + len(key))
        if colon is not None:
            start = colon.end()
            value = _value_if_top_level(text, key_start, start)
            if value is not None:
                return key_start, start, start + len(value)
        key_start = text.rfind(key, 0, key_start)
    return None


def span(text: bytes, path: tuple[str, ...]) -> tuple[int, int] | None:
    """Start and end of the object at the end of a path of members; of the text itself where the path is empty. None where
    there is none, or where it is no object."""
    start, end = 0, len(text)
    for name in path:
        found = find(text[start:end], name)
        if found is None or text[start + found[1] : start + found[1] + 1] != b"{":
            return None
        start, end = start + found[1], start + found[2]
    return start, end


def end_of_object(text: bytes, start: int = 0, end: int | None = None) -> tuple[int, bytes] | None:
    """Where a member can be put at the end of the object `text[start:end]`, and the comma that it needs there."""
    body = text[start:end].rstrip(_TRAILING)
    if not body.endswith(b"}"):
        return None
    inside = body[:-1].rstrip(_TRAILING)
    return start + len(inside), b"" if inside.strip(_TRAILING) == b"{" else b","


def span_with_comma(text: bytes, key_start: int, value_end: int) -> tuple[int, int]:
    """The span of a member together with one of the commas beside it, so that taking it out leaves an object."""
    before = text[:key_start].rstrip(_TRAILING)
    if before.endswith(b","):
        return len(before) - 1, value_end
    after = text[value_end:]
    following = after.lstrip(_TRAILING)
    if following.startswith(b","):
        return key_start, value_end + len(after) - len(following[1:].lstrip(_TRAILING))
    return key_start, value_end


@cache
def _quoted(name: str) -> bytes:
    return msgspec.json.encode(name)


def _value_if_top_level(text: bytes, key_start: int, start: int) -> bytes | None:
    renamed = text[:key_start] + _PROBE + text[start:]
    try:
        value = _probe_decoder.decode(renamed).probe
    except (ValueError, RecursionError):
        return None
    return None if isinstance(value, msgspec.UnsetType) else bytes(value)
