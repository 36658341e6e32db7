"""Coverage-guided fuzzing of all dialects: `make fuzz`, or `python -m tests.fuzz.run_atheris -max_total_time=60`.

The first byte chooses the dialect, the second what is read, the third how the rest is cut.
"""

from __future__ import annotations

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["headwater"]):
    from tests.fuzz.cases import check_reply, check_request, check_stream
    from tests.fuzz.seeds import SEEDS

_NAMES = sorted(SEEDS)


def one(data: bytes) -> None:
    """One case."""
    if len(data) < 3:
        return
    name, kind, body = _NAMES[data[0] % len(_NAMES)], data[1] % 4, data[3:]
    if kind == 0:
        check_request(name, body)
    elif kind == 1:
        check_reply(name, body)
    else:
        random = Random(data[2])
        places = sorted(random.randrange(len(body) + 1) for _ in range(data[2] % 7))
        chunks = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
        check_stream(name, chunks, injected=kind == 3)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
