"""What holds of every stream that can be touched, API by API: no chunking changes what is read, nor a byte but for the fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dialects import test_anthropic as anthropic
from tests.dialects import test_cohere as cohere
from tests.dialects import test_cohere_v1 as cohere_v1
from tests.dialects import test_gemini as gemini
from tests.dialects import test_ollama as ollama
from tests.dialects import test_openai_responses as responses
from tests.dialects.streams import Seen, bytewise, cut, eventwise, unfolded

_ENDS: Final = (b"\n", b"\r\n", b"\r")


def linewise(body: bytes) -> list[bytes]:
    """One line per chunk, as servers flush them."""
    return body.splitlines(keepends=True)


@dataclass(frozen=True)
class Api:
    """An API: its streams, what its reader makes of chunks, how its servers cut, and what may end a line."""

    streams: Mapping[str, bytes]
    run: Callable[..., Seen]
    flushed: Callable[[bytes], list[bytes]] = eventwise
    line_ends: tuple[bytes, ...] = _ENDS


APIS: Final = {
    "anthropic": Api(anthropic.STREAMS, anthropic.run),
    "responses": Api(responses.STREAMS, responses.run),
    "cohere": Api(cohere.STREAMS, cohere.run),
    "cohere-v1": Api(cohere_v1.STREAMS, cohere_v1.run, linewise, ()),
    "gemini": Api(gemini.STREAMS, gemini.run),
    "gemini, two candidates": Api(gemini.STREAMS, partial(gemini.run, n=2)),
    "ollama": Api(ollama.STREAMS, ollama.run, linewise, ()),
}
STREAMS: Final = [(api, name) for api in APIS for name in APIS[api].streams]


@pytest.mark.parametrize("api", APIS)
@given(data=st.data(), at=st.lists(st.integers(0, 9000), max_size=12))
def test_any_chunking_gives_the_same_reading_and_the_same_bytes(api: str, data: st.DataObject, at: list[int]) -> None:
    body = data.draw(st.sampled_from(list(APIS[api].streams.values())))

    assert APIS[api].run(cut(body, at)) == APIS[api].run([body])


@pytest.mark.parametrize(
    ("api", "name", "end"), [(api, name, end) for api, name in STREAMS for end in APIS[api].line_ends or (b"",)]
)
def test_whole_and_bytewise_and_as_flushed_are_the_same(api: str, name: str, end: bytes) -> None:
    body = APIS[api].streams[name]
    if end:
        body = body.replace(b"\r\n", b"\n").replace(b"\n", end)
    whole = APIS[api].run([body])

    assert APIS[api].run(bytewise(body)) == whole
    assert APIS[api].run(APIS[api].flushed(body)) == whole
    assert unfolded(whole.sent) == body


@pytest.mark.parametrize(("api", "name"), STREAMS)
def test_without_the_footprint_every_byte_is_the_upstreams(api: str, name: str) -> None:
    body = APIS[api].streams[name]

    assert APIS[api].run(bytewise(body), footprint=None).sent == body
