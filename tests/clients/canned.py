"""What the upstream app of the client tests answers: one text, one tool call, one vector, in the words of every API.

Knows shapes, not HTTP. All APIs tell the same canonical counts (`TEXT_TOKENS`, `TOOL_TOKENS`, `VECTOR_TOKENS`), each in its own
members. Modelled on the documentation of the APIs; the values are made up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

Json = dict[str, Any]

PIECES: Final = ("The sky ", "is blue ", "because air ", "scatters blue light.")
TEXT: Final = "".join(PIECES)
TOOL: Final = "get_weather"
ARGUMENTS: Final = {"city": "Oslo"}
TEXT_TOKENS: Final = (26, 9)
"""Input with its cached part, output with its reasoning."""
TOOL_TOKENS: Final = (70, 15)
VECTOR_TOKENS: Final = (8, 0)
CREATED: Final = 1_764_000_000
_ARGUMENT_PIECES: Final = ('{"ci', 'ty": "Oslo"}')


def sse(events: Iterable[Json | str], *, named: bool = False, end: str = "\n") -> Iterator[bytes]:
    """Server-sent events; `named` repeats each one's type in an `event` line."""
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"))
        name = f"event: {event['type']}{end}" if named and isinstance(event, dict) else ""
        yield f"{name}data: {data}{end}{end}".encode()


def ndjson(lines: Iterable[Json]) -> Iterator[bytes]:
    """One JSON object a line."""
    for line in lines:
        yield json.dumps(line, separators=(",", ":")).encode() + b"\n"


# OpenAI: chat completions, legacy completions, embeddings


def openai_usage(tokens: tuple[int, int]) -> Json:
    """The usage of chat completions."""
    given, made = tokens
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
    }


def chat(model: str, *, tool: bool) -> Json:
    """A whole chat completion."""
    message: Json = {"role": "assistant", "content": None if tool else TEXT, "refusal": None}
    if tool:
        function = {"name": TOOL, "arguments": json.dumps(ARGUMENTS)}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if tool else "stop"}
        ],
        "usage": openai_usage(TOOL_TOKENS if tool else TEXT_TOKENS),
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }


def chat_chunks(model: str, *, tool: bool, usage: str) -> Iterator[Json | str]:
    """A streamed chat completion. `usage`: `none`, `chunk` (OpenAI, asked for), or `finish` (Mistral, whose tool calls come
    whole besides).
    """
    counts = openai_usage(TOOL_TOKENS if tool else TEXT_TOKENS)
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": model}
    base |= {"service_tier": "default", "system_fingerprint": "fp_1"}
    silent: Json = {"usage": None} if usage == "chunk" else {}

    def chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**base, "choices": [choice], **silent, **more}

    if tool:
        function = {"name": TOOL, "arguments": "".join(_ARGUMENT_PIECES) if usage == "finish" else ""}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [call]})
        for piece in () if usage == "finish" else _ARGUMENT_PIECES:
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    else:
        yield chunk({"role": "assistant", "content": ""})
        for piece in PIECES:
            yield chunk({"content": piece})
    last: Json = {"usage": counts} if usage == "finish" else {}
    yield chunk({"content": ""} if usage == "finish" else {}, "tool_calls" if tool else "stop", **last)
    if usage == "chunk":
        yield {**base, "choices": [], "usage": counts}
    yield "[DONE]"


def _completion(model: str, text: str, finish: str | None) -> Json:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    return {"id": "cmpl-1", "object": "text_completion", "created": CREATED, "model": model, "choices": [choice]}


def completion(model: str) -> Json:
    """A whole legacy completion."""
    return {**_completion(model, TEXT, "stop"), "usage": openai_usage(TEXT_TOKENS)}


def completion_chunks(model: str, *, usage: bool) -> Iterator[Json | str]:
    """A streamed legacy completion."""
    silent: Json = {"usage": None} if usage else {}
    for piece in PIECES:
        yield {**_completion(model, piece, None), **silent}
    yield {**_completion(model, "", "stop"), **silent}
    if usage:
        yield {**_completion(model, "", None), "choices": [], "usage": openai_usage(TEXT_TOKENS)}
    yield "[DONE]"


def embeddings(model: str) -> Json:
    """An answer of the embeddings API, as floats."""
    return {
        "id": "embd-1",
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
        "model": model,
        "usage": {"prompt_tokens": VECTOR_TOKENS[0], "total_tokens": VECTOR_TOKENS[0]},
    }


