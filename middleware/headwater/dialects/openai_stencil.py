"""Know an ordinary chunk by its bytes alone. The chunks of one stream differ in little but the text they carry.

A `Stencil` is a real event with one hole where its text stood (and a second one for OpenAI's random `obfuscation`). Bytes
that match outside the holes, and have no quote, no line end and no closing backslash inside, are the same JSON with another
string: no decoder is needed to know that nothing ends there. Holes are not guessed: other text is put into them, and
must come out of the decoder in the right place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from headwater.dialects.openai_shapes import Chunk, Shape, text_of

_MARK: Final = b"headwater-hole"
_TEXT_START: Final = re.compile(rb'"(?:content|reasoning_content|reasoning|refusal|arguments)"\s*:\s*"')
_PADDING_START: Final = re.compile(rb'"obfuscation"\s*:\s*"')
_STRING_REST: Final = re.compile(rb'(?:[^"\\\r\n]|\\.)*')
_QUOTE, _BACKSLASH, _LF, _CR = b'"\\\n\r'


class Stencil:
    """An ordinary event with a hole for its text; `rewrite` is how it goes out where that differs."""

    __slots__ = ("choice", "end", "head", "head_out", "tail", "tail_out")

    def __init__(
        self, head: bytes, tail: bytes, end: bytes, choice: int, rewrite: Callable[[bytes], bytes] | None
    ) -> None:
        self.head = self.head_out = head
        self.tail = self.tail_out = tail
        self.end = end
        """What follows the padding; empty where there is no padding."""
        self.choice = choice
        """The index of the choice that the text belongs to."""
        if rewrite is not None:
            self.head_out, _, rest = rewrite(head + _MARK + tail + end).partition(_MARK)
            self.tail_out = rest[: len(rest) - len(end)]

    def text(self, data: bytes) -> bytes | None:
        """The raw text in the hole; None where the bytes are not exactly one such event."""
        if not data.startswith(self.head):
            return None
        start = len(self.head)
        stop = data.find(b'"', start)
        if not data.startswith(self.tail, stop) or not self._ends_after(data, stop + len(self.tail)):
            return None
        found = data[start:stop]
        return found if is_plain(found) else None

    def _ends_after(self, data: bytes, at: int) -> bool:
        if not self.end:
            return at == len(data)
        stop = data.find(b'"', at)
        return data[stop:] == self.end and is_plain(data[at:stop], empty=True)


def is_plain(text: bytes, *, empty: bool = False) -> bool:
    """Whether the bytes are the whole inside of a JSON string: no quote, no line end, no backslash before the end."""
    if not text:
        return empty
    return _QUOTE not in text and _LF not in text and _CR not in text and text[-1] != _BACKSLASH


def learn(raw: bytes, shape: Shape[Chunk], rewrite: Callable[[bytes], bytes] | None) -> Stencil | None:
    """The stencil of an ordinary event (one choice, some text, nothing that ends); None where it has no simple hole."""
    if not raw.startswith(b"data:") or _MARK in raw:
        return None
    for found in _TEXT_START.finditer(raw):
        head = raw[: found.end()]
        tail = raw[_end_of_string(raw, found.end()) :]
        choice = _read_back(head, tail, shape)
        if choice is None:
            continue
        padding = _PADDING_START.search(tail)
        end = b""
        if padding is not None:
            end = tail[_end_of_string(tail, padding.end()) :]
            tail = tail[: padding.end()]
            if _padding_read_back(head + tail + _MARK + end) != _MARK.decode():
                return None
        return Stencil(head, tail, end, choice, rewrite)
    return None


def _end_of_string(text: bytes, start: int) -> int:
    found = _STRING_REST.match(text, start)
    return found.end() if found else start


def _read_back(head: bytes, tail: bytes, shape: Shape[Chunk]) -> int | None:
    """The index of the one choice whose whole text is what is put into the hole."""
    chunk = shape.read((head + _MARK + tail)[len(b"data:") :])
    choices = chunk.choices if chunk is not None else None
    if not choices or len(choices) != 1 or not hasattr(choices[0], "delta"):
        return None
    choice = choices[0]
    return choice.index if text_of(choice.delta) == _MARK.decode() and isinstance(choice.index, int) else None


def _padding_read_back(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw[len(b"data:") :], type=dict[str, object]).get("obfuscation")
    except (ValueError, RecursionError):
        return None
