"""A real server that can be stopped, killed, filled up, and set back to what a loss of power would leave of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis

from headwater.ledger import keeper
from headwater.ledger.embedded import find_binary

DEADLINE_S: Final = 30.0
_MARK: Final = "chaos-mark"
_TRIES: Final = 5
_FSYNC_S: Final = 1.0


def eventually(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not within the time.
    """
    pause = threading.Event()
    by_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > by_s:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        pause.wait(0.005)


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Server:
    """A server with an append-only file, as the ledger's own is run (appendfsync everysec)."""

    def __init__(self, folder: Path, *options: str, master_port: str = "") -> None:
        self.store = folder
        self.address = folder / "s"
        self._options = options
        self._master_port = master_port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait for an answer."""
        self.store.mkdir(exist_ok=True)
        command = [*keeper.server_command(find_binary(), self.store, self.address), *self._options]
        if self._master_port:
            command += ["--replicaof", "127.0.0.1", self._master_port]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        eventually(lambda: keeper.answers(self.address) == b"+PONG\r\n", "the server's answer")

    def client(self) -> redis.Redis:
        """A connection past the proxy."""
        return redis.Redis(unix_socket_path=str(self.address), decode_responses=True, socket_timeout=DEADLINE_S)

    def command(self, *words: str) -> Any:
        """One command, past the proxy."""
        with self.client() as client:
            return client.execute_command(*words)

    def promote(self) -> None:
        """A replica becomes a master, and stays one when it is started again."""
        self._master_port = ""
        self.command("REPLICAOF", "NO", "ONE")

    def stop(self) -> None:
        """SIGSTOP, and wait until it stands still: it takes connections and answers nothing."""
        self._signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self._running().pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the server's stop")

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL. What was written is in the file; what was answered and not written yet is not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.address.unlink(missing_ok=True)

    def lose_power(self, work: Callable[[], object]) -> int:
        """Kill it, and set its file back to the last fsync. Returns how many bytes were cut off. `work`: what goes on meanwhile.

        After a loss of power a disk must have what was there at the last fsync, and no more. When that was is known here:
        for a moment the server is told to fsync every write, and writes a mark. With `everysec` again, the next fsync
        begins a second after that one, not earlier. The file's size is read at once; if the server stands still before the
        second is over, the file cut to this size is what a loss of power at that moment can leave of it.
        (WAITAOF does not tell: Valkey 9.1.2 confirms what is not fsynced.)
        """
        newest, size, lost_bytes = self._newest(), -1, 0
        for _ in range(_TRIES):
            began_s = time.monotonic()
            with self.client() as client:
                client.config_set("appendfsync", "always")
                client.incr(_MARK)
                client.config_set("appendfsync", "everysec")
            newest = self._newest()
            size = newest.stat().st_size
            work()
            self.stop()
            if time.monotonic() < began_s + _FSYNC_S:
                break
            self.go_on()
        else:
            size = -1  # this process is too slow for it; the server dies all the same
        self.kill()
        if size >= 0 and newest == self._newest():  # else the file was rewritten meanwhile
            lost_bytes = newest.stat().st_size - size
            os.truncate(newest, size)
        return lost_bytes

    def _newest(self) -> Path:
        return max((self.store / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))

    def _signal(self, number: int) -> None:
        self._running().send_signal(number)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process
