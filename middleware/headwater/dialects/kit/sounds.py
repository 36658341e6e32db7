"""The length of sound from its first bytes and its size: WAV, MP3, FLAC, and bare samples. Knows headers; decodes no sound.

Takes what a client sent, so it may be anything: whatever does not tell a length is of unknown length.
"""

from __future__ import annotations

from typing import Any, Final

from headwater.dialects.kit.pictures import base64_bytes
from headwater.units import S_PER_DAY

_HEAD_CHARS: Final = 16 * 1024
_MOST_S: Final = S_PER_DAY
_BITS: Final = 8
_PCM16_BYTES_PER_S: Final = 48_000
"""OpenAI's `pcm16`: 24 kHz, one channel, two bytes a sample."""

_MP3_KBPS: Final = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Kilobits per second by index, in MPEG 1 and in MPEG 2, layer III (ISO/IEC 11172-3 and 13818-3)."""
_MP3_HZ: Final = (44_100, 48_000, 32_000)
_MP3_SAMPLES: Final = {True: 1152, False: 576}
_MP3_VERSIONS: Final = {3: 1, 2: 2, 0: 4}
"""By what the rates of MPEG 1 are divided in it, by the version's two bits."""
_LAYER_III: Final = 1


def sound_s(given: Any, encoding: Any = None) -> float | None:
    """The seconds of sound in base64, with or without the head of a data URL; None where they are not told."""
    if not isinstance(given, str):
        return None
    start = given.find(",", 0, 256) + 1 if given.startswith("data:") else 0
    data = base64_bytes(given[start : start + _HEAD_CHARS])
    size_bytes = (len(given) - start) * 3 // 4
    found = _length_s(data, size_bytes)
    if found is None and encoding == "pcm16":
        found = size_bytes / _PCM16_BYTES_PER_S
    return found if found is not None and 0 < found <= _MOST_S else None


def _length_s(data: bytes, size_bytes: int) -> float | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wav_s(data, size_bytes)
    if data[:4] == b"fLaC" and len(data) >= 26:
        # STREAMINFO: 20 bits of sample rate, 3 of channels, 5 of sample size, 36 of samples.
        bits = int.from_bytes(data[18:26], "big")
        rate_hz, samples_count = bits >> 44, bits & ((1 << 36) - 1)
        return samples_count / rate_hz if rate_hz else None
    return _mp3_s(data, size_bytes)


def _wav_s(data: bytes, size_bytes: int) -> float | None:
    at, bytes_per_s = 12, 0
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"fmt " and at + 20 <= len(data):
            bytes_per_s = int.from_bytes(data[at + 16 : at + 20], "little")
        if name == b"data":
            # A stream's header says the most that it can be.
            return min(size, size_bytes - at - 8) / bytes_per_s if bytes_per_s else None
        at += 8 + size + size % 2
    return None


def _mp3_s(data: bytes, size_bytes: int) -> float | None:
    start = 0
    if data[:3] == b"ID3" and len(data) >= 10:
        sizes = data[6:10]
        start = 10 + (sizes[0] << 21 | sizes[1] << 14 | sizes[2] << 7 | sizes[3])
    head = int.from_bytes(data[start : start + 4], "big")
    divisor = _MP3_VERSIONS.get(head >> 19 & 3)
    kbps_index, rate_index = head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or head >> 17 & 3 != _LAYER_III or divisor is None or rate_index > 2:
        return None
    if not 0 < kbps_index < len(_MP3_KBPS[divisor == 1]):
        return None
    for mark in (b"Xing", b"Info"):  # frames of several rates: how many there are
        at = data.find(mark, start, start + 64)
        if at >= 0 and len(data) >= at + 12 and data[at + 7] & 1:
            frames_count = int.from_bytes(data[at + 8 : at + 12], "big")
            return frames_count * _MP3_SAMPLES[divisor == 1] / (_MP3_HZ[rate_index] / divisor)
    return (size_bytes - start) * _BITS / (_MP3_KBPS[divisor == 1][kbps_index] * 1000)
