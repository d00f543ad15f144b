"""Batch normalisations are estimated anew; nothing else changes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import torch_growl as tg
from torch_growl.errors import InvalidValueError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()),
        *(nn.Linear(64, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5, track_running_stats=False)),
    )


def test_statistics_are_the_means_over_batches_and_weights_and_modes_stay() -> None:
    model = network()
    model[0].eval()
    weights = copy.deepcopy(list(model.parameters()))
    modes = [module.training for module in model.modules()]
    batches = [torch.randn(20, 3, 6, 6) * scale for scale in (0.5, 2)]
    assert tg.recalibrate_(model, batches) == 2
    with torch.no_grad():
        outputs = [model[0](x) for x in batches]
        torch.testing.assert_close(model[1].running_mean, torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0))
        torch.testing.assert_close(model[1].running_var, torch.stack([y.var((0, 2, 3)) for y in outputs]).mean(0))
        seen = [model[5](model[4](nn.functional.batch_norm(y, None, None, training=True).relu())) for y in outputs]
    torch.testing.assert_close(model[6].running_mean, torch.stack([y.mean(0) for y in seen]).mean(0))
    assert (model[1].momentum, int(model[1].num_batches_tracked)) == (0.3, 2)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_a_network_that_cannot_be_run_stays_as_it_was() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InvalidValueError, match="cannot be run on inputs: mat1"):
        tg.recalibrate_(model, [torch.randn(20, 3, 6, 6), torch.randn(20, 3, 9, 9)])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[1].momentum == 0.3


def test_batches_with_nan_are_refused() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InvalidValueError, match="NaN or infinite"):
        tg.recalibrate_(model, [torch.randn(20, 3, 6, 6), torch.full((20, 3, 6, 6), torch.nan)])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_normalisations_that_are_not_called_keep_their_statistics() -> None:
    class WithHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x)) if self.training else self.body(x)

    model = WithHead()
    model(torch.randn(20, 3) + 2)
    before = copy.deepcopy(model.head.state_dict())
    assert tg.recalibrate_(model, torch.randn(20, 3) - 1) == 1
    assert all(torch.equal(value, before[name]) for name, value in model.head.state_dict().items())
    assert (model.body.running_mean < 0).all()


def test_without_batch_normalisations_nothing_is_run() -> None:
    assert tg.recalibrate_(nn.Linear(3, 2), [torch.randn(2, 7)]) == 0


def test_a_compiled_network_is_served() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    assert tg.recalibrate_(torch.compile(model, backend="eager"), torch.randn(50, 3) + 2) == 1
    assert int(model[1].num_batches_tracked) == 1
