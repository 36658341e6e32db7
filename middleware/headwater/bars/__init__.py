"""Horizontal bars with intervals for a few named amounts, as text, SVG or HTML. Nothing but the standard library."""

from headwater.bars.chart import Bar, Bars, Panel
from headwater.bars.page import as_html
from headwater.bars.svg import as_svg
from headwater.bars.text import as_text

__all__ = ["Bar", "Bars", "Panel", "as_html", "as_svg", "as_text"]
