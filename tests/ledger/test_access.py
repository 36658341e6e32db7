"""A login with the least rights is enough, and its password is nowhere to be seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.audit import audit
from headwater.endpoint import Endpoint
from headwater.errors import ConfigError
from headwater.exports import Folder
from headwater.exports.run import export
from headwater.ledger import Ledger, Reader, closing
from headwater.ledger.connection import MAINTENANCE_RIGHTS, RIGHTS, StoreError, connect, refusals
from headwater.ledger.exporting import Subscription
from headwater.ledger.statements import Statements, erase
from tests.ledger.support import ADA, KEY, MONTH, NOV_23_MS, Server, charge, eventually, outside, settled

PASSWORD = "s3cret/@:%?#"
ESCAPED = "s3cret%2F%40%3A%25%3F%23"


@pytest.fixture
def guarded(server: Server) -> Iterator[Server]:
    """A server that lets nobody in without a login, and its user for the ledger."""
    server.command("ACL", "SETUSER", "headwater", "on", f">{PASSWORD}", *RIGHTS.split())
    server.command("ACL", "LOG", "RESET")
    yield server
    server.command("ACL", "DELUSER", "headwater")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Endpoint], Ledger]]:
    ledgers: list[Ledger] = []

    def make(endpoint: Endpoint) -> Ledger:
        ledgers.append(
            Ledger(
                redis_url=endpoint,
                data_dir=tmp_path,
                key_fingerprint=KEY,
                outside=outside(),
                labels={ADA: "ada"},
            )
        )
        ledgers[-1].start()
        return ledgers[-1]

    yield make
    for ledger in ledgers:
        ledger.close(timeout_s=0.5)


def with_login(server: Server, **login: object) -> Endpoint:
    return Endpoint(url=server.url, **login)  # type: ignore[arg-type]


class Load:
    in_flight_count = 1

    def heard(self, others_count: int, now_s: float) -> None: ...


def test_the_least_rights_are_enough_for_all_that_the_ledger_and_its_reader_do(
    guarded: Server, start: Callable[[Endpoint], Ledger], tmp_path: Path
) -> None:
    endpoint = with_login(guarded, username="headwater", password=PASSWORD)
    ledger = Ledger(redis_url=endpoint, data_dir=tmp_path, key_fingerprint=KEY, outside=outside(), labels={ADA: "ada"})
    ledger.share("deployment", Load(), lambda: 0.0)
    ledger.start()
    ledger.document("5f0c", "{}")
    for number in range(50):
        ledger.charge(charge(number, once=f"{number:032x}"))
    assert ledger.flush(10)
    eventually(lambda: ledger.period_total(ADA) is not None)
    total = ledger.period_total(ADA)
    assert total is not None
    assert total.requests_count == 50
    eventually(lambda: settled(ledger))
    ledger.close()
    assert list(tmp_path.glob("journals/*")) == []  # as WAITAOF said

    with Reader.open(data_dir=tmp_path, redis_url=endpoint) as reader:
        assert reader.totals(MONTH).requests_count == 50
        (row,) = reader.month_rows(MONTH)
        assert (row.user, row.label) == (ADA, "ada")
        assert len(list(reader.ledger_entries())) == 50
        assert sum(reader.bases(MONTH).values()) == 50
        assert [len(list(entries)) for _, entries in reader.month_entries(MONTH)] == [50]
        assert reader.breakdown(ADA, MONTH)
        assert reader.receipt(charge(1).request_id) is not None
        assert reader.document("5f0c") == "{}"
    assert denied(guarded) == []


def denied(server: Server) -> list[str]:
    """What the server has refused since the last time."""
    found = [f"{entry['reason']} {entry['object']}" for entry in server.command("ACL", "LOG")]
    server.command("ACL", "LOG", "RESET")
    return found


@pytest.mark.parametrize("right", ["+hgetall", "+evalsha", "+info"])
def test_a_right_that_is_missing_is_named_with_all_that_are_needed(
    guarded: Server, start: Callable[[Endpoint], Ledger], right: str
) -> None:
    guarded.command("ACL", "SETUSER", "headwater", f"-{right[1:]}")
    client = connect(with_login(guarded, username="headwater", password=PASSWORD), 5.0)

    asked: dict[str, Callable[[], object]] = {
        "+hgetall": lambda: client.hgetall("hw"),
        "+evalsha": lambda: client.evalsha("x", 0),
        "+info": client.info,
    }

    with pytest.raises(ConfigError, match=rf"refuses a command.*{right[1:]}.*its user needs: .*\{right}"), refusals():
        asked[right]()
    client.close()


@pytest.mark.parametrize("has_file", [True, False])
def test_the_password_is_read_from_a_file_at_each_connection(
    guarded: Server, start: Callable[[Endpoint], Ledger], tmp_path: Path, has_file: bool
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    url = f"unix://headwater@{guarded.address}" if has_file else f"unix://headwater:{ESCAPED}@{guarded.address}"
    client = connect(Endpoint(url=url, password_file=file if has_file else None), 5.0)
    assert client.info("server")
    client.close()

    guarded.command("ACL", "SETUSER", "headwater", f"<{PASSWORD}", ">another")
    file.write_text("another")

    if has_file:
        assert client.info("server")
    else:
        with pytest.raises(ConfigError, match=r"refuses the login .*check the user and the password"), refusals():
            client.info("server")
    client.close()


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"\n", "is empty"), (b"\xff", "it is not UTF-8")]
)
def test_a_password_file_without_a_password_stops_the_start(
    guarded: Server, start: Callable[[Endpoint], Ledger], tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=f"password_file {file}.*{words}"):
        start(with_login(guarded, username="headwater", password_file=file))


def test_the_default_user_may_have_a_password_too(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("word")
    server.command("CONFIG", "SET", "requirepass", "word")
    try:
        with connect(with_login(server, password_file=file), 5.0) as client:
            assert client.ping()
        with pytest.raises(ConfigError, match="refuses the login"), refusals():
            connect(server.url, 5.0).ping()
    finally:
        with connect(with_login(server, password="word"), 5.0) as client:
            client.config_set("requirepass", "")


def test_a_wrong_login_stops_the_start_and_no_password_is_shown(
    guarded: Server, start: Callable[[Endpoint], Ledger], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"unix://headwater:{ESCAPED}1@{guarded.address}"

    with pytest.raises(ConfigError, match=r"refuses the login \(invalid username-password pair") as caught:
        start(Endpoint(url=url))

    shown = [str(caught.value), repr(caught.value), repr(Endpoint(url=url)), caplog.text]
    assert [text for text in shown if "s3cret" in text] == []


def test_a_login_that_is_taken_away_later_is_waited_for(
    guarded: Server, start: Callable[[Endpoint], Ledger], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = start(with_login(guarded, username="headwater", password=PASSWORD))
    guarded.command("ACL", "SETUSER", "headwater", "off")
    guarded.command("CLIENT", "KILL", "USER", "headwater")
    ledger.charge(charge(1))
    eventually(lambda: "refuses the login" in caplog.text)

    guarded.command("ACL", "SETUSER", "headwater", "on")

    assert ledger.flush(10)
    assert "s3cret" not in caplog.text


def test_what_the_driver_does_not_know_of_an_address_is_told_without_the_password() -> None:
    for url in ("redis://a:s3cret@h/?colour=red", "redis://a:s3cret@h/?socket_timeout=s3cret"):
        with pytest.raises(ConfigError, match=r"redis://a:\*\*\*@h/.*no such parameter") as caught:
            connect(url, 1.0)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis://127.0.0.1:1,127.0.0.1:2"])
def test_nothing_is_known_to_be_wrong_with_a_store_that_is_not_there(url: str) -> None:
    with pytest.raises(StoreError, match="does not answer"), refusals():
        connect(url, 1.0).ping()


def test_the_rights_of_maintenance_are_enough_to_close_erase_export_and_audit(
    guarded: Server, start: Callable[[Endpoint], Ledger], tmp_path: Path
) -> None:
    guarded.command("ACL", "SETUSER", "headwater", "reset", "on", f">{PASSWORD}", *MAINTENANCE_RIGHTS.split())
    endpoint = with_login(guarded, username="headwater", password=PASSWORD)
    ledger = start(endpoint)
    for number in range(20):
        ledger.charge(charge(number, user=f"{number % 4:032x}", once=f"{number:032x}"))
    assert ledger.flush(10)
    ledger.close()

    with Reader.open(data_dir=tmp_path, redis_url=endpoint) as reader:
        store = reader.books.store
        head = closing.close(reader.books, MONTH, grace_hours=72, clock=lambda: NOV_23_MS / 1_000 + 20 * 86_400)
        erase(store, f"{1:032x}")
        target = Folder(tmp_path / "charges", "jsonl", ledger=KEY)
        feed = Subscription(reader.books, target.name)
        feed.begin({"to": "a folder"})
        assert export(feed, target).exported_count == 15
        target.close()
        assert Statements(reader.books).verify(head) == 1
        assert audit(reader.books, MONTH, clock=lambda: NOV_23_MS / 1_000).is_equal
        reader.people.rewrite_file()

    assert guarded.command("ACL", "LOG") == []
