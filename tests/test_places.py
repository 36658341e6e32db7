"""The operator's own sites and grids: what they replace, where they are named, and what is refused, with its line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headwater import catalog, config
from headwater.errors import ConfigError
from headwater.middleware import FootprintMiddleware
from headwater.physics.place import own_words
from headwater.physics.rates import rates
from headwater.places import Places
from headwater.records import Footprint, Observation, Usage
from headwater.serving import Serving
from tests.asgi import call, dictionary, json_app, reply, request
from tests.command import run
from tests.conftest import MakeMeter

OWN: dict[str, Any] = {
    "name": "dc-1",
    "like": "azure-westus3",
    "pue": {"value": 1.21, "low": 1.18, "high": 1.25, "source": "meters of 2026", "checked": "2026-10-01"},
    "wue_l_per_it_kwh": 0.9,
    "wue_basis": "consumption",
    "wue_category": "Category 2",
}


def places(**document: Any) -> Places:
    return Places(config.load(document, environment={}))


def test_own_figures_replace_the_catalogs_and_the_rest_stays() -> None:
    site = places(site=[OWN]).site("dc-1")

    catalogs = catalog.site("azure-westus3")
    assert (site.pue.low, site.pue.value, site.pue.high) == (1.18, 1.21, 1.25)
    assert (site.pue.source, site.pue.checked) == ("the operator's own: meters of 2026", "2026-10-01")
    assert site.wue_l_per_it_kwh is not None
    assert (site.wue_l_per_it_kwh.low, site.wue_l_per_it_kwh.high) == (0.9, 0.9)
    assert (site.wue_basis, site.wue_category, site.grid) == ("consumption", "Category 2", catalogs.grid)
    assert site.own == ("pue", "wue")


def test_a_site_named_like_the_catalogs_replaces_it() -> None:
    found = places(site=[{"name": "azure-westus3", "pue": 1.3}])

    assert found.site("azure-westus3").pue.value == 1.3
    assert found.site("azure-westus3").grid == catalog.site("azure-westus3").grid
    assert found.site("local") is catalog.site("local")


def test_a_whole_site_on_a_grid_of_ones_own_needs_no_catalog_entry() -> None:
    grid = {
        "name": "own-grid",
        "year": "2026",
        "carbon_g_per_kwh": 30,
        "ewif_hydro_include_l_per_kwh": {"value": 2, "low": 1, "high": 3},
        "ewif_hydro_exclude_l_per_kwh": 0.1,
    }
    site = {"name": "dc-2", "grid": "own-grid", "pue": 1.1, "wue_l_per_it_kwh": 0.2, "wue_basis": "withdrawal"}

    found = places(site=[site], grid=[grid])

    assert found.grid(found.site("dc-2").grid).ewif_hydro_include_l_per_kwh.high == 3
    assert found.grid("own-grid").own == ("carbon", "ewif-include", "ewif-exclude")


def test_training_is_shown_only_where_wanted_and_disclosed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "names", lambda kind: ("gpt-x",) if kind == "trainings" else ())
    monkeypatch.setattr(catalog, "training", lambda name: name)

    wanted = places(training={"requests": 1e9})

    assert places().training("gpt-x") is None
    assert wanted.training("llama-3.1-8b") is None
    share = wanted.training("gpt-x")
    assert share is not None
    assert share.requests_count == 1e9


# -- what stops at start --------------------------------------------------------------------------------------------------------

HEAD = '[[deployment]]\nhardware = "hgx-h100"\nengine = "vllm-0.11"\nsite = "dc-1"\n\n[[site]]\nname = "dc-1"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("like = \"local\"\npue = -1\n", ["line 9", "pue", "at least 1", "-1"]),
        ("like = \"local\"\npue = 0.9\n", ["line 9", "pue", "at least 1", "0.9"]),
        ("like = \"local\"\npue = true\n", ["line 9", "pue", "must be a number"]),
        ("like = \"local\"\npue = nan\n", ["line 9", "pue", "finite"]),
        ("like = \"local\"\n[site.pue]\nlow = 1.1\n", ["line 9", "pue", "needs a value"]),
        (
            "like = \"local\"\npue = { value = 1.2, low = 1.3, high = 1.4 }\n",
            ["line 9", "pue", "low 1.3, value 1.2, high 1.4 are out of order", "write them rising"],
        ),
        ("like = \"local\"\n\n\nwue_l_per_it_kwh = 1\n", ["line 6", "wue_basis", "consumption, withdrawal or unstated"]),
        (
            "like = \"local\"\nwue_l_per_it_kwh = -0.1\nwue_basis = \"withdrawal\"\n",
            ["line 9", "wue_l_per_it_kwh", "at least 0", "-0.1"],
        ),
        (
            "like = \"local\"\nwue_l_per_it_kwh = 1\nwue_basis = \"withdrawal\"\nwue_method = \"tower\"\n",
            ["line 6", "not used with wue_method 'tower'"],
        ),
        ("like = \"local\"\nwue_basis = \"drawn\"\n", ["line 9", "wue_basis", "consumption", "drawn"]),
        ("like = \"azure-westus\"\n", ["line 8", "like", "azure-westus3"]),
        ("like = \"local\"\ngrid = \"usaa\"\n", ["line 9", "grid", "usaa", "usa"]),
        ("like = \"local\"\ntower = \"tower-modern\"\n", ["line 6", "wue_method = \"tower\" only"]),
        (
            "like = \"local\"\nwue_method = \"tower\"\ntower = \"tall\"\n",
            ["line 10", "tower", "'tall' is not in the catalog of towers"],
        ),
        ("like = \"local\"\npue = 121\n", ["line 9", "at most 10", "percent", "121"]),
        ("like = \"local\"\nwet_bulb_c = 290\n", ["line 9", "at most 60", "Celsius", "290"]),
        ("like = \"local\"\nhours = \"~nobody-of-that-name/h.csv\"\n", ["line 9", "hours", "nobody-of-that-name"]),
        ("like = \"local\"\nhours = \"a\\u0000b\"\n", ["line 9", "hours", "cannot be read"]),
        ("like = \"local\"\nwue_method = \"tower\"\n", ["line 6", "needs tower"]),
        ("pue = 1.1\n", ["line 6", "'dc-1' is not in the catalog", "like"]),
        ("like = \"local\"\npeu = 1.1\n", ["line 9", "no such setting", "did you mean 'pue'"]),
        ("like = \"local\"\nhours_repeat = true\n", ["line 6", "hours_repeat needs hours"]),
        ("like = \"local\"\n[[site]]\nname = \"a|b\"\nlike = \"local\"\n", ["line 10", "name", "a|b"]),
        ("like = \"local\"\n[[site]]\nname = \"dc-1\"\nlike = \"local\"\n", ["'dc-1' is there more than once"]),
    ],
)  # fmt: skip
def test_a_bad_site_stops_at_start_and_names_file_line_value_and_remedy(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = tmp_path / "headwater.toml"
    path.write_text(HEAD + text)

    with pytest.raises(ConfigError) as caught:
        Serving(config.load(path, environment={}))

    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[deployment]]\nhardware = "hgx-h100"\nengine = "vllm-0.11"\nsite = "azure-westus"\n', ["line 4", "azure-westus3"]),
        ('[[deployment]]\nhardware = "hgx-h1000"\nengine = "vllm-0.11"\n', ["line 2", "hgx-h100"]),
        ('[factors]\nset = "current"\n', ["line 2", "current-2026.11"]),
        ('[[deployment]]\nhardware = "hgx-h100"\nengine = "vllm-0.11"\naccelerators = 9\n', ["line 1", "accelerators_count (9)"]),
        ('[[grid]]\nname = "usa"\ncarbon_g_per_kwh = { value = 5, low = 9 }\n', ["line 3", "out of order"]),
        ('[[grid]]\nname = "mine"\ncarbon_g_per_kwh = 5\n', ["line 1", "all of it must be given", "ewif_hydro_exclude_l_per_kwh"]),
        ('[[tariff]]\ncurrency = "EUR"\n[[tariff]]\ncurrency = "USD"\nvalid_from = 2026-01-01\n', ["one currency"]),
    ],
)  # fmt: skip
def test_other_bad_names_and_values_name_file_and_line_too(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "headwater.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        Serving(config.load(path, environment={}))

    for word in [str(path), *words]:
        assert word in str(caught.value)


# -- where they are named -----------------------------------------------------------------------------------------------------


async def test_every_disclosure_names_the_operators_own_figures(make_meter: MakeMeter, key: str) -> None:
    served = {"match": ["*"], "model": "gemma-3-270m", "hardware": "hgx-h100", "engine": "vllm-0.11", "site": "dc-1"}
    meter = make_meter(site=[OWN], deployment=[served])
    app = FootprintMiddleware(json_app(reply()), meter=meter)

    seen = await call(app, request(), key=key)

    assert await asyncio.to_thread(meter.ledger.flush, 10.0)
    path = f"/.well-known/headwater/requests/{seen.headers['headwater-id']}"
    receipt = (await call(app, path=path, method="GET", key=key)).json
    assert dictionary(seen.headers["headwater-footprint"])["factors"][1]["own"] == "pue wue"
    folded = seen.json["usage"]["footprint"]
    assert (folded["own"], folded["wue_basis"]) == (["pue", "wue"], "consumption")
    assert receipt["deployment"]["own"] == ["pue", "wue"]
    assert any("the operator's own: meters of 2026" in step["source"] for step in receipt["derivation"])
    assert receipt["derivation_agrees"] is True


# -- on the command line ------------------------------------------------------------------------------------------------------

TOWER = """[[site]]
name = "dc-1"
grid = "own-grid"
pue = 1.15
wue_method = "tower"
tower = "tower-modern"
wet_bulb_c = -4
[[grid]]
name = "own-grid"
like = "france"
carbon_g_per_kwh = 30
"""


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["estimate", "llama-3.1-8b", "--input", "8", "--output", "3", "--json"], "--site"),
        (["compare", "--models", "llama-3.1-8b", "--input", "8", "--output", "3", "--json"], "--sites"),
        (["fleet", "--accelerators", "8", "--json"], "--site"),
    ],
)
def test_commands_know_the_sites_of_a_settings_file_that_is_named(
    command: list[str], option: str, tmp_path: Path
) -> None:
    path = tmp_path / "h.toml"
    path.write_text(TOWER)

    named = run(*command, option, "dc-1", "--config", str(path))
    unnamed = run(*command, option, "dc-1")

    document = json.loads(named.stdout)
    (known,) = document.get("estimates", [document])
    assert known.get("deployment", known)["site"] == "dc-1"
    assert (unnamed.returncode, unnamed.stdout) == (2, "")
    assert "known with --config FILE" in unnamed.stderr


def test_every_error_of_a_settings_file_has_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "h.toml"
    path.write_text("[[site]]\nname = 'a'\npue = 0.5\n[[site]]\nname = 'b'\npue = 0.7\n")

    done = run("report", "--config", str(path))

    assert done.returncode == 2
    assert [line.strip().partition(",")[0] for line in done.stderr.splitlines()[1:]] == ["line 3", "line 6"]
    assert "\\n" not in done.stderr


def test_a_site_with_a_tower_needs_no_entry_to_start_from() -> None:
    own = {"name": "dc-3", "grid": "usa", "pue": 1.1, "wue_method": "tower", "tower": "tower-modern", "wet_bulb_c": -4}

    site = places(site=[own]).site("dc-3")

    assert (site.wue_basis, site.wue_l_per_it_kwh, site.own) == (
        "consumption",
        None,
        ("pue", "wet-bulb", "wue", "grid"),
    )


@pytest.mark.parametrize(
    ("changes", "factors", "words"),
    [
        ({"pue": 1.3}, {}, ("pue",)),
        ({"grid": "france"}, {}, ("grid",)),
        ({"wue_basis": "consumption"}, {}, ("wue",)),
        ({"wue_method": "tower", "tower": "tower-modern"}, {}, ("wue",)),
        ({"wet_bulb_c": 12}, {}, ()),  # no water hangs on it
        ({"market_g_per_kwh": 5}, {}, ()),  # it is beside the charge
        ({"pue": 1.3, "wue_l_per_it_kwh": 1, "wue_basis": "consumption"}, {"set": "seed-2023"}, ()),
    ],
)
def test_disclosures_name_what_was_used_of_the_operators_figures(
    changes: dict[str, Any], factors: dict[str, str], words: tuple[str, ...]
) -> None:
    served = {"match": ["*"], "model": "gemma-3-270m", "hardware": "hgx-h100", "engine": "vllm-0.11", "site": "dc-1"}
    document = {
        "site": [{"name": "dc-1", "like": "azure-westus3", **changes}],
        "deployment": [served],
        "factors": factors,
    }

    profile = Serving(config.load(document, environment={})).of("chat").profile
    assert profile is not None
    usage = Usage(input_tokens=10, output_tokens=10, source="upstream")
    found = profile.estimate(usage, Observation(concurrency_count=2))

    assert isinstance(found, Footprint)
    assert found.own == words
    assert (found.wue_basis == "set") == (factors != {})


def test_the_side_of_hydropower_that_is_not_counted_is_not_named() -> None:
    grid = {"name": "usa", "ewif_hydro_exclude_l_per_kwh": 1}
    served = {"match": ["*"], "model": "gemma-3-270m", "hardware": "hgx-h100", "engine": "vllm-0.11"}

    found = {
        hydro: own_words(
            deployment := Serving(
                config.load({"grid": [grid], "deployment": [served], "factors": {"hydro": hydro}}, environment={})
            )
            .of("chat")
            .profile.deployment,  # type: ignore[union-attr]  # the model is named
            rates(deployment),
        )
        for hydro in ("include", "exclude")
    }

    assert found == {"include": (), "exclude": ("ewif",)}
