"""The footprint in the words of others: the same digits in other units, on OpenAI's routes alone, and only when asked for."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import aliases, config
from headwater.disclosure import digits
from headwater.errors import ConfigError
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from tests.asgi import DONE, STREAM, STREAM_WITH_USAGE, call, dictionary, json_app, reply, request, stream_app
from tests.conftest import MakeMeter
from tests.dialects.streams import eventwise

ASKING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
BOTH = ["neuralwatt", "greenpt"]
COMMENT = re.compile(rb": energy (\{.*?\})\n\n")
ANTHROPIC = b'{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":2}}'


@pytest.fixture
def compatible(make_meter: MakeMeter) -> Meter:
    """A meter that says it in all words that there are."""
    now_s = iter(range(10_000))
    return make_meter(disclosure={"compat": BOTH}, clock_s=lambda: next(now_s) * 0.25)


@given(st.floats(0.001, 1e15))
def test_kilowatt_hours_come_back_as_the_joules_they_were(energy_j: float) -> None:
    joules = digits(energy_j)

    told = aliases.kwh(joules)

    places = Decimal(1).scaleb(int(Decimal(joules).as_tuple().exponent))
    assert "E" not in told
    assert (Decimal(told) * 3_600_000).quantize(places) == Decimal(joules)


def test_a_kilowatt_hour_is_3600000_joules() -> None:
    assert aliases.kwh("3600000") == "1"
    assert aliases.kwh("1234.5") == "0.00034291666666666666667"


async def test_a_json_reply_says_it_in_their_fields_to_the_last_digit(compatible: Meter, key: str) -> None:
    seen = await call(FootprintMiddleware(json_app(reply()), meter=compatible), request(), key=key)

    told = json.loads(seen.body, parse_float=Decimal)
    footprint, energy, impact = told["usage"]["footprint"], told["energy"], told["impact"]
    assert list(told)[-2:] == ["energy", "impact"]
    assert energy["energy_joules"] == footprint["energy_j"] > 0
    assert round(energy["energy_kwh"] * 3_600_000, 3) == Decimal(footprint["energy_j"])
    assert energy["attribution_method"] == f"headwater:{footprint['method']}"
    assert energy["duration_seconds"] > 0
    assert impact["version"] == "headwater-1"
    assert impact["energy"] == {"total": int(footprint["energy_j"] * 1000), "unit": "Wms"}
    assert impact["emissions"]["unit"] == "ugCO2e"
    assert impact["emissions"]["total"] == energy["carbon_g_co2eq"] * 1_000_000 > 0
    assert impact["inferenceTime"] == {"total": int(energy["duration_seconds"] * 1000), "unit": "ms"}
    assert int(seen.headers["content-length"]) == len(seen.body)
    assert float(dictionary(seen.headers["headwater-footprint"])["energy_j"][0]) == float(energy["energy_joules"])


@pytest.mark.parametrize(("chunks", "asking"), [(STREAM_WITH_USAGE, ASKING), ([*STREAM, DONE], {"stream": True})])
async def test_a_stream_has_a_comment_before_its_end_and_a_field_in_its_last_event(
    compatible: Meter, key: str, chunks: list[bytes], asking: dict[str, Any]
) -> None:
    seen = await call(FootprintMiddleware(stream_app(chunks), meter=compatible), request(**asking), key=key)

    comment = COMMENT.search(seen.body)
    assert comment is not None
    energy = json.loads(comment.group(1))
    events = [json.loads(each[6:]) for each in eventwise(COMMENT.sub(b"", seen.body)) if each.startswith(b"data: {")]
    assert len(events) == len(chunks) - 1
    assert [("impact" in each, "energy" in each) for each in events] == [(False, False)] * (len(events) - 1) + [
        (True, False)
    ]
    footprint = (events[-1].get("usage") or events[-1])["footprint"]
    assert energy["energy_joules"] == footprint["energy_j"]
    assert events[-1]["impact"]["energy"]["total"] == pytest.approx(footprint["energy_j"] * 1000)
    assert seen.body.index(b": energy") < seen.body.index(b'"footprint"')
    assert seen.body.endswith(DONE)


@pytest.mark.parametrize("scheme", BOTH)
@pytest.mark.parametrize("placement", ["usage", "top"])
async def test_each_scheme_comes_alone_beside_either_placement(
    make_meter: MakeMeter, key: str, scheme: str, placement: str
) -> None:
    meter = make_meter(disclosure={"compat": [scheme], "placement": placement})

    seen = await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key)

    assert ("energy" in seen.json, "impact" in seen.json) == (scheme == "neuralwatt", scheme == "greenpt")
    assert ("footprint" in seen.json) == (placement == "top")


async def test_what_the_upstream_says_in_these_words_itself_stands(compatible: Meter, key: str) -> None:
    own = {"energy_joules": 1.5}

    seen = await call(FootprintMiddleware(json_app(reply(energy=own)), meter=compatible), request(), key=key)

    pairs = json.loads(seen.body, object_pairs_hook=list)
    assert [name for name, _ in pairs].count("energy") == 1
    assert seen.json["energy"] == own
    assert seen.json["impact"]["version"] == "headwater-1"


async def test_an_upstream_that_says_it_all_gets_the_footprint_alone(make_meter: MakeMeter, key: str) -> None:
    meter = make_meter(disclosure={"compat": ["greenpt"], "placement": "top"})

    seen = await call(FootprintMiddleware(json_app(reply(impact={})), meter=meter), request(), key=key)

    assert seen.json["impact"] == {}
    assert list(seen.json)[-1] == "footprint"


async def test_without_the_setting_nothing_is_added(meter: Meter, key: str) -> None:
    seen = await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key)

    assert not {"energy", "impact"} & set(seen.json)


async def test_on_other_routes_nothing_is_added(compatible: Meter, key: str) -> None:
    seen = await call(
        FootprintMiddleware(json_app(ANTHROPIC), meter=compatible), request(), key=key, path="/v1/messages"
    )

    assert "footprint" in seen.json["usage"]
    assert not {"energy", "impact"} & set(seen.json)


async def test_what_has_no_footprint_has_no_aliases(compatible: Meter, key: str) -> None:
    app = FootprintMiddleware(json_app(reply()), meter=compatible)

    seen = await call(app, request(model="secret-model-9"), key=key)

    assert seen.json["usage"]["footprint"]["reason"] == "model-not-in-catalog"
    assert not {"energy", "impact"} & set(seen.json)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"compat": ["greenjoules"]}, ["disclosure.compat", "greenjoules", "neuralwatt", "greenpt"]),
        ({"compat": "neuralwatt"}, ["disclosure.compat", "must be a list"]),
        ({"compat": ["greenpt"], "placement": "off"}, ["compat", "leave one of them out"]),
        ({"placement": "bottom"}, ["disclosure.placement", "bottom", "top"]),
    ],
)
def test_settings_that_cannot_be_used_are_named(document: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load({"disclosure": document}, environment={})

    for word in words:
        assert word in str(caught.value)
