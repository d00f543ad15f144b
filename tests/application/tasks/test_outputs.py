"""Outputs: predictions in tensors, tuples, dicts and objects; others are described."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from torch_growl.application.tasks.outputs import described, predictions_in

X = torch.zeros(4, 3)


@pytest.mark.parametrize(
    "output",
    [
        X,
        (X, X[0]),
        (torch.tensor(0.5), X),
        [X],
        {"logits": X, "other": X[0]},
        {"other": X[0], "out": X},
        {"predictions": X},
        SimpleNamespace(loss=X.sum(), logits=X),
        SimpleNamespace(logits=None, prediction=X),
    ],
)
def test_predictions_are_found(output: Any) -> None:
    assert predictions_in(output) is X


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"hidden": X, 3: X}, "a dict with hidden, 3"),
        (SimpleNamespace(last_hidden_state=X), "a SimpleNamespace with last_hidden_state"),
        ((), "a tuple"),
        (None, "a NoneType"),
        (3, "an int"),
        ((torch.tensor(0.5),), "a tuple"),
    ],
)
def test_other_outputs_are_described(output: Any, said: str) -> None:
    assert predictions_in(output) is None
    assert described(output) == said
    assert described(X) == "a tensor of shape (4, 3)"
