"""The record of a run: what it keeps of identities that must stay, and of tensors with channels in two dimensions."""

from __future__ import annotations

import torch

from torch_growl.networks.wiring.identities import expanded
from torch_growl.networks.wiring.recording import Recording


def test_new_identities_follow_those_that_must_stay() -> None:
    found = Recording()
    assert found.fresh(2).tolist() == [1, 2]
    assert found.fresh(3).tolist() == [3, 4, 5]


def test_what_must_stay_anyway_is_not_pinned_and_reads_nothing() -> None:
    found = Recording()
    found.pin(torch.tensor([0, 0]), "no reason")
    assert found.pins == []
    found.pin(torch.tensor([0, 2, 2]), "a reason")
    assert [(ids.tolist(), reason) for ids, reason in found.pins] == [([2], "a reason")]
    found.read(torch.tensor([0, 1]), torch.tensor([3, 4]))
    assert torch.cat(found.reads).tolist() == [[1, 4]]


def test_a_grid_is_recorded_without_the_dimensions_that_have_no_channels() -> None:
    found = Recording()
    found.grid(expanded(torch.arange(1, 4), 1, (2, 3)))
    assert found.grids == []
    ids = torch.arange(1, 7).reshape(2, 1, 3)
    found.grid(ids.expand(2, 5, 3))
    assert [grid.ids.tolist() for grid in found.grids] == [[[1, 2, 3], [4, 5, 6]]]


def test_slices_of_a_parameter_that_were_not_read_stay_with_one_that_was() -> None:
    found = Recording()
    ids = found.parameters["positions"] = found.fresh(6).reshape(3, 2)  # three positions of two channels
    channels = found.fresh(2)
    found.couple(ids[:1], channels)
    found.keep_unread()
    assert torch.cat(found.edges[1:]).tolist() == [[3, 1], [4, 2], [5, 1], [6, 2]]
