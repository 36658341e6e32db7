"""What servers of OpenAI's family really send, in the shapes that were seen of each: replies, streams, and what they mean.

Bodies are made anew and hold little more than usage; the figures of most are those of a real reply.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from headwater.records import Usage
from tests.dialects.streams import DONE, delta, event


@dataclass(frozen=True, kw_only=True)
class Case:
    """A whole reply's usage as a server says it, other members beside it, and what it means."""

    usage: Any
    expected: Usage | None
    beside: dict[str, Any] = field(default_factory=dict)
    busy_s: float | None = None
    provider: str = ""
    """What genai-prices calls it; "" where it does not know it."""
    flavor: str = "chat"
    difference: str = ""
    """Why genai-prices reads it in another way; "" where it does not."""

    def body(self) -> bytes:
        """The reply."""
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
        made = {"object": "chat.completion", "model": "m", "choices": [choice], "usage": self.usage, **self.beside}
        return json.dumps(made).encode()


def usage(given: int | None, made: int | None, **members: int) -> Usage:
    """Counts of an upstream."""
    return Usage(input_tokens=given, output_tokens=made, source="upstream", **members)


def counts(given: int | None, made: int | None, total: int | None, **members: Any) -> dict[str, Any]:
    """A usage object."""
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": total, **members}


