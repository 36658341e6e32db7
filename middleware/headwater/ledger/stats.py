"""What the ledger counts about itself. Plain integers, read by telemetry and tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Counters of one process's ledger since its start."""

    journalled: int = 0
    """Charges written to the journal."""
    shipped: int = 0
    """Charges that the store confirmed, of this process and of adopted journals."""
    failures: int = 0
    """Attempts to reach the store that failed; they are repeated."""
    gaps: int = 0
    """Charges that the store once had and has lost, and that no journal holds any more."""
    adopted: int = 0
    """Exchanges of dead processes that were charged as `partial`."""
    lost: int = 0
    """Charges that could not be journalled, or whose record was damaged."""
    lost_energy_microjoules: int = 0
    """Energy of the charges that could not be journalled; of a damaged record it is not known."""
    refused: int = 0
    """Requests turned away because the journal was full."""
