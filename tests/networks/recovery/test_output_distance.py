"""Predictions are found in outputs of every form, and each task's distance from a teacher's is the formula's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from torch_growl.errors import InvalidValueError
from torch_growl.networks.recovery import DISTANCES, predictions_in

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
    "output",
    [{"hidden": X, 3: X}, SimpleNamespace(last_hidden_state=X), (), None, 3, (torch.tensor(0.5),)],
)
def test_other_outputs_have_none(output: Any) -> None:
    assert predictions_in(output) is None


def test_each_tasks_distance_is_the_mean_over_its_labels_of_one_formula() -> None:
    torch.manual_seed(0)
    given, wanted = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)
    theirs = F.softmax(wanted / 3, dim=-1)
    tokens = (theirs * (theirs.log() - F.log_softmax(given / 3, dim=-1))).sum(-1).mean()
    yes, mine = torch.sigmoid(wanted / 3), torch.sigmoid(given / 3)
    labels = (yes * (yes / mine).log() + (1 - yes) * ((1 - yes) / (1 - mine)).log()).mean()
    expected = {
        "language-model": tokens,
        "multilabel": labels,
        "regression": (given - wanted).square().mean() / 9,
    }
    for task, value in expected.items():
        torch.testing.assert_close(DISTANCES[task](given, wanted, 3.0), value)
    moved = given.transpose(1, 2), wanted.transpose(1, 2)  # classes in dimension 1
    for task in ("classification", "segmentation"):
        torch.testing.assert_close(DISTANCES[task](*moved, 3.0), tokens)
    assert set(DISTANCES) == {*expected, "classification", "segmentation"}


@pytest.mark.parametrize(
    ("task", "shape"),
    [("classification", (5, 1)), ("classification", (5,)), ("segmentation", (5, 1, 4)), ("language-model", (5, 4, 1))],
)
def test_outputs_of_a_single_class_are_refused(task: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValueError, match="task='regression'"):
        DISTANCES[task](torch.randn(shape), torch.randn(shape), 2.0)
