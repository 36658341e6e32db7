"""A proxy on a Unix socket between the ledgers and their store, which breaks connections where it hurts most."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 1 << 16
CUTS: Final = ("reply lost", "request lost", "request torn")


class Proxy:
    """Passes everything on, or cuts a connection: a share of all requests, at random, and the next few when told to.

    "reply lost": the request went through and was answered, the answer is thrown away. "request lost": the request is
    thrown away. "request torn": half of it goes through.
    """

    def __init__(self, address: Path, target: Path, seed: int) -> None:
        self.address = address
        self.target = target
        self.share = 0.0
        """Of all requests, those that meet a cut."""
        self.next: list[str] = []
        """Cuts for the next requests with charges."""
        self.cut_count: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where ledgers find it."""
        return f"unix://{self.address}"

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with await asyncio.start_unix_server(self._pass, str(self.address), limit=_CHUNK_BYTES):
            self._ready.set()
            await self._end.wait()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours = [writer]
        try:
            # Cancelled when the proxy ends; whoever else sees that makes an error of it.
            with suppress(OSError, asyncio.CancelledError):
                store_reader, store_writer = await asyncio.open_unix_connection(str(self.target))
                ours.append(store_writer)
                await _Passage(self).run(reader, writer, store_reader, store_writer)
        finally:
            for each in ours:
                each.close()

    def fate(self, request: bytes) -> str:
        """What becomes of a request: one of the cuts, or ""."""
        if self.next and b"EVALSHA" in request[:64]:
            return self.next.pop()
        return self._rng.choice(CUTS) if self._rng.random() < self.share else ""


class _Passage:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._is_reply_lost = False

    async def run(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        store_reader: asyncio.StreamReader,
        store_writer: asyncio.StreamWriter,
    ) -> None:
        """Until one side hangs up, or a cut."""
        pumps = [
            asyncio.create_task(self._requests(reader, store_writer)),
            asyncio.create_task(self._replies(store_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _requests(self, reader: asyncio.StreamReader, store_writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(_CHUNK_BYTES):
            fate = "" if self._is_reply_lost else self._proxy.fate(request)
            if fate == "reply lost":
                self._is_reply_lost = True
            elif fate:
                self._proxy.cut_count[fate] += 1
                if fate == "request torn":
                    store_writer.write(request[: len(request) // 2])
                    await store_writer.drain()
                return
            store_writer.write(request)
            await store_writer.drain()

    async def _replies(self, store_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while reply := await store_reader.read(_CHUNK_BYTES):
            if self._is_reply_lost:
                self._proxy.cut_count["reply lost"] += 1
                return
            writer.write(reply)
            await writer.drain()
