"""The figure of accuracy against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from torch_growl.application.reports.figures import BLUE, DARK, GREY, LIGHT, ORANGE, VERMILLION

__all__ = ["curve_figure"]

_COLOURS = (BLUE, VERMILLION, "#009E73", ORANGE, "#CC79A7", "#56B4E9", "#332288", GREY)
_MARKERS = "osD^vPX*"


def curve_figure(
    curves: Mapping[str, Sequence[tuple[float, float]]], *, dense: float, lowest: float | None = None
) -> Figure:
    """Draw accuracy against compression, one line for every method.

    Args:
        curves: for every method its points (compression ≥ 1, accuracy 0..1), in any order.
        dense: the dense network's accuracy, 0..1.
        lowest: accuracy at the lower edge of the figure, 0..1; None: just below the lowest point.
    """
    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    axis = figure.add_subplot()
    axis.axhline(100 * dense, color=DARK, linestyle=":", linewidth=1.2, label="dense")
    for i, (name, points) in enumerate(curves.items()):
        x, y = zip(*sorted(points), strict=True)
        axis.plot(
            x,
            [100 * value for value in y],
            color=_COLOURS[i % len(_COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            linewidth=1.6,
            markersize=5,
            label=name,
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    accuracies = [100 * y for points in curves.values() for _, y in points] + [100 * dense]
    bottom = min(accuracies) if lowest is None else 100 * lowest
    margin = 0.06 * max(max(accuracies) - bottom, 0.5)
    axis.set_ylim(bottom - (margin if lowest is None else 0), max(accuracies) + margin)
    axis.set(
        xlabel="times smaller: bytes of all parameters, buffers and packed indices",
        ylabel="accuracy on the test split (%)",
    )
    axis.grid(color=LIGHT)
    axis.legend(frameon=False, loc="best")
    return figure
