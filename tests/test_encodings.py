"""Content codings undone on a copy: all that clients meet, cut anywhere, broken anywhere, and bombs that do not go off."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterable

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from headwater import decoded, encodings
from headwater.encodings import BROKEN, TOO_LARGE, Decoding

MIB = 1 << 20
TEXT = b'{"content":"' + bytes(range(35, 92)) * 2000 + b'"}'


def _raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def _brotli(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=5))


ENCODED: dict[str, tuple[tuple[bytes, ...], Callable[[bytes], bytes]]] = {
    "gzip": ((b"gzip",), gzip.compress),
    "x-gzip": ((b"x-gzip",), gzip.compress),
    "deflate": ((b"deflate",), zlib.compress),
    "deflate without a frame": ((b"deflate",), _raw),
    "br": ((b"br",), _brotli),
    "zstd": ((b"zstd",), zstd.compress),
    "gzip, br": ((b"gzip", b"br"), lambda data: _brotli(gzip.compress(data))),
    "deflate, gzip, zstd": (
        (b"deflate", b"gzip", b"zstd"),
        lambda data: zstd.compress(gzip.compress(zlib.compress(data))),
    ),
}


def _decoding(names: Iterable[bytes], *, most_bytes: int = 16 * MIB, most_per_byte: int = 0) -> Decoding:
    codings = encodings.known(names)
    assert codings is not None
    return Decoding(codings, most_bytes=most_bytes, most_per_byte=most_per_byte)


def _read(decoding: Decoding, chunks: Iterable[bytes]) -> bytes:
    said = b"".join(piece for chunk in chunks for piece in decoding.feed(chunk))
    decoding.end()
    return said


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 30])
def test_what_was_encoded_is_read_however_it_is_cut(name: str, size: int) -> None:
    names, encode = ENCODED[name]
    body = encode(TEXT)
    decoding = _decoding(names)

    said = _read(decoding, [body[start : start + size] for start in range(0, len(body), size)])

    assert (said, decoding.reason) == (TEXT, "")


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("text", [b"", b"x"])
def test_a_short_text_and_none_are_whole(name: str, text: bytes) -> None:
    names, encode = ENCODED[name]
    decoding = _decoding(names)

    assert (_read(decoding, [encode(text)]), decoding.reason) == (text, "")


@pytest.mark.parametrize("name", ENCODED)
def test_an_empty_body_is_whole(name: str) -> None:
    decoding = _decoding(ENCODED[name][0])

    assert (_read(decoding, [b"", b""]), decoding.reason) == (b"", "")


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("cut", [1, 5, 50])
def test_a_body_without_its_end_is_broken(name: str, cut: int) -> None:
    names, encode = ENCODED[name]
    body = encode(TEXT)
    decoding = _decoding(names)

    said = _read(decoding, [body[:cut]])

    assert TEXT.startswith(said)
    assert decoding.reason == BROKEN


@pytest.mark.parametrize(("name", "encode"), [(b"gzip", gzip.compress), (b"zstd", zstd.compress)], ids=["gzip", "zstd"])
@pytest.mark.parametrize("size", [1, 1 << 30])
def test_members_one_behind_the_other_are_one_text(name: bytes, encode: Callable[[bytes], bytes], size: int) -> None:
    body = encode(b"Hel") + encode(b"") + encode(b"lo")
    decoding = _decoding((name,))

    said = _read(decoding, [body[start : start + size] for start in range(0, len(body), size)])

    assert (said, decoding.reason) == (b"Hello", "")


@pytest.mark.parametrize("name", ["gzip", "deflate", "deflate without a frame"])
@pytest.mark.parametrize("apart", [True, False])
def test_what_follows_the_end_is_ignored(name: str, apart: bool) -> None:
    names, encode = ENCODED[name]
    body, behind = encode(TEXT), b"\0\0\0\0"
    decoding = _decoding(names)

    said = _read(decoding, [body, behind] if apart else [body + behind])

    assert (said, decoding.reason) == (TEXT, "")


def test_what_follows_the_end_of_br_is_ignored_or_gives_it_up() -> None:
    decoding, given_up = _decoding((b"br",)), _decoding((b"br",))

    assert _read(decoding, [_brotli(TEXT), b"\0\0"]) == TEXT
    _read(given_up, [_brotli(TEXT) + b"\0\0"])
    assert (decoding.reason, given_up.reason) == ("", BROKEN)


@given(
    name=st.sampled_from(sorted(ENCODED)),
    chunks=st.lists(st.binary(max_size=200), max_size=5),
    head=st.integers(0, 60),
)
def test_no_bytes_raise(name: str, chunks: list[bytes], head: int) -> None:
    names, encode = ENCODED[name]
    decoding = _decoding(names)

    _read(decoding, [encode(TEXT)[:head], *chunks])

    assert decoding.reason in ("", BROKEN, TOO_LARGE)
    assert list(decoding.feed(b"x")) == [] or not decoding.reason


@pytest.mark.parametrize("name", ENCODED)
def test_a_bomb_ends_at_the_limit_in_little_memory(name: str) -> None:
    names, encode = ENCODED[name]
    bomb = encode(bytes(64 * MIB))
    decoding = _decoding(names, most_bytes=4 * MIB)

    tracemalloc.start()
    most_bytes = sum(len(piece) for piece in decoding.feed(bomb))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most_bytes <= 4 * MIB
    assert decoding.reason == TOO_LARGE
    assert peak_bytes < MIB
    assert list(decoding.feed(bomb)) == []


def test_a_long_stream_is_read_beyond_the_limit_at_the_rate_of_honest_ones() -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    decoding = _decoding((b"gzip",), most_bytes=1024, most_per_byte=128)

    for number in range(1000):
        event = b'data: {"choices":[{"delta":{"content":"word %d"}}]}\n\n' % number
        chunk = packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)
        assert b"".join(decoding.feed(chunk)) == event

    assert decoding.reason == ""


def test_a_frame_that_asks_for_more_memory_than_http_allows_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 25, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    decoding = _decoding((b"zstd",))

    _read(decoding, [packer.compress(TEXT), packer.flush()])

    assert decoding.reason == BROKEN


@pytest.mark.parametrize("names", [(b"aws-chunked",), (b"gzip", b"x"), (b"gzip",) * 4])
def test_codings_that_nobody_knows_and_too_many_are_not_read(names: tuple[bytes, ...]) -> None:
    assert encodings.known(names) is None
    assert not encodings.is_missing(names)


def test_without_the_libraries_br_and_zstd_are_said_once_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(encodings, "_brotli", None)
    monkeypatch.setattr(encodings, "_zstd", None)
    monkeypatch.setattr(decoded, "_said", set())

    found = [decoded.codings_of(names) for names in ((b"br",), (b"zstd",), (b"gzip", b"br"))]

    assert found == [None, None, None]
    assert [record.getMessage().count("pip install 'headwater[encodings]'") for record in caplog.records] == [1]
    assert decoded.codings_of((b"gzip",)) is not None


def test_a_library_that_is_nowhere_is_none() -> None:
    assert encodings._optional("headwater_nowhere") is None
