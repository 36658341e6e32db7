"""Chart -> SVG with nothing but the standard library. Knows pixels; no physics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from headwater.drawing import (
    BLUE,
    DARK_BLUE,
    DARK_ORANGE,
    DARK_STYLE,
    GREY,
    LINE,
    ORANGE,
    PAPER,
    STYLE,
    paragraph,
    text,
    words_width,
)
from headwater.replay.chart import Chart, Panel, chart
from headwater.replay.run import Result

WIDTH: Final = 960
HEIGHT: Final = 600
LEFT, RIGHT = 76, 24
POWER_TOP, POWER_HEIGHT = 118, 220
FLIGHT_TOP, FLIGHT_HEIGHT = 400, 130
_STYLE: Final = f"""{STYLE}
    @media (prefers-color-scheme: dark) {{
      {DARK_STYLE}
      .power {{ stroke: {DARK_BLUE} }} .power-area {{ fill: {DARK_BLUE} }}
      .flight {{ stroke: {DARK_ORANGE} }} .flight-area {{ fill: {DARK_ORANGE} }}
    }}"""


def as_svg(result: Result) -> str:
    """The plot of a result as a stand-alone SVG document."""
    return draw(chart(result))


def draw(what: Chart) -> str:
    """The document."""
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    label = escape(f"{what.title}: {what.subtitle}")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">',
            f"<style>{_STYLE}\n</style>",
            f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
            text(LEFT, 36, what.title, size=20, weight="600"),
            *paragraph(what.subtitle, x=LEFT, y=60, width=WIDTH - LEFT - RIGHT),
            *_axes(what, what.power, POWER_TOP, POWER_HEIGHT),
            *_axes(what, what.flight, FLIGHT_TOP, FLIGHT_HEIGHT),
            *_curves(what, what.power, POWER_TOP, POWER_HEIGHT, "power", BLUE),
            *_curves(what, what.flight, FLIGHT_TOP, FLIGHT_HEIGHT, "flight", ORANGE),
            *_time_labels(what),
            "</svg>\n",
        ]
    )


def _x(what: Chart, at_s: float) -> float:
    span_s = what.edges_s[-1] or 1.0
    return LEFT + (WIDTH - LEFT - RIGHT) * at_s / span_s


def _y(panel: Panel, top: int, height: int, value: float) -> float:
    return top + height * (1 - value / panel.top)


def _axes(what: Chart, panel: Panel, top: int, height: int) -> Iterator[str]:
    yield text(LEFT, top - 12, panel.title, size=13, weight="600")
    for value, label in panel.ticks:
        y = _y(panel, top, height, value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE}"/>'
        yield text(LEFT - 10, y + 4, label, anchor="end")
    for at_s, _ in what.time_ticks:
        x = _x(what, at_s)
        yield (
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + height}" stroke="{LINE}" '
            'stroke-dasharray="2 4"/>'
        )


def _curves(what: Chart, panel: Panel, top: int, height: int, name: str, colour: str) -> Iterator[str]:
    def points(values: Sequence[float]) -> list[str]:
        edges = what.edges_s
        return [
            f"{_x(what, edge_s):.1f},{_y(panel, top, height, value):.1f}"
            for place, value in enumerate(values)
            for edge_s in (edges[place], edges[place + 1])
        ]

    def area(low: Sequence[float], high: Sequence[float], look: str) -> str:
        return f'<path d="M{" L".join([*points(high), *reversed(points(low))])} Z" {look}/>'

    band = f'class="{name}-area" fill="{colour}" fill-opacity="0.18"'
    yield area(panel.low, panel.high, band)
    entries = [(panel.middle_name, f'class="{name}" stroke="{colour}" stroke-width="3"', 14)]
    entries.append((panel.around_name, f'class="{name}" stroke="{colour}" stroke-opacity="0.25" stroke-width="10"', 14))
    if panel.under is not None:
        yield area([0.0] * len(panel.under), panel.under, f'fill="{GREY}" fill-opacity="0.45"')
        entries.append((panel.under_name, f'stroke="{GREY}" stroke-opacity="0.55" stroke-width="10"', 14))
    line = f'class="{name}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"'
    yield f'<path d="M{" L".join(points(panel.middle))}" {line}/>'
    yield from _legend(entries, top - 12)


def _legend(entries: list[tuple[str, str, int]], y: int) -> Iterator[str]:
    x = float(WIDTH - RIGHT)
    for words, look, width in reversed(entries):
        yield text(x, y, words, anchor="end")
        x -= words_width(words) + 12
        yield f'<line x1="{x - width:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y - 4}" {look}/>'
        x -= width + 20


def _time_labels(what: Chart) -> Iterator[str]:
    y = FLIGHT_TOP + FLIGHT_HEIGHT
    for at_s, label in what.time_ticks:
        yield text(_x(what, at_s), y + 20, label, anchor="middle")
    yield text(LEFT + (WIDTH - LEFT - RIGHT) / 2, y + 44, what.time_title, anchor="middle")
