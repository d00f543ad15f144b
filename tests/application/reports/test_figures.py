"""Figures: every row where it belongs, and thinned where there are too many."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tests.support.made_up_run import tied_rows
from torch_growl.application.reports.figures import (
    by_group,
    pixels_figure,
    progress_figure,
    row_norms_figure,
    similarity_figure,
)
from torch_growl.application.tasks import Metric


def test_groups_are_drawn_where_their_pixels_are() -> None:
    labels = [-1] * 64
    labels[9], labels[10], labels[63] = 0, 0, 7  # a group of two in line 1, one alone in the corner
    figure = pixels_figure("fc1", labels, (8, 8))
    axis = figure.axes[0]
    drawn = np.asarray(axis.images[0].get_array())
    assert drawn.shape == (8, 8)
    assert {code: int((drawn == code).sum()) for code in np.unique(drawn).tolist()} == {0: 61, 1: 1, 2: 2}
    assert drawn[1, 1] == drawn[1, 2] == 2
    assert drawn[7, 7] == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["61 pruned", "1 alone", "2 tied in 1 group"]


def test_colour_images_have_a_panel_for_each_channel() -> None:
    figure = pixels_figure("fc1", [0, -1, -1, -1, 1, 1, 1, 1, 2, 2, -1, 0], (2, 2))
    drawn = [np.asarray(axis.images[0].get_array()).tolist() for axis in figure.axes]
    assert [axis.get_title() for axis in figure.axes] == ["channel 1", "channel 2", "channel 3"]
    assert drawn == [[[3, 0], [0, 0]], [[2, 2], [2, 2]], [[4, 4], [0, 3]]]


def test_similarity_is_ordered_by_group() -> None:
    labels = np.array([5, 0, -1, 1, 0, 1, 1])
    assert by_group(labels).tolist() == [3, 5, 6, 1, 4, 0]
    rows = tied_rows(labels.tolist(), 50, 0.0)
    figure = similarity_figure("fc1", labels.tolist(), rows, rows, np.eye(7))
    before, after, inputs = (np.asarray(axis.images[0].get_array()) for axis in figure.axes[:3])
    same = labels[by_group(labels)][:, None] == labels[by_group(labels)]
    np.testing.assert_allclose(before[same], 1, atol=1e-6)
    assert (before[~same] < 0.9).all()
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(inputs, np.eye(6))


def test_big_layers_are_thinned_and_the_title_says_so() -> None:
    labels = list(range(1000))
    figure = similarity_figure("big", labels, np.random.default_rng(0).normal(size=(1000, 4)))
    assert np.asarray(figure.axes[0].images[0].get_array()).shape == (400, 400)
    assert "400 of 1,000 nonzero rows" in figure.get_suptitle()


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
