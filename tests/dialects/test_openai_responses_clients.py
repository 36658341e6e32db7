"""The openai client reads responses that Headwater sends as it read the originals."""

from __future__ import annotations

import json

import pytest
from openai.types.responses import Response, ResponseCompletedEvent

from headwater.records import ChatRequest
from tests.dialects.payloads import payload
from tests.dialects.streams import ADDITION, FOOTPRINT
from tests.dialects.test_openai_clients import client_of
from tests.dialects.test_openai_responses import ASKED, RESPONSES, run

EXAMPLE = "openai_responses_stream.sse"


def test_the_client_finds_the_footprint_in_the_usage_of_the_last_event() -> None:
    seen = run([payload(EXAMPLE)])

    with client_of(seen.sent) as client:
        events = list(client.responses.create(model="gpt-5", input="Hi", stream=True))

    last = events[-1]
    assert isinstance(last, ResponseCompletedEvent)
    assert last.response.usage is not None
    assert last.response.usage.total_tokens == 1261
    assert (last.response.usage.model_extra or {})["footprint"] == json.loads(FOOTPRINT)
    assert [each.sequence_number for each in events] == list(range(12))


def test_the_clients_own_accumulator_keeps_text_and_usage() -> None:
    seen = run([payload(EXAMPLE)])

    with client_of(seen.sent) as client, client.responses.stream(model="gpt-5", input="Hi") as stream:
        final = stream.get_final_response()

    assert final.output_text == "Hello"
    assert final.usage is not None
    assert final.usage.output_tokens == 1186
    assert (final.usage.model_extra or {})["footprint"] == json.loads(FOOTPRINT)


@pytest.mark.parametrize("request_", [ASKED, ChatRequest(model=None, is_lookup=True)])
def test_the_client_finds_the_footprint_in_a_whole_response(request_: ChatRequest) -> None:
    folded = RESPONSES.read_reply(payload("openai_responses_response.json"), request_).fold(ADDITION)
    assert folded is not None

    found = Response.model_validate_json(folded)

    assert found.output_text == "Hello"
    assert found.usage is not None
    assert (found.usage.model_extra or {})["footprint"] == json.loads(FOOTPRINT)
