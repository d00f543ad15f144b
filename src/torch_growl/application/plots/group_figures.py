"""Figures of groups: the rows of a layer on a grid such as its pixels, and the numbers of rows and groups as bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from torch_growl.application.plots.style import (
    BLUE,
    DARK,
    GREY,
    GROUP_COLOURS,
    LIGHT,
    VERMILLION,
    Array,
    blank,
    ink,
    plain,
)
from torch_growl.mathematics.clustering import PRUNED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["layer_bars_figure", "pixels_figure"]

_EMPTY = PRUNED - 1  # a cell without a row


def pixels_figure(name: str, labels: Sequence[int], pixel_shape: tuple[int, int], *, what: str = "pixels") -> Figure:
    """Draw the groups of a layer on the pixels that its rows read, or on a grid of its rows.

    Args:
        name: the layer's name.
        labels: the group of each of ``h·w`` or ``c·h·w`` pixels (channel by channel); −1: pruned.
        pixel_shape: ``(h, w)``.
        what: the word for the cells. If they are no pixels, the last ones may have no row.
    """
    height, width = pixel_shape
    final = np.asarray(labels)
    empty = 0 if what == "pixels" else height * width - len(final)
    images = np.r_[final, np.full(empty, _EMPTY)].reshape(-1, height, width)
    sizes = np.bincount(final[final != PRUNED], minlength=1)
    ranked = [int(group) for group in np.argsort(-sizes, kind="stable") if sizes[group] > 1]  # largest first
    place = {
        PRUNED: 0,
        _EMPTY: -1,
        **dict.fromkeys(np.flatnonzero(sizes == 1).tolist(), 1),
        **dict(zip(ranked, range(2, len(ranked) + 2), strict=True)),
    }
    colours = [LIGHT, DARK, *(GROUP_COLOURS[i % len(GROUP_COLOURS)] for i in range(len(ranked)))]
    columns = min(len(images), 4)
    rows = math.ceil(len(images) / columns)
    figure = blank(max(5.5, 3.6 * columns), 3.8 * rows + 0.8)
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    colour_map = ListedColormap(colours).with_extremes(under="white")
    for channel, image in enumerate(images):
        axis = figure.add_subplot(rows, columns, channel + 1)
        codes = np.vectorize(place.__getitem__, otypes=[int])(image)
        axis.imshow(codes, cmap=colour_map, vmin=-0.5, vmax=len(colours) - 0.5, interpolation="nearest")
        _borders(axis, codes)
        if max(height, width) <= 12:  # few enough pixels for the number of their group
            for (y, x), code in np.ndenumerate(codes):
                if code >= 2:
                    axis.text(x, y, str(code - 1), ha="center", va="center", fontsize=9, color=ink(colours[code]))
        axis.set(xticks=[], yticks=[])
        if len(images) > 1:
            axis.set_title(f"channel {channel + 1}", fontsize=11)
    tied = int(sizes[ranked].sum()) if ranked else 0
    handles = [
        Patch(facecolor=LIGHT, edgecolor=GREY, label=f"{int((final == PRUNED).sum()):,} pruned"),
        Patch(facecolor=DARK, label=f"{int((sizes == 1).sum()):,} alone"),
        Patch(
            facecolor=GROUP_COLOURS[0],
            label=f"{tied:,} tied in {len(ranked):,} group{'' if len(ranked) == 1 else 's'}",
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    cells = f"groups on the {height}×{width} pixels" if what == "pixels" else f"groups of the {len(final):,} rows"
    figure.suptitle(plain(f"{name}: {cells}"), fontsize=12)
    return figure


def layer_bars_figure(
    names: Sequence[str], rows: Sequence[int], nonzero: Sequence[int], groups: Sequence[int]
) -> Figure:
    """Draw the numbers of rows, nonzero rows and groups (distinct nonzero rows) of every layer as bars."""
    figure = blank(9, 0.9 + (0.75 if len(names) < 6 else 0.55) * len(names))
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
    axis.set_yticks(places, [plain(name) for name in names])
    axis.set(xlim=(0, 1.1 * max(*rows, 1)), ylim=(len(names) - 0.5, -0.5))
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _borders(axis: Axes, codes: Array) -> None:
    """Draw white lines between neighbouring pixels of different groups."""
    from matplotlib.collections import LineCollection

    down = [((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)) for y, x in np.argwhere(codes[1:] != codes[:-1])]
    across = [((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)) for y, x in np.argwhere(codes[:, 1:] != codes[:, :-1])]
    axis.add_collection(LineCollection([*down, *across], colors="white", linewidths=1.2))
