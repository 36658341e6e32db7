"""langchain-anthropic: ChatAnthropic."""

from __future__ import annotations

from typing import Any

from langchain_anthropic import ChatAnthropic

from tests.clients.python import common, langchain_calls


def cases(url: str) -> common.Cases:
    chat: Any = ChatAnthropic(model="claude-opus-4-8", base_url=url, api_key="sk-client", max_retries=0, max_tokens=64)
    return langchain_calls.cases("messages", chat, streamed=chat)


if __name__ == "__main__":
    common.report("langchain-anthropic", cases)
