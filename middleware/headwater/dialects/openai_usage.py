"""What servers of OpenAI's family say of their work: counts and times, whose tokens are inside whose. Canonical `Usage` out.

Knows members and sums; does not know streams or bodies. Where a server says one thing in two ways, the total decides: what
it has beyond prompt and completion is somebody's, and the members that could explain it are asked in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from headwater.dialects.kit.lenient import count, seconds, total, within
from headwater.records import Told, Usage
from headwater.units import MS_PER_S

# The same count under the names that servers give it. The first that is more than zero wins: some servers say zero under one
# name and the count under another (ithtelab/workbuddy-manager, issue 39: cached_tokens 0, prompt_cache_hit_tokens 1024).
_CACHED: Final = (
    ("prompt_tokens_details", "cached_tokens"),  # OpenAI and most others
    ("prompt_token_details", "cached_tokens"),  # Mistral, which says both
    ("cached_tokens",),  # Moonshot
    ("prompt_cache_hit_tokens",),  # DeepSeek
    ("cache_read_input_tokens",),  # Databricks, LiteLLM
    ("num_cached_tokens",),  # Mistral, older
    ("precached_prompt_tokens",),  # GigaChat
)
_WRITTEN: Final = (
    ("prompt_tokens_details", "cache_write_tokens"),  # OpenAI, OpenRouter
    ("prompt_tokens_details", "cache_creation_tokens"),  # LiteLLM
    ("prompt_tokens_details", "cache_creation_input_tokens"),  # Qwen
    ("cache_creation_input_tokens",),  # Databricks, LiteLLM, DeepInfra
    ("prompt_cache_write_tokens",),  # CodeBuddy
)
_REASONING: Final = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("reasoning_tokens",),  # SGLang, Databricks, Perplexity
)
_AUDIO: Final = (("prompt_tokens_details", "audio_tokens"), ("prompt_token_details", "audio_tokens"))

# Where servers say how long they worked, without their queue: a member of the reply (or its usage), prefill and decode in
# it, and in how many to the second.
_TIMES: Final = (
    ("timings", "prompt_ms", "predicted_ms", MS_PER_S),  # llama.cpp
    ("metrics", "time_to_first_token_ms", "generation_time_ms", MS_PER_S),  # vLLM, per_request_metrics.md
    ("usage", "prompt_time", "completion_time", 1),  # Groq
    ("time_info", "prompt_time", "completion_time", 1),  # Cerebras
    ("stats", "time_to_first_token", "generation_time", 1),  # LM Studio, its REST API of version 0
)
TIMED: Final = ("timings", "metrics", "time_info", "stats")
"""Members of a reply that may say how long it took."""


def told(usage: Any, times: Mapping[str, Any]) -> Told:
    """All that a reply says: its counts, and those of its members that are `TIMED`."""
    return Told(usage=usage_of(usage, times.get("timings")), busy_s=_busy_s({**times, "usage": usage}))


def times_of(said: Any) -> dict[str, Any]:
    """Those members of a reply or of a chunk that say how long it took."""
    return {name: value for name in TIMED if isinstance(value := getattr(said, name), dict)}


def counts_of(usage: Any, x_groq: Any, choices: Iterable[Any] = ()) -> Any:
    """The object with the counts: the reply's own `usage`, the one in Groq's `x_groq`, or that of a choice (Moonshot)."""
    places = [usage, within(x_groq, "usage"), *(choice.usage for choice in choices)]
    return next((place for place in places if has_counts(place)), None)


def has_counts(usage: Any) -> bool:
    """Whether an object in place of a usage says anything at all."""
    return isinstance(usage, dict) and not (
        count(usage.get("prompt_tokens")) is None and count(usage.get("completion_tokens")) is None
    )


def usage_of(usage: Any, timings: Any) -> Usage | None:
    """The upstream's counts in canonical shape: from `usage`, else from llama.cpp's `timings`; None where it has none."""
    found = _from_usage(usage, count(within(timings).get("cache_n"))) if has_counts(usage) else None
    return _from_timings(within(timings)) if found is None else found


def _from_usage(usage: dict[str, Any], cache_n: int | None) -> Usage:
    given, made, sum_of_all = (
        count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    if sum_of_all is not None:
        # A completion of no tokens is left out by some: the total says that it was none.
        given = _rest(sum_of_all, made) if given is None else given
        made = _rest(sum_of_all, given) if made is None else made
    cached, written = _first(usage, _CACHED), _first(usage, _WRITTEN)
    cached = cache_n if cached is None else cached
    reasoning = _first(usage, _REASONING)
    if given is not None and made is not None:
        beside_input, beside_output = _beside(usage, given, made, sum_of_all)
        given, made = given + beside_input, made + beside_output
        reasoning = reasoning or beside_output or reasoning
    elif made is not None and reasoning is not None and reasoning > made:
        made += reasoning
    cached = _within(cached, given)
    return Usage(
        input_tokens=given,
        output_tokens=made,
        cached_tokens=cached,
        cache_write_tokens=_within(written, None if given is None else given - (cached or 0)),
        reasoning_tokens=_within(reasoning, made),
        source="upstream",
    )


def _beside(usage: dict[str, Any], given: int, made: int, sum_of_all: int | None) -> tuple[int, int]:
    """Tokens of the input and of the output that are neither in `prompt_tokens` nor in `completion_tokens`."""
    reasoning = _first(usage, _REASONING) or 0
    cited = count(usage.get("citation_tokens"))
    if cited is not None or count(usage.get("num_search_queries")) is not None:
        # Perplexity's deep research, by its price list: input is the prompt and the citations that were processed, and
        # reasoning is a step before the completion. Its total leaves both out.
        return cited or 0, count(usage.get("reasoning_tokens")) or 0
    alone = reasoning if reasoning > made else 0
    beyond = alone if sum_of_all is None else sum_of_all - given - made
    if beyond <= 0:
        return 0, 0
    if beyond == reasoning:
        return 0, beyond  # xAI, Vertex
    audio, cache = _first(usage, _AUDIO), total(_first(usage, _CACHED), _first(usage, _WRITTEN))
    if beyond in (audio, cache) or usage.get("prompt_audio_seconds") is not None:
        return beyond, 0  # Mistral's Voxtral, 375 tokens for each half minute; caches as Anthropic counts them
    if reasoning:
        return 0, alone  # a total that explains nothing
    return 0, beyond  # Gemini's own endpoint: what was thought is in the total, and nowhere else


def _from_timings(timings: dict[str, Any]) -> Usage | None:
    fresh, cached, made = (count(timings.get(name)) for name in ("prompt_n", "cache_n", "predicted_n"))
    if fresh is None and made is None:
        return None
    # `prompt_n` counts only the tokens that were really processed; those from the cache stand beside it.
    given = None if fresh is None else fresh + (cached or 0)
    return Usage(
        input_tokens=given,
        output_tokens=made,
        cached_tokens=None if given is None else cached,
        source="upstream",
    )


def _busy_s(times: Mapping[str, Any]) -> float | None:
    """The time of prefill and decode as the first place says that knows both."""
    for member, prefill, decode, per_s in _TIMES:
        prefill_s, decode_s = (seconds(within(times, member).get(name), per_s=per_s) for name in (prefill, decode))
        if prefill_s is not None and decode_s is not None:
            return prefill_s + decode_s
    return None


def _first(usage: dict[str, Any], paths: tuple[tuple[str, ...], ...]) -> int | None:
    said = [count(within(usage, *way).get(name)) for *way, name in paths]
    return next((each for each in said if each), next((each for each in said if each is not None), None))


def _rest(sum_of_all: int, part: int | None) -> int | None:
    return None if part is None or part > sum_of_all else sum_of_all - part


def _within(part: int | None, whole: int | None) -> int | None:
    return None if part is None or whole is None else min(part, whole)
