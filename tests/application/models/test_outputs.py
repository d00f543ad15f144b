"""Outputs: a classifier's are counted, and those of other networks are refused in words of the recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torch_growl.application.models.outputs import count_outputs
from torch_growl.errors import RecipeError


class Gives(nn.Module):
    def __init__(self, make: Callable[[Tensor, bool], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x, self.training)


X = torch.zeros(8, 3)


def test_the_outputs_of_a_classifier_are_counted() -> None:
    assert count_outputs(nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(7)), X, "own:net") == 7
    assert count_outputs(nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(7)), X[:1], "own:net") == 7


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x, _: {"logits": x}, "returns a dict in eval mode; growl run trains classifiers only"),
        (lambda x, training: (x, x) if training else x, "returns a tuple in train mode"),
        (lambda x, _: x.view(8, 3, 1), "returns a tensor of shape (8, 3, 1) in eval mode"),
        (lambda x, _: x.sum(1), "returns a tensor of shape (8,) in eval mode"),
        (lambda x, _: x.mean(0, keepdim=True), "returns a tensor of shape (1, 3) in eval mode"),
        (lambda x, _: x.long(), "returns torch.int64 in eval mode; it must return logits, not classes"),
        (lambda x, training: x[:, : 2 + training], "has 2 outputs in eval mode and 3 in train mode"),
        (lambda x, _: x @ x, "cannot be run in eval mode on inputs of shape (8, 3): mat1 and mat2"),
    ],
)
def test_other_outputs_are_refused(make: Callable[[Tensor, bool], Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        count_outputs(Gives(make), X, "own:net")
    assert str(caught.value).startswith(f"model.name = 'own:net' {said}")
