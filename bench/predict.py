"""What each method says about a measured row, knowing no more of it than the method may know."""

from __future__ import annotations

from typing import Final

from headwater.physics.pace import Pace
from headwater.physics.replica import Replica
from headwater.records import Method
from rows import Row

METHODS: Final[tuple[Method, ...]] = ("observed", "loaded", "paced", "assumed")


def accelerator_j_per_token(replica: Replica, row: Row, method: Method) -> float:
    """Joules of the accelerators per output token, prefill included.

    `observed` is given the row's time and concurrency, `loaded` its concurrency, `paced` its median inter-token latency,
    `assumed` none of them. All know model, hardware, and the mean lengths of the requests.
    """
    mean = row.mean
    usual_count = replica.deployment.engine.assumed_concurrency_count.value
    if method == "observed":
        running = replica.running(mean, row.concurrency_count, elapsed_s=row.elapsed_s)
    elif method == "loaded":
        running = replica.running(mean, row.concurrency_count)
    elif method == "paced":
        inferred_count = Pace(replica).concurrency_count(mean, row.itl_s, usual_count)
        running = replica.running(mean, inferred_count, itl_s=row.itl_s)
    else:
        running = replica.running(mean, usual_count)
    return running.accelerator_j_per_token
