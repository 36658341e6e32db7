"""langchain-openai: ChatOpenAI over chat completions and over Responses."""

from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI

from tests.clients.python import common, langchain_calls


def cases(url: str) -> common.Cases:
    def chat(**options: Any) -> Any:
        return ChatOpenAI(
            model="gpt-4o",
            base_url=f"{url}/v1",
            api_key="sk-client",
            max_retries=0,
            include_response_headers=True,
            **options,
        )

    completions = chat()
    asked = chat(stream_usage=True)
    responses = chat(use_responses_api=True)
    return {
        **langchain_calls.cases("chat", completions, streamed=asked),
        **langchain_calls.cases("responses", responses, streamed=responses),
    }


if __name__ == "__main__":
    common.report("langchain-openai", cases)
