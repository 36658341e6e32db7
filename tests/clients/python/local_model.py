"""The openai and anthropic packages against a real model server that speaks all of their APIs: llama.cpp.

Each prompt is sent once beforehand, so that it is in the server's cache whichever address is asked first.
"""

from __future__ import annotations

import sys
from typing import Any

from anthropic import Anthropic
from openai import OpenAI

from tests.clients.python import anthropic_sdk, common, openai_sdk

MODEL = "gemma-3-270m"
QUESTION = "What is the capital of France?"
PROMPT = "The capital of France is"
# In the body as such: newer releases of anthropic know no temperature.
FIXED: dict[str, Any] = {"extra_body": {"temperature": 0, "seed": 1}}
TOKENS = 3


def cases(url: str) -> common.Cases:
    client = OpenAI(api_key="sk-client", base_url=f"{url}/v1", max_retries=0)
    claude = Anthropic(api_key="sk-client", base_url=url, max_retries=0)
    chat, responses = openai_sdk.Chat(client), openai_sdk.Responses(client)
    prompted = {**FIXED, "prompt": PROMPT, "max_tokens": TOKENS}
    answered = {**FIXED, "max_output_tokens": TOKENS}
    asked = {**FIXED, "max_tokens": TOKENS}
    return {
        "chat": lambda: chat.whole(**asked),
        "chat stream": lambda: chat.stream(**asked),
        "completions": lambda: openai_sdk.completion(client, **prompted),
        "completions stream": lambda: openai_sdk.completion_stream(client, **prompted),
        "responses": lambda: responses.whole(**answered),
        "responses stream": lambda: responses.stream(**answered),
        "messages": lambda: anthropic_sdk.whole(claude, **asked),
        "messages stream": lambda: anthropic_sdk.stream(claude, **asked),
    }


if __name__ == "__main__":
    openai_sdk.MODEL = anthropic_sdk.ASKED["model"] = MODEL
    common.MESSAGES[0]["content"] = openai_sdk.QUESTION = QUESTION
    warm = cases(sys.argv[1])
    for name in ("chat", "completions"):
        warm[name]()
    common.report("openai", cases)
