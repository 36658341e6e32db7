"""What the middleware adds to an app: bare against wrapped, interleaved in one run, as ratios and as added CPU.

    python bench/overhead.py                  in-process and over uvicorn
    python bench/overhead.py --rounds 5 --json overhead.json

Loop CPU is the CPU time of the event loop's thread: what a request waits for. Process CPU includes the ledger's shipper
thread. The ledger is the embedded one (a real Valkey, AOF on); folding and headers are on; requests come from 50 users.
Wall-clock throughput on a shared machine says little: read the CPU columns and the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater import config
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware

REQUEST_BYTES, REPLY_BYTES, CHUNK_BYTES, CHUNKS, USERS = 1023, 1596, 187, 200, 50
MORE_CHUNKS = 4000
MODEL = "llama-3.1-70b"


def _padded(document: dict[str, Any], hole: Callable[[dict[str, Any], str], None], size: int) -> bytes:
    hole(document, "")
    missing = size - len(json.dumps(document, separators=(",", ":")))
    hole(document, "lorem ipsum " * (missing // 12) + "x" * (missing % 12))
    made = json.dumps(document, separators=(",", ":")).encode()
    assert len(made) == size, (len(made), size)
    return made


def request_body(*, stream: bool) -> bytes:
    """A chat request of 1,023 bytes."""
    document: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": ""}]}
    if stream:
        document |= {"stream": True, "stream_options": {"include_usage": True}}

    def fill(target: dict[str, Any], text: str) -> None:
        target["messages"][0]["content"] = text

    return _padded(document, fill, REQUEST_BYTES)


def reply_body() -> bytes:
    """A chat reply of 1,596 bytes with usage."""
    document: dict[str, Any] = {
        "id": "chatcmpl-Bx1",
        "object": "chat.completion",
        "created": 1764000000,
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 230,
            "completion_tokens": 300,
            "total_tokens": 530,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }

    def fill(target: dict[str, Any], text: str) -> None:
        target["choices"][0]["message"]["content"] = text

    return _padded(document, fill, REPLY_BYTES)


def stream_chunks() -> list[bytes]:
    """200 events of 187 bytes, then finish, usage and [DONE], one event a chunk."""
    head: dict[str, Any] = {"id": "c1", "object": "chat.completion.chunk", "created": 1764000000, "model": MODEL}

    def event(**members: Any) -> bytes:
        return b"data: " + json.dumps({**head, **members}, separators=(",", ":")).encode() + b"\n\n"

    def content(text: str) -> bytes:
        return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}], usage=None)

    padding = CHUNK_BYTES - len(content(""))
    finish = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=None)
    usage = event(choices=[], usage={"prompt_tokens": 230, "completion_tokens": 300, "total_tokens": 530})
    chunks = [content(" wor" + "d" * (padding - 4))] * CHUNKS
    assert len(chunks[0]) == CHUNK_BYTES
    return [*chunks, finish, usage, b"data: [DONE]\n\n"]


def bare_app() -> ASGIApp:
    """Reads the request and answers from memory: the floor that all ratios stand on. Below /long/ a stream has more chunks."""
    whole, chunks = reply_body(), stream_chunks()
    long_chunks = [chunks[0]] * MORE_CHUNKS + chunks
    json_start: Message = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(whole))],
    }
    stream_start: Message = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/event-stream")],
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        if scope["path"] == "/cpu":
            body = json.dumps([time.thread_time(), time.process_time()]).encode()
            headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        while (await receive()).get("more_body", False):
            pass
        if scope["path"].startswith("/stream"):
            await send(stream_start)
            for chunk in long_chunks if "/long/" in scope["path"] else chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await send(json_start)
            await send({"type": "http.response.body", "body": whole, "more_body": False})

    return app


def settings(data_dir: str) -> config.Settings:
    """One deployment for the benchmark's model; everything else as shipped."""
    return config.load(
        {
            "ledger": {"data_dir": data_dir},
            "deployment": [{"hardware": "hgx-h100", "accelerators": 4, "engine": "vllm-0.11", "precision": "fp8"}],
        },
        environment={},
    )


