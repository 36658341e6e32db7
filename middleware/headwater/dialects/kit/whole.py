"""A whole JSON reply of any API: what was read of it, and the fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headwater.dialects.base import Addition
from headwater.dialects.kit import edits, energy_reports
from headwater.records import NOTHING_TOLD, EnergyReport, Told


def _no_text() -> str:
    return ""


@dataclass(slots=True, kw_only=True)
class WholeReply:
    """See `headwater.dialects.base.Reply` for its contract.

    `text`: makes the generated text when it is asked for. `usage_path`: the members that lead to the usage object.
    """

    body: bytes
    complete: bool = False
    failed: bool = True
    told: Told = NOTHING_TOLD
    text: Callable[[], str] = _no_text
    usage_path: tuple[str, ...] = edits.USAGE

    @property
    def report(self) -> EnergyReport | None:
        """The energy that the upstream reports in the body."""
        return energy_reports.of_json(self.body)

    def output_text(self) -> str:
        """The text of all answers, joined."""
        return self.text()

    def fold(self, addition: Addition) -> bytes | None:
        """The body with the footprint in its usage object, or beside it; None where it is no JSON object."""
        return edits.folded(self.body, addition, self.usage_path)
