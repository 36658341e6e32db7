"""What an operator can set, section by section, with every default and every rule. Reads no file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    StringConstraints,
    field_validator,
    model_validator,
)

from headwater.config.ledger import LedgerSettings
from headwater.config.lines import Lines, Misplaced
from headwater.config.prices import Currency, Day, Price
from headwater.config.retention import RetentionSettings
from headwater.config.section import Name, Section
from headwater.records import Hosting, Hydro, Precision, WueBasis, WueMethod
from headwater.units import MOST_G_PER_KWH, MOST_L_PER_KWH, MOST_PUE, MOST_WET_BULB_C

# It becomes part of keys and statements.
_PlaceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


Reports = Literal["use", "ignore"]
"""`use`: energy that an upstream reports is charged where it is plausible, in preference to the model."""


class IdentitySettings(Section):
    """`[identity]`. `from`: rules in their order. `labels`: label -> the rule that finds the user, a colon, and the SHA-256
    (hex) of the API key or user id: `api-key:0f1e...`, `header:x-user-id:0f1e...`, `identify:0f1e...`."""

    rules: tuple[Name, ...] = Field(default=("api-key",), alias="from")
    labels: dict[str, Annotated[str, StringConstraints(pattern=r"^(api-key|header:[^:]+|identify):[0-9a-f]{64}$")]] = (
        Field(default_factory=dict)
    )


class DeploymentSettings(Section):
    """`[[deployment]]`: which hardware serves which models of the request. Names are catalog entries.

    `name`: entries with one name are one deployment, in one process and across all that share a store: what they have in
    flight adds up. Without it, entries with equal settings are.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    match: tuple[Name, ...] = ("*",)
    model: str | None = None
    """None: the catalog entry with the name that the request gives."""
    hardware: Name
    accelerators: Annotated[int, Field(ge=1)] | None = None
    """That hold one copy of the model together."""
    replicas: Annotated[int, Field(ge=1)] = 1
    attention_accelerators: Annotated[int, Field(ge=1)] | None = None
    """That share one copy of the attention; fewer than `accelerators` is attention data parallelism."""
    precision: Precision | None = None
    """None: the one that the model was published in."""
    cache_precision: Literal["bf16", "fp8"] = "bf16"
    engine: Name
    site: Name = "us-average"
    hosting: Hosting = "own"
    """`hosted`: others use the server too, unseen; then neither concurrency nor time seen here is the server's."""
    concurrency: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    reports: Reports | None = None
    """What becomes of energy that this upstream reports; None: as in `[metering]`."""

    @property
    def shared_name(self) -> str:
        """What this deployment is called in all processes: its name, or a digest of its settings that are not the defaults."""
        if self.name is not None:
            return self.name
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:16]


class Figure(Section):
    """A figure of the operator's own. A number alone has no range."""

    value: float
    low: float
    high: float
    source: Name = "headwater.toml"
    checked: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, given: Any) -> Any:
        if isinstance(given, bool) or not isinstance(given, int | float | Mapping):
            raise ValueError("must be a number, or a table with value, low and high")
        if isinstance(given, Mapping):
            if "value" not in given:
                raise ValueError("needs a value")
            return {"low": given["value"], "high": given["value"], **given}
        return {"value": given, "low": given, "high": given}

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not all(map(math.isfinite, (self.low, self.value, self.high))):
            raise ValueError("must be finite")
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"low {self.low:g}, value {self.value:g}, high {self.high:g} are out of order; write them rising"
            )
        return self


def _at_least(least: float, why: str) -> AfterValidator:
    def check(figure: Figure) -> Figure:
        if figure.low < least:
            raise ValueError(f"must be at least {least:g}, {why}; not {figure.low:g}")
        return figure

    return AfterValidator(check)


def _at_most(most: float, why: str) -> AfterValidator:
    def check(figure: Figure) -> Figure:
        if figure.high > most:
            raise ValueError(f"must be at most {most:g}, {why}; not {figure.high:g}")
        return figure

    return AfterValidator(check)


_Pue = Annotated[
    Figure,
    _at_least(1, "as facility energy contains IT energy"),
    _at_most(MOST_PUE, "as a ratio and not in percent"),
]
_Litres = Annotated[
    Figure,
    _at_least(0, "as less than nothing cannot be used"),
    _at_most(MOST_L_PER_KWH, "in litres per kWh"),
]
_Grams = Annotated[
    Figure,
    _at_least(0, "as less than nothing cannot be taken out"),
    _at_most(MOST_G_PER_KWH, "in grams per kWh"),
]
_Celsius = Annotated[
    Figure,
    _at_least(-MOST_WET_BULB_C, "in degrees Celsius"),
    _at_most(MOST_WET_BULB_C, "in degrees Celsius"),
]


class GridSettings(Section):
    """`[[grid]]`: electricity of the operator's own; what is not given is taken from the catalog's entry `like`."""

    name: _PlaceName
    like: Name | None = None
    """None: the catalog's entry of the same name."""
    year: str | None = None
    carbon_g_per_kwh: _Grams | None = None
    ewif_hydro_include_l_per_kwh: _Litres | None = None
    ewif_hydro_exclude_l_per_kwh: _Litres | None = None
    ewif_withdrawal_l_per_kwh: _Litres | None = None


