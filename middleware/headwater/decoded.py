"""Compressed replies, read through a decoded copy while their own bytes go out untouched. Knows bodies and readers; no HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from headwater import encodings
from headwater.bodies import Copy
from headwater.dialects.base import Addition, StreamReader
from headwater.encodings import Coding, Decoding
from headwater.records import Told

log = logging.getLogger("headwater")
# Streams of events compress ten times, of one word a hundred; a bomb a thousand times and more.
_MOST_PER_BYTE: Final = 128
_LOOKED_AT_BYTES: Final = 64
_said: set[str] = set()


def codings_of(names: Sequence[bytes]) -> list[Coding] | None:
    """The codings that a reply names; None where one cannot be undone. Says once in a process which library is missing."""
    found = encodings.known(names)
    if found is None and not _said and encodings.is_missing(names):
        _said.add("missing")
        log.warning(
            "headwater: replies come compressed (%r) and are charged as unknown, as nothing here can read them: "
            "pip install 'headwater[encodings]'",
            b", ".join(names)[:_LOOKED_AT_BYTES],
        )
    return found


class DecodedCopy(Copy):
    """What an encoded body says, kept as long as it stays within a limit."""

    __slots__ = ("_decoding",)

    def __init__(self, codings: list[Coding], limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self._decoding = Decoding(codings, most_bytes=limit_bytes)

    @property
    def reason(self) -> str:
        """Why there is no copy."""
        return self._decoding.reason or super().reason

    def add(self, part: bytes) -> bytes:
        """Take one more part; return what it says."""
        return super().add(b"".join(self._decoding.feed(part)))

    def whole(self) -> bytes | None:
        """All that was said; None where it was too much, or no such coding."""
        self._decoding.end()
        return None if self._decoding.reason else super().whole()


class DecodedStream:
    """A reader that reads along in an encoded stream: fulfils `StreamReader`, gives out what came, and folds nothing.

    What the reader inside would send is of no use to anybody, and is dropped.
    """

    def __init__(self, reader: StreamReader, codings: list[Coding], limit_bytes: int) -> None:
        self._reader = reader
        self._decoding = Decoding(codings, most_bytes=limit_bytes, most_per_byte=_MOST_PER_BYTE)
        self.latest = b""
        """How what the latest chunk says begins."""

    @property
    def reason(self) -> str:
        """Why it could not be read to its end; "" where it could."""
        return self._decoding.reason

    @property
    def complete(self) -> bool:
        """See `StreamReader`."""
        return self._reader.complete

    @property
    def failed(self) -> bool:
        """See `StreamReader`."""
        return self._reader.failed

    @property
    def told(self) -> Told:
        """See `StreamReader`."""
        return self._reader.told

    @property
    def events_count(self) -> int:
        """See `StreamReader`."""
        return self._reader.events_count

    @property
    def skim(self) -> Callable[[bytes], bool] | None:
        """No chunk is an event as it is."""
        return None

    def output_text(self) -> str:
        """See `StreamReader`."""
        return self._reader.output_text()

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Take bytes; return the same, and whether they end the stream: then it is charged before they go out."""
        latest, is_end = b"", False
        for piece in self._decoding.feed(data):
            latest = latest or piece.lstrip()[:_LOOKED_AT_BYTES]
            is_end = self._reader.feed(piece)[1] or is_end
        self.latest = latest
        return data, is_end

    def release(self, addition: Addition | None) -> bytes:
        """Nothing was held, and nothing can be added."""
        self._reader.release(None)
        return b""

    def close(self) -> bytes:
        """Nothing was held."""
        self._reader.close()
        return b""
