"""A master, its replica and a Sentinel: the ledger goes on where the Sentinel says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from headwater.endpoint import Endpoint, endpoint_of
from headwater.errors import ConfigError
from headwater.ledger import Ledger, Reader
from headwater.ledger.connection import SHIP_TIMEOUT_S, StoreError, connect, refusals
from headwater.ledger.durability import SafeDelay, WaitAof
from tests.ledger.cluster_support import HOST, Node, Sentinel, free_ports, running
from tests.ledger.support import KEY, MONTH, charge, eventually, outside, settled


class House:
    """A master, a replica of it, and a Sentinel; not started yet."""

    def __init__(self, folder: Path) -> None:
        first, second, third = free_ports(3)
        self.master = Node(folder, first)
        self.replica = Node(folder, second, "--replicaof", f"{HOST} {first}")
        self.sentinel = Sentinel(folder, third, self.master)
        # The first does not answer: the second is asked.
        self.url = f"redis+sentinel://{HOST}:1,{HOST}:{third}/main/0"


@pytest.fixture
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        made = House(Path(folder))
        with running(made.master, made.replica, made.sentinel):
            eventually(lambda: made.replica.info("replication").get("master_link_status") == "up")
            eventually(lambda: made.sentinel.command("SENTINEL", "REPLICAS", "main"))
            yield made


def test_a_failover_of_the_sentinel_goes_unnoticed_by_the_accounts(house: House, tmp_path: Path) -> None:
    ledger = Ledger(redis_url=house.url, data_dir=tmp_path, key_fingerprint=KEY, outside=outside())
    ledger.start()
    for number in range(200):
        ledger.charge(charge(number))
    assert ledger.flush(10)

    house.master.kill()
    for number in range(200, 400):
        ledger.charge(charge(number))

    assert ledger.flush(30)
    assert house.replica.is_master
    eventually(lambda: settled(ledger))
    ledger.close()
    with Reader.open(data_dir=tmp_path, redis_url=house.url) as reader:
        assert reader.totals(MONTH).requests_count == len(list(reader.ledger_entries())) == 400
    assert list(tmp_path.glob("journals/*")) == []


def test_a_charge_is_durable_when_the_replica_has_it(house: House, caplog: pytest.LogCaptureFixture) -> None:
    policy = WaitAof(house.url)
    policy.begin()
    eventually(policy.done)
    house.replica.pause()

    policy.begin()
    mark = policy._marks[0]
    eventually(lambda: mark._questions == ["WAIT"] or mark.is_answered())

    assert policy.done() is False
    house.replica.resume()
    eventually(policy.done)
    policy.cancel()
    assert caplog.text == ""


def test_replicas_that_are_asked_for_and_missing_are_told(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.ledger.marks._WAIT_MS", 10)
    delay = SafeDelay(delay_s=0)
    policy = WaitAof(Endpoint(url=house.master.url, replicas_count=2), delay=delay)

    policy.begin()
    eventually(lambda: policy.done() or "1 of 2 replicas" in caplog.text)
    assert policy.done() is False
    policy.cancel()


def test_a_master_that_is_demoted_confirms_nothing(house: House) -> None:
    house.master.command("CONFIG", "SET", "appendfsync", "no")  # so that the mark stays open
    policy = WaitAof(house.master.url)
    policy.begin()

    house.master.command("REPLICAOF", HOST, house.replica.port)

    with pytest.raises(StoreError, match="UNBLOCKED"):
        eventually(policy.done)
    policy.cancel()


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_command_whose_reply_is_lost_is_not_sent_again(house: House, is_watched: bool) -> None:
    client = connect(house.url if is_watched else house.master.url, SHIP_TIMEOUT_S)
    client.set("hw", 0)
    house.master.pause()

    with pytest.raises(StoreError), refusals():
        client.incr("hw")

    house.master.resume()
    eventually(lambda: house.master.command("GET", "hw") != "0")
    assert house.master.command("GET", "hw") == "1"
    client.close()


def test_without_a_sentinel_that_answers_charges_wait() -> None:
    client = connect(f"redis+sentinel://{HOST}:1/main", 0.25)

    with pytest.raises(StoreError, match="No master found for 'main'"), refusals():
        client.ping()
    client.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+sentinel://a:1,b:2", "must name the Sentinels and their service"),
        ("redis+sentinel://a:1,,b:2/main", "no host between two commas"),
        ("redis+sentinel:///main", "must name the Sentinels"),
        ("redis+sentinel://a:x/main", "port must be a number"),
        ("redis+sentinel://a/main/x", "database behind the last / must be a number"),
    ],
)
def test_an_address_of_sentinels_is_checked(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        endpoint_of(url)


def test_what_several_servers_are_told(tmp_path: Path) -> None:
    client = connect("rediss://me:secret@a:1,b:2/3?ssl_check_hostname=no", 0.25)
    pool = client.connection_pool

    assert {
        "username": "me",
        "password": "secret",
        "db": 3,
        "socket_timeout": 0.25,
    }.items() <= pool.connection_kwargs.items()
    assert pool.connection_kwargs["retry"].get_retries() == 0
    assert issubclass(pool.connection_class, redis.SSLConnection)
    client.close()


def test_an_address_of_sentinels_is_read() -> None:
    service = endpoint_of("rediss+sentinel://me:secret@a,[::1],[::2]:7/main%20one/3?sentinel_password=x").service

    assert service == ((("a", 26379), ("::1", 26379), ("::2", 7)), "main one", 3)


def test_what_the_sentinels_are_told_differs_from_what_the_master_is_told() -> None:
    client = connect("rediss+sentinel://me:secret@a/main/3?sentinel_password=other&ssl_check_hostname=no", 0.25)
    pool = client.connection_pool
    guide = pool.sentinel_manager.sentinels[0].connection_pool  # type: ignore[attr-defined]

    assert {"username": "me", "password": "secret", "db": 3}.items() <= pool.connection_kwargs.items()
    assert guide.connection_kwargs["password"] == "other"
    assert guide.connection_kwargs.get("username") is None
    for each in (pool, guide):
        assert "SSL" in each.connection_class.__name__
        assert each.connection_kwargs["retry"].get_retries() == 0
        assert each.connection_kwargs["socket_timeout"] == 0.25
        assert each.connection_kwargs["ssl_check_hostname"] is False
    client.close()
