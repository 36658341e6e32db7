"""What a deployment's requests have been like lately, as this process sees them. Pure; knows no time."""

from __future__ import annotations

from typing import Final

from headwater.records import Mix, Usage

# The mean follows its requests within a few dozen of them, so that it keeps up with the load that they were served under.
_KEPT_SHARE: Final = 1 - 1 / 32
# Fewer say little: until then a request is taken to be like itself.
FEWEST_COUNT: Final = 8


class Mixture:
    """A running mean of requests, in which each new one takes a thirty-second of the weight."""

    __slots__ = ("_count", "_mix", "_sums", "_weight")

    def __init__(self) -> None:
        self._count = 0
        self._weight = 0.0
        # input, cached, output, output times context, pictures
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._mix: Mix | None = None

    def add(self, usage: Usage) -> None:
        """Take in a request that was answered whole; one whose tokens are unknown says nothing."""
        input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
        if input_tokens is None or not output_tokens:
            return
        cached = min(usage.cached_tokens or 0, input_tokens)
        context_tokens = input_tokens + output_tokens / 2
        inputs, cacheds, outputs, contexts, images = self._sums
        self._count += 1
        self._weight = _KEPT_SHARE * self._weight + 1
        self._sums = (
            _KEPT_SHARE * inputs + input_tokens,
            _KEPT_SHARE * cacheds + cached,
            _KEPT_SHARE * outputs + output_tokens,
            _KEPT_SHARE * contexts + output_tokens * context_tokens,
            _KEPT_SHARE * images + usage.images_count,
        )
        self._mix = None

    def mix(self) -> Mix | None:
        """The mean request so far; None while too few are known."""
        if self._mix is None and self._count >= FEWEST_COUNT:
            inputs, cacheds, outputs, contexts, images = self._sums
            weight = self._weight
            self._mix = Mix(
                input_tokens=inputs / weight,
                cached_tokens=cacheds / weight,
                output_tokens=outputs / weight,
                context_tokens=contexts / outputs,
                images_count=images / weight,
            )
        return self._mix
