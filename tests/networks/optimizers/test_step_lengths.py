"""A strength means the same with every optimizer, period of the prox and share of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import torch_growl as tg
from torch_growl.networks.optimizers.step_lengths import StepLengths


def length(optimizer: torch.optim.Optimizer, weight: torch.Tensor) -> float:
    return float(StepLengths(optimizer).rates({"weight": weight}, scale_free=True, period=1)["weight"])


def test_momentum_adds_up_and_adam_divides() -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    sgd = torch.optim.SGD([weight], lr=0.1)
    assert length(sgd, weight) == pytest.approx(0.1)
    heavy = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    assert length(heavy, weight) == pytest.approx(1.0)
    damped = torch.optim.SGD([weight], lr=0.1, momentum=0.9, dampening=0.9)
    assert length(damped, weight) == pytest.approx(0.1)
    adam = torch.optim.AdamW([weight], lr=0.1)
    for _ in range(3):
        weight.grad = torch.full((3, 2), 4.0)
        adam.step()
    assert length(adam, weight) == pytest.approx(0.1 / 4, rel=1e-4)
    rms = torch.optim.RMSprop([weight], lr=0.1, alpha=0.0)
    weight.grad = torch.full((3, 2), 4.0)
    rms.step()
    assert length(rms, weight) == pytest.approx(0.1 / 4, rel=1e-4)


def shrunk(every: int, momentum: float = 0.0, steps: int = 12) -> float:
    """A layer's share of its norm in row 0 after steps without a gradient."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=momentum)
    growl = tg.GrOWL(model, 0.5, tg.lasso(), layers=["0"])
    growl.attach(optimizer, every=every)
    for _ in range(steps):
        model[0].weight.grad = torch.zeros_like(model[0].weight)
        optimizer.step()
    weight = model[0].weight.detach()
    return float(weight.norm(dim=0).min() / weight.norm())


def test_a_rarer_prox_shrinks_as_much() -> None:
    start = shrunk(12, steps=11)  # no prox yet
    each, rare = shrunk(1), shrunk(4)
    assert each < start
    assert rare - start == pytest.approx(each - start, rel=0.05)


def test_momentum_counts() -> None:
    start = shrunk(12, steps=11)
    assert shrunk(1, momentum=0.5) - start == pytest.approx(2 * (shrunk(1) - start), rel=0.1)
