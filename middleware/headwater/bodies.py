"""A bounded copy of a body that passes by in parts. Knows nothing of what the body says."""

from __future__ import annotations

from typing import Final

TOO_LARGE: Final = "reply-too-large"


class Copy:
    """Parts of a body, kept as long as they stay within a limit together."""

    __slots__ = ("_limit_bytes", "_parts", "_seen_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] | None = []
        self._seen_bytes = 0

    @property
    def reason(self) -> str:
        """Why there is no copy, where there is none."""
        return TOO_LARGE

    def add(self, part: bytes) -> bytes:
        """Keep one more part; over the limit, keep nothing any more. Returns the part."""
        self._seen_bytes += len(part)
        if self._seen_bytes > self._limit_bytes:
            self._parts = None
        if self._parts is not None and part:
            self._parts.append(part)
        return part

    def whole(self) -> bytes | None:
        """All parts joined; None where they were over the limit."""
        return None if self._parts is None else b"".join(self._parts)
