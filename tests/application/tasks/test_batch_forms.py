"""Batches: inputs and labels of tuples and dicts, moved together, given to the library in its own form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from torch_growl.application.tasks.batch_forms import LABELS, read_batch
from torch_growl.errors import DataError

X, Y = torch.zeros(4, 3), torch.arange(4)


def test_the_last_entry_of_a_tuple_is_the_labels() -> None:
    one, two = read_batch((X, Y)), read_batch([X, X + 1, Y])
    assert torch.equal(one.example_inputs, X)
    assert [float(each.sum()) for each in two.example_inputs] == [0.0, 12.0]
    assert torch.equal(one.labels, Y)
    assert torch.equal(two.labels, Y)
    assert (len(one), len(two)) == (4, 4)


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_a_dict_have_one_of_the_names_and_all_other_entries_are_inputs(name: str) -> None:
    found = read_batch({name: Y, "x": X, "mask": X + 1})
    assert list(found.example_inputs) == ["x", "mask"]
    assert torch.equal(found.labels, Y)
    assert read_batch({"x": X}).labels is None


def test_a_batch_is_moved_as_a_whole() -> None:
    moved = read_batch({"x": X, "nested": [X, 3], "labels": (Y, Y)}).to(torch.device("meta"))
    assert moved.example_inputs["nested"][0].device.type == moved.labels[1].device.type == "meta"
    assert moved.example_inputs["nested"][1] == 3


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (X, "must be a tuple \\(inputs, …, labels\\) or a dict of inputs and 'labels', got Tensor"),
        ((X,), "must be a tuple .* got tuple"),
        (("text", Y), "must hold at least one input that is a tensor, got 0: str"),
        ({"text": "a", "labels": Y}, "must hold at least one input that is a tensor, got text: str"),
        ({"labels": Y}, "must hold .* got nothing"),
    ],
)
def test_other_forms_are_refused(found: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"a batch of the data {said}"):
        read_batch(found)


def test_processes_get_shares_of_a_batch_that_make_it_whole() -> None:
    whole = read_batch({"x": torch.arange(7), "mask": torch.ones(7, 2), "labels": torch.arange(7)})
    shares = [whole.share(rank, 3) for rank in range(3)]
    assert [len(share) for share in shares] == [2, 2, 3]
    assert torch.equal(torch.cat([share.inputs[1]["x"] for share in shares]), torch.arange(7))
    assert [share.labels.tolist() for share in shares] == [share.inputs[1]["x"].tolist() for share in shares]
    with pytest.raises(DataError, match="a batch of 7 examples cannot be divided among 8 processes"):
        whole.share(0, 8)
    with pytest.raises(DataError, match="every tensor must have one entry for each example"):
        read_batch({"x": torch.arange(4), "scale": torch.ones(()), "labels": torch.arange(4)}).share(0, 2)
