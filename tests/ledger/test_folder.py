"""What a data folder tells: whose it is, its room, its journals, its server. Looking changes nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.ledger import folder, keeper
from headwater.ledger.embedded import Embedded, find_binary, socket_path
from headwater.ledger.folder import Waiting, age, embedded_server, file_system, journals, judge_journals, look
from headwater.ledger.health import Finding
from headwater.ledger.journal import JOURNAL_BYTES
from headwater.ledger.losses import Losses
from headwater.ledger.stats import Stats
from tests.ledger.support import KEY, charge, eventually, opened, write
from tests.ledger.test_adoption import dead_journal
from tests.ledger.test_embedded import data_dir, running

__all__ = ["data_dir"]


def about(name: str, findings: list[Finding]) -> Finding:
    return next(finding for finding in findings if finding.name == name)


@pytest.fixture
def owned(tmp_path: Path) -> Path:
    """A data folder as the ledger makes it."""
    (tmp_path / "the data").mkdir(mode=0o700)
    return tmp_path / "the data"


def test_a_folder_that_is_as_it_should_be(owned: Path) -> None:
    findings = look(owned, journal_bytes=1)

    assert {finding.name: finding.level for finding in findings} == dict.fromkeys(
        ("folder", "disk", "file system"), "ok"
    )


def test_a_folder_that_is_not_there_is_made_later_where_that_is_possible(owned: Path) -> None:
    assert [finding.level for finding in look(owned / "new" / "deep")] == ["ok"]
    assert not (owned / "new").exists()
    (owned / "file").touch()
    for wrong in (owned / "file", owned / "file" / "below"):
        assert [finding.level for finding in look(wrong)] == ["error"]
        assert "HEADWATER_DATA_DIR" in look(wrong)[0].remedy


def test_a_folder_that_others_may_enter_is_told_with_the_command_that_shuts_it(owned: Path) -> None:
    owned.chmod(0o750)
    (owned / "store").mkdir(mode=0o755)

    finding = about("folder", look(owned))

    assert finding.level == "warning"
    subprocess.run(finding.remedy, shell=True, check=True)  # noqa: S602
    assert about("folder", look(owned)).level == "ok"


def test_a_folder_of_somebody_else_is_an_error(owned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4242)

    finding = about("folder", look(owned))

    assert finding.level == "error"
    assert "this is user 4242" in finding.found


@pytest.mark.parametrize("way", ["access", "mount"])
def test_a_folder_that_cannot_be_written_is_an_error(owned: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way == "access":
        monkeypatch.setattr(os, "access", lambda *_: False)
    else:
        monkeypatch.setattr(os, "statvfs", lambda _: disk(flag=os.ST_RDONLY))

    finding = about("folder", look(owned))

    assert finding.level == "error"
    assert "no charge can be journalled" in finding.found


def test_a_folder_that_cannot_be_entered_is_an_error(owned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)

    assert [finding.level for finding in look(owned)] == ["error"]
    assert "Permission denied" in look(owned)[0].found


def disk(*, free_bytes: int = 1 << 40, inodes: int = 1000, flag: int = 0) -> Any:
    return SimpleNamespace(f_bavail=free_bytes // 4096, f_frsize=4096, f_files=1000, f_favail=inodes, f_flag=flag)


@pytest.mark.parametrize(
    ("state", "level", "words"),
    [
        (disk(), "ok", "1,048,576.0 MiB free"),
        (disk(free_bytes=JOURNAL_BYTES - 4096), "warning", "less than the journal of one process"),
        (disk(free_bytes=folder.LEAST_FREE_BYTES - 4096), "error", "lost with the process"),
        (disk(inodes=0), "error", "no inodes"),
    ],
)
def test_room_is_measured_by_what_a_journal_may_take(
    owned: Path, monkeypatch: pytest.MonkeyPatch, state: Any, level: str, words: str
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: state)

    finding = about("disk", look(owned))

    assert finding.level == level
    assert words in finding.found


MOUNTS = """\
rootfs / rootfs rw 0 0
/dev/vda / ext4 rw 0 0
server:/home /mnt/home\\040of\\040all nfs4 rw 0 0
host:/ /mnt/ssh fuse.sshfs rw 0 0
/dev/vdb /mnt/home\\040of\\040all/ada xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/mnt/home of all/bob", "nfs4"),
        ("/mnt/home of all/ada/data", "xfs"),
        ("/mnt/home of all/adam", "nfs4"),
        ("/mnt/ssh", "fuse.sshfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)

    assert file_system(Path(path), mounts=mounts) == kind
    assert file_system(Path(path), mounts=tmp_path / "none") is None


@pytest.mark.parametrize(
    ("kind", "level"), [("nfs4", "warning"), ("fuse.sshfs", "warning"), ("xfs", "ok"), (None, "unknown")]
)
def test_a_network_file_system_is_warned_of(
    owned: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None, level: str
) -> None:
    monkeypatch.setattr(folder, "file_system", lambda _: kind)

    assert about("file system", look(owned)).level == level


def test_journals_of_the_dead_are_read_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    living = write(tmp_path, [charge(1)], journal_id="alive")
    dead_journal(tmp_path, "dead")
    (tmp_path / "journals" / ".being-made").mkdir()

    alive, dead = journals(tmp_path)

    assert (alive.journal_id, alive.is_alive, alive.charges_count) == ("alive", True, 0)
    assert alive.size_bytes > 0
    assert (dead.journal_id, dead.is_alive, dead.fingerprint) == ("dead", False, KEY)
    assert (dead.charges_count, dead.open_count, dead.damaged_count) == (5, 4, 0)
    living.close()


def test_damage_is_counted_in_charges(tmp_path: Path) -> None:
    made = write(tmp_path, [charge(n) for n in range(5)])
    made.close()
    path = next(made.folder.glob("*.log"))
    sound = path.read_bytes()
    at = len(sound) // 2
    path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])

    (damaged,) = journals(tmp_path)
    path.write_bytes(b"\0" * 100)
    (unreadable,) = journals(tmp_path)

    assert (damaged.charges_count, damaged.damaged_count) == (4, 1)
    assert (unreadable.fingerprint, unreadable.charges_count, unreadable.damaged_count) == (KEY, 0, 1)