class _Base(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


def _scopes(path: str) -> list[Scope]:
    return [
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"content-type", b"application/json"),
                (b"authorization", b"Bearer sk-user-%d" % number),
            ],
        }
        for number in range(USERS)
    ]


async def _in_process_round(app: ASGIApp, scopes: list[Scope], body: bytes, count: int) -> tuple[float, float]:
    """Loop CPU and process CPU per request, in microseconds."""

    async def send(_message: Message) -> None:
        pass

    request: Message = {"type": "http.request", "body": body, "more_body": False}

    async def receive() -> Message:
        return request

    loop_s, process_s = time.thread_time(), time.process_time()
    for number in range(count):
        await app(dict(scopes[number % USERS]), receive, send)
    return (time.thread_time() - loop_s) / count * 1e6, (time.process_time() - process_s) / count * 1e6


async def in_process(rounds: int, data_dir: str) -> dict[str, Any]:
    """Bare, wrapped and BaseHTTPMiddleware, interleaved; medians over the rounds."""
    bare = bare_app()
    meter = Meter(settings(data_dir))
    await asyncio.to_thread(meter.start)
    wrapped = FootprintMiddleware(bare, meter=meter)
    wrapped._is_started = True  # no lifespan here
    variants: dict[str, ASGIApp] = {"bare": bare, "headwater": wrapped, "BaseHTTPMiddleware": _Base(bare)}
    result: dict[str, Any] = {}
    long_times: dict[str, list[tuple[float, float]]] = {}
    for kind, path, per_round in (
        ("json", "/v1/chat/completions", 2000),
        ("long", "/stream/long/chat/completions", 8),
        ("stream", "/stream/chat/completions", 40),
    ):
        body, scopes = request_body(stream=kind != "json"), _scopes(path)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
        for number in range(rounds + 1):
            for name, app in variants.items():
                count = per_round if name != "BaseHTTPMiddleware" else max(10, per_round // 10)
                measured = await _in_process_round(app, scopes, body, count)
                if number > 0:  # the first round warms up
                    times[name].append(measured)
                await asyncio.to_thread(meter.ledger.flush, 10.0)  # a round's shipping stays in its own pause
        if kind == "long":
            long_times = times
            continue
        result[kind] = _summary(times, per=1 if kind == "json" else CHUNKS + 3)
    result["further"] = _summary(_differences(long_times, times), per=MORE_CHUNKS)
    await meter.stop()
    return result


def _differences(
    long_times: dict[str, list[tuple[float, float]]], times: dict[str, list[tuple[float, float]]]
) -> dict[str, list[tuple[float, float]]]:
    """What the further chunks of a long stream took, round by round: all that a stream costs once falls out."""
    return {
        name: [(a[0] - b[0], a[1] - b[1]) for a, b in zip(long_times[name], times[name], strict=True)] for name in times
    }


def _summary(times: dict[str, list[tuple[float, float]]], per: int) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, measured in times.items():
        loops = [loop for loop, _ in measured]
        added = [loop - bare for (loop, _), (bare, _) in zip(measured, times["bare"], strict=True)]
        added_process = [own - bare for (_, own), (_, bare) in zip(measured, times["bare"], strict=True)]
        ratios = [loop / bare for (loop, _), (bare, _) in zip(measured, times["bare"], strict=True)]
        summary[name] = {
            "loop_cpu_us": statistics.median(loops) / per,
            "added_loop_cpu_us": statistics.median(added) / per,
            "added_process_cpu_us": statistics.median(added_process) / per,
            "ratio_to_bare": statistics.median(ratios),
        }
    return summary


# -- over uvicorn -------------------------------------------------------------------------------------------------------


def serve(variant: str, data_dir: str) -> None:
    """Run one server for the socket part (a child process of the benchmark)."""
    app = bare_app()
    listen(FootprintMiddleware(app, settings(data_dir)) if variant == "headwater" else app)


def listen(app: ASGIApp) -> None:
    """Serve an app on a free port, and print the port."""
    import socket

    import uvicorn

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", loop="uvloop", http="httptools"))
        server.run(sockets=[listener])


async def _drive(port: int, path: str, body: bytes, connections: int, requests: int) -> None:
    """Closed-loop keep-alive clients; enough HTTP to know where a reply ends."""

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer sk-user-{number % USERS}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        for _ in range(requests // connections):
            writer.write(head + body)
            headers = await reader.readuntil(b"\r\n\r\n")
            if b"chunked" in headers:
                await reader.readuntil(b"0\r\n\r\n")
            else:
                length = next(line for line in headers.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client(number) for number in range(connections)))


async def _cpu(port: int) -> tuple[float, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /cpu HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    loop_s, process_s = json.loads(answer.partition(b"\r\n\r\n")[2])
    return loop_s, process_s


async def socket_round(port: int, path: str, body: bytes, connections: int, count: int) -> tuple[float, float, float]:
    """Loop CPU and process CPU of the server per request, in microseconds, and requests per second."""
    loop_s, process_s = await _cpu(port)
    began_s = time.perf_counter()
    await _drive(port, path, body, connections, count)
    wall_s = time.perf_counter() - began_s
    loop_after_s, process_after_s = await _cpu(port)
    return (loop_after_s - loop_s) / count * 1e6, (process_after_s - process_s) / count * 1e6, count / wall_s


async def over_sockets(rounds: int, ports: dict[str, int]) -> dict[str, Any]:
    """Server CPU per request and requests per second over uvicorn (uvloop, httptools), as ratios within each round."""
    result: dict[str, Any] = {}
    for kind, path, connections, count in (
        ("json", "/v1/chat/completions", 1, 1000),
        ("json", "/v1/chat/completions", 32, 3200),
        ("stream", "/stream/chat/completions", 8, 80),
    ):
        body = request_body(stream=kind == "stream")
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ports}
        for number in range(rounds + 1):
            for name, port in ports.items():
                measured = await socket_round(port, path, body, connections, count)
                if number > 0:
                    rows[name].append(measured)
        per = 1 if kind == "json" else CHUNKS + 3
        pairs = list(zip(rows["headwater"], rows["bare"], strict=True))
        result[f"{kind}, {connections} connections"] = {
            "added_loop_cpu_us": statistics.median(own[0] - bare[0] for own, bare in pairs) / per,
            "added_process_cpu_us": statistics.median(own[1] - bare[1] for own, bare in pairs) / per,
            "requests_per_s_ratio": statistics.median(own[2] / bare[2] for own, bare in pairs),
        }
    return result


def print_rows(name: str, rows: dict[str, Any]) -> None:
    """Print one table of figures."""
    print(f"\n{name}")
    for label, values in rows.items():
        columns = "  ".join(f"{key} {value:9.3f}" for key, value in values.items())
        print(f"  {label:26s} {columns}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds; medians are over these")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--in-process-only", action="store_true", help="leave the sockets out")
    parser.add_argument("--serve", choices=("bare", "headwater"), help=argparse.SUPPRESS)
    parser.add_argument("--data-dir", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.data_dir)
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hw-bench-"))
        figures: dict[str, Any] = {"in_process": asyncio.run(in_process(arguments.rounds, f"{folder}/a"))}
        print_rows("In process, JSON: per exchange", figures["in_process"]["json"])
        print_rows(
            f"In process, SSE: per chunk of {CHUNK_BYTES} bytes, usage from upstream", figures["in_process"]["stream"]
        )
        print_rows("In process, SSE: each further chunk of a long stream", figures["in_process"]["further"])
        if not arguments.in_process_only:
            ports: dict[str, int] = {}
            for variant in ("bare", "headwater"):
                command = [sys.executable, __file__, "--serve", variant, "--data-dir", f"{folder}/b"]
                child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                stack.callback(child.wait)
                stack.callback(child.terminate)
                assert child.stdout is not None
                ports[variant] = int(child.stdout.readline())
            wait_for(ports)
            figures["over_sockets"] = asyncio.run(over_sockets(arguments.rounds, ports))
            print_rows("Over uvicorn (streams: per chunk)", figures["over_sockets"])
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def wait_for(ports: dict[str, int]) -> None:
    """Wait until all servers answer."""
    deadline_s = time.monotonic() + 20
    for port in ports.values():
        while True:
            try:
                asyncio.run(_cpu(port))
                break
            except OSError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)


if __name__ == "__main__":
    main()
