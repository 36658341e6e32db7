"""What an audit found. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

SHOWN: Final = 20
"""So many differences are kept to be shown; all are counted."""

What = Literal["user", "total", "basis", "index", "stream", "statement", "hash"]
"""What differs: a user's row, everybody's row, the count of a document's charges, a row's entry in the index of its month,
the stream itself, in which a request stands twice; what was frozen of a row; or a statement's hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One number that is not what the single charges add up to.

    `account`: what the store says, None where it has no such row. `stream`: what the single charges say, or the statements.
    """

    what: What
    shard: int
    period: str
    user: str = ""
    model: str = ""
    site: str = ""
    field: str = ""
    account: int | None
    stream: int

    @property
    def more(self) -> int:
        """By how much the account is above the single charges."""
        return (self.account or 0) - self.stream


@dataclass(slots=True, kw_only=True)
class Audit:
    """An account of a month or a day, recounted.

    `equal`: how many rows of each kind are as they should be. `erased_count`: requests of people who were erased; their sums
    are taken at the store's word. `repeated_count`: charges that an export holds more than once; they were counted once.
    `gone_count`: rows of days that were kept for their time, and are gone. `statements_count`: closed months' statements that
    speak of the month, with the hash that they were sealed with; `waiting_count`: requests that came too late for all of
    them. `last_ms`: when the last charge was applied.
    """

    period: str
    charges_count: int = 0
    users_count: int = 0
    erased_count: int = 0
    repeated_count: int = 0
    gone_count: int = 0
    statements_count: int = 0
    waiting_count: int = 0
    last_ms: int = 0
    equal: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    differences_count: int = 0

    def differs(self, difference: Difference) -> None:
        """Note a difference."""
        self.differences_count += 1
        if len(self.differences) < SHOWN:
            self.differences.append(difference)

    @property
    def is_equal(self) -> bool:
        """Whether everything is equal to the last unit."""
        return not self.differences_count
