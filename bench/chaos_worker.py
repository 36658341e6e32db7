"""The workers of the chaos run: real processes, each a real ledger under a real middleware, with a known load.

A nursery imports everything once and forks a worker for each line that it reads, so that hundreds of deaths are cheap:

    {"worker": 3, "folder": "...", "url": "unix://...", "seed": 7, "rate": 100, "without": "", "replicas": 0}

It answers with the worker's process id. `without` switches one protection off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

import chaos_load as load
from chaos_load import ACKNOWLEDGED, BEGUN, KEY, OPENED, RAISED, Sheet
from headwater.endpoint import Endpoint
from headwater.errors import LedgerError
from headwater.identity import load_key
from headwater.ledger import Ledger, Outside, Timing
from headwater.ledger.adoption import Orphanage
from headwater.ledger.connection import StoreError
from headwater.ledger.durability import WaitAof
from headwater.ledger.redis import Behind, Store
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import Charge
from overhead import reply_body, request_body, settings

# Shorter than in production, so that faults meet a ledger at work and not one that waits; time-outs are production's.
TIMING: Final = Timing(cycle_s=0.02, adoption_s=0.2, first_backoff_s=0.01, last_backoff_s=0.1)
SEGMENT_BYTES: Final = 16 << 10
PROTECTIONS: Final = ("idempotency", "journal", "durability", "adoption", "replicas")
FLUSH_S: Final = 60.0
_DEFERRED_S: Final = 60.0
_SLOW_SHARE: Final = 0.2
_BARE_SHARE: Final = 0.2
_WHOLE: Final = reply_body()
_USAGE: Final = b'"total_tokens":530'


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker is told. `without`: the protection that is switched off, "" for none."""

    worker: int
    folder: str
    url: str
    seed: int
    rate: float
    without: str = ""
    replicas: int = 0
    segment_bytes: int = SEGMENT_BYTES


class Known(Ledger):
    """A ledger that charges what the load says for an exchange, and notes on the sheet what it acknowledged."""

    def __init__(self, sheet: Sheet, **options: Any) -> None:
        super().__init__(**options)
        self._sheet = sheet
        self._next = 0
        self._numbers: dict[str, int] = {}
        self._raised: list[int] = []

    def _number(self, request_id: str) -> int:
        if request_id not in self._numbers:
            self._numbers[request_id] = self._next
            self._sheet.mark(self._next, BEGUN)
            self._next += 1
        return self._numbers[request_id]

    def provisional(self, charge: Charge) -> bool:
        number = self._number(charge.request_id)
        known = load.opened(self._sheet.worker, number)
        began_s = time.perf_counter()
        is_written = super().provisional(known)
        self._sheet.time("ledger", time.perf_counter() - began_s)
        self._sheet.mark(number, OPENED)
        return is_written

    def charge(self, charge: Charge) -> bool:
        number = self._number(charge.request_id)
        del self._numbers[charge.request_id]
        return self._charge(number)

    def forget(self, request_id: str) -> None:
        raise AssertionError("nothing in this load is to be forgotten")

    def _charge(self, number: int) -> bool:
        known = load.completed(self._sheet.worker, number)
        began_s = time.perf_counter()
        try:
            is_charged = super().charge(known)
        except LedgerError:
            self._sheet.mark(number, RAISED)
            self._raised.append(number)
            raise
        self._sheet.time("ledger", time.perf_counter() - began_s)
        # What was raised before was written with this one: the ledger keeps it in memory until the disk has room.
        for each in (*self._raised, number):
            self._sheet.mark(each, ACKNOWLEDGED)
        self._raised = []
        return is_charged


class Deferred(Known):
    """Without the journal before the reply: a thread writes later, many at a time."""

    def __init__(self, sheet: Sheet, **options: Any) -> None:
        super().__init__(sheet, **options)
        self._queue: list[int] = []
        self._asked = threading.Event()
        threading.Thread(target=self._write, daemon=True).start()

    def charge(self, charge: Charge) -> bool:
        number = self._number(charge.request_id)
        del self._numbers[charge.request_id]
        self._sheet.mark(number, ACKNOWLEDGED)
        self._queue.append(number)
        return True

    def _write(self) -> None:
        while True:
            self._asked.wait(_DEFERRED_S)
            self._asked.clear()
            while self._queue:
                self._charge(self._queue[0])
                self._queue.pop(0)

    def flush(self, timeout_s: float) -> bool:
        by_s = time.monotonic() + timeout_s
        while self._queue and time.monotonic() < by_s:
            self._asked.set()
            threading.Event().wait(0.01)
        return super().flush(timeout_s)


class Applied:
    """Without keeping until durable: what the store has applied leaves the journal."""

    def begin(self) -> None:
        """Nothing to mark."""

    def done(self) -> bool:
        """Always."""
        return True

    def cancel(self) -> None:
        """Nothing to forget."""


