"""One embedded server for all workers of a data folder: it outlives any one of them and dies with the last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.errors import LedgerError
from headwater.ledger import Ledger, Reader, embedded, keeper
from headwater.ledger.embedded import Embedded, StartingError, find_binary, socket_path
from tests.ledger.support import DEADLINE_S, KEY, MONTH, applied_at_once, charge, eventually, outside
from tests.ledger.test_adoption import kill, worker

REAL_KEEPER = embedded.KEEPER
PONG = b"+PONG\r\n"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short folder; at the end no server may be running in it."""
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        yield Path(folder)
        eventually(lambda: not running(Path(folder)))


@pytest.fixture(autouse=True)
def measured_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same program under its module name, where coverage finds it."""
    monkeypatch.setattr(embedded, "KEEPER", (sys.executable, "-m", "headwater.ledger.keeper"))


def processes(data_dir: Path) -> list[tuple[str, int]]:
    """Keepers and servers that run in a data folder, with their process ids."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode()
            state = (folder / "stat").read_text().rsplit(") ", 1)[1][0]
        except OSError:
            continue
        if state != "Z" and str(data_dir) in words:
            for kind, name in (
                ("keeper", "keeper"),
                ("server", "valkey-server unixsocket"),
                ("server", "valkey-server\0"),
            ):
                if name in words and not (kind == "server" and "keeper" in words):
                    found.append((kind, int(folder.name)))
    return found


def running(data_dir: Path) -> dict[str, int]:
    """The same, for one of each."""
    return dict(processes(data_dir))


def start(data_dir: Path) -> Ledger:
    ledger = Ledger(data_dir=data_dir, key_fingerprint=KEY, outside=outside(applied_at_once, adoption_s=10.0))
    ledger.start()
    return ledger


def patient(data_dir: Path) -> Embedded:
    """A share whose clock stands still: on a busy machine a keeper may take longer to start than anybody should wait."""
    return Embedded(data_dir, monotonic=lambda: 0.0)


def answered(data_dir: Path) -> bytes:
    """What the server says, however long a busy machine takes for it; empty where there is none."""
    return keeper.answers(socket_path(data_dir), timeout_s=DEADLINE_S)


def requests_count(data_dir: Path) -> int:
    with Reader.open(data_dir=data_dir) as reader:
        return reader.totals(MONTH).requests_count


def test_two_workers_share_a_server_that_lives_until_the_last_is_killed(data_dir: Path) -> None:
    first, second = worker(data_dir), worker(data_dir)
    before = running(data_dir)
    address = socket_path(data_dir)

    kill(first)
    assert keeper.answers(address) == PONG
    eventually(lambda: keeper.answers(address) == PONG, 1.0)
    assert running(data_dir) == before
    kill(second)
    eventually(lambda: not running(data_dir))

    assert not address.exists()
    assert requests_count(data_dir) == 18


def test_a_restart_keeps_the_accounts(data_dir: Path) -> None:
    for n in range(3):
        ledger = start(data_dir)
        ledger.charge(charge(n))
        assert ledger.flush(10)
        ledger.close()
        eventually(lambda: not running(data_dir))

    assert requests_count(data_dir) == 3


