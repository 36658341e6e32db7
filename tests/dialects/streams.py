"""Streams of OpenAI's dialect as its servers send them, and ways to cut and to feed them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headwater.dialects.base import Addition, StreamReader
from headwater.dialects.openai_chat import OpenAIChat
from headwater.dialects.openai_stream import OpenAIStream
from headwater.records import ChatRequest, Target, Usage

TARGET = Target(method="POST", path="/v1/chat/completions")
FOOTPRINT = b'{"v":1,"energy_j":412.7}'
ADDITION = Addition(footprint=FOOTPRINT)
ASKED_FOR = ChatRequest(model="gpt-4o")
ABSENT: Any = object()
DONE = b"data: [DONE]\n\n"
USAGE = {
    "prompt_tokens": 25,
    "completion_tokens": 4,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
TIMINGS = {"cache_n": 236, "prompt_n": 1, "prompt_ms": 30.5, "predicted_n": 35, "predicted_ms": 661.5}


def event(**members: Any) -> bytes:
    """One event of OpenAI's, compact, with these members behind the usual ones."""
    head = {"id": "chatcmpl-Bx1", "object": "chat.completion.chunk", "created": 1764000000, "model": "gpt-4o"}
    text = json.dumps({**head, **members}, separators=(",", ":"), ensure_ascii=False)
    return b"data: " + text.encode() + b"\n\n"


def delta(content: str | None = None, *, index: int = 0, finish: str | None = None, **members: Any) -> bytes:
    """An event with one choice."""
    made: dict[str, Any] = {} if content is None else {"content": content}
    return event(choices=[{"index": index, "delta": made, "logprobs": None, "finish_reason": finish}], **members)


def usage_event(**members: Any) -> bytes:
    """The event that carries usage and no choice."""
    return event(choices=[], usage=USAGE, **members)


TOOL_CALL: dict[str, Any] = {"index": 0, "id": "call_1", "type": "function"}


def tool_delta(**function: str) -> bytes:
    """An event with a piece of a tool call."""
    call = {**TOOL_CALL, "function": function}
    made = {"tool_calls": [call]}
    return event(choices=[{"index": 0, "delta": made, "logprobs": None, "finish_reason": None}])


ASKED = (
    delta("", usage=None, obfuscation="x1")
    + delta("Hello", usage=None)
    + delta(" 世界", usage=None)
    + delta(finish="stop", usage=None)
    + usage_event()
    + DONE
)
NOT_ASKED = delta("") + delta("Hello") + delta(" 世界") + delta(finish="stop") + DONE
LLAMACPP = (
    delta("", usage=None)
    + delta("Hi", usage=None)
    + delta(finish="stop", usage=None)
    + usage_event(timings=TIMINGS)
    + DONE
)
LLAMACPP_NOT_ASKED = delta("") + delta("Hi") + delta(finish="stop", timings=TIMINGS) + DONE
MISTRAL = (
    delta("Hi") + delta("", finish="stop", usage={"prompt_tokens": 6, "total_tokens": 8, "completion_tokens": 2}) + DONE
)
GROQ = (
    delta("Hi")
    + delta(
        finish="stop",
        x_groq={"id": "req_1", "usage": {"prompt_tokens": 18, "completion_tokens": 5, "total_tokens": 23}},
    )
    + DONE
)
VLLM = (
    delta("", usage={"prompt_tokens": 12, "total_tokens": 12, "completion_tokens": 0})
    + delta("Hi", usage={"prompt_tokens": 12, "total_tokens": 13, "completion_tokens": 1})
    + delta("", finish="stop", usage={"prompt_tokens": 12, "total_tokens": 14, "completion_tokens": 2})
    + event(
        choices=[],
        usage={
            "prompt_tokens": 12,
            "total_tokens": 14,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 8},
        },
    )
    + DONE
)
AZURE = event(choices=[], prompt_filter_results=[{"prompt_index": 0}]) + ASKED
TWO_CHOICES = (
    delta("A", index=0)
    + delta("B", index=1)
    + delta(finish="stop", index=0)
    + delta("b", index=1)
    + delta(finish="length", index=1)
    + usage_event()
    + DONE
)
TOOLS = (
    tool_delta(name="get_weather", arguments="") + tool_delta(arguments='{"ci') + tool_delta(arguments='ty":"Oslo"}')
)
TOOLS += delta(finish="tool_calls") + usage_event() + DONE
ERROR = delta("Hello") + b'data: {"error":{"message":"overloaded","type":"server_error","code":null}}\n\n'
ABORTED = delta("") + delta("Hello") + delta(" there")
COMMENTED = b": OPENROUTER PROCESSING\n\n: keep-alive\n\n" + ASKED
PADDED = b"".join(
    delta(word, usage=None, obfuscation="k" * (1 + i % 7)) for i, word in enumerate(["one", "two", "three", "four"])
)
PADDED += delta(finish="stop", usage=None, obfuscation="") + usage_event() + DONE
LONG = b"".join(delta(f"w{i} ", usage=None) for i in range(30)) + delta('quoted "x"\n', usage=None)
LONG += (
    b"".join(delta(f"v{i} ", usage=None) for i in range(30)) + delta(finish="stop", usage=None) + usage_event() + DONE
)
SPACED = b"".join(
    b"data: " + json.dumps(json.loads(each[6:]), indent=None).encode() + b"\n\n"
    for each in ASKED.split(b"\n\n")
    if each.startswith(b"data: {")
)
SPACED += DONE

