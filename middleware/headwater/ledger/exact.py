"""Rows together with the charge up to which they go: what an audit compares with the ledger stream, while charges come in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from headwater.errors import LedgerError
from headwater.ledger import schema
from headwater.ledger.books import Books, Entry
from headwater.ledger.connection import refusals
from headwater.ledger.exporting import Position
from headwater.ledger.rows import Sums, read

ROWS_COUNT: Final = 500
_TRIES: Final = 100
_NOTHING: Final = Position(0, 0)


class Exact:
    """One shard of a store, read exactly. A batch writes its rows and its charges at once: rows that were read between two
    looks at one and the same last charge hold all charges up to that one, and no more.

    Every method raises LedgerError when the store does not answer, or when charges come in too fast to be read in between.
    """

    def __init__(self, books: Books, shard: int) -> None:
        self.shard = shard
        self._books = books
        self._client: Any = books.store.client
        self._stream = schema.stream_key(shard)

    def end(self) -> Position:
        """The last charge."""
        with refusals():
            return _last(self._client.xrevrange(self._stream, count=1))

    def rows(self, keys: Sequence[str]) -> Iterator[tuple[Sequence[Sums | None], Position]]:
        """The rows under some keys, and the last charge in them, some hundreds at a time; None where there is no row."""
        for at in range(0, len(keys), ROWS_COUNT):
            some = keys[at : at + ROWS_COUNT]
            values, end = self._between("MGET", *some)
            try:
                yield [None if value is None else read(value) for value in values], end
            except ValueError as error:
                raise LedgerError(f"{error}; the store was changed by another hand") from error

    def bases(self, month: str) -> tuple[dict[str, int], Position]:
        """Hash of a deployment's document -> requests of a month, and the last charge in them."""
        found, end = self._between("HGETALL", schema.bases_key(self.shard, month))
        return {name.decode(): int(count) for name, count in found.items()}, end

    def _between(self, *command: str) -> tuple[Any, Position]:
        for _ in range(_TRIES):
            with refusals():
                pipeline = self._client.pipeline(transaction=False)
                pipeline.xrevrange(self._stream, count=1)
                pipeline.execute_command(*command)  # a cluster's pipeline has no method for MGET
                pipeline.xrevrange(self._stream, count=1)
                before, found, after = pipeline.execute()
            if _last(before) == _last(after):
                return found, _last(after)
        raise LedgerError("charges come in faster than the ledger can be read; ask again")

    def charges(self, after: Position | None, first_ms: int, end: Position) -> Iterator[Entry]:
        """The charges behind a place, or those that were applied since a moment, up to another place."""
        if end == _NOTHING:
            return
        first = str(first_ms) if after is None else f"({after.time_ms}-{after.number}"
        yield from self._books.stream(self.shard, first, f"{end.time_ms}-{end.number}")


def _last(found: list[tuple[bytes, Any]]) -> Position:
    return Position.read(found[0][0].decode()) if found else _NOTHING
