"""A real model server that speaks OpenAI's and Anthropic's APIs, llama.cpp, read through the gateway by real clients.

At temperature 0, with one seed, it says the same and counts the same through the gateway as it does without.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from headwater import config
from headwater.demo import model, server
from headwater.gateway import Gateway
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import Charge
from tests.clients import houses
from tests.clients.expectations import Counts, Places
from tests.clients.houses import ROOT, Run

pytestmark = pytest.mark.real_model
FOLDER: Final = ROOT / ".venv" / "clients" / "current"
# New with each run: names, moments, and how long the server took.
_PASSING: Final = frozenset({"id", "item_id", "created", "created_at", "completed_at", "timings"})
PLACES: Final[Places] = {
    "chat": "usage",
    "chat stream": "[-1]",
    "completions": "usage",
    # llama.cpp tells the usage of a streamed legacy completion unasked, in the chunk that ends it.
    "completions stream": "[-1].usage",
    "responses": "usage",
    "responses stream": "[-1].response.usage",
    "messages": "usage",
    "messages stream": "[-2].usage",
}


class Ran:
    """What the clients read without the gateway and through it, and what was charged."""

    def __init__(self, bare: Run, gateway: Run, charges: dict[str, Charge]) -> None:
        self.bare = bare
        self.gateway = gateway
        self.charges = charges


@pytest.fixture(scope="module")
def ran(short_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Every case once at the model server and once at the gateway in front of it."""
    if not FOLDER.with_name(f"{FOLDER.name}.done").exists():
        pytest.skip(f"{FOLDER.relative_to(ROOT)} is not installed; run: make .venv/clients.done")
    deployment = {
        "match": [model.MODEL],
        "model": model.MODEL,
        "hardware": "cpu-generic",
        "precision": "int4",
        "engine": "llama.cpp-cpu",
        "site": "us-average",
    }
    settings = config.load(
        {"ledger": {"data_dir": str(short_folder / "local")}, "deployment": [deployment]}, environment={}
    )
    with ExitStack() as stack:
        bare = stack.enter_context(model.serving(model.model_file()))
        meter = Meter(settings)
        listener = stack.enter_context(server.listening(0))
        stack.enter_context(server.serving(FootprintMiddleware(Gateway(bare), meter=meter), listener))
        found = houses.run_script(
            [sys.executable, "-S", "-m", "tests.clients.python.local_model", bare, server.url(listener)],
            tmp_path_factory.mktemp("home"),
            PYTHONPATH=f"{FOLDER}:{ROOT}",
        )
        assert meter.ledger.flush(10.0)
        with meter.ledger.reader() as reader:
            charges = {charge.request_id: charge for charge in reader.ledger_entries()}
    direct, gateway = found["runs"]
    return Ran(direct, gateway, charges)


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: None if name in _PASSING else _lasting(inner) for name, inner in value.items()}
    return [_lasting(inner) for inner in value] if isinstance(value, list) else value


def _told(reply: dict[str, Any]) -> Counts:
    """The usage of a whole reply, in the words of any of the APIs, as input with its cached part and output."""
    usage = reply["usage"]
    given: int = usage.get("prompt_tokens") or usage["input_tokens"]
    made: int = usage.get("completion_tokens") or usage["output_tokens"]
    return (given + (usage.get("cache_read_input_tokens") or 0), made)


def test_the_model_server_says_and_counts_the_same_through_the_gateway(ran: Ran) -> None:
    assert set(ran.bare) == set(ran.gateway) == set(PLACES)
    for name, bare in ran.bare.items():
        assert "error" not in bare, bare["error"]
        assert "error" not in ran.gateway[name], ran.gateway[name]["error"]
        assert bare["text"], name

        assert _lasting(houses.without_footprint(ran.gateway[name])) == _lasting(bare), name


def test_the_footprint_of_the_model_server_is_where_the_clients_show_it(ran: Ran) -> None:
    shown = {name: list(houses.footprints(case["reply"])) for name, case in ran.gateway.items()}

    assert {name: " ".join(place for place, _ in found) for name, found in shown.items()} == PLACES
    for name, found in shown.items():
        for _, footprint in found:
            assert footprint["id"] == ran.gateway[name]["headers"]["headwater-id"]
            assert footprint["method"] == "observed", name
            assert footprint["energy_j"] > 0


def test_the_account_has_the_counts_that_the_model_server_told(ran: Ran) -> None:
    ids = {name: case["headers"]["headwater-id"] for name, case in ran.gateway.items()}

    assert sorted(ids.values()) == sorted(ran.charges)
    for name, request_id in ids.items():
        usage = ran.charges[request_id].usage
        # A stream need not show its usage; the whole reply to the same prompt with the same seed does.
        told = _told(ran.bare[name.split()[0]]["reply"])
        assert usage.source == "upstream", name
        assert (usage.input_tokens, usage.output_tokens) == told, name
