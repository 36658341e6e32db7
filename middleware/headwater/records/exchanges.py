"""The records of an exchange, its footprint and its account. No I/O, no clock, no arithmetic beyond sums of own fields.

Naming rule: a number carries boundary and unit in its name (`it_j`, `facility_j`, `onsite_l`). Unknown is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headwater.records.figures import Hydro
from headwater.records.metering import Boundary, Scheme, Verdict
from headwater.records.places import WueWord
from headwater.records.record import record
from headwater.records.wire import Usage

Outcome = Literal["completed", "client_gone", "upstream_error", "refused", "partial"]
"""How an exchange ended. `partial`: its process died; it is charged for what was known to be generated."""


Method = Literal["metered", "observed", "loaded", "paced", "assumed", "flat"]
"""How an energy estimate was made, best first. `flat` is a factor set's own figure per request (seed-2023)."""


@record
class Mix:
    """What a deployment's requests are like: means per request, over a while or over a trace.

    `context_tokens`: mean context over all output tokens, so that a long answer weighs by its length.
    `images_count`: pictures that had to be taken in anew.
    """

    input_tokens: float
    cached_tokens: float
    output_tokens: float
    context_tokens: float
    images_count: float = 0.0


@record
class Observation:
    """What was seen of one exchange on the wire. None: not seen.

    `elapsed_s`: from admission to the last token, without the time that a slow reader made us wait.
    `busy_s`: the upstream's own account of its prefill and decode time (llama.cpp `timings`), preferred over elapsed.
    `ttft_s`: time to first token, from admission; of a whole reply, None.
    `concurrency_count`: harmonic mean of the exchanges in flight on the deployment while this one was: a stream from its
    first event, a whole reply from its admission.
    `itl_s`: inter-token latency, the median time between two output tokens of this stream.
    `mix`: what the deployment's requests are like; None: like this one.
    `grid_g_per_kwh`, `wet_bulb_c`: carbon of the grid and wet-bulb temperature of the hour in which it ended, where a
    series of them is kept; None: the annual figures stand.
    `metered_j`: the energy that the upstream itself reported for this exchange, `metered_boundary` what it measures,
    `metered_scheme` whose way of saying it, and `metered_verdict` whether it was believed.
    """

    elapsed_s: float | None = None
    busy_s: float | None = None
    ttft_s: float | None = None
    concurrency_count: float | None = None
    itl_s: float | None = None
    mix: Mix | None = None
    grid_g_per_kwh: float | None = None
    wet_bulb_c: float | None = None
    metered_j: float | None = None
    metered_boundary: Boundary | None = None
    metered_scheme: Scheme | None = None
    metered_verdict: Verdict | None = None


NOTHING_OBSERVED = Observation()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Multipliers that turn central figures into low and high ones; computed once per deployment and method."""

    energy_low: float
    energy_high: float
    water_low: float
    water_high: float
    carbon_low: float
    carbon_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a derivation: `name = formula = value unit`, with the numbers that went in and their source."""

    name: str
    formula: str
    inputs: tuple[tuple[str, float], ...]
    value: float
    unit: str
    source: str = ""


@record
class Footprint:
    """The share of one exchange in the energy, the water and the carbon of the hardware that served it.

    `it_j`: energy of the server (accelerators and host). `facility_j = it_j * PUE`: the energy that is disclosed.
    `onsite_l`: water consumed at the site, from IT energy. `offsite_l`: water consumed at the power stations, from facility
    energy. `wue_basis`: how the on-site water was come by. `own`: the figures that are
    the operator's. `server_s`: seconds of a whole server that the request had for itself; None where no time is known.
    """

    it_j: float
    facility_j: float
    onsite_l: float
    offsite_l: float
    carbon_g: float
    method: Method
    spread: Spread
    model: str
    hardware: str
    site: str
    factors: str
    hydro: Hydro
    wue_basis: WueWord
    own: tuple[str, ...] = ()
    server_s: float | None = None
    steps: tuple[Step, ...] = ()
    """The derivation, line by line; filled only when asked for."""

    @property
    def water_l(self) -> float:
        """On-site and off-site water together."""
        return self.onsite_l + self.offsite_l


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """An amount with its range."""

    low: float
    value: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Addenda:
    """What goes with a footprint and is no part of it: lines of their own, added neither to it nor to each other.

    None: not known, or not asked for; `reasons` says which, by name. `onsite_withdrawal_l`: water taken at the site, given
    back or not; it contains what is consumed. `market_g`: operational carbon by the operator's contracts. `embodied_g`,
    `embodied_water_l`: share of the making of the server. `training_...`: share of the model's training.
    """

    onsite_withdrawal_l: Bounds | None
    offsite_withdrawal_l: Bounds | None
    market_g: Bounds | None
    embodied_g: Bounds | None
    embodied_water_l: Bounds | None
    training_it_kwh: Bounds | None = None
    training_onsite_l: Bounds | None = None
    training_water_l: Bounds | None = None
    training_carbon_g: Bounds | None = None
    training_cost_usd: Bounds | None = None
    reasons: tuple[tuple[str, str], ...] = ()
    steps: tuple[Step, ...] = ()