# The Responses API of OpenAI


def _response(model: str, output: list[Json], usage: Json | None) -> Json:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": "completed" if usage else "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium", "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage,
        "user": None,
        "metadata": {},
    }


def _responses_usage(tokens: tuple[int, int]) -> Json:
    given, made = tokens
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": given + made,
    }


def _output(*, tool: bool) -> Json:
    if tool:
        call = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": TOOL}
        return {**call, "arguments": json.dumps(ARGUMENTS)}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": TEXT}
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}


_THOUGHT: Final[Json] = {"id": "rs_1", "type": "reasoning", "summary": []}


def response(model: str, *, tool: bool) -> Json:
    """A whole reply of the Responses API, with an empty reasoning item before its message."""
    usage = _responses_usage(TOOL_TOKENS if tool else TEXT_TOKENS)
    return _response(model, [_THOUGHT, _output(tool=tool)], usage)


def response_events(model: str, *, tool: bool) -> Iterator[Json]:
    """The same as events; each one numbered."""
    for number, event in enumerate(_response_events(model, tool=tool)):
        yield {"type": event.pop("type"), "sequence_number": number, **event}


def _response_events(model: str, *, tool: bool) -> Iterator[Json]:
    for kind in ("response.created", "response.in_progress"):
        yield {"type": kind, "response": _response(model, [], None)}
    yield {"type": "response.output_item.added", "output_index": 0, "item": _THOUGHT}
    yield {"type": "response.output_item.done", "output_index": 0, "item": _THOUGHT}
    item = _output(tool=tool)
    place = {"item_id": item["id"], "output_index": 1}
    empty: Json = {"arguments": ""} if tool else {"content": []}
    yield {"type": "response.output_item.added", "output_index": 1, "item": {**item, "status": "in_progress", **empty}}
    if tool:
        for piece in _ARGUMENT_PIECES:
            yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **place, "name": TOOL, "arguments": item["arguments"]}
    else:
        part = item["content"][0]
        place["content_index"] = 0
        yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
        for piece in PIECES:
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "output_index": 1, "item": item}
    yield {"type": "response.completed", "response": response(model, tool=tool)}


# Anthropic


def _anthropic_usage(tokens: tuple[int, int]) -> Json:
    given, made = tokens
    return {
        "input_tokens": given - 20,
        "cache_creation_input_tokens": 4,
        "cache_read_input_tokens": 16,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 0},
        "output_tokens": made,
        "service_tier": "standard",
    }


def message(model: str, *, tool: bool) -> Json:
    """A whole Anthropic message."""
    call = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": ARGUMENTS}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [call if tool else {"type": "text", "text": TEXT}],
        "stop_reason": "tool_use" if tool else "end_turn",
        "stop_sequence": None,
        "usage": _anthropic_usage(TOOL_TOKENS if tool else TEXT_TOKENS),
    }


