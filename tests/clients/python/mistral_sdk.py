"""The mistralai package: chat completions whose usage is in the chunk that ends the answer; embeddings."""

from __future__ import annotations

from typing import Any

from mistralai.client import Mistral

from tests.clients.python import common
from tests.clients.python.common import MESSAGES, TOOLS, merged, seen

MODEL = "mistral-small-latest"


def whole(client: Any, **options: Any) -> dict[str, Any]:
    reply = client.chat.complete(model=MODEL, messages=MESSAGES, **options)
    message = reply.choices[0].message
    calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    return seen(reply.model_dump(mode="json"), text=message.content, calls=calls)


def stream(client: Any, **options: Any) -> dict[str, Any]:
    with client.chat.stream(model=MODEL, messages=MESSAGES, **options) as events:
        headers = events.response.headers
        chunks = [event.data for event in events]
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    pieces = [call.function for delta in deltas for call in delta.tool_calls or ()]
    return seen(
        [chunk.model_dump(mode="json") for chunk in chunks],
        text="".join(delta.content or "" for delta in deltas),
        calls=merged((piece.name, piece.arguments) for piece in pieces),
        headers=headers,
    )


def embedding(client: Any) -> dict[str, Any]:
    return seen(client.embeddings.create(model="mistral-embed", inputs=["sky"]).model_dump(mode="json"))


def cases(url: str) -> common.Cases:
    client = Mistral(api_key="sk-client", server_url=url)
    return {
        "chat": lambda: whole(client),
        "chat tool": lambda: whole(client, tools=TOOLS),
        "chat stream": lambda: stream(client),
        "chat stream tool": lambda: stream(client, tools=TOOLS),
        "embeddings": lambda: embedding(client),
    }


if __name__ == "__main__":
    common.report("mistralai", cases)
