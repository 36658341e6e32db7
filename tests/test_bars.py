"""Bars with intervals: what is drawn of amounts, in text, SVG and HTML."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.bars import Bar, Bars, Panel, as_html, as_svg, as_text
from headwater.drawing import BLUE, ORANGE

SVG = "{http://www.w3.org/2000/svg}"
PLACES = (("on-site", 0.25), ("off-site", 0.75))
AMOUNTS = st.floats(min_value=0, max_value=1e15, allow_nan=False)


def one_panel(*bars: Bar, **given_: Any) -> Bars:
    return Bars(title="Water of a request", subtitle="one request", panels=(Panel(unit="mL", bars=bars, **given_),))


def bar(value: float | None, **given_: Any) -> Bar:
    return Bar(label=f"bar {value}", value=value, **given_)


def rows(what: Bars, **given_: Any) -> list[str]:
    """The lines of the bars."""
    return [line for line in as_text(what, **given_).splitlines() if line.startswith("bar ")]


def tree(what: Bars) -> Xml.Element:
    return Xml.fromstring(as_svg(what))  # noqa: S314 - ours


def filled(what: Bars) -> list[tuple[float, str]]:
    """Width and colour of each block."""
    return [
        (float(rect.get("width", "")), rect.get("fill", ""))
        for rect in tree(what).iter(f"{SVG}rect")
        if rect.get("class", "").startswith("part-") and rect.get("height") == "14"
    ]


def test_bars_are_as_long_as_their_amounts() -> None:
    what = one_panel(bar(1.0), bar(2.0), bar(4.0))

    lengths = [line.count("█") for line in rows(what, width=100)]

    assert lengths[2] == pytest.approx(2 * lengths[1], abs=1)
    assert lengths[2] == pytest.approx(4 * lengths[0], abs=2)
    widths = [width for width, _ in filled(what)]
    assert widths == pytest.approx([widths[2] / 4, widths[2] / 2, widths[2]], abs=0.1)


def test_parts_stand_one_after_the_other_inside_the_bar() -> None:
    what = one_panel(bar(1.0, parts=PLACES), bar(0.5))

    (line, _) = rows(what, width=100)
    drawn = re.search("█+▓+", line)

    assert drawn is not None
    assert line.count("▓") == pytest.approx(3 * line.count("█"), abs=2)
    assert "█ on-site  ▓ off-site" in as_text(what)
    (first, second, whole) = filled(what)
    assert (first[1], second[1]) == (BLUE, ORANGE)
    assert first[0] + second[0] == pytest.approx(2 * whole[0], abs=0.2)
    assert second[0] == pytest.approx(3 * first[0], abs=0.2)


def test_an_interval_reaches_from_low_to_high() -> None:
    what = one_panel(bar(2.0, low=1.0, high=4.0), bar(4.0))

    (line, full) = rows(what, width=100)

    assert line.index("├") - line.index("█") == pytest.approx(full.count("█") / 4, abs=1)
    assert line.index("┤") - line.index("█") == pytest.approx(full.count("█"), abs=1)
    assert "2.0 (1.0 to 4.0)" in line
    (path,) = [path.get("d", "") for path in tree(what).iter(f"{SVG}path") if path.get("class") == "whisker"]
    start, end = (float(found) for found in re.findall(r"[MH]([0-9.]+)", path)[:2])
    ((short, _), (long, _)) = filled(what)
    assert end - start == pytest.approx(0.75 * long, abs=0.2)
    assert short == pytest.approx(long / 2, abs=0.2)


def test_amounts_far_apart_get_a_logarithmic_scale_which_says_so() -> None:
    near, far = one_panel(bar(1.0), bar(100.0)), one_panel(bar(1.0, parts=PLACES), bar(100.1))

    assert "logarithmic" not in as_text(near)
    for written in (as_text(far), as_svg(far), as_html(far)):
        assert "mL (logarithmic scale)" in written
        assert "the length of a bar is no measure of its amount, so its" in written
    assert rows(far, width=100)[0].count("█") > 5
    assert "on-site 0.250, off-site 0.750" in as_text(far)
    assert "▓" not in as_text(far)
    assert len(filled(far)) == 2


def test_the_ticks_of_a_logarithmic_scale_are_powers_of_ten() -> None:
    ticks = Panel(unit="mL", bars=(bar(1.0), bar(5_000.0, low=0.0, high=20_000.0))).scale().ticks
    wide = Panel(unit="mL", bars=(bar(1e-9), bar(1e12))).scale().ticks
    low = Panel(unit="mL", bars=(bar(1.0, low=1e-30, high=1), bar(5_000.0))).scale()

    assert [label for _, label in ticks] == ["0.1", "1", "10", "100", "1,000", "10,000", "100,000"]
    assert len(wide) <= 10
    assert wide[-1][1] == "1e12"
    assert low.least == pytest.approx(1e-4)


def test_zero_is_drawn_as_nothing_on_any_scale() -> None:
    linear, log = one_panel(bar(0.0, low=0.0, high=0.0), bar(4.0)), one_panel(bar(0.0), bar(1.0), bar(400.0))
    nothing = one_panel(bar(0.0))

    for what in (linear, log, nothing):
        assert rows(what)[0].split() == ["bar", "0.0", "0", *(["(0", "to", "0)"] if what is linear else [])]
        assert filled(what)[0][0] == 0


def test_what_is_not_known_is_named_with_its_reason_and_not_drawn() -> None:
    what = one_panel(Bar(label="bar x", value=None, reason="time-unknown"), bar(1.0))

    assert rows(what)[0] == "bar x    unknown: time-unknown"
    assert len(filled(what)) == 1
    assert "unknown: time-unknown" in as_svg(what)
    assert "<td>bar x</td><td>unknown: time-unknown</td><td></td><td></td>" in as_html(what)
    assert rows(one_panel(Bar(label="bar x", value=None, reason="r"))) == ["bar x  unknown: r"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "no-such-encoding", None])
def test_an_encoding_without_blocks_gets_plain_letters(encoding: str | None) -> None:
    what = one_panel(bar(2.0, low=1.0, high=3.0, parts=(("a", 1.5), ("Ω", 0.5))))
    known = encoding if encoding not in (None, "no-such-encoding") else "ascii"

    written = as_text(what, encoding=encoding)

    written.encode(known or "")
    assert re.search(r"#+\[#+=+-+\]", written)
    assert "= \\u03a9" in written


@pytest.mark.parametrize("encoding", ["utf-8", "cp437", "utf-16"])
def test_an_encoding_with_blocks_gets_blocks(encoding: str) -> None:
    assert ("█" in as_text(one_panel(bar(1.0)), encoding=encoding)) is (encoding != "cp437")


def test_lines_fit_the_width() -> None:
    label = "a model with a very long name on a server with a very long name at a site"
    what = Bars(
        title="t",
        subtitle="many words " * 20,
        panels=(
            Panel(
                title="water",
                unit="mL",
                bars=(Bar(label=label, value=1.0, low=0.5, high=2.0, note="a note " * 20), bar(500.0)),
            ),
        ),
    )

    for width in (60, 80, 120):
        assert max(map(len, as_text(what, width=width).splitlines())) <= width
    assert "a model with a very long name on a…" in as_text(what, width=80)
    assert label in as_text(what, width=200)
    assert as_text(what, width=1)


def test_a_long_subtitle_takes_lines_of_its_own_and_the_drawing_grows() -> None:
    brief = Bars(title="t", subtitle="few words", panels=())
    wordy = Bars(title="t", subtitle="many words " * 40, panels=())

    subtitle = [node.text or "" for node in tree(wordy).iter(f"{SVG}text")][1:]

    assert " ".join(subtitle).split() == ["many", "words"] * 40
    assert len(subtitle) > 2
    assert float(tree(wordy).get("height", "")) > float(tree(brief).get("height", ""))


def test_a_note_stands_below_its_bar() -> None:
    what = one_panel(bar(1.0, note="of last year"), bar(2.0))

    lines = as_text(what).splitlines()

    assert lines[lines.index("    of last year") - 1].startswith("bar 1.0")
    assert ">of last year</text>" in as_svg(what)
    assert "<th>note</th>" in as_html(what)
    assert "<th>note</th>" not in as_html(one_panel(bar(1.0)))


def test_names_cannot_break_out_of_any_drawing() -> None:
    nasty = '<b>&\x1b[2J\n\ud800\u202e"'
    what = Bars(
        title=nasty,
        subtitle=nasty,
        panels=(
            Panel(title=nasty, unit=nasty, bars=(Bar(label=nasty, value=1.0, note=nasty, parts=((nasty, 1.0),)),)),
            Panel(unit="x", bars=(Bar(label=nasty * 9, value=None, reason=nasty),)),
        ),
    )

    for written in (as_text(what), as_text(what, encoding="ascii"), as_svg(what), as_html(what)):
        written.encode()
        assert not {"\x1b", "\u202e"} & set(written)
    assert "<b>" not in as_svg(what) + as_html(what)
    assert Xml.fromstring(as_svg(what)).tag == f"{SVG}svg"  # noqa: S314 - ours


def test_panels_have_their_own_units_scales_and_parts() -> None:
    what = Bars(
        title="t",
        panels=(
            Panel(title="water", unit="mL", bars=(bar(1.0, parts=PLACES),)),
            Panel(title="energy", unit="Wh", bars=(bar(1.0), bar(1_000.0))),
        ),
    )

    written = as_text(what)

    assert "water, mL:  █ on-site" in written
    assert "energy, Wh (logarithmic scale)" in written.splitlines()
    assert as_html(what).count("<table>") == 2
    assert [node.text for node in tree(what).iter(f"{SVG}text")].count("on-site") == 1


def test_a_long_label_is_cut_in_the_drawing_and_whole_in_its_title() -> None:
    what = one_panel(Bar(label="long " * 30, value=1.0))

    texts = [node.text or "" for node in tree(what).iter(f"{SVG}text")]
    titles = [node.text or "" for node in tree(what).iter(f"{SVG}title")]

    assert any(words.endswith("…") for words in texts)
    assert any(words.startswith("long " * 30) for words in titles)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"value": -1.0}, "not below 0"),
        ({"value": float("nan")}, "finite"),
        ({"value": 1.0, "low": 0.0}, "come together"),
        ({"value": 1.0, "low": 2.0, "high": 3.0}, "1.0 is not from 2.0 to 3.0"),
        ({"value": 1.0, "parts": (("a", 0.5),)}, "its parts are 0.5 together, not 1.0"),
        ({"value": None}, "needs a reason"),
        ({"value": None, "reason": "r", "low": 1.0, "high": 1.0}, "no interval and no parts"),
        ({"value": None, "reason": "r", "parts": (("a", 0.5),)}, "no interval and no parts"),
    ],
)
def test_a_bar_that_cannot_be_is_refused(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Bar(label="x", **given_)


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS), min_size=1, max_size=5), st.integers(20, 200))
def test_whatever_the_amounts_every_drawing_can_be_made_and_keeps_their_order(
    amounts: list[tuple[float, float, float]], width: int
) -> None:
    sides = [sorted(three) for three in amounts]
    what = one_panel(*(Bar(label="bar", low=low, value=value, high=high) for low, value, high in sides))
    scale = what.panels[0].scale()

    assert "nan" not in as_svg(what)
    assert as_text(what, width=width).count("bar") >= len(sides)
    for low, value, high in sides:
        assert 0 <= scale.at(low) <= scale.at(value) <= scale.at(high) <= 1 + 1e-9
