"""Bars -> one HTML page without any other file: the drawing inline, and its amounts as a table for those who cannot see it."""

from __future__ import annotations

from headwater import drawing
from headwater.bars.chart import Bar, Bars, Panel, amount_words
from headwater.bars.svg import as_svg
from headwater.printable import encodable, printable


def as_html(what: Bars) -> str:
    """The page."""
    return drawing.page(
        title=encodable(printable(what.title)),
        drawing=as_svg(what),
        said=(),
        tables=[_table(panel) for panel in what.panels],
    )


def _table(panel: Panel) -> str:
    names = panel.part_names()
    heading = f"{panel.title}, {panel.unit}" if panel.title else panel.unit
    notes = ("note",) if any(bar.note for bar in panel.bars) else ()
    head = [heading, "central", "low", "high", *names, *notes]
    rows = [[bar.label, *_amounts(bar, names), *((bar.note,) if notes else ())] for bar in panel.bars]
    return drawing.table(
        [encodable(printable(cell)) for cell in head], [[encodable(printable(cell)) for cell in row] for row in rows]
    )


def _amounts(bar: Bar, names: tuple[str, ...]) -> list[str]:
    if bar.value is None:
        return [bar.words(), "", "", *("" for _ in names)]
    parts = dict(bar.parts)
    cells = [bar.value, bar.low, bar.high, *(parts.get(name) for name in names)]
    return ["" if amount is None else amount_words(amount) for amount in cells]
