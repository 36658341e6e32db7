"""The ollama package: chat, generate and embed, whole and streamed."""

from __future__ import annotations

from typing import Any

import ollama

from tests.clients.python import common
from tests.clients.python.common import seen

MODEL = "llama3.2"


def _dumped(reply: Any) -> Any:
    return reply.model_dump(mode="json")


def _chat_seen(replies: list[Any], dump: Any) -> dict[str, Any]:
    messages = [reply.message for reply in replies]
    calls = [
        (call.function.name, dict(call.function.arguments)) for message in messages for call in message.tool_calls or ()
    ]
    return seen(dump, text="".join(message.content or "" for message in messages), calls=calls)


def chat(client: Any, **options: Any) -> dict[str, Any]:
    reply = client.chat(model=MODEL, messages=common.MESSAGES, **options)
    return _chat_seen([reply], _dumped(reply))


def chat_stream(client: Any, **options: Any) -> dict[str, Any]:
    replies = list(client.chat(model=MODEL, messages=common.MESSAGES, stream=True, **options))
    return _chat_seen(replies, [_dumped(reply) for reply in replies])


def generate(client: Any) -> dict[str, Any]:
    reply = client.generate(model=MODEL, prompt="The sky is")
    return seen(_dumped(reply), text=reply.response)


def generate_stream(client: Any) -> dict[str, Any]:
    replies = list(client.generate(model=MODEL, prompt="The sky is", stream=True))
    return seen([_dumped(reply) for reply in replies], text="".join(reply.response for reply in replies))


def cases(url: str) -> common.Cases:
    client = ollama.Client(host=url, headers={"authorization": "Bearer sk-client"})
    return {
        "chat": lambda: chat(client),
        "chat tool": lambda: chat(client, tools=common.TOOLS),
        "chat stream": lambda: chat_stream(client),
        "chat stream tool": lambda: chat_stream(client, tools=common.TOOLS),
        "generate": lambda: generate(client),
        "generate stream": lambda: generate_stream(client),
        "embed": lambda: seen(_dumped(client.embed(model=MODEL, input="sky"))),
    }


if __name__ == "__main__":
    common.report("ollama", cases)
