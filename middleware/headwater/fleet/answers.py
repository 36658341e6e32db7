"""A fleet -> what it draws, takes, emits, costs and can serve, each with low and high and the steps that lead there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headwater.fleet import formulas, ranges
from headwater.fleet.amounts import Answer, Capacity, Each
from headwater.fleet.question import Fleet
from headwater.fleet.remarks import remarks
from headwater.physics import formulas as server_formulas
from headwater.physics.derivation import Derivation, engine_derivation, mix_on, rates_on, running_on
from headwater.physics.intervals import Doubts, Part, combined, words
from headwater.physics.rates import UNITY, rates
from headwater.records import Bounds, Factor, Method, WueWord


def answer(fleet: Fleet) -> Answer:
    """What the fleet comes to, with the derivation of every figure."""
    return _Answering(fleet).answer()


class _Answering:
    """One derivation, figure by figure, in the order in which they follow."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.deployment = fleet.deployment
        self.load = fleet.load_ratio
        self.rates = rates(self.deployment)
        self.by_place = ranges.by_place(self.rates)
        self.at = Derivation() if fleet.model is None else engine_derivation(self.deployment)
        self.reasons: dict[str, str] = {}
        engine = self.deployment.engine
        usual, fitted = engine.assumed_concurrency_count, engine.fitted_concurrency_count
        self.concurrency_count = usual.value if fleet.concurrency is None else fleet.concurrency
        self.doubts = Doubts(
            tokens=True,
            concurrency=fleet.concurrency is not None,
            small_batch=fitted is not None and self.concurrency_count < fitted.low,
            images=False,
        )
        self.serving: Method = "assumed" if fleet.concurrency is None else "loaded"

    def answer(self) -> Answer:
        fleet, at, flat = self.fleet, self.at, self.deployment.factors.flat_it_j_per_request
        if fleet.model is not None:
            self._running()
        self._servers()
        cost, making, share = self._cost(), *self._making()
        power = self._power()
        at.follow(formulas.ENERGY_RULES)
        rates_on(at, rates=self.rates)
        at.follow(formulas.READABLE_RULES)
        drawn = {name: self._bounds(name, unit, power) for name, unit in (("power_kw", "kW"), ("it_energy_kwh", "kWh"))}
        placed = {
            name: self._bounds(name, unit, [*power, self.by_place[name]]) for name, unit in ranges.AMOUNTS.items()
        }
        capacity = self._capacity()
        requests = self._requests(flat, power, capacity)
        per_request = self._per_request(flat, requests)
        visits = self._visits(power, requests)
        made = Answer(
            fleet=fleet,
            servers_count=fleet.servers,
            accelerators_count=fleet.installed_accelerators,
            load_ratio=Bounds(low=self.load.low, value=self.load.value, high=self.load.high),
            method=None if fleet.model is None or self.deployment.factors.server_w is not None else self.serving,
            wue_basis=self._wue_basis(),
            power_kw=drawn["power_kw"],
            it_energy_kwh=drawn["it_energy_kwh"],
            facility_energy_kwh=placed["facility_energy_kwh"],
            water_onsite_l=placed["onsite_l"],
            water_offsite_l=placed["offsite_l"],
            water_l=placed["water_l"],
            carbon_kg=placed["carbon_kg"],
            capital_cost=cost,
            currency=fleet.currency,
            embodied_kg=making,
            embodied_share_kg=share,
            requests=requests,
            input_tokens=self._tokens("input_tokens", flat, capacity),
            output_tokens=self._tokens("output_tokens", flat, capacity),
            capacity=capacity,
            per_request=per_request,
            per_visit=visits[0],
            asked_requests=visits[1],
            per_asked_request=visits[2],
            asked_ratio=visits[3],
            reasons=self.reasons,
            notes=(),
            steps=tuple(at.steps),
        )
        return replace(made, notes=tuple(remarks(made)))

    def _bounds(self, name: str, unit: str, parts: Sequence[Part]) -> Bounds:
        """Note the range of a known figure."""
        at = self.at
        at.within(name, unit, combined(*(ratio for _, ratio in parts)), words(parts))
        return Bounds(low=at.known[f"{name}_low"], value=at.known[name], high=at.known[f"{name}_high"])

    def _running(self) -> None:
        """How one replica runs under the mean request."""
        at = self.at
        why = "the engine's usual one" if self.fleet.concurrency is None else "as asked"
        at.given("concurrency_count", self.concurrency_count, "requests", f"{why}, on each replica")
        mix_on(at, self.fleet.mix, alone=False)
        running_on(at, itl_s=None)
        at.follow(server_formulas.UNKNOWN_WORK_RULES)

    def _servers(self) -> None:
        fleet, at, hardware = self.fleet, self.at, self.deployment.hardware
        asked = f"{fleet.accelerators:,} asked for, in whole servers"
        at.given("installed_accelerators_count", fleet.installed_accelerators, "accelerators", asked)
        if fleet.model is None:
            at.given("server_accelerators_count", hardware.accelerators_count, "accelerators", hardware.name)
        at.follow(formulas.SERVERS_RULES)
        at.given("hours", fleet.hours, "h", "as asked")
        at.take("load_ratio", self.load)

    def _cost(self) -> Bounds | None:
        price = self.fleet.price_per_server
        if price is None:
            self.reasons["capital_cost"] = f"no price of {self.deployment.hardware.name} was read; give one"
            return None
        self.at.take("server_price", replace(price, unit=self.fleet.currency))
        self.at.follow(formulas.COST_RULES)
        made = self._bounds("capital_cost", self.fleet.currency, [ranges.of_factor("price", price)])
        # Whole prices times whole servers, without the noise of a ratio.
        return replace(made, low=price.low * self.fleet.servers, high=price.high * self.fleet.servers)

    def _making(self) -> tuple[Bounds | None, Bounds | None]:
        at, hardware = self.at, self.deployment.hardware
        board, host, lifetime = hardware.accelerator_embodied_g, hardware.host_embodied_g, hardware.lifetime_s
        if board is None or host is None or lifetime is None:
            why = f"no source for the making of {hardware.name} was read"
            self.reasons |= {"embodied_kg": why, "embodied_share_kg": why}
            return None, None
        for name, factor in (("accelerator_embodied_g", board), ("host_embodied_g", host), ("lifetime_s", lifetime)):
            at.take(name, factor)
        at.follow(formulas.EMBODIED_RULES)
        count = hardware.accelerators_count
        whole = replace(
            board,
            low=board.low * count + host.low,
            value=board.value * count + host.value,
            high=board.high * count + host.high,
        )
        made = ranges.of_factor("the making of a server", whole)
        spread = ranges.inverse(ranges.of_factor("lifetime", lifetime))
        return self._bounds("embodied_kg", "kg", [made]), self._bounds("embodied_share_kg", "kg", [made, spread])

    def _power(self) -> list[Part]:
        """Go on to the power of the fleet; why it is not certain."""
        at, hardware, server_w = self.at, self.deployment.hardware, self.deployment.factors.server_w
        if server_w is not None:
            at.take("server_w", server_w)
            at.follow(formulas.NAMEPLATE_RULES)
            return ranges.nameplate_parts(server_w, self.load)
        if self.fleet.model is None:
            self._at_work_somehow()
        at.take("idle_w", hardware.idle_w)
        at.follow(formulas.FLEET_RULES)
        method = None if self.fleet.model is None else self.serving
        work = ranges.at_work(self.deployment, at.known["it_w"], method, self.doubts)
        return ranges.power_parts(at.known, work, hardware.idle_w, self.load)

    def _at_work_somehow(self) -> None:
        """The power of a server at work where nothing is known of the work."""
        at, hardware = self.at, self.deployment.hardware
        at.given("accelerators_count", hardware.accelerators_count, "accelerators", "all of a server's")
        for name, factor in (
            ("tdp_w", hardware.accelerator_tdp_w),
            ("host_w", hardware.host_w),
            ("overhead_ratio", hardware.accelerator_overhead_ratio or UNITY),
            ("static_ratio", hardware.power_static_ratio),
            ("busy_weight_ratio", hardware.power_busy_ratio),
        ):
            at.take(name, factor)
        at.given("busy_ratio", 1, "ratio", "no model is named: the accelerators are taken as busy while at work")
        at.given("flop_weight_ratio", 0, "ratio", "no model is named: no arithmetic is added")
        at.given("flop_ratio", 0, "ratio", "no model is named: no arithmetic is added")
        at.follow(formulas.HARDWARE_RULES + server_formulas.LIMIT_RULES)
        if hardware.power_cap_exponent is None:
            at.follow(server_formulas.HARD_CAP_RULES)
        else:
            at.take("power_cap_exponent", hardware.power_cap_exponent)
            at.follow(server_formulas.SMOOTH_CAP_RULES)
        at.follow(server_formulas.UNKNOWN_WORK_RULES)

    def _capacity(self) -> Capacity | None:
        if self.fleet.model is None:
            self.reasons["capacity"] = "no model is named, so nothing is known of its speed"
            return None
        self.at.follow(formulas.CAPACITY_RULES)
        parts = ranges.capacity_parts(self.deployment, self.serving, self.doubts, self.load)
        return Capacity(
            requests=self._bounds("capacity_requests_count", "requests", parts),
            input_tokens=self._bounds("capacity_input_tokens", "tokens", parts),
            output_tokens=self._bounds("capacity_output_tokens", "tokens", parts),
        )

    def _requests(self, flat: Factor | None, power: list[Part], capacity: Capacity | None) -> Bounds | None:
        at = self.at
        if flat is not None:
            at.take("flat_it_j_per_request", flat)
            at.follow(formulas.FLAT_RULES)
            return self._bounds("requests_count", "requests", [*power, ranges.inverse(ranges.flat_part(flat))])
        if capacity is None:
            self.reasons["requests"] = self.reasons["capacity"]
            return None
        at.given(
            "requests_count", capacity.requests.value, "requests", "what the fleet can serve: capacity_requests_count"
        )
        return capacity.requests

    def _tokens(self, name: str, flat: Factor | None, capacity: Capacity | None) -> Bounds | None:
        """Tokens of the requests served."""
        if flat is None and capacity is not None:
            return capacity.input_tokens if name == "input_tokens" else capacity.output_tokens
        named = f"{self.deployment.factors.name} counts requests, whatever their tokens"
        self.reasons[name] = self.reasons["requests"] if flat is None else named
        return None

    def _per_request(self, flat: Factor | None, requests: Bounds | None) -> Each | None:
        if requests is None or requests.value == 0:
            self.reasons["per_request"] = self.reasons.get("requests", "at load 0 nothing is served")
            return None
        if flat is not None:
            return self._each("request", "requests_count", [ranges.flat_part(flat)])
        parts = ranges.request_parts(self.at.known, self.deployment, self.serving, self.doubts, self.load)
        return self._each("request", "requests_count", parts)

    def _each(self, what: str, count: str, parts: list[Part]) -> Each:
        self.at.follow(formulas.each_rules(what, count))
        place = self.by_place
        return Each(
            energy_wh=self._bounds(f"{what}_energy_wh", "Wh", [*parts, place["facility_energy_kwh"]]),
            water_ml=self._bounds(f"{what}_water_ml", "mL", [*parts, place["water_l"]]),
            carbon_g=self._bounds(f"{what}_carbon_g", "g", [*parts, place["carbon_kg"]]),
        )

    def _visits(
        self, power: list[Part], requests: Bounds | None
    ) -> tuple[Each | None, float | None, Each | None, Bounds | None]:
        """The whole fleet over all visits, and over their requests; how many those are, and what share of the fleet's."""
        fleet, at = self.fleet, self.at
        if fleet.visits is None:
            return None, None, None, None
        at.given("visits_count", fleet.visits, "visits", "as asked")
        per_visit = self._each("visit", "visits_count", power)
        if fleet.requests_per_visit is None:
            return per_visit, None, None, None
        at.given("requests_per_visit_count", fleet.requests_per_visit, "requests", "as asked")
        at.follow(formulas.ASKED_RULES)
        asked = at.known["asked_requests_count"]
        each = self._each("asked", "asked_requests_count", power)
        if requests is None or requests.value == 0:
            self.reasons["asked_ratio"] = self.reasons["per_request"]
            return per_visit, asked, each, None
        at.follow(formulas.SHARE_RULES)
        around = ("the requests that it serves", (requests.low / requests.value, requests.high / requests.value))
        return per_visit, asked, each, self._bounds("asked_ratio", "ratio", [ranges.inverse(around)])

    def _wue_basis(self) -> WueWord:
        return rates(self.deployment).onsite.word
