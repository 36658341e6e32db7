"""One request's footprint from its usage and what was observed of it. Chooses the method; the arithmetic is its neighbours'.

Notes: which method, in this order. `flat`: the factor set counts a fixed energy per request. `metered`: the upstream said
what it measured, and it was believed (`Profile.judged`). On a server of one's own:
`observed`, the time is known; `loaded`, the concurrency is known and the time is computed. On somebody else's server, where
others are in flight unseen: `paced`, the concurrency follows from the pace of the tokens. Else `assumed`: the concurrency is
the deployment's configured one, or the engine's usual one. Without a mix all requests of a batch are taken to be like the
one in hand (METHODOLOGY.md, "Sharing").
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from headwater.physics import energy, throughput
from headwater.physics.derivation import (
    Derivation,
    metered_on,
    mix_on,
    own_on,
    place_on,
    running_on,
    seen_on,
    share_on,
    unknown_work_on,
)
from headwater.physics.intervals import (
    Doubts,
    metered_parts,
    spread_sources,
    widened,
)
from headwater.physics.own import as_mix, known, positive
from headwater.physics.place import Place
from headwater.physics.priced import Priced
from headwater.physics.replica import Own
from headwater.physics.reports import believed_scheme, judged, plausible
from headwater.records import (
    EnergyReport,
    Footprint,
    Method,
    Observation,
    Unknown,
    Usage,
)
from headwater.units import MOST_TOKENS

TOKENS_UNKNOWN: Final = Unknown(reason="tokens-unknown")
TOKENS_UNBELIEVABLE: Final = Unknown(reason="tokens-out-of-range")
TIME_UNKNOWN: Final = Unknown(reason="time-unknown")


class Profile(Priced):
    """A deployment, made ready to estimate many requests: all that does not depend on the request is computed here."""

    def estimate(self, usage: Usage, observation: Observation, *, steps: bool = False) -> Footprint | Unknown:
        """The footprint of one request, or the word for why there is none. `steps` also writes the derivation down.

        Without tokens an observed time still gives one: the accelerators count as busy, and the interval says so.
        """
        place = self._annual
        if observation.grid_g_per_kwh is not None or observation.wet_bulb_c is not None:
            place = self._place(observation.grid_g_per_kwh, observation.wet_bulb_c)
        if self._flat is not None:
            return self._flat_footprint(self._flat.value, place, steps=steps)
        if believed_scheme(observation) in self._schemes:
            return self._metered(usage, observation, place, steps=steps)
        return self._modelled(usage, observation, place, steps=steps)

    def _modelled(
        self, usage: Usage, observation: Observation, place: Place, *, steps: bool = False
    ) -> Footprint | Unknown:
        """What the model of the server says, whatever anybody reports."""
        if observation.mix is not None and not observation.mix.output_tokens > 0:
            # Requests without any answer have no mean answer that others could be like.
            observation = replace(observation, mix=None)
        if (usage.input_tokens or 0) + (usage.output_tokens or 0) > MOST_TOKENS:
            return TOKENS_UNBELIEVABLE
        own = known(usage)
        if self.deployment.hosting == "hosted":
            return TOKENS_UNKNOWN if own is None else self._hosted(own, usage, observation, place, steps=steps)
        return self._own_server(own, usage, observation, place, steps=steps)

    # -- what the upstream reports --------------------------------------------------------------------------------------

    def judged(self, usage: Usage, observation: Observation, report: EnergyReport) -> Observation:
        """The observation with what the upstream reports, and whether it is believed; without it where its scheme is not
        listened to."""
        scheme = self._schemes.get(report.scheme)
        if scheme is None:
            return observation
        found = self._modelled(usage, observation, self._annual)
        bounds = None
        if isinstance(found, Footprint):
            present_s = self._present_s(found)
            bounds = plausible(
                scheme,
                self.replica,
                observation,
                it_j=found.it_j,
                present_s=present_s,
                output_tokens=usage.output_tokens,
            )
        return judged(observation, report, scheme, bounds)

    def _metered(self, usage: Usage, observation: Observation, place: Place, *, steps: bool) -> Footprint | Unknown:
        """A footprint from what the upstream measured; the model is asked for the time alone, by which the host is shared."""
        scheme, metered_j = observation.metered_scheme, observation.metered_j
        modelled = self._modelled(usage, observation, place, steps=steps)
        if isinstance(modelled, Unknown) or scheme is None or metered_j is None:
            return modelled
        if observation.metered_boundary == "server":
            it_j = energy.metered_server_it_j(metered_j=metered_j)
        else:
            it_j = energy.metered_it_j(
                host_share_w=self.replica.host_share_w,
                present_s=self._present_s(modelled),
                overhead_ratio=self.replica.derivation.known["overhead_ratio"],
                metered_j=metered_j,
            )
        within = place.metered_spreads[scheme]
        footprint = self._footprint(it_j, "metered", within, place, modelled.server_s)
        if not steps:
            return footprint
        sources = spread_sources(metered_parts(self.deployment, self._schemes[scheme]), place.rates)
        at = metered_on(modelled.steps, metered_j, scheme, observation.metered_boundary)
        return replace(footprint, steps=place_on(at, rates=place.rates, spread=within, spread_sources=sources))

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


_UNSURE: Final[dict[Method, str]] = {
    "observed": "the whole time counts as this request's own",
    "assumed": "the engine's usual one",
}
