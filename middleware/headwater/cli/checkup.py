"""What `headwater doctor` looks at, part by part: settings, data folder, store. Prints nothing; shows no password."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headwater import config, vocab
from headwater.config import Settings
from headwater.endpoint import Endpoint, masked
from headwater.errors import ConfigError, LedgerError
from headwater.identity import KEY_FILE, key_fingerprint, renames
from headwater.ledger import folder, health, probes
from headwater.ledger.connection import READ_TIMEOUT_S, StoreError, connect, connect_cluster, refusals
from headwater.ledger.embedded import Embedded
from headwater.ledger.health import Finding
from headwater.ledger.journal import FOLDER
from headwater.serving import Serving
from headwater.tariffs import Pricing

_UNNAMED: Final = config.Settings().source
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the installation, and what was found there."""

    name: str
    findings: list[Finding]

    @property
    def is_sound(self) -> bool:
        """Whether nothing in it must be mended first."""
        return all(finding.level != "error" for finding in self.findings)


def examine(
    settings: Settings, tick: Callable[[int, float], None], *, clock: Callable[[], float] = time.time
) -> Iterator[Part]:
    """Each part when it has been looked at. Starts the embedded server where accounts lie and nothing is wrong with their
    folder, as every command that reads does; makes no folder, no key and no entry. `tick` is told of the journals that were read.

    Raises:
        ConfigError: the settings cannot be used.
    """
    data_dir = settings.ledger.data_dir
    yield Part(name="settings", findings=_settings(settings, clock()))
    findings = folder.look(data_dir, journal_bytes=settings.ledger.journal_bytes)
    is_usable = all(finding.level != "error" for finding in findings)
    fingerprint = None
    if is_usable and data_dir.is_dir():
        key, fingerprint = _key(data_dir)
        waiting = []
        for number, journal in enumerate(folder.journals(data_dir), 1):
            waiting.append(journal)
            tick(number, 0.0)
        findings += [
            key,
            *folder.judge_journals(waiting, fingerprint=fingerprint, now_s=clock(), former=_former_keys(data_dir)),
        ]
        findings += folder.lost_charges(data_dir)
        if settings.ledger.redis_url is None:
            findings.append(folder.embedded_server(data_dir))
    yield Part(name="data folder", findings=findings)
    with ExitStack() as stack:
        try:
            where = _address(settings, stack, is_usable=is_usable)
        except LedgerError as error:
            remedy = (
                f"see {data_dir / 'store' / 'server.log'}, or name a Redis or Valkey server with HEADWATER_REDIS_URL"
            )
            yield Part(name="store", findings=[Finding(level="error", name="start", found=str(error), remedy=remedy)])
            return
        if isinstance(where, Finding):
            yield Part(name="store", findings=[where])
            return
        yield Part(name="store", findings=list(_store(where, settings, fingerprint, clock)))


# -- settings ---------------------------------------------------------------------------------------------------------


def _settings(settings: Settings, now_s: float) -> list[Finding]:
    serving, _ = Serving(settings), Pricing(settings)
    found = (
        settings.source
        if settings.source != _UNNAMED
        else f"none in {settings.folder}; defaults and the environment hold"
    )
    findings = [Finding(level="ok", name="file", found=found)]
    count = len(settings.deployment)
    told = ", ".join(f"{' '.join(each.match)} on {each.hardware}" for each in settings.deployment)
    findings.append(Finding(level="ok", name="deployments", found=f"{count}: {told}"))
    findings += [
        Finding(
            level="warning",
            name="hours",
            found=f"the hours of site {name} have ended; annual figures hold since then",
            remedy="add rows, or set hours_repeat = true",
        )
        for name, _ in serving.places.ended(now_s)
    ]
    findings.append(_vocabulary())
    findings += _labels(settings)
    return findings


def _vocabulary() -> Finding:
    known = vocab.Vocabulary.of_environment()
    missing = [name for name in vocab.SHA256 if known.find(name) is None]
    if not missing:
        return Finding(level="ok", name="vocabularies", found=", ".join(vocab.SHA256))
    return Finding(
        level="warning",
        name="vocabularies",
        found=f"{', '.join(missing)}: not installed; where an upstream reports no usage, tokens are estimated from bytes",
        remedy="headwater vocab install",
    )


