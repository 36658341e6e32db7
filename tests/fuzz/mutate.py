"""Change bytes as broken and hostile servers do: at random, from one seed, the same each time."""

from __future__ import annotations

from random import Random

_HOSTILE: tuple[bytes, ...] = (
    b"NaN", b"-Infinity", b"1e999", b"-1", b"9" * 400, b"true", b"null", b'"\\ud800"', b'"\\u0000"', b"[" * 200,
    b'{"a":' * 200, b'"usage":{"prompt_tokens":1}', b'"usage":null', b'"finish_reason":"stop"', b"\r", b"\n", b"\r\n\r\n",
    b"\n\n", b"data: [DONE]\n\n", b"data:", b": comment\n\n", b"event: x\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\\", b'"', b"{", b"}",
    b"[", b"]", b",", b'"footprint":{}', b'"error":{"message":"x"}', b"\x00", b" " * 50, b"\xe2\x80\xa8", b'{"choices":[]}',
)  # fmt: skip


def mutated(data: bytes, random: Random) -> bytes:
    """The bytes with a few changes."""
    out = bytearray(data)
    for _ in range(random.choice((0, 1, 1, 2, 4, 8))):
        at = random.randrange(len(out) + 1)
        kind = random.randrange(7)
        if kind == 0 and out:
            out[at % len(out)] = random.randrange(256)
        elif kind == 1:
            out[at:at] = random.choice(_HOSTILE)
        elif kind == 2:
            del out[at : at + random.randrange(1, 30)]
        elif kind == 3:
            length = random.randrange(1, 60)
            out[at:at] = out[at : at + length]
        elif kind == 4:
            del out[at:]
        elif kind == 5:
            out = bytearray(bytes(out).replace(b"\n", random.choice((b"\r\n", b"\r", b"\n"))))
        else:
            other = random.randrange(len(out) + 1)
            out[at:at] = out[other : other + random.randrange(1, 200)]
    return bytes(out)


def cut(data: bytes, random: Random) -> list[bytes]:
    """The bytes in chunks of any size, empty ones among them."""
    kind = random.randrange(4)
    if kind == 0:
        return [data]
    if kind == 1:
        return [data[i : i + 1] for i in range(len(data))] if len(data) < 2000 else [data]
    places = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(1, 12)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
