"""OpenAI chat completions, as spoken by OpenAI, Azure, vLLM, llama.cpp, Mistral, Groq, xAI and most others.

Knows the request and the whole reply; the stream is in `openai_stream`. Sans I/O, no clock.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec

from headwater.dialects import openai_shapes, splice
from headwater.dialects.base import Operation
from headwater.dialects.lenient import any_json, count, json_object, objects, within
from headwater.dialects.openai_shapes import MessageBody, MessageChoice, ReplyBody, ReplyChoice, RequestBody, Shape
from headwater.dialects.openai_stream import OpenAIStream
from headwater.dialects.prompts import PromptBuilder
from headwater.dialects.sse import SSE
from headwater.dialects.whole import WholeReply
from headwater.errors import DialectError
from headwater.records import ChatRequest, Prompt, Target, Told

_requests: Final = Shape(RequestBody)
_replies: Final = Shape(ReplyBody, ReplyChoice)
_messages: Final = Shape(MessageBody, MessageChoice)
_IMAGE: Final = b"image_url"
_ASK: Final = b'"stream_options":{"include_usage":true},'


def read_reply(body: bytes) -> WholeReply:
    """A whole reply of chat or legacy completions; bad bytes give a failed one."""
    found = _replies.read(body)
    if found is None:
        return WholeReply(body=body)
    choices = found.choices or []
    counts = found.usage if isinstance(found.usage, dict) else openai_shapes.groq_usage(found.x_groq)
    return WholeReply(
        body=body,
        complete=bool(choices) and all(choice.finish_reason for choice in choices),
        failed=openai_shapes.is_error(found) or found.choices is msgspec.UNSET,
        told=Told(usage=openai_shapes.usage_of(counts, found.timings), busy_s=openai_shapes.busy_s_of(found.timings)),
        text=partial(_text, body),
    )


def _text(body: bytes) -> str:
    found = _messages.read(body)
    choices = found.choices if found is not None else None
    return "".join(openai_shapes.text_of(choice) for choice in choices or ())


class OpenAIChat:
    """The dialect of `POST .../chat/completions`."""

    name = "openai-chat"
    operation: Operation = "chat"

    def matches(self, method: str, path: str) -> bool:
        """Whether this is a chat completion; the prefix is the server's own (`/v1`, Azure's `/openai/deployments/x`)."""
        return method == "POST" and path.endswith("/chat/completions")

    def read_request(self, body: bytes, target: Target) -> ChatRequest:
        """Read model, stream, and how many choices were asked for.

        Raises:
            DialectError: the body is no JSON object.
        """
        found = _read(body)
        options = found.stream_options
        return ChatRequest(
            model=found.model if isinstance(found.model, str) else None,
            stream=found.stream is True,
            usage_asked=isinstance(options, dict) and options.get("include_usage") is True,
            choices_count=max(1, count(found.n) or 1),
            images_count=_images_count(body) if _IMAGE in body else 0,
            raw=body,
        )

    def prompt(self, request: ChatRequest) -> Prompt:
        """All text of the messages and the tools, for counting."""
        body = json_object(request.raw) or {}
        prompt = PromptBuilder()
        for message in objects(body.get("messages")):
            _add_message(prompt, message)
        prompt.add_tools(body.get("tools"))
        prompt.add_tools(body.get("functions"))
        prompt.add_schema(within(body, "response_format", "json_schema").get("schema"))
        return prompt.done()

    def read_reply(self, body: bytes, request: ChatRequest) -> WholeReply:
        """Read a whole JSON reply; bad bytes give a failed one."""
        return read_reply(body)

    def stream_reader(
        self, request: ChatRequest, content_type: bytes, *, usage_injected: bool = False
    ) -> OpenAIStream | None:
        """A reader for one streamed reply."""
        if content_type != SSE:
            return None
        return OpenAIStream(
            choices_count=request.choices_count, usage_asked=request.usage_asked, usage_injected=usage_injected
        )

    def ask_for_usage(self, body: bytes) -> bytes:
        """The body with `stream_options.include_usage` true, if it asks for a stream; every other byte kept if it can be.

        Raises:
            DialectError: the body is no JSON object.
        """
        if _read(body).stream is not True:
            return body
        found = splice.members(body)
        if found is None:
            raise DialectError("request body is JSON only to a lenient reader: usage cannot be asked for")
        options_text = found.get("stream_options")
        if options_text is None:
            start = body.index(b"{") + 1
            return body[:start] + _ASK + body[start:]
        options = any_json(options_text)
        if options is None:
            options = {}
        if not isinstance(options, dict) or options.get("include_usage") is True:
            return body
        found["stream_options"] = msgspec.json.encode({**options, "include_usage": True})
        return msgspec.json.encode({name: msgspec.Raw(value) for name, value in found.items()})


def _add_message(prompt: PromptBuilder, message: dict[str, Any]) -> None:
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


def _read(body: bytes) -> RequestBody:
    found = _requests.read(body)
    if found is None:
        raise DialectError(f"request body of {len(body)} bytes is not a JSON object")
    return found
