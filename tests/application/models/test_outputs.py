"""Outputs: a classifier's are counted, and those of other networks are refused in words of the recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torch_growl.application.models.outputs import check_outputs
from torch_growl.application.tasks import Batch, build_task, read_batch
from torch_growl.errors import RecipeError


class Gives(nn.Module):
    def __init__(self, make: Callable[[Tensor, bool], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x, self.training)


X = torch.zeros(8, 3)
CLASSES = build_task("classification")


def outputs_of(network: nn.Module, x: Tensor = X) -> int | None:
    return check_outputs(network, Batch(((x,), {}), torch.zeros(len(x), dtype=torch.int64)), "own:net", CLASSES)


def test_the_outputs_of_a_classifier_are_counted() -> None:
    assert outputs_of(nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(7))) == 7
    assert outputs_of(nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(7)), X[:1]) == 7


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x, _: {"hidden": x}, "returns a dict with hidden in eval mode; task 'classification' needs logits"),
        (lambda x, training: ("x",) if training else x, "returns a tuple in train mode"),
        (lambda x, _: {"logits": x[0]}, "returns a dict with logits: a tensor of shape (3,) in eval mode"),
        (
            lambda x, _: x.view(8, 3, 1),
            "returns a tensor of shape (8, 3, 1) in eval mode; task 'classification' needs",
        ),
        (lambda x, _: x.sum(1), "returns a tensor of shape (8,) in eval mode"),
        (lambda x, _: x.mean(0, keepdim=True), "returns a tensor of shape (1, 3) in eval mode"),
        (lambda x, _: x.long(), "returns torch.int64 in eval mode; task 'classification' needs logits"),
        (lambda x, training: x[:, : 2 + training], "has 2 outputs in eval mode and 3 in train mode"),
        (lambda x, _: x @ x, "cannot be run in eval mode on inputs of shape (8, 3): mat1 and mat2"),
    ],
)
def test_other_outputs_are_refused(make: Callable[[Tensor, bool], Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        outputs_of(Gives(make))
    assert str(caught.value).startswith(f"model.name = 'own:net' {said}")


@dataclass
class Answer:
    """An output with fields, as transformers gives it."""

    loss: Tensor | None
    logits: Tensor


@pytest.mark.parametrize(
    "make",
    [
        lambda x, _: {"logits": x, "hidden": x[0]},
        lambda x, _: {"out": x},
        lambda x, _: Answer(None, x),
        lambda x, training: Answer(None, x) if training else x,
        lambda x, _: (x, [x, x]),
        lambda x, _: (x.sum(), x),
    ],
    ids=["dict", "dict of torchvision", "fields", "fields in training", "tuple", "tuple with a loss"],
)
def test_logits_are_found_in_outputs_of_every_form(make: Callable[[Tensor, bool], Any]) -> None:
    assert outputs_of(Gives(make)) == 3


def test_a_network_may_take_named_inputs() -> None:
    class Named(nn.Module):
        def forward(self, *, left: Tensor, right: Tensor) -> Tensor:
            return left + right

    batch = read_batch({"left": X, "right": X, "labels": torch.zeros(8, dtype=torch.int64)})
    assert check_outputs(Named(), batch, "own:net", CLASSES) == 3
    more = read_batch({"left": X, "right": X, "index": X, "labels": torch.zeros(8, dtype=torch.int64)})
    with pytest.raises(RecipeError, match="got an unexpected keyword argument 'index'"):
        check_outputs(Named(), more, "own:net", CLASSES)
