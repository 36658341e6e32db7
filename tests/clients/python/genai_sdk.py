"""The google-genai package: Gemini, whole and streamed."""

from __future__ import annotations

from typing import Any

from google import genai
from google.genai import types

from tests.clients.python import common
from tests.clients.python.common import seen

MODEL = "gemini-2.5-pro"
QUESTION = "Why is the sky blue?"


def _config(*, tool: bool) -> Any:
    if not tool:
        return None
    declared = {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters_json_schema": common.CITY_SCHEMA,
    }
    return types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration(**declared)])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )


def _parts(reply: Any) -> list[Any]:
    return [part for candidate in reply.candidates or () for part in candidate.content.parts or ()]


def _seen(replies: list[Any], dump: Any) -> dict[str, Any]:
    parts = [part for reply in replies for part in _parts(reply)]
    calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    response = replies[0].sdk_http_response
    headers = response.headers if response is not None else None
    return seen(dump, text="".join(part.text or "" for part in parts), calls=calls, headers=headers)


def _dumped(reply: Any) -> Any:
    return reply.model_dump(mode="json", exclude={"sdk_http_response"})


def whole(client: Any, *, tool: bool) -> dict[str, Any]:
    reply = client.models.generate_content(model=MODEL, contents=QUESTION, config=_config(tool=tool))
    return _seen([reply], _dumped(reply))


def stream(client: Any, *, tool: bool) -> dict[str, Any]:
    replies = list(client.models.generate_content_stream(model=MODEL, contents=QUESTION, config=_config(tool=tool)))
    return _seen(replies, [_dumped(reply) for reply in replies])


def cases(url: str) -> common.Cases:
    client = genai.Client(api_key="sk-client", http_options=types.HttpOptions(base_url=url))
    return {
        "generate": lambda: whole(client, tool=False),
        "generate tool": lambda: whole(client, tool=True),
        "generate stream": lambda: stream(client, tool=False),
        "generate stream tool": lambda: stream(client, tool=True),
    }


if __name__ == "__main__":
    common.report("google-genai", cases)
