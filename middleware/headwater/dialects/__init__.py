"""The table of the APIs that Headwater reads. A new API is one file beside this one, and one line here."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from headwater.dialects.anthropic import Anthropic
from headwater.dialects.base import Dialect
from headwater.dialects.bedrock import BedrockConverse
from headwater.dialects.cohere import CohereChat, CohereEmbed
from headwater.dialects.cohere_v1 import CohereV1Chat
from headwater.dialects.gemini import Gemini, GeminiEmbed
from headwater.dialects.ollama import OllamaChat, OllamaEmbed, OllamaGenerate
from headwater.dialects.openai_chat import OpenAIChat
from headwater.dialects.openai_completions import OpenAICompletions
from headwater.dialects.openai_embeddings import OpenAIEmbeddings
from headwater.dialects.openai_responses import OpenAIResponses

DIALECTS: tuple[Dialect, ...] = (
    OpenAIChat(),
    OpenAICompletions(),
    OpenAIResponses(),
    OpenAIEmbeddings(),
    Anthropic(),
    Gemini(),
    GeminiEmbed(),
    BedrockConverse(),
    OllamaChat(),
    OllamaGenerate(),
    OllamaEmbed(),
    CohereChat(),
    CohereEmbed(),
    CohereV1Chat(),
)
_CACHED_PATH_CHARACTERS: Final = 200


def find(method: str, path: str) -> Dialect | None:
    """The API that a request belongs to; None: not one of ours, let it pass untouched."""
    return _cached(method, path) if len(path) <= _CACHED_PATH_CHARACTERS else _find(method, path)


def _find(method: str, path: str) -> Dialect | None:
    plain = path.rstrip("/").lower()
    for dialect in DIALECTS:
        if dialect.matches(method, plain):
            return dialect
    return None


# Paths are the client's: what is kept of them is bounded.
_cached = lru_cache(maxsize=4096)(_find)
