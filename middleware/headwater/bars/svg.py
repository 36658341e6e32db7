"""Bars -> SVG with nothing but the standard library. Knows pixels; no amounts' meaning."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from headwater.bars.chart import Bar, Bars, Panel, Scale, amount_words
from headwater.drawing import (
    BLUE,
    DARK_BLUE,
    DARK_ORANGE,
    DARK_STYLE,
    GREEN,
    INK,
    LINE,
    ORANGE,
    PAPER,
    PURPLE,
    STYLE,
    broken,
    paragraph,
    text,
    words_width,
)
from headwater.printable import encodable, printable

WIDTH: Final = 960
EDGE: Final = 24
_TITLE_Y, _SUBTITLE_Y = 36, 60
_LINE_HEIGHT, _NOTE_HEIGHT = 18, 16
_ROW_HEIGHT, _BAR_HEIGHT, _CAP_HEIGHT = 30, 14, 10
_HEADING_HEIGHT, _AXIS_HEIGHT, _PANEL_GAP = 40, 26, 22
_GAP, _SWATCH = 12, 12
_WIDEST_LABEL = 330.0
_COLOURS: Final = (BLUE, ORANGE, GREEN, PURPLE)
_STYLE: Final = f"""{STYLE}
    @media (prefers-color-scheme: dark) {{
      {DARK_STYLE}
      .part-0 {{ fill: {DARK_BLUE} }} .part-1 {{ fill: {DARK_ORANGE} }}
      .whisker {{ stroke: #e8edf2 }} .halo {{ stroke: #12181f }}
    }}"""


def as_svg(what: Bars) -> str:
    """A stand-alone SVG document, as high as its bars need."""
    body: list[str] = []
    y = float(_SUBTITLE_Y)
    for words in (what.subtitle, *what.remarks()):
        if words:
            body += paragraph(printable(words), x=EDGE, y=y, width=WIDTH - 2 * EDGE)
            y += _LINE_HEIGHT * len(broken(printable(words), width=WIDTH - 2 * EDGE))
    for panel in what.panels:
        body += _panel(panel, y)
        y += _height(panel)
    size = f'viewBox="0 0 {WIDTH} {y:.0f}" width="{WIDTH}" height="{y:.0f}"'
    said = ": ".join(words for words in (what.title, what.subtitle) if words)
    label = escape(encodable(printable(said)))
    document = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">',
        f"<style>{_STYLE}\n</style>",
        f'<rect class="paper" width="{WIDTH}" height="{y:.0f}" fill="{PAPER}"/>',
        text(EDGE, _TITLE_Y, what.title, size=20, weight="600"),
        *body,
        "</svg>\n",
    ]
    return "\n".join(document)


def _height(panel: Panel) -> float:
    return _HEADING_HEIGHT + sum(map(_row_height, panel.bars)) + _AXIS_HEIGHT + _PANEL_GAP


def _row_height(bar: Bar) -> float:
    return _ROW_HEIGHT + (_NOTE_HEIGHT if bar.note else 0)


def _panel(panel: Panel, top: float) -> Iterator[str]:
    scale = panel.scale()
    widest = max((words_width(printable(bar.label)) for bar in panel.bars), default=0)
    said = max((words_width(bar.words()) for bar in panel.bars if bar.value is not None), default=0)
    left = EDGE + min(widest, _WIDEST_LABEL) + _GAP
    right = WIDTH - EDGE - said - _GAP
    heading_y, first_y = top + _HEADING_HEIGHT - 16, top + _HEADING_HEIGHT
    bottom_y = first_y + sum(map(_row_height, panel.bars))
    yield text(EDGE, heading_y, panel.heading(), size=13, weight="600")
    yield from _legend(panel, scale, heading_y)
    for value, words in scale.ticks:
        x = left + (right - left) * scale.at(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{first_y:.1f}" y2="{bottom_y:.1f}" stroke="{LINE}"/>'
        yield text(x, bottom_y + 18, words, anchor="middle")
    y = first_y
    for bar in panel.bars:
        yield from _row(bar, scale, left, right, y)
        y += _row_height(bar)


def _legend(panel: Panel, scale: Scale, y: float) -> Iterator[str]:
    x = float(WIDTH - EDGE)
    for place, name in reversed([] if scale.is_log else list(enumerate(panel.part_names()))):
        yield text(x, y, name, anchor="end")
        x -= words_width(printable(name)) + _GAP + _SWATCH
        yield f'<rect {_look(place)} x="{x:.1f}" y="{y - 10:.1f}" width="{_SWATCH}" height="{_SWATCH}"/>'
        x -= _GAP


def _look(place: int) -> str:
    turn = place % len(_COLOURS)
    return f'class="part-{turn}" fill="{_COLOURS[turn]}"'


def _row(bar: Bar, scale: Scale, left: float, right: float, y: float) -> Iterator[str]:
    middle = y + _ROW_HEIGHT / 2
    yield "<g>"
    yield f"<title>{escape(encodable(printable(_said(bar))))}</title>"
    yield text(left - _GAP, middle + 4, _cut(printable(bar.label)), anchor="end", weight="500")
    if bar.value is None:
        yield text(left + _GAP / 2, middle + 4, bar.words())
    else:
        yield from _blocks(bar, scale, left, right, middle)
        yield text(WIDTH - EDGE, middle + 4, bar.words(), anchor="end", weight="500")
    if bar.note:
        yield text(left, middle + _BAR_HEIGHT / 2 + _NOTE_HEIGHT - 2, bar.note)
    yield "</g>"


def _said(bar: Bar) -> str:
    parts = ", ".join(f"{name} {amount_words(amount)}" for name, amount in bar.parts)
    return "; ".join(words for words in (f"{bar.label}: {bar.words()}", parts, bar.note) if words)


def _cut(label: str) -> str:
    if words_width(label) <= _WIDEST_LABEL:
        return label
    while words_width(label) > _WIDEST_LABEL - _GAP:
        label = label[:-1]
    return f"{label}…"


def _blocks(bar: Bar, scale: Scale, left: float, right: float, middle: float) -> Iterator[str]:
    def x(amount: float) -> float:
        return left + (right - left) * scale.at(amount)

    whole = [("", bar.value or 0.0)]
    from_amount = 0.0
    for place, (_, amount) in enumerate(whole if scale.is_log or not bar.parts else bar.parts):
        x1, x2 = x(from_amount), x(from_amount + amount)
        from_amount += amount
        yield (
            f'<rect {_look(place)} x="{x1:.1f}" y="{middle - _BAR_HEIGHT / 2:.1f}" width="{x2 - x1:.1f}" '
            f'height="{_BAR_HEIGHT}"/>'
        )
    if bar.low is None or bar.high is None or bar.low == bar.high:
        return
    low, high, half = x(bar.low), x(bar.high), _CAP_HEIGHT / 2
    path = f"M{low:.1f},{middle:.1f} H{high:.1f}"
    path += "".join(f" M{end:.1f},{middle - half:.1f} V{middle + half:.1f}" for end in (low, high))
    # A halo keeps it visible over any colour of the bar.
    yield f'<path class="halo" d="{path}" fill="none" stroke="{PAPER}" stroke-opacity="0.6" stroke-width="3.5"/>'
    yield f'<path class="whisker" d="{path}" fill="none" stroke="{INK}" stroke-width="1.4"/>'
