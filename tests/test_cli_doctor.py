"""`headwater doctor`: what is wrong is found, said with a remedy, and told by the exit code; nothing is changed or given away."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from headwater import config, vocab
from headwater.cli import app, checkup
from headwater.cli.checkup import Part
from headwater.cli.doctor import lines
from headwater.endpoint import Endpoint, masked
from headwater.identity import key_fingerprint, load_key
from headwater.ledger import Ledger, probes, schema
from headwater.ledger.embedded import Embedded, StartingError
from headwater.ledger.health import Finding
from headwater.places import Places
from tests.ledger.conftest import own_server, server, session_server
from tests.ledger.support import Server, charge, eventually
from tests.ledger.test_embedded import running

__all__ = ["own_server", "server", "session_server"]

Doctor = Callable[..., SimpleNamespace]
LABEL = "ab" * 32


@pytest.fixture
def place(short_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A data folder that is not there yet, and in which no server may run at the end."""
    folder = short_folder / tmp_path.name[-12:]
    yield folder
    eventually(lambda: not running(folder))


@pytest.fixture
def doctor(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Run the command with settings given as text; gives exit code, output, and the findings by part and name."""
    monkeypatch.delenv("HEADWATER_CONFIG", raising=False)
    monkeypatch.delenv("HEADWATER_REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(settings: str = "", *, data_dir: Path = place, url: str | None = None) -> SimpleNamespace:
        (tmp_path / "headwater.toml").write_text(settings)
        environment = {"HEADWATER_DATA_DIR": str(data_dir), "HEADWATER_REDIS_URL": url}
        done = CliRunner().invoke(app, ["doctor", "--json"], env=environment)
        findings = json.loads(done.stdout)["findings"] if done.exit_code < 2 else []
        by_name = {f"{each['part']}/{each['name']}": SimpleNamespace(**each) for each in findings}
        return SimpleNamespace(code=done.exit_code, out=done.output, by_name=by_name)

    return run


def charged(folder: Path, count: int = 3) -> None:
    """Accounts in the embedded store of a folder, which nobody uses any more."""
    ledger = Ledger(data_dir=folder, key_fingerprint=key_fingerprint(load_key(folder)))
    ledger.start()
    for number in range(count):
        ledger.charge(charge(number))
    assert ledger.flush(10)
    ledger.close()
    eventually(lambda: not running(folder))


def test_help_shows_examples() -> None:
    done = CliRunner().invoke(app, ["doctor", "--help"])

    assert done.exit_code == 0
    for word in ("--json", "--config", "headwater doctor --json | jq", "Exit code 1"):
        assert word in done.output


def test_a_new_installation_is_sound_and_stays_untouched(place: Path, doctor: Doctor) -> None:
    done = doctor()

    assert done.code == 0
    assert "not there yet" in done.by_name["data folder/folder"].found
    assert "no accounts yet" in done.by_name["store/start"].found
    assert not place.exists()


def test_accounts_that_nobody_serves_are_looked_at_and_kept(place: Path, doctor: Doctor) -> None:
    charged(place)

    done = doctor()

    assert done.code == 0
    levels = {name: each.level for name, each in done.by_name.items() if each.level != "ok"}
    assert levels.keys() <= {"data folder/journals of the dead", "data folder/disk", "settings/vocabularies"}
    assert "not running" in done.by_name["data folder/embedded server"].found
    assert done.by_name["store/network"].level == done.by_name["store/key"].level == "ok"
    assert done.by_name["store/contents"].found.startswith("3 charges ")
    eventually(lambda: not running(place))


def test_a_server_in_use_is_looked_at_and_left_alone(data_dir: Path, doctor: Doctor) -> None:
    before = running(data_dir)

    done = doctor(data_dir=data_dir)

    assert done.code == 0
    assert "with its keeper" in done.by_name["data folder/embedded server"].found
    assert running(data_dir) == before


def test_what_is_wrong_with_a_store_is_an_error_and_nothing_is_written(server: Server, doctor: Doctor) -> None:
    server.command("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "volatile-lru")
    try:
        done = doctor(url=server.url)
    finally:
        server.command("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")

    assert done.code == 1
    assert done.by_name["store/eviction"].level == "error"
    assert "noeviction" in done.by_name["store/eviction"].remedy
    assert server.command("KEYS", "*") == []


def test_a_store_written_with_another_key_is_told(place: Path, server: Server, doctor: Doctor) -> None:
    load_key(place)
    server.command("HSET", schema.META, "key", "fedcba9876543210")

    done = doctor(url=server.url)

    assert done.code == 1
    assert "fedcba9876543210" in done.by_name["store/key"].found


@pytest.mark.parametrize(
    "url", ["redis://ada:geheim@127.0.0.1:1/0", "redis://127.0.0.1:1/0?username=ada&password=geheim"]
)
def test_a_store_that_does_not_answer_is_an_error_without_its_password(doctor: Doctor, url: str) -> None:
    done = doctor(url=url)

    assert done.code == 1
    assert "127.0.0.1:1" in done.by_name["store/address"].found
    assert "does not answer" in done.by_name["store/address"].found
    assert "geheim" not in done.out


@pytest.mark.parametrize("url", ["redis://ada:geheim@127.0.0.1:no/0", "redis://ada:geheim@127.0.0.1:1/0?nonsense=1"])
def test_an_address_that_cannot_be_used_is_a_fault_of_the_settings(doctor: Doctor, url: str) -> None:
    done = doctor(url=url)

    assert done.code == 2
    assert re.search("ledger.redis_url|HEADWATER_REDIS_URL", done.out)
    assert "geheim" not in done.out


@pytest.mark.parametrize(
    "settings", ["[ledger\n", "[ledger]\nnonsense = 1\n", '[[deployment]]\nhardware = "abacus"\nengine = "vllm-0.11"\n']
)
def test_settings_that_cannot_be_used_have_an_exit_code_of_their_own(doctor: Doctor, settings: str) -> None:
    assert doctor(settings).code == 2


@given(secret=st.text("abc:/@?#&= %[]", min_size=6), user=st.sampled_from(["", "ada"]))
def test_no_address_shows_its_password(secret: str, user: str) -> None:
    secret = f"<{secret}>"
    for url in (
        f"redis://{user}:{quote(secret, safe='')}@store:6379/0?socket_timeout=1",
        f"rediss://store/0?password={quote(secret, safe='')}",
        f"unix://{user}:{quote(secret, safe='')}@/run/store.sock",
        f"redis://{user}:{secret}@store:6379",  # not as it should be written
    ):
        shown = masked(url)
        assert secret not in shown
        assert quote(secret, safe="") not in shown
    assert masked("redis://store:6379/0?socket_timeout=1") == "redis://store:6379/0?socket_timeout=1"
    assert masked("unix:///run/store.sock") == "unix:///run/store.sock"


def test_the_key_is_named_and_never_made(place: Path, doctor: Doctor) -> None:
    place.mkdir(mode=0o700)
    path = place / "identity.key"
    assert "not there yet" in doctor().by_name["data folder/key"].found
    (place / "journals").mkdir(mode=0o700)
    assert doctor().by_name["data folder/key"].level == "error"
    assert not path.exists()

    path.write_bytes(b"short")
    assert "5 bytes" in doctor().by_name["data folder/key"].found
    path.unlink()
    path.mkdir()
    assert "cannot be read" in doctor().by_name["data folder/key"].found
    path.rmdir()
    key = load_key(place)
    path.chmod(0o644)
    found = doctor().by_name["data folder/key"]
    assert (found.level, found.remedy) == ("warning", f"chmod 600 {path}")
    path.chmod(0o600)
    assert key_fingerprint(key) in doctor().by_name["data folder/key"].found


def test_a_folder_that_cannot_be_used_is_told_and_no_server_is_started(
    place: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged(place)
    monkeypatch.setattr(os, "getuid", lambda: 4242)

    done = doctor()

    assert done.code == 1
    assert done.by_name["store/start"].level == "unknown"


def test_a_server_that_does_not_start_is_told(place: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    charged(place)

    def fail(_: Embedded) -> None:
        raise StartingError("the disk is full")

    monkeypatch.setattr(Embedded, "ensure", fail)

    done = doctor()

    assert done.code == 1
    assert done.by_name["store/start"].found == "the disk is full"


def test_labels_that_no_rule_finds_are_told(doctor: Doctor) -> None:
    settings = f'[identity.labels]\nada = "api-key:{LABEL}"\nbob = "header:x-user:{LABEL}"\ncy = "identify:{LABEL}"\n'

    assert "bob" in (found := doctor(settings).by_name["settings/labels"]).found
    assert "ada" not in found.found
    assert "cy" not in found.found
    assert doctor(settings.replace("header:x-user", "api-key")).by_name["settings/labels"].level == "ok"


def test_the_settings_say_where_they_are_from_and_what_they_serve(
    tmp_path: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocab.Vocabulary, "find", lambda *_: None)
    monkeypatch.setattr(Places, "ended", lambda *_: [("here", 0.0)])

    done = doctor()
    assert done.by_name["settings/file"].found == "headwater.toml"
    assert done.by_name["settings/deployments"].found == "1: * on hgx-h100"
    assert done.by_name["settings/vocabularies"].remedy == "headwater vocab install"
    assert "here" in done.by_name["settings/hours"].found
    assert done.code == 0
    (tmp_path / "headwater.toml").unlink()
    (part, *_) = checkup.examine(config.load(environment={}), lambda *_: None)
    assert "none in" in part.findings[0].found


def test_all_of_a_cluster_is_looked_at(server: Server, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def join(endpoint: Endpoint, timeout_s: float) -> redis.Redis:
        asked.append(endpoint.url)
        return redis.Redis.from_url(endpoint.url, socket_timeout=timeout_s, protocol=2)

    monkeypatch.setattr(probes, "is_cluster", lambda _: True)
    monkeypatch.setattr(checkup, "connect_cluster", join)

    assert doctor(url=server.url).code == 0
    assert asked == [server.url]


def test_a_journal_of_the_dead_is_counted(place: Path, own_server: Server, doctor: Doctor) -> None:
    ledger = Ledger(data_dir=place, redis_url=own_server.url, key_fingerprint=key_fingerprint(load_key(place)))
    ledger.start(timeout_s=0.0)
    ledger.charge(charge(1))
    ledger.close(timeout_s=0.0)
    own_server.start()

    done = doctor(url=own_server.url)

    assert done.code == 0
    assert "1 with 1 charges" in done.by_name["data folder/journals of the dead"].found


SOME: list[Any] = [
    Part(
        name="store",
        findings=[
            Finding(level="ok", name="clock", found="right"),
            Finding(level="warning", name="eviction", found="a\nb " + "long " * 20, remedy="mend it"),
        ],
    ),
    Part(name="settings", findings=[Finding(level="error", name="file", found="no")]),
]


def test_lines_are_aligned_and_forge_nothing() -> None:
    told = list(lines(SOME))

    assert told[0] == "store"
    assert told[1] == "  ok       clock     right"
    assert told[2].startswith("  warning  eviction  a\\nb long")
    assert told[3] == "                     -> mend it"
    assert told[-1] == "1 error, 1 warning"
    assert list(lines([]))[-1] == "nothing is wrong"


def test_lines_are_wrapped_and_coloured_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(len(line) <= 80 for line in lines(SOME, width=80))
    assert len(list(lines(SOME, width=80))) > len(list(lines(SOME)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\033[" in "".join(lines(SOME, width=80))


def test_text_is_for_people(place: Path, doctor: Doctor) -> None:
    done = CliRunner().invoke(app, ["doctor"], env={"HEADWATER_DATA_DIR": str(place), "HEADWATER_REDIS_URL": None})

    assert done.exit_code == 0
    assert done.stdout.startswith("settings\n")
    assert "\033" not in done.stdout
