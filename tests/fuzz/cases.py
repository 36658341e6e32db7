"""What must hold of a dialect for any bytes in any chunks. One function, for hypothesis, for atheris and for the long run."""

from __future__ import annotations

from collections.abc import Iterable

from headwater import dialects
from headwater.dialects.base import Addition, Dialect, StreamReader
from headwater.errors import DialectError
from headwater.records import ChatRequest, Told, Usage
from tests.fuzz.seeds import SEEDS, Seed

_MARK = b'{"v":1,"id":"01K9Z3M6V9R2W0Y8C4S1T7B5QH"}'
ADDITION = Addition(footprint=_MARK)
MOST_KEPT_BYTES = 1 << 25
"""A reader keeps the event in progress (16 MiB at most) and the text; it never keeps more than this of what it was sent."""


class Broken(AssertionError):
    """Something that must always hold did not."""


def dialect_of(seed: Seed) -> Dialect:
    """The dialect that a seed's request leads to."""
    found = dialects.find(seed.target.method, seed.target.path)
    if found is None:
        raise Broken(f"no dialect for {seed.target}")
    return found


def check_request(name: str, body: bytes) -> None:
    """A request's body is read, or is said not to be one."""
    seed = SEEDS[name]
    dialect = dialect_of(seed)
    try:
        request = dialect.read_request(body, seed.target)
        dialect.ask_for_usage(body)
    except DialectError:
        return
    dialect.prompt(request)


def check_reply(name: str, body: bytes) -> None:
    """A whole reply is read without a word, and the fold changes nothing else."""
    dialect = dialect_of(SEEDS[name])
    reply = dialect.read_reply(body, ChatRequest(model="m"))
    _check_told(reply.told)
    reply.output_text()
    folded = reply.fold(ADDITION)
    if folded is not None and _without_mark(folded) != body:
        raise Broken(f"{name}: the fold changed more than it added")


def check_stream(
    name: str, chunks: Iterable[bytes], *, content_type: bytes | None = None, injected: bool = False
) -> None:
    """A stream in any chunks goes on byte for byte but for the fold, and is read without a word."""
    seed = SEEDS[name]
    reader = reader_of(name, content_type or seed.content_type, injected=injected)
    if reader is None:
        return
    came: list[bytes] = []
    sent: list[bytes] = []
    has_ended = False
    for chunk in chunks:
        came.append(chunk)
        if reader.skim is not None and reader.skim(chunk):
            sent.append(chunk)
            continue
        out, is_held = reader.feed(chunk)
        sent.append(out)
        if is_held:
            has_ended = True
            sent.append(reader.release(ADDITION))
    if reader.complete and not has_ended:
        sent.append(reader.release(ADDITION))
    sent.append(reader.close())
    _check_told(reader.told)
    reader.output_text()
    if reader.events_count < 0:
        raise Broken(f"{name}: fewer events than none")
    if not injected and _without_mark(b"".join(sent)) != b"".join(came):
        raise Broken(f"{name}: the stream changed by more than the fold")


def reader_of(name: str, content_type: bytes, *, injected: bool = False) -> StreamReader | None:
    """A reader for a stream of the seed's request."""
    seed = SEEDS[name]
    dialect = dialect_of(seed)
    request = dialect.read_request(seed.request, seed.target)
    return dialect.stream_reader(request, content_type, usage_injected=injected)


def _without_mark(data: bytes) -> bytes:
    return data.replace(b',"footprint":' + _MARK, b"").replace(b'"footprint":' + _MARK, b"")


def _check_told(told: Told) -> None:
    usage = told.usage
    if usage is not None:
        _check_usage(usage)
    if told.busy_s is not None and not told.busy_s >= 0:
        raise Broken(f"busy for {told.busy_s} s")


def _check_usage(usage: Usage) -> None:
    counts = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
    if any(each is not None and (type(each) is not int or each < 0) for each in counts):
        raise Broken(f"a count that is none: {usage}")
    for part, whole in (
        (usage.cached_tokens, usage.input_tokens),
        (usage.cache_write_tokens, usage.input_tokens),
        (usage.reasoning_tokens, usage.output_tokens),
    ):
        if part is not None and (whole is None or part > whole):
            raise Broken(f"a part larger than its whole: {usage}")
