"""Footprint to header values and to the object folded into a body. Pure formatting; header and body carry the same digits.

Header values are RFC 9651 dictionaries, so a decimal has at most three places; that is why water goes in microlitres.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from headwater.records import Footprint, PeriodTotal, Unknown, Usage
from headwater.units import MICROJOULES_PER_J, NANOLITRES_PER_UL, UL_PER_L

WELL_KNOWN: Final = "/.well-known/headwater"
EXPOSED_HEADERS: Final = b"headwater-id, headwater-footprint, headwater-period, link"


def digits(value: float) -> str:
    """A quantity as it is disclosed: four significant digits up to 1000, whole units beyond, never an exponent.

    This is the stated rounding between the ledger's integers and what a client reads.
    """
    if value >= 1000:  # the digits are the point
        return f"{value:.0f}"
    if value >= 100:
        return f"{value:.1f}"
    if value >= 10:
        return f"{value:.2f}"
    return f"{value:.3f}"


def receipt_path(request_id: str) -> str:
    """Where the middleware serves the receipt of a request."""
    return f"{WELL_KNOWN}/requests/{request_id}"


def link(request_id: str) -> bytes:
    """The Link header value that leads from a reply to its receipt (RFC 8288)."""
    return f'<{receipt_path(request_id)}>; rel="describedby"; type="application/json"'.encode()


def period(total: PeriodTotal, now_s: float) -> bytes:
    """The Headwater-Period header value: a user's month before this request, and how many seconds old that figure is."""
    age_s = max(0, int(now_s - total.read_at_s))
    energy_j = total.energy_microjoules / MICROJOULES_PER_J
    water_ul = total.water_nanolitres / NANOLITRES_PER_UL
    return (
        f"energy_j={digits(energy_j)}, water_ul={digits(water_ul)}, "
        f'requests={total.requests_count};p="{total.period}";age={age_s}'
    ).encode()


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One exchange's disclosure: the same digits as a header value and as a JSON object."""

    header: bytes
    body: bytes


def disclose(request_id: str, usage: Usage, footprint: Footprint | Unknown) -> Disclosure:
    """Format one exchange's disclosure. An unknown footprint has no energy and no water, but a reason."""
    tokens_header, tokens_json = _tokens(usage)
    url = receipt_path(request_id)
    if isinstance(footprint, Unknown):
        header = f"{tokens_header}, reason={footprint.reason}"
        body = f'{{"v":1,"id":"{request_id}","reason":"{footprint.reason}","tokens":{tokens_json},"url":"{url}"}}'
        return Disclosure(header.encode(), body.encode())
    spread = footprint.spread
    facility_j, water_ul = footprint.facility_j, footprint.water_l * UL_PER_L
    energy = digits(facility_j)
    energy_low, energy_high = digits(facility_j * spread.energy_low), digits(facility_j * spread.energy_high)
    water = digits(water_ul)
    water_low, water_high = digits(water_ul * spread.water_low), digits(water_ul * spread.water_high)
    onsite = digits(footprint.onsite_l * UL_PER_L)
    model = json.dumps(footprint.model)
    # The operator's own figures are named wherever they were used.
    own_header = f';own="{" ".join(footprint.own)}"' if footprint.own else ""
    own_json = f'"own":{json.dumps(footprint.own, separators=(",", ":"))},' if footprint.own else ""
    header = (
        f"energy_j={energy};lo={energy_low};hi={energy_high}, water_ul={water};lo={water_low};hi={water_high};onsite={onsite}, "
        f"{tokens_header}, method={footprint.method};model={model}, "
        f'factors="{footprint.factors}";hydro={footprint.hydro};wue={footprint.wue_basis}{own_header}'
    )
    body = (
        f'{{"v":1,"id":"{request_id}","energy_j":{energy},"energy_j_range":[{energy_low},{energy_high}],'
        f'"water_ul":{water},"water_ul_range":[{water_low},{water_high}],"water_onsite_ul":{onsite},"tokens":{tokens_json},'
        f'"method":"{footprint.method}","model":{model},"factors":"{footprint.factors}","hydro":"{footprint.hydro}",'
        f'"wue_basis":"{footprint.wue_basis}",{own_json}"url":"{url}"}}'
    )
    return Disclosure(header.encode(), body.encode())


def _tokens(usage: Usage) -> tuple[str, str]:
    given, made, source = usage.input_tokens, usage.output_tokens, usage.source
    if given is not None and made is not None:
        cached = usage.cached_tokens
        as_json = (
            f'{{"input":{given},"cached":{"null" if cached is None else cached},"output":{made},"source":"{source}"}}'
        )
        return f"tokens={given + made};in={given};out={made};src={source}", as_json
    # A count that is not known has no member; a dictionary member must have a value, so the source stands alone.
    parts = [f"src={source}"]
    if given is not None:
        parts.append(f"in={given}")
    if made is not None:
        parts.append(f"out={made}")
    as_json = json.dumps(
        {"input": given, "cached": usage.cached_tokens, "output": made, "source": source}, separators=(",", ":")
    )
    return ";".join(parts), as_json
