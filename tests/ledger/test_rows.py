"""A row is written and read exactly, by Python and by the script, of whatever size its sums are, and of other versions too."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.ledger import rows, schema
from headwater.ledger.batch import Batch
from headwater.ledger.books import Books
from headwater.ledger.glance import Glance, glance
from headwater.ledger.packing import pack
from headwater.ledger.redis import Store
from headwater.ledger.rows import FIELDS
from tests.ledger.support import ADA, DAY, Server, charge

COUNT = len(FIELDS)
NUMBERS = st.integers(-(2**70), 2**70) | st.sampled_from(
    [0, 1, -1, 2**48 - 1, 2**48, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**78]
)
SUMS = st.tuples(*[NUMBERS] * COUNT)
ADDED = st.tuples(*[st.integers(-(2**66), 2**66) | st.sampled_from([0, 1, -1, 2**48, 2**63 - 1, -(2**63)])] * COUNT)


@given(sums=SUMS)
def test_a_row_comes_back_exactly(sums: rows.Sums) -> None:
    assert rows.read(rows.stored(sums)) == sums


@given(sums=ADDED)
def test_increments_add_up(sums: rows.Sums) -> None:
    assert rows.total(map(rows.read, rows.increments(sums))) == sums


def _longer(sums: rows.Sums, further: int) -> bytes:
    """A row of a version that knows so many fields more."""
    return rows.stored((*sums, *range(7, 7 + further)))


@given(sums=SUMS, further=st.integers(1, 3))
def test_fields_of_a_newer_version_are_left_out(sums: rows.Sums, further: int) -> None:
    assert rows.read(_longer(sums, further)) == sums


@given(sums=SUMS, zeros_count=st.integers(1, COUNT - 1))
def test_zeros_at_the_end_take_no_room(sums: rows.Sums, zeros_count: int) -> None:
    sums = (*sums[: COUNT - zeros_count - 1], 1, *rows.NOTHING[:zeros_count])

    row = rows.stored(sums)

    assert rows.read(row) == sums
    assert len(row) // 8 <= (COUNT - zeros_count) * 10 / 8


def _apply(store: Store, sums: rows.Sums, sequence: int) -> None:
    added: Glance = glance(pack(charge(1)))._replace(sums=sums)
    store.apply(Batch(journal_id="j", shard=0, previous=sequence, last=sequence + 1, charges=[added]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=SUMS, added=st.lists(ADDED, min_size=1, max_size=3), further=st.sampled_from([0, 1, 2]))
def test_the_script_adds_as_python_does(
    server: Server, store: Store, before: rows.Sums, added: list[rows.Sums], further: int
) -> None:
    """Also to a row of a version with more fields, which keeps them."""
    server.command("FLUSHALL")
    key = schema.user_key(0, ADA, DAY)
    store.client.set(key, _longer(before, further))

    for sequence, sums in enumerate(added):
        _apply(store, sums, sequence)

    expected = rows.total([before, *added])
    assert Books(store).read_rows([key]) == [expected]
    found = store.client.get(key)
    assert rows.read(found) == expected
    if further:
        assert found == _longer(expected, further) or len(found) % 2  # once wide, a row stays so


@pytest.mark.parametrize("row", [b"x", b"foreign", b"twelve bytes"])
def test_what_is_no_row_is_refused(row: bytes) -> None:
    with pytest.raises(ValueError, match=f"{len(row)} bytes"):
        rows.read(row)
