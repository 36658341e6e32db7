"""The page on dialects does what it says: its table is that of the code, and its example is a dialect."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import dialects
from headwater.dialects.base import Dialect
from headwater.records import ChatRequest, Target, Usage
from tests.dialects.streams import ADDITION, FOOTPRINT, bytewise, cut, feed, unfolded

ROOM = Path(dialects.__file__).parent
PAGE = (ROOM / "README.md").read_text(encoding="utf-8")
EVENTS = [b'data: {"text":"Hel"}\n\n', b'data: {"text":"lo"}\n\n', b": still here\n\n", b'data: {"text":" you"}\n\n']
END = b'data: {"text":".","done":true,"counts":{"in":3,"out":4}}\n\n'
STREAM = b"".join(EVENTS) + END


def example() -> Dialect:
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], names)  # noqa: S102 - our own page
    made: Dialect = names["Acme"]()
    return made


ACME = example()


def test_every_dialect_stands_in_the_table() -> None:
    written = set(re.findall(r"`(\w+\.py)`", PAGE))
    files = {f"{type(dialect).__module__.rpartition('.')[2]}.py" for dialect in dialects.DIALECTS}

    assert files <= written
    assert all((ROOM / name).exists() for name in written - {"base.py", "__init__.py"})


def test_the_example_reads_requests_and_replies() -> None:
    body = b'{"model":"acme-1","turns":[{"who":"me","text":"Hi"}],"stream":true}'
    reply = ACME.read_reply(b'{"text":"Hello","done":true,"counts":{"in":3,"out":4}}', ChatRequest(model=None))

    request = ACME.read_request(body, Target(method="POST", path="/acme/talk"))

    assert (request.model, request.stream, ACME.prompt(request).texts) == ("acme-1", True, ("me", "Hi"))
    assert (reply.complete, reply.failed, reply.output_text()) == (True, False, "Hello")
    assert reply.told.usage == Usage(input_tokens=3, output_tokens=4, source="upstream")
    assert json.loads(reply.fold(ADDITION) or b"")["counts"]["footprint"] == json.loads(FOOTPRINT)


@given(st.lists(st.integers(0, 400), max_size=8))
def test_the_example_reads_streams_in_any_chunks(at: list[int]) -> None:
    reader = ACME.stream_reader(ChatRequest(model=None), b"text/event-stream")
    assert reader is not None

    seen = feed(reader, cut(STREAM, at))

    assert seen.sent == STREAM.replace(b'"out":4}', b'"out":4,"footprint":' + FOOTPRINT + b"}")
    assert (seen.text, seen.complete, seen.held_count) == ("Hello you.", True, 1)


@pytest.mark.parametrize("length", range(0, len(STREAM), 9))
def test_the_example_breaks_off_anywhere(length: int) -> None:
    reader = ACME.stream_reader(ChatRequest(model=None), b"text/event-stream")
    assert reader is not None

    seen = feed(reader, bytewise(STREAM[:length]))

    assert unfolded(seen.sent) == STREAM[:length]
