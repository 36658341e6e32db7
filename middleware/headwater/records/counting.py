"""What the catalog knows of counting tokens: scripts, tokenizers and what pictures and sound cost. No text, no counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headwater.records.figures import Factor

Encoding = Literal["o200k_base", "cl100k_base"]
"""An encoding that tiktoken has the vocabulary of."""

ScriptName = Literal[
    "letters", "digits", "signs", "accents", "cyrillic", "semitic", "indic", "kana", "han", "hangul", "emoji",
]  # fmt: skip
"""A class of characters; which bytes they are is UTF-8's business."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A class of characters, and how many tokens of the reference encoding (o200k_base) one of them makes."""

    name: str
    title: str
    tokens_per_character_ratio: Factor


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRatios:
    """The tokens that a tokenizer makes of a script's text, over those that the reference encoding makes of it."""

    letters_ratio: Factor
    digits_ratio: Factor
    signs_ratio: Factor
    accents_ratio: Factor
    cyrillic_ratio: Factor
    semitic_ratio: Factor
    indic_ratio: Factor
    kana_ratio: Factor
    han_ratio: Factor
    hangul_ratio: Factor
    emoji_ratio: Factor


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """The tokens that a chat format puts around what was written.

    `schema_ratio`: tokens of a JSON schema as the model gets it, over those of its JSON text.
    """

    message_tokens: Factor
    name_tokens: Factor
    priming_tokens: Factor
    function_tokens: Factor
    properties_tokens: Factor
    property_tokens: Factor
    enum_saved_tokens: Factor
    enum_item_tokens: Factor
    functions_end_tokens: Factor
    schema_ratio: Factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """How the models of a family make tokens of text.

    `models`: patterns of the names of its models. `encoding`: what their text is counted with. `fit`: whether that is their
    own encoding, or one that is near. `ratios`: how far their own is from the reference; None where it is the reference.
    """

    name: str
    title: str
    models: tuple[str, ...]
    encoding: Encoding
    fit: Literal["own", "near"]
    ratios: ScriptRatios | None
    chat: ChatFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What pictures and sound cost the models of a family, in tokens.

    `rule`: by tiles of `tile_px` after the picture was made to fit `fit_px` and its short side `side_px`, where those are
    given (`tiles`), or by patches of `tile_px` up to `most_tiles_count` (`patches`). A picture costs `base_tokens`, and
    `tile_tokens` for each of them; one without more than `small_px` on a side is one tile. `low_px`: what it is shrunk to when
    low detail is asked for; low detail costs `base_tokens` alone where it is not given. `doubt_ratio`: how far the rule is off.
    """

    name: str
    title: str
    models: tuple[str, ...]
    rule: Literal["tiles", "patches"]
    base_tokens: Factor | None
    tile_tokens: Factor
    tile_px: Factor
    most_tiles_count: Factor
    fit_px: Factor | None
    side_px: Factor | None
    small_px: Factor | None
    low_px: Factor | None
    doubt_ratio: Factor
    audio_tokens_per_s: Factor | None
    uncounted_tokens: Factor
    """Tokens of a part that cannot be counted from outside: a file, sound of unknown length."""
