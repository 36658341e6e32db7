"""The edits that a chat stream's events need, each a splice of the raw event. Knows `usage` and `footprint`; holds nothing."""

from __future__ import annotations

from typing import Final

import msgspec

from headwater.dialects import splice
from headwater.dialects.sse import Event

_NOT_CARRIED: Final = frozenset(("usage", "choices"))


def fold(text: bytes, footprint: bytes, *, into_usage: bool = True) -> tuple[int, bytes] | None:
    """Where the footprint goes in a JSON object, and the bytes to put there: into `usage` if that is an object, else to
    the end of the top level."""
    place = None
    usage = splice.find(text, "usage") if into_usage else None
    if usage is not None:
        _, start, end = usage
        place = splice.end_of_object(text, start, end) if text[start : start + 1] == b"{" else None
    if place is None and splice.members(text) is not None:
        place = splice.end_of_object(text)
    return None if place is None else (place[0], place[1] + b'"footprint":' + footprint)


def with_footprint(raw: bytes, footprint: bytes, sent_count: int, *, into_usage: bool) -> bytes:
    """The event with the footprint folded in; unchanged where its place has been sent already."""
    event = Event(raw)
    found = fold(event.data or b"", footprint, into_usage=into_usage)
    if found is None or event.raw_offset(found[0]) < sent_count:
        return raw
    return event.insert(*found)


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
    return event.insert(place[0], place[1] + b",".join(missing)) if missing else raw
