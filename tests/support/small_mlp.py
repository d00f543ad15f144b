"""A small network with named layers, a batch whose first two inputs matter, and training steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mlp() -> nn.Sequential:
    """10 inputs, layers ``fc1``, ``bn``, ``fc2`` and ``fc3``, 3 classes."""
    torch.manual_seed(1)
    model = nn.Sequential()
    model.add_module("fc1", nn.Linear(10, 16))
    model.add_module("relu", nn.ReLU())
    model.add_module("bn", nn.BatchNorm1d(16))
    model.add_module("fc2", nn.Linear(16, 12))
    model.add_module("fc3", nn.Linear(12, 3))
    return model


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    """One step on a random batch of that seed."""
    generator = torch.Generator().manual_seed(seed)
    descend(model, optimizer, torch.randn(32, 10, generator=generator), torch.randint(3, (32,), generator=generator))


def two_of(inputs: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """A random batch whose classes, three, depend on the first two of its inputs."""
    x = torch.randn(size, inputs, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """One step of the optimizer on the cross-entropy."""
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
