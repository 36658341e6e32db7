"""Which HTTP client a streaming gateway should stand on: server CPU per reply and per chunk, interleaved in one run.

    python bench/gateway_clients.py

The same small forwarding app is written on each client (aiohttp, pyreqwest, httpx), served by uvicorn, in front of the same
upstream; the client connections are closed loops on loopback. Read the ratios: CPU is of the forwarding process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

import overhead

Fetch = Callable[[str, bytes], AsyncIterator[bytes]]
CLIENTS = ("aiohttp", "pyreqwest", "httpx")


def _aiohttp() -> Fetch:
    import aiohttp

    sessions: list[aiohttp.ClientSession] = []

    async def fetch(url: str, body: bytes) -> AsyncIterator[bytes]:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False))
        async with sessions[0].post(url, data=body, headers={"content-type": "application/json"}) as response:
            async for chunk in response.content.iter_any():
                yield chunk

    return fetch


def _pyreqwest() -> Fetch:
    from pyreqwest.client import ClientBuilder

    clients: list[Any] = []

    async def fetch(url: str, body: bytes) -> AsyncIterator[bytes]:
        if not clients:
            clients.append(ClientBuilder().build())
        async with clients[0].post(url).body_bytes(body).build_streamed() as response:
            while (chunk := await response.body_reader.read_chunk()) is not None:
                yield bytes(chunk)

    return fetch


def _httpx() -> Fetch:
    import httpx

    clients: list[httpx.AsyncClient] = []

    async def fetch(url: str, body: bytes) -> AsyncIterator[bytes]:
        if not clients:
            clients.append(httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=None))  # noqa: S113
        async with clients[0].stream("POST", url, content=body) as response:
            async for chunk in response.aiter_raw():
                yield chunk

    return fetch


def forwarder(client: str, upstream: str) -> ASGIApp:
    """A byte-exact forwarder on one client, with the /cpu page that the measurement reads."""
    fetch = {"aiohttp": _aiohttp, "pyreqwest": _pyreqwest, "httpx": _httpx}[client]()
    bare = overhead.bare_app()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == "/cpu":
            await bare(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        async for chunk in fetch(upstream + scope["path"], body):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def measure(ports: dict[str, int], rounds: int) -> dict[str, Any]:
    """CPU of the forwarding process per request, and requests per second, as ratios to aiohttp in the same round."""
    result: dict[str, Any] = {}
    for kind, path, connections, count in (
        ("json, 1 connection", "/v1/chat/completions", 1, 300),
        ("json, 32 connections", "/v1/chat/completions", 32, 640),
        ("stream, 8 connections", "/stream/chat/completions", 8, 32),
    ):
        body = overhead.request_body(stream=kind.startswith("stream"))
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ports}
        for number in range(rounds + 1):
            for name, port in ports.items():
                measured = await overhead.socket_round(port, path, body, connections, count)
                if number:
                    rows[name].append(measured)
        for name, measured_rows in rows.items():
            pairs = list(zip(measured_rows, rows["aiohttp"], strict=True))
            result[f"{kind}, {name}"] = {
                "process_cpu_us": statistics.median(own[1] for own, _ in pairs),
                "cpu_ratio_to_aiohttp": statistics.median(own[1] / base[1] for own, base in pairs),
                "requests_per_s_ratio": statistics.median(own[2] / base[2] for own, base in pairs),
            }
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds; medians are over these")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--upstream", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        overhead.listen(
            overhead.bare_app() if arguments.serve == "bare" else forwarder(arguments.serve, arguments.upstream)
        )
        return
    with ExitStack() as stack:

        def start(*options: str) -> int:
            child = subprocess.Popen([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True)
            stack.callback(child.wait)
            stack.callback(child.terminate)
            assert child.stdout is not None
            return int(child.stdout.readline())

        upstream = f"http://127.0.0.1:{start('--serve', 'bare')}"
        ports = {name: start("--serve", name, "--upstream", upstream) for name in CLIENTS}
        overhead.wait_for(ports)
        figures = asyncio.run(measure(ports, arguments.rounds))
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        overhead.print_rows("CPU of the forwarding process", figures)


if __name__ == "__main__":
    main()
