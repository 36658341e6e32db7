"""The servers that every client is run against: the upstream bare, wrapped in the middleware, behind the gateway, and, for
comparison, with things put into its streams that Headwater does not put there.

All on real sockets. Runs a client's script as a process of its own that sees the client's packages and nothing of this one's
environment, and gives what it printed together with what was charged for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp

from headwater import config
from headwater.demo import server
from headwater.gateway import Gateway
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import Charge
from tests.clients import upstream
from tests.clients.additions import ADDITIONS, Adding

ROOT: Final = Path(__file__).parents[2]
_RUN_S: Final = 400.0
"""Far beyond what any takes: a model on a busy machine is slow."""
FOOTPRINT: Final = "footprint"

Case = dict[str, Any]
Run = dict[str, Case]


@dataclass(frozen=True)
class Document:
    """What one client printed of its calls at the servers, and the charges that they left."""

    version: str
    bare: Run
    wrapped: Run
    gateway: Run
    added: dict[str, Run]
    charges: tuple[Charge, ...]


@dataclass(frozen=True)
class Houses:
    """The running servers."""

    bare: str
    wrapped: str
    gateway: str
    added: dict[str, str]
    meters: tuple[Meter, Meter]

    def document(self, command: Sequence[str | Path], home: Path, **environment: str) -> Document:
        """Run a client's script; its addresses are appended to the command."""
        charged = set(self._charges())
        urls = (self.bare, self.wrapped, self.gateway, *self.added.values())
        found = run_script([*command, *urls], home, **environment)
        charges = tuple(charge for key, charge in self._charges().items() if key not in charged)
        bare, wrapped, gateway, *added = found["runs"]
        runs = dict(zip(self.added, added, strict=True))
        return Document(found["version"], bare, wrapped, gateway, runs, charges)

    def _charges(self) -> dict[str, Charge]:
        assert all(meter.ledger.flush(10.0) for meter in self.meters)
        return {charge.request_id: charge for charge in self.meters[0].ledger.reader().ledger_entries()}


def run_script(command: Sequence[str | Path], home: Path, **environment: str) -> Any:
    """The JSON document that a command prints. It gets no environment but what is named here: no keys, no proxies."""
    found = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_RUN_S,
        check=False,
    )
    assert found.returncode == 0, found.stderr.decode(errors="replace")
    return json.loads(found.stdout)


@contextlib.contextmanager
def serving(data_dir: Path) -> Iterator[Houses]:
    """Serve them all for as long as the `with` lasts; both meters keep the same ledger."""
    with contextlib.ExitStack() as stack:

        def served(app: ASGIApp) -> str:
            listener = stack.enter_context(server.listening(0))
            stack.enter_context(server.serving(app, listener))
            return server.url(listener)

        deployment = {"hardware": "hgx-h100", "engine": "vllm-0.11", "accelerators": 4, "precision": "fp8"}
        settings = config.load(
            {"ledger": {"data_dir": str(data_dir)}, "deployment": [{"model": "llama-3.1-70b", **deployment}]},
            environment={},
        )
        meters = (Meter(settings), Meter(settings))
        bare = served(upstream.app())
        wrapped = served(FootprintMiddleware(upstream.app(), meter=meters[0]))
        gateway = served(FootprintMiddleware(Gateway(bare), meter=meters[1]))
        added = {name: served(Adding(upstream.app(), addition)) for name, addition in ADDITIONS.items()}
        yield Houses(bare, wrapped, gateway, added, meters)


def without_footprint(case: Case) -> Case:
    """A case as it would be without Headwater: no footprint, none of our headers."""
    headers = case.get("headers")
    return {**case, "reply": _stripped(case.get("reply")), "headers": None if headers is None else {}}


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _stripped(inner) for name, inner in value.items() if name != FOOTPRINT}
    return [_stripped(inner) for inner in value] if isinstance(value, list) else value


def footprints(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every footprint in a reply, with the place of the object that holds it: names and, counted from the end, numbers."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == FOOTPRINT and isinstance(inner, dict):
                yield place or "top", inner
            else:
                yield from footprints(inner, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        for number, inner in enumerate(value, -len(value)):
            yield from footprints(inner, f"{place}[{number}]")
