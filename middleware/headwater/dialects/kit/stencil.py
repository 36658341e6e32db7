"""Know an ordinary chunk by its bytes alone. The chunks of one stream differ in little but the text they carry.

A `Stencil` is a real event with one hole where its text stood (and a second one for OpenAI's random `obfuscation`; a third
one for a member that is another in each event, such as a number that counts them, before the text or behind it). Bytes that
match outside the holes, with the inside of a string and no line end within, are the same JSON with another string: no
decoder is needed to know that nothing ends there. Holes are not guessed: other text is put into them, and must come out
of the decoder in the right place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import Final

from headwater.dialects.kit.lenient import json_object

Lesson = Callable[[bytes], tuple[int, str] | None]
"""Reads the data of one event: the choice that its text belongs to, and the text, if it is an ordinary one with one text
and nothing besides that counts or ends; else None. Changes nothing."""

_MARK: Final = b"headwater-hole"
_PADDING_START: Final = re.compile(rb'"obfuscation"\s*:\s*"')
_STRING_REST: Final = re.compile(rb'(?:[^"\\\r\n]++|\\[^\r\n])*+')
_STENCILS_COUNT: Final = 4
_LESSONS_COUNT: Final = 16
_LESSON_MISSES: Final = 32
_MOST_CANDIDATES: Final = 8  # each takes a parse of the whole event to tell
_BACKSLASH, _LF, _CR = b"\\\n\r"
_NUMBER: Final = re.compile(rb"(?:0|[1-9][0-9]{0,17}+)(?![0-9])")
_WORD: Final = re.compile(rb'[^"\\\x00-\x1f\x7f-\xff]*+')
"""What may stand in a hole that varies: a whole number as JSON writes it, or the inside of a string in plain ASCII."""
_BLANKS: Final = re.compile(rb" *+")
_NUMBER_PROBE: Final = 987654321987654321
_WORD_PROBE: Final = "headwater-varies"


class Varying:
    """Bytes with a hole in which something is another in each event."""

    __slots__ = ("_after", "_before", "_inside")

    def __init__(self, before: bytes, inside: re.Pattern[bytes], after: bytes) -> None:
        self._before, self._inside, self._after = before, inside, after

    def end(self, data: bytes, at: int) -> int:
        """Where these bytes end in `data` if they begin at `at`; -1 where they do not stand there."""
        if not data.startswith(self._before, at):
            return -1
        found = self._inside.match(data, at + len(self._before))
        if found is None or not data.startswith(self._after, found.end()):
            return -1
        return found.end() + len(self._after)


class Stencil:
    """An ordinary event with a hole for its text; `rewrite` is how it goes out where that differs."""

    __slots__ = ("choice", "end", "head", "head_out", "tail", "tail_out", "varying_head", "varying_tail")

    def __init__(
        self, head: bytes, tail: bytes, end: bytes, choice: int, rewrite: Callable[[bytes], bytes] | None
    ) -> None:
        self.head = self.head_out = head
        self.tail = self.tail_out = tail
        self.end = end
        """What follows the padding; empty where there is no padding."""
        self.choice = choice
        """The index of the choice that the text belongs to."""
        self.varying_head: Varying | None = None
        self.varying_tail: Varying | None = None
        """What stands for the head or for the tail, where something in it varies."""
        if rewrite is not None:
            self.head_out, _, rest = rewrite(head + _MARK + tail + end).partition(_MARK)
            self.tail_out = rest[: len(rest) - len(end)]

    def text(self, data: bytes) -> bytes | None:
        """The raw text in the hole; None where the bytes are not exactly one such event."""
        start = len(self.head)
        if self.varying_head is not None:
            start = self.varying_head.end(data, 0)
            if start < 0:
                return None
        elif not data.startswith(self.head):
            return None
        stop = data.find(b'"', start)
        if data[stop - 1] == _BACKSLASH:
            stop = _end_of_string(data, start)
        if self.varying_tail is not None:
            at = self.varying_tail.end(data, stop)
        else:
            at = stop + len(self.tail) if data.startswith(self.tail, stop) else -1
        if at < 0 or not self._ends_after(data, at):
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
        """The event as it goes out, where `text` is what is in its hole. What is rewritten has nothing that varies."""
        return self.head_out + text + self.tail_out + data[len(self.head) + len(text) + len(self.tail) :]

    @property
    def is_simple(self) -> bool:
        """Whether there is one hole only, and nothing to rewrite."""
        if self.varying_head is not None or self.varying_tail is not None:
            return False
        return not self.end and self.head_out + self.tail_out == self.head + self.tail


class Stencils:
    """The few stencils that a stream needs: one for each choice, or for reasoning and answer.

    `varying`: leads to the value of a top-level member, its group 1, that is another in each event: a whole number, or a
    string, where it ends with the quote. `padded`: events may have blanks before their last brace, another number of them in
    each. Both for streams without a `rewrite`, and one or the other.
    """

    __slots__ = (
        "_known",
        "_lesson",
        "_lessons_count",
        "_misses_count",
        "_padded",
        "_rewrite",
        "_text_start",
        "_varying",
    )

    def __init__(
        self,
        text_start: re.Pattern[bytes],
        lesson: Lesson,
        rewrite: Callable[[bytes], bytes] | None = None,
        *,
        varying: re.Pattern[bytes] | None = None,
        padded: bool = False,
    ) -> None:
        self._text_start = text_start
        self._padded = padded
        self._varying = varying
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
            if self._varying is not None:
                loosen(learned, raw.find(data), self._varying, self._lesson)
            elif self._padded:
                pad(learned)
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
    for found in islice(text_start.finditer(raw, start), _MOST_CANDIDATES):
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


def loosen(stencil: Stencil, start: int, varying: re.Pattern[bytes], lesson: Lesson) -> None:
    """Make a hole in a stencil for what varies, where it is found. `start`: where the data of its event begins."""
    head, tail = stencil.head, stencil.tail
    for found in islice(varying.finditer(head, start), _MOST_CANDIDATES):
        made = _varying(head, found)
        if made is not None and _reads_alike(
            made[1] + _MARK + tail + stencil.end, start, found, stencil.choice, lesson
        ):
            stencil.varying_head = made[0]
            return
    for found in islice(varying.finditer(tail), _MOST_CANDIDATES):
        made = _varying(tail, found)
        if made is not None and _reads_alike(
            head + _MARK + made[1] + stencil.end, start, found, stencil.choice, lesson
        ):
            stencil.varying_tail = made[0]
            return


def pad(stencil: Stencil) -> None:
    """Make a hole in a stencil for the blanks before the last brace: there they are between the tokens of its JSON."""
    body = stencil.tail.rstrip(b"\r\n")
    if body.endswith(b"}") and not stencil.end:
        before = body[:-1].rstrip(b" ")
        stencil.varying_tail = Varying(before, _BLANKS, b"}" + stencil.tail[len(body) :])


def _varying(text: bytes, found: re.Match[bytes]) -> tuple[Varying, bytes] | None:
    """The text with a hole behind what was found, and with a probe in it; None where nothing that may vary stands there."""
    before = text[: found.end()]
    inside, probe = (_WORD, _WORD_PROBE) if before.endswith(b'"') else (_NUMBER, str(_NUMBER_PROBE))
    value = inside.match(text, found.end())
    if value is None:
        return None
    after = text[value.end() :]
    return Varying(before, inside, after), before + probe.encode() + after


def _reads_alike(raw: bytes, start: int, found: re.Match[bytes], choice: int, lesson: Lesson) -> bool:
    """Whether the probe came out of the decoder where it belongs, and the event is still the same ordinary one."""
    data = raw[start:].rstrip(b"\r\n")
    value = (json_object(data) or {}).get(found[1].decode())
    is_probe = value == _WORD_PROBE if isinstance(value, str) else type(value) is int and value == _NUMBER_PROBE
    return is_probe and lesson(data) == (choice, _MARK.decode())


def _end_of_string(text: bytes, start: int) -> int:
    found = _STRING_REST.match(text, start)
    return found.end() if found else start


def _padding_read_back(data: bytes) -> object:
    found = json_object(data)
    return None if found is None else found.get("obfuscation")
