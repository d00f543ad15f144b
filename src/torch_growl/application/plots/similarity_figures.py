"""Figures of the similarity of rows: a map of one layer, and histograms of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from torch_growl.application.plots.style import BLUE, MOST_ROWS, Array, blank, grid, plain, spread
from torch_growl.mathematics.clustering import PRUNED
from torch_growl.mathematics.similarity import row_similarity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["similarity_figure", "similarity_histograms_figure"]


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
    shown = order[spread(len(order), MOST_ROWS)]
    panels = {"before tying": _similarity(trained[shown])}
    if retrained is not None:
        panels["after retraining"] = _similarity(retrained[shown])
    if input_correlation is not None:
        panels["correlation of the inputs"] = np.asarray(input_correlation)[np.ix_(shown, shown)]
    figure = blank(1.0 + 4.2 * len(panels), 4.6)
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
    figure.suptitle(plain(f"{name}: row similarity ({some} nonzero rows)"), fontsize=12)
    return figure


def similarity_histograms_figure(rows: Mapping[str, Array]) -> Figure:
    """Draw the similarity of all pairs of each layer's nonzero rows before tying as a histogram for each layer.

    Args:
        rows: for every layer ``(n, row_length)``, n ≥ 2 nonzero rows.
    """
    figure, axes = grid(len(rows), columns=4, width=3.0, height=2.4)
    for axis, (name, W) in zip(axes, rows.items(), strict=True):
        shown = spread(len(W), 2 * MOST_ROWS)
        S = _similarity(W[shown])
        values = S[np.triu_indices(len(S), 1)]
        weights = np.full(len(values), 1 / len(values))
        axis.hist(values, bins=np.linspace(-1, 1, 61).tolist(), color=BLUE, weights=weights)
        some = f" ({len(shown):,} of {len(W):,} rows)" if len(shown) < len(W) else ""
        axis.set_title(plain(f"{name}{some}"), fontsize=10)
        axis.set(xlabel="similarity", ylabel="share of pairs, log", xlim=(-1, 1), yscale="log")
    return figure


def by_group(labels: Array) -> Array:
    """Sort the indices of rows that are not pruned by group, the largest group first; stable within a group."""
    kept = np.flatnonzero(labels != PRUNED)
    sizes = np.bincount(labels[kept], minlength=1)
    return kept[np.lexsort((kept, labels[kept], -sizes[labels[kept]]))]


def _similarity(W: Array) -> Array:
    return np.asarray(row_similarity(torch.from_numpy(np.ascontiguousarray(W, dtype=np.float64))))
