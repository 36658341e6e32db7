"""Keeps the embedded server running as long as any worker lives, and stops it after the last one, however that one died.

A program of its own, detached from the process that started it; standard library only, so that it stays small. Workers
share a lock (`workers.lock`); the keeper asks for it exclusively and gets it when the last of them is gone. While it
holds it, the server is shut down, and new workers wait.

The server itself holds a lock on its files (`server.lock`) for as long as it lives. A keeper that was killed may leave a
server that hangs: the next one ends it by that lock, and starts no second one that would write the same files.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.2
FIRST_BACKOFF_S = 0.1
LAST_BACKOFF_S = 5.0
SHUTDOWN_S = 10.0
STEADY_S = 10.0
_PR_SET_PDEATHSIG = 1


def server_command(binary: str, store: Path, address: Path) -> list[str]:
    """How the server is started: on a Unix socket alone, with everything it is told on disk within a second."""
    options = {
        "port": "0",
        "unixsocket": str(address),
        "unixsocketperm": "700",
        "dir": str(store),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "databases": "1",
        "daemonize": "no",
        "logfile": str(store / "server.log"),
    }
    return [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]


def answers(address: Path, word: bytes = b"PING", timeout_s: float = 1.0) -> bytes:
    """What the server says to one word; empty when there is none, or when it hangs up."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(address))
        connection.sendall(word + b"\r\n")
        return connection.recv(256)
    return b""


def try_lock(path: Path) -> int | None:
    """The exclusive lock on a file, as a descriptor; None while somebody else has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _die_with_parent() -> Callable[[], None]:
    if sys.platform != "linux":
        return lambda: None  # the next keeper ends a server that was left behind
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    keeper = os.getpid()

    def set_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(1)

    return set_signal


def end_holder(descriptor: int, number: int) -> None:
    """Send a signal to the server whose lock this is, and to its children. Its process group has its number, which nobody
    else can get while one of them holds the lock."""
    said = os.pread(descriptor, 20, 0)
    if said.isdigit():  # empty for a moment: a server that has just been forked
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(said), number)


class Keeper:
    """One server, kept."""

    def __init__(self, data_dir: Path, binary: str, address: Path) -> None:
        self._workers = data_dir / "workers.lock"
        self._store = data_dir / "store"
        self._address = address
        self._command = server_command(binary, self._store, address)
        self._die_with_parent = _die_with_parent()
        self._server: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()

    def run(self) -> None:
        """Keep the server until no worker is left, or until this process is told to end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        backoff_s = FIRST_BACKOFF_S
        running_s = 0.0
        self._start()
        while not self._stop.wait(POLL_S):
            if try_lock(self._workers) is not None:  # held until this process is gone
                break
            running_s += POLL_S
            if self._server is not None and self._server.poll() is not None:
                backoff_s = FIRST_BACKOFF_S if running_s > STEADY_S else min(2 * backoff_s, LAST_BACKOFF_S)
                if self._stop.wait(backoff_s):
                    break
                running_s = 0.0
                self._start()
        self._end()

    def _start(self) -> None:
        lock = self._take_files()
        if lock is None:
            return
        self._address.unlink(missing_ok=True)
        os.ftruncate(lock, 0)

        def before_exec() -> None:
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            self._die_with_parent()

        self._server = subprocess.Popen(  # noqa: S603  # our own binary and options
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=before_exec,  # this process has one thread
            start_new_session=True,
            pass_fds=[lock],
        )
        os.close(lock)  # from now on it is the server's alone

    def _take_files(self) -> int | None:
        """The lock on the server's files, once no other server has it: one that a killed keeper left is ended, at last by
        force. None when this process is told to end meanwhile."""
        path = self._store / "server.lock"
        tries = 0
        while (lock := try_lock(path)) is None:
            with path.open("rb") as held:
                end_holder(held.fileno(), signal.SIGTERM if tries < SHUTDOWN_S / POLL_S else signal.SIGKILL)
            tries += 1
            if self._stop.wait(POLL_S):
                return None
        return lock

    def _end(self) -> None:
        server = self._server
        if server is not None and server.poll() is None:
            server.terminate()  # saves what is not on disk yet, then exits
            try:
                server.wait(SHUTDOWN_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        self._address.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Keep the server of a data folder: arguments are the folder, the server's binary, and its socket."""
    data_dir, binary, address = Path(arguments[0]), arguments[1], Path(arguments[2])
    os.umask(0o077)
    (data_dir / "store").mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = try_lock(data_dir / "keeper.lock")
    if lock is None:
        return 0  # another keeper is at work
    address.unlink(missing_ok=True)  # of a server that a killed keeper left: nobody may rely on that one
    Keeper(data_dir, binary, address).run()
    os.close(lock)  # before `workers.lock`, which ends with the process: a worker that gets in finds no keeper
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
