"""Figures for notebooks: every row is drawn in its state, bad input is refused, and a notebook shows the figure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch import nn

import torch_growl as tg
from torch_growl.application.plots.style import BLUE, GREY, VERMILLION
from torch_growl.errors import InvalidTypeError, InvalidValueError, LayerError
from torch_growl.networks.tying.tying import LayerTying


def network() -> nn.Sequential:
    """Rows of the first layer: 0 and 1 are zero, 2 and 3 equal, 4 and 5 alone."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[:, :2] = 0  # type: ignore[index, operator]
        model[0].weight[:, 3] = model[0].weight[:, 2]  # type: ignore[index]
    return model


def drawn(axis: Any) -> dict[str, list[float]]:
    """The norms by colour."""
    return {to_hex(line.get_color()).upper(): line.get_ydata().tolist() for line in axis.lines}


def test_every_row_is_drawn_in_its_state_by_its_norm() -> None:
    model = network()
    figure = tg.plot_rows(model)
    assert [axis.get_title() for axis in figure.axes] == [
        "0: 6 rows, 2 pruned, 2 tied",
        "2: 8 rows, 0 pruned, 0 tied",
    ]
    norms = torch.linalg.vector_norm(model[0].weight.detach(), dim=0).double().numpy()  # type: ignore[operator]
    found = drawn(figure.axes[0])
    assert found[GREY] == [0, 0]
    assert found[VERMILLION] == pytest.approx(norms[[2, 3]].tolist())
    assert found[BLUE] == pytest.approx(sorted(norms[4:].tolist(), reverse=True))


def test_a_tying_colours_rows_before_it_is_applied() -> None:
    tying = tg.Tying((LayerTying("2", tg.Partition((0, 0, 0, -1, 1, 2, 3, 4)), 4),))
    (axis,) = tg.plot_rows(network(), tying).axes
    assert axis.get_title() == "2: 8 rows, 1 pruned, 3 tied"
    assert len(drawn(axis)[VERMILLION]) == 3


def test_rows_without_pixels_are_laid_out_line_by_line() -> None:
    tying = tg.Tying((LayerTying("conv", tg.Partition((0, 0, -1, 1, 2)), 4),))
    (axis,) = tg.plot_groups(tying, "conv").axes
    assert np.asarray(axis.images[0].get_array()).tolist() == [[2, 2, 0], [1, 1, -1]]
    assert tg.plot_groups(tying).get_suptitle() == "conv: groups of the 5 rows"


def test_curves_take_another_metric() -> None:
    (axis,) = tg.plot_curve({"GrOWL": [(2.0, 6.0)]}, dense=5.5, metric="RMSE", unit="mm", higher_is_better=False).axes
    assert axis.get_ylabel() == "RMSE on the test split (mm), lower is better"


def test_curves_may_be_arrays_tensors_and_iterators() -> None:
    points = [(2.0, 0.5), (4.0, 0.25)]
    for given in (np.array(points), torch.tensor(points), iter(points), zip(*zip(*points, strict=True), strict=True)):
        (axis,) = tg.plot_curve({"a": given}, dense=0.5).axes  # type: ignore[dict-item]
        assert list(axis.lines[1].get_ydata()) == [50.0, 25.0]


def broken(value: float) -> nn.Sequential:
    model = network()
    model[0].weight.data[0, 1] = value
    return model


TYING = tg.Tying((LayerTying("0", tg.Partition((0, 1, 2)), 4),))


@pytest.mark.parametrize(
    ("draw", "kind", "said"),
    [
        (lambda: tg.plot_rows("net"), InvalidTypeError, "model must be"),  # type: ignore[arg-type]
        (lambda: tg.plot_rows(network(), "t"), InvalidTypeError, "tying must be"),  # type: ignore[arg-type]
        (lambda: tg.plot_rows(network(), TYING, layers=["0"]), InvalidValueError, "tying and layers"),
        (lambda: tg.plot_rows(network(), TYING), InvalidValueError, "layer '0' has 6 rows, the tying has 3"),
        (lambda: tg.plot_rows(network(), layers=["fc"]), LayerError, "fc"),
        (lambda: tg.plot_rows(broken(math.nan)), InvalidValueError, "layer '0' has a row whose norm is NaN"),
        (lambda: tg.plot_rows(broken(math.inf)), InvalidValueError, "layer '0' has a row whose norm is NaN or inf"),
        (lambda: tg.plot_rows(network(), tg.Tying(())), InvalidValueError, "must have a layer"),
        (lambda: tg.plot_groups(tg.Tying(())), InvalidValueError, "must have a layer"),
        (lambda: tg.plot_groups(TYING, "fc1"), LayerError, "no layer 'fc1'"),
        (lambda: tg.plot_groups(TYING, shape=(2, 2)), InvalidValueError, "shape must fit the 3 rows of layer '0'"),
        (lambda: tg.plot_groups(TYING, shape=(0, 3)), InvalidValueError, "shape"),
        (lambda: tg.plot_groups(TYING, shape=3), InvalidValueError, "shape must be .height, width., got 3"),  # type: ignore[arg-type]
        (lambda: tg.plot_groups(TYING, shape=(1, 3, 1)), InvalidValueError, "shape must be"),  # type: ignore[arg-type]
        (lambda: tg.plot_groups(TYING, shape=(1.0, 3)), InvalidValueError, "shape must be"),  # type: ignore[arg-type]
        (lambda: tg.plot_curve([(2.0, 0.9)], dense=0.9), InvalidTypeError, "curves must be"),  # type: ignore[arg-type]
        (lambda: tg.plot_curve({"a": 3}, dense=0.9), InvalidTypeError, "must be points"),  # type: ignore[dict-item]
        (lambda: tg.plot_curve({"a": [(2.0,)]}, dense=0.9), InvalidTypeError, "must be points"),  # type: ignore[list-item]
        (lambda: tg.plot_curve({"a": []}, dense=0.9), InvalidValueError, "at least one point"),
        (lambda: tg.plot_curve({"a": [(0.0, 0.9)]}, dense=0.9), InvalidValueError, "a size"),
        (lambda: tg.plot_curve({}, dense=float("nan")), InvalidValueError, "dense"),
    ],
)
def test_bad_input_is_refused(draw: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        draw()


def test_a_notebook_shows_the_figure_without_pyplot() -> None:
    figure: Any = tg.plot_groups(TYING)
    assert figure._repr_png_().startswith(b"\x89PNG")
