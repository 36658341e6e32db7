"""One request's footprint from its usage and what was observed of it. Chooses the method; the arithmetic is its neighbours'.

Notes: which method, in this order. `flat`: the factor set counts a fixed energy per request. `observed`: the time is known.
`loaded`: the concurrency is known and the time is computed. `assumed`: the concurrency is the deployment's configured one,
or the engine's usual one. All requests of a batch are taken to be like the one in hand (METHODOLOGY.md, "Sharing").
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from headwater.physics import carbon, energy, throughput, water
from headwater.physics.derivation import Derivation, Tokens, engine_derivation, place_on, work_on
from headwater.physics.intervals import CERTAIN, flat_ratio, spread, spreads
from headwater.physics.rates import rates
from headwater.records import Deployment, Footprint, Method, Observation, Spread, Unknown, Usage

TOKENS_UNKNOWN: Final = Unknown(reason="tokens-unknown")
TIME_UNKNOWN: Final = Unknown(reason="time-unknown")


UNSURE: Final[dict[Method, str]] = {
    "observed": "the whole time counts as this request's own",
    "assumed": "the engine's usual one",
}


def positive(seen: float | None) -> float | None:
    """What was seen, if it is a finite number above zero; nothing else can be charged."""
    return seen if seen is not None and 0 < seen < math.inf else None


def known_tokens(usage: Usage) -> Tokens | None:
    """The counts, if both are known. No more tokens can be cached than came in; unknown ones count as fresh."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens, min(usage.cached_tokens or 0, usage.input_tokens), usage.output_tokens


