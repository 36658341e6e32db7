"""Know an ordinary chunk by its bytes alone. The chunks of one stream differ in little but the text they carry.

A `Stencil` is a real event with one hole where its text stood (and a second one for OpenAI's random `obfuscation`). Bytes
that match outside the holes, with the inside of a string and no line end within, are the same JSON with another string: no
decoder is needed to know that nothing ends there. Holes are not guessed: other text is put into them, and must come out
of the decoder in the right place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from headwater.dialects.lenient import json_object

Lesson = Callable[[bytes], tuple[int, str] | None]
"""Reads the data of one event: the choice that its text belongs to, and the text, if it is an ordinary one with one text
and nothing besides that counts or ends; else None. Changes nothing."""

_MARK: Final = b"headwater-hole"
_PADDING_START: Final = re.compile(rb'"obfuscation"\s*:\s*"')
_STRING_REST: Final = re.compile(rb'(?:[^"\\\r\n]++|\\[^\r\n])*+')
_STENCILS_COUNT: Final = 4
_LESSONS_COUNT: Final = 16
_LESSON_MISSES: Final = 32
_BACKSLASH, _LF, _CR = b"\\\n\r"


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
        if data[stop - 1] == _BACKSLASH:
            stop = _end_of_string(data, start)
        if not data.startswith(self.tail, stop) or not self._ends_after(data, stop + len(self.tail)):
            return None
        text = data[start:stop]
        return text if text and _LF not in text and _CR not in text else None

    def _ends_after(self, data: bytes, at: int) -> bool:
        if not self.end:
            return at == len(data)
        stop = data.find(b'"', at)
        padding = data[at:stop]
        return data[stop:] == self.end and _BACKSLASH not in padding and _LF not in padding and _CR not in padding

    def rewritten(self, data: bytes, text: bytes) -> bytes:
        """The event as it goes out, where `text` is what is in its hole."""
        return self.head_out + text + self.tail_out + data[len(self.head) + len(text) + len(self.tail) :]

    @property
    def is_simple(self) -> bool:
        """Whether there is one hole only, and nothing to rewrite."""
        return not self.end and self.head_out + self.tail_out == self.head + self.tail


class Stencils:
    """The few stencils that a stream needs: one for each choice, or for reasoning and answer."""

    __slots__ = ("_known", "_lesson", "_lessons_count", "_misses_count", "_rewrite", "_text_start")

    def __init__(
        self, text_start: re.Pattern[bytes], lesson: Lesson, rewrite: Callable[[bytes], bytes] | None = None
    ) -> None:
        self._text_start = text_start
        self._lesson = lesson
        self._rewrite = rewrite
        self._known: list[Stencil] = []
        self._lessons_count = _LESSONS_COUNT
        self._misses_count = 0

    @property
    def latest(self) -> Stencil | None:
        """The one learned last."""
        return self._known[0] if self._known else None

    def find(self, data: bytes) -> tuple[Stencil, bytes] | None:
        """The stencil that the bytes fit, and the raw text in its hole."""
        for stencil in self._known:
            text = stencil.text(data)
            if text is not None:
                return stencil, text
        return None

    def learn(self, raw: bytes, data: bytes) -> None:
        """Learn from an ordinary event that fitted none; more and more rarely where that does not pay."""
        self._misses_count += 1
        if self._lessons_count == 0 and self._misses_count % _LESSON_MISSES:
            return
        self._lessons_count = max(0, self._lessons_count - 1)
        learned = cut(raw, data, self._text_start, self._lesson, self._rewrite)
        if learned is not None:
            self._known = [learned, *self._known[: _STENCILS_COUNT - 1]]


def cut(
    raw: bytes,
    data: bytes,
    text_start: re.Pattern[bytes],
    lesson: Lesson,
    rewrite: Callable[[bytes], bytes] | None = None,
) -> Stencil | None:
    """The stencil of an ordinary event; None where it has no simple hole. `data`: the event's data, which stands in one
    piece in its raw bytes."""
    start = raw.find(data)
    if _MARK in raw or start < 0 or raw[start + len(data) :].strip(b"\r\n"):
        return None
    for found in text_start.finditer(raw, start):
        head = raw[: found.end()]
        tail = raw[_end_of_string(raw, found.end()) :]
        read = lesson((head + _MARK + tail)[start:].rstrip(b"\r\n"))
        if read is None or read[1] != _MARK.decode():
            continue
        padding = _PADDING_START.search(tail)
        end = b""
        if padding is not None:
            end = tail[_end_of_string(tail, padding.end()) :]
            tail = tail[: padding.end()]
            if _padding_read_back((head + tail + _MARK + end)[start:]) != _MARK.decode():
                return None
        return Stencil(head, tail, end, read[0], rewrite)
    return None


def _end_of_string(text: bytes, start: int) -> int:
    found = _STRING_REST.match(text, start)
    return found.end() if found else start


def _padding_read_back(data: bytes) -> object:
    found = json_object(data)
    return None if found is None else found.get("obfuscation")
