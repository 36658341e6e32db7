"""What is known of places: sites, their cooling, the electricity behind them, and the rules by which all that is counted.

The records of the catalog. No I/O, no clock, no arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headwater.records.figures import Confidence, Factor, Hydro

WueBasis = Literal["consumption", "withdrawal", "unstated"]
"""What a site's WUE counts: water that is gone, water that was taken, or its operator does not say."""

WueWord = Literal["consumption", "from-withdrawal", "withdrawal", "unstated", "tower", "li2023", "set"]
"""How a footprint's on-site water was come by, as disclosures name it: a reported consumption; a share of a reported
withdrawal, or all of it where the factor set takes it so; a figure that does not say; computed from a tower; read off the
curve of Li et al.; or the factor set's own figure for every site."""

WueMethod = Literal["reported", "tower", "li2023"]
"""Where a site's WUE comes from: its operator, a model of its cooling tower, or the wet-bulb curve of Li et al. (2023)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Technology:
    """A way to generate electricity. Water is consumed or withdrawn per kWh generated; carbon is that of the lifecycle."""

    name: str
    title: str = ""
    consumption_l_per_kwh: Factor | None
    withdrawal_l_per_kwh: Factor | None
    carbon_g_per_kwh: Factor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The electricity behind a site. EWIF: litres of water consumed at the generators per kWh, at the generator.

    Carbon is location-based and lifecycle; `year` is that of the carbon figure. `own`: the figures that an operator gave.
    """

    name: str
    title: str = ""
    year: str = ""
    carbon_g_per_kwh: Factor
    ewif_hydro_include_l_per_kwh: Factor
    ewif_hydro_exclude_l_per_kwh: Factor
    ewif_withdrawal_l_per_kwh: Factor | None = None
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaporatedShare:
    """Share of the heat that leaves a wet tower by evaporation, by wet-bulb temperature: points with straight lines between.

    `doubt_ratio`: its range, as a multiple of the share. Never above one.
    """

    wet_bulb_c: tuple[float, ...]
    ratio: tuple[float, ...]
    doubt_ratio: Factor
    source: str
    checked: str
    confidence: Confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """A cooling tower, or what stands in its place.

    `heat_ratio`: heat that the water loop takes up per IT energy. `wet_ratio`: share of that heat that meets water: 1 for a
    tower, 0 for a dry cooler. `cycles_count`: cycles of concentration. `drift_ratio`: share of the circulating water that is
    carried off as droplets; `range_k`: by how much the tower cools it.
    """

    name: str
    title: str = ""
    heat_ratio: Factor
    wet_ratio: Factor
    evaporated: EvaporatedShare
    cycles_count: Factor
    drift_ratio: Factor
    range_k: Factor
    wet_bulb_c: Factor
    """Taken where neither the site nor the hour has one."""
    latent_heat_0c_j_per_kg: Factor
    latent_heat_slope_j_per_kg_k: Factor
    heat_capacity_j_per_kg_k: Factor


@dataclass(frozen=True, slots=True, kw_only=True)
class WetBulbCurve:
    """A published polynomial of WUE over the wet-bulb temperature in degrees Fahrenheit, by rising powers."""

    name: str
    title: str = ""
    coefficients: tuple[float, ...]
    cycles_count: Factor
    least_l_per_it_kwh: Factor
    wet_bulb_c: Factor
    """Taken where neither the site nor the hour has one."""
    source: str
    checked: str
    confidence: Confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A data centre or region. WUE is litres per kWh of IT energy; `wue_basis` says consumption or withdrawal.

    `wue_category`: the category of ISO/IEC 30134-9 that its operator names, as an opaque label. `market_g_per_kwh`: its
    operator's electricity by contracts (market-based). `own`: the figures that an operator gave in their settings.
    """

    name: str
    title: str = ""
    operator: str = ""
    grid: str
    year: str = ""
    pue: Factor
    wue_method: WueMethod = "reported"
    wue_l_per_it_kwh: Factor | None
    wue_basis: WueBasis
    wue_category: str = ""
    tower: Tower | None
    curve: WetBulbCurve | None
    wet_bulb_c: Factor | None
    market_g_per_kwh: Factor | None
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """What is known of one hour at a site: carbon of its grid, and wet-bulb temperature. None: the annual figure stands."""

    grid_g_per_kwh: float | None = None
    wet_bulb_c: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorSet:
    """A versioned, hashed document that says which rules and overrides an estimate uses.

    `flat_it_j_per_request`: the set's own energy rule, in place of the throughput model. `pue`, `wue_l_per_it_kwh`,
    `ewif_l_per_kwh`, `carbon_g_per_kwh`: overrides of the site's and the grid's figures; None leaves them.
    `consumed_ratio`: share of withdrawn water that is consumed, for sites that publish a withdrawal. `utilisation_ratio`:
    share of a server's lifetime in which it serves. `server_w`, `server_price_usd`: a fleet's server draws and costs that,
    whatever its hardware; None: as the throughput model and the catalog say.
    """

    name: str
    title: str = ""
    document_hash: str = ""
    """Of the set and of the places that its figures come from: what a charge was counted by."""
    hydro: Hydro
    flat_it_j_per_request: Factor | None = None
    pue: Factor | None = None
    wue_l_per_it_kwh: Factor | None = None
    ewif_l_per_kwh: Factor | None = None
    carbon_g_per_kwh: Factor | None = None
    consumed_ratio: Factor | None = None
    utilisation_ratio: Factor | None = None
    server_w: Factor | None = None
    server_price_usd: Factor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is disclosed of a model's training. Figures of others about another boundary are not filled in."""

    name: str
    title: str = ""
    it_kwh: Factor | None
    onsite_l: Factor | None
    offsite_l: Factor | None
    carbon_g: Factor | None
    cost_usd: Factor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingShare:
    """A training spread evenly over a stated number of requests."""

    training: Training
    requests_count: float
