"""The metric on a split and its standard error."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torch_growl.application.data.splits import TensorSplit
from torch_growl.application.tasks import build_task
from torch_growl.application.training.scores import evaluate, standard_error


def split(n: int = 50) -> TensorSplit:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1))
    return TensorSplit(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())


def test_accuracy_is_that_of_eval_mode_and_the_mode_is_restored() -> None:
    data = split()
    model = nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.9)).train()
    with torch.no_grad():
        wanted = model.eval()(data.x).argmax(1)
    model.train()
    assert evaluate(model, data, torch.device("cpu"), size=7) == float((wanted == data.y).double().mean())
    assert model.training


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_the_standard_error_is_how_far_scores_of_other_examples_spread(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)

    def split() -> TensorSplit:
        x = torch.randn(400, 4)
        y = (x[:, :3] + torch.randn(400, 3)).argmax(1) if name == "classification" else torch.randn(400, 3)
        return TensorSplit(x, y)

    task = build_task(name)
    scores = torch.tensor([evaluate(model, split(), torch.device("cpu"), task) for _ in range(100)])
    errors = torch.tensor([standard_error(model, split(), torch.device("cpu"), task, size=500) for _ in range(20)])
    assert 0.8 < float(errors.mean() / scores.std()) < 1.25
    assert standard_error(model, TensorSplit(*split().batch(torch.arange(1))), torch.device("cpu"), task, size=500) == 0
