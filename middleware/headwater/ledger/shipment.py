"""One journal on its way into the store: in order, behind what the store already has, exactly once. Starts no thread.

The store's own `journal -> last applied sequence` decides what counts. Whenever it is in doubt (start, lost reply,
restart of the store), it is asked, and the journal is read again from its oldest segment; what is stored is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Final

from headwater.ledger import schema, watermarks
from headwater.ledger.batch import Batch, Numbered, runs
from headwater.ledger.connection import StoreError
from headwater.ledger.damage import Damage
from headwater.ledger.durability import Durability
from headwater.ledger.frames import START, Frame, Kind, Position
from headwater.ledger.glance import glance
from headwater.ledger.redis import Behind, Store
from headwater.ledger.renaming import renamed
from headwater.ledger.rows import Sums
from headwater.ledger.stats import Stats
from headwater.ledger.tail import Tail, dropped_seq

log: Final = getLogger("headwater.ledger")

BATCH_CHARGES: Final = 100

Added = Mapping[tuple[str, str], Sums]
"""(user, month) -> what was added to it."""


class Shipment:
    """Ships one journal, its own process's or an adopted one. One thread at a time."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        durability: Durability,
        stats: Stats,
        *,
        on_added: Callable[[Added], None] | None = None,
        on_dropped: Callable[[int], None] | None = None,
        seal: Callable[[int], bool] | None = None,
        damage: Damage | None = None,
        rename: Callable[[str], str] | None = None,
    ) -> None:
        """`on_dropped`: told which segment is the oldest now. `seal`: see `Tail`. `rename`: from the accounts' names in the
        journal to those of now, where another identity key made them."""
        self.journal_id = folder.name
        self._damage = damage if damage is not None else Damage(folder.name, stats)
        self.tail = Tail(folder, damage=self._damage, **({} if seal is None else {"seal": seal}))
        self.applied = START
        """Behind the last record that the store has applied."""
        self._folder = folder
        self._store = store
        self._durability = durability
        self._stats = stats
        self._on_added = on_added
        self._on_dropped = on_dropped
        self._rename = rename
        self._sequences: dict[int, int] | None = None
        self._pending: list[Frame] = []
        self._after_pending = START
        self._marked: Position | None = None
        self._durable = START
        self._gap_until = 0
        self._shard_gaps: dict[int, int] = {}
        self._by_segment: dict[int, dict[int, int]] = {}
        """Segment -> shard -> the number of its last charge there; where there are several shards."""

    def doubt(self) -> None:
        """The store may have restarted, or a reply was lost: ask it where it stands before going on."""
        self._sequences = None
        self.applied = self._durable = START
        self._marked = None
        self._durability.cancel()

    def ship(self) -> bool:
        """Apply the next batch of what is synced. True when records were moved, False when none are left.

        Raises:
            StoreError: the store gave no answer; call again later.
        """
        try:
            sequences = self._sequences if self._sequences is not None else self._resume()
            frames = self._next_frames()
            if not frames:
                self.applied = self.tail.position  # an empty segment, or one with nothing sound in it, is done with
                return False
            self._apply(frames, sequences)
        except Behind as behind:
            log.warning("journal %s: %s, which is not where it was left; reading again", self.journal_id, behind)
            self.doubt()
            return True
        except StoreError:
            self.doubt()
            raise
        self.applied = self._place(len(frames), frames)
        return True

    def _resume(self) -> dict[int, int]:
        sequences = self._store.applied(self.journal_id)
        self.tail.rewind()
        self._pending = []
        self._damage.stored_seq = min(sequences.values())
        self._sequences = sequences
        self._adopt_gap(sequences)
        return sequences

    def _adopt_gap(self, sequences: Mapping[int, int]) -> None:
        """Go on behind a gap, aloud: the store has lost charges that the journal gave up as durable."""
        dropped = dropped_seq(self._folder)
        if dropped is None:
            return
        if len(sequences) > 1:
            self._adopt_shard_gaps(sequences)
            return
        stored = sequences[0]
        if stored < dropped and dropped > self._gap_until:
            missing = dropped - max(stored, self._gap_until)
            self._gap_until = dropped
            self._stats.gaps += missing
            log.error(
                "the store has lost %d charges of journal %s (%d to %d) that were durable once; was it restored from an old backup, "
                "or emptied? Later charges are applied; restore a newer backup to have these too",
                missing, self.journal_id, stored + 1, dropped,
            )  # fmt: skip

    def _adopt_shard_gaps(self, sequences: Mapping[int, int]) -> None:
        """How many are missing of several shards is not known, as their charges have numbers in common: at least one each."""
        for shard, dropped in watermarks.noted(self._folder).items():
            if sequences.get(shard, dropped) < dropped and dropped > self._shard_gaps.get(shard, 0):
                self._shard_gaps[shard] = dropped
                self._stats.gaps += 1
                log.error(
                    "the store has lost charges of journal %s on shard %d (between %d and %d) that were durable once; did a "
                    "replica take over that was behind, or was it restored from an old backup? Later charges are applied",
                    self.journal_id, shard, sequences[shard] + 1, dropped,
                )  # fmt: skip

    def _next_frames(self) -> list[Frame]:
        if not self._pending:
            self._pending = self.tail.read()
            self._after_pending = self.tail.position
        return self._pending[:BATCH_CHARGES]

    def _place(self, count: int, frames: list[Frame]) -> Position:
        self._pending = self._pending[count:]
        return Position(self._after_pending.segment, frames[-1].end)

    def _apply(self, frames: list[Frame], sequences: dict[int, int]) -> None:
        charges: dict[int, list[Numbered]] = {}
        lowest = min(sequences.values())
        for frame in frames:
            if frame.kind == Kind.DOCUMENT:
                document_hash, document = frame.payload.split(b"\0", 1)
                self._store.keep_document(document_hash.decode(), document.decode())
            elif frame.kind == Kind.FINAL and frame.seq > lowest:
                payload = frame.payload if self._rename is None else renamed(frame.payload, self._rename)
                charge = glance(payload)
                shard = schema.shard_of(charge.user, len(sequences))
                if frame.seq > sequences[shard]:
                    charges.setdefault(shard, []).append((frame.seq, charge))
        for shard, numbered in charges.items():
            self._apply_shard(shard, numbered, sequences)

    def _apply_shard(self, shard: int, numbered: list[Numbered], sequences: dict[int, int]) -> None:
        for run in runs(numbered):
            batch = Batch(
                journal_id=self.journal_id,
                shard=shard,
                previous=sequences[shard],
                last=run[-1][0],
                charges=[charge for _, charge in run],
            )
            added = self._store.apply(batch)
            sequences[shard] = batch.last
            if len(sequences) > 1:
                self._by_segment.setdefault(self._after_pending.segment, {})[shard] = batch.last
            self._stats.shipped += len(run)
            if self._on_added is not None:
                self._on_added(added)

    def settle(self) -> bool:
        """Follow the durability of what is applied and drop segments behind it. True when all of it is durable.

        Raises:
            StoreError: the store may have restarted; what it applied since the mark is in doubt.
        """
        try:
            self._follow_mark()
        except StoreError:
            self.doubt()
            raise
        return self._durable >= self.tail.end()

    def _follow_mark(self) -> None:
        if self._marked is None and self._durable < self.applied:
            self._durability.begin()
            self._marked = self.applied
            if not self._is_where_we_left_it():
                return
        if self._marked is not None and self._durability.done() and self._is_where_we_left_it():
            self._durable = self._marked
            self._marked = None
            self._drop()

    def _drop(self) -> None:
        self.tail.drop_before(self._durable)
        if self._on_dropped is not None:
            self._on_dropped(self._durable.segment)
        gone = [segment for segment in self._by_segment if segment < self._durable.segment]
        if gone:
            watermarks.note(self._folder, [self._by_segment.pop(segment) for segment in gone])

    def _is_where_we_left_it(self) -> bool:
        # A store that was restarted unnoticed, from an older file, would confirm a mark without what was before it.
        if self._store.applied(self.journal_id) == self._sequences:
            return True
        log.warning("the store is behind on journal %s; was it restarted? Reading again", self.journal_id)
        self.doubt()
        return False

    def close(self) -> None:
        """Let go of the store."""
        self._durability.cancel()
