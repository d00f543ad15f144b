"""Regression and several labels: loss and metric against their definitions, and shapes that would be broadcast."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import f1_score, root_mean_squared_error
from torch import Tensor
from torch.nn import functional as F

from torch_growl.application.tasks.batch_forms import Batch
from torch_growl.application.tasks.values import Multilabel, Regression

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randn(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    ("output", "labels"),
    [(X, Y), (X[:, :1], Y[:, 0]), (X[:, 0], Y[:, :1]), (X[:, 0], Y[:, 0])],
    ids=["several", "a column for a line", "a line for a column", "lines"],
)
def test_the_error_of_regression_is_never_broadcast(output: Tensor, labels: Tensor) -> None:
    task = Regression()
    found = output.reshape(labels.shape)
    assert task.output_fault(output, Batch(((X,), {}), labels)) == ""
    torch.testing.assert_close(task.loss(output, labels), F.mse_loss(found, labels.float()))
    parts = task.sums(output[:7], labels[:7]) + task.sums(output[7:], labels[7:])
    wanted = math.sqrt(float((found.double() - labels).square().mean()))
    assert task.score(parts) == pytest.approx(wanted, rel=1e-9)
    if labels.ndim == 1:
        assert task.score(parts) == pytest.approx(root_mean_squared_error(labels, found), rel=1e-6)


def test_outputs_of_another_shape_than_the_labels_are_refused() -> None:
    for output in (X[:, :2], X[:20], X[:, 0]):
        assert Regression().output_fault(output, Batch(((X,), {}), Y)) == "shape"
        assert Multilabel().output_fault(output, Batch(((X,), {}), Y > 0)) == "shape"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_the_loss_and_the_f1_of_several_labels(dtype: torch.dtype) -> None:
    task, labels = Multilabel(), (Y > 0).to(dtype)
    assert task.labels_fault(labels) == ""
    torch.testing.assert_close(task.loss(X, labels), F.binary_cross_entropy_with_logits(X, labels.float()))
    parts = task.sums(X[:7], labels[:7]) + task.sums(X[7:], labels[7:])
    assert task.score(parts) == pytest.approx(f1_score(Y > 0, X > 0, average="micro"), rel=1e-9)
    assert torch.equal(task.predicted(X), X > 0)
    nothing = torch.zeros(4, 3)
    assert task.score(task.sums(nothing, nothing)) == 0.0


def test_distillation_has_its_least_at_the_teachers_outputs() -> None:
    wanted = X.flip(0)
    assert float(Regression().distance(X, wanted, 3.0) * 9) == pytest.approx(float(F.mse_loss(X, wanted)))
    assert float(Multilabel().distance(wanted, wanted, 3.0)) == pytest.approx(0.0, abs=1e-6)
    p, q = torch.sigmoid(wanted / 3), torch.sigmoid(X / 3)
    divergence = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    torch.testing.assert_close(Multilabel().distance(X, wanted, 3.0), divergence)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.zeros(4, dtype=torch.int64), "are int64 of shape (4,)"),
        (torch.tensor([0.5, math.nan]), "must be finite, found nan; leave such examples out"),
    ],
)
def test_labels_that_are_no_numbers_are_refused_in_regression(labels: Tensor, said: str) -> None:
    assert Regression().labels_fault(labels) == said
    assert Regression().labels_fault(torch.zeros(4)) == ""


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.zeros(4), "are float32 of shape (4,)"),
        (torch.tensor([[0, 1], [2, 0]]), "must be 0 or 1, found 2"),
        (torch.tensor([[0, 0.5]]), "must be 0 or 1, found 0.5"),
    ],
)
def test_labels_that_are_not_yes_or_no_are_refused_in_multilabel(labels: Tensor, said: str) -> None:
    assert Multilabel().labels_fault(labels) == said