def test_a_journal_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write(tmp_path, [charge(1)], journal_id="later")
    made.provisional(opened(9).request_id, b"\xff of a later version")
    made.close()

    (found,) = journals(tmp_path)

    assert "upgrade headwater" in found.reason
    assert "upgrade headwater" in about("journal later", judge_journals([found], fingerprint=KEY, now_s=0.0)).found


def test_a_journal_that_goes_meanwhile_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead_journal(tmp_path)
    is_locked = folder._is_locked

    def gone(_: Path) -> bool:
        raise FileNotFoundError

    monkeypatch.setattr(folder, "_is_locked", gone)
    assert list(journals(tmp_path)) == []
    monkeypatch.setattr(folder, "_is_locked", is_locked)
    assert len(list(journals(tmp_path))) == 1


def waiting(**changes: Any) -> Waiting:
    given: dict[str, Any] = {
        "journal_id": "j",
        "is_alive": False,
        "size_bytes": 100,
        "written_s": 1_000.0,
        "fingerprint": KEY,
        "charges_count": 7,
        "open_count": 2,
        **changes,
    }
    return Waiting(**given)


def test_what_waits_is_told_with_its_age_and_what_is_wrong_with_it() -> None:
    found = [waiting(), waiting(journal_id="x", fingerprint="other", written_s=900.0), waiting(damaged_count=3)]
    found += [waiting(is_alive=True, size_bytes=2**20), waiting(size_bytes=0)]

    findings = judge_journals(found, fingerprint=KEY, now_s=8_100.0)

    assert "1 of running processes (1.0 MiB)" in about("journals", findings).found
    dead = about("journals of the dead", findings)
    assert "3 with 21 charges and 6 exchanges" in dead.found
    assert "2 hours ago" in dead.found
    assert about("journal x", findings).level == "error"
    assert "identity key (other, here" in about("journal x", findings).found
    assert "3 charges cannot be read" in about("journal j", findings).found
    assert [finding.level for finding in judge_journals([], fingerprint=None, now_s=0.0)] == ["ok"]


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [(-5, "0 seconds"), (90, "90 seconds"), (150, "2 minutes"), (7_200, "2 hours"), (3e5, "3 days")],
)
def test_ages_are_rounded_for_people(duration_s: float, words: str) -> None:
    assert age(duration_s) == words


@pytest.fixture
def lock(data_dir: Path) -> Iterator[Path]:
    """The keeper's lock, held by somebody."""
    (data_dir / "store").mkdir(mode=0o700)
    path = data_dir / "keeper.lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield path


def test_a_server_that_nobody_needs_is_not_started(data_dir: Path) -> None:
    assert embedded_server(data_dir).found.startswith("not running")
    assert list(data_dir.iterdir()) == []


def test_a_server_that_runs_is_told_and_left_running(data_dir: Path) -> None:
    place = Embedded(data_dir)
    place.ensure()

    finding = embedded_server(data_dir)

    assert finding.level == "ok"
    assert "with its keeper" in finding.found
    before = running(data_dir)
    assert set(before) == {"keeper", "server"}
    place.leave()


def test_a_keeper_without_a_server_is_told_with_the_servers_words(data_dir: Path, lock: Path) -> None:
    (data_dir / "store" / "server.log").write_text("1:M 1 Nov 2026 # No space left on device\n")

    finding = embedded_server(data_dir)

    assert finding.level == "error"
    assert "No space left on device" in finding.found


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_server_without_a_keeper_is_told(data_dir: Path, *, is_stopped: bool) -> None:
    (data_dir / "store").mkdir(mode=0o700)
    some = keeper.Keeper(data_dir, find_binary(), socket_path(data_dir))
    some._start()
    assert some._server is not None
    eventually(lambda: folder.is_running(data_dir))
    if is_stopped:
        socket_path(data_dir).unlink()

    finding = embedded_server(data_dir)

    assert finding.level == "warning"
    assert "without a keeper" in finding.found if is_stopped else "keeper is gone" in finding.found
    some._end()


def test_lost_charges_are_told_with_their_sums(tmp_path: Path) -> None:
    lost = Losses(_journal_folder(tmp_path), Stats(), monotonic=lambda: 0.0)
    assert folder.lost_charges(tmp_path) == []

    lost.add(charge(2), "no room")
    lost.add(charge(3), "no room")

    (found,) = folder.lost_charges(tmp_path)
    assert (found.level, found.name) == ("error", "lost")
    assert "2 charges of 1 processes are lost since 2026-11-23T12:00:01+00:00 (5,002 microjoules)" in found.found


def _journal_folder(data_dir: Path) -> Path:
    made = data_dir / "journals" / "j1"
    made.mkdir(parents=True)
    return made
