"""A bounded copy of a body that passes by in parts. Knows nothing of what the body says."""

from __future__ import annotations


class Copy:
    """Parts of a body, kept as long as they stay within a limit together."""

    __slots__ = ("_limit_bytes", "_parts", "_seen_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] | None = []
        self._seen_bytes = 0

    def add(self, part: bytes) -> None:
        """Keep one more part; over the limit, keep nothing any more."""
        self._seen_bytes += len(part)
        if self._seen_bytes > self._limit_bytes:
            self._parts = None
        if self._parts is not None and part:
            self._parts.append(part)

    def whole(self) -> bytes | None:
        """All parts joined; None where they were over the limit."""
        return None if self._parts is None else b"".join(self._parts)
