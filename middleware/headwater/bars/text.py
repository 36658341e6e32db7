"""Bars -> lines of text of a given width, in blocks or, where the encoding has none, in ASCII. Knows columns; no terminal."""

from __future__ import annotations

import codecs
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from headwater.bars.chart import Bar, Bars, Panel, Scale, amount_words
from headwater.printable import encodable, printable

_SHORTEST_BAR: Final = 12
_WIDEST_LABEL_RATIO: Final = 0.45
_INDENT: Final = "    "


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The letters that bars are made of."""

    fills: str
    """Of the parts, in turn; the first is that of a bar without any."""
    low: str
    high: str
    line: str
    cut: str


BLOCKS: Final = Glyphs(fills="█▓▒░", low="├", high="┤", line="─", cut="…")
PLAIN: Final = Glyphs(fills="#=+:", low="[", high="]", line="-", cut="~")


def as_text(what: Bars, *, width: int = 80, encoding: str | None = "utf-8") -> str:
    """Lines without a last line end. `width`: columns of the terminal; `encoding`: what standard output can write.

    No bar is shorter than a dozen columns: in a narrower terminal lines are longer than it.
    """
    encoding = _known(encoding)
    glyphs = BLOCKS if _can_write(encoding) else PLAIN
    lines = [printable(what.title), *textwrap.wrap(printable(what.subtitle), max(width, _SHORTEST_BAR))]
    for panel in what.panels:
        lines += ["", *_panel(panel, glyphs, width)]
    remarks = [line for remark in what.remarks() for line in textwrap.wrap(remark, max(width, _SHORTEST_BAR))]
    whole = encodable("\n".join([*lines, *([""] if remarks else []), *remarks]))
    return whole.encode(encoding, "backslashreplace").decode(encoding)


def _known(encoding: str | None) -> str:
    try:
        return codecs.lookup(encoding or "ascii").name
    except LookupError:
        return "ascii"


def _can_write(encoding: str) -> bool:
    try:
        "".join((BLOCKS.fills, BLOCKS.low, BLOCKS.high, BLOCKS.line, BLOCKS.cut)).encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _panel(panel: Panel, glyphs: Glyphs, width: int) -> Iterator[str]:
    scale = panel.scale()
    labels = [printable(bar.label) for bar in panel.bars]
    label_width = min(max(map(len, labels), default=0), max(int(width * _WIDEST_LABEL_RATIO), _SHORTEST_BAR))
    words = [printable(bar.words()) for bar in panel.bars]
    known = [said for bar, said in zip(panel.bars, words, strict=True) if bar.value is not None]
    bar_width = max(width - label_width - max(map(len, known), default=0) - 4, _SHORTEST_BAR)
    yield f"{printable(panel.heading())}{_legend(panel, scale, glyphs)}"
    for bar, label, said in zip(panel.bars, labels, words, strict=True):
        shown = label if len(label) <= label_width else label[: label_width - 1].rstrip() + glyphs.cut
        drawn = "" if bar.value is None else f"{_drawn(bar, scale, glyphs, bar_width):<{bar_width}}  "
        yield f"{shown:<{label_width}}  {drawn}{said}"
        notes = [bar.note] if bar.note else []
        if scale.is_log and bar.parts:
            notes.insert(0, ", ".join(f"{name} {amount_words(amount)}" for name, amount in bar.parts))
        for note in notes:
            yield from textwrap.wrap(
                printable(note), max(width, len(_INDENT) * 2), initial_indent=_INDENT, subsequent_indent=_INDENT
            )


def _legend(panel: Panel, scale: Scale, glyphs: Glyphs) -> str:
    names = () if scale.is_log else panel.part_names()
    entries = [f"{_fill(glyphs, place)} {printable(name)}" for place, name in enumerate(names)]
    if any(bar.low is not None for bar in panel.bars):
        entries.append(f"{glyphs.low}{glyphs.line}{glyphs.high} low to high")
    return f":  {'  '.join(entries)}" if entries else ""


def _fill(glyphs: Glyphs, place: int) -> str:
    return glyphs.fills[place % len(glyphs.fills)]


def _drawn(bar: Bar, scale: Scale, glyphs: Glyphs, width: int) -> str:
    """A column belongs to the bar when its middle does; what is not zero has at least one."""

    def column(amount: float) -> int:
        return min(int(scale.at(amount) * width), width - 1)

    cells = [" "] * width
    names = [name for name, _ in bar.parts]
    filled_from, sum_ = 0, 0.0
    parts = ((0, bar.value or 0.0),) if scale.is_log or not names else tuple(enumerate(a for _, a in bar.parts))
    for place, amount in parts:
        sum_ += amount
        filled_to = min(max(round(scale.at(sum_) * width), 1 if sum_ and not filled_from else 0), width)
        cells[filled_from:filled_to] = _fill(glyphs, place) * (filled_to - filled_from)
        filled_from = max(filled_from, filled_to)
    if bar.low is not None and bar.high is not None and bar.low < bar.high:
        low, high = column(bar.low), column(bar.high)
        cells[filled_from:high] = glyphs.line * (high - filled_from)
        cells[low], cells[high] = glyphs.low, glyphs.high
    return "".join(cells).rstrip()
