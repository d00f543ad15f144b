"""Figures of a training: stages are told apart, and of too many rows some of each kind are drawn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from torch_growl.application.plots.training_figures import progress_figure, row_norms_figure
from torch_growl.application.tasks import Metric


def test_of_many_lines_some_of_each_kind_are_drawn() -> None:
    labels = [-1] * 900 + [0, 0, 1]
    figure = row_norms_figure({"fc1": np.ones((4, 903))}, {"fc1": labels})
    assert [len(lines.get_segments()) for lines in figure.axes[0].collections] == [80, 1, 2]  # type: ignore[attr-defined]
    assert figure.axes[0].get_title() == "fc1 (83 of 903 rows drawn)"


def test_stages_are_separated_by_lines() -> None:
    figure = progress_figure(["dense"] * 3 + ["train"] * 4, [0.9] * 7, [0.8] * 7, [1.0] * 7)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["dense", "train"]
    assert [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 2] == [3.5]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stages", "upright"),
    [
        ({"dense": 20, "train": 60, "retrain": 20}, False),
        ({"dense": 40, "train": 60, **{f"merge{i}": 3 for i in range(1, 9)}, "retrain": 20}, True),
        ({"dense": 100, "train": 100, "merge1": 1, "merge2": 1, "merge3": 1, "retrain": 1}, True),
    ],
)
def test_headings_of_stages_do_not_overlap_and_stay_inside(stages: dict[str, int], upright: bool) -> None:
    names = [name for name, epochs in stages.items() for _ in range(epochs)]
    figure = progress_figure(names, [0.9] * len(names), [0.8] * len(names), [1.0] * len(names))
    FigureCanvasAgg(figure).draw()
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == list(stages)
    assert {text.get_rotation() for text in texts} == {90.0 if upright else 0.0}
    boxes = [text.get_window_extent() for text in texts]
    assert all(first.x1 < second.x0 for first, second in pairwise(boxes))
    width, height = figure.canvas.get_width_height()
    assert all(box.x0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)


def test_the_axis_of_an_error_names_its_unit_and_leaves_out_the_highest_epochs() -> None:
    errors = [500.0] * 2 + [50.0] * 50
    figure = progress_figure(["dense"] * 52, errors, errors, [1.0] * 52, Metric("RMSE", False, "mm"))
    left = next(axis for axis in figure.axes if axis.get_ylabel() == "RMSE (mm), lower is better")
    low, high = left.get_ylim()
    assert low < 50 < high < 100
    assert max(left.lines[0].get_ydata()) == 500


def test_a_metric_with_dollar_signs_is_drawn_as_it_is() -> None:
    figure = progress_figure(["dense"] * 2, [0.9] * 2, [0.8] * 2, [1.0] * 2, Metric("$b_$", True))
    FigureCanvasAgg(figure).draw()
    assert figure.axes[0].get_ylabel() == r"\$b_\$"
