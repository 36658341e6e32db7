"""Real servers on loopback: a cluster of three masters with a replica each, and single servers with replicas and Sentinels."""

from __future__ import annotations

import itertools
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis

from headwater.ledger.embedded import find_binary
from tests.ledger.support import eventually

HOST = "127.0.0.1"
SLOTS_COUNT = 16_384
NODE_TIMEOUT_MS = 1_000


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


class Node:
    """A server on a port of loopback, to be killed and started again."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.port = port
        self.folder = folder / str(port)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    def _command(self) -> list[str]:
        always = ["--port", str(self.port), "--bind", HOST, "--dir", str(self.folder), "--save", ""]
        files = ["--appendonly", "yes", "--appendfsync", "everysec", "--logfile", str(self.folder / "server.log")]
        replication = ["--repl-diskless-sync-delay", "0"]
        return [find_binary(), *always, *files, *replication, *self._options]

    def start(self) -> None:
        self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL)
        eventually(self.is_up)

    def is_up(self) -> bool:
        try:
            return bool(self.command("PING"))
        except redis.RedisError:
            return False

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def client(self) -> redis.Redis:
        return redis.Redis(HOST, self.port, decode_responses=True, protocol=2, socket_timeout=5)

    def command(self, *words: Any) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    def info(self, section: str) -> dict[str, Any]:
        with self.client() as client:
            found: dict[str, Any] = client.info(section)
            return found

    @property
    def is_master(self) -> bool:
        return bool(self.info("replication")["role"] == "master")


class Cluster:
    """Three masters and three replicas."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(12)
        self.nodes = [
            Node(
                folder,
                port,
                *("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-config-file", "nodes.conf"),
                *("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0"),
            )
            for port, bus in zip(ports[:6], ports[6:], strict=True)
        ]
        self._buses = dict(zip(ports[:6], ports[6:], strict=True))
        self._ids: dict[int, str] = {}

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        bounds = [SLOTS_COUNT * part // 3 for part in range(4)]
        for node, (first, end) in zip(self.nodes, itertools.pairwise(bounds), strict=False):
            node.command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for epoch, node in enumerate(self.nodes, 1):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for node in self.nodes[1:]:
            node.command("CLUSTER", "MEET", HOST, self.nodes[0].port, self._buses[self.nodes[0].port])
        self._ids = {node.port: node.command("CLUSTER", "MYID") for node in self.nodes}
        everybody = set(self._ids.values())
        for master, replica in zip(self.nodes[:3], self.nodes[3:], strict=True):
            eventually(partial(_knows, replica, everybody))
            replica.command("CLUSTER", "REPLICATE", self._ids[master.port])
        self.healthy()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def healthy(self) -> None:
        """Wait until all slots are served, all nodes agree on that, and every replica follows its master."""
        eventually(self._is_healthy)

    def _is_healthy(self) -> bool:
        try:
            states = ["cluster_state:ok" in node.command("CLUSTER", "INFO") for node in self.nodes]
            owners = {tuple(sorted(_owners(node).items())) for node in self.nodes}
            replicas = [info for node in self.nodes if (info := node.info("replication"))["role"] == "slave"]
        except redis.RedisError:
            return False
        links = [info["master_link_status"] == "up" for info in replicas]
        return all(states) and len(owners) == 1 and len(links) == 3 and all(links)

    def masters(self) -> list[Node]:
        return [node for node in self.nodes if node.is_up() and node.is_master]

    def replica_of(self, master: Node) -> Node:
        return next(
            node for node in self.nodes if node.is_up() and node.info("replication").get("master_port") == master.port
        )

    def id(self, node: Node) -> str:
        return self._ids[node.port]

    def slots(self, node: Node) -> list[int]:
        """The slots that a node says that it serves."""
        return sorted(slot for slot, owner in _owners(node).items() if owner == self.id(node))

    def full_slots(self, node: Node) -> list[int]:
        """The slots of a node in which there are keys."""
        slots = self.slots(node)
        with node.client() as client, client.pipeline(transaction=False) as pipeline:
            for slot in slots:
                pipeline.execute_command("CLUSTER COUNTKEYSINSLOT", slot)
            return [slot for slot, count in zip(slots, pipeline.execute(), strict=True) if count]

    def flush(self) -> None:
        for node in self.masters():
            node.command("FLUSHALL")


def _knows(node: Node, everybody: set[str]) -> bool:
    return everybody <= {line.split()[0] for line in node.command("CLUSTER", "NODES").splitlines()}


def _owners(node: Node) -> dict[int, str]:
    """Slot -> id of the node that serves it, as one node sees it."""
    ranges = node.command("CLUSTER", "SLOTS")
    return {slot: master[2] for first, last, master, *_ in ranges for slot in range(first, last + 1)}


def move_slot(
    cluster: Cluster, slot: int, source: Node, target: Node, *, midway: Callable[[], None] | None = None
) -> int:
    """Move a slot with its keys, as `valkey-cli --cluster reshard` does; `midway`: between two keys. How many keys it had."""
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id(source))
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id(target))
    count = 0
    while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 1 if midway is not None else 100):
        source.command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
        count += len(keys)
        if midway is not None:
            midway()
            midway = None
    for node in (target, source, *cluster.masters()):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", cluster.id(target))
    return count


@contextmanager
def running(*nodes: Node) -> Iterator[None]:
    """Servers that end with the block."""
    try:
        for node in nodes:
            node.start()
        yield
    finally:
        for node in nodes:
            node.stop()


class Sentinel(Node):
    """Watches one master under the name `main`."""

    def __init__(self, folder: Path, port: int, master: Node) -> None:
        super().__init__(folder, port)
        self._file = self.folder / "sentinel.conf"
        self._file.write_text(
            f"port {port}\nbind {HOST}\ndir {self.folder}\nlogfile {self.folder}/server.log\n"
            f"sentinel monitor main {HOST} {master.port} 1\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
        )

    def _command(self) -> list[str]:
        return [find_binary(), str(self._file), "--sentinel"]
