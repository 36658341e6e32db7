"""A real cluster: charges lie exactly on their accounts, whatever moves, fails over or dies under the load."""

from __future__ import annotations

import random
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from headwater.endpoint import Endpoint
from headwater.ledger import Ledger
from headwater.ledger.connection import RIGHTS, SHIP_TIMEOUT_S, StoreError, connect_cluster, refusals
from tests.ledger.cluster_support import HOST, Cluster, Node, free_ports, move_slot
from tests.ledger.support import KEY, MONTH, charge, eventually, outside, settled

USERS = [random.Random(number).randbytes(16).hex() for number in range(300)]
OTHERS = [random.Random(-number).randbytes(16).hex() for number in range(1_000, 1_300)]
MOST_S = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        made = Cluster(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.stop()


class Load:
    """Charges users in turn, as long as it runs; knows what must stand on their accounts."""

    def __init__(self, ledger: Ledger, folder: Path, users: list[str]) -> None:
        self.ledger = ledger
        self._folder = folder
        self._users = users
        self.requests: Counter[str] = Counter()
        self.energy: Counter[str] = Counter()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def charge(self, count: int) -> None:
        for _ in range(count):
            number = sum(self.requests.values())
            made = charge(number, user=self._users[number % len(self._users)])
            assert made.amounts is not None
            self.ledger.charge(made)
            self.requests[made.user] += 1
            self.energy[made.user] += made.amounts.energy_microjoules

    def _run(self) -> None:
        while not self._ends.wait(0.005):
            self.charge(2)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def grows(self, count: int = 100) -> None:
        """Wait until so many more were applied."""
        target = self.ledger.stats.shipped + count
        eventually(lambda: self.ledger.stats.shipped >= target, MOST_S)

    @property
    def segments_count(self) -> int:
        return len(list(self._folder.glob("journals/*/[0-9]*.log")))

    def is_exactly_on_the_accounts(self, *, is_alone: bool = True) -> None:
        assert self.ledger.flush(MOST_S)
        assert self.ledger.stats.gaps == self.ledger.stats.lost == 0
        with self.ledger.reader() as reader:
            rows = {row.user: row for row in reader.month_rows(MONTH) if is_alone or row.user in self.requests}
            assert {user: row.requests_count for user, row in rows.items()} == dict(self.requests)
            assert {user: row.energy_microjoules for user, row in rows.items()} == dict(self.energy)
            entries = Counter(each.user for each in reader.ledger_entries())
            assert {user: entries[user] for user in self.requests} == dict(self.requests)
            if is_alone:
                assert reader.totals(MONTH).energy_microjoules == self.energy.total()
                assert entries == self.requests


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., Load]]:
    """A ledger on the empty and healthy cluster, with small segments, so that the journal is let go of early."""
    cluster.healthy()
    cluster.flush()
    ledgers: list[Ledger] = []

    def make(*, users: list[str] = USERS, **options: object) -> Load:
        endpoint = Endpoint(**{"url": cluster.url, **options})  # type: ignore[arg-type]
        folder = tmp_path / str(len(ledgers))
        ledger = Ledger(
            redis_url=endpoint, data_dir=folder, key_fingerprint=KEY, outside=outside(), segment_bytes=20_000
        )
        ledger.start()
        ledgers.append(ledger)
        return Load(ledger, folder, users)

    yield make
    for ledger in ledgers:
        ledger.close(timeout_s=0.5)


def test_a_command_whose_reply_is_lost_is_not_sent_again(cluster: Cluster) -> None:
    cluster.healthy()
    client = connect_cluster(cluster.url, SHIP_TIMEOUT_S)
    client.set("hw", 0)
    (master,) = (
        node for node in cluster.masters() if node.command("CLUSTER", "COUNTKEYSINSLOT", client.cluster_keyslot("hw"))
    )
    master.pause()

    with pytest.raises(StoreError), refusals():
        client.eval("return redis.call('INCR', KEYS[1])", 1, "hw")

    master.resume()
    eventually(lambda: client.get("hw") != b"0")
    assert client.get("hw") == b"1"
    client.close()


def test_a_ledger_starts_with_any_of_several_servers(cluster: Cluster, start: Callable[..., Load]) -> None:
    nobody, somebody = free_ports(1)[0], cluster.nodes[4].port
    load = start(url=f"redis://{HOST}:{nobody},{HOST}:{somebody}/0")

    load.charge(100)

    load.is_exactly_on_the_accounts()
    eventually(lambda: settled(load.ledger))
    load.ledger.close(timeout_s=5.0)
    assert load.segments_count == 0


