"""A checkpoint puts a training back where it was, in place, with every optimizer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

import torch_growl as tg
from torch_growl.networks.optimizers import Checkpoint

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "sgd fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "adam foreach": lambda p: torch.optim.Adam(p, lr=1e-2, foreach=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=1e-2, fused=True),
    "adamw amsgrad": lambda p: torch.optim.AdamW(p, lr=1e-2, amsgrad=True),
    "nadam": lambda p: torch.optim.NAdam(p, lr=1e-2),
    "radam": lambda p: torch.optim.RAdam(p, lr=1e-2),
    "adamax": lambda p: torch.optim.Adamax(p, lr=1e-2),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
    "adadelta": lambda p: torch.optim.Adadelta(p),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-2, momentum=0.9, centered=True),
    "asgd": lambda p: torch.optim.ASGD(p, lr=1e-2),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=1e-2),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def steps(model: nn.Module, optimizer: Optimizer, seed: int, count: int = 4) -> None:
    torch.manual_seed(seed)
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.randn(16, 6)).square().mean().backward()
        optimizer.step()


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("through_a_file", [False, True])
def test_training_goes_on_as_it_did_from_there(name: str, through_a_file: bool) -> None:
    model, beside = network(), torch.arange(3.0)
    optimizer = OPTIMIZERS[name](model.parameters())
    steps(model, optimizer, 1)
    held = [*model.parameters(), *model.buffers(), beside]
    checkpoint = Checkpoint.of(model, [optimizer], [beside])
    if through_a_file:
        checkpoint = Checkpoint.from_state(checkpoint.state_dict())
    steps(model, optimizer, 2)
    first = state(model)
    beside.zero_()
    for _ in range(2):  # the checkpoint itself is not used up
        checkpoint.put_back(model, [optimizer], [beside])
        steps(model, optimizer, 2)
        assert all(torch.equal(first[key], tensor) for key, tensor in state(model).items())
        assert beside.tolist() == [0, 1, 2]
    assert all(a is b for a, b in zip(held, [*model.parameters(), *model.buffers(), beside], strict=True))


def test_a_schedule_goes_on_and_state_from_later_goes() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    checkpoint = Checkpoint.of(model, [optimizer], [])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    steps(model, optimizer, 1)
    scheduler.step()
    rate = optimizer.param_groups[0]["lr"]
    checkpoint.put_back(model, [optimizer], [])
    assert optimizer.param_groups[0]["lr"] == rate < 0.1
    assert not optimizer.state  # the momentum of the steps since


def test_another_network_or_optimizer_is_refused_and_left_alone() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    checkpoint = Checkpoint.of(model, [optimizer], [])
    before = state(model)
    with pytest.raises(tg.GrowlError, match="optimizers are not those"):
        checkpoint.put_back(model, [optimizer, optimizer], [])
    with pytest.raises(tg.GrowlError, match="not those of the checkpoint"):
        checkpoint.put_back(model, [optimizer], [torch.zeros(1)])
    assert all(torch.equal(before[key], tensor) for key, tensor in state(model).items())
