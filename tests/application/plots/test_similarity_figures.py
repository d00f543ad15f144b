"""Figures of similarity: rows are ordered by group, and thinned if there are too many."""

from __future__ import annotations

import numpy as np

from tests.support.made_up_run import tied_rows
from torch_growl.application.plots.similarity_figures import by_group, similarity_figure


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
