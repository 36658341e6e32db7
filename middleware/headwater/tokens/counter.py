"""Count tokens where the upstream does not say: with tiktoken's vocabulary, else by a rule of thumb that says so.

Blocking and pure: no network (a vocabulary that is not there, whole, is not loaded), no clock. Text is encoded in short
segments, so that no text makes a count slow beyond its length, and special tokens in it are ordinary text.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import Final, Literal

import tiktoken

from headwater.records import Prompt, TokenCount
from headwater.vocab import SHA256, Vocabulary

_log: Final = logging.getLogger(__name__)

_DEFAULT_ENCODING: Final = "o200k_base"
# tiktoken/model.py: gpt-4 and gpt-3.5 use cl100k_base, all that came later o200k_base. Azure writes gpt-35.
_CL100K_MODEL: Final = re.compile(r"(?:ft:)?(?:gpt-4(?![.\w])|gpt-3\.5|gpt-35)")

# "How to count tokens with tiktoken", OpenAI cookbook: every message is wrapped in three tokens, a name costs one more,
# and every reply is primed with three.
_TOKENS_PER_MESSAGE: Final = 3
_TOKENS_PER_NAME: Final = 1
_TOKENS_PRIMING: Final = 3

_SEGMENT_CHARS: Final = 8_000
_SEGMENT_CHARS_UNBROKEN: Final = 1_000

_load_lock: Final = threading.Lock()


class TokenCounter:
    """Counts tokens by the model's encoding once its vocabulary is loaded, and estimates them until then."""

    def __init__(self, *, vocab: Vocabulary | None = None) -> None:
        self._vocab = vocab
        self._encodings: dict[str, tiktoken.Encoding] = {}

    @property
    def ready(self) -> bool:
        """Whether there is a vocabulary to count with."""
        return bool(self._encodings)

    def load(self) -> None:
        """Load the vocabularies that are there; about a second. Never raises: without them counts are estimated."""
        vocab = self._vocab if self._vocab is not None else Vocabulary.of_environment()
        loaded: dict[str, tiktoken.Encoding] = {}
        for name in SHA256:
            try:
                encoding = _load(name, vocab)
            except Exception as error:
                _log.warning("the vocabulary %s cannot be loaded: %s", name, error)
                continue
            if encoding is not None:
                loaded[name] = encoding
        self._encodings = loaded  # at once: another thread may be counting
        if not self.ready:
            _log.info("no vocabulary is installed: tokens are estimated where the upstream gives none")

    def count_prompt(self, prompt: Prompt, model: str | None) -> TokenCount:
        """The tokens of a chat prompt: its texts, and what the chat format puts around them."""
        tools = (json.dumps([each.name, each.description, each.schema]) for each in prompt.tools)
        counts = [self.count_text(text, model) for text in (*prompt.texts, *tools)]
        tokens = sum(count.tokens for count in counts) + prompt.tokens_count + _TOKENS_PRIMING
        tokens += _TOKENS_PER_MESSAGE * prompt.messages_count + _TOKENS_PER_NAME * prompt.names_count
        is_counted = self.ready and all(count.source == "counted" for count in counts)
        return TokenCount(tokens=tokens, source="counted" if is_counted else "estimated")

    def count_text(self, text: str, model: str | None) -> TokenCount:
        """The tokens of a text."""
        name = encoding_name(model)
        encoding = self._encodings.get(name)
        source: Literal["counted", "estimated"] = "counted"
        if encoding is None:
            # Another real vocabulary is a better guess than a rule of thumb, but it is a guess.
            encoding, source = next(iter(self._encodings.values()), None), "estimated"
        tokens = 0
        for segment in segments(text):
            made = None if encoding is None else _encoded_count(encoding, segment)
            if made is None:
                made, source = estimate(segment), "estimated"
            tokens += made
        return TokenCount(tokens=tokens, source=source)


