"""The edits that replies need, each a splice of the bytes that came. Knows `usage` and `footprint`; holds nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headwater.dialects.base import Addition, RawEvent
from headwater.dialects.kit import splice
from headwater.dialects.kit.sse import Event

USAGE: Final = ("usage",)
TOP_LEVEL: Final[tuple[str, ...]] = ()
"""The path of an API whose counts stand among the members of the reply itself."""
_NOT_CARRIED: Final = frozenset(("usage", "choices"))


def fold(text: bytes, addition: Addition, path: tuple[str, ...] = USAGE) -> list[tuple[int, bytes]] | None:
    """What to put into a JSON object and where, first places first: the footprint into the usage object at the end of
    `path` if there is one, else to the end of what contains it; what goes beside it to the end of the top level. The empty
    path is the top level itself.

    None: there is no place for the footprint.
    """
    container = splice.span(text, path[:-1])
    if container is None:
        return None
    usage = splice.span(text, path) if addition.placement == "usage" else None
    place = splice.end_of_object(text, *usage) if usage is not None else None
    if place is None:
        place = splice.end_of_object(text, *container)
    if place is None or (usage is None and splice.members(text) is None):
        return None  # what was found by its name is in a proved object
    edits = [(place[0], place[1] + b'"footprint":' + addition.footprint)]
    beside = _not_there_yet(addition.beside, splice.members(text) or {}) if addition.beside else b""
    end = splice.end_of_object(text) if beside else None
    if end is not None:
        # Where the footprint itself stands at the end of the top level, this comes behind it.
        edits.append((end[0], (b"," if end[0] == place[0] else end[1]) + beside))
    return edits


def _not_there_yet(beside: bytes, known: Mapping[str, bytes]) -> bytes:
    """Of some members those whose names the object does not have: what the upstream says stands."""
    offered = splice.members(b"{" + beside + b"}") or {}
    if not offered.keys() & known.keys():
        return beside
    return b",".join(msgspec.json.encode(name) + b":" + value for name, value in offered.items() if name not in known)


def folded(text: bytes, addition: Addition, path: tuple[str, ...] = USAGE) -> bytes | None:
    """The JSON object with the addition in it; None where there is no place for it."""
    edits = fold(text, addition, path)
    for at, added in reversed(edits or ()):
        text = text[:at] + added + text[at:]
    return None if edits is None else text


def with_footprint(event: RawEvent, addition: Addition, sent_count: int, path: tuple[str, ...] = USAGE) -> bytes:
    """The event with the addition folded in; unchanged where its place has been sent already."""
    edits = fold(event.data or b"", addition, path)
    if edits is None or event.raw_offset(edits[0][0]) < sent_count:
        return event.raw
    return event.insert(edits)


def without_usage(event: Event) -> bytes:
    """The event without its top-level `usage`."""
    data = event.data or b""
    found = splice.find(data, "usage") if b'"usage"' in data else None
    return event.raw if found is None else event.cut(*splice.span_with_comma(data, found[0], found[2]))


def raw_without_usage(raw: bytes) -> bytes:
    """The raw event without its top-level `usage`."""
    return without_usage(Event(raw))


def with_siblings(raw: bytes, usage_event: Event) -> bytes:
    """The finish event with those members of the usage event that it lacks: llama.cpp moves its `timings` there."""
    event = Event(raw)
    data = event.data or b""
    known, offered = splice.members(data), splice.members(usage_event.data or b"")
    place = splice.end_of_object(data)
    if known is None or offered is None or place is None:
        return raw
    missing = [
        msgspec.json.encode(name) + b":" + value.replace(b"\n", b" ").replace(b"\r", b" ")
        for name, value in offered.items()
        if name not in known and name not in _NOT_CARRIED
    ]
    return event.insert([(place[0], place[1] + b",".join(missing))]) if missing else raw