def _labels(settings: Settings) -> Iterator[Finding]:
    labels, rules = settings.identity.labels, {rule.lower() for rule in settings.identity.rules}
    used = {label: subject.rpartition(":")[0].lower() for label, subject in labels.items()}
    # `identify` is a function of the app's own, of which no file knows.
    idle = sorted(label for label, rule in used.items() if rule != "identify" and rule not in rules)
    if idle:
        yield Finding(
            level="warning",
            name="labels",
            found=f"{', '.join(idle)}: never used, as [identity] from has no such rule",
            remedy="add the rule to from, or write the label for one of its rules",
        )
    elif labels:
        yield Finding(level="ok", name="labels", found=f"{len(labels)}")


# -- the key ----------------------------------------------------------------------------------------------------------


def _key(data_dir: Path) -> tuple[Finding, str | None]:
    """What is to be said of the identity key, and its fingerprint. Makes none where there is none."""
    path = data_dir / KEY_FILE
    restore = f"restore {path} from a backup: another key would split every user in two"
    try:
        key, mode = path.read_bytes(), path.stat().st_mode & 0o777
    except FileNotFoundError:
        if not any((data_dir / name).exists() for name in ("store", FOLDER)):
            return Finding(level="ok", name="key", found="not there yet; the first start makes it"), None
        return Finding(
            level="error", name="key", found=f"{path} is missing, but there are accounts", remedy=restore
        ), None
    except OSError as error:
        found = f"{path} cannot be read: {error.strerror}"
        return Finding(level="error", name="key", found=found, remedy="run headwater as its owner"), None
    if len(key) < _KEY_BYTES:
        found = f"{path} has {len(key)} bytes, {_KEY_BYTES} are needed"
        return Finding(level="error", name="key", found=found, remedy=restore), None
    fingerprint = key_fingerprint(key)
    if mode & 0o077:
        found = f"others may read {path} (mode {mode:04o}): with it, pseudonyms can be traced back to users"
        return Finding(
            level="warning", name="key", found=found, remedy=f"chmod 600 {shlex.quote(str(path))}"
        ), fingerprint
    return Finding(level="ok", name="key", found=f"{path}, fingerprint {fingerprint}"), fingerprint


def _former_keys(data_dir: Path) -> set[str]:
    try:
        return set(renames((data_dir / KEY_FILE).read_bytes()))
    except (OSError, ConfigError):
        return set()


# -- the store --------------------------------------------------------------------------------------------------------


def _address(settings: Settings, stack: ExitStack, *, is_usable: bool) -> Endpoint | Finding:
    """Where to look; or why there is nothing to look at."""
    if settings.ledger.endpoint is not None:
        return settings.ledger.endpoint
    data_dir = settings.ledger.data_dir
    if not is_usable:
        found = "not looked at: first mend what is wrong with the data folder"
        return Finding(level="unknown", name="start", found=found)
    if not (data_dir / "store").is_dir():
        return Finding(level="ok", name="start", found="there are no accounts yet; the first start makes a server")
    own = Embedded(data_dir)
    stack.callback(own.leave)
    own.ensure()
    return own.endpoint


def _store(
    endpoint: Endpoint, settings: Settings, fingerprint: str | None, clock: Callable[[], float]
) -> Iterator[Finding]:
    shown = masked(endpoint.url)
    with ExitStack() as stack:
        try:
            client: Any = connect(endpoint, READ_TIMEOUT_S)
            stack.callback(lambda: client.close())
            refusal = probes.refusal(client)
        except StoreError as error:  # nobody there of those who could tell where the store is
            refusal = str(error)
        if refusal:
            yield Finding(
                level="error",
                name="address",
                found=f"{shown} does not answer: {refusal}",
                remedy="see that the server runs, and that address, user, password and TLS are right",
            )
            return
        yield Finding(level="ok", name="address", found=shown)
        if probes.is_cluster(client):
            client.close()
            try:
                with refusals():
                    client = connect_cluster(endpoint, READ_TIMEOUT_S)
            except LedgerError as error:
                remedy = "see that all nodes of the cluster run and see each other"
                yield Finding(level="error", name="cluster", found=str(error), remedy=remedy)
                return
        yield from health.examine(client, clock=clock)
        if settings.ledger.redis_url is None:
            yield probes.shut(client)
        findings, shards_count = probes.installation(client, fingerprint)
        yield from findings
        yield probes.contents(client, shards_count)
        yield probes.latency(client)
        yield probes.slow_scripts(client)
