"""Figures of the report: arrays in, matplotlib ``Figure`` out, without pyplot and its global state.

The colours are those of Okabe and Ito for the colour-blind, and line styles or numbers repeat what colours show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from torch_growl.application.tasks import ACCURACY, PERCENT, Metric
from torch_growl.mathematics.clustering import PRUNED
from torch_growl.mathematics.similarity import row_similarity

__all__ = [
    "layer_bars_figure",
    "pixels_figure",
    "progress_figure",
    "row_norms_figure",
    "similarity_figure",
    "similarity_histograms_figure",
]

Array = NDArray[Any]

BLUE, ORANGE, VERMILLION = "#0072B2", "#E69F00", "#D55E00"
GREY, LIGHT, DARK = "#8C8C8C", "#E4E4E4", "#3A3A3A"
_DPI = 150
_MOST_LINES, _MOST_ROWS = 80, 400  # lines for each kind of row; rows of a similarity map
# Different in hue and in lightness; with more groups than colours, borders separate neighbours of equal colour.
# fmt: off
_GROUP_COLOURS = [
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#882255",
    "#44AA99", "#332288", "#DDCC77", "#AA4499", "#117733", "#FF9DA7", "#88CCEE", "#9C755F",
    "#B6992D", "#499894", "#F1CE63", "#D37295", "#79706E", "#86BCB6", "#A0CBE8", "#FFBE7D",
]
# fmt: on


def progress_figure(
    stages: Sequence[str],
    train: Sequence[float],
    validation: Sequence[float],
    compression: Sequence[float],
    metric: Metric = ACCURACY,
) -> Figure:
    """Draw the metric and compression over the epochs of all stages.

    Args:
        stages: the stage of every epoch, in order; equal neighbours belong to one stage.
        train: the metric on the training batches, one value an epoch.
        validation: the metric on the validation split.
        compression: weights over distinct weights of the regularised layers, ≥ 1.
        metric: accuracy, with values 0..1, or another.
    """
    figure = Figure(figsize=(9, 4), dpi=_DPI, layout="constrained")
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
    left.set_ylim(*_limits(metric.factor * np.asarray([*train, *validation]), metric))
    left.set(xlabel="epoch, all stages in order", ylabel=metric.label, xlim=(0.5, len(stages) + 0.5))
    left.grid(axis="y", color=LIGHT)
    starts = [i for i in range(len(stages)) if i == 0 or stages[i] != stages[i - 1]]
    for start in starts[1:]:
        left.axvline(start + 0.5, color=DARK, linewidth=1)
    middles = [(start + end + 1) / 2 for start, end in zip(starts, [*starts[1:], len(stages)], strict=True)]
    _headings(left, [stages[start] for start in starts], middles, len(stages))
    lines = [
        Line2D([], [], color=BLUE, label=_plain(f"validation {metric.name}")),
        Line2D([], [], color=ORANGE, label=_plain(f"training {metric.name}")),
        Line2D([], [], color=VERMILLION, linestyle="--", label="compression of the regularised layers"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _limits(values: Array, metric: Metric) -> tuple[float, float]:
    """The limits of the metric's axis, which leave out the few worst epochs, such as the first ones."""
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
    figure, axes = _grid(len(norms), columns=3, width=4.0, height=3.2)
    for axis, (name, values) in zip(axes, norms.items(), strict=True):
        final = np.asarray(labels[name])
        sizes = np.bincount(final[final != PRUNED], minlength=1)
        alone = (final != PRUNED) & (sizes[np.maximum(final, 0)] == 1)
        tied = (final != PRUNED) & ~alone
        epochs = np.arange(len(values))
        shown = 0
        for kind, colour, style in ((final == PRUNED, GREY, "-"), (alone, BLUE, "-"), (tied, VERMILLION, "--")):
            rows = np.flatnonzero(kind)
            rows = rows[_spread(len(rows), _MOST_LINES)]
            shown += len(rows)
            lines = [np.column_stack([epochs, values[:, row]]) for row in rows]
            axis.add_collection(LineCollection(lines, colors=colour, linestyles=style, linewidths=0.7, alpha=0.7))
        some = f" ({shown:,} of {len(final):,} rows drawn)" if shown < len(final) else ""
        axis.set_title(_plain(f"{name}{some}"), fontsize=10)
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


