"""A picture's size comes from its own first bytes, or it is unknown; nothing is ever fetched, and nothing raises."""

from __future__ import annotations

import base64
import json
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects.anthropic import Anthropic
from headwater.dialects.kit.pictures import base64_bytes, picture_size, size_of
from headwater.dialects.openai_chat import OpenAIChat
from headwater.records import ChatRequest, Picture


def png(width_px: int, height_px: int) -> bytes:
    head = struct.pack(">II", width_px, height_px) + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head)) + b"IHDR" + head + b"\x00" * 40


def gif(width_px: int, height_px: int, version: bytes = b"89a") -> bytes:
    return b"GIF" + version + struct.pack("<HH", width_px, height_px) + b"\x00" * 40


def jpeg(width_px: int, height_px: int, *before: bytes, marker: int = 0xC0) -> bytes:
    frame = struct.pack(">BHH", 8, height_px, width_px) + b"\x03" + b"\x00" * 9
    return (
        b"\xff\xd8" + b"".join(before) + bytes([0xFF, marker]) + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xda"
    )


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def webp(kind: bytes, content: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(content)) + content + b"\x00" * 40
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


EXIF = segment(0xE1, b"Exif\x00\x00" + png(7, 7) + jpeg(9, 9) + b"\x00" * 20_000)
TABLES = segment(0xDB, b"\x00" * 65) + segment(0xC4, b"\x00" * 30)
LOSSY = b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", 640 | 1 << 14, 480 | 2 << 14)
LOSSLESS = b"\x2f" + struct.pack("<I", (640 - 1) | (480 - 1) << 14 | 1 << 28)
EXTENDED = b"\x10\x00\x00\x00" + (640 - 1).to_bytes(3, "little") + (480 - 1).to_bytes(3, "little")

PICTURES = {
    "png": png(640, 480),
    "gif": gif(640, 480),
    "old gif": gif(640, 480, b"87a"),
    "jpeg": jpeg(640, 480),
    "progressive jpeg": jpeg(640, 480, marker=0xC2),
    "jpeg with exif, which holds pictures of its own": jpeg(640, 480, segment(0xE0, b"JFIF\x00" + b"\x00" * 9), EXIF),
    "jpeg with tables and padding": jpeg(640, 480, TABLES, b"\xff\xff", b"\xff\xd0"),
    "webp lossy": webp(b"VP8 ", LOSSY),
    "webp lossless": webp(b"VP8L", LOSSLESS),
    "webp extended": webp(b"VP8X", EXTENDED),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_header_tells_the_size(name: str) -> None:
    assert size_of(PICTURES[name]) == (640, 480)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    "head", ["", "data:image/png;base64,", "data:image/jpeg;charset=utf-8;BASE64,", "data:;base64,"]
)
def test_a_data_url_and_bare_base64_tell_the_size(name: str, head: str) -> None:
    assert picture_size(head + base64.b64encode(PICTURES[name]).decode()) == (640, 480)


def test_the_other_alphabet_and_line_ends_do_no_harm() -> None:
    picture = jpeg(640, 480, segment(0xE1, bytes(range(256)) * 3))
    given = base64.urlsafe_b64encode(picture).decode().rstrip("=")

    assert picture_size("\n".join(given[i : i + 76] for i in range(0, len(given), 76))) == (640, 480)


@pytest.mark.parametrize("name", PICTURES)
def test_a_header_cut_short_is_of_unknown_size_or_tells_the_right_one(name: str) -> None:
    found = {size_of(PICTURES[name][:length]) for length in range(len(PICTURES[name]))}

    assert found == {None, (640, 480)}


@pytest.mark.parametrize(
    "given",
    [
        None,
        5,
        "",
        "https://example.org/cat.png",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "data:image/png,plain",
        "data:" + "x" * 100_000,
        "not base64 at all!",
        base64.b64encode(png(0, 480)).decode(),
        base64.b64encode(png(1 << 20, 480)).decode(),
        base64.b64encode(gif(640, 0)).decode(),
        base64.b64encode(jpeg(0, 0)).decode(),
        base64.b64encode(b"\xff\xd8\xff\xd9" + jpeg(640, 480)).decode(),
        base64.b64encode(b"\xff\xd8" + segment(0xE1, b"\x00" * 60_000) + jpeg(640, 480)[2:]).decode(),
        base64.b64encode(webp(b"VP8 ", b"\x00" * 12)).decode(),
        base64.b64encode(webp(b"ANIM", b"\x00" * 12)).decode(),
        base64.b64encode(b"BM" + b"\x00" * 60).decode(),
    ],
)
def test_what_tells_no_size_is_of_unknown_size(given: Any) -> None:
    assert picture_size(given) is None


def test_only_the_beginning_of_a_picture_is_looked_at() -> None:
    late = b"\xff\xd8" + segment(0xE1, b"\x00" * 40_000) + jpeg(640, 480)[2:]

    assert size_of(late) == (640, 480)
    assert picture_size(base64.b64encode(late).decode()) is None
    assert len(base64_bytes("A" * 49_152)) == 36_864


@given(st.binary(max_size=200), st.sampled_from([b"", *PICTURES.values()]), st.integers(0, 60))
def test_hostile_bytes_never_raise_and_never_tell_a_size_that_cannot_be(noise: bytes, picture: bytes, at: int) -> None:
    found = size_of(picture[:at] + noise)

    assert found is None or (0 < found[0] <= 65_536 and 0 < found[1] <= 65_536)


@given(st.text(max_size=100))
def test_hostile_text_never_raises(text: str) -> None:
    for given_text in (text, "data:image/png;base64," + text, "iVBORw0KGgo" + text):
        assert picture_size(given_text) is None


@pytest.mark.parametrize("address", ["https://example.org/a.png", "http://[::1]:80/", "ftp://x/y.gif", "//host/p.png"])
def test_no_address_in_a_prompt_is_ever_opened(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_named: Any) -> Any:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    part = {"type": "image_url", "image_url": {"url": address, "detail": "high"}}
    body = json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()

    prompt = OpenAIChat().prompt(ChatRequest(model="gpt-4o", raw=body))

    assert prompt.pictures == (Picture(width_px=None, height_px=None, detail="high"),)


def test_pictures_of_both_apis_have_their_sizes() -> None:
    data = base64.b64encode(PICTURES["webp lossless"]).decode()
    source = {"type": "base64", "media_type": "image/webp", "data": data}
    parts: dict[str, Any] = {
        "openai": {"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{data}", "detail": "low"}},
        "anthropic": {"type": "image", "source": source},
    }
    bodies = {
        name: json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode() for name, part in parts.items()
    }

    chat = OpenAIChat().prompt(ChatRequest(model=None, raw=bodies["openai"]))
    messages = Anthropic().prompt(ChatRequest(model=None, raw=bodies["anthropic"]))

    assert chat.pictures == (Picture(width_px=640, height_px=480, detail="low"),)
    assert messages.pictures == (Picture(width_px=640, height_px=480, detail="auto"),)
