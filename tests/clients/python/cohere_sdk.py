"""The cohere package: its chat, version 2, whole and streamed."""

from __future__ import annotations

from typing import Any

import cohere

from tests.clients.python import common
from tests.clients.python.common import MESSAGES, TOOLS, merged, seen

MODEL = "command-a-03-2025"


def whole(client: Any, **options: Any) -> dict[str, Any]:
    raw = client.v2.with_raw_response.chat(model=MODEL, messages=MESSAGES, **options)
    reply = raw.data
    message = reply.message
    calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    text = "".join(part.text for part in message.content or ())
    return seen(reply.model_dump(mode="json"), text=text, calls=calls, headers=raw.headers)


def stream(client: Any, **options: Any) -> dict[str, Any]:
    with client.v2.with_raw_response.chat_stream(model=MODEL, messages=MESSAGES, **options) as raw:
        headers = raw.headers
        events = list(raw.data)
    messages = [
        event.delta.message for event in events if getattr(event, "delta", None) and event.type != "message-end"
    ]
    pieces = [message.tool_calls.function for message in messages if getattr(message, "tool_calls", None)]
    contents = [getattr(message, "content", None) for message in messages]
    return seen(
        [event.model_dump(mode="json") for event in events],
        text="".join(content.text for content in contents if content and content.text),
        calls=merged((getattr(piece, "name", None), piece.arguments) for piece in pieces),
        headers=headers,
    )


def cases(url: str) -> common.Cases:
    client = cohere.ClientV2(api_key="sk-client", base_url=url)
    return {
        "chat": lambda: whole(client),
        "chat tool": lambda: whole(client, tools=TOOLS),
        "chat stream": lambda: stream(client),
        "chat stream tool": lambda: stream(client, tools=TOOLS),
    }


if __name__ == "__main__":
    common.report("cohere", cases)
