"""Keep the generated text of a stream, cheaply, until somebody wants to count it. Knows strings and JSON escapes only."""

from __future__ import annotations

from typing import Final

import msgspec

_MANY: Final = 0x1000  # parts kept before they are joined: a part of five letters costs 56 bytes


class Texts:
    """The text of each choice, as parts: `bytes` are the raw insides of JSON strings, `str` is text."""

    __slots__ = ("_joined_count", "_parts")

    def __init__(self) -> None:
        self._parts: dict[int, list[str | bytes]] = {}
        self._joined_count = 0

    @property
    def events_count(self) -> int:
        """Parts taken so far."""
        return self._joined_count + sum(map(len, self._parts.values()))

    def parts(self, choice: int) -> list[str | bytes]:
        """The list to append this choice's parts to; call `tidy` now and then."""
        return self._parts.setdefault(choice, [])

    def tidy(self, parts: list[str | bytes]) -> None:
        """Join parts when they have become many, so that memory stays near the size of the text itself."""
        if len(parts) >= _MANY:
            whole = _join(parts)
            self._joined_count += len(parts) - 1
            parts[:] = [whole]

    def joined(self) -> str:
        """All text, one choice after the other."""
        return "".join(_join(self._parts[choice]) for choice in sorted(self._parts))


def _join(parts: list[str | bytes]) -> str:
    texts: list[str] = []
    raw: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            raw.append(part)
        else:
            texts += (_unescape(raw), part)
            raw = []
    texts.append(_unescape(raw))
    return "".join(texts)


def _unescape(raw: list[bytes]) -> str:
    try:
        return msgspec.json.decode(b'"' + b"".join(raw) + b'"', type=str)
    except ValueError:
        return "".join(part.decode("utf-8", "replace") for part in raw)
