"""Content codings, undone on a copy: what a compressed body says, in pieces. Knows codings; no HTTP, no JSON.

gzip and deflate are in the standard library; br and zstd need the extra `encodings`. Whatever comes: nothing is raised, a
piece has a bounded size, no coding may use a window of more than 16 MiB, and what comes out is bounded by what went in.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, Protocol

BROKEN: Final = "reply-encoded"
TOO_LARGE: Final = "reply-too-large"
_PIECE_BYTES: Final = 1 << 16
_SLICE_BYTES: Final = 1 << 14  # taken in at once: what is left of it is copied for every piece and every member
_MOST_CODINGS: Final = 3
_ZLIB_WBITS, _GZIP_WBITS, _RAW_WBITS = zlib.MAX_WBITS, zlib.MAX_WBITS | 16, -zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"
_MAGIC_BYTES: Final = 2  # of gzip, and the header of zlib
_DEFLATED: Final = 8  # the compression method in the low half of zlib's first byte, RFC 1950 section 2.2
_ZLIB_CHECK: Final = 31  # and what both bytes together are a multiple of
_ZSTD_WINDOW_LOG: Final = 23  # 8 MiB: no more may be asked of a reader over HTTP (RFC 9659)


def _optional(*names: str) -> Any:
    for name in names:
        with suppress(ImportError):
            return import_module(name)
    return None


_brotli = _optional("brotli")
_zstd = _optional("compression.zstd", "backports.zstd")


class Coding(Protocol):
    """One coding being undone."""

    @property
    def is_whole(self) -> bool:
        """What came so far is nothing at all, or has its end."""
        ...

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What more bytes say, in pieces of a bounded size. Raises on bytes that are not of this coding."""
        ...


class _Zlib:
    """gzip, of one member or many, and deflate: in zlib's frame as it should be, or without one as some servers send it."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._inner: Any = None
        self._start = b""
        self._members_count = 0
        self._is_over = False

    @property
    def is_whole(self) -> bool:
        return self._inner is None and (self._members_count > 0 or not self._start)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        is_full = False
        while (data or is_full) and not self._is_over:
            if self._inner is None:
                data, self._start = self._start + data, b""
                if len(data) < _MAGIC_BYTES:
                    self._start = data
                    return
                self._begin(data)
                continue
            piece = self._inner.decompress(data, _PIECE_BYTES)
            is_full = len(piece) == _PIECE_BYTES
            if piece:
                yield piece
            data = self._inner.unconsumed_tail
            if self._inner.eof:
                data, self._inner, is_full = self._inner.unused_data, None, False
                self._members_count += 1

    def _begin(self, data: bytes) -> None:
        if self._members_count and not (self._is_gzip and data.startswith(_GZIP_MAGIC)):
            self._is_over = True  # what comes behind the end is ignored, as clients ignore it
        elif self._is_gzip:
            self._inner = zlib.decompressobj(_GZIP_WBITS)
        else:
            is_framed = data[0] & 0x0F == _DEFLATED and int.from_bytes(data[:2], "big") % _ZLIB_CHECK == 0
            self._inner = zlib.decompressobj(_ZLIB_WBITS if is_framed else _RAW_WBITS)


class _Brotli:
    def __init__(self) -> None:
        self._inner = _brotli.Decompressor()
        self._has_begun = False

    @property
    def is_whole(self) -> bool:
        return not self._has_begun or bool(self._inner.is_finished())

    def pieces(self, data: bytes) -> Iterator[bytes]:
        inner = self._inner
        self._has_begun = self._has_begun or bool(data)
        if not data or inner.is_finished():
            return
        piece = inner.process(data, output_buffer_limit=_PIECE_BYTES)
        # All input may be taken in while there is more to come out.
        while piece or not (inner.is_finished() or inner.can_accept_more_data()):
            if piece:
                yield piece
            piece = inner.process(b"", output_buffer_limit=_PIECE_BYTES)


class _Zstd:
    """Frames of zstd, one behind the other."""

    def __init__(self) -> None:
        self._inner: Any = None

    @property
    def is_whole(self) -> bool:
        return self._inner is None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data or (self._inner is not None and not self._inner.needs_input):
            if self._inner is None:
                most = {_zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
                self._inner = _zstd.ZstdDecompressor(options=most)
            piece = self._inner.decompress(data, _PIECE_BYTES)
            data = b""
            if piece:
                yield piece
            if self._inner.eof:
                data, self._inner = self._inner.unused_data, None


class _TooLargeError(Exception):
    pass


class Decoding:
    """A body in one coding or in several, one around the other.

    `codings`: the innermost first, as `Content-Encoding` names them. `most_bytes`: what may come out of it, and
    `most_per_byte`: how much more for each byte that went in.
    """

    def __init__(self, codings: Iterable[Coding], *, most_bytes: int, most_per_byte: int = 0) -> None:
        self._outermost_first = list(codings)[::-1]
        self._left_bytes = most_bytes
        self._most_per_byte = most_per_byte
        self.reason = ""
        """Why it was given up; "" as long as it was not."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What more bytes say, in pieces of a bounded size; nothing any more once it was given up."""
        if self.reason:
            return
        self._left_bytes += self._most_per_byte * len(data)
        try:
            for start in range(0, len(data), _SLICE_BYTES):
                yield from self._through(data[start : start + _SLICE_BYTES], 0)
        except _TooLargeError:
            self.reason = TOO_LARGE
        except Exception:  # each library has its own
            self.reason = BROKEN

    def end(self) -> None:
        """The body has ended; a coding without its end is given up."""
        if not self.reason and not all(coding.is_whole for coding in self._outermost_first):
            self.reason = BROKEN

    def _through(self, data: bytes, depth: int) -> Iterator[bytes]:
        for piece in self._outermost_first[depth].pieces(data):
            self._left_bytes -= len(piece)
            if self._left_bytes < 0:
                raise _TooLargeError
            if depth + 1 == len(self._outermost_first):
                yield piece
            else:
                yield from self._through(piece, depth + 1)


def known(names: Iterable[bytes]) -> list[Coding] | None:
    """The codings of these names; None where one is not known, or its library not installed, or where they are too many."""
    found = [_coding(name) for name in names]
    codings = [coding for coding in found if coding is not None]
    return codings if len(codings) == len(found) <= _MOST_CODINGS else None


def is_missing(names: Iterable[bytes]) -> bool:
    """Whether the library of one of these codings is not installed."""
    return any((name == b"br" and not _has_brotli()) or (name == b"zstd" and _zstd is None) for name in names)


def _has_brotli() -> bool:
    """Before 1.2 what comes out at once had no bound."""
    return _brotli is not None and hasattr(_brotli.Decompressor, "can_accept_more_data")


def _coding(name: bytes) -> Coding | None:
    if name in (b"gzip", b"x-gzip"):
        return _Zlib(is_gzip=True)
    if name == b"deflate":
        return _Zlib(is_gzip=False)
    if name == b"br" and _has_brotli():
        return _Brotli()
    if name == b"zstd" and _zstd is not None:
        return _Zstd()
    return None
