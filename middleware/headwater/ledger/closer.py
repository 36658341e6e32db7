"""Who may touch closed months: one process at a time. And what a killed one has left, removed.

The lock is for order, not for truth: whoever is taken for dead and is not finds out when it publishes.
"""

from __future__ import annotations

import json
import secrets
from typing import Any, Final

from headwater.errors import LedgerError
from headwater.ledger import schema
from headwater.ledger.redis import Store

LIFE_S: Final = 60
"""So long after its last sign of life a process is taken for dead."""
_SECRET_BYTES: Final = 32


class Closer:
    """The right to close a month, or to erase a link. `secret`: of a closing, the same when it is repeated."""

    def __init__(self, store: Store) -> None:
        self._client: Any = store.client
        self._shards = range(store.shards_count)
        self.token = secrets.token_hex(8)
        self.secret = b""
        self._left: dict[str, bytes] = {}

    def begin(self) -> None:
        """Be the one, and remove what a killed closing has left. Raises LedgerError where another one is at it."""
        if not self._client.set(schema.CLOSER, self.token, nx=True, ex=LIFE_S):
            raise LedgerError(
                "another process closes a month, or erases a user from closed ones; wait until it is done "
                f"(if it was killed: {LIFE_S} seconds), then try again"
            )
        self._left = {name.decode(): value for name, value in self._client.hgetall(schema.ATTEMPT).items()}
        if self._left and not self._is_published():
            self.remove(int(self._left["number"]), self._left["token"].decode())
        self._client.delete(schema.ATTEMPT)  # a closing that is not dead after all cannot publish any more

    def _is_published(self) -> bool:
        """Whether the closing that was left over had come to its end, but for the note of it."""
        head = self._client.hget(schema.HEADS, self._left["number"])
        return head is not None and json.loads(head)["token"] == self._left["token"].decode()

    def attempt(self, number: int, month: str) -> None:
        """Note that a closing is under way, and under which token it writes."""
        is_repeated = self._left.get("month") == month.encode()
        self.secret = self._left["secret"] if is_repeated else secrets.token_bytes(_SECRET_BYTES)
        said = {"token": self.token, "month": month, "number": number, "secret": self.secret}
        self._client.hset(schema.ATTEMPT, mapping=said)

    def live(self) -> None:
        """Say that it goes on."""
        if self._client.get(schema.CLOSER) == self.token.encode():
            self._client.expire(schema.CLOSER, LIFE_S)

    def end(self) -> None:
        """Let others."""
        if self._client.get(schema.CLOSER) == self.token.encode():
            self._client.delete(schema.CLOSER)

    def remove(self, number: int, token: str) -> None:
        """Remove the rows of a closing that is none. They were written one chunk after the other, links first; they go from
        the last to the first, links last: a removal that is killed can be repeated."""
        for shard in self._shards:
            count = 0
            while self._client.exists(schema.links_key(shard, number, token, count)):
                count += 1
            for chunk in reversed(range(count)):
                self._client.delete(schema.frozen_key(shard, number, token, chunk))
                self._client.delete(schema.links_key(shard, number, token, chunk))
