"""A real cluster: charges lie exactly on their accounts, whatever moves, fails over or dies under the load."""

from __future__ import annotations

import random
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.endpoint import Endpoint
from headwater.ledger import Ledger
from headwater.ledger.connection import RIGHTS, SHIP_TIMEOUT_S, StoreError, connect_cluster, refusals
from tests.ledger.cluster_support import Cluster, move_slot
from tests.ledger.support import KEY, MONTH, charge, eventually, outside

USERS = [random.Random(number).randbytes(16).hex() for number in range(300)]
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

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.requests: Counter[str] = Counter()
        self.energy: Counter[str] = Counter()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def charge(self, count: int) -> None:
        for _ in range(count):
            number = sum(self.requests.values())
            made = charge(number, user=USERS[number % len(USERS)])
            assert made.amounts is not None
            self.ledger.charge(made)
            self.requests[made.user] += 1
            self.energy[made.user] += made.amounts.energy_microjoules

    def _run(self) -> None:
        while not self._ends.wait(0.002):
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

    def is_exactly_on_the_accounts(self) -> None:
        assert self.ledger.flush(MOST_S)
        assert self.ledger.stats.gaps == self.ledger.stats.lost == 0
        with self.ledger.reader() as reader:
            rows = {row.user: row for row in reader.month_rows(MONTH)}
            assert {user: row.requests_count for user, row in rows.items()} == dict(self.requests)
            assert {user: row.energy_microjoules for user, row in rows.items()} == dict(self.energy)
            assert reader.totals(MONTH).energy_microjoules == self.energy.total()
            assert Counter(each.user for each in reader.ledger_entries()) == self.requests


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., Load]]:
    """A ledger on the empty and healthy cluster, with small segments, so that the journal is let go of early."""
    cluster.healthy()
    cluster.flush()
    ledgers: list[Ledger] = []

    def make(**options: object) -> Load:
        endpoint = Endpoint(url=cluster.url, **options)  # type: ignore[arg-type]
        ledger = Ledger(
            redis_url=endpoint, data_dir=tmp_path, key_fingerprint=KEY, outside=outside(), segment_bytes=20_000
        )
        ledger.start()
        ledgers.append(ledger)
        return Load(ledger)

    yield make
    for ledger in ledgers:
        ledger.close(timeout_s=0.5)


def test_a_command_whose_reply_is_lost_is_not_sent_again(cluster: Cluster) -> None:
    cluster.healthy()
    client = connect_cluster(cluster.url, SHIP_TIMEOUT_S)
    client.set("hw", 0)
    (master,) = (node for node in cluster.masters() if node.port == client.get_node_from_key("hw").port)
    master.pause()

    with pytest.raises(StoreError), refusals():
        client.eval("return redis.call('INCR', KEYS[1])", 1, "hw")

    master.resume()
    eventually(lambda: client.get("hw") != b"0")
    assert client.get("hw") == b"1"
    client.close()


def test_the_least_rights_are_enough_in_a_cluster_too(cluster: Cluster, start: Callable[..., Load]) -> None:
    for node in cluster.nodes:
        node.command("ACL", "SETUSER", "headwater", "on", ">secret", *RIGHTS.split())
        node.command("ACL", "LOG", "RESET")
    load = start(username="headwater", password="secret")

    load.charge(300)

    load.is_exactly_on_the_accounts()
    load.ledger.close(timeout_s=5.0)
    assert [node.command("ACL", "LOG") for node in cluster.nodes] == [[]] * 6


def segments(folder: Path) -> int:
    return len(list(folder.glob("journals/*/[0-9]*.log")))


def test_many_users_lie_on_all_masters_and_each_has_its_charges(
    cluster: Cluster, start: Callable[..., Load], tmp_path: Path
) -> None:
    load = start()

    load.charge(1_500)

    load.is_exactly_on_the_accounts()
    assert [node.command("DBSIZE") > len(USERS) for node in cluster.masters()] == [True] * 3
    eventually(lambda: segments(tmp_path) == 1)  # a master and its replica have the rest


def test_a_failover_that_was_asked_for_in_mid_load(cluster: Cluster, start: Callable[..., Load]) -> None:
    with start() as load:
        for master in cluster.masters()[:2]:
            load.grows()
            replica = cluster.replica_of(master)
            replica.command("CLUSTER", "FAILOVER")
            eventually(lambda replica=replica: replica.is_master)
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


def test_what_a_replica_missed_is_charged_again_when_it_takes_over(
    cluster: Cluster, start: Callable[..., Load], tmp_path: Path
) -> None:
    load = start(replicas_count=1)
    load.charge(300)
    assert load.ledger.flush(MOST_S)
    master = next(node for node in cluster.masters() if node.url != cluster.url)
    replica = cluster.replica_of(master)
    eventually(lambda: segments(tmp_path) == 1)
    replica.pause()
    before = master.command("DBSIZE")

    load.charge(1_500)
    assert load.ledger.flush(MOST_S)
    assert master.command("DBSIZE") > before
    kept = segments(tmp_path)
    master.kill()
    replica.resume()
    eventually(lambda: replica.is_master, MOST_S)

    load.charge(1)
    load.is_exactly_on_the_accounts()
    assert kept > 3
    master.start()
    eventually(lambda: segments(tmp_path) == 1, MOST_S)


def test_shards_that_move_to_another_master_in_mid_load(cluster: Cluster, start: Callable[..., Load]) -> None:
    source, target = cluster.masters()[:2]
    with start() as load:
        load.grows(300)
        stalled: list[int] = []

        def stalls() -> None:
            """Half of the slot's keys are here, half there: its charges cannot be applied now, and must wait."""
            failures = load.ledger.stats.failures
            eventually(lambda: load.ledger.stats.failures > failures)
            stalled.append(load.ledger.stats.failures)

        for slot in cluster.full_slots(source)[:2]:
            assert move_slot(cluster, slot, source, target, midway=stalls) > 1
            load.grows()

    assert len(stalled) == 2
    load.is_exactly_on_the_accounts()


def test_shards_that_the_server_moves_by_itself_in_mid_load(cluster: Cluster, start: Callable[..., Load]) -> None:
    source, target = cluster.masters()[1:3]
    with start() as load:
        load.grows(300)
        slots = cluster.full_slots(source)[:2]
        for slot in slots:
            source.command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", cluster.id(target))
            eventually(lambda slot=slot: slot in cluster.slots(target), MOST_S)
        load.grows()

    assert set(slots) <= set(cluster.slots(target))
    load.is_exactly_on_the_accounts()
