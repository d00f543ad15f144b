"""Which channels are needed: through weights, grids, and a multiple of channels that is asked for."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tests.support.wired import wired
from torch_growl.networks.wiring.needed import bundles, left_along, needed_channels


def test_a_single_weight_is_enough_to_need_a_channel() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5))
    found = wired(model, 2, 3)
    with torch.no_grad():
        model[2].weight[:, 1:] = 0
        model[2].weight[3, 2] = 1e-30
    needed = needed_channels(dict(model.named_children()), found)
    assert needed[found.outputs["0"]].tolist() == [True, False, True, False]


def test_entries_are_left_along_dimensions_with_channels_and_all_along_others() -> None:
    needed = np.array([True, False, True])
    classes = np.broadcast_to(np.array([0, 1, 1, 2])[:, None], (4, 5))
    assert left_along(needed, classes) == [2, 5]
    assert left_along(np.array([False, False, False]), classes) == [0, 0]


def chain() -> nn.Sequential:
    """Three layers, the last of which reads channels 1 and 3 of eight only."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 8), nn.Linear(8, 2))
    with torch.no_grad():
        model[2].weight[:, [0, 2, 4, 5, 6, 7]] = 0
        model[1].weight[[1, 3], 2:] = 0
    return model


def test_channels_that_only_feed_channels_that_are_not_needed_are_not_needed() -> None:
    model = chain()
    found = wired(model, 2, 3)
    needed = needed_channels(dict(model.named_children()), found)
    assert needed[found.outputs["1"]].nonzero()[0].tolist() == [1, 3]
    assert needed[found.outputs["0"]].nonzero()[0].tolist() == [0, 1]


def test_more_channels_are_kept_up_to_the_multiple_asked_for() -> None:
    model = chain()
    found = wired(model, 2, 3)
    needed = needed_channels(dict(model.named_children()), found, round_to=3)
    assert needed[found.outputs["1"]].nonzero()[0].tolist() == [0, 1, 3]
    assert needed[found.outputs["0"]].all()  # the added channel reads all four


def test_a_layer_of_zeros_keeps_one_channel() -> None:
    model = chain()
    found = wired(model, 2, 3)
    nn.init.zeros_(model[2].weight)
    needed = needed_channels(dict(model.named_children()), found)
    assert needed[found.outputs["1"]].tolist() == [True] + [False] * 7


def test_channels_of_one_layer_that_are_not_needed_are_one_set() -> None:
    model = chain()
    found = wired(model, 2, 3)
    needed = needed_channels(dict(model.named_children()), found)
    expected = [found.outputs[name][~needed[found.outputs[name]]].tolist() for name in ("0", "1")]
    assert sorted(map(sorted, bundles(found, needed))) == sorted(map(sorted, expected))