CASES: dict[str, Case] = {
    "openai": Case(
        usage=counts(
            2006,
            300,
            2306,
            prompt_tokens_details={"cached_tokens": 1920, "cache_write_tokens": 64, "audio_tokens": 0},
            completion_tokens_details={
                "reasoning_tokens": 128,
                "accepted_prediction_tokens": 20,
                "rejected_prediction_tokens": 30,
            },
        ),
        expected=usage(2006, 300, cached_tokens=1920, cache_write_tokens=64, reasoning_tokens=128),
        provider="openai",
    ),
    "azure": Case(
        usage=counts(14, 20, 34, completion_tokens_details=None, prompt_tokens_details={"cached_tokens": 0}),
        beside={"prompt_filter_results": [{"prompt_index": 0}]},
        expected=usage(14, 20, cached_tokens=0),
        provider="azure",
    ),
    "vllm": Case(usage=counts(12, 2, 14, prompt_tokens_details=None), expected=usage(12, 2)),
    "vllm with cache": Case(
        usage=counts(12, 2, 14, prompt_tokens_details={"cached_tokens": 8, "multimodal_tokens": None}),
        beside={"prompt_logprobs": None, "kv_transfer_params": None},
        expected=usage(12, 2, cached_tokens=8),
    ),
    "vllm with times": Case(
        usage=counts(42, 128, 170, completion_tokens_details={"reasoning_tokens": 36}),
        beside={
            "metrics": {
                "time_to_first_token_ms": 85.0,
                "generation_time_ms": 1240.0,
                "queue_time_ms": 12.3,
                "mean_itl_ms": 9.1,
                "tokens_per_second": 103.2,
            }
        },
        expected=usage(42, 128, reasoning_tokens=36),
        busy_s=1.325,
    ),
    "vllm with several answers": Case(usage=counts(42, 128, 170), beside={"metrics": None}, expected=usage(42, 128)),
    "lm studio": Case(
        usage=counts(14, 89, 103),
        beside={"stats": {"tokens_per_second": 63.7, "time_to_first_token": 0.073, "generation_time": 1.396}},
        expected=usage(14, 89),
        busy_s=1.469,
    ),
    "hugging face": Case(usage=counts(4, 258, 262, cached_tokens=0), expected=usage(4, 258, cached_tokens=0)),
    "nvidia nim": Case(
        usage=counts(6, 165, 171, completion_tokens_details=None, prompt_tokens_details=None),
        expected=usage(6, 165),
    ),
    "llama.cpp": Case(
        usage=counts(237, 35, 272),
        beside={
            "timings": {"cache_n": 236, "prompt_n": 1, "prompt_ms": 30.0, "predicted_n": 35, "predicted_ms": 660.0}
        },
        expected=usage(237, 35, cached_tokens=236),
        busy_s=0.69,
    ),
    "mistral": Case(
        usage=counts(
            20, 18, 38, num_cached_tokens=10, prompt_audio_seconds=None, prompt_tokens_details={"cached_tokens": 10}
        ),
        expected=usage(20, 18, cached_tokens=10),
        provider="mistral",
        flavor="default",
    ),
    "mistral, older": Case(
        usage=counts(10, 5, 15, num_cached_tokens=2, prompt_token_details=None, prompt_tokens_details=None),
        expected=usage(10, 5, cached_tokens=2),
        provider="mistral",
        flavor="default",
        difference="it does not read num_cached_tokens",
    ),
    "mistral, sound": Case(
        usage=counts(
            6, 2, 383, prompt_audio_seconds=0, prompt_tokens_details={"cached_tokens": 0, "audio_tokens": 375}
        ),
        expected=usage(381, 2, cached_tokens=0),
        provider="mistral",
        flavor="default",
        difference="sound is beside prompt_tokens, and only the total has it",
    ),
    "mistral, sound by its length": Case(
        usage=counts(4, 635, 3264, prompt_audio_seconds=203),
        expected=usage(2629, 635),
        provider="mistral",
        flavor="default",
        difference="sound is beside prompt_tokens, and only the total has it",
    ),
    "groq": Case(
        usage=counts(41, 27, 68, queue_time=0.2656, prompt_time=0.0128, completion_time=0.0552, total_time=0.068),
        beside={"x_groq": {"id": "req_1", "seed": 1}, "usage_breakdown": None},
        expected=usage(41, 27),
        busy_s=0.068,
        provider="groq",
        flavor="default",
    ),
    "cerebras": Case(
        usage=counts(43, 9, 52),
        beside={
            "time_info": {"queue_time": 0.043, "prompt_time": 0.0032, "completion_time": 0.0039, "total_time": 0.0517}
        },
        expected=usage(43, 9),
        busy_s=0.0071,
        provider="cerebras",
    ),
    "xai": Case(
        usage=counts(
            26,
            168,
            498,
            prompt_tokens_details={"text_tokens": 26, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 4},
            completion_tokens_details={"reasoning_tokens": 304, "audio_tokens": 0},
            num_sources_used=0,
            cost_in_usd_ticks=150500,
        ),
        expected=usage(26, 472, cached_tokens=4, reasoning_tokens=304),
        provider="x-ai",
    ),
    "deepseek": Case(
        usage=counts(
            2000,
            789,
            2789,
            prompt_cache_hit_tokens=1500,
            prompt_cache_miss_tokens=500,
            completion_tokens_details={"reasoning_tokens": 415},
        ),
        expected=usage(2000, 789, cached_tokens=1500, reasoning_tokens=415),
        provider="deepseek",
        difference="it reads prompt_tokens_details alone",
    ),
    "openrouter": Case(
        usage=counts(
            10339,
            60,
            10399,
            cost=0.0389,
            is_byok=False,
            prompt_tokens_details={
                "cached_tokens": 0,
                "cache_write_tokens": 10318,
                "audio_tokens": 0,
                "video_tokens": 0,
            },
            cost_details={"upstream_inference_cost": 0.0389},
            completion_tokens_details={"reasoning_tokens": 0, "image_tokens": 0, "audio_tokens": 0},
        ),
        beside={"provider": "Amazon Bedrock"},
        expected=usage(10339, 60, cached_tokens=0, cache_write_tokens=10318, reasoning_tokens=0),
        provider="openrouter",
    ),
    "together": Case(usage=counts(31, 12, 43, cached_tokens=0), expected=usage(31, 12, cached_tokens=0)),
    "fireworks": Case(
        usage=counts(24, 30, 54, prompt_tokens_details={"cached_tokens": 16}),
        beside={"perf_metrics": {"prompt-tokens": 24, "server-processing-time": 0.1}},
        expected=usage(24, 30, cached_tokens=16),
        provider="fireworks",
    ),
    "perplexity": Case(
        usage=counts(10, 300, 310, search_context_size="low", cost={"total_cost": 0.005}),
        expected=usage(10, 300),
        provider="perplexity",
        flavor="default",
    ),
    "perplexity, deep research": Case(
        usage=counts(1188, 4240, 5428, citation_tokens=8014, num_search_queries=54, reasoning_tokens=92431),
        expected=usage(9202, 96671, reasoning_tokens=92431),
        provider="perplexity",
        flavor="default",
        difference="citations are input by Perplexity's price list, to genai-prices output",
    ),
    "sambanova": Case(
        usage=counts(
            10, 51, 61, time_to_first_token=0.131, total_latency=0.377, is_last_response=True, stop_reason="stop"
        ),
        expected=usage(10, 51),
    ),
    "moonshot": Case(
        usage=counts(2989, 20, 3009, cached_tokens=2989),
        expected=usage(2989, 20, cached_tokens=2989),
        provider="moonshotai",
        difference="it reads prompt_tokens_details alone",
    ),
    "qwen": Case(
        usage=counts(2000, 3, 2003, prompt_tokens_details={"cached_tokens": 1500, "cache_creation_input_tokens": 100}),
        expected=usage(2000, 3, cached_tokens=1500, cache_write_tokens=100),
    ),
    "zhipu": Case(
        usage=counts(9347, 101, 9448, reasoning_tokens=0, cached_tokens=6144, prompt_cost=0.0),
        expected=usage(9347, 101, cached_tokens=6144, reasoning_tokens=0),
    ),
    "minimax, totals alone": Case(
        usage={"total_tokens": 199, "total_characters": 0},
        beside={"base_resp": {"status_code": 0, "status_msg": ""}},
        expected=None,
    ),
    "minimax": Case(
        usage=counts(26, 29, 55, total_characters=0, completion_tokens_details={"reasoning_tokens": 20}),
        beside={"base_resp": {"status_code": 0, "status_msg": ""}},
        expected=usage(26, 29, reasoning_tokens=20),
        provider="minimax",
    ),
    "databricks": Case(
        usage=counts(4573, 60, 4633, cache_read_input_tokens=0, cache_creation_input_tokens=4570),
        expected=usage(4573, 60, cached_tokens=0, cache_write_tokens=4570),
        provider="databricks",
        difference="it does not read what was written into the cache",
    ),
    "deepinfra": Case(
        usage=counts(
            53,
            1630,
            1683,
            prompt_tokens_details={"cached_tokens": 0},
            completion_tokens_details={"reasoning_tokens": 1160, "reasoning_tokens_estimated": True},
            cache_creation_input_tokens=0,
        ),
        expected=usage(53, 1630, cached_tokens=0, cache_write_tokens=0, reasoning_tokens=1160),
    ),
    "sglang": Case(
        usage=counts(8, 90, 98, reasoning_tokens=70, prompt_tokens_details=None),
        expected=usage(8, 90, reasoning_tokens=70),
    ),
    "cloudflare": Case(
        usage=counts(30, 12, 42, prompt_tokens_details={"cached_tokens": 0}),
        expected=usage(30, 12, cached_tokens=0),
        provider="cloudflare",
    ),
    "gigachat": Case(
        usage=counts(2000, 3, 2003, precached_prompt_tokens=1500), expected=usage(2000, 3, cached_tokens=1500)
    ),
    "gemini": Case(
        usage=counts(2000, 3, 2023),
        expected=usage(2000, 23, reasoning_tokens=20),
        provider="google",
        difference="what was thought is in the total, and nowhere else",
    ),
    "vertex": Case(
        usage=counts(27, 45, 576, completion_tokens_details={"reasoning_tokens": 504}),
        expected=usage(27, 549, reasoning_tokens=504),
        provider="google",
        difference="what was thought is beside completion_tokens, as the total tells",
    ),
    "codebuddy": Case(
        usage=counts(
            1204,
            20,
            1224,
            prompt_tokens_details={"cached_tokens": 0},
            cached_tokens=0,
            cache_read_input_tokens=0,
            prompt_cache_hit_tokens=1024,
            prompt_cache_write_tokens=0,
        ),
        expected=usage(1204, 20, cached_tokens=1024, cache_write_tokens=0),
    ),
    "gemini behind a proxy that leaves its thoughts out": Case(
        usage=counts(21, 0, 81, completion_tokens_details={"reasoning_tokens": 60}),
        expected=usage(21, 60, reasoning_tokens=60),
    ),
    "an Anthropic model behind a proxy that adds up badly": Case(
        usage=counts(3, 5, 1008, prompt_tokens_details={"cached_tokens": 900, "cache_write_tokens": 100}),
        expected=usage(1003, 5, cached_tokens=900, cache_write_tokens=100),
    ),
    "a total that explains nothing": Case(
        usage=counts(10, 20, 99, completion_tokens_details={"reasoning_tokens": 4}),
        expected=usage(10, 20, reasoning_tokens=4),
    ),
    "the completion left to be worked out": Case(usage=counts(5, None, 12), expected=usage(5, 7)),
    "the prompt left to be worked out": Case(usage=counts(None, 7, 12), expected=usage(5, 7)),
    "a total below its parts": Case(usage=counts(5, None, 2), expected=usage(5, None)),
    "a completion alone, and more thought than it": Case(
        usage=counts(None, 7, None, completion_tokens_details={"reasoning_tokens": 9}),
        expected=usage(None, 16, reasoning_tokens=9),
    ),
}

