"""What chat and legacy completions have in common: the request's plain members, the question for usage, and the whole reply.

Knows bodies; the stream is in `openai_stream`, what counts mean in `openai_usage`. Sans I/O, no clock.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

import msgspec

from headwater.dialects import openai_usage
from headwater.dialects.kit import splice
from headwater.dialects.kit.lenient import any_json
from headwater.dialects.kit.sse import SSE
from headwater.dialects.kit.whole import WholeReply
from headwater.dialects.openai_shapes import (
    MessageBody,
    MessageChoice,
    ReplyBody,
    ReplyChoice,
    RequestBody,
    Shape,
    is_error,
    text_of,
)
from headwater.dialects.openai_stream import OpenAIStream
from headwater.errors import DialectError
from headwater.records import ChatRequest, Target

_requests: Final = Shape(RequestBody)
_replies: Final = Shape(ReplyBody, ReplyChoice)
_messages: Final = Shape(MessageBody, MessageChoice)
_ASK: Final = b'"stream_options":{"include_usage":true},'
_DEPLOYMENT: Final = re.compile(r"/deployments/([^/]+)/", re.IGNORECASE)


def read_request(body: bytes) -> RequestBody:
    """The members that every request has.

    Raises:
        DialectError: the body is no JSON object.
    """
    found = _requests.read(body)
    if found is None:
        raise DialectError(f"request body of {len(body)} bytes is not a JSON object")
    return found


def model_of(found: RequestBody, target: Target) -> str | None:
    """The model that the body names, else Azure's deployment, which is in the path."""
    if isinstance(found.model, str):
        return found.model
    deployment = _DEPLOYMENT.search(target.path)
    return None if deployment is None else deployment.group(1)


def asks_for_usage(found: RequestBody) -> bool:
    """Whether the client itself asked for usage on its stream."""
    options = found.stream_options
    return isinstance(options, dict) and options.get("include_usage") is True


def with_usage_asked(body: bytes) -> bytes:
    """The body with `stream_options.include_usage` true, if it asks for a stream; every other byte kept if it can be.

    Raises:
        DialectError: the body is no JSON object.
    """
    if read_request(body).stream is not True:
        return body
    found = splice.members(body)
    if found is None:
        raise DialectError("request body is JSON only to a lenient reader: usage cannot be asked for")
    options_text = found.get("stream_options")
    if options_text is None:
        start = body.index(b"{") + 1
        return body[:start] + _ASK + body[start:]
    options: Any = any_json(options_text)
    if options is None:
        options = {}
    if not isinstance(options, dict) or options.get("include_usage") is True:
        return body
    found["stream_options"] = msgspec.json.encode({**options, "include_usage": True})
    return msgspec.json.encode({name: msgspec.Raw(value) for name, value in found.items()})


def read_reply(body: bytes) -> WholeReply:
    """A whole reply; bad bytes give a failed one."""
    found = _replies.read(body)
    if found is None:
        return WholeReply(body=body)
    choices = found.choices or []
    usage = openai_usage.counts_of(found.usage, found.x_groq)
    return WholeReply(
        body=body,
        complete=bool(choices) and all(choice.finish_reason for choice in choices),
        failed=is_error(found) or found.choices is msgspec.UNSET,
        told=openai_usage.told(usage, openai_usage.times_of(found)),
        text=partial(_text, body),
    )


def stream_reader(request: ChatRequest, content_type: bytes, *, usage_injected: bool) -> OpenAIStream | None:
    """A reader for one streamed reply; None where it is no stream of server-sent events."""
    if content_type != SSE:
        return None
    return OpenAIStream(
        choices_count=request.choices_count, usage_asked=request.usage_asked, usage_injected=usage_injected
    )


def _text(body: bytes) -> str:
    found = _messages.read(body)
    choices = found.choices if found is not None else None
    return "".join(text_of(choice) for choice in choices or ())
