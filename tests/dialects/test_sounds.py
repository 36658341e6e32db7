"""The length of sound comes from its own header and its size, or it is unknown; nothing raises."""

from __future__ import annotations

import base64
import io
import json
import struct
import wave
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dialects.kit.sounds import sound_s
from headwater.dialects.openai_chat import OpenAIChat
from headwater.records import ChatRequest


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wav(duration_s: float, rate_hz: int = 8_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(rate_hz)
        made.writeframes(b"\x00\x01" * int(duration_s * rate_hz))
    return file.getvalue()


def mp3(size_bytes: int, head: int = 0xFFFB9064, before: bytes = b"", after: bytes = b"") -> bytes:
    """128 kbit/s at 44.1 kHz, MPEG 1 layer III, unless another head is given."""
    return before + (struct.pack(">I", head) + after).ljust(size_bytes, b"\x00")


def flac(samples_count: int, rate_hz: int) -> bytes:
    bits = rate_hz << 44 | 1 << 41 | 15 << 36 | samples_count
    return b"fLaC\x00\x00\x00\x22" + b"\x00" * 10 + bits.to_bytes(8, "big") + b"\x00" * 16


SOUNDS = {
    "wav": (wav(2.5), 2.5),
    "wav of a stream, whose header does not know its size": (
        wav(2.5).replace(struct.pack("<I", 40_000), b"\xff\xff\xff\xff"), 2.5,
    ),
    "wav with another chunk before its data": (
        wav(2.5).replace(b"data", b"LIST\x03\x00\x00\x00abc\x00data", 1), 2.5,
    ),
    "mp3": (mp3(32_000), 2.0),
    "mp3 with tags": (mp3(32_000, before=b"ID3\x04\x00\x00\x00\x00\x01\x00" + b"\x00" * 128), 2.0),
    "mp3 of several rates": (mp3(9_999, after=b"\x00" * 32 + b"Xing\x00\x00\x00\x01" + struct.pack(">I", 100)), 100 * 1152 / 44_100),
    "mp3 of MPEG 2": (mp3(8_000, head=0xFFF38064), 1.0),
    "flac": (flac(132_300, 44_100), 3.0),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("head", ["", "data:audio/x;base64,"])
def test_a_header_tells_the_length(name: str, head: str) -> None:
    data, duration_s = SOUNDS[name]

    assert sound_s(head + text(data)) == pytest.approx(duration_s, rel=1e-3)


def test_bare_samples_have_the_length_that_their_format_says() -> None:
    assert sound_s(text(b"\x00" * 96_000), "pcm16") == pytest.approx(2.0, rel=1e-3)
    assert sound_s(text(b"\x00" * 96_000), "opus") is None


@pytest.mark.parametrize(
    "given",
    [
        None, 3, "", "https://example.org/a.wav", text(b"OggS" + b"\x00" * 60), text(flac(5, 0)), text(flac(0, 44_100)),
        text(b"RIFF\x00\x00\x00\x00WAVE"), text(b"RIFF\x00\x00\x00\x00WAVEdata\x10\x00\x00\x00" + b"\x00" * 16),
        text(mp3(400, head=0xFFFB0064)), text(mp3(400, head=0xFFFBF064)), text(mp3(400, head=0xFFFB9C64)),
        text(mp3(400, head=0xFFEB9064)), text(mp3(400, head=0xFFFD9064)), text(flac(1 << 35, 1)),
    ],
)  # fmt: skip
def test_what_tells_no_length_is_of_unknown_length(given: Any) -> None:
    assert sound_s(given, "mp3") is None


@given(st.binary(max_size=120), st.sampled_from([data for data, _ in SOUNDS.values()]), st.integers(0, 60))
def test_hostile_bytes_never_raise(noise: bytes, sound: bytes, at: int) -> None:
    found = sound_s(text(sound[:at] + noise))

    assert found is None or 0 < found <= 24 * 3600


def test_sound_in_a_prompt_is_seconds_and_what_tells_none_is_uncounted() -> None:
    parts = [
        {"type": "input_audio", "input_audio": {"data": text(wav(1.5)), "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": text(b"garbage"), "format": "mp3"}},
    ]
    body = json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()

    prompt = OpenAIChat().prompt(ChatRequest(model=None, raw=body))

    assert prompt.audio_s == pytest.approx(1.5)
    assert prompt.uncounted_parts_count == 1
