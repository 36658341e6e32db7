"""Keep the generated text of a stream, cheaply, until somebody wants to count it. Knows strings and JSON escapes only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

_MANY: Final = 0x1000  # pieces kept before they are joined: one of five letters costs 46 bytes
_ESCAPED_ENDS: Final = slice(1, -1)


class Texts:
    """The text of each choice: the raw inside of one JSON string that grows, and the pieces that came since it was joined."""

    __slots__ = ("_joined_count", "_pieces", "_raw")

    def __init__(self) -> None:
        self._raw: dict[int, bytearray] = {}
        self._pieces: dict[int, list[bytes]] = {}
        self._joined_count = 0

    @property
    def events_count(self) -> int:
        """Pieces taken so far. Asked for now and then in a stream's course, so this is where memory is tidied."""
        self._join()
        return self._joined_count

    def keep(self, choice: int, text: str | bytes) -> None:
        """Take a piece: `bytes` are the raw inside of a JSON string, whole escapes only; `str` is text."""
        if text:
            pieces = self._of(choice)
            pieces.append(text if isinstance(text, bytes) else _escaped(text))
            if len(pieces) >= _MANY:
                self._join()

    def skimmer(self, choice: int, head: bytes, tail: bytes) -> Callable[[bytes], bool]:
        """A function that takes a chunk if it is `head`, plain text of the choice, and `tail`; and says whether it was.

        Plain is the whole inside of a JSON string without any escape or line end. This runs for each chunk of a stream:
        what it does and in which order is by measurement (bench/overhead.py); the numbers are the quote, the backslash
        and the two line ends.
        """
        start, end, append = len(head), -len(tail), self._of(choice).append

        def skim(data: bytes) -> bool:
            text = data[start:end]
            is_plain = 0x22 not in text and 0x5C not in text and 0x0A not in text and 0x0D not in text and text
            if is_plain and head + text + tail == data:
                append(text)
                return True
            return False

        return skim

    def taker(self, choice: int, text_in: Callable[[bytes], bytes | None]) -> Callable[[bytes], bool]:
        """The same for chunks in which more than the text varies: `text_in` tells the raw text of one, or None."""
        append = self._of(choice).append

        def take(data: bytes) -> bool:
            text = text_in(data)
            if text is None:
                return False
            append(text)
            return True

        return take

    def joined(self) -> str:
        """All text, one choice after the other."""
        self._join()
        return "".join(_unescaped(bytes(self._raw[choice])) for choice in sorted(self._raw))

    def _of(self, choice: int) -> list[bytes]:
        return self._pieces.setdefault(choice, [])

    def _join(self) -> None:
        for choice, pieces in self._pieces.items():
            self._joined_count += len(pieces)
            self._raw.setdefault(choice, bytearray()).extend(b"".join(pieces))
            pieces.clear()  # the same list: a skimmer appends to it


def _escaped(text: str) -> bytes:
    try:
        return msgspec.json.encode(text)[_ESCAPED_ENDS]
    except UnicodeEncodeError:  # half of a surrogate pair, as lenient decoders let it through
        return msgspec.json.encode(text.encode("utf-8", "replace").decode())[_ESCAPED_ENDS]


def _unescaped(raw: bytes) -> str:
    try:
        return msgspec.json.decode(b'"' + raw + b'"', type=str)
    except ValueError:
        return raw.decode("utf-8", "replace")
