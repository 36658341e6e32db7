"""The running mean of a deployment's requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.mixes import FEWEST_COUNT, Mixture
from headwater.records import NO_USAGE, Mix, Usage

CHAT = Usage(input_tokens=400, cached_tokens=100, output_tokens=200, images_count=1, source="upstream")


def of(*requests: Usage) -> Mix | None:
    mixture = Mixture()
    for usage in requests:
        mixture.add(usage)
    return mixture.mix()


def test_a_few_requests_are_no_mean_yet() -> None:
    assert of(*[CHAT] * (FEWEST_COUNT - 1)) is None


def test_like_requests_are_their_own_mean() -> None:
    mix = of(*[CHAT] * 50)

    assert mix is not None
    assert (mix.input_tokens, mix.cached_tokens, mix.output_tokens) == pytest.approx((400, 100, 200))
    assert (mix.context_tokens, mix.images_count) == pytest.approx((500, 1))


def test_the_context_is_a_mean_over_tokens_and_not_over_requests() -> None:
    long = replace(CHAT, input_tokens=10_000, output_tokens=600)

    mix = of(*[CHAT, long] * 200)

    # 200 tokens at 500 and 600 tokens at 10,300, nearly: the latest of two counts a little more.
    assert mix is not None
    assert mix.context_tokens == pytest.approx((200 * 500 + 600 * 10_300) / 800, rel=0.02)


def test_the_mean_follows_a_change_within_a_hundred_requests() -> None:
    mix = of(*[CHAT] * 500, *[replace(CHAT, output_tokens=1_000)] * 100)

    assert mix is not None
    assert mix.output_tokens == pytest.approx(1_000, rel=0.05)


@pytest.mark.parametrize("usage", [NO_USAGE, replace(CHAT, output_tokens=0), replace(CHAT, input_tokens=None)])
def test_a_request_of_which_nothing_is_known_says_nothing(usage: Usage) -> None:
    assert of(*[CHAT] * 8, usage) == of(*[CHAT] * 8)


def test_no_more_is_cached_than_came_in() -> None:
    mix = of(*[replace(CHAT, cached_tokens=900)] * 8)

    assert mix is not None
    assert mix.cached_tokens == mix.input_tokens


@given(
    st.lists(
        st.builds(
            Usage,
            input_tokens=st.integers(0, 100_000),
            cached_tokens=st.none() | st.integers(0, 100_000),
            output_tokens=st.integers(1, 100_000),
            images_count=st.integers(0, 5),
            source=st.just("upstream"),
        ),
        min_size=FEWEST_COUNT,
        max_size=60,
    )
)
def test_a_mean_lies_between_its_requests(requests: list[Usage]) -> None:
    mix = of(*requests)

    assert mix is not None
    for value, parts in (
        (mix.input_tokens, [usage.input_tokens or 0 for usage in requests]),
        (mix.output_tokens, [usage.output_tokens or 0 for usage in requests]),
    ):
        assert min(parts) * (1 - 1e-9) <= value <= max(parts) * (1 + 1e-9)
    assert mix.cached_tokens <= mix.input_tokens * (1 + 1e-9)
