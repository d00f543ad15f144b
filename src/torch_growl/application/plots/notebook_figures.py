"""Figures for notebooks: the rows of a network, the groups of a tying, and curves of a metric against size.

They are shown by a notebook with or without ``%matplotlib inline``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from torch_growl.application.plots.curves import curve_figure
from torch_growl.application.plots.group_figures import pixels_figure
from torch_growl.application.plots.scale import PERCENT, Scale
from torch_growl.application.plots.style import BLUE, GREY, LIGHT, VERMILLION, Array, grid, plain
from torch_growl.arguments import check_number, check_type
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.mathematics.clustering import PRUNED, Partition
from torch_growl.networks.layers import Side, check_network, choose_layers, row_norms, rows_of
from torch_growl.networks.tying import Tying

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_curve", "plot_groups", "plot_rows"]


def plot_rows(
    model: nn.Module,
    tying: Tying | None = None,
    *,
    layers: Iterable[str] | None = None,
    side: Side = "input",
) -> Figure:
    """Draw the norms of the rows of every layer, the largest first; pruned and tied rows have their own colours.

    Args:
        model: the network; not modified. A weight that ``tie_`` has parametrized is drawn as the value it computes.
        tying: the tying that colours show, such as one that has been found and not yet applied; its layers are drawn.
            None: rows that are zero are pruned, rows that are bit-equal are tied.
        layers: names or patterns, as for :class:`torch_growl.GrOWL`; only without a tying.
        side: the side of the rows, ``"input"`` or ``"output"``; only without a tying.

    Returns:
        A matplotlib figure with a panel for each layer.

    Raises:
        LayerError: a name matches no layer with rows, or the tying is of another network.
        InvalidValueError: both ``tying`` and ``layers`` are given, the tying has no layers, or a norm is not finite.
        GrowlError: matplotlib cannot be imported.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> with torch.no_grad():
        ...     model[0].weight[:, :2] = 0
        >>> figure = tg.plot_rows(model)
        >>> [axis.get_title() for axis in figure.axes]
        ['0: 6 rows, 2 pruned, 0 tied']
        >>> figure.savefig("rows.png")
    """
    check_network("model", model)
    if tying is not None:
        check_type("tying", tying, Tying)
        if layers is not None:
            raise InvalidValueError("tying and layers cannot both be given: the layers of the tying are drawn")
        if not len(tying):
            raise InvalidValueError("the tying must have a layer to draw, but it has none")
        chosen = [(each.name, each.side) for each in tying]
        choose_layers(model, [name for name, _ in chosen], tying.layers[0].side)
    else:
        chosen = [(info.name, side) for info in choose_layers(model, layers, side)]
    figure, axes = grid(len(chosen), columns=3, width=4.0, height=3.0)
    for axis, (name, of) in zip(axes, chosen, strict=True):
        module = model.get_submodule(name)
        found = tying[name].partition if tying is not None else Partition.from_rows(rows_of(module, of))
        norms = row_norms(module, of).cpu().double().numpy()
        if len(norms) != found.n_rows:
            raise InvalidValueError(f"layer {name!r} has {len(norms)} rows, the tying has {found.n_rows}")
        if not np.isfinite(norms).all():
            raise InvalidValueError(
                f"layer {name!r} has a row whose norm is NaN or infinite, which cannot be drawn; train again with a "
                "lower learning rate, or choose other layers"
            )
        order = np.argsort(-norms, kind="stable")
        pruned, tied = _states(found)
        places = np.arange(len(norms))
        for kind, colour, marker in ((pruned, GREY, "x"), (~pruned & ~tied, BLUE, "o"), (tied, VERMILLION, "^")):
            shown = kind[order]
            axis.plot(places[shown], norms[order][shown], marker, color=colour, markersize=3.5)
        counts = f"{len(norms):,} rows, {int(pruned.sum()):,} pruned, {int(tied.sum()):,} tied"
        axis.set_title(plain(f"{name or '(root)'}: {counts}"), fontsize=10)
        axis.set(xlabel="rows, ordered by norm", ylabel="row norm (ℓ2)")
        axis.set_ylim(bottom=-0.03 * max(float(norms.max(initial=0.0)), 1e-12))
        axis.grid(axis="y", color=LIGHT)
    from matplotlib.lines import Line2D

    kinds = ((VERMILLION, "^", "kept, tied to others"), (BLUE, "o", "kept, alone"), (GREY, "x", "pruned"))
    handles = [Line2D([], [], color=colour, marker=marker, linestyle="", label=text) for colour, marker, text in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return _shown(figure)


def plot_groups(tying: Tying, layer: str | None = None, *, shape: tuple[int, int] | None = None) -> Figure:
    """Draw which rows of a layer are pruned and which share a value, on the pixels that they read or on a plain grid.

    Args:
        tying: as :func:`torch_growl.find_tying` returns it.
        layer: the name of one of its layers; None: its first.
        shape: height and width of the image that the rows are the pixels of, channel by channel; None: the rows are
            laid out line by line, about as wide as high, and cells after the last row stay empty.

    Returns:
        A matplotlib figure: pruned rows are light grey, rows alone dark grey, rows of one group have one colour.

    Raises:
        LayerError: the tying has no such layer.
        InvalidValueError: the tying has no layers, the shape is not one of two counts, or the number of rows is no
            multiple of the pixels.
        GrowlError: matplotlib cannot be imported.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> model[0].weight.data = torch.tensor([[1.0, 1.0, 0.0, 2.0]]).expand(3, 4).clone()  # rows are its columns
        >>> figure = tg.plot_groups(tg.find_tying(model, ["0"], preference=1.0), "0", shape=(2, 2))
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['1 pruned', '1 alone', '2 tied in 1 group']
    """
    check_type("tying", tying, Tying)
    if not len(tying):
        raise InvalidValueError("the tying must have a layer to draw, but it has none")
    found = tying.layers[0] if layer is None else tying[layer]
    labels = found.partition.labels
    if shape is None:
        width = max(1, math.ceil(math.sqrt(len(labels))))
        return _shown(pixels_figure(found.name, labels, (math.ceil(len(labels) / width), width), what="rows"))
    if not isinstance(shape, Sequence) or len(shape) != 2 or any(type(size) is not int or size < 1 for size in shape):
        raise InvalidValueError(f"shape must be (height, width), got {shape!r}")
    height, width = shape
    if len(labels) % (height * width):
        raise InvalidValueError(
            f"shape must fit the {len(labels):,} rows of layer {found.name!r}, but {height} x {width} pixels do not "
            "divide them"
        )
    return _shown(pixels_figure(found.name, labels, (height, width)))


def plot_curve(
    curves: Mapping[str, Iterable[tuple[float, float]]],
    *,
    dense: float,
    metric: str = "accuracy",
    unit: str = PERCENT,
    higher_is_better: bool = True,
    lowest: float | None = None,
) -> Figure:
    """Draw a metric against size, one line for each method, with the dense network as a dotted line.

    Args:
        curves: for every method its points (times smaller, value of the metric), in any order; at least one each.
            Lists, arrays, tensors and iterators are served.
        dense: the dense network's value.
        metric: its name, for the axis.
        unit: its unit; ``"%"``: values are shares of 1, and are drawn in per cent; empty: plain numbers.
        higher_is_better: False for errors, whose axis is turned so that better is up.
        lowest: the value at the lower edge of the figure; None: just below the lowest point.

    Returns:
        A matplotlib figure; sizes are on a logarithmic axis.

    Raises:
        InvalidTypeError: the curves are no mapping, or points are not pairs of numbers.
        InvalidValueError: a method has no points, a size is not above 0 or a value is not finite.
        GrowlError: matplotlib cannot be imported.

    Example:
        >>> import torch_growl as tg
        >>> figure = tg.plot_curve({"GrOWL": [(2.0, 0.99), (8.0, 0.97)], "lasso": [(4.0, 0.95)]}, dense=0.985)
        >>> figure.axes[0].get_ylabel()
        'accuracy on the test split (%)'
    """
    check_number("dense", dense)
    if not isinstance(curves, Mapping):
        raise InvalidTypeError(f"curves must be a mapping of methods to points, got {type(curves).__name__}")
    lines = {name: _points(str(name), points) for name, points in curves.items()}
    for name, points in lines.items():
        if not points:
            raise InvalidValueError(f"curves[{name!r}] must have at least one point (times smaller, {metric})")
        for size, value in points:
            check_number(f"curves[{name!r}]: a size", size, above=0)
            check_number(f"curves[{name!r}]: a value", value)
    return _shown(curve_figure(lines, dense=dense, lowest=lowest, metric=Scale(metric, higher_is_better, unit)))


def _points(name: str, points: Any) -> list[tuple[float, float]]:
    """Pairs of plain numbers; numbers of arrays and tensors become Python's."""
    try:
        pairs = [(size, value) for size, value in points]
    except (TypeError, ValueError):
        raise InvalidTypeError(f"curves[{name!r}] must be points (times smaller, value), got {points!r}") from None
    return [(_number(size), _number(value)) for size, value in pairs]


def _number(value: Any) -> Any:
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _states(found: Partition) -> tuple[Array, Array]:
    """Two masks of the rows: those that are pruned, and those in a group of two or more."""
    labels = np.asarray(found.labels)
    sizes = np.asarray([*found.sizes, 0])  # the last is that of pruned rows
    return labels == PRUNED, sizes[labels] > 1


def _shown(figure: Figure) -> Figure:
    """Let a notebook show a figure even if pyplot, which would set that up, is never imported."""
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
