"""The store: a Redis-compatible server or cluster. The only file that knows its commands.

Nothing here repeats a command: a repeat after a lost reply is the shipper's business, which asks the store first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from logging import getLogger
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from headwater.endpoint import Endpoint, endpoint_of
from headwater.errors import ConfigError, LedgerError
from headwater.ledger import schema
from headwater.ledger.batch import Batch, aggregate, flat
from headwater.ledger.connection import SHIP_TIMEOUT_S, ClientFactory, connect, connect_cluster, refusals

log: Final = getLogger("headwater.ledger")

CLUSTER_SHARDS: Final = 64
_SCRIPT: Final = files("headwater.ledger").joinpath("charge.lua").read_text("utf-8")
_LOAD_SCRIPT: Final = files("headwater.ledger").joinpath("load.lua").read_text("utf-8")
_CHUNK: Final = 500
_STANDING_TRIES: Final = 100
MOST_OTHERS_COUNT: Final = 1_000_000


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
    ) -> None:
        self._endpoint = endpoint_of(where)
        self._timeout_s = timeout_s
        self._clustered = False
        self._client: Any = client_factory(self._endpoint, timeout_s)
        self._clock = clock
        self._register()
        self.shards_count = 1

    def _register(self) -> None:
        self._script: Any = self._client.register_script(_SCRIPT)
        self._load_script: Any = self._client.register_script(_LOAD_SCRIPT)

    def _join_cluster(self) -> None:
        """Where the address is a cluster's, talk to all of it; a new ledger in a cluster has many shards."""
        if self._clustered or not self._client.info("cluster").get("cluster_enabled"):
            return
        self._client.close()
        self._client = connect_cluster(self._endpoint, self._timeout_s)
        self._register()
        self._clustered = True
        self.shards_count = CLUSTER_SHARDS

    def close(self) -> None:
        """Close the connections. The next command starts on a fresh one, with no reply of an old one under way."""
        self._client.close()

    # -- the installation ---------------------------------------------------------------------------------------------

    def fingerprint(self) -> str | None:
        """The fingerprint of the identity key that this store's pseudonyms were made with."""
        with refusals():
            value = self._client.hget(schema.META, "key")
        return None if value is None else value.decode()

    def check(self, key_fingerprint: str | None) -> None:
        """Agree with the store on schema, shards and key; a new store is set up where a fingerprint is given.

        Raises:
            ConfigError: the store was written with another key, or by another version.
        """
        with refusals():
            self._join_cluster()
            meta = self._meta()
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
        if key_fingerprint is not None and meta["key"] != key_fingerprint:
            raise ConfigError(
                f"the ledger's store was written with another identity key ({meta['key']}, here {key_fingerprint}); "
                "restore the key file of this installation, or use another Redis database"
            )
        self.shards_count = int(meta.get("shards", self.shards_count))
        self._warn_of_eviction()

    def _meta(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self._client.hgetall(schema.META).items()}

    def _new_meta(self, key_fingerprint: str) -> dict[str, str]:
        return {
            "schema": str(schema.SCHEMA_VERSION),
            "shards": str(self.shards_count),
            "created": str(int(self._clock())),
            "key": key_fingerprint,
        }

    def _warn_of_eviction(self) -> None:
        try:
            found = self._client.config_get("maxmemory-policy").values()
        except RedisError:
            return  # managed servers often forbid CONFIG
        policy = next(iter(found), "noeviction")
        if policy != "noeviction":
            log.warning("the ledger's store may delete accounts: maxmemory-policy is %s, set it to noeviction", policy)

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

    def apply(self, batch: Batch) -> dict[tuple[str, str], list[int]]:
        """Apply a batch whole, but for what was counted before. Returns the new totals of its user months, in the order of PERIOD_TOTAL_FIELDS.

        Raises:
            Behind: the batch does not follow what is stored; nothing was changed.
            StoreError: no answer; the batch is applied or it is not.
        """
        months, sums, users = aggregate(batch)
        keys = [schema.journal_key(batch.shard), schema.stream_key(batch.shard), schema.users_key(batch.shard)]
        keys += sums
        keys += [schema.receipt_key(batch.shard, charge.request_id) for charge, _ in batch.charges]
        keys += [schema.once_key(batch.shard, batch.once)] if batch.once else []
        arguments: list[str | int | bytes] = [
            batch.journal_id,
            batch.previous,
            batch.last,
            json.dumps([[str(ttl), *flat(fields)] for ttl, fields in sums.values()]),
            json.dumps([part for user, seen in users.items() for part in (str(seen), user)]),
            len(months),
            max(0, int(self._clock() * 1000) - schema.LEDGER_RETENTION_MS),
            schema.RECEIPT_TTL_S,
            schema.STREAM_FIELD,
            json.dumps(schema.PERIOD_TOTAL_FIELDS),
            schema.ONCE_TTL_S if batch.once else 0,
            *(packed for _, packed in batch.charges),
        ]
        with refusals():
            done, last, *answer = self._script(keys=keys, args=arguments)
        if not done:
            raise Behind(int(last))
        totals, refused_count = answer
        if refused_count:
            log.error(
                "%d sums of journal %s were refused: something else writes to the ledger's keys",
                refused_count,
                batch.journal_id,
            )
        return {month: [int(amount or 0) for amount in row] for month, row in zip(months, totals, strict=True) if row}

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

    def period_totals(self, users: Iterable[str], month: str) -> dict[str, list[int]]:
        """The totals of users' months, in the order of PERIOD_TOTAL_FIELDS."""
        names = list(users)
        with refusals():
            pipeline = self._client.pipeline(transaction=False)
            for user in names:
                pipeline.hmget(self._user_key(user, month), schema.PERIOD_TOTAL_FIELDS)
            rows = pipeline.execute()
        return {user: [int(amount or 0) for amount in row] for user, row in zip(names, rows, strict=True)}

    # -- reading ------------------------------------------------------------------------------------------------------

    def users_since(self, time_ms: int) -> list[str]:
        """Users who were last seen at a moment or later."""
        with refusals():
            return [
                user.decode()
                for shard in range(self.shards_count)
                for user in self._client.zrangebyscore(schema.users_key(shard), time_ms, "+inf")
            ]

    def user_fields(self, users: Sequence[str], period: str) -> Iterator[tuple[str, dict[str, int]]]:
        """Each user's row of a period, as field codes and amounts; empty where there is none."""
        for at in range(0, len(users), _CHUNK):
            chunk = users[at : at + _CHUNK]
            with refusals():
                pipeline = self._client.pipeline(transaction=False)
                for user in chunk:
                    pipeline.hgetall(self._user_key(user, period))
                rows = pipeline.execute()
            yield from zip(chunk, map(_fields, rows), strict=True)

    def total_fields(self, period: str) -> Iterator[tuple[str, int]]:
        """Field codes and amounts of everybody's sums, shard after shard."""
        for shard in range(self.shards_count):
            with refusals():
                row = self._client.hgetall(schema.total_key(shard, period))
            yield from _fields(row).items()

    def bases(self, month: str) -> dict[str, int]:
        """Hash of a deployment's document -> requests of a month, over all shards."""
        found: dict[str, int] = {}
        for shard in range(self.shards_count):
            with refusals():
                row = self._client.hgetall(schema.bases_key(shard, month))
            for name, count in _fields(row).items():
                found[name] = found.get(name, 0) + count
        return found

    def breakdown_fields(self, user: str, month: str) -> dict[str, int]:
        """Fields `model|site|code` of a user's month."""
        with refusals():
            return _fields(
                self._client.hgetall(schema.breakdown_key(schema.shard_of(user, self.shards_count), user, month))
            )

    def receipt(self, request_id: str, user: str | None) -> bytes | None:
        """The packed charge of a request: on its user's shard, or on any where no user is given."""
        shards = range(self.shards_count) if user is None else [schema.shard_of(user, self.shards_count)]
        with refusals():
            for shard in shards:
                packed: bytes | None = self._client.get(schema.receipt_key(shard, request_id))
                if packed is not None:
                    return packed
        return None

    def document(self, document_hash: str) -> str | None:
        """A deployment document."""
        with refusals():
            value = self._client.get(schema.basis_key(document_hash))
        return None if value is None else value.decode()

    def stream(self) -> Iterator[bytes]:
        """Packed charges, shard after shard, in the order in which they were applied."""
        for shard in range(self.shards_count):
            yield from self.shard_stream(shard, "-", "+")

    def shard_stream(self, shard: int, first: str, last: str) -> Iterator[bytes]:
        """A shard's packed charges, in the order in which they were applied, from one stream id to another."""
        while True:
            with refusals():
                entries = self._client.xrange(schema.stream_key(shard), min=first, max=last, count=_CHUNK)
            if not entries:
                break
            for _, fields in entries:
                yield fields[schema.STREAM_FIELD.encode()]
            first = f"({entries[-1][0].decode()}"

    def standing(self, shard: int, period: str) -> tuple[dict[str, int], str] | None:
        """Everybody's sums of a period on a shard, and the stream id of the last charge in them; "" where there is none.

        None: charges came in between, again and again.
        """
        key = schema.total_key(shard, period)
        for _ in range(_STANDING_TRIES):
            with refusals():
                pipeline = self._client.pipeline(transaction=False)
                pipeline.hgetall(key)
                pipeline.xrevrange(schema.stream_key(shard), count=1)
                pipeline.hgetall(key)
                before, last, after = pipeline.execute()
            if before == after:  # sums only grow: no charge of the period was applied between the two
                return _fields(after), last[0][0].decode() if last else ""
        return None

    def labels(self) -> dict[str, str]:
        """Pseudonym -> the operator's label."""
        with refusals():
            rows = [self._client.hgetall(schema.labels_key(shard)) for shard in range(self.shards_count)]
        return {user.decode(): label.decode() for row in rows for user, label in row.items()}

    def _user_key(self, user: str, period: str) -> str:
        return schema.user_key(schema.shard_of(user, self.shards_count), user, period)


def _fields(row: Mapping[bytes, bytes]) -> dict[str, int]:
    return {field.decode(): int(amount) for field, amount in row.items()}
