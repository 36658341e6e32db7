"""The anthropic package, from 0.40 on: messages, whole, as events, and through its own accumulator."""

from __future__ import annotations

from typing import Any

from anthropic import Anthropic

from tests.clients.python import common
from tests.clients.python.common import seen

ASKED: dict[str, Any] = {"model": "claude-opus-4-8", "max_tokens": 64, "messages": common.MESSAGES}
TOOLS = [{"name": "get_weather", "description": "The weather of a city.", "input_schema": common.CITY_SCHEMA}]


def _seen(message: Any, reply: Any, headers: Any) -> dict[str, Any]:
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    return seen(reply, text=text, calls=calls, headers=headers)


def whole(client: Any, **options: Any) -> dict[str, Any]:
    raw = client.messages.with_raw_response.create(**{**ASKED, **options})
    message = raw.parse()
    return _seen(message, message.model_dump(mode="json"), raw.headers)


def stream(client: Any, **options: Any) -> dict[str, Any]:
    with client.messages.create(**{**ASKED, **options}, stream=True) as events:
        headers = events.response.headers
        found = list(events)
    deltas = [event.delta for event in found if event.type == "content_block_delta"]
    starts = [event.content_block for event in found if event.type == "content_block_start"]
    return seen(
        [event.model_dump(mode="json") for event in found],
        text="".join(delta.text for delta in deltas if delta.type == "text_delta"),
        calls=[
            (block.name, "".join(delta.partial_json for delta in deltas))
            for block in starts
            if block.type == "tool_use"
        ],
        headers=headers,
    )


def helper(client: Any, **options: Any) -> dict[str, Any]:
    """The client's own accumulator of a stream."""
    with client.messages.stream(**{**ASKED, **options}) as events:
        headers = events.response.headers
        final = events.get_final_message()
    return _seen(final, final.model_dump(mode="json"), headers)


def cases(url: str) -> common.Cases:
    client = Anthropic(api_key="sk-client", base_url=url, max_retries=0)
    return {
        "messages": lambda: whole(client),
        "messages tool": lambda: whole(client, tools=TOOLS),
        "messages stream": lambda: stream(client),
        "messages stream tool": lambda: stream(client, tools=TOOLS),
        "messages helper": lambda: helper(client),
        "messages helper tool": lambda: helper(client, tools=TOOLS),
    }


if __name__ == "__main__":
    common.report("anthropic", cases)