OPENROUTER_NOT_ASKED = (
    b": OPENROUTER PROCESSING\n\n"
    + delta("Hi")
    + delta("", finish="stop", native_finish_reason="stop")
    + delta("", finish="stop", service_tier=None, usage=counts(571, 59, 630, cost=0.0044))
    + DONE
)
OPENROUTER_LATE = delta("Hi") + delta("", finish="stop") + delta("", usage=counts(13559, 122, 13681)) + DONE
MOONSHOT = (
    delta("Hi")
    + event(
        choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": counts(13, 261, 274, cached_tokens=8)}]
    )
    + DONE
)
FIREWORKS = (
    delta("Hi")
    + delta(finish="stop", usage=counts(10, 5, 15))
    + event(perf_metrics={"prompt-tokens": 10, "server-processing-time": 0.1})
    + DONE
)
AZURE_FILTERS = (
    event(choices=[], prompt_filter_results=[{"prompt_index": 0}], id="", model="", object="")
    + delta("Hi")
    + delta(finish="stop")
    + event(choices=[{"index": 0, "finish_reason": None, "content_filter_offsets": {"start_offset": 44}}])
    + DONE
)
AZURE_FILTERS_ASKED = AZURE_FILTERS[: -len(DONE)] + event(choices=[], usage=counts(14, 20, 34)) + DONE
GEMINI = (
    delta("po", usage=counts(2000, 1, 2021))
    + delta("ng", usage=counts(2000, 3, 2023))
    + delta(finish="stop", usage=counts(2000, 3, 2023))
    + DONE
)
PERPLEXITY = (
    delta("Hi", usage=counts(10, 1, 11))
    + delta("", finish="stop", usage=counts(10, 300, 310), citations=["https://example.com"])
    + DONE
)
CEREBRAS = (
    delta("Hi")
    + delta(finish="stop", usage=counts(43, 9, 52), time_info={"prompt_time": 0.25, "completion_time": 0.5})
    + DONE
)
GROQ_ASKED = (
    delta("Hi", x_groq={"id": "req_1"})
    + delta(finish="stop", x_groq={"id": "req_1", "usage": counts(18, 439, 457, prompt_time=0.25, completion_time=0.5)})
    + event(choices=[], usage=counts(18, 439, 457, prompt_time=0.25, completion_time=0.5))
    + DONE
)
GROQ_APART = delta("Hi") + delta(finish="stop") + event(choices=[], x_groq={"usage": counts(18, 5, 23)}) + DONE
NO_DONE = delta("Hi") + delta(finish="stop", usage=counts(5, 6, 11))
DATABRICKS = (
    delta("Hi", usage=counts(10, None, None, cache_read_input_tokens=0))
    + delta(finish="stop", usage=counts(10, 4, 14, cache_read_input_tokens=0))
    + DONE
)
MODERATED = (
    delta("Hi")
    + delta(finish="stop")
    + event(choices=[], usage=counts(5, 6, 11))
    + event(choices=[], moderation={})
    + DONE
)
