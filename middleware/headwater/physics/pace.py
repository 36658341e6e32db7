"""How many requests somebody else's server has in flight, judged by the pace of its tokens. Knows times, no power."""

from __future__ import annotations

import math
from typing import Final

from headwater.physics.replica import Replica
from headwater.records import Mix

# The grid on which the likeliest concurrency is looked for: 1 to 4096, four steps to each doubling.
MOST_DOUBLINGS: Final = 12
STEPS_PER_DOUBLING: Final = 4
# Contexts that lie within an eighth of a doubling share their table: reading a cache is a part of a step only.
CONTEXT_STEPS_PER_DOUBLING: Final = 8
# Paces within two per cent are one: finer than any is seen.
PACE_STEPS_PER_DOUBLING: Final = 32
MOST_KEPT: Final = 4096


class Pace:
    """The concurrency that explains an inter-token latency best, drawn to what such servers usually have.

    Notes: least `(ln t_dec(B) - ln ITL)^2 / (2 s_t^2) + (ln B - ln B_usual)^2 / (2 s_B^2)` over the grid; both standard
    deviations are figures of the engine. Speculative decoding breaks it: several tokens come from one step.
    """

    def __init__(self, replica: Replica) -> None:
        engine = replica.deployment.engine
        self._replica = replica
        error, spread = engine.pace_error_ratio, engine.concurrency_spread_ratio
        self._time_weight = 1 / (2 * math.log(error.value) ** 2) if error is not None else 1.0
        self._usual_weight = 1 / (2 * math.log(spread.value) ** 2) if spread is not None else 1.0
        self._logs = [
            step * math.log(2) / STEPS_PER_DOUBLING for step in range(MOST_DOUBLINGS * STEPS_PER_DOUBLING + 1)
        ]
        self._tables: dict[int, list[float]] = {}
        self._usual: dict[float, list[float]] = {}
        self._likeliest: dict[tuple[int, int, float], float] = {}

    def concurrency_count(self, mean: Mix, itl_s: float, usual_count: float) -> float:
        """The likeliest concurrency for a seen inter-token latency in seconds."""
        step = round(math.log2(itl_s) * PACE_STEPS_PER_DOUBLING)
        key = (self._context_step(mean), step, usual_count)
        found = self._likeliest.get(key)
        if found is None:
            if len(self._likeliest) >= MOST_KEPT:
                self._likeliest.clear()
            found = self._likeliest[key] = self._search(key[0], step, usual_count)
        return found

    def _search(self, context_step: int, step: int, usual_count: float) -> float:
        log_itl, weight = step * math.log(2) / PACE_STEPS_PER_DOUBLING, self._time_weight
        misfits = [
            weight * (log_s - log_itl) ** 2 + unusual
            for log_s, unusual in zip(self._table(context_step), self._unusual(usual_count), strict=True)
        ]
        return math.exp(self._logs[misfits.index(min(misfits))])

    def reason(self, itl_s: float, usual_count: float) -> str:
        """The words for a receipt."""
        engine = self._replica.deployment.engine
        error, spread = engine.pace_error_ratio, engine.concurrency_spread_ratio
        return (
            f"inferred from the pace of the tokens: on a grid of 1 to 4096, the B for which "
            f"(ln(decode_step_s(B) / {itl_s:g}) / ln({error.value if error else math.e:g}))^2 + "
            f"(ln(B / {usual_count:g}) / ln({spread.value if spread else math.e:g}))^2 is least; "
            "wrong under speculative decoding"
        )

    def _unusual(self, usual_count: float) -> list[float]:
        """How far each concurrency of the grid is from the usual one. A deployment has just one usual one."""
        found = self._usual.get(usual_count)
        if found is None:
            log_usual, weight = math.log(usual_count), self._usual_weight
            found = self._usual[usual_count] = [weight * (log_count - log_usual) ** 2 for log_count in self._logs]
        return found

    @staticmethod
    def _context_step(mean: Mix) -> int:
        return round(math.log2(mean.context_tokens + 1) * CONTEXT_STEPS_PER_DOUBLING)

    def _table(self, context_step: int) -> list[float]:
        """Logarithms of the step times over the grid, for contexts about as long as the mean one."""
        found = self._tables.get(context_step)
        if found is None:
            context_tokens = 2 ** (context_step / CONTEXT_STEPS_PER_DOUBLING) - 1
            like = Mix(input_tokens=0, cached_tokens=0, output_tokens=0, context_tokens=context_tokens)
            found = self._tables[context_step] = [
                math.log(self._replica.decode_step_s(like, math.exp(log_count))) for log_count in self._logs
            ]
        return found
