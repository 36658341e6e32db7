"""How far each shard had come in the segments that a journal let go of. A store that is behind that has lost charges.

A file in the journal's folder. It may know less than is true, where a process died or the disk was full: then a loss is
not told, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_NAME: Final = "dropped.json"


def note(folder: Path, dropped: Iterable[Mapping[int, int]]) -> None:
    """Keep, per shard, the highest number in segments that were dropped."""
    known = noted(folder)
    for sequences in dropped:
        for shard, seq in sequences.items():
            known[shard] = max(known.get(shard, 0), seq)
    draft = folder / f".{_NAME}"
    with suppress(OSError):  # a full disk gets room by the segments that go
        draft.write_text(json.dumps(known), "utf-8")
        draft.replace(folder / _NAME)


def noted(folder: Path) -> dict[int, int]:
    """What was kept, per shard."""
    try:
        found = json.loads((folder / _NAME).read_bytes())
        return {int(shard): int(seq) for shard, seq in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
