"""The picture of accuracy against size."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from torch_growl.application.plots.curves import curve_figure
from torch_growl.application.tasks import Metric


def test_every_method_is_a_line_of_its_points_in_the_order_of_size() -> None:
    curves = {"GrOWL": [(8.0, 0.97), (2.0, 0.99)], "lasso": [(4.0, 0.95)]}
    (axis,) = curve_figure(curves, dense=0.985).axes
    lines = {line.get_label(): line for line in axis.lines}
    assert set(lines) == {"dense", "GrOWL", "lasso"}
    assert list(lines["GrOWL"].get_xdata()) == [2.0, 8.0]
    assert list(lines["GrOWL"].get_ydata()) == pytest.approx([99.0, 97.0])
    assert list(lines["dense"].get_ydata()) == pytest.approx([98.5, 98.5])
    assert axis.get_xscale() == "log"
    assert lines["GrOWL"].get_marker() != lines["lasso"].get_marker()  # told apart without colour


def test_the_lower_edge_is_below_the_lowest_point_or_where_it_is_asked() -> None:
    curve = {"GrOWL": [(2.0, 0.5), (4.0, 0.9)]}
    assert curve_figure(curve, dense=0.95).axes[0].get_ylim()[0] < 50
    assert curve_figure(curve, dense=0.95, lowest=0.8).axes[0].get_ylim()[0] == pytest.approx(80)


def test_better_is_up_in_another_metric_too() -> None:
    perplexity = Metric("perplexity", False)
    (axis,) = curve_figure({"GrOWL": [(2.0, 6.0), (4.0, 9.0)]}, dense=5.5, metric=perplexity).axes
    worst, best = axis.get_ylim()
    assert worst > 9.0 > 5.5 > best
    assert axis.get_ylabel() == "perplexity on the test split, lower is better"
    assert list(axis.lines[1].get_ydata()) == [6.0, 9.0]
    assert curve_figure({"GrOWL": [(2.0, 0.5)]}, dense=0.9).axes[0].get_ylabel() == "accuracy on the test split (%)"


def test_names_with_dollar_signs_are_drawn_as_they_are() -> None:
    figure = curve_figure({"$a_$": [(2.0, 0.5)]}, dense=0.9, metric=Metric("$b_$", True))
    FigureCanvasAgg(figure).draw()
    assert figure.axes[0].get_ylabel().startswith(r"\$b_\$")


def test_no_two_of_many_lines_look_the_same() -> None:
    (axis,) = curve_figure({f"method {i}": [(2.0, 0.9), (4.0, 0.8)] for i in range(12)}, dense=0.95).axes
    looks = {(line.get_color(), line.get_linestyle(), line.get_fillstyle()) for line in axis.lines[1:]}
    assert len(looks) == 12
