"""The whole house on real parts: llama.cpp, the gateway on a socket, the embedded Valkey, the openai SDK as the client."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from headwater import config, disclosure
from headwater.demo import model, server
from headwater.gateway import Gateway
from headwater.identity import subject_digest
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import Charge
from headwater.reports import as_csv, statement
from headwater.units import MICROJOULES_PER_J, NANOLITRES_PER_UL
from tests.asgi import dictionary

pytestmark = pytest.mark.real_model
QUESTION = "What is the capital of France?"


@dataclass
class House:
    """A running gateway in front of the real model, and the meter inside."""

    url: str
    meter: Meter
    clients: dict[str, openai.OpenAI] = field(default_factory=dict)

    def client(self, user: str) -> openai.OpenAI:
        if user not in self.clients:
            self.clients[user] = openai.OpenAI(api_key=f"sk-{user}", base_url=f"{self.url}/v1", max_retries=0)
        return self.clients[user]

    def get(self, path: str, user: str) -> httpx.Response:
        return httpx.get(self.url + path, headers={"authorization": f"Bearer sk-{user}"}, timeout=10)

    def charge(self, request_id: str) -> Charge:
        assert self.meter.ledger.flush(10.0)
        charge = self.meter.ledger.reader().receipt(request_id)
        assert charge is not None
        return charge


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    with model.serving(model.model_file()) as address:
        yield address


@pytest.fixture
def house(model_url: str, tmp_path_factory: pytest.TempPathFactory, short_folder: Path) -> Iterator[House]:
    folder = short_folder / tmp_path_factory.mktemp("e2e").name
    settings = config.load(
        {
            "ledger": {"data_dir": str(folder)},
            "identity": {"labels": {"ada": "api-key:" + subject_digest("sk-ada")}},
            "deployment": [
                {
                    "match": [model.MODEL],
                    "model": model.MODEL,
                    "hardware": "cpu-generic",
                    "precision": "int4",
                    "engine": "llama.cpp-cpu",
                    "site": "us-average",
                }
            ],
        },
        environment={},
    )
    with ExitStack() as stack:
        meter = Meter(settings)
        listener = stack.enter_context(server.listening(0))
        stack.enter_context(server.serving(FootprintMiddleware(Gateway(model_url), meter=meter), listener))
        made = House(server.url(listener), meter)
        yield made
        for client in made.clients.values():
            client.close()


def _ask(house: House, user: str, **options: Any) -> Any:
    return house.client(user).chat.completions.with_raw_response.create(
        model=model.MODEL,
        messages=[{"role": "user", "content": QUESTION}],
        stop=["\n"],
        max_tokens=24,
        temperature=0,
        **options,
    )


def test_a_json_reply_its_header_its_receipt_and_its_account_agree(house: House) -> None:
    raw = _ask(house, "ada")
    reply = raw.parse()

    assert "Paris" in reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert "<|" not in reply.choices[0].message.content
    folded = reply.usage.model_extra["footprint"]
    header = dictionary(raw.headers["headwater-footprint"])
    charge = house.charge(raw.headers["headwater-id"])
    amounts = charge.amounts
    assert amounts is not None
    assert charge.method == "observed"
    assert charge.observation.busy_s is not None
    assert (charge.usage.input_tokens, charge.usage.output_tokens) == (
        reply.usage.prompt_tokens,
        reply.usage.completion_tokens,
    )
    energy = float(disclosure.digits(amounts.energy_microjoules / MICROJOULES_PER_J))
    water = float(disclosure.digits(amounts.water_nanolitres / NANOLITRES_PER_UL))
    assert float(header["energy_j"][0]) == folded["energy_j"] == energy > 0
    assert (
        float(header["water_ul"][0]) == folded["water_ul"] == pytest.approx(water, abs=0.010001)
    )  # a unit of its last digit
    receipt = house.get(raw.headers["link"].partition(">")[0].lstrip("<"), "ada").json()
    assert receipt["derivation_agrees"] is True
    assert receipt["charged"]["energy_j"] * MICROJOULES_PER_J == pytest.approx(amounts.energy_microjoules)


def test_no_reply_shows_a_path_of_the_machine(house: House) -> None:
    whole = _ask(house, "ada").http_response.text
    models = house.get("/v1/models", "ada").text

    for text in (whole, models):
        assert re.search(r"/(home|root|tmp|Users|var)/|\.gguf", text) is None


@pytest.mark.parametrize("asked", [False, True])
def test_a_stream_carries_its_footprint_where_the_sdk_shows_it(house: House, asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    answer, finish, footprints, usage = "", None, [], None

    for _ in range(2):  # the first stream finds out that the upstream is llama.cpp, the second knows
        with _ask(house, "grace", stream=True, **options).parse() as stream:
            for chunk in stream:
                answer += "".join(choice.delta.content or "" for choice in chunk.choices)
                finish = next((choice.finish_reason for choice in chunk.choices if choice.finish_reason), finish)
                usage = chunk.usage or usage
                footprints += [(chunk.model_extra or {}).get("footprint")]
                footprints += [(chunk.usage.model_extra or {}).get("footprint")] if chunk.usage else []
    found = [footprint for footprint in footprints if footprint]

    assert answer.count("Paris") == 2
    assert finish == "stop"
    assert len(found) == 2
    assert {footprint["tokens"]["source"] for footprint in found} == {"upstream"}
    assert {footprint["method"] for footprint in found} == {"observed"}
    assert (usage is not None) == asked
    for footprint in found:
        charge = house.charge(footprint["id"])
        assert charge.usage.output_tokens == footprint["tokens"]["output"]
        if usage is not None:
            assert charge.usage.output_tokens == usage.completion_tokens


def test_a_client_that_leaves_in_mid_stream_is_charged_for_what_it_got(house: House) -> None:
    texts: list[str] = []
    with house.client("ada").chat.completions.create(
        model=model.MODEL,
        messages=[{"role": "user", "content": "Count to one thousand."}],
        max_tokens=1000,
        stream=True,
        temperature=0,
        extra_body={"ignore_eos": True},  # the answer must not end by itself before its reader leaves
    ) as stream:
        request_id = stream.response.headers["headwater-id"]
        for chunk in stream:
            texts += [choice.delta.content or "" for choice in chunk.choices]
            if len(texts) >= 5:
                break

    assert _until(lambda: house.meter.ledger.flush(1.0) and house.meter.ledger.reader().receipt(request_id) is not None)
    charge = house.charge(request_id)
    assert charge.outcome == "client_gone"
    assert charge.usage.source == "estimated"
    assert charge.usage.output_tokens is not None
    assert charge.usage.output_tokens >= 1
    assert charge.amounts is not None


def _until(holds: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(holds() or pause.wait(0.02) for _ in range(500))


def test_statement_totals_stream_receipts_and_the_clients_own_count_agree(house: House) -> None:
    counted: dict[str, list[int]] = {"ada": [0, 0, 0], "grace": [0, 0, 0]}
    ids: list[str] = []
    for user, options in (
        ("ada", {}),
        ("grace", {}),
        ("ada", {"stream": True, "stream_options": {"include_usage": True}}),
    ):
        raw = _ask(house, user, **options)
        reply = raw.parse()
        ids.append(raw.headers["headwater-id"])
        usage = reply.usage if not options else list(reply)[-1].usage
        for place, number in enumerate((1, usage.prompt_tokens, usage.completion_tokens)):
            counted[user][place] += number
    assert house.meter.ledger.flush(10.0)
    reader = house.meter.ledger.reader()

    made = statement(reader, house.meter.month())  # raises where rows and shard totals differ

    by_name = {row.label or "grace": row for row in made.rows}
    for user, numbers in counted.items():
        row = by_name[user]
        assert [row.requests_count, row.input_tokens, row.output_tokens] == numbers
    charges = {charge.request_id: charge for charge in reader.ledger_entries()}
    assert set(charges) == set(ids)
    assert (
        sum(charge.amounts.energy_microjoules for charge in charges.values() if charge.amounts)
        == made.total.energy_microjoules
    )
    assert (
        sum(charge.amounts.water_nanolitres for charge in charges.values() if charge.amounts)
        == made.total.water_nanolitres
    )
    assert [reader.receipt(request_id) for request_id in ids] == [charges[request_id] for request_id in ids]
    assert as_csv(made).count("\n") == 3
    me = house.get("/.well-known/headwater/me", "ada").json()
    assert me["month"]["tokens"]["output"] == counted["ada"][2]
    assert json.dumps(me).count("sk-") == 0


def test_a_request_the_model_server_refuses_is_refused_likewise(house: House) -> None:
    direct = httpx.post(
        house.url + "/v1/chat/completions", content=b'{"messages": 7}', headers={"authorization": "Bearer sk-bad"}
    )

    assert direct.status_code in (400, 500)
    assert "error" in direct.json()
    assert not any(name.startswith("headwater") for name in direct.headers)