class Profile:
    """A deployment, made ready to estimate many requests: all that does not depend on the request is computed here."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._rates = rates(deployment)
        self._engine = engine_derivation(deployment)
        known = self._engine.known
        self._params_count = known["params_count"]
        self._accelerators_count = known["accelerators_count"]
        self._peak_flop_per_s = known["peak_flop_per_s"]
        self._prefill_ratio = known["prefill_ratio"]
        self._weights_read_s = known["weights_read_s"]
        self._fastest_s_per_token = known["fastest_s_per_token"]
        self._cache_read_s_per_token = known["cache_read_s_per_token"]
        self._token_compute_s = known["token_compute_s"]
        self._latency_s = known["latency_s"]
        self._step_s = known["step_s"]
        self._step_per_sequence_s = known["step_per_sequence_s"]
        self._prefill_overhead_s = known["prefill_overhead_s"]
        self._attention_flop_per_pair = known["attention_flop_per_pair"]
        self._host_share_w = known["host_share_w"]
        self._tdp_w = known["tdp_w"]
        self._overhead_ratio = known["overhead_ratio"]
        self._static_ratio = known["static_ratio"]
        self._busy_weight_ratio = known["busy_weight_ratio"]
        self._flop_weight_ratio = known["flop_weight_ratio"]
        self._pue = self._rates.pue.value
        self._wue_l_per_it_kwh = self._rates.wue_l_per_it_kwh.value
        self._ewif_l_per_kwh = self._rates.ewif_l_per_kwh.value
        self._grid_g_per_kwh = self._rates.grid_g_per_kwh.value
        usual_count = deployment.engine.assumed_concurrency_count.value
        self._usual_count: dict[Method, float] = {"observed": 1, "assumed": usual_count}
        self._spreads = spreads(deployment, self._rates)
        self._flat = deployment.factors.flat_it_j_per_request
        self._flat_spread = spread(it_ratio=flat_ratio(self._flat) if self._flat else CERTAIN, at=self._rates)

    def estimate(self, usage: Usage, observation: Observation, *, steps: bool = False) -> Footprint | Unknown:
        """The footprint of one request, or the word for why there is none. `steps` also writes the derivation down.

        Without tokens an observed time still gives one: the accelerators count as busy, and the interval says so.
        """
        if self._flat is not None:
            derivation = Derivation() if steps else None
            if derivation is not None:
                derivation.take("it_j", self._flat)
            return self._footprint(self._flat.value, "flat", self._flat_spread, derivation)
        tokens = known_tokens(usage)
        elapsed_s = self._believable_s(tokens, observation)
        seen_count = positive(observation.concurrency_count)
        method: Method = "observed" if elapsed_s else "loaded" if seen_count else "assumed"
        sure = bool(seen_count or self.deployment.concurrency_count)
        concurrency_count = max(seen_count or self.deployment.concurrency_count or self._usual_count[method], 1)
        if tokens is None:
            if elapsed_s is None:
                return TOKENS_UNKNOWN
            it_j = self._it_j(busy_ratio=1, flop_ratio=0, elapsed_s=elapsed_s, concurrency_count=concurrency_count)
        else:
            worked = self._worked_it_j(tokens, elapsed_s, concurrency_count)
            if worked is None:
                return TIME_UNKNOWN
            it_j = worked
        derivation = self._derivation(tokens, observation, method, concurrency_count, sure=sure) if steps else None
        return self._footprint(it_j, method, self._spreads[method, tokens is not None, sure], derivation)

    def _believable_s(self, tokens: Tokens | None, observation: Observation) -> float | None:
        """The time that was seen, unless the hardware cannot have been so fast: a reply from a cache, say."""
        seen_s = positive(observation.busy_s) or positive(observation.elapsed_s)
        if seen_s is not None and tokens is not None and seen_s < tokens[2] * self._fastest_s_per_token:
            return None
        return seen_s

    def _worked_it_j(self, tokens: Tokens, elapsed_s: float | None, concurrency_count: float) -> float | None:
        """IT energy of a request whose tokens are known; its time is computed where it was not seen."""
        input_tokens, cached_tokens, output_tokens = tokens
        context_tokens = throughput.context_tokens(input_tokens=input_tokens, output_tokens=output_tokens)
        prefill_flop = self._prefill_flop(input_tokens, cached_tokens)
        decode_flop = throughput.decode_flop(
            params_count=self._params_count,
            attention_flop_per_pair=self._attention_flop_per_pair,
            context_tokens=context_tokens,
            output_tokens=output_tokens,
        )
        prefill_gpu_s = throughput.prefill_gpu_s(
            prefill_flop=prefill_flop,
            accelerators_count=self._accelerators_count,
            peak_flop_per_s=self._peak_flop_per_s,
            prefill_ratio=self._prefill_ratio,
        )
        roofline_s = throughput.roofline_s(
            weights_read_s=self._weights_read_s,
            cache_read_s_per_token=self._cache_read_s_per_token,
            token_compute_s=self._token_compute_s,
            concurrency_count=concurrency_count,
            context_tokens=context_tokens,
        )
        working_s = throughput.working_s(
            output_tokens=output_tokens,
            roofline_s=roofline_s,
            latency_s=self._latency_s,
            prefill_gpu_s=prefill_gpu_s,
            concurrency_count=concurrency_count,
        )
        if elapsed_s is None:
            elapsed_s = self._window_s(roofline_s, prefill_gpu_s, output_tokens, concurrency_count)
        if elapsed_s == 0:
            return None
        request_flop = throughput.request_flop(prefill_flop=prefill_flop, decode_flop=decode_flop)
        flop_ratio = energy.flop_ratio(
            request_flop=request_flop,
            concurrency_count=concurrency_count,
            accelerators_count=self._accelerators_count,
            peak_flop_per_s=self._peak_flop_per_s,
            elapsed_s=elapsed_s,
        )
        busy_ratio = energy.busy_ratio(working_s=working_s, elapsed_s=elapsed_s)
        return self._it_j(
            busy_ratio=busy_ratio, flop_ratio=flop_ratio, elapsed_s=elapsed_s, concurrency_count=concurrency_count
        )

    def _prefill_flop(self, input_tokens: float, cached_tokens: float) -> float:
        return throughput.prefill_flop(
            params_count=self._params_count,
            attention_flop_per_pair=self._attention_flop_per_pair,
            input_tokens=input_tokens,
            cached_tokens=cached_tokens,
        )

    def _window_s(
        self, roofline_s: float, prefill_gpu_s: float, output_tokens: float, concurrency_count: float
    ) -> float:
        return throughput.window_s(
            output_tokens=output_tokens,
            decode_step_s=throughput.decode_step_s(
                roofline_s=roofline_s,
                latency_s=self._latency_s,
                step_s=self._step_s,
                step_per_sequence_s=self._step_per_sequence_s,
                concurrency_count=concurrency_count,
            ),
            prefill_s=throughput.prefill_s(prefill_gpu_s=prefill_gpu_s, prefill_overhead_s=self._prefill_overhead_s),
            concurrency_count=concurrency_count,
        )

    def _it_j(self, *, busy_ratio: float, flop_ratio: float, elapsed_s: float, concurrency_count: float) -> float:
        power_ratio = energy.power_ratio(
            static_ratio=self._static_ratio,
            busy_weight_ratio=self._busy_weight_ratio,
            flop_weight_ratio=self._flop_weight_ratio,
            busy_ratio=busy_ratio,
            flop_ratio=flop_ratio,
        )
        server_w = energy.server_w(
            host_share_w=self._host_share_w,
            accelerators_count=self._accelerators_count,
            tdp_w=self._tdp_w,
            overhead_ratio=self._overhead_ratio,
            power_ratio=power_ratio,
        )
        return energy.it_j(server_w=server_w, elapsed_s=elapsed_s, concurrency_count=concurrency_count)

    def _footprint(self, it_j: float, method: Method, within: Spread, derivation: Derivation | None) -> Footprint:
        deployment = self.deployment
        facility_j = energy.facility_j(it_j=it_j, pue=self._pue)
        footprint = Footprint(
            it_j=it_j,
            facility_j=facility_j,
            onsite_l=water.onsite_l(it_j=it_j, wue_l_per_it_kwh=self._wue_l_per_it_kwh),
            offsite_l=water.offsite_l(facility_j=facility_j, ewif_l_per_kwh=self._ewif_l_per_kwh),
            carbon_g=carbon.carbon_g(facility_j=facility_j, grid_g_per_kwh=self._grid_g_per_kwh),
            method=method,
            spread=within,
            model=deployment.model.name,
            hardware=deployment.hardware.name,
            site=deployment.site.name,
            factors=deployment.factors.name,
            hydro=deployment.factors.hydro,
        )
        if derivation is None:
            return footprint
        steps = place_on(derivation, rates=self._rates, spread=within, spread_source=self._spread_source(method))
        return replace(footprint, steps=steps)

    def _derivation(
        self, tokens: Tokens | None, observation: Observation, method: Method, concurrency_count: float, *, sure: bool
    ) -> Derivation:
        at = self._engine.copy()
        seen = positive(observation.concurrency_count)
        why = "measured" if seen else "configured for the deployment" if sure else f"not known: {UNSURE[method]}"
        at.given("concurrency_count", concurrency_count, "requests", why)
        busy_s, elapsed_s = positive(observation.busy_s), positive(observation.elapsed_s)
        seen_s = busy_s or elapsed_s
        if seen_s and method != "observed":
            why = (
                "observed, but shorter than fastest_s_per_token allows: not this model's time, so the time is computed"
            )
            at.given("disbelieved_s", seen_s, "s", why)
        elif busy_s:
            at.given("elapsed_s", busy_s, "s", "the upstream's own account of its prefill and decode time")
        elif elapsed_s:
            at.given("elapsed_s", elapsed_s, "s", "observed, from admission to the last token")
        work_on(at, tokens=tokens, timed=method == "observed")
        return at

    def _spread_source(self, method: Method) -> str:
        if self._flat is not None:
            return "range of the factor set's figure per request, combined with those of the place"
        engine = self.deployment.engine
        low, high = engine.band[method]
        return f"{engine.name}, {method}: x{low:g} to x{high:g} ({engine.band_source}), combined with the ranges above"
