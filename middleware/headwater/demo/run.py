"""Start the demo's parts, let two users chat, print what it took. Everything it starts dies with it."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import platformdirs

from headwater import config, disclosure
from headwater.demo import model, server
from headwater.demo.chat import KEYS, Turn, chat
from headwater.errors import HeadwaterError
from headwater.gateway import Gateway
from headwater.identity import subject_digest
from headwater.ledger.embedded import socket_path
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.receipts import as_text, receipt
from headwater.reports import as_table, statement

_STORE_END_LOOKS: Final = 60
_STORE_END_PAUSE_S: Final = 0.05
Say = Callable[[str], None]


def run(*, port: int, once: bool, say: Say) -> None:
    """Run the demo; returns when it is over.

    Args:
        port: where the gateway listens on the loopback address; 0 takes any free port.
        once: end after the statement instead of staying up.
        say: prints one line.

    Raises:
        ConfigError: the port is taken, or the demo extra is not installed.
        HeadwaterError: a part does not start.
    """
    with contextlib.ExitStack() as parts:
        parts.enter_context(_terminating())
        listener = parts.enter_context(server.listening(port))
        say("Headwater demo: a real model, a real ledger, two users.")
        say("")
        with _step(say, "the model's file"):
            path = model.model_file(say)
        with _step(say, "the model: llama.cpp serving Gemma 3 270M on this machine"):
            upstream = parts.enter_context(model.serving(path))
        settings = _settings()
        meter = Meter(settings)
        url = server.url(listener)
        with _step(say, f"the ledger (Valkey, in {settings.ledger.data_dir}) and the gateway"):
            parts.enter_context(server.serving(FootprintMiddleware(Gateway(upstream), meter=meter), listener))
        say("")
        turns = list(chat(f"{url}/v1", say))
        if not meter.ledger.flush(10.0):
            raise HeadwaterError("the ledger did not take the charges within 10 s; see the log in its folder")
        _show(meter, turns, say)
        if not once:
            _stay(url, turns[-1], say)
    _wait_for_store()


def _settings() -> config.Settings:
    """The demo's own settings: nothing that lies about on this machine may change what a newcomer sees."""
    return config.load(
        {
            "ledger": {"data_dir": str(data_dir())},
            "identity": {
                "from": ["api-key"],
                "labels": {name: f"api-key:{subject_digest(key)}" for name, key in KEYS.items()},
            },
            "deployment": [
                {
                    "match": [model.MODEL],
                    "model": model.MODEL,
                    "hardware": "cpu-generic",
                    "precision": "int4",
                    "engine": "llama.cpp-cpu",
                    "site": "local",
                }
            ],
        },
        environment={},
    )


def _wait_for_store() -> None:
    """The ledger's server stops a moment after its last user; nothing is to be running when the demo has ended."""
    address = socket_path(data_dir().resolve())
    pause = threading.Event()
    for _ in range(_STORE_END_LOOKS):
        if not address.exists():
            return
        pause.wait(_STORE_END_PAUSE_S)


def data_dir() -> Path:
    """The demo's own data folder, apart from a real installation's."""
    return platformdirs.user_data_path("headwater") / "demo"


def _show(meter: Meter, turns: list[Turn], say: Say) -> None:
    whole = next(turn for turn in turns if turn.headers)
    say("The response headers of the first reply:")
    for name, value in whole.headers:
        say(f"  {name}: {value}")
    say("")
    with meter.ledger.reader() as reader:
        charge = reader.receipt(whole.request_id)
        if charge is None:
            raise HeadwaterError(f"the ledger has no receipt for {whole.request_id}")
        say(as_text(receipt(charge, reader.document(charge.deployment_hash)), brief=True))
        say(f"All of it, factors and sources included: {_command('explain', charge.request_id)}")
        say("")
        say("The statement of this month, over all runs of the demo:")
        say("")
        say(as_table(statement(reader, meter.month())))


def _command(*arguments: str) -> str:
    """A command of this very installation on the demo's ledger, to be copied into a shell."""
    words = [sys.executable, "-m", "headwater", *arguments]
    return f"HEADWATER_DATA_DIR={shlex.quote(str(data_dir()))} {shlex.join(words)}"


def _stay(url: str, turn: Turn, say: Say) -> None:
    key = f"-H 'Authorization: Bearer {turn.key}'"
    question = json.dumps(
        {
            "model": model.MODEL,
            "messages": [{"role": "user", "content": "What is the capital of Spain?"}],
            "stop": ["\n"],
        }
    )
    say(f"The gateway stays up at {url} until Ctrl-C. Try, in another terminal:")
    say("")
    say(f"  curl -i {url}/v1/chat/completions {key} -H 'Content-Type: application/json' -d '{question}'")
    say(f"  curl {url}{disclosure.WELL_KNOWN}/me {key}")
    say(f"  curl {url}{disclosure.receipt_path(turn.request_id)} {key}")
    say(f"  {_command('report', '--format', 'csv')}")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    say("")
    say("Stopping.")


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: by unwinding, so that every part is stopped."""

    def end(signum: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _step(say: Say, name: str) -> Iterator[None]:
    say(f"  starting {name} ...")
    began_s = time.monotonic()
    yield
    say(f"    ready after {time.monotonic() - began_s:.1f} s")