STREAMS: dict[str, bytes] = {
    "asked": ASKED,
    "not_asked": NOT_ASKED,
    "llamacpp": LLAMACPP,
    "llamacpp_not_asked": LLAMACPP_NOT_ASKED,
    "mistral": MISTRAL,
    "groq": GROQ,
    "vllm": VLLM,
    "azure": AZURE,
    "two_choices": TWO_CHOICES,
    "tools": TOOLS,
    "error": ERROR,
    "aborted": ABORTED,
    "commented": COMMENTED,
    "padded": PADDED,
    "long": LONG,
    "spaced": SPACED,
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a reader made of a stream."""

    sent: bytes
    usage: Usage | None
    busy_s: float | None
    text: str
    complete: bool
    failed: bool
    held_count: int
    events_count: int


def reader(*, asked: bool = False, injected: bool = False, n: int = 1) -> OpenAIStream:
    """A reader for a request with these properties."""
    body = {"model": "gpt-4o", "stream": True, "n": n, "stream_options": {"include_usage": asked}}
    dialect = OpenAIChat()
    request = dialect.read_request(json.dumps(body).encode(), TARGET)
    reader = dialect.stream_reader(request, b"text/event-stream", usage_injected=injected)
    assert reader is not None
    return reader


def run(
    chunks: Iterable[bytes],
    *,
    asked: bool = False,
    injected: bool = False,
    n: int = 1,
    footprint: bytes | None = FOOTPRINT,
) -> Seen:
    """Feed the chunks of an OpenAI stream as the middleware does."""
    return feed(reader(asked=asked, injected=injected, n=n), chunks, footprint=footprint)


def feed(each: StreamReader, chunks: Iterable[bytes], *, footprint: bytes | None = FOOTPRINT) -> Seen:
    """Feed the chunks of any stream as the middleware does."""
    sent: list[bytes] = []
    held_count = 0
    for chunk in chunks:
        if each.skim is not None and each.skim(chunk):
            sent.append(chunk)
            continue
        out, is_held = each.feed(chunk)
        sent.append(out)
        if is_held:
            held_count += 1
            sent.append(each.release(None if footprint is None else Addition(footprint=footprint)))
    if each.complete and not held_count:  # held for what might follow
        sent.append(each.release(None if footprint is None else Addition(footprint=footprint)))
        held_count += bool(sent[-1])
    sent.append(each.close())
    return Seen(
        sent=b"".join(sent),
        usage=each.told.usage,
        busy_s=each.told.busy_s,
        text=each.output_text(),
        complete=each.complete,
        failed=each.failed,
        held_count=held_count,
        events_count=each.events_count,
    )


def unfolded(sent: bytes) -> bytes:
    """What was sent without the footprint that was folded into it."""
    return sent.replace(b',"footprint":' + FOOTPRINT, b"").replace(b'"footprint":' + FOOTPRINT, b"")


def bytewise(body: bytes) -> list[bytes]:
    """One byte per chunk."""
    return [body[i : i + 1] for i in range(len(body))]


def eventwise(body: bytes) -> list[bytes]:
    """One event per chunk, as servers flush them."""
    return re.findall(rb"(?s).*?(?:\r\n\r\n|\n\n|\r\r|\Z)", body)


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut at the given places."""
    edges = [0, *sorted({place % (len(body) + 1) for place in places}), len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges)]