def encoding_name(model: str | None) -> str:
    """The encoding of a model by its name, without the provider before a slash; the newest one where it is unknown."""
    name = (model or "").rpartition("/")[2]
    return "cl100k_base" if _CL100K_MODEL.match(name) else _DEFAULT_ENCODING


def segments(text: str) -> Iterator[str]:
    """The text in pieces of bounded length, cut before white space where there is any: there tokens end anyway."""
    start = 0
    while len(text) - start > _SEGMENT_CHARS:
        end = _last_break(text, start + 1, start + _SEGMENT_CHARS)
        if end is None:
            end = start + _SEGMENT_CHARS_UNBROKEN
        yield text[start:end]
        start = end
    if text:
        yield from _tail(text, start)


def _tail(text: str, start: int) -> Iterator[str]:
    rest = text[start:]
    if len(rest) <= _SEGMENT_CHARS_UNBROKEN or _last_break(rest, 1, len(rest)) is not None:
        yield rest
    else:
        yield from (rest[i : i + _SEGMENT_CHARS_UNBROKEN] for i in range(0, len(rest), _SEGMENT_CHARS_UNBROKEN))


def _last_break(text: str, start: int, end: int) -> int | None:
    """The last place in [start, end) where white space follows something else."""
    place = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
    while place > start and text[place - 1].isspace():
        place -= 1
    return place if place > start else None


def _encoded_count(encoding: tiktoken.Encoding, segment: str) -> int | None:
    try:
        return len(encoding.encode_ordinary(segment))
    except Exception:
        return None
    except BaseException as error:
        # A panic in tiktoken's Rust code arrives as pyo3_runtime.PanicException, which is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        return None


def _load(name: str, vocab: Vocabulary) -> tiktoken.Encoding | None:
    """The encoding, if its file is there: tiktoken downloads what it does not find, and must never come to that."""
    folder = vocab.find(name)
    if folder is None:
        return None
    with _load_lock:
        before = os.environ.get("TIKTOKEN_CACHE_DIR")
        os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
        try:
            return tiktoken.get_encoding(name)
        finally:
            if before is None:
                del os.environ["TIKTOKEN_CACHE_DIR"]
            else:
                os.environ["TIKTOKEN_CACHE_DIR"] = before


def estimate(text: str) -> int:
    """The tokens of a text by the classes of its UTF-8 bytes, rounded up."""
    data = text.encode("utf-8", "replace")
    tokens = sum(len(data.translate(None, others)) * ratio for others, ratio in _CLASSES)
    return int(tokens) + (tokens > int(tokens))


def _all_but(*ranges: range) -> bytes:
    kept = {byte for each in ranges for byte in each}
    return bytes(byte for byte in range(256) if byte not in kept)


_LETTERS: Final = (range(0x41, 0x5B), range(0x61, 0x7B), range(0x09, 0x0E), range(0x20, 0x21))

_CLASSES: Final = (
    (_all_but(*_LETTERS), 0.2),  # ASCII letters and white space: English 0.19, German 0.23
    (_all_but(range(0x09), range(0x0E, 0x20), range(0x21, 0x41), range(0x5B, 0x61), range(0x7B, 0x80)), 0.5),  # code
    (_all_but(range(0xC2, 0xE0)), 0.35),  # accents, Greek 0.37, Russian 0.26, Arabic 0.38
    (_all_but(range(0xE0, 0xE3)), 0.4),  # Hindi 0.29, Thai 0.48
    (_all_but(range(0xE3, 0xEA), range(0xEF, 0xF0)), 0.9),  # Chinese 0.86, Japanese 0.85
    (_all_but(range(0xEA, 0xEF)), 0.65),  # Korean 0.59 with its spaces
    (_all_but(range(0xF0, 0xF5)), 2.0),  # emoji
)
"""First bytes of UTF-8 characters (as the bytes to delete), and tokens per character: rounded from what o200k_base makes of
Article 1 of the Universal Declaration of Human Rights in ten languages, and of Python's standard library (0.24). Within
a factor of 1.4 of the count on all of those, and low by a quarter on JSON that is mostly numbers."""