def test_the_least_rights_are_enough_in_a_cluster_too(cluster: Cluster, start: Callable[..., Load]) -> None:
    for node in cluster.nodes:
        node.command("ACL", "SETUSER", "headwater", "on", ">secret", *RIGHTS.split())
        node.command("ACL", "LOG", "RESET")
    load = start(username="headwater", password="secret")

    load.charge(300)

    load.is_exactly_on_the_accounts()
    load.ledger.close(timeout_s=5.0)
    assert [node.command("ACL", "LOG") for node in cluster.nodes] == [[]] * 6


def test_many_users_lie_on_all_masters_and_each_has_its_charges(cluster: Cluster, start: Callable[..., Load]) -> None:
    load = start()

    load.charge(600)

    load.is_exactly_on_the_accounts()
    assert [node.command("DBSIZE") > len(USERS) for node in cluster.masters()] == [True] * 3
    eventually(lambda: load.segments_count == 1)  # a master and its replica have the rest


def test_a_failover_that_was_asked_for_in_mid_load(cluster: Cluster, start: Callable[..., Load]) -> None:
    with start() as load:
        load.grows()
        replica = cluster.replica_of(cluster.masters()[0])
        replica.command("CLUSTER", "FAILOVER")
        eventually(lambda: replica.is_master)
        load.grows()

    load.is_exactly_on_the_accounts()


def test_a_master_that_is_killed_in_mid_load(cluster: Cluster, start: Callable[..., Load]) -> None:
    with start() as load:
        load.grows()
        master = next(node for node in cluster.masters() if node.url != cluster.url)
        replica = cluster.replica_of(master)
        master.kill()
        eventually(lambda: replica.is_master, MOST_S)
        load.grows()
        master.start()
        load.grows()

    load.is_exactly_on_the_accounts()


def fill_the_line(master: Node) -> None:
    """Send more than the kernel keeps on its way to a replica that does not read: what comes behind it dies with the master."""
    for shard in range(64):
        try:
            master.command("SET", f"{{s{shard:02d}}}filler", "x" * (16 << 20))
        except ResponseError:  # of another master
            continue
        master.command("DEL", f"{{s{shard:02d}}}filler")
        return


def test_what_a_replica_missed_is_charged_again_when_it_takes_over(
    cluster: Cluster, start: Callable[..., Load], tmp_path: Path
) -> None:
    load, careless = start(replicas_count=1), start(replicas_count=0, users=OTHERS)
    master = next(node for node in cluster.masters() if node.url != cluster.url)
    replica = cluster.replica_of(master)
    replica.pause()
    fill_the_line(master)

    load.charge(600)
    careless.charge(600)
    assert load.ledger.flush(MOST_S)
    assert careless.ledger.flush(MOST_S)
    eventually(lambda: careless.segments_count == 1, MOST_S)  # the masters have all of it on disk
    assert load.segments_count > 3
    master.kill()
    replica.resume()
    eventually(lambda: replica.is_master, MOST_S)
    load.charge(1)
    careless.charge(1)
    assert careless.ledger.flush(MOST_S)

    load.is_exactly_on_the_accounts(is_alone=False)
    assert careless.ledger.stats.gaps > 0  # what it would cost not to wait for the replica, told
    master.start()
    eventually(lambda: load.segments_count == 1, MOST_S)


def test_shards_that_move_to_another_master_in_mid_load(cluster: Cluster, start: Callable[..., Load]) -> None:
    source, target = cluster.masters()[:2]
    with start() as load:
        load.grows(200)
        by_key, by_server = cluster.full_slots(source)[:2]

        def stalls() -> None:
            """Half of the slot's keys are here, half there: its charges cannot be applied now, and must wait."""
            failures = load.ledger.stats.failures
            eventually(lambda: load.ledger.stats.failures > failures, MOST_S)

        assert move_slot(cluster, by_key, source, target, midway=stalls) > 1
        load.grows()
        source.command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", by_server, by_server, "NODE", cluster.id(target))
        eventually(lambda: by_server in cluster.slots(target), MOST_S)
        load.grows()

    assert {by_key, by_server} <= set(cluster.slots(target))
    load.is_exactly_on_the_accounts()