def test_workers_that_start_together_get_one_server(data_dir: Path) -> None:
    places = [patient(data_dir) for _ in range(8)]
    threads = [threading.Thread(target=place.ensure) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answered(data_dir) == PONG
    assert sorted(kind for kind, _ in processes(data_dir)) == ["keeper", "server"]
    for place in places:
        place.leave()
        place.leave()


def test_a_server_that_dies_is_started_again(data_dir: Path) -> None:
    ledger = start(data_dir)
    ledger.charge(charge(1))
    assert ledger.flush(10)

    for n in range(2, 4):
        os.kill(running(data_dir)["server"], signal.SIGKILL)
        ledger.charge(charge(n))
        assert ledger.flush(10)

    ledger.close()
    assert requests_count(data_dir) == 3


def test_a_keeper_that_is_killed_takes_the_server_with_it_and_both_come_back(data_dir: Path) -> None:
    ledger = start(data_dir)
    before = running(data_dir)

    os.kill(before["keeper"], signal.SIGKILL)
    eventually(lambda: before["server"] not in running(data_dir).values())
    ledger.charge(charge(1))
    assert ledger.flush(10)

    after = running(data_dir)
    assert set(after.values()).isdisjoint(before.values())
    ledger.close()
    assert requests_count(data_dir) == 1


def test_a_keeper_that_is_told_to_end_ends_the_server(data_dir: Path) -> None:
    place = patient(data_dir)
    place.ensure()

    os.kill(running(data_dir)["keeper"], signal.SIGTERM)

    eventually(lambda: not running(data_dir))
    place.leave()


def test_a_server_left_behind_is_ended_before_another_one_writes_its_files(data_dir: Path) -> None:
    (data_dir / "store").mkdir()
    address = socket_path(data_dir)
    stale = subprocess.Popen(
        keeper.server_command(find_binary(), data_dir / "store", address), stdin=subprocess.DEVNULL
    )
    eventually(lambda: keeper.answers(address) == PONG)

    code = threading.Thread(target=lambda: keeper.Keeper(data_dir, find_binary(), address)._end_stale_server())
    code.start()
    code.join()

    assert stale.wait(5) == 0
    assert keeper.answers(address) == b""


def test_a_server_that_will_not_end_is_killed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    some = keeper.Keeper(data_dir, find_binary(), data_dir / "s")
    some._server = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert some._server.stdout is not None
    assert some._server.stdout.readline() == b"deaf\n"
    monkeypatch.setattr(keeper, "SHUTDOWN_S", 0.05)

    some._end()

    assert some._server.returncode == -signal.SIGKILL
    some._server.stdout.close()


def test_the_keeper_runs_without_the_package(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "KEEPER", REAL_KEEPER)
    ledger = start(data_dir)
    ledger.charge(charge(1))

    assert ledger.flush(10)
    assert b"-P\0" + keeper.__file__.encode() in Path(f"/proc/{running(data_dir)['keeper']}/cmdline").read_bytes()
    ledger.close()


def test_a_second_keeper_leaves_at_once(data_dir: Path) -> None:
    lock = keeper.try_lock(data_dir / "keeper.lock")
    assert lock is not None

    assert keeper.main([str(data_dir), find_binary(), str(socket_path(data_dir))]) == 0
    os.close(lock)


def test_a_long_data_folder_gets_a_short_socket_of_its_own(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)

    ledger = start(deep)
    ledger.charge(charge(1))
    assert ledger.flush(10)
    address = socket_path(deep)
    assert len(str(address)) < 100
    assert address.parent.stat().st_mode & 0o777 == 0o700
    ledger.close()

    eventually(lambda: not running(deep))
    address.parent.rmdir()


def test_a_socket_folder_that_others_may_enter_is_refused(data_dir: Path) -> None:
    (data_dir / "store").mkdir(mode=0o755)
    (data_dir / "store").chmod(0o755)
    ledger = Ledger(data_dir=data_dir, key_fingerprint=KEY)

    with pytest.raises(LedgerError, match=r"mode 0700.*HEADWATER_REDIS_URL"):
        ledger.start()


def test_a_data_folder_that_cannot_be_made_is_named(data_dir: Path) -> None:
    (data_dir / "file").touch()

    with pytest.raises(LedgerError, match="HEADWATER_DATA_DIR"):
        Embedded(data_dir / "file").ensure()


def test_a_platform_without_the_wheel_is_told_the_remedy(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)

    with pytest.raises(LedgerError, match="HEADWATER_REDIS_URL"):
        Ledger(data_dir=data_dir, key_fingerprint=KEY).start()
    assert list(data_dir.glob("journals/*")) == []


def test_a_server_that_cannot_start_is_reported_with_its_log(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_binary", lambda: "/bin/false")
    place = Embedded(data_dir, start_s=0.5)

    with pytest.raises(StartingError, match=r"server\.log"):
        place.ensure()
    place.leave()


def test_a_lock_that_nobody_gives_up_is_reported(data_dir: Path) -> None:
    (data_dir / "store").mkdir(mode=0o700)
    lock = keeper.try_lock(data_dir / "workers.lock")
    assert lock is not None

    with pytest.raises(StartingError, match=r"workers\.lock"):
        Embedded(data_dir, start_s=0.05).ensure()
    os.close(lock)


def test_a_worker_that_comes_while_the_server_shuts_down_gets_a_new_one(data_dir: Path) -> None:
    for n in range(4):
        place = patient(data_dir)
        place.ensure()
        assert answered(data_dir) == PONG
        place.leave()
        if n % 2:
            eventually(lambda: answered(data_dir) != PONG)
