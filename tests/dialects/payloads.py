"""Example payloads of all APIs, where ../shared/data/wire is there; tests that need them are skipped where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

WIRE = Path(__file__).parents[3] / "shared" / "data" / "wire"


def payload(name: str) -> bytes:
    """The bytes of one payload."""
    path = WIRE / name
    if not path.exists():
        pytest.skip(f"{name} of the shared example payloads is not here")
    return path.read_bytes()
