"""The style of the figures: colours, sizes and what several figures draw; matplotlib is imported when one is made.

The colours are those of Okabe and Ito for the colour-blind, and line styles or numbers repeat what colours show.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torch_growl.application.plots.scale import PERCENT, Scale
from torch_growl.errors import GrowlError, first_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ACCURACY",
    "BLUE",
    "DARK",
    "DPI",
    "GREEN",
    "GREY",
    "GROUP_COLOURS",
    "LIGHT",
    "MOST_ROWS",
    "ORANGE",
    "VERMILLION",
    "Array",
    "blank",
    "grid",
    "ink",
    "plain",
    "spread",
]

Array = NDArray[Any]

ACCURACY = Scale("accuracy", True, PERCENT)
BLUE, ORANGE, VERMILLION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
GREY, LIGHT, DARK = "#8C8C8C", "#E4E4E4", "#3A3A3A"
DPI = 150
MOST_ROWS = 400  # rows of a similarity map
# Different in hue and in lightness; with more groups than colours, borders separate neighbours of equal colour.
# fmt: off
GROUP_COLOURS = [
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#882255",
    "#44AA99", "#332288", "#DDCC77", "#AA4499", "#117733", "#FF9DA7", "#88CCEE", "#9C755F",
    "#B6992D", "#499894", "#F1CE63", "#D37295", "#79706E", "#86BCB6", "#A0CBE8", "#FFBE7D",
]
# fmt: on


def blank(width: float, height: float) -> Figure:
    """Make an empty figure, without pyplot and its global state.

    Args:
        width, height: in inches.

    Raises:
        GrowlError: matplotlib cannot be imported.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise GrowlError(
            f"a figure needs matplotlib, which cannot be imported ({first_line(error)}); "
            "install it with: pip install matplotlib"
        ) from error
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def grid(n: int, *, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure with n panels, at most ``columns`` in a line."""
    columns = min(n, columns)
    lines = math.ceil(n / columns)
    figure = blank(max(6.0, width * columns), height * lines + 0.4)
    return figure, [figure.add_subplot(lines, columns, i + 1) for i in range(n)]


def plain(text: str) -> str:
    """Escape dollar signs, between which matplotlib reads mathematics."""
    return text.replace("$", r"\$")


def spread(n: int, most: int) -> Array:
    """Choose at most ``most`` of n indices, evenly spread."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).astype(int))


def ink(colour: str) -> str:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
