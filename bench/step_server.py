"""A serving engine, step by step: who was in each step, how long it took, what power it drew, and who caused what of it.

Continuous batching: each step gives every decoding sequence one token, and takes in prompts, whole or in chunks. The first
token comes out of the prefill. Time and power of a step are those of the model (METHODOLOGY.md), but of this step alone:
with every sequence's own context, with the prompts that are in it, and with the power limit applied to it.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from headwater.physics.metering import idle_share_w
from headwater.physics.replica import Replica

Prefill = Literal["chunked", "whole"]


@dataclass(slots=True, eq=False)
class Request:
    """One request of a trace, and what becomes of it. `causal_j`, `shapley_j`: its IT energy by two kinds of truth."""

    at_s: float
    input_tokens: int
    output_tokens: int
    taken_tokens: int = 0
    put_out_tokens: int = 0
    first_token_s: float = 0.0
    ended_s: float = 0.0
    causal_j: float = 0.0
    shapley_j: float = 0.0
    tokens_in: dict[int, int] = field(default_factory=dict)
    """Window -> output tokens that came in it."""


@dataclass(slots=True, kw_only=True)
class Policy:
    """How the engine batches. vLLM takes prompts in chunks so that a step has at most `step_tokens`, decoding included."""

    prefill: Prefill = "chunked"
    step_tokens: int = 2048
    most_sequences: int = 256


class Meter:
    """Energy at the wall by windows of equal length, as a meter of all replicas would count it."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self.energy_j: list[float] = []
        self.idle_j = 0.0

    def add(self, started_s: float, ended_s: float, power_w: float) -> None:
        """Count a time of constant power."""
        number = int(started_s / self.window_s)
        while started_s < ended_s:
            until_s = min(ended_s, (number + 1) * self.window_s)
            while len(self.energy_j) <= number:
                self.energy_j.append(0.0)
            self.energy_j[number] += power_w * (until_s - started_s)
            started_s, number = until_s, number + 1


