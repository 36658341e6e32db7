"""What of one request enters an estimate: numbers that can be charged, its tokens, and itself as a mean. Pure."""

from __future__ import annotations

import math

from headwater.physics import throughput
from headwater.physics.replica import Own
from headwater.records import Mix, Usage


def positive(seen: float | None) -> float | None:
    """What was seen, if it is a finite number above zero; nothing else can be charged."""
    return seen if seen is not None and 0 < seen < math.inf else None


def known(usage: Usage) -> Own | None:
    """A request's tokens, if they are known. No more can be cached than came in; unknown ones count as fresh."""
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if input_tokens is None or output_tokens is None:
        return None
    cached_tokens = usage.cached_tokens or 0
    return Own(input_tokens, min(cached_tokens, input_tokens), output_tokens, usage.images_count)


def as_mix(own: Own) -> Mix:
    """A request as the mean of requests like itself."""
    input_tokens, cached_tokens, output_tokens, images_count = own
    return Mix(
        input_tokens=input_tokens,
        cached_tokens=cached_tokens,
        output_tokens=output_tokens,
        context_tokens=throughput.context_tokens(input_tokens=input_tokens, output_tokens=output_tokens),
        images_count=images_count,
    )
