"""The store: a Redis-compatible server or cluster, and what is written to it. What is read from it: books.py.

Nothing here repeats a command: a repeat after a lost reply is the shipper's business, which asks the store first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from logging import getLogger
from typing import Any, Final

from redis.exceptions import ResponseError

from headwater.endpoint import Endpoint, endpoint_of
from headwater.errors import ConfigError, LedgerError
from headwater.ledger import health, schema
from headwater.ledger.batch import Batch, call
from headwater.ledger.connection import SHIP_TIMEOUT_S, ClientFactory, connect, connect_cluster, refusals
from headwater.ledger.rows import Sums
from headwater.ledger.schema import Retention

log: Final = getLogger("headwater.ledger")

CLUSTER_SHARDS: Final = 64
_SCRIPT: Final = files("headwater.ledger").joinpath("charge.lua").read_text("utf-8")
_LOAD_SCRIPT: Final = files("headwater.ledger").joinpath("load.lua").read_text("utf-8")
MOST_OTHERS_COUNT: Final = 1_000_000
ROTATING: Final = "rotating"
"""In the installation's record: the fingerprint of the identity key to which a rotation is under way."""


class Behind(Exception):
    """The store's last applied sequence of a journal is not the one that the batch follows."""

    def __init__(self, stored: int) -> None:
        super().__init__(f"the store is at {stored}")
        self.stored = stored


