"""What pieces of text were counted to be, without the text: a keyed digest and a number. Bounded; knows no encoding."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from typing import Final

from headwater.tokens.amount import Amount

_DIGEST_BYTES: Final = 16
_MOST_ENTRIES: Final = 16_384  # about 4 MB; at 8,000 characters a piece, 30 million tokens of histories

Key = tuple[str, int, bytes]


class Memo:
    """The last counts, least used out first. The key of the digests never leaves the process: nobody can tell from what is
    kept whether a guessed text was counted."""

    def __init__(self, most_entries: int = _MOST_ENTRIES) -> None:
        self._key = secrets.token_bytes(_DIGEST_BYTES)
        self._most_entries = most_entries
        self._kept: OrderedDict[Key, Amount] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def key(self, tokenizer: str, data: bytes) -> Key:
        """What a piece of text, as bytes, is found by."""
        return tokenizer, len(data), hashlib.blake2b(data, digest_size=_DIGEST_BYTES, key=self._key).digest()

    def get(self, key: Key) -> Amount | None:
        """What it was counted to be, if that is still known."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Key, amount: Amount) -> None:
        """Keep what it was counted to be."""
        with self._lock:
            self._kept[key] = amount
            if len(self._kept) > self._most_entries:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: from now on something else counts."""
        with self._lock:
            self._kept.clear()
