"""What is right and what is wrong with the ledger's data folder, in words. Reads it; writes nothing, starts nothing."""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from headwater.errors import LedgerError
from headwater.ledger import embedded, keeper
from headwater.ledger.frames import LOCK, Kind
from headwater.ledger.health import Finding, mib
from headwater.ledger.journal import FOLDER, JOURNAL_BYTES, SEGMENT_BYTES
from headwater.ledger.losses import losses
from headwater.ledger.packing import unpack
from headwater.ledger.tail import Tail, dropped_seq, fingerprint_of

LEAST_FREE_BYTES: Final = 16 * SEGMENT_BYTES
MOUNTS: Final = Path("/proc/mounts")
# Where flock holds on one machine only, or by grace of the mount's options, and where fsync may promise too much.
NETWORKS: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "virtiofs")
)
"""And whatever a program serves (`fuse.sshfs`, `fuse.rclone`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A journal that lies in a data folder."""

    journal_id: str
    is_alive: bool
    """Its process runs, or somebody is just adopting it."""
    size_bytes: int
    written_s: float
    """When it was last written, since the epoch."""
    fingerprint: str | None = None
    """Of its identity key; None where nothing can be read."""
    charges_count: int = 0
    """In it, whether the store has them or not; those of a living process are not read."""
    open_count: int = 0
    """Exchanges that were under way when its process died."""
    damaged_count: int = 0
    """Charges in it that cannot be read."""
    reason: str = ""
    """Why it cannot be read at all."""


def look(data_dir: Path, *, journal_bytes: int = JOURNAL_BYTES) -> list[Finding]:
    """Findings about the folder itself: whose it is, who may read it, on what file system it is, and whether it has room for
    the journal of a process while the store is away."""
    try:
        if not data_dir.is_dir():
            return [_absent(data_dir)]
        return [*_access(data_dir), *_room(data_dir, journal_bytes), *_file_system(data_dir)]
    except OSError as error:
        remedy = "run headwater as the folder's owner, or name another folder with HEADWATER_DATA_DIR"
        found = f"{data_dir} cannot be entered: {error.strerror}"
        return [Finding(level="error", name="folder", found=found, remedy=remedy)]


