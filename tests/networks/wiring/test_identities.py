"""Identities: the dimensions in which they differ, pairs at one place, classes of coupled ones."""

from __future__ import annotations

import numpy as np
import torch

from torch_growl.networks.wiring.identities import (
    all_fixed,
    connected_classes,
    constant_along,
    couples,
    expanded,
    squashed,
    thin,
    varying,
)


def test_identities_are_expanded_along_dimensions_in_which_they_do_not_differ() -> None:
    ids = torch.tensor([3, 4, 5]).reshape(1, 3, 1).repeat(2, 1, 4)
    assert varying(ids) == (0, 1, 2)
    small = squashed(ids)
    assert torch.equal(small, ids)
    assert varying(small) == (1,)
    assert torch.equal(thin(small), torch.tensor([3, 4, 5]).reshape(1, 3, 1))
    assert constant_along(small, [0, -1])
    assert not constant_along(small, [-2])


def test_a_vector_of_identities_is_expanded_to_a_shape() -> None:
    ids = expanded(torch.tensor([1, 2]), -2, (3, 2, 4))
    assert torch.equal(ids, torch.tensor([1, 2]).reshape(1, 2, 1).repeat(3, 1, 4))
    assert torch.equal(all_fixed((2, 3)), torch.zeros(2, 3, dtype=torch.int64))


def test_pairs_at_one_place_are_listed_once_and_shapes_broadcast() -> None:
    a, b = torch.tensor([[1, 2, 1]]), torch.tensor([[5, 6, 5], [5, 6, 7]])
    assert couples(a, b).tolist() == [[1, 5], [1, 7], [2, 6]]
    assert couples(torch.empty(0, 3, dtype=torch.int64), a).shape == (0, 2)


def test_coupled_identities_are_one_class_and_what_must_stay_is_class_zero() -> None:
    classes = connected_classes(6, [torch.tensor([[5, 4], [4, 2]]), torch.tensor([[3, 0]])])
    assert classes.dtype == np.int64
    assert classes[0] == classes[3] == 0
    assert classes[2] == classes[4] == classes[5] != classes[1]
    assert 0 not in classes[[1, 2]]
