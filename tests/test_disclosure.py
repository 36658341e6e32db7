"""What a client reads: header values by RFC 9651, the folded object, and the rounding between ledger and client."""

from __future__ import annotations

import json
from typing import Any

import http_sf
from hypothesis import given
from hypothesis import strategies as st

from headwater import disclosure
from headwater.records import NO_USAGE, Footprint, PeriodTotal, Spread, Unknown, Usage
from tests.asgi import dictionary

ID = "01K9Z3M6V9R2W0Y8C4S1T7B5QH"
SPREAD = Spread(energy_low=0.6, energy_high=1.7, water_low=0.5, water_high=2.0, carbon_low=0.5, carbon_high=2.0)
USAGE = Usage(input_tokens=25, output_tokens=4, cached_tokens=0, source="upstream")


def _footprint(**changes: Any) -> Footprint:
    values: dict[str, Any] = {
        "it_j": 350.0,
        "facility_j": 412.7,
        "onsite_l": 206e-6,
        "offsite_l": 180e-6,
        "carbon_g": 0.04,
        "method": "observed",
        "spread": SPREAD,
        "model": "llama-3.1-70b",
        "hardware": "dgx-h100",
        "site": "azure-westus3",
        "factors": "current-2026.11",
        "hydro": "include",
        "wue_basis": "unstated",
    }
    return Footprint(**{**values, **changes})


def test_the_header_is_the_documented_dictionary() -> None:
    header = disclosure.disclose(ID, USAGE, _footprint()).header

    assert header == (
        b"energy_j=412.7;lo=247.6;hi=701.6, water_ul=386.0;lo=193.0;hi=772.0;onsite=206.0, "
        b'tokens=29;in=25;out=4;src=upstream, method=observed;model="llama-3.1-70b", '
        b'factors="current-2026.11";hydro=include;wue=unstated'
    )
    assert len(header) < 512


@given(
    facility_j=st.floats(0.001, 1e9),
    onsite_l=st.floats(0, 1e3),
    offsite_l=st.floats(0, 1e3),
    given_count=st.none() | st.integers(0, 10**9),
    made_count=st.none() | st.integers(0, 10**9),
    source=st.sampled_from(["upstream", "counted", "estimated", "unknown"]),
    model=st.sampled_from(["llama-3.1-70b", 'a"quoted\\model']),
)
def test_header_and_body_parse_and_carry_the_same_numbers(
    facility_j: float,
    onsite_l: float,
    offsite_l: float,
    given_count: int | None,
    made_count: int | None,
    source: Any,
    model: str,
) -> None:
    usage = Usage(input_tokens=given_count, output_tokens=made_count, source=source)
    footprint = _footprint(facility_j=facility_j, onsite_l=onsite_l, offsite_l=offsite_l, model=model)

    made = disclosure.disclose(ID, usage, footprint)

    header = dictionary(made.header)
    body = json.loads(made.body)
    energy, energy_range = header["energy_j"]
    assert float(energy) == body["energy_j"]
    assert [float(energy_range["lo"]), float(energy_range["hi"])] == body["energy_j_range"]
    water, water_range = header["water_ul"]
    assert float(water) == body["water_ul"]
    assert [float(water_range["lo"]), float(water_range["hi"])] == body["water_ul_range"]
    assert float(water_range["onsite"]) == body["water_onsite_ul"]
    assert header["method"][1]["model"] == body["model"] == model
    assert body["tokens"]["input"] == given_count
    assert body["tokens"]["output"] == made_count
    if given_count is not None and made_count is not None:
        assert header["tokens"][0] == given_count + made_count
    else:
        assert "tokens" not in header
        assert str(header["src"][0]) == source
    assert len(made.header) < 512


def test_an_unknown_footprint_has_a_reason_and_no_number() -> None:
    made = disclosure.disclose(ID, USAGE, Unknown(reason="model-not-in-catalog"))

    header = dictionary(made.header)
    body = json.loads(made.body)
    assert str(header["reason"][0]) == body["reason"] == "model-not-in-catalog"
    assert "energy_j" not in header
    assert "energy_j" not in body
    assert body["tokens"]["output"] == 4


def test_unknown_tokens_are_absent_not_zero() -> None:
    made = disclosure.disclose(ID, NO_USAGE, _footprint())

    assert b"tokens" not in made.header
    assert b"src=unknown" in made.header
    assert json.loads(made.body)["tokens"] == {"input": None, "cached": None, "output": None, "source": "unknown"}


@given(st.floats(0.001, 1e11))
def test_rounding_keeps_within_half_a_per_mille_or_half_a_thousandth(value: float) -> None:
    """Four significant digits: at most 0.5 of the last one, and three decimals are the most RFC 9651 allows."""
    text = disclosure.digits(value)

    assert "e" not in text
    assert abs(float(text) - value) <= max(0.0005, value * 0.0005) * (1 + 1e-9)
    item: Any = http_sf.parse(text.encode(), tltype="item")
    assert float(item[0]) == float(text)


def test_the_period_header_says_how_old_it_is() -> None:
    total = PeriodTotal(
        period="2026-11",
        requests_count=214,
        energy_microjoules=98_231_400_000,
        water_nanolitres=91_876_000,
        read_at_s=100.0,
    )

    value = disclosure.period(total, 102.9)

    assert value == b'energy_j=98231, water_ul=91876, requests=214;p="2026-11";age=2'
    assert dictionary(value)["requests"][1] == {"p": "2026-11", "age": 2}
    assert disclosure.period(total, 99.0).endswith(b"age=0")


def test_the_link_leads_to_the_receipt() -> None:
    assert disclosure.link(ID) == (
        b'</.well-known/headwater/requests/01K9Z3M6V9R2W0Y8C4S1T7B5QH>; rel="describedby"; type="application/json"'
    )
