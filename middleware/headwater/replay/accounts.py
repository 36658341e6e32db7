"""Integer sums of footprints: by user, by model, by hour, and of idle servers. Rounds once per request, so parts add up."""

from __future__ import annotations

from dataclasses import dataclass
from operator import add
from typing import Final, Literal

from headwater.amounts import integers
from headwater.physics.carbon import carbon_g
from headwater.physics.energy import facility_j, host_share_w
from headwater.physics.intervals import around, spread
from headwater.physics.rates import rates
from headwater.physics.water import offsite_l, onsite_l
from headwater.records import Deployment

By = Literal["user", "model", "hour"]
AMOUNTS_COUNT: Final = 11


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a replay: sums of requests, in the integers of the ledger. Of an idle line all counts are zero."""

    key: str
    requests_count: int
    unknown_count: int
    """Requests without a footprint: they are in no sum of energy, water and carbon."""
    input_tokens: int
    cached_tokens: int
    output_tokens: int
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
        """On-site and off-site water together."""
        return self.onsite_nanolitres + self.offsite_nanolitres


NOTHING: Final = (0,) * AMOUNTS_COUNT


class Accounts:
    """Sums of what requests took, each under the number of its line."""

    def __init__(self) -> None:
        self._sums: dict[int, list[int]] = {}

    def charge(
        self, key: int, input_tokens: int, cached_tokens: int, output_tokens: int, taken: tuple[int, ...] | None
    ) -> None:
        """Add one request; `taken` None: it has no footprint."""
        numbers = (1, taken is None, input_tokens, cached_tokens, output_tokens, *(taken or NOTHING))
        sums = self._sums.get(key)
        self._sums[key] = list(numbers if sums is None else map(add, sums, numbers))

    def lines(self) -> dict[int, list[int]]:
        """Each line's sums, in the order of a line's fields."""
        return self._sums


def line(key: str, numbers: list[int]) -> Line:
    """Sums under a name."""
    return Line(key, *map(int, numbers))


def total(lines: list[Line]) -> Line:
    """The sum of lines, exact."""
    sums = [0] * (AMOUNTS_COUNT + 5)
    for one in lines:
        sums = list(map(add, sums, [getattr(one, name) for name in NUMBERS]))
    return line("total", sums)


NUMBERS: Final = tuple(name for name in Line.__dataclass_fields__ if name != "key")


def idle_w(deployment: Deployment) -> float:
    """IT power of one replica with nothing to do: its part of the server's idle power."""
    server = deployment.hardware
    return host_share_w(
        host_w=server.idle_w.value,
        accelerators_count=deployment.accelerators_count,
        server_accelerators_count=server.accelerators_count,
    )


def idle_line(deployment: Deployment, replica_s: float) -> Line:
    """What replicas of a deployment take in so many replica-seconds without any request."""
    at, power = rates(deployment), deployment.hardware.idle_w
    it_j = idle_w(deployment) * replica_s
    energy_j = facility_j(it_j=it_j, pue=at.pue.value)
    near_l = onsite_l(it_j=it_j, wue_l_per_it_kwh=at.wue_l_per_it_kwh.value)
    far_l = offsite_l(facility_j=energy_j, ewif_l_per_kwh=at.ewif_l_per_kwh.value)
    co2e_g = carbon_g(facility_j=energy_j, grid_g_per_kwh=at.grid_g_per_kwh.value)
    within = spread(it_ratio=around(low=power.low, value=power.value, high=power.high), at=at)
    return Line("idle", 0, 0, 0, 0, 0, *integers(it_j, energy_j, near_l, far_l, co2e_g, within))