@record
class Unknown:
    """There is no footprint, and why: a word for machines (`model-not-in-catalog`), never a zero."""

    reason: str


@record
class Amounts:
    """A footprint in the integers of the ledger. Low and high belong to the sum above them."""

    it_microjoules: int
    energy_microjoules: int
    energy_low_microjoules: int
    energy_high_microjoules: int
    onsite_nanolitres: int
    offsite_nanolitres: int
    water_low_nanolitres: int
    water_high_nanolitres: int
    carbon_micrograms: int
    carbon_low_micrograms: int
    carbon_high_micrograms: int

    @property
    def water_nanolitres(self) -> int:
        """On-site and off-site water together; an exact integer sum, so parts always add up to the whole."""
        return self.onsite_nanolitres + self.offsite_nanolitres


@record
class Charge:
    """What one exchange adds to one account, and what its receipt is derived from. Carries no text of anybody.

    `user` is a pseudonym (32 hex digits) or `anonymous`. `model` and `site` are catalog names, `other` where unknown;
    never a string that a client made up. `deployment_hash` names the stored document of the Deployment, "" when there
    is none. `amounts` is None when the footprint is unknown; `reason` then says why. `once`: 32 hex digits that all sightings
    of one and the same generation share, "" where it can be seen once only; the ledger counts the first.
    """

    request_id: str
    user: str
    started_ms: int
    ended_ms: int
    outcome: Outcome
    model: str
    site: str
    deployment_hash: str
    method: Method | None
    usage: Usage
    observation: Observation
    amounts: Amounts | None
    reason: str = ""
    once: str = ""


@record
class PeriodTotal:
    """One user's account of one period, as last read: for the Headwater-Period header."""

    period: str
    """Calendar month in UTC, `2026-11`."""
    requests_count: int
    energy_microjoules: int
    water_nanolitres: int
    read_at_s: float
    """Seconds since the epoch when the store was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """One row of an account as kept by the ledger: sums over a user's (or everybody's) charges of one period."""

    user: str
    label: str | None
    period: str
    """`2026-11` for a month, `2026-11-23` for a day."""
    requests_count: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    it_microjoules: int = 0
    energy_microjoules: int = 0
    energy_low_microjoules: int = 0
    energy_high_microjoules: int = 0
    onsite_nanolitres: int = 0
    offsite_nanolitres: int = 0
    water_low_nanolitres: int = 0
    water_high_nanolitres: int = 0
    carbon_micrograms: int = 0
    carbon_low_micrograms: int = 0
    carbon_high_micrograms: int = 0
    not_upstream_count: int = 0
    """Requests whose tokens were counted or estimated here, or are unknown."""
    unknown_count: int = 0
    """Requests without a footprint: they are in no sum of energy and water."""
    incomplete_count: int = 0
    """Requests that did not end as `completed`."""

    @property
    def water_nanolitres(self) -> int:
        """On-site and off-site water together."""
        return self.onsite_nanolitres + self.offsite_nanolitres


@record
class Running:
    """How one replica of a deployment runs under a mean request and a concurrency, and what shares are made from.

    `elapsed_s`: mean seconds from admission to last token. `accelerator_w`, `it_w`: power of its accelerators, and at the
    wall with its part of the host. The rest are the terms of one request's share: see physics.energy.
    """

    concurrency_count: float
    output_tokens: float
    elapsed_s: float
    accelerator_w: float
    it_w: float
    memory_share_ratio: float
    step_share_s: float
    compute_share_s: float
    fitted_share_ratio: float
    charged_w: float

    @property
    def output_tokens_per_s(self) -> float:
        """Output tokens of all sequences together, per second."""
        return self.concurrency_count * self.output_tokens / self.elapsed_s

    @property
    def accelerator_j_per_token(self) -> float:
        """Accelerator energy per output token, prefill included."""
        return self.accelerator_w / self.output_tokens_per_s
