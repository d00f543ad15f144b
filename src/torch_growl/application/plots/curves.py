"""The figure of a metric against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch_growl.application.plots.scale import PERCENT, Scale
from torch_growl.application.plots.style import (
    ACCURACY,
    BLUE,
    DARK,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    VERMILLION,
    blank,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curve_figure"]

_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#332288", GREY)
_MARKERS = "osD^vPX*"


def curve_figure(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    dense: float,
    lowest: float | None = None,
    metric: Scale = ACCURACY,
) -> Figure:
    """Draw a metric against compression, one line for every method; better is up, whichever direction that is.

    Args:
        curves: for every method its points (compression ≥ 1, value of the metric), in any order.
        dense: the dense network's value.
        lowest: the value at the lower edge of the figure; None: just below the lowest point.
        metric: accuracy, with values 0..1, or another.
    """
    figure = blank(8, 4.8)
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = figure.add_subplot()
    axis.axhline(metric.factor * dense, color=DARK, linestyle=":", linewidth=1.2, label="dense")
    for i, (name, points) in enumerate(curves.items()):
        x, y = zip(*sorted(points), strict=True)
        axis.plot(
            x,
            [metric.factor * value for value in y],
            color=_COLOURS[i % len(_COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            linestyle="-" if i < len(_COLOURS) else "--",
            fillstyle="full" if i < len(_COLOURS) else "none",
            linewidth=1.6,
            markersize=5,
            label=plain(name),
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    scores = [metric.factor * y for points in curves.values() for _, y in points] + [metric.factor * dense]
    bottom = min(scores) if lowest is None else metric.factor * lowest
    smallest = 0.5 if metric.unit == PERCENT else 0.02 * abs(dense) or 1.0
    margin = 0.06 * max(max(scores) - bottom, smallest)
    axis.set_ylim(bottom - (margin if lowest is None else 0), max(scores) + margin)
    if not metric.higher_is_better:
        axis.invert_yaxis()
    axis.set(
        xlabel="times smaller: bytes of all parameters, buffers and packed indices",
        ylabel=plain(f"{metric.name} on the test split{metric.label.removeprefix(metric.name)}"),
    )
    axis.grid(color=LIGHT)
    axis.legend(frameon=False, loc="best")
    return figure
