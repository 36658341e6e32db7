"""headwater.toml and the environment -> validated settings. The only reader of configuration; knows no default of physics."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from headwater.config.lines import Lines, Misplaced, Place
from headwater.config.settings import (
    DeploymentSettings,
    Figure,
    GridSettings,
    Settings,
    SiteSettings,
    TariffSettings,
)
from headwater.endpoint import masked
from headwater.errors import ConfigError

__all__ = [
    "DeploymentSettings",
    "Figure",
    "GridSettings",
    "Settings",
    "SiteSettings",
    "TariffSettings",
    "load",
]

_ENVIRONMENT = {
    "HEADWATER_REDIS_URL": ("ledger", "redis_url"),
    "HEADWATER_REDIS_PASSWORD": ("ledger", "password"),
    "HEADWATER_DATA_DIR": ("ledger", "data_dir"),
}
_SECRETS = (("ledger", "redis_url"), ("ledger", "password"))
DEFAULT_FILE = "headwater.toml"


def _names_of(section: type[BaseModel]) -> Iterator[str]:
    """The names of all settings of a section and of those in it."""
    for name, field in section.model_fields.items():
        yield field.alias or name
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in inner:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _names_of(kind)


_KNOWN = tuple(dict.fromkeys(_names_of(Settings)))


def load(
    source: Settings | Mapping[str, Any] | str | Path | None = None, *, environment: Mapping[str, str] | None = None
) -> Settings:
    """Settings from a mapping, from a TOML file, or from where they usually are; the environment overrules the file.

    None: the file that HEADWATER_CONFIG names, else `headwater.toml` in the working folder where there is one.

    Raises:
        ConfigError: a file that was named is not there or is not TOML, or a value is off; names file, value and remedy.
    """
    if isinstance(source, Settings):
        return source
    environment = os.environ if environment is None else environment
    lines, values = _read(source, environment)
    document: dict[str, Any] = {key: dict(part) if isinstance(part, Mapping) else part for key, part in values.items()}
    for variable, (section, key) in _ENVIRONMENT.items():
        if environment.get(variable):
            document.setdefault(section, {})[key] = environment[variable]
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        told = [f"  {lines.where(_place(part))}: {_words(part)}" for part in error.errors()]
        raise ConfigError("\n".join([f"{lines.name} cannot be used:", *told])) from None
    settings.found_in(lines)
    return settings


def _place(part: Any) -> Place:
    found = part.get("ctx", {}).get("error")
    place: Place = found.place if isinstance(found, Misplaced) else part["loc"]
    return place


def _words(part: Any) -> str:
    kind, found = part["type"], part.get("input")
    if part["loc"] in _SECRETS:
        if not isinstance(found, str):
            return "must be a text"
        found = masked(found)
    if part["loc"][:2] == ("identity", "labels") and kind != "extra_forbidden":
        # Perhaps a key in clear: it is not shown.
        return (
            "must be the rule that finds the user, a colon and the SHA-256 of the API key or user id, like api-key:0f1e...; "
            'printf %s "$KEY" | sha256sum makes one'
        )
    if kind == "extra_forbidden":
        close = get_close_matches(str(part["loc"][-1]), _KNOWN, n=1)
        return f"there is no such setting{f'; did you mean {close[0]!r}?' if close else ''}"
    if kind == "missing":
        return "is missing"
    if kind == "tuple_type":
        hint = f"; write [[{part['loc'][0]}]], with two brackets" if isinstance(found, dict) else ""
        return f"must be a list, not {found!r}{hint}"
    if kind == "value_error":
        said = str(part["ctx"]["error"])
        shown = found if isinstance(found, str | int | float) else None
        is_said = shown is None or isinstance(shown, bool) or str(shown) in said
        return said if is_said else f"{said} (found {shown!r})"
    return f"{part['msg']} (found {found!r})"


def _read(
    source: Mapping[str, Any] | str | Path | None, environment: Mapping[str, str]
) -> tuple[Lines, Mapping[str, Any]]:
    if isinstance(source, Mapping):
        return Lines("the settings"), source
    named = source if source is not None else environment.get("HEADWATER_CONFIG") or None
    path = Path(named if named is not None else DEFAULT_FILE)
    if named is None and not path.exists():
        return Lines("the settings"), {}
    try:
        text = path.read_text(encoding="utf-8-sig")
        return Lines(str(path), text, folder=path.absolute().parent), tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not TOML or not UTF-8; a number too long, tables too deep
        raise ConfigError(f"{path} is not TOML: {error}") from None
