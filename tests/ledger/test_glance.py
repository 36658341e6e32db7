"""What the store is told of a charge is what the charge says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import LedgerError
from headwater.ledger.glance import Glance, glance, receipt_id
from headwater.ledger.glance import request_id as request_text
from headwater.ledger.packing import pack, unpack
from headwater.ledger.rows import sums_of
from headwater.records import Charge
from tests.ledger.strategies import charges
from tests.ledger.support import charge


def told(some: Charge, packed: bytes) -> Glance:
    """What a glance should see."""
    return Glance(
        receipt_id(some.request_id),
        some.user,
        some.ended_ms,
        some.model,
        some.site,
        some.deployment_hash,
        some.once,
        sums_of(some),
        packed,
    )


@given(some=charges())
def test_a_glance_sees_what_is_there(some: Charge) -> None:
    packed = pack(some)

    assert glance(packed) == told(some, packed)
    assert request_text(glance(packed).receipt_id) == some.request_id


@given(request_id=st.text(max_size=40), user=st.text(max_size=40))
def test_ids_and_users_of_any_shape_are_seen(request_id: str, user: str) -> None:
    some = charge(request_id=request_id, user=user)
    packed = pack(some)

    assert glance(packed) == told(some, packed)
    if len(request_id.encode()) != 16:
        assert request_text(receipt_id(request_id)) == request_id


def test_a_record_of_an_older_format_is_seen_by_way_of_the_charge() -> None:
    packed = bytes((3, *pack(charge(1))[1:]))

    assert glance(packed) == told(unpack(packed), packed)


def test_another_format_and_every_cut_are_refused() -> None:
    packed = pack(charge(1))

    for cut in range(len(packed)):
        with pytest.raises(LedgerError):
            glance(packed[:cut])
    with pytest.raises(LedgerError, match="has format 09, this version reads up to 4"):
        glance(b"\x09" + packed[1:])
