"""A deployment, made ready: what depends on it alone is computed once, and the rest is written flat, for the hot path.

This is the arithmetic of `formulas.py` once more, without its names, because every answer waits for it. A test holds the
two together to the last digits; who changes one changes the other.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from headwater.physics.derivation import Derivation, engine_derivation
from headwater.records import Deployment, Mix, Running


class Own(NamedTuple):
    """The tokens of the request in hand, and its pictures."""

    input_tokens: float
    cached_tokens: float
    output_tokens: float
    images_count: float


class Replica:
    """How one replica of a deployment runs, and what one request has of it. Concurrencies are those of the replica."""

    __slots__ = (
        "_busy_weight_ratio", "_cache_read_s", "_cap_exponent",
        "_decode_pair_flop", "_expert_spread_ratio", "_experts_read_s", "_fixed_step_s", "_flop_weight_ratio",
        "_image_flop", "_image_s", "_is_split", "_latency_s", "_limit_w", "_missed_ratio", "_overhead_ratio",
        "_peak_s_per_flop", "_prefill_overhead_s", "_prefill_pair_flop", "_prefill_s_per_flop", "_roofline_exponent",
        "_state_read_s", "_static_ratio", "_step_per_sequence_s", "_token_compute_s", "_token_flop", "_weights_read_s",
        "_whole_layers_count", "_window_tokens", "_windowed_layers_count", "deployment", "derivation",
        "fastest_s_per_token", "host_share_w", "replicas_count",
    )  # fmt: skip

    def __init__(self, deployment: Deployment) -> None:
        self.deployment: Final = deployment
        self.derivation: Final[Derivation] = engine_derivation(deployment)
        known = self.derivation.known
        self.replicas_count: Final = known["replicas_count"]
        self.fastest_s_per_token: Final = known["fastest_s_per_token"]
        self.host_share_w: Final = known["host_share_w"]
        peak_flop_per_s = known["accelerators_count"] * known["peak_flop_per_s"]
        copies_ratio = known["attention_copies_ratio"]
        self._peak_s_per_flop = 1 / peak_flop_per_s
        self._prefill_s_per_flop = copies_ratio / (peak_flop_per_s * known["prefill_ratio"])
        self._prefill_overhead_s = known["prefill_overhead_s"] * copies_ratio
        self._image_s = known["image_s"] * copies_ratio
        self._is_split = copies_ratio > 1
        self._weights_read_s = known["weights_read_s"]
        self._experts_read_s = known["experts_read_s"]
        self._missed_ratio = 1 - known["chosen_count"] / known["experts_count"]
        self._expert_spread_ratio = known["expert_spread_ratio"]
        self._state_read_s = known["state_read_s"]
        self._cache_read_s = known["cache_read_s_per_token"]
        self._token_compute_s = known["token_compute_s"]
        self._token_flop = known["token_flop"]
        self._image_flop = known["image_flop"]
        self._decode_pair_flop = known["decode_flop_per_pair"]
        self._prefill_pair_flop = known["prefill_flop_per_pair"]
        self._whole_layers_count = known["whole_layers_count"]
        self._windowed_layers_count = known["windowed_layers_count"]
        self._window_tokens = known["window_tokens"]
        self._latency_s = known["latency_s"]
        self._fixed_step_s = known["latency_s"] + known["step_s"]
        self._step_per_sequence_s = known["step_per_sequence_s"]
        self._roofline_exponent = known["roofline_exponent"]
        self._limit_w = known["limit_w"]
        self._overhead_ratio = known["overhead_ratio"]
        self._static_ratio = known["static_ratio"]
        self._busy_weight_ratio = known["busy_weight_ratio"]
        self._flop_weight_ratio = known["flop_weight_ratio"]
        self._cap_exponent = known.get("power_cap_exponent")

    def running(
        self,
        mix: Mix,
        concurrency_count: float,
        *,
        elapsed_s: float | None = None,
        itl_s: float | None = None,
    ) -> Running:
        """How one replica runs with so many requests like the mean one in flight.

        Their time is the one seen (`elapsed_s`, from admission to last token), follows from a pace seen (`itl_s`), or is
        computed. Raises ValueError where there is nothing to do: no time passes.
        """
        (
            elapsed_s, _, _, power_ratio,
            memory_share_ratio, step_share_s, compute_share_s, fitted_share_ratio, charged_w,
        ) = self._terms(mix, concurrency_count, elapsed_s, itl_s)  # fmt: skip
        accelerator_w = self._limit_w * power_ratio
        return Running(
            concurrency_count=concurrency_count,
            output_tokens=mix.output_tokens,
            elapsed_s=elapsed_s,
            accelerator_w=accelerator_w,
            it_w=self.host_share_w + self._overhead_ratio * accelerator_w,
            memory_share_ratio=memory_share_ratio,
            step_share_s=step_share_s,
            compute_share_s=compute_share_s,
            fitted_share_ratio=fitted_share_ratio,
            charged_w=charged_w,
        )

    def _terms(
        self, mix: Mix, concurrency_count: float, elapsed_s: float | None, itl_s: float | None
    ) -> tuple[float, float, float, float, float, float, float, float, float]:
        """Time and power under the mean request, and what shares are made from."""
        (
            elapsed_s, pace_s, prefill_s, uncapped_ratio, power_ratio, memory_s, compute_s, roofline_s, busy_s, working_s,
        ) = self._at(
            mix.input_tokens, mix.cached_tokens, mix.output_tokens, mix.context_tokens, mix.images_count,
            concurrency_count, elapsed_s, itl_s,
        )  # fmt: skip
        exponent = self._roofline_exponent - 1
        memory_share_ratio = (memory_s / roofline_s) ** exponent
        compute_share_ratio = (compute_s / roofline_s) ** exponent
        step_share_s = memory_share_ratio * self._shared_read_s(concurrency_count) + self._latency_s / 2
        return (
            elapsed_s, pace_s, prefill_s, power_ratio,
            memory_share_ratio,
            step_share_s / concurrency_count,
            compute_share_ratio * self._token_compute_s,
            busy_s / working_s if working_s > 0 else 1.0,
            self._limit_w * power_ratio / uncapped_ratio,
        )  # fmt: skip

    def among(
        self, mix: Mix, own: Own, concurrency_count: float, own_elapsed_s: float | None, itl_s: float | None
    ) -> tuple[float, float]:
        """IT joules of one request among others that are like the mean one, and the seconds of its replica that it has for
        itself: the hot path of `running` and `share_j`. Its time is computed where it was not seen."""
        (
            _, pace_s, prefill_s, _, memory_share_ratio, step_share_s, compute_share_s, fitted_share_ratio, charged_w,
        ) = self._terms(mix, concurrency_count, None, itl_s)  # fmt: skip
        input_tokens, cached_tokens, output_tokens, images_count = own
        prefill_flop = self._prefill_flop(input_tokens, cached_tokens, images_count)
        if own_elapsed_s is None:
            own_prefill_s = (
                prefill_flop * self._prefill_s_per_flop + self._prefill_overhead_s + self._image_s * images_count
            )
            waited_s = (concurrency_count - 1) * prefill_s * (output_tokens / mix.output_tokens)
            own_elapsed_s = output_tokens * pace_s + own_prefill_s + waited_s
        present_s = own_elapsed_s / concurrency_count
        accelerator_j = self._accelerator_j(
            present_s, prefill_flop, input_tokens + output_tokens / 2, output_tokens,
            memory_share_ratio, step_share_s, compute_share_s, fitted_share_ratio, charged_w,
        )  # fmt: skip
        # Never more than all accelerators take at their limit while it is served.
        accelerator_j = min(accelerator_j, self._limit_w * own_elapsed_s)
        return self.host_share_w * present_s + self._overhead_ratio * accelerator_j, present_s

    def even_share(
        self,
        input_tokens: float,
        cached_tokens: float,
        output_tokens: float,
        images_count: float,
        concurrency_count: float,
        elapsed_s: float | None,
        itl_s: float | None,
    ) -> tuple[float, float]:
        """IT joules of one request among others that are just like it, and the seconds of its replica that it has for itself.
        Positional: this is the hot path.

        Raises ValueError where no time passes.
        """
        context_tokens = input_tokens + output_tokens / 2
        elapsed_s, _, _, _, power_ratio, *_ = self._at(
            input_tokens,
            cached_tokens,
            output_tokens,
            context_tokens,
            images_count,
            concurrency_count,
            elapsed_s,
            itl_s,
        )
        it_w = self.host_share_w + self._overhead_ratio * self._limit_w * power_ratio
        present_s = elapsed_s / concurrency_count
        return it_w * present_s, present_s

    def _at(
        self,
        input_tokens: float,
        cached_tokens: float,
        output_tokens: float,
        context_tokens: float,
        images_count: float,
        concurrency_count: float,
        elapsed_s: float | None,
        itl_s: float | None,
    ) -> tuple[float, float, float, float, float, float, float, float, float, float]:
        """Time and power of a batch of like requests, and what they come from."""
        window_tokens = self._window_tokens
        seen_tokens = context_tokens if context_tokens < window_tokens else window_tokens
        seen_tokens = self._whole_layers_count * context_tokens + self._windowed_layers_count * seen_tokens
        memory_s = self._shared_read_s(concurrency_count) + concurrency_count * (
            self._state_read_s + self._cache_read_s * seen_tokens
        )
        compute_s = self._token_compute_s * concurrency_count
        exponent = self._roofline_exponent
        roofline_s = (memory_s**exponent + compute_s**exponent) ** (1 / exponent)
        pace_s = itl_s
        if pace_s is None:
            pace_s = roofline_s + self._fixed_step_s + self._step_per_sequence_s * concurrency_count
        prefill_flop = self._prefill_flop(input_tokens, cached_tokens, images_count)
        prefill_gpu_s = prefill_flop * self._prefill_s_per_flop
        prefill_s = prefill_gpu_s + self._prefill_overhead_s + self._image_s * images_count
        if elapsed_s is None:
            elapsed_s = output_tokens * pace_s + concurrency_count * prefill_s
        if elapsed_s <= 0:
            raise ValueError(f"{output_tokens} output tokens of {input_tokens} input tokens take no time")
        working_s = output_tokens * (roofline_s + self._latency_s / 2) + concurrency_count * prefill_gpu_s
        busy_s = elapsed_s if working_s > elapsed_s or (self._is_split and working_s > 0) else working_s
        request_flop = prefill_flop + output_tokens * (self._token_flop + self._decode_pair_flop * seen_tokens)
        peak_s = request_flop * concurrency_count * self._peak_s_per_flop
        uncapped_ratio = (
            self._static_ratio + (self._busy_weight_ratio * busy_s + self._flop_weight_ratio * peak_s) / elapsed_s
        )
        power_ratio = self._capped(uncapped_ratio)
        return (
            elapsed_s, pace_s, prefill_s, uncapped_ratio, power_ratio,
            memory_s, compute_s, roofline_s, busy_s, working_s,
        )  # fmt: skip

    def _shared_read_s(self, concurrency_count: float) -> float:
        """Seconds to read what all sequences of a step share."""
        missed_ratio = self._missed_ratio
        if not missed_ratio:
            return self._weights_read_s + self._experts_read_s
        covered_ratio = 1 - missed_ratio ** (1 + self._expert_spread_ratio * (concurrency_count - 1))
        read_s: float = self._weights_read_s + self._experts_read_s * covered_ratio
        return read_s

    def decode_step_s(self, mix: Mix, concurrency_count: float) -> float:
        """Seconds of one decode step with so many sequences like the mean one, without prefills between."""
        sequence_read_s = self._state_read_s + self._cache_read_s * self._seen_layer_tokens(mix.context_tokens)
        memory_s = self._shared_read_s(concurrency_count) + sequence_read_s * concurrency_count
        exponent = self._roofline_exponent
        compute_s = self._token_compute_s * concurrency_count
        roofline_s: float = (memory_s**exponent + compute_s**exponent) ** (1 / exponent)
        return roofline_s + self._fixed_step_s + self._step_per_sequence_s * concurrency_count

    def prefill_s(self, *, input_tokens: float, cached_tokens: float = 0.0, images_count: float = 0.0) -> float:
        """Seconds in which a prompt is taken in and nothing else runs on its replica."""
        flop = self._prefill_flop(input_tokens, cached_tokens, images_count)
        return flop * self._prefill_s_per_flop + self._prefill_overhead_s + self._image_s * images_count

    def share_j(self, running: Running, own: Mix, own_elapsed_s: float) -> tuple[float, float]:
        """One request's share of the energy of the accelerators, and of the IT energy around them, in joules.

        `own`: the request's own tokens, or those that fall into a window, with the seconds that it was there.
        """
        present_s = own_elapsed_s / running.concurrency_count
        prefill_flop = self._prefill_flop(own.input_tokens, own.cached_tokens, own.images_count)
        accelerator_j = self._accelerator_j(
            present_s, prefill_flop, own.context_tokens, own.output_tokens,
            running.memory_share_ratio, running.step_share_s, running.compute_share_s,
            running.fitted_share_ratio, running.charged_w,
        )  # fmt: skip
        return accelerator_j, self.host_share_w * present_s + self._overhead_ratio * accelerator_j

    def _accelerator_j(
        self,
        present_s: float,
        prefill_flop: float,
        context_tokens: float,
        output_tokens: float,
        memory_share_ratio: float,
        step_share_s: float,
        compute_share_s: float,
        fitted_share_ratio: float,
        charged_w: float,
    ) -> float:
        seen_tokens = self._seen_layer_tokens(context_tokens)
        read_s = self._state_read_s + self._cache_read_s * seen_tokens
        token_s = step_share_s + memory_share_ratio * read_s + compute_share_s
        busy_s = output_tokens * token_s + prefill_flop * self._prefill_s_per_flop
        flop = prefill_flop + output_tokens * (self._token_flop + self._decode_pair_flop * seen_tokens)
        return charged_w * (
            self._static_ratio * present_s
            + self._busy_weight_ratio * fitted_share_ratio * busy_s
            + self._flop_weight_ratio * flop * self._peak_s_per_flop
        )

    def peak_s(self, own: Own) -> float:
        """Seconds in which all of a request's arithmetic could be done at the accelerators' peak: none was ever faster."""
        input_tokens, cached_tokens, output_tokens, images_count = own
        seen_tokens = self._seen_layer_tokens(input_tokens + output_tokens / 2)
        flop = self._prefill_flop(input_tokens, cached_tokens, images_count)
        flop += output_tokens * (self._token_flop + self._decode_pair_flop * seen_tokens)
        return flop * self._peak_s_per_flop

    def unknown_work_it_w(self) -> float:
        """IT power of a replica whose work is not known: at work all the time, without arithmetic."""
        power_ratio = self._capped(self._static_ratio + self._busy_weight_ratio)
        return self.host_share_w + self._overhead_ratio * self._limit_w * power_ratio

    def _capped(self, uncapped_ratio: float) -> float:
        exponent = self._cap_exponent
        if exponent is None:
            return min(uncapped_ratio, 1.0)
        ratio: float = uncapped_ratio / (1 + uncapped_ratio**exponent) ** (1 / exponent)
        return ratio

    def _seen_layer_tokens(self, context_tokens: float) -> float:
        window_tokens = self._window_tokens
        seen_tokens = context_tokens if context_tokens < window_tokens else window_tokens
        return self._whole_layers_count * context_tokens + self._windowed_layers_count * seen_tokens

    def _prefill_flop(self, input_tokens: float, cached_tokens: float, images_count: float) -> float:
        window_tokens = self._window_tokens
        mean_tokens = (input_tokens + cached_tokens) / 2
        seen_tokens = mean_tokens if mean_tokens < window_tokens else window_tokens
        layer_tokens = self._whole_layers_count * mean_tokens + self._windowed_layers_count * seen_tokens
        fresh_tokens = input_tokens - cached_tokens
        return (
            fresh_tokens * (self._token_flop + self._prefill_pair_flop * layer_tokens) + images_count * self._image_flop
        )