def _absent(data_dir: Path) -> Finding:
    remedy = "name another folder with HEADWATER_DATA_DIR"
    if data_dir.exists():
        return Finding(level="error", name="folder", found=f"{data_dir} is no folder", remedy=remedy)
    above = next(parent for parent in data_dir.parents if parent.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        found = f"{data_dir} is not there, and cannot be made in {above}"
        return Finding(level="error", name="folder", found=found, remedy=remedy)
    return Finding(level="ok", name="folder", found=f"{data_dir} is not there yet; the first start makes it")


def _access(data_dir: Path) -> Iterator[Finding]:
    state = data_dir.stat()
    if state.st_uid != os.getuid():
        yield Finding(
            level="error",
            name="folder",
            found=f"{data_dir} belongs to user {state.st_uid}, and this is user {os.getuid()}",
            remedy="run headwater as its owner, or name another folder with HEADWATER_DATA_DIR",
        )
    elif not os.access(data_dir, os.W_OK | os.X_OK) or os.statvfs(data_dir).f_flag & os.ST_RDONLY:
        yield Finding(
            level="error",
            name="folder",
            found=f"{data_dir} cannot be written: no charge can be journalled",
            remedy="make it writable, or name another folder with HEADWATER_DATA_DIR",
        )
    elif others := [path for path in (data_dir, data_dir / "store", data_dir / FOLDER) if _is_open_to_others(path)]:
        paths = shlex.join(map(str, others))
        yield Finding(
            level="warning",
            name="folder",
            found=f"others may enter {paths}: who used what when is for its owner alone",
            remedy=f"chmod 700 {paths}",
        )
    else:
        yield Finding(level="ok", name="folder", found=f"{data_dir}, for its owner alone")


def _is_open_to_others(path: Path) -> bool:
    return path.is_dir() and bool(path.stat().st_mode & 0o077)


def _room(data_dir: Path, journal_bytes: int) -> Iterator[Finding]:
    state = os.statvfs(data_dir)
    free_bytes = state.f_bavail * state.f_frsize
    found = f"{mib(free_bytes)} free"
    remedy = "make room, or name a folder on another disk with HEADWATER_DATA_DIR"
    if state.f_files and not state.f_favail:
        yield Finding(level="error", name="disk", found=f"{found}, but no file can be made: no inodes", remedy=remedy)
    elif free_bytes < LEAST_FREE_BYTES:
        found += ": charges that the journal cannot take wait in memory, and are lost with the process"
        yield Finding(level="error", name="disk", found=found, remedy=remedy)
    elif free_bytes < journal_bytes:
        found += f", less than the journal of one process may take while the store is away ({mib(journal_bytes)})"
        yield Finding(level="warning", name="disk", found=found, remedy=remedy)
    else:
        yield Finding(level="ok", name="disk", found=found)


def _file_system(data_dir: Path) -> Iterator[Finding]:
    kind = file_system(data_dir)
    if kind is None:
        found = f"not known: {sys.platform} is not asked which file system a folder is on"
        yield Finding(level="unknown", name="file system", found=found)
    elif kind in NETWORKS or kind.startswith("fuse."):
        yield Finding(
            level="warning",
            name="file system",
            found=f"{kind} is a network file system: whether locks hold and what is on disk depends on its server and options",
            remedy="name a folder on a local disk with HEADWATER_DATA_DIR",
        )
    else:
        yield Finding(level="ok", name="file system", found=kind)


def file_system(path: Path, *, mounts: Path = MOUNTS) -> str | None:
    """The kind of the file system that a path is on; None where the system does not say."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    found: str | None = None
    longest = -1
    real = path.resolve()
    for line in lines:
        _, at, kind, *_ = line.split(" ")
        # Blanks and the like are written as octal escapes.
        place = Path(at.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        if len(place.parts) >= longest and real.is_relative_to(place):
            found, longest = kind, len(place.parts)
    return found


# -- journals ---------------------------------------------------------------------------------------------------------


def journals(data_dir: Path) -> Iterator[Waiting]:
    """Every journal in a folder, one after the other; those of the dead are read."""
    for folder in sorted((data_dir / FOLDER).glob("[!.]*")):
        segments = sorted(folder.glob("[0-9]*.log"))
        try:
            sizes = [segment.stat() for segment in segments]
            waiting = Waiting(
                journal_id=folder.name,
                is_alive=_is_locked(folder / LOCK),
                size_bytes=sum(state.st_size for state in sizes),
                written_s=max((state.st_mtime for state in sizes), default=0.0),
            )
        except OSError:
            continue  # it was shipped and removed meanwhile
        yield waiting if waiting.is_alive else _read(folder, waiting)


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file. A lock that is not there is nobody's."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _read(folder: Path, waiting: Waiting) -> Waiting:
    charges_count = read_count = 0
    unresolved: set[str] = set()
    tail = Tail(folder)
    try:
        before = last = dropped_seq(folder) or 0
        fingerprint = fingerprint_of(folder)
        tail.sync()
        while frames := tail.read():
            read_count += len(frames)
            for frame in frames:
                if frame.kind == Kind.FINAL:
                    charges_count += 1
                    last = max(last, frame.seq)
                    unresolved.discard(unpack(frame.payload).request_id)
                elif frame.kind == Kind.PROVISIONAL:
                    unresolved.add(unpack(frame.payload).request_id)
                elif frame.kind == Kind.FORGET:
                    unresolved.discard(frame.payload.decode())
    except (OSError, LedgerError) as error:  # removed meanwhile, or written by a later version
        return replace(waiting, reason=str(error))
    is_unreadable = not read_count and waiting.size_bytes > 0
    return replace(
        waiting,
        fingerprint=fingerprint,
        charges_count=charges_count,
        open_count=len(unresolved),
        damaged_count=max(0, last - before - charges_count) + is_unreadable,
    )


def lost_charges(data_dir: Path) -> list[Finding]:
    """What processes could not write down, and what becomes of it: nothing."""
    found = losses(data_dir)
    if not found:
        return []
    count, energy = sum(each.charges_count for each in found), sum(each.energy_microjoules for each in found)
    since = datetime.fromtimestamp(found[0].first_ms / 1_000, UTC).isoformat(timespec="seconds")
    return [
        Finding(
            level="error",
            name="lost",
            found=f"{count:,} charges of {len(found)} processes are lost since {since} ({energy:,} microjoules): there was no room",
            remedy="give [ledger] journal_bytes or the disk more room; the figures stay in "
            f"{shlex.quote(str(data_dir / 'lost'))} until you delete them",
        )
    ]


def judge_journals(
    found: list[Waiting], *, fingerprint: str | None, now_s: float, former: Collection[str] = ()
) -> list[Finding]:
    """What the journals of a folder mean. `former`: fingerprints of identity keys before this one: they are ours, too."""
    alive = [each for each in found if each.is_alive]
    dead = [each for each in found if not each.is_alive and each.size_bytes]
    ours = {None, fingerprint, *former} if fingerprint is not None else {each.fingerprint for each in dead}
    foreign = [each for each in dead if each.fingerprint not in ours]
    damaged = [each for each in dead if each.damaged_count]
    told = (
        f"{len(alive)} of running processes ({mib(sum(each.size_bytes for each in alive))})" if alive else "none in use"
    )
    findings = [Finding(level="ok", name="journals", found=told)]
    if dead:
        charges_count = sum(each.charges_count for each in dead)
        open_count = sum(each.open_count for each in dead)
        oldest_s = now_s - min(each.written_s for each in dead)
        findings.append(
            Finding(
                level="warning",
                name="journals of the dead",
                found=f"{len(dead)} with {charges_count:,} charges and {open_count:,} exchanges that were under way, the oldest "
                f"last written {age(oldest_s)} ago; what the store has already counts once",
                remedy="the next process that serves charges them, within seconds; headwater report does so, too",
            )
        )
    findings += [
        Finding(
            level="error",
            name=f"journal {each.journal_id}",
            found=f"{each.charges_count:,} charges were written with another identity key ({each.fingerprint}, here "
            f"{fingerprint}) and are left as they are",
            remedy="restore the key file of this installation, or move the journal to the installation it is from",
        )
        for each in foreign
    ]
    findings += [
        Finding(
            level="error",
            name=f"journal {each.journal_id}",
            found=f"{each.damaged_count:,} charges cannot be read: the disk, or somebody, changed the file",
            remedy="check the disk; the other charges of the journal are not affected",
        )
        for each in damaged
    ]
    findings += [
        Finding(
            level="error",
            name=f"journal {each.journal_id}",
            found=f"it cannot be read: {each.reason}",
            remedy="look again: it may have been shipped meanwhile; else use the version of headwater that wrote it",
        )
        for each in dead
        if each.reason
    ]
    return findings


def age(duration_s: float) -> str:
    """A duration for people."""
    for unit_s, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if duration_s >= 2 * unit_s:
            return f"{duration_s / unit_s:,.0f} {unit}"
    return f"{max(0.0, duration_s):.0f} seconds"


# -- the embedded server ----------------------------------------------------------------------------------------------


def is_running(data_dir: Path) -> bool:
    """Whether the embedded server of a folder answers."""
    return bool(keeper.answers(embedded.socket_path(data_dir.resolve())))


def embedded_server(data_dir: Path) -> Finding:
    """Whether the embedded server of a folder runs, and its keeper."""
    is_kept = _is_locked(data_dir / "keeper.lock")
    address = embedded.socket_path(data_dir.resolve())
    if is_running(data_dir):
        if is_kept:
            return Finding(level="ok", name="embedded server", found=f"runs at {address}, with its keeper")
        return Finding(
            level="warning",
            name="embedded server",
            found=f"runs at {address}, but its keeper is gone: nobody will start it again",
            remedy="none needed: the next process that finds no server starts both",
        )
    if is_kept:
        found = f"its keeper runs, but it does not answer at {address}: {embedded.trouble(data_dir)}"
        remedy = "a server that is just starting or ending answers, or is gone, in a few seconds; look again"
        return Finding(level="error", name="embedded server", found=found, remedy=remedy)
    if _is_locked(data_dir / "store" / "server.lock"):
        return Finding(
            level="warning",
            name="embedded server",
            found=f"a server without a keeper does not answer at {address}",
            remedy="none needed: the next start ends it, by force where it must",
        )
    return Finding(level="ok", name="embedded server", found="not running, as nobody needs it now")
