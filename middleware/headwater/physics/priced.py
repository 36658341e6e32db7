"""A deployment made ready to price: from a request's IT energy to its footprint, at a place in an hour. Chooses no method."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from headwater.physics import carbon, energy, water
from headwater.physics.derivation import Derivation, place_on
from headwater.physics.intervals import Doubts, count_part, energy_ratios, flat_ratio, it_parts, spread_sources
from headwater.physics.pace import Pace
from headwater.physics.place import Place
from headwater.physics.replica import Replica
from headwater.records import Deployment, Footprint, Method, Spread
from headwater.units import MOST_KEPT_HOURS


class Priced:
    """What of a deployment does not depend on the request is computed here, once."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.replica = Replica(deployment)
        self._server_share_ratio = deployment.accelerators_count / deployment.hardware.accelerators_count
        self._ratios = energy_ratios(deployment)
        self._annual = Place(deployment, self._ratios)
        self._by_hour: OrderedDict[tuple[float | None, float | None], Place] = OrderedDict()
        self._pace = Pace(self.replica)
        self._fewest_fitted_count = (
            0.0
            if deployment.engine.fitted_concurrency_count is None
            else deployment.engine.fitted_concurrency_count.low
        )
        self._flat = deployment.factors.flat_it_j_per_request
        self._schemes = {scheme.name: scheme for scheme in deployment.reports}

    def _place(self, grid_g_per_kwh: float | None, wet_bulb_c: float | None) -> Place:
        """The place in an hour. The last few are kept: all requests of an hour have the same."""
        at = grid_g_per_kwh, wet_bulb_c
        found = self._by_hour.get(at)
        if found is None:
            found = self._by_hour[at] = Place(self.deployment, self._ratios, grid_g_per_kwh, wet_bulb_c)
            if len(self._by_hour) > MOST_KEPT_HOURS:
                self._by_hour.popitem(last=False)
        return found

    def _present_s(self, modelled: Footprint) -> float:
        """Seconds of its replica that a request has for itself."""
        return (modelled.server_s or 0.0) / self._server_share_ratio

    def _flat_footprint(self, it_j: float, place: Place, *, steps: bool) -> Footprint:
        footprint = self._footprint(it_j, "flat", place.flat_spread, place, None)
        if not steps or self._flat is None:
            return footprint
        at = Derivation()
        at.take("it_j", self._flat)
        sources = spread_sources([("the factor set's figure per request", flat_ratio(self._flat))], place.rates)
        steps_made = place_on(at, rates=place.rates, spread=place.flat_spread, spread_sources=sources)
        return replace(footprint, steps=steps_made)

    def _footprint(
        self, it_j: float, method: Method, within: Spread, place: Place, server_s: float | None
    ) -> Footprint:
        deployment = self.deployment
        facility_j = energy.facility_j(it_j=it_j, pue=place.pue)
        return Footprint(
            it_j=it_j,
            facility_j=facility_j,
            onsite_l=water.onsite_l(it_j=it_j, wue_l_per_it_kwh=place.wue_l_per_it_kwh),
            offsite_l=water.offsite_l(facility_j=facility_j, ewif_l_per_kwh=place.ewif_l_per_kwh),
            carbon_g=carbon.carbon_g(facility_j=facility_j, grid_g_per_kwh=place.grid_g_per_kwh),
            method=method,
            spread=within,
            model=deployment.model.name,
            hardware=deployment.hardware.name,
            site=deployment.site.name,
            factors=deployment.factors.name,
            hydro=deployment.factors.hydro,
            wue_basis=place.wue_basis,
            own=place.own,
            server_s=server_s,
        )

    def _explained(
        self, footprint: Footprint, at: Derivation, doubts: Doubts, place: Place, *, count_ratio: float = 1
    ) -> Footprint:
        parts = it_parts(self.deployment, footprint.method, doubts)
        if count_ratio > 1:
            parts.append(count_part(count_ratio))
        sources = spread_sources(parts, place.rates)
        steps = place_on(at, rates=place.rates, spread=footprint.spread, spread_sources=sources)
        return replace(footprint, steps=steps)