def similarity_figure(
    name: str,
    labels: Sequence[int],
    trained: Array,
    retrained: Array | None = None,
    input_correlation: Array | None = None,
) -> Figure:
    """Draw the similarity of one layer's nonzero rows, largest group first, before tying and after retraining.

    Args:
        name: the layer's name.
        labels: the group of every row; −1: pruned; at least one row is not pruned.
        trained: ``(n_rows, row_length)`` after training with the penalty.
        retrained: the same after retraining tied.
        input_correlation: ``(n_rows, n_rows)`` correlation of the layer's inputs over the data.
    """
    final = np.asarray(labels)
    order = by_group(final)
    shown = order[_spread(len(order), _MOST_ROWS)]
    panels = {"before tying": _similarity(trained[shown])}
    if retrained is not None:
        panels["after retraining"] = _similarity(retrained[shown])
    if input_correlation is not None:
        panels["correlation of the inputs"] = np.asarray(input_correlation)[np.ix_(shown, shown)]
    figure = Figure(figsize=(1.0 + 4.2 * len(panels), 4.6), dpi=_DPI, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    groups = final[shown]
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    sizes = np.diff(np.r_[starts, len(groups)])
    for axis, (title, matrix) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        for start, size in zip(starts, sizes, strict=True):
            if size > 1:
                corners = np.array([0, size, size, 0, 0]) + start - 0.5, np.array([0, 0, size, size, 0]) + start - 0.5
                axis.plot(*corners, color="black", linewidth=0.7)
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("nonzero rows, ordered by group")
    figure.colorbar(image, ax=list(axes), shrink=0.8, label="similarity")
    some = f"{len(shown):,} of {len(order):,}" if len(shown) < len(order) else f"{len(order):,}"
    figure.suptitle(_plain(f"{name}: row similarity ({some} nonzero rows)"), fontsize=12)
    return figure


def similarity_histograms_figure(rows: Mapping[str, Array]) -> Figure:
    """Draw the similarity of all pairs of each layer's nonzero rows before tying as a histogram for each layer.

    Args:
        rows: for every layer ``(n, row_length)``, n ≥ 2 nonzero rows.
    """
    figure, axes = _grid(len(rows), columns=4, width=3.0, height=2.4)
    for axis, (name, W) in zip(axes, rows.items(), strict=True):
        shown = _spread(len(W), 2 * _MOST_ROWS)
        S = _similarity(W[shown])
        values = S[np.triu_indices(len(S), 1)]
        weights = np.full(len(values), 1 / len(values))
        axis.hist(values, bins=np.linspace(-1, 1, 61).tolist(), color=BLUE, weights=weights)
        some = f" ({len(shown):,} of {len(W):,} rows)" if len(shown) < len(W) else ""
        axis.set_title(_plain(f"{name}{some}"), fontsize=10)
        axis.set(xlabel="similarity", ylabel="share of pairs, log", xlim=(-1, 1), yscale="log")
    return figure


def pixels_figure(name: str, labels: Sequence[int], pixel_shape: tuple[int, int]) -> Figure:
    """Draw the groups of a first layer on the pixels that its rows read.

    Args:
        name: the layer's name.
        labels: the group of each of ``h·w`` or ``c·h·w`` pixels (channel by channel); −1: pruned.
        pixel_shape: ``(h, w)``.
    """
    height, width = pixel_shape
    final = np.asarray(labels)
    images = final.reshape(-1, height, width)
    sizes = np.bincount(final[final != PRUNED], minlength=1)
    ranked = [int(group) for group in np.argsort(-sizes, kind="stable") if sizes[group] > 1]  # largest first
    place = {
        PRUNED: 0,
        **dict.fromkeys(np.flatnonzero(sizes == 1).tolist(), 1),
        **dict(zip(ranked, range(2, len(ranked) + 2), strict=True)),
    }
    colours = [LIGHT, DARK, *(_GROUP_COLOURS[i % len(_GROUP_COLOURS)] for i in range(len(ranked)))]
    columns = min(len(images), 4)
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(max(5.5, 3.6 * columns), 3.8 * rows + 0.8), dpi=_DPI, layout="constrained")
    for channel, image in enumerate(images):
        axis = figure.add_subplot(rows, columns, channel + 1)
        codes = np.vectorize(place.__getitem__, otypes=[int])(image)
        axis.imshow(codes, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5, interpolation="nearest")
        _borders(axis, codes)
        if max(height, width) <= 12:  # few enough pixels for the number of their group
            for (y, x), code in np.ndenumerate(codes):
                if code >= 2:
                    axis.text(x, y, str(code - 1), ha="center", va="center", fontsize=9, color=_ink(colours[code]))
        axis.set(xticks=[], yticks=[])
        if len(images) > 1:
            axis.set_title(f"channel {channel + 1}", fontsize=11)
    tied = int(sizes[ranked].sum()) if ranked else 0
    handles = [
        Patch(facecolor=LIGHT, edgecolor=GREY, label=f"{int((final == PRUNED).sum()):,} pruned"),
        Patch(facecolor=DARK, label=f"{int((sizes == 1).sum()):,} alone"),
        Patch(
            facecolor=_GROUP_COLOURS[0],
            label=f"{tied:,} tied in {len(ranked):,} group{'' if len(ranked) == 1 else 's'}",
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(_plain(f"{name}: groups on the {height}×{width} pixels"), fontsize=12)
    return figure


def layer_bars_figure(
    names: Sequence[str], rows: Sequence[int], nonzero: Sequence[int], groups: Sequence[int]
) -> Figure:
    """Draw the numbers of rows, nonzero rows and groups (distinct nonzero rows) of every layer as bars."""
    figure = Figure(figsize=(9, 0.9 + (0.75 if len(names) < 6 else 0.55) * len(names)), dpi=_DPI, layout="constrained")
    axis = figure.add_subplot()
    places = np.arange(len(names))
    for offset, values, colour, label in (
        (-0.27, rows, LIGHT, "rows"),
        (0.0, nonzero, BLUE, "nonzero rows"),
        (0.27, groups, VERMILLION, "groups"),
    ):
        edge = GREY if colour == LIGHT else colour
        bars = axis.barh(places + offset, values, 0.25, color=colour, edgecolor=edge, linewidth=0.6, label=label)
        axis.bar_label(bars, labels=[f"{value:,}" for value in values], padding=3, fontsize=9)
    axis.set_yticks(places, [_plain(name) for name in names])
    axis.set(xlim=(0, 1.1 * max(*rows, 1)), ylim=(len(names) - 0.5, -0.5))
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def by_group(labels: Array) -> Array:
    """Sort the indices of rows that are not pruned by group, the largest group first; stable within a group."""
    kept = np.flatnonzero(labels != PRUNED)
    sizes = np.bincount(labels[kept], minlength=1)
    return kept[np.lexsort((kept, labels[kept], -sizes[labels[kept]]))]


def _plain(text: str) -> str:
    """Escape dollar signs, between which matplotlib reads mathematics."""
    return text.replace("$", r"\$")


def _similarity(W: Array) -> Array:
    return np.asarray(row_similarity(torch.from_numpy(np.ascontiguousarray(W, dtype=np.float64))))


def _spread(n: int, most: int) -> Array:
    """Choose at most ``most`` of n indices, evenly spread."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).astype(int))


def _ink(colour: str) -> str:
    red, green, blue = to_rgb(colour)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"


def _borders(axis: Axes, codes: Array) -> None:
    """Draw white lines between neighbouring pixels of different groups."""
    down = [((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)) for y, x in np.argwhere(codes[1:] != codes[:-1])]
    across = [((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)) for y, x in np.argwhere(codes[:, 1:] != codes[:, :-1])]
    axis.add_collection(LineCollection([*down, *across], colors="white", linewidths=1.2))


def _grid(n: int, *, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure with n panels, at most ``columns`` in a line."""
    columns = min(n, columns)
    lines = math.ceil(n / columns)
    figure = Figure(figsize=(max(6.0, width * columns), height * lines + 0.4), dpi=_DPI, layout="constrained")
    return figure, [figure.add_subplot(lines, columns, i + 1) for i in range(n)]