class Store:
    """Accounts in one server or cluster. `shards_count` is read from the store, where it is fixed."""

    def __init__(
        self,
        where: str | Endpoint,
        *,
        timeout_s: float = SHIP_TIMEOUT_S,
        client_factory: ClientFactory = connect,
        clock: Callable[[], float] = time.time,
        retention: Retention | None = None,
    ) -> None:
        self.retention = retention if retention is not None else Retention()
        self._endpoint = endpoint_of(where)
        self._timeout_s = timeout_s
        self._clustered = False
        self._client_factory = client_factory
        self._client: Any = client_factory(self._endpoint, timeout_s)
        self._clock = clock
        self._watch = health.Watch(clock)
        self._register()
        self._key = ""
        self.shards_count = 1

    def _register(self) -> None:
        self._script: Any = self._client.register_script(_SCRIPT)
        self._load_script: Any = self._client.register_script(_LOAD_SCRIPT)

    def join_cluster(self) -> None:
        """Where the address is a cluster's, talk to all of it; a new ledger in a cluster has many shards."""
        if self._clustered or not self._client.info("cluster").get("cluster_enabled"):
            return
        self._client.close()
        self._client = connect_cluster(self._endpoint, self._timeout_s)
        self._register()
        self._clustered = True
        self.shards_count = CLUSTER_SHARDS

    @property
    def endpoint(self) -> Endpoint:
        """Where it is."""
        return self._endpoint

    @property
    def client(self) -> Any:
        """The driver, for those who read."""
        return self._client

    def now_ms(self) -> int:
        """The time, in milliseconds since the epoch, by this process's clock."""
        return int(self._clock() * 1_000)

    def close(self) -> None:
        """Close the connections. The next command starts on a fresh one, with no reply of an old one under way.

        Of a cluster, the next `check` asks anew who belongs to it: a driver that has lost all nodes finds none by itself.
        """
        self._client.close()
        if self._clustered:
            self._client = self._client_factory(self._endpoint, self._timeout_s)
            self._clustered = False
            self._register()

    # -- the installation ---------------------------------------------------------------------------------------------

    def fingerprint(self) -> str | None:
        """The fingerprint of the identity key that this store's pseudonyms were made with."""
        with refusals():
            value = self._client.hget(schema.META, "key")
        return None if value is None else value.decode()

    def rotating(self) -> str | None:
        """The fingerprint of the identity key to which a rotation was begun, if one was."""
        with refusals():
            value = self._client.hget(schema.META, ROTATING)
        return None if value is None else value.decode()

    def check(self, key_fingerprint: str | None, *, is_rotating: bool = False) -> None:
        """Agree with the store on schema, shards and key; a new store is set up where a fingerprint is given.

        Raises:
            ConfigError: the store was written with another key, or by another version; or its key is being replaced, and
                this is not the one who does that.
        """
        with refusals():
            self.join_cluster()
            meta = self._meta()
            self._refuse_old_layout(meta)
            if key_fingerprint is not None and "key" not in meta:
                for name, value in self._new_meta(key_fingerprint).items():
                    self._client.hsetnx(schema.META, name, value)
                meta = self._meta()
        found = meta.get("schema", str(schema.SCHEMA_VERSION))
        if found != str(schema.SCHEMA_VERSION):
            raise ConfigError(
                f"the ledger's store has schema {found}, this version of headwater needs {schema.SCHEMA_VERSION}; "
                "use the matching version, or another Redis database"
            )
        if ROTATING in meta and not is_rotating:
            raise ConfigError(
                f"the identity key is being replaced (by {meta[ROTATING]}): when headwater user rotate-key has ended, restart with the "
                "new identity.key; was it cut short, run it again"
            )
        if key_fingerprint is not None and meta["key"] != key_fingerprint:
            raise ConfigError(
                f"the ledger's store was written with another identity key ({meta['key']}, here {key_fingerprint}); "
                "restore the key file of this installation, or use another Redis database"
            )
        self._key = meta.get("key", "")
        self.shards_count = int(meta.get("shards", self.shards_count))
        if key_fingerprint is not None:  # whoever only reads has nothing to lose
            self._watch.look(self._client)

    def _meta(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self._client.hgetall(schema.META).items()}

    def _refuse_old_layout(self, meta: dict[str, str]) -> None:
        if "schema" not in meta and self._client.exists(schema.OLD_META):
            raise ConfigError(
                "the ledger's store was written by an older version of headwater: move it once with `headwater migrate`"
            )

    def _new_meta(self, key_fingerprint: str) -> dict[str, str]:
        return {
            "schema": str(schema.SCHEMA_VERSION),
            "shards": str(self.shards_count),
            "created": str(int(self._clock())),
            "key": key_fingerprint,
        }

    def set_labels(self, labels: Mapping[str, str]) -> None:
        """Keep the operator's labels beside the pseudonyms."""
        with refusals():
            pipeline = self._client.pipeline(transaction=False)
            for user, label in labels.items():
                pipeline.hset(schema.labels_key(schema.shard_of(user, self.shards_count)), user, label)
            pipeline.execute()

    # -- writing ------------------------------------------------------------------------------------------------------

    def applied(self, journal_id: str) -> dict[int, int]:
        """The last applied sequence of a journal on each shard; 0 where there is none."""
        with refusals():
            pipeline = self._client.pipeline(transaction=False)
            for shard in range(self.shards_count):
                pipeline.hget(schema.journal_key(shard), journal_id)
            return {shard: int(seq or 0) for shard, seq in enumerate(pipeline.execute())}

    def keep_document(self, document_hash: str, document: str) -> None:
        """Keep a deployment document; the first one under a hash stays."""
        with refusals():
            self._client.set(schema.basis_key(document_hash), document, nx=True)

    def apply(self, batch: Batch) -> dict[tuple[str, str], Sums]:
        """Apply a batch whole, but for what was counted before. Returns what it added to users' months.

        Raises:
            Behind: the batch does not follow what is stored; nothing was changed.
            StoreError: no answer; the batch is applied or it is not.
        """
        keys, arguments, months = call(batch, self.retention, key=self._key)
        with refusals():
            done, last, *answer = self._script(keys=keys, args=arguments)
        if done < 0:
            raise ConfigError(
                f"the identity key was replaced ({last.decode()}, here {self._key}): copy the new identity.key into this data "
                "folder and restart; charges wait in the journal"
            )
        if not done:
            raise Behind(int(last))
        refused_count, is_repeat = answer
        if refused_count:
            log.error(
                "%d sums of journal %s were refused: something else writes to the ledger's keys",
                refused_count,
                batch.journal_id,
            )
        return {} if is_repeat else months

    def exchange_load(self, deployment: str, worker: str, in_flight_count: int, life_s: float) -> int:
        """Say how many a worker has in flight on a deployment, for a short life; returns how many the other workers have.

        Raises:
            StoreError: no answer.
            LedgerError: the store answers, and refuses this.
        """
        arguments = [worker, in_flight_count, round(life_s * 1000)]
        with refusals():
            try:
                others_count = int(self._load_script(keys=[schema.in_flight_key(deployment)], args=arguments))
                # Whoever else writes into the store: nobody has less than none in flight, or millions.
                return min(max(others_count, 0), MOST_OTHERS_COUNT)
            except ResponseError as error:
                raise LedgerError(f"the ledger's store keeps no load of {deployment}: {error}") from error
