"""Charges come back from bytes exactly as they went in."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import LedgerError
from headwater.ledger import packing
from headwater.ledger.packing import pack, unpack
from headwater.records import Charge
from tests.ledger.strategies import charges
from tests.ledger.support import charge, opened


@given(charges())
def test_a_charge_comes_back_exactly(some: Charge) -> None:
    assert unpack(pack(some)) == some


@given(st.text(max_size=40), st.text(max_size=40))
def test_ids_and_users_of_any_shape_come_back_exactly(request_id: str, user: str) -> None:
    some = charge(request_id=request_id, user=user)

    assert unpack(pack(some)) == some


@pytest.mark.parametrize(
    "request_id",
    [
        "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "01k9z3m6v9r2w0y8c4s1t7b5qh",
        "01K9Z3M6V9R2W0Y8C4S1T7B5_H",
        "+1K9Z3M6V9R2W0Y8C4S1T7B5QH",
    ],
)
def test_what_only_looks_like_a_ulid_is_kept_as_text(request_id: str) -> None:
    assert unpack(pack(charge(request_id=request_id))).request_id == request_id


@pytest.mark.parametrize("user", ["anonymous", "AD" * 16, "ad " * 10 + "ad", "zz" * 16])
def test_what_only_looks_like_a_pseudonym_is_kept_as_text(user: str) -> None:
    assert unpack(pack(charge(user=user))).user == user


def test_a_charge_takes_at_most_240_bytes_and_an_open_one_120() -> None:
    assert len(pack(charge(deployment_hash="0123456789abcdef"))) <= 240
    assert len(pack(opened())) <= 120


def test_a_number_beyond_64_bits_is_refused_with_its_charge_named() -> None:
    some = charge(ended_ms=2**63)

    with pytest.raises(LedgerError, match=some.request_id):
        pack(some)


def test_a_name_beyond_255_bytes_is_refused() -> None:
    with pytest.raises(LedgerError, match="cannot be stored"):
        pack(charge(model="m" * 256))


@pytest.mark.parametrize("data", [b"", b"\x05" + pack(charge())[1:]])
def test_another_format_version_is_refused_with_the_remedy(data: bytes) -> None:
    with pytest.raises(LedgerError, match="upgrade headwater"):
        unpack(data)


def test_records_of_version_2_with_their_16_presence_bits_still_read() -> None:
    now = pack(charge())

    assert unpack(b"\x02" + now[1:3] + now[5:]) == charge()


@given(grid=st.none() | st.floats(0, 2000), wet_bulb=st.none() | st.floats(-60, 60))
def test_the_hour_of_a_charge_survives(grid: float | None, wet_bulb: float | None) -> None:
    some = charge()
    some = charge(observation=replace(some.observation, grid_g_per_kwh=grid, wet_bulb_c=wet_bulb))

    assert unpack(pack(some)) == some


def test_layouts_are_kept_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_layouts", {})
    monkeypatch.setattr(packing, "_MOST_LAYOUTS_COUNT", 1)

    for some in (charge(), opened(), charge()):
        assert unpack(pack(some)) == some
        assert len(packing._layouts) == 1


def test_every_cut_is_noticed() -> None:
    whole = pack(charge())

    for length in range(1, len(whole)):
        with pytest.raises(LedgerError):
            unpack(whole[:length])


def test_observed_infinity_survives() -> None:
    some = charge()
    some = charge(observation=type(some.observation)(elapsed_s=math.inf))

    assert unpack(pack(some)).observation.elapsed_s == math.inf