def message_events(model: str, *, tool: bool) -> Iterator[Json]:
    """The same as events; `message_delta` names the output only, as the API did at first."""
    whole = message(model, tool=tool)
    made = whole["usage"]["output_tokens"]
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    block = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {}} if tool else {"type": "text", "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "ping"}
    for piece in _ARGUMENT_PIECES if tool else PIECES:
        delta = {"type": "input_json_delta", "partial_json": piece} if tool else {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": {"output_tokens": made}}
    yield {"type": "message_stop"}


# Gemini


def _gemini_usage(tokens: tuple[int, int]) -> Json:
    given, made = tokens
    return {
        "promptTokenCount": given,
        "cachedContentTokenCount": 20,
        "candidatesTokenCount": made - 4,
        "thoughtsTokenCount": 4,
        "totalTokenCount": given + made,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": given}],
    }


def _gemini(model: str, parts: list[Json], usage: Json, finish: str | None) -> Json:
    candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "r1"}


def generated(model: str, *, tool: bool) -> Json:
    """A whole Gemini reply."""
    part: Json = {"functionCall": {"name": TOOL, "args": ARGUMENTS}} if tool else {"text": TEXT}
    return _gemini(model, [part], _gemini_usage(TOOL_TOKENS if tool else TEXT_TOKENS), "STOP")


def generated_parts(model: str, *, tool: bool) -> Iterator[Json]:
    """The same as a stream: running counts on each part, the last ones hold."""
    if not tool:
        for number, piece in enumerate(PIECES[:-1], 1):
            counts = {
                "promptTokenCount": TEXT_TOKENS[0],
                "candidatesTokenCount": number,
                "totalTokenCount": 26 + number,
            }
            yield _gemini(model, [{"text": piece}], counts, None)
    last = generated(model, tool=tool)
    if not tool:
        last["candidates"][0]["content"]["parts"] = [{"text": PIECES[-1]}]
    yield last


# Ollama


def _ollama_end(tokens: tuple[int, int]) -> Json:
    return {
        "done": True,
        "done_reason": "stop",
        "total_duration": 4_883_583_458,
        "load_duration": 1_334_875,
        "prompt_eval_count": tokens[0],
        "prompt_eval_duration": 342_546_000,
        "eval_count": tokens[1],
        "eval_duration": 4_535_599_000,
    }


def ollama_lines(model: str, *, api: str, tool: bool, stream: bool) -> Iterator[Json]:
    """A reply of Ollama's `chat` or `generate`: its lines, or the one object of a whole reply."""
    base = {"model": model, "created_at": "2026-11-23T16:00:00.123456Z"}

    def said(text: str, **more: Any) -> Json:
        return {"response": text} if api == "generate" else {"message": {"role": "assistant", "content": text, **more}}

    call = {"tool_calls": [{"function": {"name": TOOL, "arguments": ARGUMENTS}}]} if tool else {}
    end = _ollama_end(TOOL_TOKENS if tool else TEXT_TOKENS)
    if not stream:
        yield {**base, **said("" if tool else TEXT, **call), **end}
        return
    for piece in ("",) if tool else PIECES:
        yield {**base, **said(piece, **call), "done": False}
    yield {**base, **said(""), **end}


def ollama_embedding(model: str) -> Json:
    """A reply of Ollama's `embed`."""
    durations = {"total_duration": 14_143_917, "load_duration": 1_019_500}
    return {"model": model, "embeddings": [[0.5, -0.25]], **durations, "prompt_eval_count": VECTOR_TOKENS[0]}


# Cohere


def _cohere_usage(tokens: tuple[int, int]) -> Json:
    given, made = tokens
    billed = {"input_tokens": given - 20, "output_tokens": made - 4}
    return {"billed_units": billed, "tokens": {"input_tokens": given, "output_tokens": made}, "cached_tokens": 16}


def _cohere_call(arguments: str) -> Json:
    return {"id": "call_1", "type": "function", "function": {"name": TOOL, "arguments": arguments}}


def cohere(*, tool: bool) -> Json:
    """A whole reply of Cohere's chat, version 2."""
    said: Json = {"tool_calls": [_cohere_call(json.dumps(ARGUMENTS))]} if tool else {}
    if not tool:
        said = {"content": [{"type": "text", "text": TEXT}]}
    return {
        "id": "m1",
        "finish_reason": "TOOL_CALL" if tool else "COMPLETE",
        "message": {"role": "assistant", **said},
        "usage": _cohere_usage(TOOL_TOKENS if tool else TEXT_TOKENS),
    }


def cohere_events(*, tool: bool) -> Iterator[Json | str]:
    """The same as events."""

    def delta(**members: Any) -> Json:
        return {"delta": {"message": members}}

    yield {"type": "message-start", "id": "m1", **delta(role="assistant", content=[])}
    if tool:
        yield {"type": "tool-call-start", "index": 0, **delta(tool_calls=_cohere_call(""))}
        for piece in _ARGUMENT_PIECES:
            yield {"type": "tool-call-delta", "index": 0, **delta(tool_calls={"function": {"arguments": piece}})}
        yield {"type": "tool-call-end", "index": 0}
    else:
        yield {"type": "content-start", "index": 0, **delta(content={"type": "text", "text": ""})}
        for piece in PIECES:
            yield {"type": "content-delta", "index": 0, **delta(content={"text": piece})}
        yield {"type": "content-end", "index": 0}
    whole = cohere(tool=tool)
    yield {
        "type": "message-end",
        "id": "m1",
        "delta": {"finish_reason": whole["finish_reason"], "usage": whole["usage"]},
    }
    yield "[DONE]"
