"""What counting tokens costs: MB/s per kind of text, a turn of a long chat, and how long the event loop stands still.

    python bench/counting.py
    python bench/counting.py --rounds 9 --json counting.json

All in one run, so that the ratios hold on any machine: `x` is against tiktoken's own encode_ordinary over the whole text. The
loop's stalls are seen from inside a real event loop: a task that wakes up every half millisecond notes by how much it is late
while chats without usage, of 60,000 tokens and of hostile texts, go through the middleware.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import string
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import tiktoken
from starlette.types import Message, Receive, Scope, Send

from headwater import config
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import Prompt
from headwater.tokens import TokenCounter
from headwater.tokens.memo import Memo
from headwater.vocab import Vocabulary

MB: Final = 1e6
TEXT_CHARS: Final = 200_000
TICK_S: Final = 0.000_5
TURNS_COUNT: Final = 20
OWN, NEAR = "gpt-4o", "llama-3.1-70b"


class NoMemo(Memo):
    """Remembers nothing: what counting costs without."""

    def put(self, key: Any, amount: Any) -> None:
        """Keep nothing."""


def texts(chars_count: int = TEXT_CHARS) -> dict[str, str]:
    """Texts of one length, none of which repeats itself but those that are meant to."""
    dice = random.Random(7)
    words = ["".join(dice.choices(string.ascii_lowercase, k=dice.randint(2, 9))) for _ in range(4_000)]
    known = ("the", "of", "and", "to", "in", "is", "that", "for", "water", "energy", "river", "plant", "reply", "token")
    numbers = [{"id": dice.randint(0, 10**6), "value": dice.random()} for _ in range(chars_count // 40)]
    made = {
        "prose": " ".join(
            dice.choice(known) if dice.random() < 0.6 else dice.choice(words) for _ in range(chars_count // 4)
        ),
        "json": json.dumps(numbers),
        "chinese": "".join(chr(dice.randint(0x4E00, 0x6000)) for _ in range(chars_count)),
        "russian": " ".join("".join(dice.choices("аеиоубвгдклмнпрст", k=6)) for _ in range(chars_count // 7)),
        "base64": base64.b64encode(dice.randbytes(chars_count)).decode(),
        "one letter": "a" * chars_count,
        "spaces": " " * chars_count,
        "special": "<|endoftext|>" * (chars_count // 13),
        "surrogates": "\ud83d" * chars_count,
        "emoji": "".join(chr(dice.randint(0x1F300, 0x1F5FF)) for _ in range(chars_count // 4)),
    }
    return {name: text[:chars_count] for name, text in made.items()}


def fastest_s(work: Callable[[], object], rounds: int) -> float:
    """The shortest of some runs."""
    times_s = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - began_s)
    return min(times_s)


def throughput(rounds: int) -> dict[str, dict[str, float]]:
    """MB/s per kind of text: tiktoken alone, our count, an open model's, by thumb, and a second time."""
    known, fresh, thumb = TokenCounter(), TokenCounter(), TokenCounter(vocab=Vocabulary(folders=()))
    known.load()
    fresh.load()
    fresh._memo = NoMemo()
    thumb._memo = NoMemo()
    encoding = tiktoken.get_encoding("o200k_base")
    found: dict[str, dict[str, float]] = {}
    for name, text in texts().items():
        size_mb = len(text.encode("utf-8", "surrogatepass")) / MB
        runs: dict[str, Callable[[], object]] = {
            "tiktoken": lambda text=text: encoding.encode_ordinary(text),  # type: ignore[misc]
            "own": lambda text=text: fresh.count_text(text, OWN),  # type: ignore[misc]
            "near": lambda text=text: fresh.count_text(text, NEAR),  # type: ignore[misc]
            "thumb": lambda text=text: thumb.count_text(text, OWN),  # type: ignore[misc]
            "again": lambda text=text: known.count_text(text, OWN),  # type: ignore[misc]
        }
        known.count_text(text, OWN)
        found[name] = {run: size_mb / fastest_s(work, rounds) for run, work in runs.items()}
    return found


def turns(rounds: int) -> dict[str, float]:
    """Seconds of the last turn of a chat, without memory and with it."""
    prose = texts(TURNS_COUNT * 4_000)["prose"]
    history = tuple(prose[at : at + 4_000] for at in range(0, len(prose), 4_000))
    prompt = Prompt(texts=(*history, "and what then?"), messages_count=len(history) + 1)
    found = {}
    for name, memo in (("before", NoMemo()), ("after", Memo())):
        counter = TokenCounter()
        counter.load()
        counter._memo = memo
        counter.count_prompt(Prompt(texts=history, messages_count=len(history)), OWN)
        found[name] = fastest_s(lambda counter=counter: counter.count_prompt(prompt, OWN), rounds)  # type: ignore[misc]
    return found