class SiteSettings(Section):
    """`[[site]]`: a site of the operator's own; what is not given is taken from the catalog's entry `like`.

    `hours`: a CSV file with the carbon of the grid and the wet-bulb temperature hour by hour; relative to the settings file.
    """

    name: _PlaceName
    like: Name | None = None
    """None: the catalog's entry of the same name."""
    grid: Name | None = None
    year: str | None = None
    pue: _Pue | None = None
    wue_l_per_it_kwh: _Litres | None = None
    wue_basis: WueBasis | None = None
    wue_category: str | None = None
    wue_method: WueMethod | None = None
    tower: Name | None = None
    curve: Name | None = None
    wet_bulb_c: _Celsius | None = None
    market_g_per_kwh: _Grams | None = None
    hours: Path | None = None
    hours_repeat: bool = False
    """A year's series stands for the same hours of other years too."""

    @model_validator(mode="after")
    def _has_basis(self) -> Self:
        if self.wue_l_per_it_kwh is not None and self.wue_basis is None:
            raise ValueError(
                "wue_l_per_it_kwh needs wue_basis: consumption, withdrawal or unstated; the two differ by what is given back"
            )
        if self.wue_l_per_it_kwh is not None and self.wue_method not in (None, "reported"):
            raise ValueError(f"wue_l_per_it_kwh is not used with wue_method {self.wue_method!r}; leave one of them out")
        for name, method in (("tower", "tower"), ("curve", "li2023")):
            if getattr(self, name) is not None and self.wue_method != method:
                raise ValueError(f'{name} is used with wue_method = "{method}" only; add that, or leave {name} out')
        if self.hours_repeat and self.hours is None:
            raise ValueError("hours_repeat needs hours, the file of the series")
        return self


class TariffSettings(Section):
    """`[[tariff]]`: prices from a day on. A number of more than 15 digits is written as a text."""

    valid_from: Day | None = None
    """The first day in UTC; None: from the beginning."""
    currency: Currency
    electricity_per_kwh: Price | None = None
    water_per_m3: Price | None = None
    servers: dict[Name, Price] = Field(default_factory=dict)
    """Price of a whole server, by catalog name."""


class TrainingSettings(Section):
    """`[training]`: show a share of the models' training beside each charge. Off unless given."""

    requests: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    """Over how many requests a training is spread evenly."""


class FactorSettings(Section):
    """`[factors]`."""

    set: Name = "current-2026.11"
    hydro: Hydro | None = None


class DisclosureSettings(Section):
    """`[disclosure]`. `usage`: fold into the reply's usage; `top`: to the end of the object that contains it; `off`: headers
    and receipts only. `compat`: say it in the words of others too, on OpenAI's routes. `cost`: receipts over HTTP show
    what a request cost by the `[[tariff]]`; whoever sees it can work out the prices."""

    placement: Literal["usage", "top", "off"] = "usage"
    compat: tuple[Literal["neuralwatt", "greenpt"], ...] = ()
    cost: bool = False

    @model_validator(mode="after")
    def _has_place(self) -> Self:
        if self.compat and self.placement == "off":
            raise ValueError('compat puts fields into replies, placement = "off" forbids it; leave one of them out')
        return self


class MeteringSettings(Section):
    """`[metering]`: what becomes of energy that upstreams report."""

    reports: Reports = "use"


class LimitSettings(Section):
    """`[limits]`. Bytes of a JSON reply held for its header, and of bodies kept for metering."""

    hold_bytes: Annotated[int, Field(ge=0)] = 1024 * 1024
    meter_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024


class FallbackSettings(Section):
    """`[fallback]`: what stands in for a model that the catalog does not know. Off unless given."""

    model: Name = "generic-wide"


class Settings(Section):
    """Everything an operator can set; every part has a default."""

    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    identity: IdentitySettings = Field(default_factory=IdentitySettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    deployment: tuple[DeploymentSettings, ...] = (DeploymentSettings(hardware="hgx-h100", engine="vllm-0.11"),)
    fallback: FallbackSettings | None = None
    factors: FactorSettings = Field(default_factory=FactorSettings)
    site: tuple[SiteSettings, ...] = ()
    grid: tuple[GridSettings, ...] = ()
    tariff: tuple[TariffSettings, ...] = ()
    training: TrainingSettings | None = None
    disclosure: DisclosureSettings = Field(default_factory=DisclosureSettings)
    metering: MeteringSettings = Field(default_factory=MeteringSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)

    _lines: Lines = PrivateAttr(default=Lines("the settings"))

    @field_validator("tariff", mode="before")
    @classmethod
    def _one_tariff(cls, given: Any) -> Any:
        """One tariff may be written as a plain table."""
        return [given] if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        named: tuple[tuple[str, str, list[str]], ...] = (
            ("site", "name", [repr(site.name) for site in self.site]),
            ("grid", "name", [repr(grid.name) for grid in self.grid]),
            ("tariff", "valid_from", [str(tariff.valid_from or "from the beginning") for tariff in self.tariff]),
        )
        for kind, key, names in named:
            twice = next((number for number, name in enumerate(names) if name in names[:number]), None)
            if twice is not None:
                told = f"[[{kind}]] {names[twice]} is there more than once; change its {key}, or leave it out"
                raise Misplaced(told, (kind, twice, key))
        for number, tariff in enumerate(self.tariff):
            if tariff.currency != self.tariff[0].currency:
                told = f"{tariff.currency} after {self.tariff[0].currency}: all [[tariff]] must have one currency, as sums do"
                raise Misplaced(told, ("tariff", number, "currency"))
        return self

    def found_in(self, lines: Lines) -> None:
        """Note where these settings stand, so that later errors can point there."""
        self._lines = lines

    @property
    def folder(self) -> Path:
        """What file names in the settings are relative to: the folder of their file, or the working folder."""
        return self._lines.folder or Path.cwd()

    @property
    def source(self) -> str:
        """What these settings are called in messages: the name of their file, where they have one."""
        return self._lines.name

    def where(self, *location: int | str) -> str:
        """Where a setting stands, for an error: file, line and name, as far as they are known."""
        return self._lines.where(location)
