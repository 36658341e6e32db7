"""Settings: where they come from, and what is said about those that cannot be used."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from headwater import config
from headwater.config.lines import Lines
from headwater.errors import ConfigError


def test_without_anything_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    settings = config.load(environment={})

    assert settings.ledger.redis_url is None
    assert settings.factors.set == "current-2026.11"
    assert settings.identity.rules == ("api-key",)
    assert settings.fallback is None


def test_a_file_in_the_working_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("headwater.toml").write_text('[identity]\nfrom = ["header:x-user-id"]\n')

    assert config.load(environment={}).identity.rules == ("header:x-user-id",)


def test_a_named_file_is_read_from_argument_and_environment(tmp_path: Path) -> None:
    path = tmp_path / "h.toml"
    path.write_text('[factors]\nset = "seed-2023"\n')

    assert config.load(path, environment={}).factors.set == "seed-2023"
    assert config.load(environment={"HEADWATER_CONFIG": str(path)}).factors.set == "seed-2023"


def test_the_environment_overrules_the_file() -> None:
    settings = config.load(
        {"ledger": {"redis_url": "redis://file"}},
        environment={"HEADWATER_REDIS_URL": "redis://environment", "HEADWATER_DATA_DIR": "relative"},
    )

    assert settings.ledger.redis_url == "redis://environment"
    assert settings.ledger.data_dir == Path.cwd() / "relative"


def test_ready_made_settings_are_taken_as_they_are() -> None:
    made = config.Settings()

    assert config.load(made) is made


@pytest.mark.parametrize(
    ("text", "location", "line"),
    [
        ('a = """\n[[site]]\n"""\n[[site]]\nname = "x"\n', ("site", 0, "name"), 5),
        ("[[site]]\n[[site]]\npue = 1\n[site.wue]\nlow = 2\n", ("site", 1, "wue", "low"), 5),
        ("[[site]]\n[[site]]\npue.value = 1\npue.low = 2\n", ("site", 1, "pue"), 3),
        ('[tariff]\n"servers" = { "hgx-h100" = 5 }\n', ("tariff", "servers", "hgx-h100"), 2),
        ("# [[site]]\n[[site]]\n", ("site", 0, "pue"), 2),
        ("[identity.labels]\nada = 'x'\n", ("identity", "labels", "ada"), 2),
    ],
)
def test_a_setting_is_found_on_its_line(text: str, location: tuple[int | str, ...], line: int) -> None:
    tomllib.loads(text)  # what is read is TOML

    assert Lines("it", text).where(location).startswith(f"line {line}, ")


def test_what_stands_nowhere_has_its_name_only() -> None:
    assert Lines("the settings").where(("site", 0, "pue")) == "[[site]] number 1, pue"
    assert Lines("it", "[[site]]\n").where(("grid", 0)) == "[[grid]] number 1"


def test_where_settings_stand_is_no_part_of_what_they_say() -> None:
    assert Lines("a", "x = 1") == Lines("b")
    assert len({Lines("a"), Lines("b")}) == 1


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"ledger": {"redis_url": "http://x"}}, ["ledger.redis_url", "redis://", "http://x"]),
        ({"ledgr": {}}, ["ledgr", "no such setting"]),
        (
            {"deployment": [{"hardwear": "x", "engine": "y"}]},
            ["[[deployment]] number 1, hardwear", "did you mean 'hardware'"],
        ),
        ({"deployment": {"hardware": "x"}}, ["must be a list", "[[deployment]]"]),
        ({"deployment": [{"hardware": "x", "engine": "y", "name": "a b"}]}, ["number 1, name", "a b"]),
        ({"deployment": [{"engine": "y"}]}, ["[[deployment]] number 1, hardware: is missing"]),
        ({"identity": {"from": "api-key"}}, ["identity.from: must be a list, not 'api-key'"]),
        ({"deployment": [{"hardware": "dgx-a100", "engine": "vllm-0.11", "accelerators": 0}]}, ["accelerators", "0"]),
        ({"identity": {"labels": {"ada": "plain-key"}}}, ["identity.labels.ada", "sha256sum"]),
        ({"limits": {"hold_bytes": -1}}, ["limits.hold_bytes", "-1"]),
    ],
)
def test_a_bad_value_is_named_with_its_place(document: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(document, environment={})

    for word in words:
        assert word in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[ledger\n")

    with pytest.raises(ConfigError, match="nowhere"):
        config.load(tmp_path / "nowhere.toml", environment={})
    with pytest.raises(ConfigError, match=r"broken\.toml is not TOML"):
        config.load(broken, environment={})


def test_a_label_that_may_be_a_key_in_clear_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        config.load({"identity": {"labels": {"ada": "sk-mysecret-123"}}}, environment={})

    assert "mysecret" not in str(caught.value)
    assert "identity.labels.ada: must be the rule" in str(caught.value)
