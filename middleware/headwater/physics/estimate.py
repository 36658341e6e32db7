"""One request's footprint from its usage and what was observed of it. Chooses the method; the arithmetic is its neighbours'.

Notes: which method, in this order. `flat`: the factor set counts a fixed energy per request. On a server of one's own:
`observed`, the time is known; `loaded`, the concurrency is known and the time is computed. On somebody else's server, where
others are in flight unseen: `paced`, the concurrency follows from the pace of the tokens. Else `assumed`: the concurrency is
the deployment's configured one, or the engine's usual one. Without a mix all requests of a batch are taken to be like the
one in hand (METHODOLOGY.md, "Sharing").
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace
from typing import Final

from headwater.physics import carbon, energy, throughput, water
from headwater.physics.derivation import (
    Derivation,
    mix_on,
    own_on,
    place_on,
    running_on,
    seen_on,
    share_on,
    unknown_work_on,
)
from headwater.physics.intervals import Doubts, count_part, energy_ratios, flat_ratio, it_parts, spread_sources, widened
from headwater.physics.pace import Pace
from headwater.physics.place import Place
from headwater.physics.replica import Own, Replica
from headwater.records import Deployment, Footprint, Method, Mix, Observation, Spread, Unknown, Usage
from headwater.units import MOST_KEPT_HOURS, MOST_TOKENS

TOKENS_UNKNOWN: Final = Unknown(reason="tokens-unknown")
TOKENS_UNBELIEVABLE: Final = Unknown(reason="tokens-out-of-range")
TIME_UNKNOWN: Final = Unknown(reason="time-unknown")


def positive(seen: float | None) -> float | None:
    """What was seen, if it is a finite number above zero; nothing else can be charged."""
    return seen if seen is not None and 0 < seen < math.inf else None


def known(usage: Usage) -> Own | None:
    """A request's tokens, if they are known. No more can be cached than came in; unknown ones count as fresh."""
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if input_tokens is None or output_tokens is None:
        return None
    cached_tokens = usage.cached_tokens or 0
    return Own(input_tokens, min(cached_tokens, input_tokens), output_tokens, usage.images_count)


def as_mix(own: Own) -> Mix:
    """A request as the mean of requests like itself."""
    input_tokens, cached_tokens, output_tokens, images_count = own
    return Mix(
        input_tokens=input_tokens,
        cached_tokens=cached_tokens,
        output_tokens=output_tokens,
        context_tokens=throughput.context_tokens(input_tokens=input_tokens, output_tokens=output_tokens),
        images_count=images_count,
    )


