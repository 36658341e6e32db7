"""litellm as a client of OpenAI's and Anthropic's APIs."""

from __future__ import annotations

from typing import Any

import litellm

from tests.clients.python import common
from tests.clients.python.common import MESSAGES, TOOLS, merged, seen


def _dumped(reply: Any) -> Any:
    return {name: value for name, value in reply.model_dump(mode="json").items() if name not in ("id", "created")}


def whole(**options: Any) -> dict[str, Any]:
    reply: Any = litellm.completion(messages=MESSAGES, **options)
    message = reply.choices[0].message
    calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    headers = {
        name.removeprefix("llm_provider-"): value
        for name, value in (reply._hidden_params.get("additional_headers") or {}).items()
    }
    return seen(_dumped(reply), text=message.content, calls=calls, headers=headers)


def stream(**options: Any) -> dict[str, Any]:
    chunks: list[Any] = list(litellm.completion(messages=MESSAGES, stream=True, **options))
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    pieces = [call.function for delta in deltas for call in delta.tool_calls or ()]
    return seen(
        [_dumped(chunk) for chunk in chunks],
        text="".join(delta.content or "" for delta in deltas),
        calls=merged((piece.name, piece.arguments) for piece in pieces),
    )


def cases(url: str) -> common.Cases:
    chat = {"model": "openai/gpt-4o", "api_base": f"{url}/v1", "api_key": "sk-client"}
    messages = {"model": "anthropic/claude-opus-4-8", "api_base": url, "api_key": "sk-client"}
    asked = {"stream_options": {"include_usage": True}}
    return {
        "chat": lambda: whole(**chat),
        "chat tool": lambda: whole(**chat, tools=TOOLS),
        "chat stream": lambda: stream(**chat),
        "chat stream asked": lambda: stream(**chat, **asked),
        "chat stream asked tool": lambda: stream(**chat, **asked, tools=TOOLS),
        "messages": lambda: whole(**messages),
        "messages tool": lambda: whole(**messages, tools=TOOLS),
        "messages stream asked": lambda: stream(**messages, **asked),
        "messages stream asked tool": lambda: stream(**messages, **asked, tools=TOOLS),
    }


if __name__ == "__main__":
    common.report("litellm", cases)
