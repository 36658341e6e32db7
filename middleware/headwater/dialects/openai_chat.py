"""OpenAI chat completions, as spoken by OpenAI, Azure, vLLM, llama.cpp, Mistral, Groq, xAI and most others.

Knows the request; the reply is in `openai_family`, the stream in `openai_stream`. Sans I/O, no clock.
"""

from __future__ import annotations

from typing import Any, Final

from headwater.dialects import openai_family
from headwater.dialects.kit.lenient import count, json_object, objects, within
from headwater.dialects.kit.prompts import PromptBuilder
from headwater.dialects.kit.whole import WholeReply
from headwater.dialects.openai_stream import OpenAIStream
from headwater.records import ChatRequest, Prompt, Target

_IMAGE: Final = b"image_url"


class OpenAIChat:
    """The dialect of `POST .../chat/completions`."""

    name = "openai-chat"

    def matches(self, method: str, path: str) -> bool:
        """Whether this is a chat completion; the prefix is the server's own (`/v1`, Azure's `/openai/deployments/x`)."""
        return method == "POST" and path.endswith("/chat/completions")

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read model, stream, and how many choices were asked for.

        Raises:
            DialectError: the body is no JSON object.
        """
        found = openai_family.read_request(body)
        return ChatRequest(
            model=openai_family.model_of(found, target),
            stream=found.stream is True,
            usage_asked=openai_family.asks_for_usage(found),
            choices_count=max(1, count(found.n) or 1),
            images_count=_images_count(body) if _IMAGE in body else 0,
            raw=body,
        )

    def prompt(self, request: ChatRequest) -> Prompt:
        """All text of the messages and the tools, for counting."""
        body = json_object(request.raw) or {}
        prompt = PromptBuilder()
        for message in objects(body.get("messages")):
            add_message(prompt, message)
        prompt.add_tools(body.get("tools"))
        prompt.add_tools(body.get("functions"))
        prompt.add_schema(within(body, "response_format", "json_schema").get("schema"))
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        return openai_family.read_reply(body)

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> OpenAIStream | None:
        """A reader for one streamed reply."""
        return openai_family.stream_reader(request, content_type, usage_injected=usage_injected)

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body with `stream_options.include_usage` true, if it asks for a stream; every other byte kept if it can be.

        Raises:
            DialectError: the body is no JSON object.
        """
        return openai_family.with_usage_asked(body)


def add_message(prompt: PromptBuilder, message: dict[str, Any]) -> None:
    """One message of a chat: role, name, content, and calls of tools."""
    prompt.begin_message()
    prompt.add_text(message.get("role"))
    prompt.add_name(message.get("name"))
    content = message.get("content")
    prompt.add_text(content)
    for part in content if isinstance(content, list) else ():
        _add_part(prompt, part)
    for call in objects(message.get("tool_calls")):
        function, custom = within(call, "function"), within(call, "custom")
        prompt.add_text(function.get("name"), function.get("arguments"), custom.get("name"), custom.get("input"))
    function = within(message, "function_call")
    prompt.add_text(function.get("name"), function.get("arguments"))


def _add_part(prompt: PromptBuilder, part: Any) -> None:
    if isinstance(part, str):
        prompt.add_text(part)
        return
    found = within(part)
    text = found.get("text", found.get("refusal"))
    picture, sound = found.get("image_url"), within(found, "input_audio")
    if isinstance(text, str):
        prompt.add_text(text)
    elif picture is not None:
        address = picture if isinstance(picture, str) else within(picture).get("url")
        prompt.add_picture(address, within(picture).get("detail"))
    elif sound:
        prompt.add_audio(sound.get("data"), sound.get("format"))
    else:
        prompt.add_uncounted()


def _images_count(body: bytes) -> int:
    """Pictures among the parts of the messages. Their size is not looked at, and their addresses are never opened."""
    found = json_object(body) or {}
    parts = [part for message in objects(found.get("messages")) for part in objects(message.get("content"))]
    return sum(part.get("type") == "image_url" for part in parts)
