"""The measured length of a step: the closed form's, with noise, momentum, weight decay and a changing learning rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torch_growl.networks.optimizers.measured_step import StepMeter


def measured(
    steps: int, momentum: float = 0.0, decay: float = 0.0, noise: float = 0.0, lrs: tuple[float, ...] = (0.1,)
) -> float:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(30, 20))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=momentum)
    steady, meter = torch.randn(30, 20), StepMeter()
    for i in range(steps):
        lr = optimizer.param_groups[0]["lr"] = lrs[i * len(lrs) // steps]
        weight.grad = 0.1 * steady + noise * torch.randn(30, 20)
        meter.before(weight, lr)
        weight.data.mul_(1 - lr * decay)
        optimizer.step()
        meter.after(weight, weight.grad)
        weight.data.mul_(0.999)  # what follows is not counted
    return meter.length(weight)


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_it_is_the_learning_rate_over_what_momentum_leaves(momentum: float, decay: float, noise: float) -> None:
    assert measured(400, momentum, decay, noise) == pytest.approx(0.1 / (1 - momentum), rel=0.25)


def test_it_follows_the_learning_rate_at_once_and_stands_still_with_it() -> None:
    assert measured(100, lrs=(0.1, 0.02)) == pytest.approx(0.02, rel=1e-3)
    assert measured(100, lrs=(0.1, 0.0)) == 0.0


def test_without_steps_gradients_or_agreement_it_is_zero() -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    meter = StepMeter()
    assert meter.length(weight) == 0.0
    meter.before(weight, 0.1)
    meter.after(weight, None)
    assert meter.length(weight) == 0.0
    meter.before(weight, 0.1)
    weight.data[0] += 1.0  # along the gradient, not against it
    meter.after(weight, torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]))
    assert meter.length(weight) == 0.0
