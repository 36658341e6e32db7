"""One embedded server for all workers of a data folder: it outlives any one of them and dies with the last."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from headwater import config
from headwater.errors import LedgerError
from headwater.ledger import Ledger, Reader, embedded, keeper
from headwater.ledger.embedded import Embedded, StartingError, find_binary, socket_path
from headwater.ledger.health import examine
from headwater.ledger.redis import Store
from tests.ledger.support import (
    DEADLINE_S,
    KEY,
    MONTH,
    Server,
    applied_at_once,
    charge,
    eventually,
    outside,
    ship,
    write,
)
from tests.ledger.test_adoption import kill, worker
from tests.ledger.test_delivery import count

PONG = b"+PONG\r\n"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short folder; at the end no server may be running in it."""
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        yield Path(folder)
        eventually(lambda: not running(Path(folder)))


@pytest.fixture
def measured_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same program under its module name, where coverage finds it; it starts ten times as slowly."""
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


@pytest.mark.usefixtures("measured_keeper")
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


@pytest.mark.usefixtures("measured_keeper")
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


@pytest.mark.usefixtures("measured_keeper")
def test_a_keeper_that_is_told_to_end_ends_the_server(data_dir: Path) -> None:
    place = patient(data_dir)
    place.ensure()

    os.kill(running(data_dir)["keeper"], signal.SIGTERM)

    eventually(lambda: not running(data_dir))
    place.leave()


def left_behind(data_dir: Path) -> subprocess.Popen[bytes]:
    """A server whose keeper is gone, as on systems where nothing ends it."""
    (data_dir / "store").mkdir(exist_ok=True)
    some = keeper.Keeper(data_dir, find_binary(), socket_path(data_dir))
    some._start()
    assert some._server is not None
    eventually(lambda: keeper.answers(socket_path(data_dir)) == PONG)
    return some._server


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_server_left_behind_is_ended_before_another_one_writes_its_files(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, *, is_stopped: bool
) -> None:
    stale = left_behind(data_dir)
    reaping = threading.Thread(target=stale.wait)
    reaping.start()
    if is_stopped:  # neither socket nor SIGTERM reaches it
        os.kill(stale.pid, signal.SIGSTOP)
        monkeypatch.setattr(keeper, "SHUTDOWN_S", 0.4)
        monkeypatch.setattr(keeper, "POLL_S", 0.05)

    second = left_behind(data_dir)

    reaping.join()
    assert stale.returncode == (-signal.SIGKILL if is_stopped else 0)
    assert second.poll() is None
    second.terminate()
    second.wait()


def test_a_keeper_that_is_told_to_end_waits_for_no_server(data_dir: Path) -> None:
    (data_dir / "store").mkdir()
    lock = keeper.try_lock(data_dir / "store" / "server.lock")
    assert lock is not None
    some = keeper.Keeper(data_dir, find_binary(), data_dir / "s")
    some._stop.set()

    some._start()

    assert some._server is None
    os.close(lock)


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


def test_the_keeper_runs_without_the_package(data_dir: Path) -> None:
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


@pytest.mark.parametrize("order", list(itertools.permutations(("server", "keeper", "worker"))), ids="-".join)
def test_no_order_of_deaths_loses_or_doubles_a_charge(data_dir: Path, order: tuple[str, ...]) -> None:
    process = worker(data_dir)

    for victim in order:
        if victim == "worker":
            kill(process)
        elif victim in (alive := running(data_dir)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(alive[victim], signal.SIGKILL)

    assert requests_count(data_dir) == 9
    assert requests_count(data_dir) == 9


def test_deaths_at_any_moment_cost_nothing(data_dir: Path) -> None:
    chance = random.Random(11)
    pause = threading.Event()
    ledger = start(data_dir)

    for number in range(12):
        ledger.charge(charge(number))
        pause.wait(chance.random() * 0.1)
        for victim in chance.sample(("server", "keeper"), chance.randint(0, 2)):
            if victim in (alive := running(data_dir)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(alive[victim], signal.SIGKILL)

    assert ledger.flush(20)
    ledger.close()
    assert requests_count(data_dir) == 12


@pytest.fixture
def charged(own_server: Server, data_dir: Path) -> Path:
    """The append-only file of a server that has 200 charges and was killed."""
    own_server.start("--appendfsync", "always")
    store = Store(own_server.url)
    store.check(KEY)
    ship(write(data_dir, [charge(number) for number in range(200)]), store)
    store.close()
    own_server.kill()
    return next((own_server.store / "appendonlydir").glob("*.incr.aof"))


def test_a_torn_end_of_the_servers_file_does_not_stop_the_start(own_server: Server, charged: Path) -> None:
    sound = charged.read_bytes()
    charged.write_bytes(sound + b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$9\r\nhal")

    own_server.start()

    assert count(own_server) == 200
    assert charged.read_bytes()[: len(sound)] == sound


def test_damage_in_the_middle_of_the_servers_file_is_told_with_a_remedy_that_works(
    own_server: Server, charged: Path, data_dir: Path
) -> None:
    data = bytearray(charged.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = b"\xff" * 2000
    charged.write_bytes(data)
    command = keeper.server_command(find_binary(), own_server.store, own_server.address)
    assert subprocess.run(command, timeout=20, check=False).returncode == 1
    moved = data_dir / "Bob's data"  # the remedy is for a shell
    own_server.store.parent.rename(moved)

    told = embedded.trouble(moved)

    assert f"{charged.name} is damaged in the middle" in told
    assert "restore a backup" in told
    remedy = told.partition("behind it: ")[2]
    subprocess.run(remedy, shell=True, input=b"y\n", check=True, stdout=subprocess.DEVNULL)  # noqa: S602
    moved.rename(own_server.store.parent)
    own_server.start()
    assert 0 < count(own_server) < 200


def test_what_a_server_says_before_it_ends_is_passed_on(data_dir: Path) -> None:
    store = data_dir / "store"
    store.mkdir()
    assert embedded.trouble(data_dir).startswith("see ")
    (store / "server.log").write_text(
        "1:M 1 Nov 2026 * oO0OoO0OoO0Oo Valkey is starting oO0OoO0OoO0Oo\n1:M 1 Nov 2026 # long ago\n"
        "2:M 2 Nov 2026 * oO0OoO0OoO0Oo Valkey is starting oO0OoO0OoO0Oo\n"
        "2:M 2 Nov 2026 # No space left on device\n2:M 2 Nov 2026 # WARNING Memory overcommit\n"
    )

    assert embedded.trouble(data_dir).startswith("its log says 'No space left on device'; see ")
    with (store / "server.log").open("a") as log_file:
        log_file.write("2:M 2 Nov 2026 # Valkey is now ready to exit, bye bye...\n")
    assert embedded.trouble(data_dir).startswith("see ")


def test_a_server_that_is_loading_is_waited_for(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [b"-LOADING Valkey is loading the dataset in memory\r\n"] * 3
    answers = keeper.answers
    monkeypatch.setattr(keeper, "answers", lambda address: said.pop() if said else answers(address))
    place = Embedded(data_dir)

    place.ensure()

    assert said == []
    assert keeper.answers(socket_path(data_dir)) == PONG
    place.leave()


def test_a_data_folder_that_was_moved_has_its_accounts(data_dir: Path) -> None:
    ledger = start(data_dir / "old")
    ledger.charge(charge(1))
    assert ledger.flush(10)
    ledger.close()
    eventually(lambda: not running(data_dir))

    (data_dir / "old").rename(data_dir / "new")

    assert requests_count(data_dir / "new") == 1


def test_a_data_folder_may_have_any_name(data_dir: Path) -> None:
    odd = data_dir / "Application Support" / '50% ünïcode \'n "quotes" #?'

    ledger = start(odd)
    ledger.charge(charge(1))
    assert ledger.flush(10)
    ledger.close()
    eventually(lambda: not running(data_dir))

    assert requests_count(odd) == 1


@pytest.mark.parametrize(
    ("system", "below_home"), [("unix", ".local/share/headwater"), ("macos", "Library/Application Support/headwater")]
)
def test_the_data_folder_is_where_the_platform_keeps_such_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, below_home: str
) -> None:
    for name in ("XDG_DATA_HOME", "HEADWATER_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    platform: Any = importlib.import_module(f"platformdirs.{system}")
    kind = getattr(platform, {"unix": "Unix", "macos": "MacOS"}[system])
    monkeypatch.setattr(platformdirs, "PlatformDirs", kind)

    assert config.load({}, environment={}).ledger.data_dir == tmp_path / below_home


def test_a_server_whose_disk_is_full_takes_nothing_and_gets_all_when_there_is_room(
    own_server: Server, data_dir: Path
) -> None:
    command = keeper.server_command(find_binary(), own_server.store, own_server.address)
    # Python ignores SIGXFSZ, and without restored signals so does the server: a write beyond the limit fails, as on a full disk.
    own_server._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, restore_signals=False)
    eventually(lambda: keeper.answers(own_server.address) == PONG)
    ledger = Ledger(data_dir=data_dir, redis_url=own_server.url, key_fingerprint=KEY, outside=outside())
    ledger.start()
    ledger.charge(charge(1))
    assert ledger.flush(10)
    pid = own_server._process.pid
    written = next((own_server.store / "appendonlydir").glob("*.incr.aof")).stat().st_size
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (written + 100, hard))

    for number in range(2, 50):
        ledger.charge(charge(number))
    eventually(lambda: own_server.client().info("persistence")["aof_last_write_status"] == "err")
    with own_server.client() as client:
        assert {each.level for each in examine(client) if each.name == "persistence"} == {"error"}
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    assert ledger.flush(20)
    ledger.close()
    own_server.kill()
    own_server.start()
    with Reader.open(data_dir=data_dir, redis_url=own_server.url) as reader:  # with what the journal still holds
        assert reader.totals(MONTH).requests_count == 49
    assert count(own_server) == 49


def test_a_data_folder_that_cannot_be_written_is_named(data_dir: Path) -> None:
    (data_dir / "workers.lock").mkdir(parents=True)  # as a read-only one: no lock can be made

    with pytest.raises(LedgerError, match="HEADWATER_DATA_DIR"):
        Embedded(data_dir).ensure()