class Profile:
    """A deployment, made ready to estimate many requests: all that does not depend on the request is computed here."""

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

    def estimate(self, usage: Usage, observation: Observation, *, steps: bool = False) -> Footprint | Unknown:
        """The footprint of one request, or the word for why there is none. `steps` also writes the derivation down.

        Without tokens an observed time still gives one: the accelerators count as busy, and the interval says so.
        """
        if observation.mix is not None and not observation.mix.output_tokens > 0:
            # Requests without any answer have no mean answer that others could be like.
            observation = replace(observation, mix=None)
        place = self._annual
        if observation.grid_g_per_kwh is not None or observation.wet_bulb_c is not None:
            place = self._place(observation.grid_g_per_kwh, observation.wet_bulb_c)
        if self._flat is not None:
            return self._flat_footprint(self._flat.value, place, steps=steps)
        if (usage.input_tokens or 0) + (usage.output_tokens or 0) > MOST_TOKENS:
            return TOKENS_UNBELIEVABLE
        own = known(usage)
        if self.deployment.hosting == "hosted":
            return TOKENS_UNKNOWN if own is None else self._hosted(own, usage, observation, place, steps=steps)
        return self._own_server(own, usage, observation, place, steps=steps)

    def _place(self, grid_g_per_kwh: float | None, wet_bulb_c: float | None) -> Place:
        """The place in an hour. The last few are kept: all requests of an hour have the same."""
        at = grid_g_per_kwh, wet_bulb_c
        found = self._by_hour.get(at)
        if found is None:
            found = self._by_hour[at] = Place(self.deployment, self._ratios, grid_g_per_kwh, wet_bulb_c)
            if len(self._by_hour) > MOST_KEPT_HOURS:
                self._by_hour.popitem(last=False)
        return found

    # -- a server of one's own ----------------------------------------------------------------------------------------

    def _own_server(
        self, own: Own | None, usage: Usage, observation: Observation, place: Place, *, steps: bool
    ) -> Footprint | Unknown:
        cached_is_known = usage.cached_tokens is not None
        is_alone = observation.mix is None
        seen_s = positive(observation.busy_s) or positive(observation.elapsed_s)
        asks_peak = seen_s is not None and (cached_is_known or is_alone)
        peak_s = self.replica.peak_s(own) if own is not None and asks_peak else 0
        elapsed_s = self._served_s(own, observation, seen_s, least_s=peak_s if cached_is_known else 0)
        seen_count = positive(observation.concurrency_count)
        configured_count = self.deployment.concurrency_count
        method: Method = "observed" if elapsed_s else "loaded" if seen_count else "assumed"
        # A time seen without any concurrency counts as the request's own.
        usual_count = 1 if method == "observed" else self.deployment.engine.assumed_concurrency_count.value
        known_count = seen_count or configured_count
        concurrency_count = max((known_count or usual_count) / self.replica.replicas_count, 1)
        why = "measured" if seen_count else "configured" if configured_count else f"not known: {_UNSURE[method]}"
        is_sure = known_count is not None
        if own is None:
            if elapsed_s is None:
                return TOKENS_UNKNOWN
            return self._unknown_work(
                elapsed_s, concurrency_count, why, place, is_sure=is_sure, observation=observation, steps=steps
            )
        if elapsed_s is not None and is_alone and peak_s > 0:
            # Among requests that are all like it, no more can have been served at once than the peak allows.
            most_count = max(elapsed_s / peak_s, 1)
            if concurrency_count > most_count:
                why = f"{why}, {concurrency_count:g}, but no more like this one can have been served in the time"
                concurrency_count = most_count
        return self._worked(
            own, usage, observation, method, concurrency_count, why, elapsed_s, place, is_sure=is_sure, steps=steps
        )

    def _served_s(
        self, own: Own | None, observation: Observation, seen_s: float | None, *, least_s: float
    ) -> float | None:
        """The time in which a request was seen to be served, without the queue before it.

        None where it was not seen, or where the hardware cannot have been so fast: a reply from a cache, say. `least_s`: what
        the arithmetic takes at the peak; 0 where some of the prompt may have been cached of which nothing was said.
        """
        if seen_s is None or own is None:
            return seen_s
        if seen_s < max(own.output_tokens * self.replica.fastest_s_per_token, least_s):
            return None
        ttft_s = self._ttft_s(observation)
        if ttft_s is None:
            return seen_s
        prefill_s = self.replica.prefill_s(
            input_tokens=own.input_tokens, cached_tokens=own.cached_tokens, images_count=own.images_count
        )
        return throughput.served_s(seen_s=seen_s, ttft_s=ttft_s, prefill_s=prefill_s)

    @staticmethod
    def _ttft_s(observation: Observation) -> float | None:
        """The time to the first token, where it tells of a queue: the upstream's own account has none, and after the first
        token there must have been some time."""
        ttft_s, seen_s = observation.ttft_s, observation.elapsed_s
        if ttft_s is None or positive(observation.busy_s) or seen_s is None or not 0 < ttft_s < seen_s:
            return None
        return ttft_s

    # -- somebody else's ------------------------------------------------------------------------------------------------

    def _hosted(
        self, own: Own, usage: Usage, observation: Observation, place: Place, *, steps: bool
    ) -> Footprint | Unknown:
        itl_s = self._believable_itl_s(observation)
        configured_count = self.deployment.concurrency_count
        middle_count = configured_count or self.deployment.engine.assumed_concurrency_count.value
        middle_count = max(middle_count / self.replica.replicas_count, 1)
        if itl_s is None:
            why = "configured" if configured_count else f"not known: {_UNSURE['assumed']}"
            return self._worked(
                own, usage, observation, "assumed", middle_count, why, None, place, is_sure=True, steps=steps
            )
        mean = observation.mix or as_mix(own)
        inferred_count = self._pace.concurrency_count(mean, itl_s, middle_count)
        why = self._pace.reason(itl_s, middle_count) if steps else ""
        return self._worked(
            own, usage, observation, "paced", inferred_count, why, None, place, is_sure=True, steps=steps
        )

    def _believable_itl_s(self, observation: Observation) -> float | None:
        """The pace that was seen, where it tells something: the model is known and not just guessed at, and the hardware can
        have been so fast."""
        itl_s = positive(observation.itl_s)
        if itl_s is None or self.deployment.model.uncertainty_ratio > 1 or itl_s < self.replica.fastest_s_per_token:
            return None
        return itl_s

    # -- both -----------------------------------------------------------------------------------------------------------

    def _worked(
        self,
        own: Own,
        usage: Usage,
        observation: Observation,
        method: Method,
        concurrency_count: float,
        why: str,
        elapsed_s: float | None,
        place: Place,
        *,
        is_sure: bool,
        steps: bool,
    ) -> Footprint | Unknown:
        """A footprint where the tokens are known; the time is computed where it was not seen."""
        replica, mean = self.replica, observation.mix
        itl_s = observation.itl_s if method == "paced" else None
        try:
            if mean is None:
                it_j, present_s = replica.even_share(*own, concurrency_count, elapsed_s, itl_s)
            else:
                it_j, present_s = replica.among(mean, own, concurrency_count, elapsed_s, itl_s)
        except ValueError:
            return TIME_UNKNOWN
        small = concurrency_count < self._fewest_fitted_count
        count_ratio = usage.count_ratio if 1 < usage.count_ratio < math.inf else 1.0
        within = widened(place.spreads[method, True, is_sure, small, own.images_count > 0], count_ratio)
        footprint = self._footprint(it_j, method, within, place, present_s * self._server_share_ratio)
        if not steps:
            return footprint
        doubts = Doubts(tokens=True, concurrency=is_sure, small_batch=small, images=own.images_count > 0)
        at = self._begun(observation, elapsed_s, concurrency_count, why)
        mix_on(at, mean or as_mix(own), alone=mean is None)
        if mean is None and elapsed_s is not None:
            self._seen_on(at, "elapsed_s", observation)
        running_on(at, itl_s=itl_s)
        own_on(at, as_mix(own), cached_is_known=usage.cached_tokens is not None, count_ratio=count_ratio)
        if mean is None:
            at.given("own_elapsed_s", at.known["elapsed_s"], "s", "the request is taken as its own mean request")
        elif elapsed_s is not None:
            self._seen_on(at, "own_elapsed_s", observation)
        share_on(at)
        return self._explained(footprint, at, doubts, place, count_ratio=count_ratio)

    def _unknown_work(
        self,
        elapsed_s: float,
        concurrency_count: float,
        why: str,
        place: Place,
        *,
        is_sure: bool,
        observation: Observation,
        steps: bool,
    ) -> Footprint:
        """A footprint where only the time is known: the accelerators count as at work all the time."""
        it_j = energy.even_share_j(
            it_w=self.replica.unknown_work_it_w(), own_elapsed_s=elapsed_s, concurrency_count=concurrency_count
        )
        doubts = Doubts(
            tokens=False,
            concurrency=is_sure,
            small_batch=concurrency_count < self._fewest_fitted_count,
            images=False,
        )
        server_s = elapsed_s / concurrency_count * self._server_share_ratio
        footprint = self._footprint(it_j, "observed", place.spreads["observed", *doubts], place, server_s)
        if not steps:
            return footprint
        at = self._begun(observation, elapsed_s, concurrency_count, why)
        at.given("own_elapsed_s", elapsed_s, "s", self._seen_source(observation))
        unknown_work_on(at)
        return self._explained(footprint, at, doubts, place)

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

    # -- the derivation ---------------------------------------------------------------------------------------------------

    def _begun(
        self, observation: Observation, elapsed_s: float | None, concurrency_count: float, why: str
    ) -> Derivation:
        at = self.replica.derivation.copy()
        share = "" if self.replica.replicas_count == 1 else ", divided among the replicas"
        at.given("concurrency_count", concurrency_count, "requests", f"{why}{share}")
        seen_s = positive(observation.busy_s) or positive(observation.elapsed_s)
        if (
            positive(observation.itl_s)
            and self.deployment.hosting == "hosted"
            and not self._believable_itl_s(observation)
        ):
            why = "seen, but it tells nothing: the model's size is a guess, or no hardware of this kind is so fast"
            at.given("disbelieved_itl_s", observation.itl_s or 0, "s", why)
        if seen_s and elapsed_s is None and self.deployment.hosting == "own":
            why = "observed, but not this model's time: its weights cannot be read, or its tokens computed, so fast; it is computed"
            at.given("disbelieved_s", seen_s, "s", why)
        return at

    def _seen_on(self, at: Derivation, name: str, observation: Observation) -> None:
        busy_s = positive(observation.busy_s)
        seen_s = busy_s or positive(observation.elapsed_s) or 0
        seen_on(at, name, seen_s, self._ttft_s(observation), self._seen_source(observation))

    @staticmethod
    def _seen_source(observation: Observation) -> str:
        if positive(observation.busy_s):
            return "the upstream's own account of its prefill and decode time"
        return "observed, from admission to the last token"

    def _explained(
        self, footprint: Footprint, at: Derivation, doubts: Doubts, place: Place, *, count_ratio: float = 1
    ) -> Footprint:
        parts = it_parts(self.deployment, footprint.method, doubts)
        if count_ratio > 1:
            parts.append(count_part(count_ratio))
        sources = spread_sources(parts, place.rates)
        steps = place_on(at, rates=place.rates, spread=footprint.spread, spread_sources=sources)
        return replace(footprint, steps=steps)


_UNSURE: Final[dict[Method, str]] = {
    "observed": "the whole time counts as this request's own",
    "assumed": "the engine's usual one",
}
