"""Result -> one HTML page without any other file: the plot inline, the table, the words around it."""

from __future__ import annotations

from typing import Final

from headwater import drawing
from headwater.replay.render import table
from headwater.replay.run import Result
from headwater.replay.scales import length
from headwater.replay.svg import as_svg
from headwater.replay.words import pace, place, remarks, when

# The last row is the total.
_STYLE: Final = """  tr:last-child td { font-weight: 600; border-bottom: 0 }
"""


def as_html(result: Result) -> str:
    """The page."""
    head, *body = table(result)
    facts = f"{result.requests.requests_count:,} requests in {length(result.span_s)}{when(result)}."
    return drawing.page(
        title=f"Replay of {result.trace.name}",
        drawing=as_svg(result),
        said=[facts, *(f"{place(one)}." for one in result.deployed), pace(result), *remarks(result)],
        tables=[drawing.table(head, body)],
        style=_STYLE,
    )
