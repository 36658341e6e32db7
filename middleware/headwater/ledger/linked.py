"""The links of closed months to their accounts, during a rotation of the identity key. Amounts, numbers and hashes stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from headwater.ledger import chunks, schema
from headwater.ledger.books import Books
from headwater.ledger.connection import refusals
from headwater.ledger.redis import Store
from headwater.ledger.statements import Statements


class StatementLinks:
    """Renames them in two steps, as a rotation asks; each can be called again after it was cut short."""

    def __init__(self, store: Store) -> None:
        self._client = store.client
        self._statements = Statements(Books(store))

    def move(self, shard: int, rename: Callable[[str], str]) -> None:
        """Set all links of a shard apart under the new names."""
        for key in self._keys(shard):
            with refusals():
                links = self._client.get(key)
                if links is not None:
                    left_ms = self._client.pttl(key)
                    self._client.set(
                        schema.set_apart(key), chunks.renamed_links(links, rename), px=left_ms if left_ms > 0 else None
                    )

    def place(self, shard: int) -> None:
        """Put what was set apart in the place of what was."""
        for key in self._keys(shard):
            with refusals():
                if self._client.exists(schema.set_apart(key)):
                    self._client.rename(schema.set_apart(key), key)

    def _keys(self, shard: int) -> Iterator[str]:
        for head in self._statements.heads():
            for number in range(len(head.chunks.get(shard, ()))):
                yield schema.links_key(shard, head.number, head.token, number)
