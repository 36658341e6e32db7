"""headwater.toml and the environment -> validated settings. The only reader of configuration; knows no default of physics."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from headwater.errors import ConfigError
from headwater.records import Hosting, Hydro, Precision

_Name = Annotated[str, StringConstraints(min_length=1)]
_ENVIRONMENT = {
    "HEADWATER_REDIS_URL": ("ledger", "redis_url"),
    "HEADWATER_DATA_DIR": ("ledger", "data_dir"),
}
DEFAULT_FILE = "headwater.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LedgerSettings(_Section):
    """`[ledger]`. Without `redis_url` a real server of our own is started in `data_dir`."""

    redis_url: str | None = None
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("headwater"))

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("redis_url")
    @classmethod
    def _scheme(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value


class IdentitySettings(_Section):
    """`[identity]`. `from`: rules in their order. `labels`: label -> the rule that finds the user, a colon, and the SHA-256
    (hex) of the API key or user id: `api-key:0f1e...`, `header:x-user-id:0f1e...`, `identify:0f1e...`."""

    rules: tuple[_Name, ...] = Field(default=("api-key",), alias="from")
    labels: dict[str, Annotated[str, StringConstraints(pattern=r"^(api-key|header:[^:]+|identify):[0-9a-f]{64}$")]] = (
        Field(default_factory=dict)
    )


class DeploymentSettings(_Section):
    """`[[deployment]]`: which hardware serves which models of the request. Names are catalog entries.

    `name`: entries with one name are one deployment, in one process and across all that share a store: what they have in
    flight adds up. Without it, entries with equal settings are.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    match: tuple[_Name, ...] = ("*",)
    model: str | None = None
    """None: the catalog entry with the name that the request gives."""
    hardware: _Name
    accelerators: Annotated[int, Field(ge=1)] | None = None
    """That hold one copy of the model together."""
    replicas: Annotated[int, Field(ge=1)] = 1
    attention_accelerators: Annotated[int, Field(ge=1)] | None = None
    """That share one copy of the attention; fewer than `accelerators` is attention data parallelism."""
    precision: Precision | None = None
    """None: the one that the model was published in."""
    cache_precision: Literal["bf16", "fp8"] = "bf16"
    engine: _Name
    site: _Name = "us-average"
    hosting: Hosting = "own"
    """`hosted`: others use the server too, unseen; then neither concurrency nor time seen here is the server's."""
    concurrency: Annotated[float, Field(ge=1)] | None = None

    @property
    def shared_name(self) -> str:
        """What this deployment is called in all processes: its name, or a digest of its settings that are not the defaults."""
        if self.name is not None:
            return self.name
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:16]


class FactorSettings(_Section):
    """`[factors]`."""

    set: _Name = "current-2026.11"
    hydro: Hydro | None = None


class DisclosureSettings(_Section):
    """`[disclosure]`. `usage`: fold into the reply's usage; `off`: headers and receipts only."""

    placement: Literal["usage", "off"] = "usage"


class LimitSettings(_Section):
    """`[limits]`. Bytes of a JSON reply held for its header, and of bodies kept for metering."""

    hold_bytes: Annotated[int, Field(ge=0)] = 1024 * 1024
    meter_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024


class FallbackSettings(_Section):
    """`[fallback]`: what stands in for a model that the catalog does not know. Off unless given."""

    model: _Name = "generic-wide"


class Settings(_Section):
    """Everything an operator can set; every part has a default."""

    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    identity: IdentitySettings = Field(default_factory=IdentitySettings)
    deployment: tuple[DeploymentSettings, ...] = (DeploymentSettings(hardware="hgx-h100", engine="vllm-0.11"),)
    fallback: FallbackSettings | None = None
    factors: FactorSettings = Field(default_factory=FactorSettings)
    disclosure: DisclosureSettings = Field(default_factory=DisclosureSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)


_KNOWN = tuple(
    field.alias or name
    for section in (
        Settings,
        LedgerSettings,
        IdentitySettings,
        DeploymentSettings,
        FallbackSettings,
        FactorSettings,
        DisclosureSettings,
        LimitSettings,
    )
    for name, field in section.model_fields.items()
)


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
    name, values = _read(source, environment)
    document: dict[str, Any] = {key: dict(part) if isinstance(part, Mapping) else part for key, part in values.items()}
    for variable, (section, key) in _ENVIRONMENT.items():
        if environment.get(variable):
            document.setdefault(section, {})[key] = environment[variable]
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        lines = [f"  {_place(part['loc'])}: {_words(part)}" for part in error.errors()]
        raise ConfigError("\n".join([f"{name} cannot be used:", *lines])) from None


def _place(location: tuple[int | str, ...]) -> str:
    """`deployment.0.hardware` as people count: `[[deployment]] 1, hardware`."""
    if len(location) > 1 and isinstance(location[1], int):
        return f"[[{location[0]}]] number {location[1] + 1}{''.join(f', {part}' for part in location[2:])}"
    return ".".join(map(str, location))


def _words(part: Any) -> str:
    kind, found = part["type"], part.get("input")
    if kind == "extra_forbidden":
        close = get_close_matches(str(part["loc"][-1]), _KNOWN, n=1)
        return f"there is no such setting{f'; did you mean {close[0]!r}?' if close else ''}"
    if kind == "missing":
        return "is missing"
    if kind == "tuple_type":
        hint = "; write [[deployment]], with two brackets" if isinstance(found, dict) else ""
        return f"must be a list, not {found!r}{hint}"
    return f"{part['msg']} (found {found!r})"


def _read(
    source: Mapping[str, Any] | str | Path | None, environment: Mapping[str, str]
) -> tuple[str, Mapping[str, Any]]:
    if isinstance(source, Mapping):
        return "the settings", source
    named = source if source is not None else environment.get("HEADWATER_CONFIG") or None
    path = Path(named if named is not None else DEFAULT_FILE)
    if named is None and not path.exists():
        return "the settings", {}
    try:
        return str(path), tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