def _repeat(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Without idempotency: a batch whose reply was lost is sent again, wherever the store stands."""

    def repeating(store: Store, batch: Any) -> Any:
        is_lost = False
        while True:
            try:
                return apply(store, batch)
            except Behind as behind:
                if not is_lost:
                    raise
                batch = batch._replace(previous=behind.stored)
            except StoreError:
                is_lost = True
                store.close()

    return repeating


def _switch_off(protection: str) -> None:
    if protection == "idempotency":
        setattr(Store, "apply", _repeat(Store.apply))  # noqa: B010  # a method, for once
    elif protection == "adoption":
        setattr(Orphanage, "take", lambda _: [])  # noqa: B010


def canned() -> ASGIApp:
    """An upstream that answers from memory, after the delay that the scope names."""
    start: Message = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_WHOLE))],
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        if scope["delay_s"]:
            await asyncio.sleep(scope["delay_s"])
        await send(start)
        await send({"type": "http.response.body", "body": _WHOLE, "more_body": False})

    return app


class Worker:
    """One worker's life."""

    def __init__(self, task: Task) -> None:
        self._task = task
        folder = Path(task.folder)
        self._rng = random.Random(f"{task.seed}/{task.worker}")
        self._sheet = Sheet(folder, task.worker)
        _switch_off(task.without)
        kind = Deferred if task.without == "journal" else Known
        self._ledger = kind(
            self._sheet,
            data_dir=folder,
            key_fingerprint=KEY,
            redis_url=Endpoint(url=task.url, replicas_count=task.replicas),
            segment_bytes=task.segment_bytes,
            outside=Outside(clock=self._clock, timing=TIMING, durability=self._durability),
        )
        self._bare = canned()
        meter = Meter(settings(task.folder), ledger=self._ledger, wall_s=self._clock)
        self._app = FootprintMiddleware(self._bare, meter=meter)
        self._app._is_started = True  # no lifespan here
        self._body = request_body(stream=False)
        self._most_file_bytes = -1.0
        self._under_way: set[asyncio.Task[None]] = set()

    def _clock(self) -> float:
        return time.time() + self._sheet["clock_offset_s"]

    def _durability(self, endpoint: Endpoint, factory: Any) -> Any:
        if self._task.without == "durability":
            return Applied()
        return WaitAof(endpoint, client_factory=factory)

    async def live(self, nursery: int) -> None:
        """Work until killed, or until the nursery is gone."""
        self._ledger.start(timeout_s=0.5)
        while os.getppid() == nursery:
            if self._sheet["pause"] != self._sheet["paused"]:
                await self._obey(self._sheet["pause"])
            if self._sheet["paused"] % 2:
                await asyncio.sleep(0.005)
                continue
            self._limit(self._sheet["most_file_bytes"])
            await self._step()
            self._report()
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) / self._task.rate)

    async def _step(self) -> None:
        chance = self._rng.random()
        if chance < _SLOW_SHARE:  # in flight for a while, for a death to meet it
            task = asyncio.create_task(self._exchange(self._app, self._rng.uniform(0.001, 0.1)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            return
        if chance < _SLOW_SHARE + _BARE_SHARE:
            await self._timed("bare", self._bare)
        await self._timed("reply", self._app)

    async def _timed(self, what: str, app: ASGIApp) -> None:
        began_s, loop_s = time.perf_counter(), time.thread_time()
        await self._exchange(app)
        self._sheet.time(what, time.perf_counter() - began_s)
        if what == "reply":
            self._sheet.time("reply, loop CPU", time.thread_time() - loop_s)

    async def _exchange(self, app: ASGIApp, delay_s: float = 0.0) -> None:
        """One request and its reply, which must be whole whatever is broken behind it."""
        parts: list[Message] = []
        request: Message = {"type": "http.request", "body": self._body, "more_body": False}

        async def receive() -> Message:
            return request

        async def send(message: Message) -> None:
            parts.append(message)

        try:
            await app(self._scope(delay_s), receive, send)
        except Exception:
            parts = []
        body = b"".join(part.get("body", b"") for part in parts)
        is_whole = bool(parts) and parts[0].get("status") == 200 and _USAGE in body
        self._sheet["exchanges"] += app is self._app
        self._sheet["failed_replies"] += not is_whole

    def _scope(self, delay_s: float) -> Scope:
        path = "/v1/chat/completions"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
            "delay_s": delay_s,
        }

    def _limit(self, most_bytes: float) -> None:
        """A disk that is full, for this process: the kernel takes a part of a write, then refuses (EFBIG).

        Python ignores SIGXFSZ, so a write beyond the limit fails as one to a full disk does.
        """
        if most_bytes != self._most_file_bytes:
            self._most_file_bytes = most_bytes
            soft = resource.RLIM_INFINITY if most_bytes < 0 else int(most_bytes)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    async def _obey(self, order: float) -> None:
        if order % 2:
            self._limit(-1)
            await asyncio.gather(*self._under_way)
            await self._exchange(self._app)  # what waits in memory for room on the disk is written with it
            self._sheet["flushed"] = await asyncio.to_thread(self._ledger.flush, FLUSH_S)
            self._report()
        self._sheet["paused"] = order

    def _report(self) -> None:
        stats = self._ledger.stats
        for name in ("journalled", "shipped", "failures", "gaps", "adopted", "lost"):
            self._sheet[name] = getattr(stats, name)


def _live(task: Task, nursery: int) -> None:
    logging.disable(logging.CRITICAL)
    # The injector reads what went wrong from the sheets; a terminal has nothing to say here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(KeyboardInterrupt):
        asyncio.run(Worker(task).live(nursery))


def main() -> None:
    """Fork a worker for each line; the workers end with this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder = sys.argv[1]
    load_key(Path(folder))
    Meter(
        settings(folder), ledger=Ledger(data_dir=Path(folder), key_fingerprint=KEY)
    )  # reads the catalog, once for all
    print("ready", flush=True)
    nursery = os.getpid()
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            os.close(0)  # what the nursery is told is not for its children
            os.close(1)
            try:
                _live(Task(**json.loads(line)), nursery)
            finally:
                os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    main()
