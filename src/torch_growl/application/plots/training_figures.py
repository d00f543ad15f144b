"""Figures of a training: the metric and the compression over the epochs, and the norms of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from torch_growl.application.plots.scale import PERCENT, Scale
from torch_growl.application.plots.style import (
    ACCURACY,
    BLUE,
    DARK,
    GREY,
    LIGHT,
    ORANGE,
    VERMILLION,
    Array,
    blank,
    grid,
    plain,
    spread,
)
from torch_growl.mathematics.clustering import PRUNED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["metric_limits", "progress_figure", "row_norms_figure"]

_MOST_LINES = 80  # for each kind of row


def progress_figure(
    stages: Sequence[str],
    train: Sequence[float],
    validation: Sequence[float],
    compression: Sequence[float],
    metric: Scale = ACCURACY,
) -> Figure:
    """Draw the metric and compression over the epochs of all stages.

    Args:
        stages: the stage of every epoch, in order; equal neighbours belong to one stage.
        train: the metric on the training batches, one value an epoch.
        validation: the metric on the validation split.
        compression: weights over distinct weights of the regularised layers, ≥ 1.
        metric: accuracy, with values 0..1, or another.
    """
    figure = blank(9, 4)
    from matplotlib.lines import Line2D

    left = figure.add_subplot()
    epochs = np.arange(1, len(stages) + 1)
    marker = "o" if len(stages) < 8 else ""  # a line of one point is invisible
    right = left.twinx()
    left.set_zorder(right.get_zorder() + 1)
    left.patch.set_visible(False)
    right.plot(epochs, compression, color=VERMILLION, linestyle="--", linewidth=1.8)
    right.set_ylabel("compression (x, dashed)", color=VERMILLION)
    right.set_ylim(0, 1.15 * max(compression))
    left.plot(epochs, metric.factor * np.asarray(train), color=ORANGE, linewidth=1.2, marker=marker)
    left.plot(epochs, metric.factor * np.asarray(validation), color=BLUE, linewidth=1.8, marker=marker)
    left.set_ylim(*metric_limits(metric.factor * np.asarray([*train, *validation]), metric))
    left.set(xlabel="epoch, all stages in order", ylabel=plain(metric.label), xlim=(0.5, len(stages) + 0.5))
    left.grid(axis="y", color=LIGHT)
    starts = [i for i in range(len(stages)) if i == 0 or stages[i] != stages[i - 1]]
    for start in starts[1:]:
        left.axvline(start + 0.5, color=DARK, linewidth=1)
    middles = [(start + end + 1) / 2 for start, end in zip(starts, [*starts[1:], len(stages)], strict=True)]
    _headings(left, [stages[start] for start in starts], middles, len(stages))
    lines = [
        Line2D([], [], color=BLUE, label=plain(f"validation {metric.name}")),
        Line2D([], [], color=ORANGE, label=plain(f"training {metric.name}")),
        Line2D([], [], color=VERMILLION, linestyle="--", label="compression of the regularised layers"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=3, frameon=False)
    return figure


def metric_limits(values: Array, metric: Scale) -> tuple[float, float]:
    """Choose the limits of the metric's axis, without the few worst epochs, such as the first ones.

    Args:
        values: one for each epoch, as they are shown; those that are not finite are passed over.
        metric: the scale.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    if metric.higher_is_better:
        lowest, highest = float(np.percentile(values, 5)), float(values.max())
    else:
        lowest, highest = float(values.min()), float(np.percentile(values, 95))
    apart = highest - lowest
    room = (0.5, 0.2) if metric.unit == PERCENT else (0.02 * abs(lowest), 0.02 * abs(highest) or 1.0)
    low, high = lowest - 0.3 * apart - room[0], highest + 0.12 * apart + room[1]
    return max(0.0, low) if lowest >= 0 else low, high


def _headings(axis: Axes, texts: Sequence[str], middles: Sequence[float], length: int) -> None:
    """Write a heading above each part of an axis, all of them upright and moved apart where they would overlap."""
    letter, line = 0.0115 * length, 0.026 * length  # width and height of bold letters, in epochs
    apart = all(
        b - a > letter * (len(first) + len(second) + 2) / 2
        for (a, first), (b, second) in pairwise(zip(middles, texts, strict=True))
    )
    places = list(middles)
    if not apart:
        for i in range(1, len(places)):
            places[i] = max(places[i], places[i - 1] + line)
        last = len(places) - 1
        places = [min(place, length - line * (last - i)) for i, place in enumerate(places)]  # none beyond the end
    for text, place in zip(texts, places, strict=True):
        axis.text(
            *(place, 1.02, text),
            transform=axis.get_xaxis_transform(),
            ha="center",
            va="bottom",
            rotation=0 if apart else 90,
            fontweight="bold",
        )


def row_norms_figure(norms: Mapping[str, Array], labels: Mapping[str, Sequence[int]]) -> Figure:
    """Draw row norms through training with the penalty, a panel for each layer, a line for each row.

    Args:
        norms: for every layer ``(n_epochs + 1, n_rows)``; the first is before training.
        labels: for the same layers the final group of every row; −1: pruned.
    """
    figure, axes = grid(len(norms), columns=3, width=4.0, height=3.2)
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    for axis, (name, values) in zip(axes, norms.items(), strict=True):
        final = np.asarray(labels[name])
        sizes = np.bincount(final[final != PRUNED], minlength=1)
        alone = (final != PRUNED) & (sizes[np.maximum(final, 0)] == 1)
        tied = (final != PRUNED) & ~alone
        epochs = np.arange(len(values))
        shown = 0
        for kind, colour, style in ((final == PRUNED, GREY, "-"), (alone, BLUE, "-"), (tied, VERMILLION, "--")):
            rows = np.flatnonzero(kind)
            rows = rows[spread(len(rows), _MOST_LINES)]
            shown += len(rows)
            lines = [np.column_stack([epochs, values[:, row]]) for row in rows]
            axis.add_collection(LineCollection(lines, colors=colour, linestyles=style, linewidths=0.7, alpha=0.7))
        some = f" ({shown:,} of {len(final):,} rows drawn)" if shown < len(final) else ""
        axis.set_title(plain(f"{name}{some}"), fontsize=10)
        axis.set(xlabel="epoch of train", ylabel="row norm (ℓ2)", xlim=(0, max(len(values) - 1, 1)))
        highest = max(float(values.max()), 1e-12)
        axis.set_ylim(-0.02 * highest, 1.05 * highest)
    handles = [
        Line2D([], [], color=VERMILLION, linestyle="--", label="kept, tied to others"),
        Line2D([], [], color=BLUE, label="kept, alone"),
        Line2D([], [], color=GREY, label="pruned"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure
