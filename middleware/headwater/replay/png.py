"""Chart -> PNG. The only importer of matplotlib, which comes with the extra `plot`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from headwater.drawing import BLUE, FAINT_INK, GREY, INK, LINE, ORANGE
from headwater.errors import TraceError
from headwater.replay.chart import Chart, Panel, chart
from headwater.replay.run import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES: Final = (9.6, 6.0)
DOTS_PER_INCH: Final = 200


def check() -> None:
    """Raises TraceError where matplotlib is not installed."""
    try:
        import matplotlib.figure
    except ImportError as error:
        raise TraceError(
            f"a PNG needs {error.name}, which is not installed; run: pip install 'headwater[plot]', or write .svg or .html"
        ) from None
    del matplotlib


def as_png(result: Result) -> bytes:
    """The plot of a result. Needs matplotlib: see `check`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    what = chart(result)
    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12))
    FigureCanvasAgg(figure)
    power, flight = figure.subplots(2, 1, sharex=True, height_ratios=(220, 130))
    _draw(power, what, what.power, BLUE)
    _draw(flight, what, what.flight, ORANGE)
    flight.set_xticks([at_s for at_s, _ in what.time_ticks], [label for _, label in what.time_ticks])
    flight.set_xlabel(what.time_title, color=FAINT_INK, fontsize=9)
    power.text(
        0, 1.27, what.title, transform=power.transAxes, fontsize=14, fontweight="bold", color=INK, parse_math=False
    )
    power.text(0, 1.17, what.subtitle, transform=power.transAxes, fontsize=9, color=FAINT_INK)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _draw(axes: Axes, what: Chart, panel: Panel, colour: str) -> None:
    edges = what.edges_s

    def ended(values: list[float]) -> list[float]:
        return [*values, values[-1]]

    if panel.under is not None:
        axes.fill_between(
            edges, ended(panel.under), step="post", color=GREY, alpha=0.45, linewidth=0, label=panel.under_name
        )
    axes.fill_between(
        edges, ended(panel.low), ended(panel.high), step="post", color=colour, alpha=0.18, linewidth=0, label=panel.around_name
    )  # fmt: skip
    axes.step(edges, ended(panel.middle), where="post", color=colour, linewidth=1.2, label=panel.middle_name)
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold", color=INK)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1],
        labels[::-1],
        loc="lower right",
        bbox_to_anchor=(1.01, 0.98),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=FAINT_INK,
    )
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(0, panel.top)
    axes.set_yticks([value for value, _ in panel.ticks], [label for _, label in panel.ticks])
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=FAINT_INK, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
