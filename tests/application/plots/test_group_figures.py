"""Figures of groups: every row is drawn where its pixel is."""

from __future__ import annotations

import numpy as np

from torch_growl.application.plots.group_figures import pixels_figure


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