class StepServer:
    """One replica that serves requests in the order in which they come."""

    def __init__(self, replica: Replica, meter: Meter, policy: Policy, *, seed: int | None = 0) -> None:
        """`seed` of the orders in which Shapley's players join; None: do without."""
        known = replica.derivation.known
        if known["attention_copies_ratio"] > 1:
            raise ValueError("attention data parallelism is not simulated")
        self._known = known
        self._shared_fix_s, self._experts_s = known["weights_read_s"], known["experts_read_s"]
        self._missed_ratio = 1 - known["chosen_count"] / known["experts_count"]
        self._peak = known["accelerators_count"] * known["peak_flop_per_s"]
        self._fixed_s = known["latency_s"] + known["step_s"]
        self._cap_exponent = known.get("power_cap_exponent")
        self._idle_w = idle_share_w(replica)
        self._meter, self._policy = meter, policy
        self._random = None if seed is None else random.Random(seed)  # repeatable, no secret
        self.clock_s = 0.0
        self.steps_count = self.decoded_count = 0
        self._waiting: deque[Request] = deque()
        self._decoding: list[Request] = []
        self._taking: list[Request] = []

    @property
    def in_flight_count(self) -> int:
        """Requests that wait, are taken in or decode."""
        return len(self._waiting) + len(self._taking) + len(self._decoding)

    def put(self, request: Request) -> None:
        """Queue a request; it must not have come before the last one."""
        self._waiting.append(request)

    def run_until(self, until_s: float) -> None:
        """Start every step that begins before that time; the last one may end after it."""
        while self.clock_s < until_s:
            self._go_on(until_s)

    def drain(self) -> None:
        """Finish all requests."""
        while self.in_flight_count:
            self._go_on(math.inf)

    def _go_on(self, until_s: float) -> None:
        """One step, or the idle time before the next."""
        while self._waiting and self._waiting[0].at_s <= self.clock_s and self._has_room():
            self._taking.append(self._waiting.popleft())
        if self._taking or self._decoding:
            self._step()
            return
        next_s = min(self._waiting[0].at_s, until_s) if self._waiting else until_s
        self._meter.add(self.clock_s, next_s, self._idle_w)
        self._meter.idle_j += self._idle_w * (next_s - self.clock_s)
        self.clock_s = next_s

    def _has_room(self) -> bool:
        return len(self._taking) + len(self._decoding) < self._policy.most_sequences

    def _step(self) -> None:
        chunks = self._chunks()
        decoding = [] if chunks and self._policy.prefill == "whole" else self._decoding
        ended_s = self.clock_s + self._charge(decoding, chunks)
        window = int(ended_s / self._meter.window_s)
        for request in decoding:
            request.put_out_tokens += 1
            request.tokens_in[window] = request.tokens_in.get(window, 0) + 1
        for request, fresh_tokens in chunks:
            request.taken_tokens += fresh_tokens
            if request.taken_tokens == request.input_tokens:
                self._taking.remove(request)
                self._decoding.append(request)
                request.put_out_tokens = 1
                request.first_token_s = ended_s
                request.tokens_in[window] = 1
        self.clock_s = ended_s
        self.steps_count += 1
        self.decoded_count += len(decoding)
        still = []
        for request in self._decoding:
            if request.put_out_tokens >= request.output_tokens:
                request.ended_s = ended_s
            else:
                still.append(request)
        self._decoding = still

    def _chunks(self) -> list[tuple[Request, int]]:
        """The prompts of this step with the tokens taken in; whole prompts share a step only as far as they fit in."""
        is_whole = self._policy.prefill == "whole"
        left_tokens = self._policy.step_tokens - (0 if is_whole else len(self._decoding))
        chunks: list[tuple[Request, int]] = []
        for request in self._taking:
            tokens = request.input_tokens - request.taken_tokens
            if is_whole and chunks and tokens > left_tokens:
                break
            if not is_whole:
                tokens = min(tokens, left_tokens)
            if tokens <= 0:
                break
            chunks.append((request, tokens))
            left_tokens -= tokens
        return chunks

    # -- the physics of one step --------------------------------------------------------------------------------------------

    def _charge(self, decoding: Sequence[Request], chunks: Sequence[tuple[Request, int]]) -> float:
        """Charge a step to those in it, by both kinds of truth, and count it; returns its seconds."""
        known, count = self._known, len(decoding)
        whole, windowed, window = (
            known["whole_layers_count"],
            known["windowed_layers_count"],
            known["window_tokens"],
        )
        state_s, cache_s = known["state_read_s"], known["cache_read_s_per_token"]
        token_flop, pair_flop = known["token_flop"], known["decode_flop_per_pair"]
        reads: list[float] = []
        flops: list[float] = []
        for request in decoding:
            context = request.input_tokens + request.put_out_tokens
            seen = whole * context + windowed * min(context, window) if windowed else whole * context
            reads.append(state_s + cache_s * seen)
            flops.append(token_flop + pair_flop * seen)
        takes = [self._take(request, fresh) for request, fresh in chunks]
        memory_s, compute_s, roofline_s = self._roofline(count, sum(reads))
        busy_s = roofline_s + (known["latency_s"] / 2 if count else 0.0) + sum(gpu_s for gpu_s, _, _ in takes)
        flop = sum(flops) + sum(flop for _, flop, _ in takes)
        step_s = self._step_s(count, roofline_s, sum(gpu_s + rest_s for gpu_s, _, rest_s in takes))
        uncapped_ratio = self._uncapped_ratio(busy_s, flop, step_s)
        limit_w, overhead_ratio = known["accelerators_count"] * known["tdp_w"], known["overhead_ratio"]
        power_ratio = self._capped(uncapped_ratio)
        power_w = known["host_share_w"] + overhead_ratio * limit_w * power_ratio
        self._meter.add(self.clock_s, self.clock_s + step_s, power_w)

        charged_w = overhead_ratio * limit_w * power_ratio / uncapped_ratio
        # Sequences that are held up while whole prompts are taken in keep their place, and their part of being on.
        present_count = len(self._decoding) + len(chunks)
        present_j = (known["host_share_w"] + charged_w * known["static_ratio"]) * step_s / present_count
        busy_w = charged_w * known["busy_weight_ratio"]
        j_per_flop = charged_w * known["flop_weight_ratio"] / self._peak
        if count:
            exponent = known["roofline_exponent"]
            read_w = busy_w * (memory_s / roofline_s) ** (exponent - 1)
            compute_j = busy_w * (compute_s / roofline_s) ** (exponent - 1) * known["token_compute_s"]
            shared_j = (read_w * self._shared_s(count) + busy_w * known["latency_s"] / 2) / count
            same_j = present_j + shared_j + compute_j
            for request, read_s, own_flop in zip(decoding, reads, flops, strict=True):
                request.causal_j += same_j + read_w * read_s + j_per_flop * own_flop
        else:
            for request in self._decoding:
                request.causal_j += present_j
        for (request, _), (gpu_s, own_flop, _) in zip(chunks, takes, strict=True):
            request.causal_j += present_j + busy_w * gpu_s + j_per_flop * own_flop
        if self._random is not None:
            players = [
                (request, read_s, own_flop, 0.0)
                for request, read_s, own_flop in zip(decoding, reads, flops, strict=True)
            ]
            prompts = [(request, *take) for (request, _), take in zip(chunks, takes, strict=True)]
            self._shapley(players, prompts, power_w * step_s)
        return step_s

    def _shapley(
        self,
        decoding: Sequence[tuple[Request, float, float, float]],
        prompts: Sequence[tuple[Request, float, float, float]],
        step_j: float,
    ) -> None:
        """What each adds to the energy of the step when those in it join in a random order, and in the reverse one.

        An estimate of the Shapley value of one step, without bias; a request has hundreds of steps.
        """
        players = [(False, *player) for player in decoding] + [(True, *player) for player in prompts]
        if len(players) == 1:
            players[0][1].shapley_j += step_j
            return
        assert self._random is not None
        self._random.shuffle(players)
        for order in (players, players[::-1]):
            count, reads_s, flop, take_gpu_s, take_s, so_far_j = 0, 0.0, 0.0, 0.0, 0.0, 0.0
            for is_prompt, request, seconds, own_flop, rest_s in order:
                flop += own_flop
                if is_prompt:
                    take_gpu_s += seconds
                    take_s += seconds + rest_s
                else:
                    count += 1
                    reads_s += seconds
                now_j = self._coalition_j(count, reads_s, flop, take_gpu_s, take_s)
                request.shapley_j += (now_j - so_far_j) / 2
                so_far_j = now_j

    def _coalition_j(self, count: int, reads_s: float, flop: float, take_gpu_s: float, take_s: float) -> float:
        known = self._known
        roofline_s = self._roofline(count, reads_s)[2]
        step_s = self._step_s(count, roofline_s, take_s)
        busy_s = roofline_s + (known["latency_s"] / 2 if count else 0.0) + take_gpu_s
        power_ratio = self._capped(self._uncapped_ratio(busy_s, flop, step_s))
        limit_w = known["accelerators_count"] * known["tdp_w"]
        return (known["host_share_w"] + known["overhead_ratio"] * limit_w * power_ratio) * step_s

    def _take(self, request: Request, fresh_tokens: int) -> tuple[float, float, float]:
        """Seconds of arithmetic, arithmetic, and seconds besides (once per prompt) to take in a piece of a prompt."""
        known = self._known
        seen = request.taken_tokens + fresh_tokens / 2
        layer_tokens = known["whole_layers_count"] * seen
        layer_tokens += known["windowed_layers_count"] * min(seen, known["window_tokens"])
        flop = fresh_tokens * (known["token_flop"] + known["prefill_flop_per_pair"] * layer_tokens)
        rest_s = known["prefill_overhead_s"] if request.taken_tokens == 0 else 0.0
        return flop / (self._peak * known["prefill_ratio"]), flop, rest_s

    def _shared_s(self, count: int) -> float:
        if not self._experts_s:
            return self._shared_fix_s
        missed_ratio: float = self._missed_ratio ** (1 + self._known["expert_spread_ratio"] * (count - 1))
        return self._shared_fix_s + self._experts_s * (1 - missed_ratio)

    def _roofline(self, count: int, reads_s: float) -> tuple[float, float, float]:
        if not count:
            return 0.0, 0.0, 0.0
        memory_s = self._shared_s(count) + reads_s
        compute_s = count * self._known["token_compute_s"]
        exponent = self._known["roofline_exponent"]
        roofline_s: float = (memory_s**exponent + compute_s**exponent) ** (1 / exponent)
        return memory_s, compute_s, roofline_s

    def _step_s(self, count: int, roofline_s: float, take_s: float) -> float:
        if not count:
            return take_s
        return roofline_s + self._fixed_s + self._known["step_per_sequence_s"] * count + take_s

    def _uncapped_ratio(self, busy_s: float, flop: float, step_s: float) -> float:
        known = self._known
        flop_ratio = flop / (self._peak * step_s)
        return (
            known["static_ratio"]
            + known["busy_weight_ratio"] * busy_s / step_s
            + known["flop_weight_ratio"] * flop_ratio
        )

    def _capped(self, ratio: float) -> float:
        exponent = self._cap_exponent
        if exponent is None:
            return min(ratio, 1.0)
        capped: float = ratio / (1 + ratio**exponent) ** (1 / exponent)
        return capped
