"""Splits: batches, what is refused, and how rows are dealt out."""

from __future__ import annotations

import pytest
import torch

from torch_growl.application.data.datasets import TensorSplit
from torch_growl.application.data.splits import stratified
from torch_growl.errors import DataError


def test_a_split_gives_whole_batches_through_its_transform() -> None:
    x, y = torch.arange(12.0).reshape(6, 2), torch.arange(6)
    split = TensorSplit(x, y, lambda batch, generator: batch + (0 if generator is None else 100))
    assert len(split) == 6
    got, classes = split.batch(torch.tensor([4, 0]))
    assert torch.equal(got, x[[4, 0]])
    assert classes.tolist() == [4, 0]
    assert torch.equal(split.batch(torch.tensor([4]), torch.Generator())[0], x[[4]] + 100)
    one, label = split[-1]
    assert torch.equal(one, x[5])
    assert (label.shape, int(label)) == (torch.Size([]), 5)
    assert len(list(split)) == 6  # type: ignore[call-overload]
    with pytest.raises(IndexError, match="example 6 of 6"):
        split[6]


def test_a_split_of_unequal_lengths_is_refused() -> None:
    with pytest.raises(DataError, match="as many inputs as labels, at least one"):
        TensorSplit(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(DataError, match="as many inputs as labels, at least one"):
        TensorSplit(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DataError, match="as many inputs as labels, at least one"):
        TensorSplit(torch.zeros(1, 2), torch.zeros(()))


def test_stratified_parts_have_equal_shares_and_depend_on_the_seed_alone() -> None:
    y = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100)]
    kept, out = stratified(y, 20, seed=1)
    assert sorted([*kept.tolist(), *out.tolist()]) == list(range(100))
    assert kept.tolist() == sorted(kept.tolist())
    assert torch.bincount(y[out]).tolist() == [12, 6, 2]
    assert torch.equal(stratified(y, 20, seed=1)[1], out)
    assert not torch.equal(stratified(y, 20, seed=2)[1], out)
