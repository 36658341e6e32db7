"""What all drawings share: colours, words in SVG, ticks, the page around a drawing. Knows pixels; no subject, no physics.

Colours: Okabe and Ito, "Color Universal Design", 2008; told apart with every kind of colour vision. They are attributes, so
that every viewer shows them; style sheets turn them for dark screens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from headwater.printable import printable

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A828C"
INK, FAINT_INK, LINE, PAPER = "#1d2630", "#5c6773", "#dde3e8", "#ffffff"
DARK_BLUE, DARK_ORANGE = "#56b4e9", "#f0954a"
STYLE: Final = """
    text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }"""
DARK_STYLE: Final = ".paper { fill: #12181f } .ink { fill: #e8edf2 } .faint { fill: #9aa7b4 } .grid { stroke: #2a343f }"
"""For inside of a style sheet's `@media (prefers-color-scheme: dark)`."""
LETTER: Final = 7.0
"""Usual width of a letter of 12 pixels, for breaking lines and placing legends."""
_LETTER_SIZE: Final = 12
_LETTERS: Final = {"m": 11.7, "w": 9.8} | dict.fromkeys("fijlrt ", 4.2)
_LINE_HEIGHT: Final = 18
_LARGEST_FAINT: Final = 13
_VALUE_TICKS: Final = 5
_ROUNDING: Final = 1e-9
_PAGE_STYLE: Final = """
  :root { color-scheme: light dark; --ink: #1d2630; --faint: #5c6773; --line: #dde3e8; --paper: #ffffff }
  @media (prefers-color-scheme: dark) { :root { --ink: #e8edf2; --faint: #9aa7b4; --line: #2a343f; --paper: #12181f } }
  body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: var(--ink); background: var(--paper);
         font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
  svg { display: block; width: 100%; height: auto }
  p { color: var(--faint); margin: .4rem 0 }
  .wide { overflow-x: auto; margin-top: 1.5rem }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px }
  th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
  th { color: var(--faint); font-weight: 600 }
  th:first-child, td:first-child { text-align: left; padding-left: 0 }
"""


def words_width(words: str, *, size: int = _LETTER_SIZE) -> float:
    """About how many pixels a line of words is wide."""
    return sum(_LETTERS.get(letter, LETTER) for letter in words) * size / _LETTER_SIZE


def text(
    x: float, y: float, words: str, *, size: int = _LETTER_SIZE, anchor: str = "start", weight: str = "400"
) -> str:
    """One line of words as an SVG element; small ones are faint."""
    faint = size <= _LARGEST_FAINT and weight == "400"
    look = f'class="{"faint" if faint else "ink"}" fill="{FAINT_INK if faint else INK}"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" {look} font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'font-family="system-ui, sans-serif">{escape(printable(words))}</text>'
    )


def broken(words: str, *, width: float, size: int = _LARGEST_FAINT) -> list[str]:
    """Words over as many lines as they need."""
    line, lines, most = "", [], int(width / (LETTER * size / _LETTER_SIZE))
    for word in words.split():
        if line and len(line) + 1 + len(word) > most:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def paragraph(words: str, *, x: float, y: float, width: float) -> Iterator[str]:
    """Broken words as SVG elements, one under the other."""
    for place, line in enumerate(broken(words, width=width)):
        yield text(x, y + place * _LINE_HEIGHT, line, size=_LARGEST_FAINT)


def value_ticks(most: float) -> list[tuple[float, str]]:
    """From zero to just above the most, in steps of 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return [(0.0, "0"), (1.0, "1")]
    raw = most / _VALUE_TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * mantissa for mantissa in (1, 2, 5, 10) if power * mantissa >= raw * (1 - _ROUNDING))
    count = math.ceil(most / step * (1 - _ROUNDING))
    places = max(0, -math.floor(math.log10(step)))
    return [(step * number, f"{step * number:,.{places}f}") for number in range(count + 1)]


def page(*, title: str, drawing: str, said: Iterable[str], tables: Iterable[str], style: str = "") -> str:
    """One HTML page without any other file. `drawing` and `tables` are markup, `title` and what is `said` are words."""
    paragraphs = "\n".join(f"<p>{escape(words)}</p>" for words in said)
    wide = "\n".join(f'<div class="wide">{table}</div>' for table in tables)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_PAGE_STYLE}{style}</style>
{drawing}
{paragraphs}
{wide}
</html>
"""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of words as HTML."""
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"""<table>
<thead><tr>{"".join(f"<th>{escape(cell)}</th>" for cell in head)}</tr></thead>
<tbody>
{body}
</tbody>
</table>"""