async def _late_s(work: Callable[[], Any]) -> tuple[float, float]:
    """The worst lateness of a task that wakes up all the time while work goes on, and how long the work took."""
    worst_s, is_done = 0.0, False

    async def tick() -> None:
        nonlocal worst_s
        while not is_done:
            began_s = time.perf_counter()
            await asyncio.sleep(TICK_S)
            worst_s = max(worst_s, time.perf_counter() - began_s - TICK_S)

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(0.05)
    worst_s = 0.0
    began_s = time.perf_counter()
    await work()
    took_s = time.perf_counter() - began_s
    await asyncio.sleep(2 * TICK_S)
    is_done = True
    await ticking
    return worst_s, took_s


async def _exchange(app: FootprintMiddleware, body: bytes) -> bytes:
    given = [{"type": "http.request", "body": body, "more_body": False}]
    out: list[bytes] = []

    async def receive() -> Message:
        return given.pop() if given else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        out.append(message.get("body", b""))

    scope: dict[str, Any] = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "headers": [],
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    await app(scope, receive, send)
    return b"".join(out)


async def _replying(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
    body = json.dumps({"object": "chat.completion", "choices": [choice]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def stalls(rounds: int) -> dict[str, dict[str, float]]:
    """The worst stall of the loop per kind of prompt, with what the same exchange costs it where usage is not counted."""
    cases = {"short prompt (2 kB)": texts(2_000)["prose"], "60k tokens of prose": texts(240_000)["prose"]}
    cases |= {
        f"100,000 of {name}": text
        for name, text in texts(100_000).items()
        if name in ("one letter", "chinese", "spaces")
    }
    cases["5 MB without spaces"] = texts(5_000_000)["base64"]
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        deployment = {"model": NEAR, "hardware": "hgx-h100", "engine": "vllm-0.11", "site": "us-average"}
        settings = config.load({"ledger": {"data_dir": Path(folder)}, "deployment": [deployment]})
        meter = Meter(settings)
        await asyncio.to_thread(meter.start)
        meter.counter._memo = NoMemo()
        app = FootprintMiddleware(_replying, meter=meter)
        app._is_started = True
        try:
            for name, text in cases.items():
                messages = [{"role": "user", "content": text}]
                body = json.dumps({"model": NEAR, "messages": messages}, ensure_ascii=False).encode()
                runs = [await _late_s(lambda body=body: _exchange(app, body)) for _ in range(rounds)]  # type: ignore[misc]
                found[name] = {
                    "body_kb": len(body) / 1000,
                    "median_ms": 1000 * sorted(late_s for late_s, _ in runs)[rounds // 2],
                    "worst_ms": 1000 * max(late_s for late_s, _ in runs),
                    "took_ms": 1000 * min(took_s for _, took_s in runs),
                }
        finally:
            await meter.stop()
    return found


def main() -> None:
    """Run all three and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    speed, turn, stall = throughput(asked.rounds), turns(asked.rounds), asyncio.run(stalls(asked.rounds))
    print(f"{'text':<14}{'tiktoken':>10}{'own':>9}{'x':>6}{'near':>9}{'x':>6}{'thumb':>9}{'again':>9}   MB/s")
    for name, row in speed.items():
        own_x, near_x = row["own"] / row["tiktoken"], row["near"] / row["tiktoken"]
        print(
            f"{name:<14}{row['tiktoken']:>10.1f}{row['own']:>9.1f}{own_x:>6.2f}{row['near']:>9.1f}{near_x:>6.2f}"
            f"{row['thumb']:>9.0f}{row['again']:>9.0f}"
        )
    print(
        f"\nturn {TURNS_COUNT + 1} of a chat: {1000 * turn['before']:.2f} ms without memory, {1000 * turn['after']:.2f} ms with "
        f"it (x {turn['before'] / turn['after']:.0f})\n"
    )
    print(f"{'stall of the loop':<28}{'body kB':>9}{'median ms':>11}{'worst ms':>10}{'exchange ms':>13}")
    for name, row in stall.items():
        print(
            f"{name:<28}{row['body_kb']:>9.0f}{row['median_ms']:>11.2f}{row['worst_ms']:>10.2f}{row['took_ms']:>13.1f}"
        )
    if asked.json:
        asked.json.write_text(json.dumps({"throughput": speed, "turn": turn, "stalls": stall}, indent=1))


if __name__ == "__main__":
    main()
