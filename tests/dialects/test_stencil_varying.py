"""A member that is another in each event is a hole of its own: what fits is the same event with another value in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.dialects.kit import stencil as stencils_module
from headwater.dialects.kit.lenient import json_object, string, within
from headwater.dialects.kit.sse import Event
from headwater.dialects.kit.stencil import Stencil, Stencils

TEXT_START = re.compile(rb'"(?:delta|content)"\s*:\s*"')
NUMBER = re.compile(rb'"(n)"\s*:\s*')
MOMENT = re.compile(rb'"(created_at)"\s*:\s*"')
Make = Callable[[str, int], bytes]


def lesson(data: bytes) -> tuple[int, str] | None:
    """The text of an event of these tests."""
    found = json_object(data) or {}
    text = string(found.get("delta")) or string(within(found, "message").get("content"))
    return (0, text) if text and found.get("done") is not True else None


def sse(**members: Any) -> bytes:
    return b"event: delta\ndata: " + json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def line(moment: str, text: str) -> bytes:
    """One line as Ollama sends it."""
    members = {"model": "m", "created_at": moment, "message": {"role": "a", "content": text}, "done": False}
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def learned(raw: bytes, varying: re.Pattern[bytes] = NUMBER) -> Stencil:
    """The stencil of an event, with its hole for what varies."""
    data = Event(raw).data or raw.rstrip(b"\n")
    stencils = Stencils(TEXT_START, lesson, varying=varying)
    stencils.learn(raw, data)
    assert stencils.latest is not None
    return stencils.latest


MAKES: list[Make] = [
    lambda text, n: sse(type="d", n=n, id="x", delta=text),
    lambda text, n: sse(delta=text, id="x", n=n, type="d"),
    lambda text, n: sse(delta=text, n=n),
    lambda text, n: sse(n=n, delta=text, obfuscation="x" * (n % 7)),
]
texts = st.text(min_size=1, max_size=12) | st.sampled_from(['"n":5,', "\\", '"', "\n\n", "世界", '","n":7,"delta":"'])


@pytest.mark.parametrize("make", MAKES)
@given(text=texts, number=st.integers(0, 10**18 - 1))
@example(text="a", number=0)
def test_the_same_event_with_another_number_and_another_text_is_known(make: Make, text: str, number: int) -> None:
    raw = make(text, number)

    found = learned(make("one", 1)).text(raw)

    assert found is not None
    assert json.loads(b'"' + found + b'"') == text
    assert not learned(make("one", 1)).is_simple


@pytest.mark.parametrize("make", MAKES)
@given(value=st.integers() | st.floats() | st.text(max_size=4) | st.none() | st.booleans() | st.binary(max_size=6))
@example(value=b"07")
@example(value=b"7 ")
@example(value=b"-0")
@example(value=b"7,")
@example(value=b"")
@example(value=b"7,\n\ndata: ")
def test_whatever_fits_is_read_by_the_decoder_as_the_same_event(make: Make, value: object) -> None:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    raw = make("two", 123456789).replace(b"123456789", text)

    found = learned(make("one", 1)).text(raw)

    if found is not None:
        same = json_object(Event(make("two", 123456789)).data or b"") or {}
        assert json_object(Event(raw).data or b"") == {**same, "n": int(text)}
        assert found == b"two"
        assert lesson(Event(raw).data or b"") == (0, "two")


@given(st.binary(max_size=12), st.integers(0, 90), st.integers(0, 12))
def test_a_damaged_event_that_fits_still_means_what_its_text_says(junk: bytes, at: int, width: int) -> None:
    raw = sse(type="d", n=15, id="x", delta="some text")
    damaged = raw[:at] + junk + raw[at + width :]

    found = learned(sse(type="d", n=1, id="x", delta="one")).text(damaged)

    if found is not None and b"\\" not in found and found.isascii() and found.decode().isprintable():
        assert lesson(Event(damaged).data or b"") == (0, found.decode())


@given(st.text(max_size=8), st.text(min_size=1, max_size=8))
def test_a_moment_may_be_any_plain_string(moment: str, text: str) -> None:
    stencil = learned(line("2026-11-25T04:00:00.1Z", "one"), MOMENT)
    raw = line(moment, text)

    found = stencil.text(raw)

    is_plain = moment.isascii() and moment.isprintable() and not {'"', "\\"} & set(moment)
    assert (found is not None) == is_plain
    assert found is None or json.loads(b'"' + found + b'"') == text


@pytest.mark.parametrize(
    "other",
    [
        line("2026", "two").replace(b"false", b"true"),
        line('2026","done":true,"x":"', "two").replace(b'\\"', b'"'),
        line("2026", "two")[:-1] + b" \n",
        line("2026", "two") + line("2027", "three"),
        line("2026\x00", "two").replace(b"\\u0000", b"\n"),
        line("2026", ""),
        b'{"model":"m","created_at":"',
        b"",
    ],
)
def test_whatever_is_not_that_line_does_not_fit(other: bytes) -> None:
    assert learned(line("2025", "one"), MOMENT).text(other) is None


@pytest.mark.parametrize(
    "raw",
    [
        sse(x={"n": 5}, delta="one"),
        sse(n=None, delta="one"),
        sse(n=-5, delta="one"),
        sse(n=1.5, delta="one"),
        sse(n="5", delta="one"),
        sse(n=True, delta="one"),
        sse(delta="one", x=[{"n": 5}]),
    ],
)
def test_where_no_top_level_number_stands_nothing_varies(raw: bytes) -> None:
    stencil = learned(raw)

    assert (stencil.varying_head, stencil.varying_tail) == (None, None)
    assert stencil.text(raw.replace(b'"one"', b'"two"')) == b"two"
    assert stencil.text(raw.replace(b"5", b"6")) == (None if b"5" in raw else b"one")


def test_a_decoy_before_the_number_is_passed_over() -> None:
    raw = sse(x={"n": 5}, n=1, delta="one")

    stencil = learned(raw)

    assert stencil.text(raw.replace(b'"n":1', b'"n":22')) == b"one"
    assert stencil.text(raw.replace(b'"n":5', b'"n":22')) is None


def test_a_number_that_means_something_to_the_dialect_is_no_hole() -> None:
    def choosy(data: bytes) -> tuple[int, str] | None:
        found = json_object(data) or {}
        return (int(found["n"]), string(found.get("delta"))) if "n" in found else None

    raw = sse(n=1, delta="one")
    stencil = stencils_module.cut(raw, Event(raw).data or b"", TEXT_START, choosy)
    assert stencil is not None

    stencils_module.loosen(stencil, raw.index(b"{"), NUMBER, choosy)

    assert stencil.varying_head is None
    assert stencil.text(sse(n=2, delta="two")) is None


@pytest.mark.parametrize("make", [lambda decoys: sse(x=decoys, n=1, delta="one"), lambda d: sse(delta="one", x=d, n=1)])
def test_few_places_are_tried_in_an_event_that_is_full_of_decoys(make: Any) -> None:
    parsed: list[bytes] = []

    def counting(data: bytes) -> tuple[int, str] | None:
        parsed.append(data)
        return lesson(data)

    for decoys in ([{"n": 5}] * 1000, [{"delta": "x"}] * 1000):
        raw = make(decoys)
        Stencils(TEXT_START, counting, varying=NUMBER).learn(raw, Event(raw).data or b"")

    assert len(parsed) <= 40
