"""What reading costs per chunk of a stream, API by API: our readers against decoding each chunk, in one run.

    python bench/dialects.py
    python bench/dialects.py --json dialects.json

One event per chunk, 400 in the middle of a stream, text kept for counting. `reader`: what the middleware does for a chunk
that says nothing of the end; `json.loads` and `msgspec`: decoding its data alone, as simple meters do. Medians of rounds that
are interleaved; ratios are what to compare.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from headwater.dialects import find
from headwater.dialects.base import StreamReader
from headwater.records import Target

CHUNKS, ROUNDS = 400, 15
SSE, NDJSON = b"text/event-stream", b"application/x-ndjson"


def _sse(document: dict[str, Any], kind: str = "") -> bytes:
    data = json.dumps(document, separators=(",", ":")).encode()
    return (f"event: {kind}\n".encode() if kind else b"") + b"data: " + data + b"\n\n"


def _openai(number: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f" word{number}"}, "finish_reason": None}
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1764000000, "model": "llama-3.1-70b"}
    return _sse({**head, "choices": [choice], "usage": None})


def _obfuscated(number: int) -> bytes:
    return _openai(number)[:-3] + b',"obfuscation":"' + b"x" * (number % 7) + b'"}\n\n'


def _continuous(number: int) -> bytes:
    usage = b'{"prompt_tokens":12,"total_tokens":%d,"completion_tokens":%d}' % (number + 12, number)
    return _openai(number).replace(b'"usage":null', b'"usage":' + usage)


def _responses(number: int) -> bytes:
    kind = "response.output_text.delta"
    where = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    return _sse({"type": kind, "sequence_number": number, **where, "delta": f" word{number}", "logprobs": []}, kind)


def _anthropic(number: int) -> bytes:
    kind = "content_block_delta"
    raw = _sse({"type": kind, "index": 0, "delta": {"type": "text_delta", "text": f" word{number}"}}, kind)
    return raw[:-3] + b" " * (number % 12) + raw[-3:]


def _gemini(number: int) -> bytes:
    candidate = {"content": {"parts": [{"text": f" word{number}"}], "role": "model"}, "index": 0}
    usage = {"promptTokenCount": 1200, "candidatesTokenCount": number, "totalTokenCount": 1200 + number}
    return _sse({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-pro"})


def _ollama(number: int) -> bytes:
    message = {"role": "assistant", "content": f" word{number}"}
    created = f"2026-11-23T16:00:00.{number:06d}Z"
    return json.dumps({"model": "m", "created_at": created, "message": message, "done": False}).encode() + b"\n"


def _cohere(number: int) -> bytes:
    kind = "content-delta"
    return _sse({"type": kind, "index": 0, "delta": {"message": {"content": {"text": f" word{number}"}}}}, kind)


STREAMS: dict[str, tuple[str, bytes, Callable[[int], bytes]]] = {
    "OpenAI chat": ("/v1/chat/completions", SSE, _openai),
    "OpenAI chat, obfuscated": ("/v1/chat/completions", SSE, _obfuscated),
    "vLLM, continuous usage": ("/v1/chat/completions", SSE, _continuous),
    "OpenAI Responses": ("/v1/responses", SSE, _responses),
    "Anthropic, padded": ("/v1/messages", SSE, _anthropic),
    "Gemini": ("/v1beta/models/m:streamGenerateContent", SSE, _gemini),
    "Ollama": ("/api/chat", NDJSON, _ollama),
    "Cohere": ("/v2/chat", SSE, _cohere),
}


def reader_for(path: str, content_type: bytes) -> StreamReader:
    """A reader for a stream of this path."""
    dialect = find("POST", path)
    assert dialect is not None
    body = b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}'
    reader = dialect.stream_reader(dialect.read_request(body, Target(method="POST", path=path)), content_type)
    assert reader is not None
    return reader


def _read(reader: StreamReader, chunks: list[bytes]) -> None:
    feed = reader.feed
    for chunk in chunks:
        skim = reader.skim
        if skim is None or not skim(chunk):
            feed(chunk)


def measure(name: str) -> dict[str, float]:
    """Microseconds per chunk, medians over the rounds."""
    path, content_type, make = STREAMS[name]
    chunks = [make(number) for number in range(CHUNKS)]
    data = [chunk.partition(b"data: ")[2] or chunk for chunk in chunks]
    times: dict[str, list[float]] = {"reader": [], "json.loads": [], "msgspec": []}

    def timed(what: str, run: Callable[[], object]) -> None:
        began_s = time.perf_counter()
        run()
        times[what].append((time.perf_counter() - began_s) / CHUNKS * 1e6)

    for _ in range(ROUNDS):
        reader = reader_for(path, content_type)
        _read(reader, chunks[:20])
        timed("reader", lambda reader=reader: _read(reader, chunks))  # type: ignore[misc]
        timed("json.loads", lambda: [json.loads(each) for each in data])
        timed("msgspec", lambda: [msgspec.json.decode(each) for each in data])
    return {what: statistics.median(found) for what, found in times.items()}


def main() -> None:
    """Measure all, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    found = {name: measure(name) for name in STREAMS}
    print(f"{'us per chunk':26s} {'reader':>8s} {'json.loads':>11s} {'msgspec':>8s}   reader / json.loads")
    for name, each in found.items():
        ratio = each["reader"] / each["json.loads"]
        print(f"{name:26s} {each['reader']:8.2f} {each['json.loads']:11.2f} {each['msgspec']:8.2f}   {ratio:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
