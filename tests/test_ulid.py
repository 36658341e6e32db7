"""Request ids."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from headwater import ulid


def test_the_id_of_a_known_moment_and_known_random_bytes() -> None:
    """The ULID specification's own example: 01ARYZ6S41 is the time 1469918176385."""
    assert ulid.new(1469918176385, lambda count: bytes(count)) == "01ARYZ6S410000000000000000"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_an_id_is_valid_and_carries_its_moment(moment_ms: int, random: bytes) -> None:
    made = ulid.new(moment_ms, lambda _count: random)

    assert ulid.is_valid(made)
    assert ulid.time_ms(made) == moment_ms


@given(st.integers(0, 2**47), st.integers(1, 1000))
def test_later_ids_sort_behind_earlier_ones(moment_ms: int, later_ms: int) -> None:
    assert ulid.new(moment_ms) < ulid.new(moment_ms + later_ms)


def test_anything_else_is_not_an_id() -> None:
    for text in (
        "",
        "01ARYZ6S41",
        "81ARYZ6S410000000000000000",
        "01ARYZ6S41000000000000000U",
        "01aryz6s410000000000000000",
        "x" * 26,
    ):
        assert not ulid.is_valid(text)


def test_a_child_process_draws_random_bytes_of_its_own() -> None:
    ulid.new(1)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the child; coverage does not see it
        os.write(writing, ulid.new(1).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    childs = os.read(reading, 26).decode()
    os.close(reading)
    os.close(writing)

    assert ulid.is_valid(childs)
    assert childs != ulid.new(1)


def test_ids_do_not_repeat_over_several_pools() -> None:
    assert len({ulid.new(1) for _ in range(2_000)}) == 2_000
