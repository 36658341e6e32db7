"""The openai package, from 1.40 on: chat, legacy completions, embeddings, Azure; Responses where it has them."""

from __future__ import annotations

from typing import Any

from openai import AzureOpenAI, OpenAI

from tests.clients.python import common
from tests.clients.python.common import MESSAGES, TOOLS, merged, seen

MODEL = "gpt-4o"
QUESTION = str(MESSAGES[0]["content"])
RESPONSES_TOOL = {"type": "function", "name": "get_weather", "parameters": common.CITY_SCHEMA, "strict": False}
ASKED: dict[str, Any] = {"stream_options": {"include_usage": True}}


def dumped(reply: Any) -> Any:
    return reply.model_dump(mode="json")


def calls_of(message: Any) -> common.Calls:
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]


class Chat:
    """Chat completions, of OpenAI or of Azure."""

    def __init__(self, client: Any) -> None:
        self.completions = client.chat.completions
        self.helpers = client.beta.chat.completions if hasattr(client.beta, "chat") else self.completions
        if hasattr(self.completions, "stream"):
            self.helpers = self.completions

    def whole(self, **options: Any) -> dict[str, Any]:
        raw = self.completions.with_raw_response.create(model=MODEL, messages=MESSAGES, **options)
        reply = raw.parse()
        message = reply.choices[0].message
        return seen(dumped(reply), text=message.content, calls=calls_of(message), headers=raw.headers)

    def stream(self, **options: Any) -> dict[str, Any]:
        with self.completions.create(model=MODEL, messages=MESSAGES, stream=True, **options) as stream:
            headers = stream.response.headers
            chunks = list(stream)
        deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
        pieces = [call.function for delta in deltas for call in delta.tool_calls or ()]
        return seen(
            [dumped(chunk) for chunk in chunks],
            text="".join(delta.content or "" for delta in deltas),
            calls=merged((piece.name, piece.arguments) for piece in pieces),
            headers=headers,
        )

    def helper(self, **options: Any) -> dict[str, Any]:
        """The client's own accumulator of a stream."""
        with self.helpers.stream(model=MODEL, messages=MESSAGES, **options) as stream:
            final = stream.get_final_completion()
        message = final.choices[0].message
        return seen(dumped(final), text=message.content, calls=calls_of(message))


class Responses:
    """The Responses API."""

    def __init__(self, client: OpenAI) -> None:
        self.responses: Any = client.responses

    def _seen(self, final: Any, reply: Any, headers: Any) -> dict[str, Any]:
        calls = [(item.name, item.arguments) for item in final.output if item.type == "function_call"]
        return seen(reply, text=final.output_text, calls=calls, headers=headers)

    def whole(self, **options: Any) -> dict[str, Any]:
        raw = self.responses.with_raw_response.create(model=MODEL, input=QUESTION, **options)
        reply = raw.parse()
        return self._seen(reply, dumped(reply), raw.headers)

    def stream(self, **options: Any) -> dict[str, Any]:
        with self.responses.create(model=MODEL, input=QUESTION, stream=True, **options) as stream:
            headers = stream.response.headers
            events = list(stream)
        return self._seen(events[-1].response, [dumped(event) for event in events], headers)

    def helper(self, **options: Any) -> dict[str, Any]:
        with self.responses.stream(model=MODEL, input=QUESTION, **options) as stream:
            final = stream.get_final_response()
        return self._seen(final, dumped(final), None)


def completion(client: OpenAI, *, prompt: str = "The sky is", **options: Any) -> dict[str, Any]:
    raw = client.completions.with_raw_response.create(model=MODEL, prompt=prompt, **options)
    reply = raw.parse()
    return seen(dumped(reply), text=reply.choices[0].text, headers=raw.headers)


def completion_stream(client: OpenAI, *, prompt: str = "The sky is", **options: Any) -> dict[str, Any]:
    with client.completions.create(model=MODEL, prompt=prompt, stream=True, **options) as stream:
        headers = stream.response.headers
        chunks = list(stream)
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    return seen([dumped(chunk) for chunk in chunks], text=text, headers=headers)


def embedding(client: OpenAI) -> dict[str, Any]:
    # Left to itself the client asks for base64, and takes a list of numbers too.
    raw = client.embeddings.with_raw_response.create(model=MODEL, input="sky", encoding_format="float")
    return seen(dumped(raw.parse()), headers=raw.headers)


def cases(url: str) -> common.Cases:
    client = OpenAI(api_key="sk-client", base_url=f"{url}/v1", max_retries=0)
    azure = AzureOpenAI(api_key="sk-client", azure_endpoint=url, api_version="2024-10-21", max_retries=0)
    chat = Chat(client)
    made: dict[str, Any] = {
        "chat": chat.whole,
        "chat tool": lambda: chat.whole(tools=TOOLS),
        "chat stream": chat.stream,
        "chat stream tool": lambda: chat.stream(tools=TOOLS),
        "chat stream asked": lambda: chat.stream(**ASKED),
        "chat stream asked tool": lambda: chat.stream(tools=TOOLS, **ASKED),
        "chat helper": chat.helper,
        "chat helper asked": lambda: chat.helper(**ASKED),
        "chat helper asked tool": lambda: chat.helper(tools=TOOLS, **ASKED),
        "azure chat": Chat(azure).whole,
        "azure chat stream asked": lambda: Chat(azure).stream(**ASKED),
        "completions": lambda: completion(client),
        "completions stream": lambda: completion_stream(client),
        "completions stream asked": lambda: completion_stream(client, **ASKED),
        "embeddings": lambda: embedding(client),
    }
    if hasattr(client, "responses"):
        responses = Responses(client)
        made |= {
            "responses": responses.whole,
            "responses tool": lambda: responses.whole(tools=[RESPONSES_TOOL]),
            "responses stream": responses.stream,
            "responses stream tool": lambda: responses.stream(tools=[RESPONSES_TOOL]),
            "responses helper": responses.helper,
            "responses helper tool": lambda: responses.helper(tools=[RESPONSES_TOOL]),
        }
    return made


if __name__ == "__main__":
    common.report("openai", cases)
