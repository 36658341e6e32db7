"""Count the tokens of texts and of prompts, and say how sure the counts are. Blocking, bounded; no network, no clock.

A text is counted with the model's own encoding where its vocabulary is there. Else with one that is near, times what the
catalog says of the text's scripts, or without any by the scripts alone: then it is estimated, and says within which factor.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final, Protocol

import tiktoken

from headwater.records import Prompt, TokenCount, Tokenizer
from headwater.tokens import encodings
from headwater.tokens.amount import NOTHING, Amount, exactly, total
from headwater.tokens.chat import around_messages, as_json, write_tools
from headwater.tokens.families import media_of, read_all, tokenizer_of
from headwater.tokens.media import picture_amount, sound_amount, uncounted_amount
from headwater.tokens.memo import Memo
from headwater.tokens.scripts import by_thumb, converted, encoded
from headwater.tokens.segments import segments
from headwater.vocab import Vocabulary

_log: Final = logging.getLogger(__name__)

_LEAST_KEPT_CHARS: Final = 200
"""Shorter pieces are encoded as fast as they are looked up."""
_MOST_ENCODED_CHARS: Final = 4_000_000
"""Of one exchange, beside what is remembered: a million tokens, and half a second at the worst. What is beyond is estimated
by its scripts."""


class CountTokens(Protocol):
    """An operator's own tokenizer: the tokens of a text for a model; None where it does not know that model. Called in threads
    and on the event loop, with short texts and long ones."""

    def __call__(self, text: str, model: str | None, /) -> int | None:
        """The tokens of the text."""
        ...


class TokenCounter:
    """Counts tokens by the model's encoding once its vocabulary is loaded, and estimates them until then.

    `own`: the operator's tokenizer, asked first for every text.
    """

    def __init__(
        self,
        *,
        vocab: Vocabulary | None = None,
        own: CountTokens | None = None,
        most_encoded_chars: int = _MOST_ENCODED_CHARS,
    ) -> None:
        self._vocab = vocab
        self._own = own
        self._is_failure_said = False
        self._most_encoded_chars = most_encoded_chars
        self._encodings: dict[str, tiktoken.Encoding] = {}
        self._memo = Memo()

    @property
    def ready(self) -> bool:
        """Whether there is a vocabulary to count with."""
        return bool(self._encodings)

    def load(self) -> None:
        """Load the vocabularies that are there; about a second. Never raises: without them counts are estimated."""
        read_all()
        vocab = self._vocab if self._vocab is not None else Vocabulary.of_environment()
        self._encodings = encodings.load_all(vocab)  # at once: another thread may be counting
        self._memo.clear()
        if not self.ready:
            _log.info("no vocabulary is installed: tokens are estimated where the upstream gives none")

    def count_prompt(self, prompt: Prompt, model: str | None) -> TokenCount:
        """The tokens of a prompt: its texts, tools, pictures and sound, and what the chat format puts around them. Once, however
        many answers are asked for."""
        tokenizer, media, budget = tokenizer_of(model), media_of(model), _Budget(self._most_encoded_chars)
        chat = tokenizer.chat
        tools = write_tools(prompt.tools, chat)
        schemas = self._all((*tools.json_texts, *map(as_json, prompt.schemas)), model, budget)
        return total(
            self._all((*prompt.texts, *tools.texts), model, budget),
            schemas.times(chat.schema_ratio, is_counted=not schemas.value),
            around_messages(prompt, chat),
            *tools.around,
            *(picture_amount(picture, media) for picture in prompt.pictures),
            sound_amount(prompt.audio_s, media),
            uncounted_amount(prompt.uncounted_parts_count, media),
        ).as_count()

    def count_text(self, text: str, model: str | None) -> TokenCount:
        """The tokens of a text."""
        return self._all((text,), model, _Budget(self._most_encoded_chars)).as_count()

    def _all(self, texts: Iterable[str], model: str | None, budget: _Budget) -> Amount:
        tokenizer = tokenizer_of(model)
        amount = NOTHING
        for text in texts:
            own = None if self._own is None else self._by_own(text, model)
            amount = amount.plus(self._text(text, tokenizer, budget) if own is None else own)
        return amount if self.ready or self._own is not None else amount._replace(is_counted=False)

    def _by_own(self, text: str, model: str | None) -> Amount | None:
        """What the operator's tokenizer says; None where it says nothing that could be a count."""
        try:
            found = self._own(text, model) if self._own is not None else None
        except Exception as error:
            if not self._is_failure_said:
                self._is_failure_said = True
                _log.warning("headwater: the operator's counter failed, tokens are estimated: %s", type(error).__name__)
            return None
        return exactly(found) if type(found) is int and found >= 0 else None

    def _text(self, text: str, tokenizer: Tokenizer, budget: _Budget) -> Amount:
        amount = NOTHING
        for segment in segments(text):
            data = encoded(segment)
            if len(segment) < _LEAST_KEPT_CHARS:
                made = self._segment(segment, data, tokenizer, budget)
            else:
                key = self._memo.key(tokenizer.name, data)
                kept = self._memo.get(key)
                if kept is None:
                    made = self._segment(segment, data, tokenizer, budget)
                    if budget.left_chars > 0:  # what was cut short is no count to be remembered
                        self._memo.put(key, made)
                else:
                    made = kept
            amount = amount.plus(made)
        return amount

    def _segment(self, segment: str, data: bytes, tokenizer: Tokenizer, budget: _Budget) -> Amount:
        name: str = tokenizer.encoding
        if name not in self._encodings:
            # Another real vocabulary is a better guess than a rule of thumb, but it is a guess.
            name = next(iter(self._encodings), "")
        if not name or budget.left_chars <= 0:
            return by_thumb(data, tokenizer)
        budget.left_chars -= len(segment)
        made = encodings.encoded_count(self._encodings[name], segment)
        if made is None:
            return by_thumb(data, tokenizer)
        if name == tokenizer.encoding and tokenizer.fit == "own":
            return exactly(made)
        return converted(made, data, tokenizer, name)


class _Budget:
    """How much may still be encoded in one count."""

    __slots__ = ("left_chars",)

    def __init__(self, left_chars: int) -> None:
        self.left_chars = left_chars
